/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/histogram.h - durations, counted with a bounded relative error.
 *
 * Each power of two is cut into HISTOGRAM_PARTS equal buckets, so a value is
 * known to better than 1 in HISTOGRAM_PARTS however large it is, and nothing
 * is ever averaged. The largest value is kept exactly. Percentiles are made
 * by whoever reads the JSON, from as many runs as he adds up.
 */
#ifndef TIDEMARK_BENCH_HISTOGRAM_H
#define TIDEMARK_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_PARTS_LOG2 9u
#define HISTOGRAM_PARTS (1u << HISTOGRAM_PARTS_LOG2)
#define HISTOGRAM_POWERS 40u /* beyond 2^40 ns, 18 minutes, all is one */
#define HISTOGRAM_BUCKETS (HISTOGRAM_POWERS * HISTOGRAM_PARTS)

struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);

/*
 * As a member of a JSON object: "name": {"count": .., "max_ns": ..,
 * "buckets": [[highest value of the bucket in ns, count], ...]}.
 */
void histogram_print(const struct histogram *histogram, const char *name,
                     FILE *file);

#endif

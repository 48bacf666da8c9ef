/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/histogram.c - durations, counted with a bounded relative error.
 *
 * Values below HISTOGRAM_PARTS have a bucket each. Above, the power of two
 * picks a row of buckets, and the bits after the highest one the bucket.
 */
#include "bench/histogram.h"

static unsigned bucket_of(uint64_t value_ns)
{
    unsigned power, shift, index;

    if (value_ns < HISTOGRAM_PARTS)
        return (unsigned)value_ns;
    power = 63u - (unsigned)__builtin_clzll(value_ns);
    shift = power - HISTOGRAM_PARTS_LOG2;
    index = (shift + 1) * HISTOGRAM_PARTS +
            (unsigned)((value_ns >> shift) - HISTOGRAM_PARTS);
    return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

/* The highest value that bucket_of() puts there. */
static uint64_t bucket_top(unsigned index)
{
    unsigned row = index / HISTOGRAM_PARTS, part = index % HISTOGRAM_PARTS;

    if (row == 0)
        return part;
    return (((uint64_t)HISTOGRAM_PARTS + part + 1) << (row - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->buckets[bucket_of(value_ns)]++;
    histogram->count++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

void histogram_print(const struct histogram *histogram, const char *name,
                     FILE *file)
{
    const char *comma = "";

    fprintf(file, "\"%s\": {\"count\": %llu, \"max_ns\": %llu, \"buckets\": [",
            name, (unsigned long long)histogram->count,
            (unsigned long long)histogram->max_ns);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->buckets[i] == 0)
            continue;
        fprintf(file, "%s[%llu, %llu]", comma,
                (unsigned long long)bucket_top(i),
                (unsigned long long)histogram->buckets[i]);
        comma = ", ";
    }
    fprintf(file, "]}");
}

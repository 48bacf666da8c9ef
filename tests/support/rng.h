/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/rng.h - random numbers that a seed repeats, everywhere. */
#ifndef TIDEMARK_TESTS_SUPPORT_RNG_H
#define TIDEMARK_TESTS_SUPPORT_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state; /* any value is a good one */
};

/* splitmix64: small, fast, and equal seeds give equal streams everywhere. */
static inline uint64_t rng_u64(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. limit - 1; limit > 0. The bias is below 2^-32 for limits we use. */
static inline uint64_t rng_below(struct rng *rng, uint64_t limit)
{
    return rng_u64(rng) % limit;
}

/* first .. last, both possible. */
static inline uint64_t rng_between(struct rng *rng, uint64_t first,
                                   uint64_t last)
{
    return first + rng_below(rng, last - first + 1);
}

/* True in about percent of 100 calls. */
static inline bool rng_chance(struct rng *rng, unsigned percent)
{
    return rng_below(rng, 100) < percent;
}

static inline void rng_bytes(struct rng *rng, void *ret_bytes, size_t size)
{
    uint8_t *bytes = ret_bytes;

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rng_u64(rng);
}

#endif

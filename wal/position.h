/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/position.h - where a database stands: lineage, epoch, TXID, position.
 * Pure types. Any thread.
 */
#ifndef TIDEMARK_WAL_POSITION_H
#define TIDEMARK_WAL_POSITION_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A database's count of transactions; 0: none yet; +1 for each, no holes. */
typedef uint64_t txid_t;

/*
 * Rises whenever the right to write changes hands. The upper 40 bits are a
 * number, raised by one; the lower 24 are drawn at random at each raise, so
 * that two raises to the same number never look equal. 0: none yet.
 */
typedef uint64_t epoch_t;

#define EPOCH_RANDOM_BITS 24
#define EPOCH_NUMBER_MAX ((UINT64_C(1) << 40) - 1)

static inline uint64_t epoch_number(epoch_t epoch)
{
    return epoch >> EPOCH_RANDOM_BITS;
}

/* The epoch after `highest`; random gives its lower 24 bits. */
static inline epoch_t epoch_raise(epoch_t highest, uint32_t random)
{
    return ((epoch_number(highest) + 1) << EPOCH_RANDOM_BITS) |
           (random & ((1u << EPOCH_RANDOM_BITS) - 1));
}

#define LINEAGE_BYTES 16
#define LINEAGE_TEXT_BYTES (2 * LINEAGE_BYTES + 1)

/* 128 random bits that name a database from its creation on; all 0: none. */
struct lineage {
    uint8_t bytes[LINEAGE_BYTES];
};

static inline bool lineage_is_equal(const struct lineage *a,
                                    const struct lineage *b)
{
    return memcmp(a->bytes, b->bytes, LINEAGE_BYTES) == 0;
}

/* Names one exact content of one database. */
struct position {
    epoch_t epoch; /* of its last commit */
    txid_t txid;
    uint64_t sum; /* database sum there, page.h */
};

static inline bool position_is_equal(const struct position *a,
                                     const struct position *b)
{
    return a->epoch == b->epoch && a->txid == b->txid && a->sum == b->sum;
}

#endif

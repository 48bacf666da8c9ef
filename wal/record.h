/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/record.h - one or more whole transactions as one unit: on the wire, in
 * the log and in the ledger, byte for byte the same.
 *
 * (spec-grade byte map: to be written out here; integers little-endian)
 *
 * header 256 bytes { magic "TMKREC\1\n"?, version, flags, lineage, epoch,
 * first_txid, last_txid, previous position, sum after, page size, page count
 * after, commit time, WAL salts + frame + chain checksum of the last commit,
 * pages, part, parts, raw and stored body length, hash of header }
 * page table: pages x u32, ascending . body: LZ4 block of the page images in
 * table order, or stored raw when LZ4 does not help . XXH3-64 of table + body
 *
 * A transaction too large for one record travels as parts 1..n with the same
 * TXIDs; they apply atomically when the last one is there. The decoder is
 * bounded: it believes nothing before it is checked. Pure but for memory.
 */
#ifndef TIDEMARK_WAL_RECORD_H
#define TIDEMARK_WAL_RECORD_H

#include "base/blob.h"
#include "wal/frame.h"
#include "wal/position.h"

#define RECORD_HEADER_BYTES 256u
#define RECORD_VERSION 1u
#define RECORD_PART_RAW_BYTES (4u << 20)  /* page images in one part, about */
#define RECORD_MAX_BYTES (16u << 20)      /* encoded, headers included */
#define RECORD_PARTS_MAX (1u << 24)

enum record_flag {
    RECORD_PREPARED = 1u << 0, /* durable, not committed: waits for RESOLVE */
    RECORD_RESOLVE = 1u << 1,  /* decides the PREPARED of the same TXID */
    RECORD_ABORT = 1u << 2,    /* with RESOLVE: it never happened */
    RECORD_SNAPSHOT = 1u << 3, /* holds every page of the database */
    RECORD_DROP = 1u << 4,     /* the database was deleted */
    RECORD_REREAD = 1u << 5,   /* found by page hash, not by its commits */
    RECORD_EPOCH = 1u << 6,    /* empty: only begins a new epoch */
};

struct record_header {
    uint32_t flags;
    struct lineage lineage;
    epoch_t epoch;
    txid_t first_txid;
    txid_t last_txid;
    struct position previous; /* its txid is first_txid - 1 */
    uint64_t sum_after;
    uint32_t page_bytes;
    uint32_t size_pages; /* database size after */
    uint64_t commit_wall_ns;
    uint8_t wal_salt[FRAME_SALT_BYTES]; /* zero: not captured from a WAL */
    uint32_t wal_frame;
    uint32_t wal_checksum[2];
    uint32_t pages; /* images in this part */
    uint32_t part;  /* from 1 */
    uint32_t parts; /* >= 1 */
    uint64_t raw_bytes;    /* pages * page_bytes */
    uint64_t stored_bytes; /* body as stored; == raw_bytes: not compressed */
};

/* The position a database has after this record is applied (all parts). */
static inline struct position record_position(const struct record_header *h)
{
    return (struct position){h->epoch, h->last_txid, h->sum_after};
}

/*
 * Encoding. header: everything but pages, raw_bytes and stored_bytes, which
 * are filled in. images[i] points at page pgnos[i]; ascending. Returns a blob
 * of which the caller owns one reference. -ENOMEM, -E2BIG.
 */
int record_encode(struct record_header *header, const pgno_t *pgnos,
                  const uint8_t *const *images, uint32_t count,
                  struct blob **ret_blob);

/* Total encoded bytes from the first RECORD_HEADER_BYTES: checks magic,
 * version and header hash and bounds. -EBADMSG: not a record or damaged;
 * -EPROTONOSUPPORT: a newer version. */
int record_peek(const uint8_t *bytes, size_t size,
                struct record_header *ret_header, size_t *ret_total);

/* A decoded record: images decompressed in memory it owns. */
struct record {
    struct record_header header;
    pgno_t *pgnos;
    uint8_t *images; /* pages * page_bytes, in pgnos order */
};

/* Checks everything (hashes, table ascending, numbers in range, the lock-byte
 * page absent) and decompresses. size must be the record's total. -EBADMSG,
 * -EPROTONOSUPPORT, -ENOMEM. */
int record_decode(const uint8_t *bytes, size_t size, struct record *ret_record);

void record_free(struct record *record);

#endif

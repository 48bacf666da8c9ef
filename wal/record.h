/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/record.h - one or more whole transactions as one unit: on the wire, in
 * the log and in the ledger, byte for byte the same.
 *
 * header (256) . page table (4 * pages) . body (stored bytes) . hash (8)
 *
 *   offset  size  field      integers are little-endian
 *        0     8  magic      "TMKREC\r\n"; a text-mode copy breaks it at once
 *        8     4  version    1
 *       12     4  flags      enum record_flag; others are not in version 1
 *       16    16  lineage    raw
 *       32     8  epoch
 *       40     8  first TXID
 *       48     8  last TXID
 *       56     8  epoch, then
 *       64     8  TXID, then
 *       72     8  sum of the position before
 *       80     8  sum after
 *       88     8  commit time, ns since 1970 on the primary's clock
 *       96     4  page size in bytes
 *      100     4  database size after, in pages
 *      104     4  pages      images in this part
 *      108     4  part       from 1
 *      112     4  parts
 *      116     4  WAL frame    a commit frame in the primary's WAL (which one:
 *      120     8  WAL salts    below), the salts as they lie there, and
 *      128     8  WAL checksum the chain there, two words; all 0: not of a WAL
 *      136     8  raw bytes    pages * page size
 *      144     8  stored bytes length of the body
 *      152    96  zero, checked: a later version may give them a meaning
 *      248     8  XXH3-64 of bytes 0..247
 *      256   4*n  page numbers, strictly ascending
 *        -     -  body: the images in table order as one LZ4 block, or as they
 *                 are when LZ4 makes them no smaller (stored == raw)
 *        -     8  XXH3-64 of table and body, seeded with the header's hash:
 *                 a header and another record's body never make a record
 *
 * Magic, version and header hash stay where they are in every version to
 * come: so a whole newer record (-EPROTONOSUPPORT, nothing is touched) is
 * told apart from a damaged one (-EBADMSG).
 *
 * What a record says, beside images; all of it checked by record_header_ok():
 *
 *   flags          first, last   previous      pages  position moves to
 *   none           first <= last TXID first-1  any    last, sum after
 *   PREPARED       equal         TXID first-1  any    nowhere
 *   RESOLVE        equal         TXID first-1  none   its TXID, sum after
 *   RESOLVE|ABORT  equal         TXID first-1  none   its TXID, same sum
 *   EPOCH          equal         TXID first-1, none   its TXID, same sum
 *                                older epoch
 *   DROP           equal         TXID first-1  none   its TXID; size, sum 0
 *
 * REREAD and SNAPSHOT go with a plain or a PREPARED transaction. SNAPSHOT:
 * the parts hold every page, what was before is void (another page size, a
 * first capture); `previous` may then be any. A chunk of a copy under way is
 * a SNAPSHOT too, the copy's driver knows when it has all: it may be of a
 * database not captured yet, TXID 0, and is never in a log.
 *
 * A transaction that changes nothing consumes its TXID like any other: an
 * EPOCH is one, and an aborted PREPARED is made one by its RESOLVE|ABORT.
 *
 * The WAL fields of a record that moves the position are where the primary
 * stands in its WAL after it, so that the newest one in a log always tells
 * start-up which frames were captured:
 *   none, EPOCH    its newest commit frame; without pages, the one before
 *   PREPARED       its own commit frame, which nobody has seen yet
 *   RESOLVE        the published end: its PREPARED's commit frame or, where
 *                  the commit was padded, one behind it
 *   RESOLVE|ABORT  the commit before. With those of its PREPARED, start-up
 *                  would take the refused frames for captured, and SQLite's
 *                  recovery commits them: on this node alone
 * All 0 in a rollback mode: a PREPARED that names no frame, and its RESOLVE.
 *
 * A transaction too large for one record travels as parts 1..n with the same
 * header but for pages, part, raw and stored bytes; each page is in one part
 * only, and they apply atomically when the last one is there. No pages, one
 * part. A RESOLVE repeats its PREPARED's header but for flags, pages, parts,
 * commit time, WAL fields and, to abort, sum, page size and size, which are
 * those of the record before. Redo takes time and WAL fields from it.
 *
 * The decoder is bounded: it believes nothing before it is checked. Pure but
 * for memory. Any thread; record_encode() keeps scratch memory per thread,
 * RECORD_SCRATCH_KEEP_BYTES at most, which a thread gives back as it ends.
 */
#ifndef TIDEMARK_WAL_RECORD_H
#define TIDEMARK_WAL_RECORD_H

#include "base/blob.h"
#include "wal/frame.h"
#include "wal/position.h"

#define RECORD_HEADER_BYTES 256u
#define RECORD_HASH_BYTES 8u
#define RECORD_MIN_BYTES (RECORD_HEADER_BYTES + RECORD_HASH_BYTES)
#define RECORD_VERSION 1u
#define RECORD_PART_RAW_BYTES (4u << 20) /* page images in one part, about */
#define RECORD_MAX_BYTES (16u << 20)     /* encoded, also if not compressed */
#define RECORD_PARTS_MAX (1u << 24)
#define RECORD_SCRATCH_KEEP_BYTES (256u << 10)

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
    epoch_t epoch; /* > 0, not below previous.epoch */
    txid_t first_txid;
    txid_t last_txid;         /* >= first_txid, < UINT64_MAX */
    struct position previous; /* its txid is first_txid - 1, see above */
    uint64_t sum_after;
    uint32_t page_bytes; /* 0 only in a record without pages */
    uint32_t size_pages; /* database size after; > 0 when there are pages */
    uint64_t commit_wall_ns;
    uint8_t wal_salt[FRAME_SALT_BYTES]; /* zero: not captured from a WAL */
    uint32_t wal_frame;
    uint32_t wal_checksum[2];
    uint32_t pages;        /* images in this part */
    uint32_t part;         /* from 1 */
    uint32_t parts;        /* >= 1; 1 when there are no pages */
    uint64_t raw_bytes;    /* pages * page_bytes */
    uint64_t stored_bytes; /* body as stored; == raw_bytes: not compressed */
};

/* The position a database has after this record is applied (all parts), when
 * record_moves(). */
static inline struct position record_position(const struct record_header *h)
{
    return (struct position){h->epoch, h->last_txid, h->sum_after};
}

/* True when it completes transactions that can now be applied. */
static inline bool record_completes(const struct record_header *h)
{
    return h->part == h->parts && !(h->flags & RECORD_PREPARED);
}

/* True when the last part of this record moves the database's position. */
static inline bool record_moves(const struct record_header *h)
{
    return (h->flags & RECORD_PREPARED) == 0;
}

/* True when its WAL fields name a frame. */
static inline bool record_names_frame(const struct record_header *h)
{
    return h->wal_frame != 0;
}

/* WAL fields are copied; both may name none. */
void record_copy_place(struct record_header *to,
                       const struct record_header *from);

/*
 * The header of the record that decides `prepared`: but for the commit time,
 * and for the published end when that is not the PREPARED's frame. before: page
 * size, size and WAL fields are those of where an abort goes back to.
 */
struct record_header record_commit(const struct record_header *prepared);
struct record_header record_abort(const struct record_header *prepared,
                                  const struct record_header *before);

/* True when a and b are parts of one record. */
bool record_is_same(const struct record_header *a,
                    const struct record_header *b);

/* The table above: what encoder asserts and decoder checks. Says nothing
 * about stored_bytes, which only a body can prove. */
bool record_header_ok(const struct record_header *header);

/* Encoded size of the record with this header. */
static inline size_t record_total(const struct record_header *h)
{
    return RECORD_MIN_BYTES + (size_t)h->pages * sizeof(pgno_t) +
           (size_t)h->stored_bytes;
}

/*
 * Encodes. header: everything but pages, raw_bytes and stored_bytes, which
 * are filled in; the rest must make record_header_ok() true (asserted).
 * images[i] points at page pgnos[i]; strictly ascending, at most size_pages,
 * without the lock-byte page (asserted). Returns a blob of which the caller
 * owns one reference. -ENOMEM; -E2BIG: past RECORD_MAX_BYTES, make parts.
 */
int record_encode(struct record_header *header, const pgno_t *pgnos,
                  const uint8_t *const *images, uint32_t count,
                  struct blob **ret_blob);

/*
 * Header and total encoded bytes from the first RECORD_HEADER_BYTES (what
 * lies behind is not looked at). -EBADMSG: not a record, cut short or
 * damaged; -EPROTONOSUPPORT: whole, of a newer version. Does not allocate.
 */
int record_peek(const uint8_t *bytes, size_t size,
                struct record_header *ret_header, size_t *ret_total);

/* Checks everything but that the body decompresses: hashes, table ascending,
 * numbers in range, no lock-byte page. size must be the record's total.
 * -EBADMSG, -EPROTONOSUPPORT. Does not allocate. */
int record_check(const uint8_t *bytes, size_t size,
                 struct record_header *ret_header);

/* A decoded record: images decompressed in memory it owns. */
struct record {
    struct record_header header;
    pgno_t *pgnos;   /* NULL when there are no pages */
    uint8_t *images; /* pages * page_bytes, in pgnos order; or NULL */
};

/* record_check() and the body decompressed: exactly raw_bytes. -EBADMSG,
 * -EPROTONOSUPPORT, -ENOMEM. */
int record_decode(const uint8_t *bytes, size_t size, struct record *ret_record);

/* Takes zeroed, decoded and freed alike. */
void record_free(struct record *record);

#endif

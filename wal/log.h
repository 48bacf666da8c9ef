/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/log.h - the log of one database: append-only segments of records.
 *
 * (segment file format: to be written out here) Directory: one per database;
 * files "<16 hex digits: first TXID>-<8 hex: sequence>.seg". A segment has a
 * 64-byte header { magic, version, lineage, sequence, first TXID, hash } and
 * then records back to back. Segments grow from 64 KiB to 16 MiB.
 *
 * What is lost at a power cut: bytes not yet synced, from some byte on in the
 * last segments. Opening scans the last segment(s), cuts a torn tail at the last whole
 * record (moved aside, never only deleted, when whole records follow a bad
 * one) and says what it found. Appends go to the page cache; log_sync makes
 * all of them durable: by io_uring (write + fdatasync linked) where allowed, else
 * fdatasync on the calling thread.
 *
 * Threads: append, read, trim: the database's worker only. log_sync and
 * log_durable: any thread (a lock guards the list of unsynced segments).
 */
#ifndef TIDEMARK_WAL_LOG_H
#define TIDEMARK_WAL_LOG_H

#include "base/blob.h"
#include "base/os.h"
#include "wal/record.h"

struct log; /* opaque */

/* Where reading goes on; a record's place in the log. */
struct log_cursor {
    uint32_t sequence; /* of the segment */
    uint64_t offset;
};

struct log_found {
    struct record_header last; /* newest whole record; parts == 0: none */
    txid_t first_txid;         /* oldest TXID still there; 0: log is empty */
    uint64_t bytes;            /* in all segments */
    uint64_t cut_bytes;        /* torn tail that was cut at opening */
};

/* Opens or makes the log in directory `path` below dirfd. */
int log_open(struct log **ret_log, int dirfd, const char *path,
             const struct lineage *lineage, struct log_found *ret_found);
void log_close(struct log *log);

/* Appends one encoded record. -ENOSPC and the like leave the log as it was
 * (a partly written record is cut again). */
int log_append(struct log *log, const struct record_header *header,
               const struct blob *blob);

/* Makes durable what was appended before the call. Any thread. */
int log_sync(struct log *log);

/* Last TXID known durable, and last appended. Any thread. */
txid_t log_durable_txid(struct log *log);
txid_t log_last_txid(struct log *log);
txid_t log_first_txid(struct log *log);
uint64_t log_bytes(struct log *log);

/* Places the cursor at the first record whose last_txid >= txid. -ENOENT when
 * the log no longer (or not yet) has it. */
int log_seek(struct log *log, txid_t txid, struct log_cursor *ret_cursor);

/* The record at the cursor as a blob (caller owns one reference), cursor
 * moved behind it. -ENOENT at the end; -EBADMSG: damaged. */
int log_read(struct log *log, struct log_cursor *cursor,
             struct record_header *ret_header, struct blob **ret_blob);

/* Deletes whole old segments while the log is larger than keep_bytes and all
 * their records end before `before`. Returns bytes freed. */
uint64_t log_trim(struct log *log, uint64_t keep_bytes, txid_t before);

/* Cuts everything after the record that ends at txid (recovery only); what is
 * cut is kept in a file beside. */
int log_cut(struct log *log, txid_t txid);

/* "io_uring" or "pwrite": how log_sync writes. */
const char *log_method(const struct log *log);

#endif

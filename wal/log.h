/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/log.h - the log of one database: append-only segments of records.
 *
 * A directory of its own, below the data directory and never in a mount:
 *
 *   <first TXID>-<sequence>.seg        the segments (format: segment.h), with
 *                                      sequences that follow one another
 *   <segment's name>.cut-<n>           bytes that were cut off and held whole
 *                                      records; kept for people, never read
 *
 * Appending goes to the page cache by a plain write: that is all it takes to
 * survive kill -9, and on the way of every commit no device is waited for.
 * log_sync() makes everything appended durable, for all who wait at once.
 *
 * What a power cut may take: bytes not synced, of at most the last two
 * segments, because a new one begins only when all but the newest are durable
 * with their names. So opening reads two segments, whatever the log's size.
 *
 * What opening does (nothing is changed before all of it was looked at):
 *   the last two segments end in bytes   they are cut off; if any whole record
 *   that are no record, or one that      lies in or behind them, all of it is
 *   does not come next (continuity.h)    first kept in files `.cut-<n>`
 *   the last record misses parts         it is cut off before its part 1
 *   a segment is missing, of another     -EBADMSG, files untouched
 *   lineage, or damaged further back
 *   a newer version of segment, record   -EPROTONOSUPPORT, files untouched
 * An older segment is read, and its damage found, by log_read() only.
 *
 * A failed log_sync() is not forgotten: the kernel may call the pages clean
 * that it could not write, so the next one writes all bytes not known durable
 * again, from what is still readable, and fails if that is not everything.
 *
 * Threads: one, the database's worker, for all but log_sync() and the
 * numbers, which any thread may ask for. See log.c for the two locks.
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
    struct record_header last; /* newest whole record that moved the position
                                  (its last part); parts == 0: none */
    struct record_header prepared; /* a PREPARED behind it that nothing has
                                      resolved; parts == 0: none */
    txid_t first_txid;    /* oldest TXID still there; 0: log is empty */
    uint64_t bytes;       /* in all segments */
    uint64_t cut_bytes;   /* were cut off at opening */
    uint64_t saved_bytes; /* of these, kept in `.cut-<n>` files: whole records
                             lay behind damage, somebody should look */
};

/*
 * Opens or makes the log in directory `path` below dirfd. What is found may
 * not be durable yet (after kill -9 it is in the page cache): log_sync().
 * -EBADMSG, -EPROTONOSUPPORT: see above; and what the system says.
 */
int log_open(struct log **ret_log, int dirfd, const char *path,
             const struct lineage *lineage, struct log_found *ret_found);

/* Syncs nothing. NULL is fine. No other thread may be in a call. */
void log_close(struct log *log);

/*
 * Appends one encoded record; header is what record_encode() or record_peek()
 * said of blob, which is not kept. Errors leave the log as it was: a partly
 * written record is cut off again, and a later append goes on there.
 * -EINVAL: another lineage, or the record does not come next.
 *
 * Parts are appended one by one, in order; they are not to be read, and do
 * not count as appended, before the last one is there. Whoever gives up in
 * between just appends another record: the parts are cut off first.
 */
int log_append(struct log *log, const struct record_header *header,
               const struct blob *blob);

/* The same, and it is durable with all before it when this returns 0: for
 * prepared commits. Usually write and fdatasync in one submission. After an
 * error the record is not in the log. */
int log_append_sync(struct log *log, const struct record_header *header,
                    const struct blob *blob);

/* Makes durable what was appended before the call. Any thread, at the same
 * time as everything else; callers that overlap share the disk's work. */
int log_sync(struct log *log);

/* TXID the log's records move the position to: known durable, and appended.
 * A PREPARED moves nothing. 0: none; after opening nothing is known durable.
 * Any thread. */
txid_t log_durable_txid(struct log *log);
txid_t log_last_txid(struct log *log);

/* Header of the newest whole record that moved the position (its last part);
 * parts == 0: none. Lives until the next append. The worker alone. */
const struct record_header *log_newest(const struct log *log);

/* The PREPARED at the log's end that nothing has resolved, as the position
 * that its RESOLVE would move to (TXID 0: none). True: it is known durable, or
 * an equal one is that it replaced. Any thread. */
bool log_prepared(struct log *log, struct position *ret_position);

/* Oldest TXID that can still be read (0: none), and bytes of all segments
 * (0: none), parts of an unfinished record included. Any thread. */
txid_t log_first_txid(struct log *log);
uint64_t log_bytes(struct log *log);

/* Places the cursor at the first record whose last_txid >= txid: a PREPARED
 * comes before its RESOLVE. -ENOENT when the log no longer (or not yet) has
 * it. Looks into one segment at most, near the last read or append into no
 * more than what lies between. */
int log_seek(struct log *log, txid_t txid, struct log_cursor *ret_cursor);

/*
 * The record at the cursor as a blob (caller owns one reference), checked,
 * and the cursor moved behind it. -ENOENT at the end: ask again after an
 * append; -ESTALE: trimmed meanwhile, seek anew; -EBADMSG: damaged. On errors
 * the cursor stays. log_cut() makes cursors behind the cut void.
 */
int log_read(struct log *log, struct log_cursor *cursor,
             struct record_header *ret_header, struct blob **ret_blob);

/* Moves the cursor over the record at it, of which only the header is read
 * and checked. Errors are those of log_read(). */
int log_skip(struct log *log, struct log_cursor *cursor,
             struct record_header *ret_header);

/* Segments end earlier than they would, so that a log of few bytes can let go
 * of some; at least SEGMENT_CAP_FIRST_BYTES. Worker only. */
void log_limit_segments(struct log *log, uint64_t bytes);

/*
 * Deletes the oldest segment when the log is larger than keep_bytes, or when
 * nothing was written to it since keep_since_ns (wall clock, as the file says;
 * 0: age does not count), and all its records end before `before`; the newest
 * is never deleted. One segment between two log_sync(), so that a power cut
 * cannot bring back a segment from between deleted ones. Returns bytes freed;
 * a failure frees 0 and is tried again by the next call.
 */
uint64_t log_trim(struct log *log, uint64_t keep_bytes, uint64_t keep_since_ns,
                  txid_t before);

/*
 * Cuts off everything after the record that moved the position to txid, and
 * is durable when it returns; what is cut is kept in `.cut-<n>` files. A
 * txid before the log's first empties it. -ENOENT: no record ends there,
 * nothing was cut. Another error: the log takes no appends until reopened.
 */
int log_cut(struct log *log, txid_t txid);

/* "io_uring" or "pwrite": how this thread's syncs go to the disk. */
const char *log_method(const struct log *log);

#endif

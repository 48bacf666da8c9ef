/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/walindex.h - SQLite's wal-index (-shm): read, search, append, publish.
 *
 * The file is shared memory: it is mapped by every process that has the
 * database open and is never synced. All integers are in host byte order but
 * the salts, which are the raw big-endian bytes of the WAL header.
 *
 * Byte map of segment 0 (the first 32768 bytes):
 *   offset   size  field
 *   0 / 48     48  the header, twice: copy 0 and copy 1
 *       +0      4  format, 3007000
 *       +4      4  0; summed like the rest
 *       +8      4  change: +1 at every commit; neither rollback nor reset
 *                  move it; 0 after a recovery
 *      +12      1  1: initialised
 *      +13      1  1: the WAL's checksums are over big-endian words
 *      +14      2  page size; 1 means 65536; 0: no commit was ever indexed
 *      +16      4  max_frame: last committed frame; 0: the WAL is empty
 *      +20      4  database size in pages; survives a reset
 *      +24      8  checksum of frame max_frame; stale when that is 0
 *      +32      8  salt-1 and salt-2
 *      +40      8  checksum of bytes 0..39 over host-order words, seed 0,0
 *       96      4  backfill: frames 1..backfill are in the database file
 *      100     20  read marks 0..4: a reader on mark i looks at no frame
 *                  beyond it; mark 0 is 0: the database file alone;
 *                  0xffffffff: not in use
 *      120      8  only ever locked: WRITE, CHECKPOINT, RECOVER, READ0..4
 *      128      4  backfill attempted: where a checkpoint is heading
 *      132      4  not used
 *      136  16248  pages: pgno of frames 1..4062, 4 bytes each; 0: empty
 *    16384  16384  hash table: 8192 slots of 2 bytes
 *
 * Segment s > 0, at byte 32768 * s: 4096 pages at +0, the hash table at
 * +16384. Frame f lies in segment (f + 33) / 4096; a slot holds the frame's
 * place among the segment's pages, from 1; 0: free. The search for a page
 * starts at slot (pgno * 383) mod 8192 and goes on by one, around the end,
 * to the first free slot. At most half of the slots are ever taken.
 *
 * A frame is entered page first, then slot, and counts for nobody before the
 * header says so: readers skip slots beyond their own max_frame. So a writer
 * that died leaves remnants, which the next one removes where it enters its
 * first frame; the first frame of a segment clears all of it. The file grows
 * by whole segments, one byte written at the end of each 4096, and only
 * under WRITE.
 *
 * All access is by atomics; walindex.c says why each lock-free read is safe.
 * Who writes must hold WAL_WRITE (byte 120). One thread at a time per struct
 * walindex; several maps of one file may exist, also in one process.
 */
#ifndef TIDEMARK_WAL_WALINDEX_H
#define TIDEMARK_WAL_WALINDEX_H

#include "base/os.h"
#include "wal/frame.h"

#define WALINDEX_LOCK_WRITE 120
#define WALINDEX_LOCK_CHECKPOINT 121
#define WALINDEX_LOCK_RECOVER 122
#define WALINDEX_LOCK_READ0 123 /* READ0..READ4: 123..127 */
#define WALINDEX_LOCK_READ1 124 /* a reset holds the four from here */
#define WALINDEX_SEGMENT_BYTES 32768u

/* One consistent copy of the 48-byte header, in host order. */
struct walindex_header {
    uint32_t change;          /* iChange: +1 per commit, 0 after recovery */
    uint32_t page_bytes;      /* 0 when no commit was ever indexed */
    uint32_t max_frame;       /* mxFrame: last published frame; 0: none */
    uint32_t size_pages;      /* nPage: database size */
    struct frame_chain chain; /* aFrameCksum of max_frame */
    uint8_t salt[FRAME_SALT_BYTES]; /* raw, as in the WAL header */
};

struct walindex {
    int fd; /* borrowed */
    bool writable;
    uint8_t **segments; /* lazily mapped, 32 KiB each; NULL: not yet */
    uint32_t segments_count;
};

/*
 * Maps nothing yet. fd: an open -shm, borrowed; it may be shorter than one
 * segment. writable: for walindex_append and walindex_publish too; the file
 * then grows through this descriptor, which must see the same size as SQLite
 * does: the one opened through the mount. Always 0.
 */
int walindex_open(struct walindex *index, int fd, bool writable);

/* Unmaps. Takes zeroed, half-built and closed alike. */
void walindex_close(struct walindex *index);

/*
 * Writes changed pages of a mapped -shm of the mount back, before munmap().
 * munmap() would do it, too, but with this process's memory map locked: a
 * FUSE worker that needs memory could then not answer that very write. fd:
 * opened through the mount; in passthrough there is nothing to write back.
 */
void walindex_write_back(int fd);

/*
 * Reads the header: both copies equal, initialised, checksum good. -EAGAIN
 * after a bounded number of tries when a writer is between the copies or the
 * file is not initialised; it may stay so when a writer died there: somebody
 * must recover, or the holder of WRITE publish again. -EINVAL for a version
 * that is not 3007000 or a page size that is none; others as the world said.
 */
int walindex_read(struct walindex *index, struct walindex_header *ret_header);

/* True when nothing was published between a and b: all 48 bytes are equal.
 * SQLite keeps its page cache across transactions by the same test. */
bool walindex_header_is_equal(const struct walindex_header *a,
                              const struct walindex_header *b);

/* Cheap and racy: mxFrame and iChange of copy 0, to see that something moved.
 * 0 in both when nothing is mapped yet. Never blocks. */
void walindex_peek(struct walindex *index, uint32_t *ret_max_frame,
                   uint32_t *ret_change);

/* nBackfill: frames already copied into the database. Moves at any time, up
 * to the header's max_frame, unless the caller holds CHECKPOINT; back to 0 at
 * a reset. 0 when the file has no first segment yet. */
uint32_t walindex_backfilled(struct walindex *index);

/*
 * The newest frame of pgno in (minimum, maximum], 0 when there is none: the
 * page is then in the database file. -EIO for a broken hash table or a file
 * too short for maximum. The caller holds a read mark that keeps the
 * generation alive, and a header that said maximum.
 */
int walindex_find(struct walindex *index, pgno_t pgno, uint32_t minimum,
                  uint32_t maximum, uint32_t *ret_frame);

/*
 * Enters frame (header.max_frame + 1, + 2, ...) for pgno in the hash tables,
 * growing the file as SQLite does. Readers do not see it before the publish.
 * An error leaves frames entered before it: walindex_cleanup, or try again
 * from the same frame.
 */
int walindex_append(struct walindex *index, uint32_t frame, pgno_t pgno);

/* Forgets entries past max_frame, after frames were abandoned. */
void walindex_cleanup(struct walindex *index, uint32_t max_frame);

/*
 * Makes header the truth for the next reader: copy 1, barrier, copy 0. The
 * first segment is mapped already (walindex_read, walindex_append). change
 * must have moved with every commit: readers keep their page cache otherwise.
 */
void walindex_publish(struct walindex *index,
                      const struct walindex_header *header);

/*
 * The store half of a reset (the caller holds WRITE, CHECKPOINT and
 * READ1..READ4 and saw everything backfilled): header gets max_frame 0,
 * salt1 + 1 (both salts from `random` when they were 0), a new salt2, and is
 * published; then nBackfill, nBackfillAttempted and the read marks restart.
 */
void walindex_reset(struct walindex *index, struct walindex_header *header,
                    uint64_t random);

/* OFD lock calls on the -shm descriptor: one byte range, exclusive, never
 * blocking. walindex_lock: 0 or -EAGAIN when somebody holds any of it. */
int walindex_lock(int fd, int first_byte, int count);
void walindex_unlock(int fd, int first_byte, int count);

/* True when anybody (other than this descriptor) holds a lock that keeps us
 * from taking the byte exclusively, and when the system would not say. No
 * lock is taken. Any thread. */
bool walindex_is_locked(int fd, int byte);

#endif

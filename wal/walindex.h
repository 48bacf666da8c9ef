/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/walindex.h - SQLite's wal-index (-shm): read, search, append, publish.
 *
 * (byte map: see the table that follows; native byte order)
 *
 * The memory is shared with every SQLite process that has the database open;
 * all access to it is by atomics, and a paragraph in walindex.c says why each
 * lock-free read is safe. Who writes must hold WAL_WRITE (byte 120). The file
 * descriptor given to walindex_open is only borrowed. One thread at a time
 * per struct walindex; several maps of one file may exist.
 */
#ifndef TIDEMARK_WAL_WALINDEX_H
#define TIDEMARK_WAL_WALINDEX_H

#include "base/os.h"
#include "wal/frame.h"

#define WALINDEX_LOCK_WRITE 120
#define WALINDEX_LOCK_CHECKPOINT 121
#define WALINDEX_LOCK_RECOVER 122
#define WALINDEX_LOCK_READ0 123 /* READ0..READ4: 123..127 */
#define WALINDEX_SEGMENT_BYTES 32768u

/* One consistent copy of the 48-byte header, in host order. */
struct walindex_header {
    uint32_t change;     /* iChange: +1 per commit, 0 after recovery */
    uint32_t page_bytes; /* 0 when no commit was ever indexed */
    uint32_t max_frame;  /* mxFrame: last published frame; 0: none */
    uint32_t size_pages; /* nPage: database size */
    struct frame_chain chain;       /* aFrameCksum of max_frame */
    uint8_t salt[FRAME_SALT_BYTES]; /* raw, as in the WAL header */
};

struct walindex {
    int fd;             /* borrowed */
    bool writable;
    uint8_t **segments; /* lazily mapped, 32 KiB each */
    uint32_t segments_count;
};

/* Maps nothing yet. fd: an open -shm; it may be shorter than one segment.
 * writable: map for walindex_append and walindex_publish too. */
int walindex_open(struct walindex *index, int fd, bool writable);

/* Unmaps. Takes zeroed, half-built and closed alike. */
void walindex_close(struct walindex *index);

/*
 * Reads the header: both copies equal, initialised, checksum good. -EAGAIN
 * after a bounded number of tries when a writer is between the copies or the
 * file is not initialised; -EINVAL for a version that is not 3007000.
 */
int walindex_read(struct walindex *index, struct walindex_header *ret_header);

/* Cheap and racy: mxFrame and iChange of copy 0, to see that something moved.
 * 0 in both when nothing is mapped yet. Never blocks. */
void walindex_peek(struct walindex *index, uint32_t *ret_max_frame,
                   uint32_t *ret_change);

/* nBackfill: frames already copied into the database. */
uint32_t walindex_backfilled(struct walindex *index);

/*
 * The newest frame of pgno in (minimum, maximum], 0 when there is none: the
 * page is then in the database file. -EIO for a broken hash table. The caller
 * holds a read mark that keeps the generation alive.
 */
int walindex_find(struct walindex *index, pgno_t pgno, uint32_t minimum,
                  uint32_t maximum, uint32_t *ret_frame);

/* Enters frame (header.max_frame + 1, + 2, ...) for pgno in the hash tables,
 * growing the file as SQLite does. Readers do not see it before the publish. */
int walindex_append(struct walindex *index, uint32_t frame, pgno_t pgno);

/* Forgets entries past max_frame, after frames were abandoned. */
void walindex_cleanup(struct walindex *index, uint32_t max_frame);

/* Makes header the truth for the next reader: copy 1, barrier, copy 0. */
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

/* OFD lock calls on the -shm descriptor: one byte range, never blocking.
 * walindex_lock: 0 or -EAGAIN when somebody holds it. */
int walindex_lock(int fd, int first_byte, int count);
void walindex_unlock(int fd, int first_byte, int count);

/* True when anybody (other than this descriptor) holds a lock that keeps us
 * from taking the byte exclusively. No lock is taken. Any thread. */
bool walindex_is_locked(int fd, int byte);

#endif

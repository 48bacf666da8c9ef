/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/anchor.h - one idle, ordinary SQLite connection through the mount.
 *
 * While it is open SQLite itself keeps -shm alive, recovers what has to be
 * recovered, and lets nobody delete the WAL, leave WAL mode or work without
 * a wal-index. It never writes but to checkpoint. Its calls come back to the
 * mount as our own requests, so: worker or checkpoint threads only, never a
 * FUSE worker. One thread at a time.
 *
 * POSIX locks belong to process and inode: nothing else in the daemon may
 * open and close the database file or -shm through the mount while an anchor
 * is open, but the one -shm descriptor that is closed after it.
 */
#ifndef TIDEMARK_WAL_ANCHOR_H
#define TIDEMARK_WAL_ANCHOR_H

#include "base/os.h"

#include <stdbool.h>

struct sqlite3;

struct anchor {
    struct sqlite3 *connection; /* NULL: closed */
    const struct os_file *shm;  /* -shm through the mount, borrowed, while it
                                   is open; see walindex_write_back() */
};

/*
 * Opens path (through the mount) and reads once: recovery happens here.
 * -EAGAIN: locked by somebody, try later; -EBADMSG: SQLite says it is no
 * database or damaged; -EIO and others: as the system said.
 */
int anchor_open(struct anchor *anchor, const char *path);

/*
 * Closes. checkpoint: as the last one out SQLite copies the WAL back and
 * deletes it; without, WAL and -shm stay as they are. NULL-safe.
 */
void anchor_close(struct anchor *anchor, bool checkpoint);

/* A read transaction, so that what it sees stays readable. -EAGAIN: busy. */
int anchor_begin(struct anchor *anchor);
void anchor_end(struct anchor *anchor);

/* SQLite's PASSIVE checkpoint; frames in the WAL, and copied back. */
int anchor_checkpoint(struct anchor *anchor, int *ret_frames, int *ret_copied);

#endif

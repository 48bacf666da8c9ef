/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/attach.h - taking hold of a database and letting go of it again.
 *
 * Attached means: the anchor is open (SQLite keeps the wal-index alive), the
 * one -shm descriptor through the mount is open and mapped, the WAL is open,
 * and on a replica WAL_WRITE is ours. Worker only. All paths here are paths
 * of the mount, but the backing files that are only read.
 */
#ifndef TIDEMARK_WAL_ATTACH_H
#define TIDEMARK_WAL_ATTACH_H

#include "wal/engine.h"

/* Opens the backing main file if it is not open. -ENOENT: not there. */
int attach_main(struct database *database);

/* Says what page 1 in the main file says; false when it cannot be read. */
bool attach_is_wal(struct database *database);

/* -EAGAIN: somebody holds a lock, try later. Sets no state. */
int attach_open(struct database *database);

/*
 * Lets go. checkpoint: SQLite copies the WAL back and deletes it when nobody
 * else has the database open; all of it must have been captured and logged.
 */
void attach_close(struct database *database, bool checkpoint);

/* The main file was removed: -wal and -shm, which SQLite would have deleted
 * had we not kept them, go as well. Not when they are another file's by now. */
void attach_remove_companions(struct database *database);

/* Begins or ends watching the main file (rollback modes) or the WAL. */
int attach_watch(struct database *database, bool wal);
void attach_unwatch(struct database *database);

#endif

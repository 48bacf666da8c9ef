/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/rollback.h - commits in the rollback-journal modes, on the primary.
 *
 * At FSYNC(db) the database is final, the journal complete and EXCLUSIVE is
 * held: the changed pages become a PREPARED record, durable before the reply.
 * The commit operation (the journal is unlinked, truncated or zeroed) only
 * resolves it. With synchronous=OFF there is no FSYNC: then the commit
 * operation itself collects the pages. Without a journal (MEMORY, OFF) all
 * pages are compared by hash.
 */
#ifndef TIDEMARK_WAL_ROLLBACK_H
#define TIDEMARK_WAL_ROLLBACK_H

#include "wal/engine.h"

/* FSYNC(db) of a commit: emits PREPARED (or nothing when no page changed: a
 * playback). 0: the backing file may be synced and the FSYNC answered. -EAGAIN:
 * a commit before it has a note that is not handled yet. Worker only. */
int rollback_prepare(struct database *database);

/* FUSE thread, before the commit operation is done: what note it will make.
 * NULL: none. */
struct note *rollback_collect(struct database *database,
                              const struct os_file *journal);

/* The same thread, after it was done or failed: leaves the note. */
void rollback_collected(struct database *database, struct note *note, int rc);

/* Worker: a commit has a note that is not handled yet, or will have. */
bool rollback_is_pending(struct database *database);

/* Worker, with a read lock on the database: what was committed so far is in
 * what we are about to read; its notes are void. -EAGAIN: not all of them. */
int rollback_overtake(struct database *database);

/* Worker: the notes of rollback_collect, after the operation was done. */
int rollback_resolve(struct database *database, const struct note *note);
int rollback_changes(struct database *database, const struct note *note);

/* Worker: a transaction is under way, as far as the journal tells; its own
 * FSYNC or commit operation will explain what is in the file. */
bool rollback_is_open(struct database *database);

/* Worker: looks whether the file changed without a journal telling; sets
 * needs_reread. */
void rollback_check(struct database *database);

/* Worker: the same for who must know that every commit before now is known or
 * will be re-read. -EAGAIN: that cannot be told now, look again soon. */
int rollback_pass(struct database *database);

/* Worker: what is in the file now is what the position says. Nobody must be
 * able to change it meanwhile. */
void rollback_explained(struct database *database);

/* FUSE thread, before the file is cut by SETATTR and after: VACUUM does so
 * when its commit is done. Leaves a NOTE_CUT. */
void rollback_cutting(struct database *database);
void rollback_was_cut(struct database *database);

/* Worker: a NOTE_CUT. */
void rollback_cut(struct database *database, const struct note *note);

#endif

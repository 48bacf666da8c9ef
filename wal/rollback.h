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
 * playback). 0: the backing file may be synced and the FSYNC answered. Worker
 * only. */
int rollback_prepare(struct database *database);

/* FUSE thread, before the commit operation is done: what note it will make.
 * NULL: none. */
struct note *rollback_collect(struct database *database,
                              const struct os_file *journal);

/* Worker: the notes of rollback_collect, after the operation was done. */
int rollback_resolve(struct database *database, const struct note *note);
int rollback_changes(struct database *database, const struct note *note);

/* Worker: a transaction is under way, as far as the journal tells; its own
 * FSYNC or commit operation will explain what is in the file. */
bool rollback_is_open(struct database *database);

/* Worker: looks whether the file changed without a journal telling; sets
 * needs_reread. */
void rollback_check(struct database *database);

/* Worker: what is in the file now is known. */
void rollback_explained(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_replica.h - a replica's file and its log after a stop that was
 * not in order: what the log says is put into the file. At the start that is
 * done on the plain files. A database that was held back then, since processes
 * from before had it open, is done when they are gone: the mount is live, and
 * all that changes goes through it.
 */
#ifndef TIDEMARK_WAL_RECOVER_REPLICA_H
#define TIDEMARK_WAL_RECOVER_REPLICA_H

#include "wal/engine.h"

/* File and log agree on 0. rc: what recover_hashes() said; -EBADMSG, or a
 * file that is not what the log says, ends in recover_forget(). */
int recover_replica(struct database *database, int rc, bool live);

/* database->placed: the copy is put in its place again. rc: what
 * recover_hashes() said. -EBADMSG: it cannot be. */
int recover_placing(struct database *database, int rc, bool live);

/* What we have cannot be trusted: it moves aside, a copy takes its place. why:
 * a sentence without its end, for lost/ and the log. */
int recover_forget(struct database *database, const char *why, bool live);

/* State HELD_BACK, worker: goes on if nobody has it open any more, else looks
 * again in a while. */
void recover_held_back(struct database *database);

#endif

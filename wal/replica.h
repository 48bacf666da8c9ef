/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/replica.h - one database on a replica, step by step. Worker only.
 */
#ifndef TIDEMARK_WAL_REPLICA_H
#define TIDEMARK_WAL_REPLICA_H

#include "wal/engine.h"

/* Takes the note; the caller no longer owns it. */
void replica_note(struct database *database, struct note *note);

/* After all notes: applies, publishes, checkpoints, lets go when idle. */
void replica_step(struct database *database);

/* Answers a parked request, or keeps it in database->waiting. */
void replica_parked(struct database *database, struct parked *parked);

/* A record contradicts what we have: nothing more is applied until the
 * primary decides anew. The first reason stays. */
void replica_stop(struct database *database, const char *reason);

/* Stopping, or nobody uses it: checkpoints and closes. */
void replica_detach(struct database *database);

/* Attaches if it is not: 0, -EAGAIN and others as attach_open(). */
int replica_attach(struct database *database);

/* Lets go of the database, removes its files from the mount (readers keep
 * what they have open) and calls place. */
int replica_replace(struct database *database,
                    int (*place)(struct database *database));

/* The view names the PREPARED that waits in the log which counts now: the
 * copy's while one is under way. Due when that log, or which it is, changed. */
void replica_show_prepared(struct database *database);

/* What was taken from the queue counts as consumed, and the view says how far
 * a copy is. When all effects of it are in the view. */
void replica_show_consumed(struct database *database);

/* The log becomes durable before long, and the view says so. */
void replica_sync_soon(struct database *database);

/* Writes the side file of page hashes for position; not while they are in
 * doubt. */
void replica_save_hashes(struct database *database,
                         const struct position *position, uint32_t page_bytes);

#endif

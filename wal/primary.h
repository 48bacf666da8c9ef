/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/primary.h - one database on the primary, step by step. Worker only.
 */
#ifndef TIDEMARK_WAL_PRIMARY_H
#define TIDEMARK_WAL_PRIMARY_H

#include "wal/engine.h"

/* What the database's parked requests are. */
enum primary_parked {
    PARKED_OPEN,
    PARKED_FSYNC_WAL,
    PARKED_FSYNC_MAIN,
    PARKED_PASS,
};

/* Makes the database readable as a reader sees it: attached when it is in WAL
 * mode. -EAGAIN: not now. */
int primary_ready(struct database *database);

/* Everything a reader could see before this call is in the position when it
 * returns 0. -EAGAIN: not now. */
int primary_settle(struct database *database);

/* Handles one note. */
void primary_note(struct database *database, struct note *note);

/* Attaches, captures, looks again, lets go: whatever is due. modified: an
 * application wrote since the last step; synced: a commit's FSYNC was just
 * answered. */
void primary_step(struct database *database, bool modified, bool synced);

/* Answers a parked request, or keeps it in database->waiting. */
void primary_parked(struct database *database, struct parked *parked);

/* Stopping, or nobody uses it: captures, syncs, closes. */
void primary_detach(struct database *database);

#endif

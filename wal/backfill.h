/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/backfill.h - when a replica's WAL goes back into the database file and
 * starts over. Worker only.
 */
#ifndef TIDEMARK_WAL_BACKFILL_H
#define TIDEMARK_WAL_BACKFILL_H

#include "wal/engine.h"

/* Asks the checkpoint thread for a checkpoint when the WAL is large enough, or
 * holds a copy. */
void backfill_if_due(struct database *database);

/* The checkpoint thread is done (apply.checkpoint_...). */
void backfill_done(struct database *database);

#endif

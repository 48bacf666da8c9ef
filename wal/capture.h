/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/capture.h - committed frames of a WAL become records, on the primary.
 *
 * Capture only observes: it takes no WAL lock and SQLite resets its WAL
 * itself. The gate (database.h, FSYNC) makes sure that nothing uncaptured is
 * overwritten; iChange of the wal-index, +1 at every commit, proves it: the
 * commits counted must equal its rise, else none of them is captured and the
 * database is re-read.
 * Worker only, database attached.
 */
#ifndef TIDEMARK_WAL_CAPTURE_H
#define TIDEMARK_WAL_CAPTURE_H

#include "wal/engine.h"

/*
 * Captures all that is published. 1: something was; 0: nothing new; -EAGAIN:
 * a writer is just publishing, look again; -ESTALE: frames were missed, the
 * database must be re-read (nothing is lost but the steps between); others:
 * as the world said, nothing moved, call again later.
 */
int capture_pass(struct database *database);

/* Capture goes on after header (a re-read or recovery brought us there). */
void capture_start(struct database *database,
                   const struct walindex_header *header);

/*
 * The second look: true when the file holds a whole commit frame that is not
 * published yet. Publishing raises no event, so the worker looks again soon.
 */
bool capture_is_pending(struct database *database);

/* True when the wal-index moved past what was captured; cheap. */
bool capture_has_news(struct database *database);

void capture_free(struct capture *capture);

#endif

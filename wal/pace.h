/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/pace.h - when capture looks at a WAL that is written without a rest.
 *
 * At rest every write wakes the worker (inotify), so that a lone commit is
 * captured at once. Under load that is dear for the one who must not pay:
 * each of the writer's write() calls allocates an event and wakes a thread,
 * more work than the write itself; with FULL the end of the FSYNC wakes it once
 * more. So while commits come quickly the worker asks for no events and looks
 * by itself, every 200 us to 1 ms, so that some commits are there; batches grow
 * and cost less. When commits become rare it asks for events again. A gate, a
 * token and a forced pass never wait for a pace.
 * Worker only, database attached on the primary.
 */
#ifndef TIDEMARK_WAL_PACE_H
#define TIDEMARK_WAL_PACE_H

#include "wal/engine.h"

/* In each step of an attached database, after its pass.
 * True: just went back to events, what came meanwhile raised none: look once
 * more. */
bool pace_step(struct database *database);

/*
 * The second look. Publishing a commit raises no event, its write and, with
 * FULL, its FSYNC come before. So while a whole commit frame lies unpublished
 * we look again: at once for some microseconds, then at growing intervals.
 * modified, synced: which event brought us here, none: a timer.
 * True: it is published now, capture it.
 */
bool pace_look(struct database *database, bool modified, bool synced);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/pace.h - when capture looks at a WAL that is written without a rest.
 *
 * At rest every write wakes the worker (inotify), so that a lone commit is
 * captured at once. Under load that is dear for the one who must not pay:
 * each of the writer's write() calls allocates an event and wakes a thread,
 * more work than the write itself. So while several commits arrive per look
 * the worker asks for no events and looks every PACE_NS instead; batches grow
 * and cost less. When commits become rare it asks for events again. A gate, a
 * token and a forced pass never wait for a pace.
 * Worker only, database attached on the primary.
 */
#ifndef TIDEMARK_WAL_PACE_H
#define TIDEMARK_WAL_PACE_H

#include "wal/engine.h"

/* After each step of an attached database; commits: how many it captured.
 * True: just went back to events, what came meanwhile raised none: look once
 * more. */
bool pace_step(struct database *database, uint64_t commits);

/*
 * The second look. Publishing a commit raises no event, its write and, with
 * FULL, its FSYNC come before. So while a whole commit frame lies unpublished
 * we look again: at once for some microseconds, then at growing intervals.
 * modified, synced: which event brought us here, none: a timer.
 * True: it is published now, capture it.
 */
bool pace_look(struct database *database, bool modified, bool synced);

#endif

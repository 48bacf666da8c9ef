/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/budget.h - what the logs of all databases may take together.
 *
 * While they are below it, each keeps what it may for itself (log.retain).
 * Above it there is a level, as of water: no log may be larger than it, and it
 * is as high as it can be for all of them to fit, so that many small logs never
 * pay for a large one. Those above it are woken and trim themselves.
 */
#ifndef TIDEMARK_WAL_BUDGET_H
#define TIDEMARK_WAL_BUDGET_H

#include "wal/engine.h"

#define BUDGET_NONE UINT64_MAX

/* The level for logs of these sizes: the highest at which they fit into total,
 * BUDGET_NONE when they do as they are. Sorts sizes. Pure. */
uint64_t budget_level(uint64_t *sizes, size_t count, uint64_t total);

/* The database's log has another size now. Worker, or the start. */
void budget_count(struct database *database);

/* It is dropped: its log is nobody's any more. */
void budget_forget(struct database *database);

/* How large a log may be now. Any thread. */
uint64_t budget_limit(struct catalog *catalog);

/* All logs together: looks where the level is, once a second at most, and wakes
 * those above it. Worker. */
void budget_step(struct catalog *catalog);

#endif

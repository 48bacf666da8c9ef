/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/retention.h - how much of its log a database keeps for replicas that
 * come back: log.retain bytes of it, and nothing older than log.max_age; less
 * when all logs together are too large (budget.h). What every replica that the
 * primary knows of has durable is kept for nobody, but for a little. Never
 * trimmed: what recovery redoes, what a copy under way needs, and the newest
 * segment, whatever its size and age.
 *
 * Age is looked at now and then while the database is used, and when it is let
 * go of: a log that does not grow wakes nobody. Worker only.
 */
#ifndef TIDEMARK_WAL_RETENTION_H
#define TIDEMARK_WAL_RETENTION_H

#include "wal/engine.h"

#define RETAIN_LEAST_BYTES (16u << 20) /* though no replica needs it */

/* A while has passed since the last look: worth moving the base for. */
bool retention_is_due(struct database *database);

/* All logs together are too large, this one is one of the large ones, and it is
 * a while since all of it was needed. */
bool retention_is_over(struct database *database);

/* A replica's: recovery needs what comes after, for file and hashes. */
txid_t retention_base(const struct database *database);

/* Trims. base: recovery redoes what comes after it; saved, and durable. */
void retention_apply(struct database *database, txid_t base);

/* A replica's: counts its log, and trims it when it is over. */
void retention_look(struct database *database);

/* A primary's side file of page hashes follows the log at a distance, so that
 * recovery is short, and the log's end at most as far behind it as it may be.
 * now: whatever the distance. */
void retention_step(struct database *database, bool now);

#endif

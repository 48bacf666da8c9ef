/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/decide.h - how a replica gets what it lacks, by histories
 * and never by TXID alone:
 *
 *   not ready, or a copy needed of no content    NOTHING, BUSY; again later
 *   replica has nothing                          copy, NEW; or RESUME
 *                                                from 0 when neither have we,
 *                                                or when we lend and have all
 *                                                records
 *   other lineage                                copy, LINEAGE, diverged
 *   replica holds what we do not, same history   copy, AHEAD, diverged
 *   histories part before the replica's TXID     copy, DIVERGED, diverged
 *   same TXID, other sum                         copy, SUM
 *   our log begins after its next TXID           copy, TRIMMED
 *   else                                         RESUME
 *
 * A copy is a DELTA when the replica has pages of our size and lineage to
 * compare with, else a SNAPSHOT. Diverged: what it has is nobody else's and is
 * to be kept aside. Of SUM it is not: the same commits, wrongly applied.
 * Who lends replaces nothing: a primary that has something gets NOTHING then.
 *
 * Pure. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_DECIDE_H
#define TIDEMARK_REPLICATION_CORE_DECIDE_H

#include "replication/core/feed.h"

/* replica: NULL when it has nothing. */
enum body_mode decide_open(const struct feed_source *source,
                           const struct body_database *replica,
                           enum body_reason *ret_reason, bool *ret_diverged);

/* Are there pages, and are they for that one? */
bool decide_may_copy(const struct feed_source *source,
                     const struct body_database *replica);

/* DELTA or SNAPSHOT, when it has to be a copy. */
enum body_mode decide_copy(const struct feed_source *source,
                           const struct body_database *replica);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/lag.h - how far one replica is behind in one database, on
 * the clock of whoever measures.
 *
 * The primary notes when it published a TXID and when it hears that a replica
 * has applied it: the difference includes the way back, and no two clocks are
 * compared. A few marks are enough: when they run out the newest is widened,
 * which can only make the measure larger, by the time between two marks.
 * Pure. Any thread, one owner.
 */
#ifndef TIDEMARK_REPLICATION_CORE_LAG_H
#define TIDEMARK_REPLICATION_CORE_LAG_H

#include "wal/position.h"

#include <stddef.h>

#define LAG_MARKS 64u

struct lag_mark {
    txid_t txid;
    uint64_t at_ns;
};

struct lag {
    struct lag_mark marks[LAG_MARKS]; /* a ring, TXIDs ascending */
    size_t first, count;
    txid_t published, applied;
    txid_t backlog;   /* up to here it was missing at the start */
    uint64_t last_ns; /* newest measure; 0: none yet */
};

/* The source reached txid at now_ns. */
void lag_published(struct lag *lag, txid_t txid, uint64_t now_ns);

/* It was heard at now_ns that the replica has applied up to txid. */
void lag_applied(struct lag *lag, txid_t txid, uint64_t now_ns);

/* The replica starts over (a new OPEN), with what it has applied by then;
 * what was noted is void. What it lacks of what is published ages from now,
 * but is no measure: when it was committed is not known. */
void lag_restart(struct lag *lag, txid_t applied, txid_t published,
                 uint64_t now_ns);

/* Caught up: the newest measure. Behind: the age of what it lacks, or the
 * newest measure when that is larger. */
uint64_t lag_ns(const struct lag *lag, uint64_t now_ns);

/* Transactions it lacks. */
uint64_t lag_txids(const struct lag *lag);

#endif

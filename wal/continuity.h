/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/continuity.h - which record may come after which in one log.
 *
 * A log tells one history without holes. After the position moved to TXID n
 * the next record covers n + 1: it may begin earlier (images are whole pages,
 * applying some again is harmless) but never later, and epochs never fall. A
 * PREPARED waits beside the position until the next record decides: RESOLVE
 * and RESOLVE|ABORT of its TXID, or another record of that TXID, which makes
 * it void. The parts of a record come in order, with nothing in between.
 *
 *   record                  may come when
 *   part k > 1              part k - 1 of the same record was the last
 *   RESOLVE (commit)        the PREPARED of its TXID waits
 *   any other               first TXID <= n + 1 <= last TXID
 *   the first in a log      it is none of the first two, TXID > 0
 *
 * Pure. One owner each.
 */
#ifndef TIDEMARK_WAL_CONTINUITY_H
#define TIDEMARK_WAL_CONTINUITY_H

#include "wal/record.h"

/* In each header parts == 0 means "none". */
struct continuity {
    struct record_header last;       /* last part of the newest that moved */
    struct record_header prepared;   /* last part of a PREPARED that waits */
    struct record_header unfinished; /* newest part, the last one is missing */
};

/* May header come next? */
bool continuity_accepts(const struct continuity *continuity,
                        const struct record_header *header);

/* It came; it must be acceptable. */
void continuity_advance(struct continuity *continuity,
                        const struct record_header *header);

/* The TXID the position stands at; 0: nothing moved it yet. */
txid_t continuity_txid(const struct continuity *continuity);

/* The same, a waiting PREPARED counted: the last TXID of all whole records. */
txid_t continuity_end_txid(const struct continuity *continuity);

/* Where the RESOLVE of the PREPARED that waits would move to; TXID 0: none
 * waits. */
struct position continuity_prepared(const struct continuity *continuity);

/* The last TXID of whatever came last, an unfinished record too. */
txid_t continuity_reach_txid(const struct continuity *continuity);

#endif

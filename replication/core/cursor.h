/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/cursor.h - what comes next in a sequence of records.
 *
 * Both halves of a stream hold one and move it by the same rules, so what the
 * feed thinks it sent and what the follower thinks it got stay one thing. Two
 * records make a TXID more than a number: a large transaction travels in
 * parts, and a PREPARED is followed by the RESOLVE of the same TXID.
 * Pure. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_CURSOR_H
#define TIDEMARK_REPLICATION_CORE_CURSOR_H

#include "wal/record.h"

#include <stdbool.h>

struct cursor {
    txid_t txid;   /* the first one still missing; >= 1 */
    uint32_t part; /* of its record, from 1 */
    bool prepared; /* its PREPARED is here, its RESOLVE is missing */
};

enum cursor_verdict {
    CURSOR_NEXT, /* this is the one */
    CURSOR_OLD,  /* all of it is here already: harmless, skip it */
    CURSOR_GAP,  /* something between is missing */
};

/* A cursor behind txid. */
static inline struct cursor cursor_after(txid_t txid)
{
    return (struct cursor){.txid = txid + 1, .part = 1};
}

/* True between two transactions: everything before is whole and decided. */
static inline bool cursor_is_between(const struct cursor *cursor)
{
    return cursor->part == 1 && !cursor->prepared;
}

/*
 * A record that begins before the cursor and reaches it is CURSOR_NEXT: its
 * page images are physical, so having some of its transactions already does
 * no harm (it was batched anew for somebody who was further behind).
 */
enum cursor_verdict cursor_judge(const struct cursor *cursor,
                                 const struct record_header *header);

/* Moves over a record that is CURSOR_NEXT. */
void cursor_advance(struct cursor *cursor, const struct record_header *header);

#endif

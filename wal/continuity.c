/* SPDX-License-Identifier: Apache-2.0 */
/* wal/continuity.c - see continuity.h. */
#include "wal/continuity.h"

#include "base/assert.h"

/* The TXID the next record must cover; 0: whichever it likes. */
static txid_t next_txid(const struct continuity *continuity)
{
    if (continuity->last.parts != 0)
        return continuity->last.last_txid + 1;
    return continuity->prepared.parts != 0 ? continuity->prepared.last_txid : 0;
}

bool continuity_accepts(const struct continuity *continuity,
                        const struct record_header *header)
{
    const struct record_header *unfinished = &continuity->unfinished;
    const struct record_header *prepared = &continuity->prepared;
    txid_t next = next_txid(continuity);

    if (unfinished->parts != 0)
        return record_is_same(unfinished, header) &&
               header->part == unfinished->part + 1;
    if (header->part != 1 || header->first_txid == 0)
        return false;
    if (header->flags == RECORD_RESOLVE &&
        (prepared->parts == 0 || prepared->last_txid != header->last_txid))
        return false;
    if (next == 0)
        return true;
    return header->epoch >= continuity->last.epoch &&
           header->first_txid <= next && next <= header->last_txid;
}

void continuity_advance(struct continuity *continuity,
                        const struct record_header *header)
{
    ASSERT(continuity_accepts(continuity, header));
    continuity->unfinished.parts = 0;
    if (header->part < header->parts) {
        continuity->unfinished = *header;
    } else if (record_moves(header)) {
        continuity->last = *header;
        continuity->prepared.parts = 0;
    } else {
        continuity->prepared = *header;
    }
}

txid_t continuity_txid(const struct continuity *continuity)
{
    return continuity->last.parts != 0 ? continuity->last.last_txid : 0;
}

txid_t continuity_end_txid(const struct continuity *continuity)
{
    return continuity->prepared.parts != 0 ? continuity->prepared.last_txid
                                           : continuity_txid(continuity);
}

struct position continuity_prepared(const struct continuity *continuity)
{
    if (continuity->prepared.parts == 0)
        return (struct position){0};
    return record_position(&continuity->prepared);
}

txid_t continuity_reach_txid(const struct continuity *continuity)
{
    return continuity->unfinished.parts != 0 ? continuity->unfinished.last_txid
                                             : continuity_end_txid(continuity);
}

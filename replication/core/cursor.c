/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/cursor.c - see cursor.h. */
#include "replication/core/cursor.h"

#include "base/assert.h"

enum cursor_verdict cursor_judge(const struct cursor *cursor,
                                 const struct record_header *header)
{
    bool resolve = (header->flags & RECORD_RESOLVE) != 0;

    if (header->last_txid < cursor->txid)
        return CURSOR_OLD;
    if (header->first_txid > cursor->txid)
        return CURSOR_GAP;
    /* The PREPARED comes again, before the RESOLVE that we are after. */
    if (cursor->prepared && (header->flags & RECORD_PREPARED) != 0)
        return CURSOR_OLD;
    if (cursor->prepared != resolve)
        return CURSOR_GAP;
    if (header->part < cursor->part)
        return CURSOR_OLD;
    return header->part == cursor->part ? CURSOR_NEXT : CURSOR_GAP;
}

void cursor_advance(struct cursor *cursor, const struct record_header *header)
{
    ASSERT(cursor_judge(cursor, header) == CURSOR_NEXT);
    if (header->part < header->parts)
        cursor->part++;
    else if ((header->flags & RECORD_PREPARED) != 0)
        *cursor = (struct cursor){header->last_txid, 1, true};
    else
        *cursor = cursor_after(header->last_txid);
}

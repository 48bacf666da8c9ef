/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/ask.c - see ask.h. */
#include "replication/core/ask.h"

enum ask_answer ask_judge(const struct lineage *lineage,
                          const struct position *position,
                          const struct history *history,
                          const struct body_database *replica)
{
    txid_t theirs = replica->received_txid, common;

    if (!lineage_is_equal(lineage, &replica->lineage))
        return ASK_OTHER;
    common = history_common(history, position->txid, &replica->history, theirs);
    if (common == theirs)
        return ASK_NOTHING;
    if (common < position->txid ||
        history_epoch_of(&replica->history, position->txid) != position->epoch)
        return ASK_PARTED;
    return ASK_MORE;
}

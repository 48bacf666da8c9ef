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

static epoch_t epoch_of(const struct body_database *replica)
{
    return history_epoch_of(&replica->history, replica->received_txid);
}

bool ask_is_better(const struct body_database *a, const struct body_database *b)
{
    epoch_t ours = epoch_of(a), theirs = epoch_of(b);

    return ours != theirs ? ours > theirs : a->received_txid > b->received_txid;
}

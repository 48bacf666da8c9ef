/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/decide.c - see decide.h. */
#include "replication/core/decide.h"

/* BODY_NONE: the replica's content is a beginning of ours. */
static enum body_reason compare(const struct feed_source *source,
                                const struct body_database *replica)
{
    const struct position *ours = &source->position;
    const struct position *theirs = &replica->position;
    txid_t common = history_common(source->history, ours->txid,
                                   &replica->history, replica->received_txid);

    if (common < replica->received_txid)
        return common == ours->txid ? BODY_AHEAD : BODY_DIVERGED;
    /* The epoch that its last commit really carries, whatever the history it
     * was told: a node may have heard of a new history and died before it
     * got the content. */
    if (theirs->epoch != history_epoch_of(source->history, theirs->txid))
        return BODY_DIVERGED;
    if (theirs->txid == ours->txid && theirs->sum != ours->sum)
        return BODY_SUM;
    return BODY_NONE;
}

static bool log_reaches(const struct feed_source *source, txid_t txid)
{
    if (txid == source->position.txid)
        return true; /* nothing is missing */
    return source->first_log_txid != 0 && source->first_log_txid <= txid + 1;
}

/* Who has nothing needs all of it. A primary that lost all of it had better
 * have the log, too: other replicas are going to ask it for that. */
static enum body_reason reason_for_new(const struct feed_source *source)
{
    bool logged = source->lends && source->first_log_txid == 1;

    return source->position.txid == 0 || logged ? BODY_NONE : BODY_NEW;
}

static enum body_reason copy_reason(const struct feed_source *source,
                                    const struct body_database *replica)
{
    enum body_reason reason;

    if (replica != NULL &&
        !lineage_is_equal(&source->lineage, &replica->lineage))
        return BODY_LINEAGE;
    if (replica == NULL || replica->received_txid == 0)
        return reason_for_new(source);
    reason = compare(source, replica);
    if (reason == BODY_NONE && !log_reaches(source, replica->received_txid))
        reason = BODY_TRIMMED;
    return reason;
}

/* Is there anything there that is worth comparing? */
static bool has_base(const struct feed_source *source,
                     const struct body_database *replica)
{
    return replica != NULL && replica->base_pages > 0 &&
           replica->base_page_bytes == source->page_bytes &&
           lineage_is_equal(&source->lineage, &replica->lineage);
}

enum body_mode decide_copy(const struct feed_source *source,
                           const struct body_database *replica)
{
    return has_base(source, replica) ? BODY_DELTA : BODY_SNAPSHOT;
}

bool decide_may_copy(const struct feed_source *source,
                     const struct body_database *replica)
{
    bool has_some = replica != NULL && replica->received_txid > 0;

    return source->page_bytes != 0 && !(source->lends && has_some);
}

enum body_mode decide_open(const struct feed_source *source,
                           const struct body_database *replica,
                           enum body_reason *ret_reason, bool *ret_diverged)
{
    enum body_reason reason = BODY_BUSY;
    enum body_mode mode = BODY_NOTHING;

    if (source->ready) {
        reason = copy_reason(source, replica);
        mode = reason == BODY_NONE ? BODY_RESUME : decide_copy(source, replica);
    }
    if (body_mode_copies(mode) && !decide_may_copy(source, replica)) {
        mode = BODY_NOTHING;
        reason = BODY_BUSY;
    }
    *ret_reason = reason;
    *ret_diverged = body_mode_copies(mode) &&
                    (reason == BODY_LINEAGE || reason == BODY_AHEAD ||
                     reason == BODY_DIVERGED);
    return mode;
}

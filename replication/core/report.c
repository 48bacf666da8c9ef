/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/report.c - see report.h. */
#include "replication/core/report.h"

#include "base/assert.h"

#define CREDIT_STEP_BYTES (MESSAGE_CREDIT_BYTES / 4)

bool report_is_stopped(const struct follow *follow,
                       const struct follow_view *view)
{
    return view->stopped &&
           (!follow->restarting || view->consumed_bytes > follow->restarted_at);
}

void report_tell(const struct follow *follow, const struct follow_view *view,
                 struct body_database *ret_database)
{
    txid_t received = follow->next.txid - 1;

    ret_database->position = (struct position){0};
    ret_database->received_txid = 0;
    ret_database->durable_txid = 0;
    ret_database->prepared = (struct position){0};
    ret_database->base_page_bytes = view->base_page_bytes;
    ret_database->base_pages = view->base_pages;
    if (view->copying || follow_is_copying(follow) || follow->astray ||
        report_is_stopped(follow, view))
        return;
    ASSERT(view->position.txid <= received); /* we offered all there is */
    ret_database->position = view->position;
    ret_database->received_txid = received;
    ret_database->durable_txid = view->durable_txid < received
                                     ? view->durable_txid
                                     : received;
    ret_database->prepared = follow->prepared;
}

static bool ack_is_equal(const struct body_ack *a, const struct body_ack *b)
{
    return a->serial == b->serial && a->received_txid == b->received_txid &&
           a->durable_txid == b->durable_txid &&
           position_is_equal(&a->position, &b->position);
}

/* Last TXID of which we were sent something under this OPEN. */
static txid_t heard_txid(const struct follow *follow)
{
    return follow->next.prepared ? follow->next.txid : follow->next.txid - 1;
}

/*
 * The log may hold another PREPARED of that TXID, of a primary that is none
 * any more, while the one sent under this OPEN lies in our queue. Only that
 * one counts; an equal one from before is as good, it has the same content.
 */
static bool prepared_counts(const struct follow *follow,
                            const struct follow_view *view)
{
    return follow->next.prepared &&
           position_is_equal(&view->prepared, &follow->prepared);
}

static void ack_fill(const struct follow *follow,
                     const struct follow_view *view, struct body_ack *ack)
{
    txid_t heard = heard_txid(follow);

    ack->position = view->position;
    ack->received_txid = view->received_txid < heard ? view->received_txid
                                                     : heard;
    if (ack->received_txid < ack->position.txid)
        ack->received_txid = ack->position.txid;
    ack->durable_txid = view->durable_txid < ack->received_txid
                            ? view->durable_txid
                            : ack->received_txid;
    if (!prepared_counts(follow, view))
        return;
    ack->received_txid = view->prepared.txid;
    if (view->prepared_durable)
        ack->durable_txid = view->prepared.txid;
}

bool report_ack(const struct follow *follow, const struct follow_view *view,
                struct body_ack *ret_ack)
{
    struct body_ack ack = {.serial = follow->serial};

    if (!follow_is_open(follow))
        return false;
    if (follow->state == FOLLOW_STREAMING) {
        /* We went on after telling what we have, and are being sent some of
         * it again: nothing the primary could make sense of yet. */
        if (view->position.txid > heard_txid(follow))
            return false;
        ack_fill(follow, view, &ack);
    }
    if (ack_is_equal(&ack, &follow->acked))
        return false;
    *ret_ack = ack;
    return true;
}

uint32_t report_credit(const struct follow *follow,
                       const struct follow_view *view)
{
    uint64_t consumed = view->consumed_bytes, due;

    if (consumed < follow->offered_before)
        consumed = follow->offered_before;
    ASSERT(consumed <= follow->offered);
    due = consumed - follow->offered_before + follow->dropped -
          follow->credited;
    /* What is held back stays below a quarter of the window: the primary
     * always has credit again once all it sent is done with. */
    if (due < CREDIT_STEP_BYTES)
        return 0;
    return due > INT32_MAX ? INT32_MAX : (uint32_t)due;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/channel.c - see channel.h.
 *
 * Happy path: record arrives -> record_check -> follow says OFFER -> the blob,
 * as it came off the wire, goes to the engine by reference -> the engine
 * moves -> PROGRESS -> ACK. What its own hashes do not fit is not handed on,
 * or it would lie in our log; follow turns it into a RESYNC. Everything that
 * is decided here is logged here, once.
 */
#include "replication/net/channel.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/core/report.h"

#include <errno.h>
#include <stdio.h>

/* One event on its way through a channel. */
struct passage {
    struct channel *channel;
    const struct follow_event *event;
    struct blob *blob; /* RECORD, CHUNK, SAME, HASHES: borrowed */
};

/* ---- life -----------------------------------------------------------------*/

static struct follow_view follow_view_of(const struct database_view *view)
{
    return (struct follow_view){
        .position = view->position,
        .received_txid = view->received_txid,
        .durable_txid = view->durable_txid,
        .prepared = view->prepared,
        .prepared_durable = view->prepared_durable,
        .consumed_bytes = view->consumed_bytes,
        .copying = view->copying,
        .stopped = view->state == DATABASE_STOPPED,
        .base_page_bytes = view->base_page_bytes,
        .base_pages = view->base_pages,
    };
}

struct channel *channel_new(struct database *database)
{
    struct history history = {0};
    struct channel *channel;
    struct follow_view view;

    ASSERT_ON_LOOP();
    if (os_alloc(&channel, sizeof *channel, SITE_CHANNEL_ALLOC) < 0)
        return NULL;
    if (database_history(database, &history) < 0) {
        os_free(&channel);
        return NULL;
    }
    channel->database = database_ref(database);
    database_view(database, &channel->view);
    view = follow_view_of(&channel->view);
    view.epoch = history_last(&history);
    history_free(&history);
    follow_init(&channel->follow, &channel->view.lineage, &view);
    return channel;
}

void channel_free(struct channel *channel)
{
    if (channel == NULL)
        return;
    channel->freed = true;
    if (channel->asked)
        return; /* it comes back here with the answer */
    database_unref(channel->database);
    os_free(&channel);
}

/* ---- telling --------------------------------------------------------------*/

/* The caller frees ret_database->history. */
static int tell(struct channel *channel, struct body_database *ret_database)
{
    struct follow_view view = follow_view_of(&channel->view);

    ret_database->lineage = channel->view.lineage;
    snprintf(ret_database->name, sizeof ret_database->name, "%s",
             database_name(channel->database));
    report_tell(&channel->follow, &view, ret_database);
    return database_history(channel->database, &ret_database->history);
}

int channel_tell(struct channel *channel, struct blob **ret_blob)
{
    struct body_database database = {0};
    int rc;

    ASSERT_ON_LOOP();
    database_view(channel->database, &channel->view);
    rc = tell(channel, &database);
    if (rc == 0)
        rc = body_database_encode(&database, ret_blob);
    history_free(&database.history);
    return rc;
}

static void send_resync(struct channel *channel,
                        const struct follow_action *action)
{
    struct body_resync resync = {.reason = action->reason,
                                 .serial = action->serial};
    struct blob *blob;
    int rc = tell(channel, &resync.database);

    if (rc == 0)
        rc = body_resync_encode(channel->stream, &resync, &blob);
    history_free(&resync.database.history);
    log_warn("replication.resync", "database=%s reason=%s txid=%llu text=%s",
             logger_quote(database_name(channel->database)),
             body_reason_name(action->reason),
             (unsigned long long)resync.database.received_txid,
             logger_quote(channel->view.stopped));
    if (rc != 0)
        link_close(channel->link, rc);
    else
        link_send(channel->link, blob);
}

static void send_ack(struct channel *channel, const struct body_ack *ack)
{
    struct blob *blob;

    if (body_ack_encode(channel->stream, ack, &blob) < 0)
        link_close(channel->link, -ENOMEM);
    else
        link_send(channel->link, blob);
}

static void send_credit(struct channel *channel, uint32_t bytes)
{
    struct blob *blob;

    if (body_credit_encode(channel->stream, bytes, &blob) < 0)
        link_close(channel->link, -ENOMEM);
    else
        link_send(channel->link, blob);
}

static void refuse(struct channel *channel, enum body_reason reason)
{
    struct blob *blob;

    log_error("replication.refused", "database=%s peer=%s reason=%s",
              logger_quote(database_name(channel->database)),
              channel->link->peer, body_reason_name(reason));
    if (body_refuse_encode(MESSAGE_BYE, reason,
                           database_name(channel->database), &blob) == 0)
        link_send(channel->link, blob);
    link_flush_and_close(channel->link, -EPROTO);
}

/* ---- doing what follow says -----------------------------------------------*/

static void copy_begin(struct database *database, const struct body_open *open,
                       bool doubt)
{
    struct database_copy copy = {
        .start = open->position,
        .page_bytes = open->page_bytes,
        .size_pages = open->size_pages,
        .delta = open->mode == BODY_DELTA,
        .doubt = doubt,
        .keep = open->diverged,
    };

    database_copy_begin(database, &copy);
}

static void copy_same(const struct passage *passage)
{
    const struct body_same *same = passage->event->same;

    ASSERT(same != NULL); /* what cannot be read is not handed on */
    database_copy_same(passage->channel->database, blob_ref(passage->blob),
                       same->first, same->count, same->bits);
}

static void hashes_on_done(struct database_request *request);

/* One question at a time: until one of an older OPEN is answered, the next has
 * to wait. */
static void ask_hashes(struct channel *channel, pgno_t pgno)
{
    if (channel->asked)
        return;
    channel->request = (struct database_request){
        .on_done = hashes_on_done,
        .from_pgno = pgno,
        .max_bytes = BODY_RANGE_PAGES * sizeof(uint64_t),
    };
    channel->asked = true;
    channel->asked_turn = channel->turn;
    database_copy_hashes(channel->database, &channel->request);
}

static void send_hashes(const struct passage *passage)
{
    struct channel *channel = passage->channel;
    const struct blob *hashes = passage->blob;
    struct body_hashes body = {.serial = channel->follow.serial};
    struct blob *blob;
    int rc;

    ASSERT(hashes != NULL); /* or it had failed */
    body.count = (uint32_t)(hashes->size / sizeof(uint64_t));
    body.first = passage->event->next_pgno - body.count;
    rc = body_hashes_encode(channel->stream, &body, hashes->data,
                            passage->event->last, &blob);
    if (rc < 0)
        link_close(channel->link, rc);
    else
        link_send(channel->link, blob);
}

static void act_on_engine(const struct passage *passage,
                          const struct follow_action *action)
{
    struct database *database = passage->channel->database;
    const struct body_open *open = passage->event->open;

    switch ((int)action->kind) {
    case FOLLOW_DO_HISTORY:
        ASSERT(open != NULL);
        /* Without it tokens are judged by an older one; OPEN comes again. */
        if (database_set_history(database, &open->history) < 0)
            link_close(passage->channel->link, -ENOMEM);
        break;
    case FOLLOW_DO_OFFER:
        database_offer(database, blob_ref(passage->blob));
        break;
    case FOLLOW_DO_CHUNK:
        database_copy_chunk(database, blob_ref(passage->blob));
        break;
    case FOLLOW_DO_BEGIN:
        ASSERT(open != NULL);
        copy_begin(database, open, action->doubt);
        break;
    case FOLLOW_DO_SAME:
        copy_same(passage);
        break;
    case FOLLOW_DO_END:
        database_copy_end(database, &passage->event->position);
        break;
    case FOLLOW_DO_ABANDON:
        database_copy_abandon(database);
        break;
    case FOLLOW_DO_RESTART:
        database_restart(database);
        break;
    case FOLLOW_DO_DROP:
        database_drop(database);
        break;
    }
}

static void act(const struct passage *passage,
                const struct follow_action *action)
{
    struct channel *channel = passage->channel;

    switch ((int)action->kind) {
    case FOLLOW_DO_ACK:
        send_ack(channel, &action->ack);
        break;
    case FOLLOW_DO_CREDIT:
        send_credit(channel, action->bytes);
        break;
    case FOLLOW_DO_RESYNC:
        send_resync(channel, action);
        break;
    case FOLLOW_DO_HASH:
        ask_hashes(channel, action->pgno);
        break;
    case FOLLOW_DO_HASHES:
        send_hashes(passage);
        break;
    case FOLLOW_DO_REFUSE:
        refuse(channel, action->reason);
        break;
    default:
        act_on_engine(passage, action);
        break;
    }
}

/* A view that has all we know the primary to have had at primary_ns. */
static void note_current(struct channel *channel)
{
    if (channel->primary_ns != 0 && !channel->view.copying &&
        channel->view.position.txid >= channel->primary_txid)
        channel->current_ns = channel->primary_ns;
}

static void channel_step(struct channel *channel, struct follow_event *event,
                         struct blob *blob)
{
    struct passage passage = {channel, event, blob};
    struct follow_actions actions;

    ASSERT_ON_LOOP();
    database_view(channel->database, &channel->view);
    event->view = follow_view_of(&channel->view);
    event->now_ns = clock_now_ns();
    follow_step(&channel->follow, event, &actions);
    for (size_t i = 0; i < actions.count; i++)
        act(&passage, &actions.items[i]);
    note_current(channel);
}

/* ---- what happens ---------------------------------------------------------*/

static void log_open(const struct channel *channel,
                     const struct body_open *open)
{
    if (open->diverged)
        log_error("replication.diverged",
                  "database=%s reason=%s ours=%llu primary=%llu",
                  logger_quote(open->name), body_reason_name(open->reason),
                  (unsigned long long)channel->view.position.txid,
                  (unsigned long long)open->position.txid);
    else
        log_info("replication.open", "database=%s mode=%s reason=%s txid=%llu",
                 logger_quote(open->name), body_mode_name(open->mode),
                 body_reason_name(open->reason),
                 (unsigned long long)open->position.txid);
}

void channel_open(struct channel *channel, struct link *link, uint32_t stream,
                  const struct body_open *open)
{
    struct follow_event event = {.kind = FOLLOW_OPEN, .open = open};

    channel->link = link;
    channel->stream = stream;
    channel->turn++;
    channel->primary_txid = open->position.txid;
    log_open(channel, open);
    channel_step(channel, &event, NULL);
    if (open->mode != BODY_NOTHING)
        database_set_owner(channel->database, open->uid, open->gid,
                           open->mode_bits);
}

void channel_record(struct channel *channel, struct blob *blob, bool chunk)
{
    struct record_header header;
    struct follow_event event = {
        .kind = chunk ? FOLLOW_CHUNK : FOLLOW_RECORD,
        .bytes = blob->size,
    };

    if (record_check(blob->data, blob->size, &header) == 0)
        event.header = &header;
    /* A PREPARED is nothing the primary has yet: we are not behind by it. */
    if (event.header != NULL && !chunk && record_moves(&header) &&
        header.last_txid > channel->primary_txid)
        channel->primary_txid = header.last_txid;
    channel_step(channel, &event, blob);
    blob_unref(blob);
}

void channel_same(struct channel *channel, struct blob *blob)
{
    struct follow_event event = {.kind = FOLLOW_SAME, .bytes = blob->size};
    struct body_same same;

    if (body_same_decode(blob, &same) == 0)
        event.same = &same;
    channel_step(channel, &event, blob);
    blob_unref(blob);
}

/*
 * The engine's answer; rc < 0: not now, or not for this copy any more. Who asks
 * for more in this step has the request again, so nothing of it is used then.
 */
static void hashes_on_done(struct database_request *request)
{
    struct channel *channel = CONTAINER_OF(request, struct channel, request);
    struct blob *hashes = request->count > 0 ? request->blobs[0] : NULL;
    bool late = channel->asked_turn != channel->turn;
    struct follow_event event = {.kind = FOLLOW_HASHES,
                                 .failed = late || hashes == NULL,
                                 .next_pgno = request->from_pgno,
                                 .last = request->next_pgno == 0};

    channel->asked = false;
    if (hashes != NULL)
        event.next_pgno += (pgno_t)(hashes->size / sizeof(uint64_t));
    if (channel->freed) {
        channel_free(channel);
    } else {
        channel_step(channel, &event, hashes);
        if (late)
            channel_tick(channel); /* what is wanted now */
    }
    blob_unref(hashes);
}

void channel_copied(struct channel *channel, const struct position *position)
{
    struct follow_event event = {.kind = FOLLOW_COPIED, .position = *position};

    channel_step(channel, &event, NULL);
}

void channel_attr(struct channel *channel, const struct body_attr *attr)
{
    database_set_owner(channel->database, attr->uid, attr->gid,
                       attr->mode_bits);
}

void channel_drop(struct channel *channel)
{
    struct follow_event event = {.kind = FOLLOW_DROP};

    log_info("replication.drop", "database=%s",
             logger_quote(database_name(channel->database)));
    channel_step(channel, &event, NULL);
}

void channel_pulse(struct channel *channel, txid_t txid, uint64_t now_ns)
{
    if (txid > channel->primary_txid)
        channel->primary_txid = txid;
    channel->primary_ns = now_ns;
    note_current(channel);
}

void channel_changed(struct channel *channel)
{
    struct follow_event event = {.kind = FOLLOW_PROGRESS};

    channel_step(channel, &event, NULL);
}

void channel_tick(struct channel *channel)
{
    struct follow_event event = {.kind = FOLLOW_TICK};

    if (channel->follow.state == FOLLOW_RESTING ||
        channel->follow.state == FOLLOW_COPYING)
        channel_step(channel, &event, NULL);
}

void channel_lost(struct channel *channel)
{
    struct follow_event event = {.kind = FOLLOW_LOST};

    channel->turn++;
    channel_step(channel, &event, NULL);
    channel->link = NULL;
    channel->stream = 0;
    channel->primary_ns = 0;
}

uint64_t channel_age_ns(const struct channel *channel, uint64_t now_ns,
                        uint64_t round_trip_ns)
{
    if (channel->current_ns == 0)
        return UINT64_MAX;
    return now_ns - channel->current_ns + round_trip_ns;
}

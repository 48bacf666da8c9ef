/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/supply.c - see supply.h.
 *
 * Happy path at the tail, all in one turn of the loop: the database changed
 * -> SOURCE -> FETCH -> database_tail() has the blob -> RECORD -> SEND ->
 * uv_try_write. Behind: FETCH -> READ_LOG on the worker -> a batch of blobs,
 * sent one by one as credit and link allow -> the next READ_LOG.
 *
 * Failures: what the worker cannot read now is FAILED to the feed, which says
 * NOTHING to the replica and tries again each second; what the log no longer
 * has is TRIMMED. A replica that says what it cannot know ends the link.
 */
#include "replication/net/supply.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/net/notice.h"

#include <errno.h>

#define READ_BYTES (1u << 20) /* from the log at once, about */
#define COPY_BYTES (1u << 20) /* of pages in a chunk */

/* ---- life -----------------------------------------------------------------*/

struct supply *supply_new(struct database *database, struct link *link,
                          uint32_t stream, struct supply_room *room)
{
    struct supply *supply;

    ASSERT_ON_LOOP();
    if (os_alloc(&supply, sizeof *supply, SITE_SUPPLY_ALLOC) < 0)
        return NULL;
    supply->database = database_ref(database);
    supply->link = link;
    supply->stream = stream;
    supply->room = room;
    list_init(&supply->thirsty_link);
    list_init(&supply->unread_link);
    feed_init(&supply->feed, MESSAGE_CREDIT_BYTES);
    return supply;
}

/* From now on this supply will put so much on the link. */
static void promise(struct supply *supply, size_t bytes)
{
    supply->room->promised_bytes -= supply->promised_bytes;
    supply->room->promised_bytes += bytes;
    supply->promised_bytes = bytes;
}

static void batch_drop(struct supply *supply)
{
    while (supply->batch_first < supply->batch_count)
        blob_unref(supply->batch[supply->batch_first++]);
    supply->batch_first = supply->batch_count = 0;
}

static void supply_free(struct supply *supply)
{
    compare_free(supply->compare);
    history_free(&supply->replica.history);
    database_unref(supply->database);
    os_free(&supply);
}

void supply_close(struct supply *supply)
{
    ASSERT_ON_LOOP();
    list_remove(&supply->thirsty_link);
    list_remove(&supply->unread_link);
    batch_drop(supply);
    promise(supply, 0);
    database_pin(supply->database, supply, 0);
    database_need(supply->database, supply, 0);
    supply->link = NULL;
    supply->room = NULL;
    if (!supply->submitted)
        supply_free(supply);
}

/* ---- doing what the feed says ---------------------------------------------*/

static int compare_ready(struct supply *supply)
{
    if (supply->compare == NULL)
        supply->compare = compare_new();
    if (supply->compare == NULL)
        return -ENOMEM;
    compare_reset(supply->compare);
    return 0;
}

static void send_open(struct supply *supply, const struct feed_action *action)
{
    if (action->mode == BODY_DELTA && compare_ready(supply) < 0) {
        link_close(supply->link, -ENOMEM);
        return;
    }
    if (notice_open(supply, action) < 0)
        return;
    batch_drop(supply); /* whatever was read ahead is for another cursor */
    if (!supply->submitted)
        promise(supply, 0);
    lag_restart(&supply->lag,
                action->mode == BODY_RESUME && supply->replica_known
                    ? supply->replica.position.txid
                    : 0,
                supply->view.position.txid, clock_now_ns());
}

static void supply_act(struct supply *supply, const struct feed_action *action,
                       enum feed_event_kind because, struct blob *blob)
{
    switch (action->kind) {
    case FEED_DO_OPEN:
        send_open(supply, action);
        break;
    case FEED_DO_FETCH:
    case FEED_DO_COPY:
    case FEED_DO_COMPARE:
        supply->question = *action;
        supply->asked = true;
        break;
    case FEED_DO_SEND:
        link_send_body(supply->link,
                       because == FEED_CHUNK      ? MESSAGE_CHUNK
                       : because == FEED_COMPARED ? MESSAGE_SAME
                                                  : MESSAGE_RECORD,
                       0, supply->stream, blob_ref(blob));
        break;
    case FEED_DO_COPIED:
        notice_copied(supply, &action->position);
        break;
    case FEED_DO_PIN:
        database_pin(supply->database, supply, action->txid);
        break;
    case FEED_DO_DROP:
        notice_drop(supply);
        break;
    }
}

/* ---- answering the feed ---------------------------------------------------*/

static struct blob *batch_pop(struct supply *supply)
{
    struct blob *blob;

    if (supply->batch_first == supply->batch_count)
        return NULL;
    blob = supply->batch[supply->batch_first++];
    if (supply->promised_bytes > 0)
        promise(supply, supply->promised_bytes - blob->size);
    return blob;
}

static void supply_on_done(struct database_request *request);

static void supply_submit(struct supply *supply)
{
    const struct feed_action *question = &supply->question;
    bool copy = question->kind == FEED_DO_COPY;

    supply->request = (struct database_request){
        .kind = copy ? DATABASE_COPY : DATABASE_READ_LOG,
        .on_done = supply_on_done,
        .txid = question->cursor.txid,
        .after_prepared = question->cursor.prepared,
        .part = question->cursor.part,
        .max_bytes = copy ? COPY_BYTES : READ_BYTES,
        .from_pgno = question->pgno,
        .end_pgno = question->end_pgno,
    };
    if (question->kind == FEED_DO_COMPARE)
        compare_take(supply->compare, &supply->request);
    else if (copy && supply->feed.mode == BODY_DELTA)
        compare_skip(supply->compare, &supply->request);
    supply->submitted = true;
    supply->submitted_ask = question->ask;
    promise(supply, supply->request.max_bytes);
    database_submit(supply->database, &supply->request);
}

static bool is_asked(const struct supply *supply)
{
    return supply->asked && supply->question.ask == supply->feed.ask;
}

/* 0: a COMPARE has to wait for what the replica sends. */
static int is_answerable(const struct supply *supply)
{
    if (supply->question.kind != FEED_DO_COMPARE)
        return 1;
    return compare_is_ready(supply->compare, supply->question.pgno);
}

/* Asks workers for as much as the link can take. */
static void room_read(struct supply_room *room, struct link *link)
{
    struct supply *supply;

    while (!link->closing && !list_is_empty(&room->unread)) {
        if (link->queued_bytes + room->promised_bytes >= LINK_FULL_BYTES) {
            link_want_room(link); /* or the next answer comes back here */
            return;
        }
        supply = LIST_ENTRY(list_pop(&room->unread), struct supply,
                            unread_link);
        /* Since it came here another OPEN may have changed what it asks. */
        if (is_asked(supply) && !supply->submitted && is_answerable(supply) > 0)
            supply_submit(supply);
    }
}

/* Behind all who came before: they share what the link can take. */
static void supply_ask(struct supply *supply)
{
    if (list_is_empty(&supply->unread_link))
        list_push_back(&supply->room->unread, &supply->unread_link);
    room_read(supply->room, supply->link);
}

/* A record that is at hand for the question; NULL: the worker has to look. */
static struct blob *supply_find(struct supply *supply)
{
    const struct cursor *cursor = &supply->question.cursor;
    struct blob *blob;

    if (supply->question.kind != FEED_DO_FETCH)
        return NULL;
    blob = batch_pop(supply);
    if (blob == NULL)
        blob = database_tail(supply->database, cursor->txid, cursor->prepared,
                             cursor->part);
    return blob;
}

/* ---- stepping -------------------------------------------------------------*/

static struct feed_source source_of(const struct supply *supply,
                                    const struct history *history)
{
    const struct database_view *view = &supply->view;

    return (struct feed_source){
        .ready = view->state != DATABASE_HELD_BACK &&
                 view->state != DATABASE_DROPPED &&
                 view->state != DATABASE_STOPPED && !view->copying,
        .lends = supply->lends,
        .lineage = view->lineage,
        .position = view->position,
        .prepared_txid = view->prepared.txid,
        .first_log_txid = view->first_log_txid,
        .page_bytes = view->page_bytes,
        .history = history,
    };
}

/* Copying a history is not for the way of every record. */
static bool needs_history(const struct supply *supply,
                          const struct feed_event *event)
{
    return supply->feed.state == FEED_WAITING || event->kind == FEED_HEARD ||
           event->kind == FEED_RESYNC;
}

static int supply_step(struct supply *supply, struct feed_event *event,
                       struct blob *blob)
{
    struct history history = {0};
    struct feed_actions actions;
    int rc = 0;

    if (needs_history(supply, event))
        rc = database_history(supply->database, &history);
    event->source = source_of(supply, &history);
    event->replica = supply->replica_known ? &supply->replica : NULL;
    if (rc == 0)
        rc = feed_step(&supply->feed, event, &actions);
    history_free(&history);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < actions.count; i++)
        supply_act(supply, &actions.items[i], event->kind, blob);
    return 0;
}

static struct feed_event event_of_blob(enum feed_event_kind kind, uint32_t ask,
                                       const struct blob *blob,
                                       struct record_header *header)
{
    struct feed_event event = {.kind = kind, .ask = ask, .header = header};
    size_t total;

    event.bytes = blob->size;
    if (record_peek(blob->data, blob->size, header, &total) < 0)
        event.kind = FEED_FAILED; /* our own log is damaged */
    return event;
}

/* Steps, and answers what the feed asks as long as answers are at hand. Takes
 * the reference of blob, which event is about. */
static void supply_run(struct supply *supply, struct feed_event event,
                       struct blob *blob)
{
    struct record_header header;
    int rc;

    database_view(supply->database, &supply->view);
    lag_published(&supply->lag, supply->view.position.txid, clock_now_ns());
    for (;;) {
        rc = supply_step(supply, &event, blob);
        blob_unref(blob);
        if (rc < 0) {
            link_close(supply->link, rc);
            return;
        }
        /* Out of credit, for as long as the replica likes: what was read ahead
         * stays, but others need not wait until it is sent. */
        if (!is_asked(supply) && !supply->submitted)
            promise(supply, 0);
        if (!is_asked(supply) || supply->submitted || supply->link->closing)
            return;
        rc = is_answerable(supply);
        if (rc < 0)
            link_close(supply->link, rc);
        if (rc <= 0)
            return;
        if (link_is_full(supply->link)) {
            if (list_is_empty(&supply->thirsty_link))
                list_push_back(&supply->room->thirsty, &supply->thirsty_link);
            return;
        }
        blob = supply_find(supply);
        if (blob == NULL) {
            supply_ask(supply);
            return;
        }
        supply->asked = false;
        event = event_of_blob(FEED_RECORD, supply->question.ask, blob, &header);
    }
}

static void supply_drink(struct supply *supply)
{
    /* An event that changes nothing: the loop finds the question. */
    supply_run(supply, (struct feed_event){.kind = FEED_SOURCE}, NULL);
}

void supply_room_init(struct supply_room *room)
{
    *room = (struct supply_room){0};
    list_init(&room->thirsty);
    list_init(&room->unread);
}

void supply_room_share(struct supply_room *room, struct link *link)
{
    struct list *first;

    ASSERT_ON_LOOP();
    while (!link->closing && !link_is_full(link) &&
           (first = list_pop(&room->thirsty)) != NULL)
        supply_drink(LIST_ENTRY(first, struct supply, thirsty_link));
    room_read(room, link);
}

/* ---- answers of the worker ------------------------------------------------*/

static struct feed_event answer_log(struct supply *supply,
                                    struct record_header *header,
                                    struct blob **ret_blob)
{
    const struct database_request *request = &supply->request;
    enum feed_event_kind kind = request->rc == -ENOENT ? FEED_TRIMMED
                                                       : FEED_FAILED;
    struct feed_event event;

    for (size_t i = 0; i < request->count; i++) {
        supply->batch[i] = request->blobs[i];
        promise(supply, supply->promised_bytes + request->blobs[i]->size);
    }
    supply->batch_first = 0;
    supply->batch_count = request->count;
    *ret_blob = batch_pop(supply);
    if (*ret_blob == NULL)
        return (struct feed_event){.kind = kind, .ask = supply->question.ask};
    event = event_of_blob(FEED_RECORD, supply->question.ask, *ret_blob, header);
    /* Not what was asked for: asking again at once would go on for ever. */
    if (event.kind == FEED_RECORD &&
        cursor_judge(&supply->question.cursor, header) == CURSOR_OLD)
        event.kind = FEED_FAILED;
    return event;
}

static struct feed_event answer_copy(struct supply *supply,
                                     struct record_header *header,
                                     struct blob **ret_blob)
{
    const struct database_request *request = &supply->request;
    struct feed_event event = {.kind = FEED_FAILED,
                               .ask = supply->question.ask};

    *ret_blob = NULL;
    if (request->rc < 0)
        return event;
    event.kind = FEED_CHUNK;
    if (request->count > 0) {
        *ret_blob = request->blobs[0];
        event = event_of_blob(FEED_CHUNK, supply->question.ask, *ret_blob,
                              header);
    }
    event.next_pgno = request->next_pgno;
    event.position = request->position;
    return event;
}

static struct feed_event answer_compare(struct supply *supply,
                                        struct blob **ret_blob)
{
    const struct database_request *request = &supply->request;
    struct feed_event event = {.kind = FEED_FAILED,
                               .ask = supply->question.ask};

    *ret_blob = NULL;
    if (request->rc < 0 || compare_answer(supply->compare, ret_blob) < 0)
        return event;
    event.kind = FEED_COMPARED;
    event.bytes = (*ret_blob)->size;
    event.next_pgno = request->from_pgno + request->hash_count;
    event.differs = request->differs;
    event.last = supply->compare->is_last;
    return event;
}

static void answer_drop(struct database_request *request)
{
    while (request->count > 0)
        blob_unref(request->blobs[--request->count]);
}

static void supply_answered(struct supply *supply)
{
    struct database_request *request = &supply->request;
    struct record_header header;
    struct feed_event event;
    struct blob *blob;

    if (!is_asked(supply) || supply->submitted_ask != supply->feed.ask) {
        /* Asked before the feed changed its mind; ask what it wants now. */
        answer_drop(request);
        supply_drink(supply);
        return;
    }
    supply->asked = false;
    if (request->kind == DATABASE_COPY)
        event = answer_copy(supply, &header, &blob);
    else if (request->kind == DATABASE_COMPARE)
        event = answer_compare(supply, &blob);
    else
        event = answer_log(supply, &header, &blob);
    if (event.kind == FEED_FAILED)
        log_warn("replication.unreadable", "database=%s reason=%s",
                 logger_quote(database_name(supply->database)),
                 logger_quote(request->rc < 0
                                  ? strerror(-request->rc)
                                  : "damaged or not what was asked"));
    supply_run(supply, event, blob);
}

static void supply_on_done(struct database_request *request)
{
    struct supply *supply = CONTAINER_OF(request, struct supply, request);

    ASSERT_ON_LOOP();
    supply->submitted = false;
    if (supply->link == NULL) {
        answer_drop(request);
        supply_free(supply);
        return;
    }
    promise(supply, 0);
    supply_answered(supply);
    room_read(supply->room, supply->link);
}

/* ---- what happens ---------------------------------------------------------*/

static void replica_take(struct supply *supply, struct body_database *replica)
{
    history_free(&supply->replica.history);
    supply->replica = *replica;
    supply->replica_known = true;
    replica->history = (struct history){0};
}

void supply_hear(struct supply *supply, struct body_database *replica)
{
    ASSERT_ON_LOOP();
    if (replica != NULL)
        replica_take(supply, replica);
    supply_run(supply, (struct feed_event){.kind = FEED_HEARD}, NULL);
}

void supply_resync(struct supply *supply, struct body_resync *resync)
{
    ASSERT_ON_LOOP();
    replica_take(supply, &resync->database);
    supply_run(supply,
               (struct feed_event){.kind = FEED_RESYNC,
                                   .reason = resync->reason,
                                   .serial = resync->serial},
               NULL);
}

int supply_hashes(struct supply *supply, struct blob *body, bool last)
{
    struct body_hashes hashes;
    int rc = body_hashes_decode(body, &hashes);

    ASSERT_ON_LOOP();
    if (rc < 0)
        return rc;
    if (hashes.serial > supply->feed.serial)
        return -EPROTO;
    if (hashes.serial < supply->feed.serial)
        return 0; /* about an OPEN that we have replaced already */
    if (supply->feed.mode != BODY_DELTA)
        return -EPROTO;
    rc = compare_hear(supply->compare, body, last);
    if (rc == 0)
        supply_drink(supply);
    return rc;
}

void supply_ack(struct supply *supply, const struct body_ack *ack)
{
    ASSERT_ON_LOOP();
    supply_run(supply, (struct feed_event){.kind = FEED_ACK, .ack = ack}, NULL);
    lag_applied(&supply->lag, supply->feed.acked.position.txid, clock_now_ns());
}

void supply_credit(struct supply *supply, uint32_t bytes)
{
    ASSERT_ON_LOOP();
    supply_run(supply, (struct feed_event){.kind = FEED_CREDIT, .bytes = bytes},
               NULL);
}

void supply_changed(struct supply *supply)
{
    struct feed_event event = {.kind = FEED_SOURCE};
    struct database_view view;

    ASSERT_ON_LOOP();
    database_view(supply->database, &view);
    if (view.state == DATABASE_DROPPED)
        event.kind = FEED_DROPPED;
    supply_run(supply, event, NULL);
    notice_owner(supply);
}

/* What the log may let go of, as far as this replica is concerned. */
static void tell_need(struct supply *supply)
{
    const struct feed *feed = &supply->feed;
    bool closed = feed->state == FEED_CLOSED; /* it does not follow that one */

    database_need(supply->database, supply,
                  closed ? UINT64_MAX : feed->acked.durable_txid);
}

void supply_tick(struct supply *supply)
{
    ASSERT_ON_LOOP();
    tell_need(supply);
    if (supply->feed.state == FEED_WAITING)
        supply_run(supply, (struct feed_event){.kind = FEED_TICK}, NULL);
}

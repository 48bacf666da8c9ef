/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/stream_replica.h - the replica of test_stream_world.c: an
 * engine behind a queue, and a follower.
 */
#ifndef TESTS_PROPERTY_STREAM_REPLICA_H
#define TESTS_PROPERTY_STREAM_REPLICA_H

#include "tests/property/stream_primary.h"

/* ---- the replica's engine ---------------------------------------------- */

static struct content theirs;               /* in place, what readers see */
static struct content incoming;             /* a copy under way */
static struct sim_record held[RECORDS_MAX]; /* its log since the copy began */
static size_t held_count;
static struct sim_record first_part;
static bool copying, copy_ended, stopped;
static struct position copy_end;
static txid_t received;
static uint64_t consumed;
static struct history their_history;
static struct pipe queue;

/* The PREPARED that waits at the end of a log. */
struct waiting {
    struct position position; /* TXID 0: none */
    bool durable;
};

static struct waiting waiting;        /* in the log of what is in place */
static struct waiting waiting_copy;   /* in that of the copy */
static struct sim_record prepared[2]; /* its parts */

static size_t times_stopped, times_copied, times_resumed, times_applied;
static size_t times_held, times_told_again;

static bool was_committed(const struct position *position)
{
    for (size_t i = 0; i < committed_count; i++)
        if (position_is_equal(&committed[i], position))
            return true;
    return position->txid == 0;
}

static void engine_stops(void)
{
    stopped = true;
    copying = false;
    times_stopped++;
}

/* What the end of a log holds after one more record. */
static void log_takes(struct waiting *log, const struct record_header *header)
{
    struct position now = record_position(header);

    if (header->part < header->parts)
        return;
    if (record_moves(header))
        *log = (struct waiting){0};
    else if (!position_is_equal(&now, &log->position))
        *log = (struct waiting){.position = now};
}

static void redo_prepared(struct content *content)
{
    for (uint32_t part = 0; part < prepared[0].header.parts; part++)
        write_pages(content, &prepared[part]);
}

/* Applies a record to content, when it is whole and decided. */
static void redo(struct content *content, const struct sim_record *record)
{
    const struct record_header *header = &record->header;

    if (!record_moves(header)) {
        prepared[header->part - 1] = *record;
        return;
    }
    if (header->part == 1 && header->parts == 2) {
        first_part = *record;
        return;
    }
    if (header->last_txid <= content->position.txid)
        return;
    if (header->parts == 2)
        write_pages(content, &first_part);
    if (header->flags == RECORD_RESOLVE)
        redo_prepared(content);
    write_pages(content, record);
    content->position = record_position(header);
}

static bool is_exact(const struct content *content)
{
    return sum_of(content) == content->position.sum;
}

static void engine_places(void)
{
    if (!copying || !copy_ended || incoming.position.txid < copy_end.txid)
        return;
    if (!is_exact(&incoming)) {
        engine_stops();
        return;
    }
    theirs = incoming;
    waiting = waiting_copy;
    copying = false;
    times_copied++;
}

static void engine_applies(const struct sim_record *record)
{
    struct content before = theirs;

    if (stopped)
        return;
    if (record->header.first_txid > received + 1) {
        engine_stops(); /* as wal/offer.c: records are missing before it */
        return;
    }
    log_takes(copying ? &waiting_copy : &waiting, &record->header);
    if (record_moves(&record->header) && record->header.last_txid > received &&
        record->header.part == record->header.parts)
        received = record->header.last_txid;
    if (copying && !copy_ended) {
        held[held_count++] = *record;
        return;
    }
    redo(copying ? &incoming : &theirs, record);
    if (!copying && !is_exact(&theirs)) {
        theirs = before;
        received = theirs.position.txid;
        engine_stops();
        return;
    }
    times_applied++;
    engine_places();
}

static void engine_begins(const struct position *start)
{
    incoming = (struct content){.position = *start};
    waiting_copy = (struct waiting){0};
    copying = true;
    copy_ended = stopped = false;
    held_count = 0;
    received = start->txid;
}

static void engine_ends(const struct position *end)
{
    if (!copying)
        return;
    copy_ended = true;
    copy_end = *end;
    for (size_t i = 0; i < held_count; i++)
        redo(&incoming, &held[i]);
    engine_places();
}

/* The disk has what the log has. */
static void engine_syncs(void)
{
    struct waiting *log = copying ? &waiting_copy : &waiting;

    log->durable = log->position.txid != 0;
}

static void engine_works(void)
{
    struct parcel *parcel = get(&queue);

    if (parcel == NULL)
        return;
    if (parcel->cargo == CARGO_RECORD) {
        consumed += BYTES_OF_RECORD;
        engine_applies(&parcel->record);
    } else if (parcel->cargo == CARGO_CHUNK) {
        consumed += BYTES_OF_RECORD;
        if (copying)
            write_pages(&incoming, &parcel->record);
    } else if (parcel->cargo == CARGO_BEGIN) {
        engine_begins(&parcel->position);
    } else if (parcel->cargo == CARGO_END) {
        engine_ends(&parcel->position);
    } else if (parcel->cargo == CARGO_ABANDON) {
        copying = false;
        received = theirs.position.txid;
    } else if (parcel->cargo == CARGO_RESTART) {
        stopped = false;
    } else {
        history_free(&their_history);
        EXPECT_OK(history_copy(&their_history, &parcel->open.history));
    }
    parcel_free(parcel);
    EXPECT_TRUE(was_committed(&theirs.position));
    EXPECT_TRUE(is_exact(&theirs));
}

/* The commit that a primary holds goes on when it hears this. Nothing that
 * the replica does after it may make it untrue, before it decides. */
static void ack_is_true(const struct body_ack *ack)
{
    struct position sent = record_position(&undecided);

    if (undecided.parts == 0 || ack->serial < feed.serial)
        return;
    EXPECT_LT(ack->position.txid, undecided.last_txid);
    if (ack->received_txid < undecided.last_txid)
        return;
    EXPECT_FALSE(copying);
    EXPECT_TRUE(position_is_equal(&waiting.position, &sent));
    if (ack->durable_txid < undecided.last_txid)
        return;
    EXPECT_TRUE(waiting.durable);
    times_held++;
}

/* ---- the follower ------------------------------------------------------ */

static struct follow follow;
static uint64_t now_ns;
static bool refused;

static struct follow_view view_now(void)
{
    return (struct follow_view){
        .position = theirs.position,
        .received_txid = received,
        .durable_txid = received,
        .prepared = copying ? waiting_copy.position : waiting.position,
        .prepared_durable = copying ? waiting_copy.durable : waiting.durable,
        .consumed_bytes = consumed,
        .epoch = history_last(&their_history),
        .copying = copying,
        .stopped = stopped,
    };
}

static void says_what_it_has(struct parcel *parcel)
{
    struct follow_view view = view_now();

    parcel->database.lineage = (struct lineage){{1}};
    report_tell(&follow, &view, &parcel->database);
    if (queue.count == 0 && !copying && !stopped && !follow.astray &&
        follow.state != FOLLOW_REDOING)
        EXPECT_TRUE(
            position_is_equal(&parcel->database.prepared, &waiting.position));
    times_told_again += parcel->database.prepared.txid != 0;
    EXPECT_OK(history_copy(&parcel->database.history, &their_history));
}

static void follow_acts(const struct follow_action *action,
                        const struct parcel *cause)
{
    static const enum cargo cargo[] = {
        [FOLLOW_DO_HISTORY] = CARGO_HISTORY,
        [FOLLOW_DO_OFFER] = CARGO_RECORD,
        [FOLLOW_DO_BEGIN] = CARGO_BEGIN,
        [FOLLOW_DO_CHUNK] = CARGO_CHUNK,
        [FOLLOW_DO_END] = CARGO_END,
        [FOLLOW_DO_ABANDON] = CARGO_ABANDON,
        [FOLLOW_DO_RESTART] = CARGO_RESTART,
    };
    struct parcel *parcel;

    if (action->kind == FOLLOW_DO_ACK) {
        put(&to_primary, CARGO_ACK)->ack = action->ack;
    } else if (action->kind == FOLLOW_DO_CREDIT) {
        put(&to_primary, CARGO_CREDIT)->bytes = action->bytes;
    } else if (action->kind == FOLLOW_DO_RESYNC) {
        parcel = put(&to_primary, CARGO_STATE);
        parcel->resync = true;
        parcel->reason = action->reason;
        parcel->serial = action->serial;
        says_what_it_has(parcel);
    } else if (action->kind == FOLLOW_DO_REFUSE) {
        refused = true;
    } else {
        parcel = put(&queue, cargo[action->kind]);
        if (cause == NULL)
            return;
        parcel->record = cause->record;
        parcel->position = action->kind == FOLLOW_DO_BEGIN
                               ? cause->open.position
                               : cause->position;
        EXPECT_OK(history_copy(&parcel->open.history, &cause->open.history));
    }
}

static void follows(struct follow_event event, const struct parcel *cause)
{
    struct follow_actions actions;

    event.view = view_now();
    event.now_ns = now_ns;
    follow_step(&follow, &event, &actions);
    for (size_t i = 0; i < actions.count; i++)
        follow_acts(&actions.items[i], cause);
}

static void replica_hears(void)
{
    struct parcel *parcel = get(&to_replica);
    struct follow_event event = {0};

    if (parcel == NULL)
        return;
    event.header = &parcel->record.header;
    event.bytes = BYTES_OF_RECORD;
    event.position = parcel->position;
    event.open = &parcel->open;
    if (parcel->cargo == CARGO_OPEN) {
        event.kind = FOLLOW_OPEN;
        times_resumed += parcel->open.mode == BODY_RESUME;
    } else if (parcel->cargo == CARGO_RECORD) {
        event.kind = FOLLOW_RECORD;
    } else if (parcel->cargo == CARGO_CHUNK) {
        event.kind = FOLLOW_CHUNK;
    } else {
        event.kind = FOLLOW_COPIED;
    }
    follows(event, parcel);
    parcel_free(parcel);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/stream_primary.h - the primary of test_stream_world.c: it
 * commits, at once or prepared and decided later, trims its log, fails over,
 * and drives a feed.
 */
#ifndef TESTS_PROPERTY_STREAM_PRIMARY_H
#define TESTS_PROPERTY_STREAM_PRIMARY_H

#include "tests/property/stream_world.h"

static struct content ours;
static struct content past[TXIDS_MAX + 1]; /* what we were at each TXID */
static struct history our_history;
static struct sim_record records[RECORDS_MAX]; /* log, oldest first */
static size_t records_first, records_count;
static txid_t pinned;
static bool dead; /* the primary cannot be read for now */

/* A commit that is prepared and not decided. */
static struct record_header undecided; /* parts == 0: none */
static struct content undecided_after; /* what it would make of us */

/* Each content that any primary ever committed, by epoch and TXID. */
static struct position committed[2 * TXIDS_MAX];
static size_t committed_count;

static struct feed feed;

static struct feed_source source_now(void)
{
    return (struct feed_source){
        .ready = !dead,
        .lineage = {{1}},
        .position = ours.position,
        .prepared_txid = undecided.last_txid,
        .first_log_txid = records_first < records_count
                              ? records[records_first].header.first_txid
                              : 0,
        .page_bytes = ours.position.txid == 0 ? 0 : 512,
        .history = &our_history,
    };
}

static void remember(void)
{
    past[ours.position.txid] = ours;
    committed[committed_count++] = ours.position;
    EXPECT_LT(committed_count, ARRAY_LENGTH(committed));
}

static void log_append_parts(struct sim_record *record)
{
    uint32_t parts = rng_chance(&rng, 15) ? 2 : 1;
    size_t half = record->count / 2;

    record->header.parts = parts;
    for (uint32_t part = 1; part <= parts; part++) {
        struct sim_record *to = &records[records_count++];
        size_t from = part == 2 ? half : 0;
        size_t until = part == 1 && parts == 2 ? half : record->count;

        EXPECT_LT(records_count, RECORDS_MAX);
        *to = *record;
        to->header.part = part;
        to->count = until - from;
        memmove(to->pgnos, record->pgnos + from,
                to->count * sizeof to->pgnos[0]);
        memmove(to->values, record->values + from,
                to->count * sizeof to->values[0]);
    }
}

/* What was prepared happened, or it never did: its TXID is gone either way. */
static void decides(bool commit)
{
    struct sim_record record = {.header = undecided};

    record.header.flags = RECORD_RESOLVE | (commit ? 0 : RECORD_ABORT);
    record.header.part = record.header.parts = 1;
    if (!commit)
        record.header.sum_after = ours.position.sum;
    records[records_count++] = record;
    if (commit)
        ours = undecided_after;
    ours.position = record_position(&record.header);
    undecided = (struct record_header){0};
    remember();
}

static void prepares(struct sim_record *record)
{
    record->header.flags = RECORD_PREPARED;
    record->header.last_txid = record->header.first_txid;
    undecided_after = ours;
    write_pages(&undecided_after, record);
    record->header.sum_after = sum_of(&undecided_after);
    log_append_parts(record);
    undecided = record->header;
}

/* One record of one or several transactions, or of one that waits. */
static void commits(void)
{
    txid_t count = rng_between(&rng, 1, 3);
    struct sim_record record = {
        .header = {.lineage = {{1}},
                   .epoch = epoch,
                   .first_txid = ours.position.txid + 1,
                   .last_txid = ours.position.txid + count,
                   .previous = ours.position,
                   .page_bytes = 512}};

    if (ours.position.txid + count > TXIDS_MAX ||
        records_count + 2 >= RECORDS_MAX)
        return;
    if (undecided.parts != 0) {
        if (rng_chance(&rng, 20))
            decides(rng_chance(&rng, 60));
        return;
    }
    for (pgno_t pgno = 1; pgno <= PAGES; pgno++) {
        if (!rng_chance(&rng, 30))
            continue;
        record.pgnos[record.count] = pgno;
        record.values[record.count++] = rng_u64(&rng);
    }
    if (rng_chance(&rng, 30)) {
        prepares(&record);
        return;
    }
    write_pages(&ours, &record);
    record.header.sum_after = sum_of(&ours);
    ours.position = record_position(&record.header);
    log_append_parts(&record);
    remember();
}

static void trims(void)
{
    txid_t keep = ours.position.txid > 20 ? ours.position.txid - 20 : 0;

    if (pinned != 0 && pinned < keep)
        keep = pinned;
    while (records_first < records_count &&
           records[records_first].header.last_txid < keep)
        records_first++;
}

static void log_ends_at(txid_t txid)
{
    while (records_count > records_first &&
           records[records_count - 1].header.last_txid > txid)
        records_count--;
}

/* Another primary takes over; it may not have had the newest transactions, nor
 * what was prepared. If it had that, it commits it. */
static void fails_over(bool loses)
{
    txid_t txid;

    if (undecided.parts != 0 && !loses && rng_chance(&rng, 50))
        decides(true);
    undecided = (struct record_header){0};
    txid = ours.position.txid;
    if (loses && txid > 0) {
        do
            txid -= rng_between(&rng, 1, txid > 6 ? 6 : txid);
        while (txid > 0 && past[txid].position.txid != txid);
        ours = txid == 0 ? (struct content){0} : past[txid];
        for (txid_t i = txid + 1; i <= TXIDS_MAX; i++)
            past[i] = (struct content){0};
    }
    log_ends_at(txid);
    epoch += 1 + rng_below(&rng, 3);
    while (our_history.count > 0 &&
           our_history.entries[our_history.count - 1].first_txid > txid)
        our_history.count--;
    EXPECT_OK(history_begin(&our_history, epoch, txid + 1));
}

/* ---- the connection ------------------------------------------------- */

static bool connected;
static struct pipe to_replica, to_primary;
static struct body_database replica_said;
static void (*on_ack)(const struct body_ack *ack); /* an ack came */
static bool replica_has_it;

/* A question of the feed that the driver has not answered yet. */
static bool asked;
static struct feed_action question;

/* Of a delta: hashes that wait to be compared, and the last that were. */
static struct pipe heard_hashes;
static struct parcel compared;

static void feeds(struct feed_event event);

/* The record, or what came of comparing. */
static void sends(const struct sim_record *record)
{
    struct parcel *parcel;
    bool noise = noisy && !calm && rng_chance(&rng, 2);

    if (record == NULL) {
        parcel = put(&to_replica, CARGO_SAME);
        parcel->first = compared.first;
        parcel->count = compared.count;
        memcpy(parcel->same, compared.same, sizeof compared.same);
        if (noise && compared.count > 0)
            parcel->same[rng_below(&rng, compared.count)] ^= true;
        return;
    }
    parcel = put(&to_replica, record->header.flags & RECORD_SNAPSHOT
                                  ? CARGO_CHUNK
                                  : CARGO_RECORD);
    parcel->record = *record;
    if (noise && record->count > 0)
        parcel->record.values[0]++;
}

static void feed_acts(const struct feed_action *action,
                      const struct sim_record *record)
{
    struct parcel *parcel;

    switch (action->kind) {
    case FEED_DO_OPEN:
        empty(&heard_hashes);
        parcel = put(&to_replica, CARGO_OPEN);
        parcel->open = (struct body_open){.mode = action->mode,
                                          .reason = action->reason,
                                          .serial = action->serial,
                                          .lineage = {{1}},
                                          .position = action->position,
                                          .page_bytes = 512};
        EXPECT_OK(history_copy(&parcel->open.history, &our_history));
        break;
    case FEED_DO_FETCH:
    case FEED_DO_COPY:
    case FEED_DO_COMPARE:
        asked = true;
        question = *action;
        break;
    case FEED_DO_SEND:
        sends(record);
        break;
    case FEED_DO_COPIED:
        put(&to_replica, CARGO_COPIED)->position = action->position;
        break;
    case FEED_DO_PIN:
        pinned = action->txid;
        break;
    case FEED_DO_DROP:
        EXPECT_TRUE(false);
        break;
    }
}

static void feeds_record(struct feed_event event,
                         const struct sim_record *record)
{
    struct feed_actions actions;

    event.source = source_now();
    event.replica = replica_has_it ? &replica_said : NULL;
    EXPECT_OK(feed_step(&feed, &event, &actions));
    for (size_t i = 0; i < actions.count; i++)
        feed_acts(&actions.items[i], record);
}

static void feeds(struct feed_event event)
{
    feeds_record(event, NULL);
}

/* As wal/requests.c seeks. */
static bool record_is_asked(const struct sim_record *record)
{
    const struct record_header *header = &record->header;

    if (header->last_txid < question.cursor.txid)
        return false;
    if (header->first_txid > question.cursor.txid)
        return true;
    if (question.cursor.prepared)
        return (header->flags & RECORD_RESOLVE) != 0;
    return header->part >= question.cursor.part;
}

static void answers_fetch(void)
{
    struct feed_event event = {.kind = FEED_TRIMMED, .ask = question.ask};

    for (size_t i = records_first; i < records_count; i++) {
        if (!record_is_asked(&records[i]))
            continue;
        event.kind = FEED_RECORD;
        event.header = &records[i].header;
        event.bytes = BYTES_OF_RECORD;
        feeds_record(event, &records[i]);
        return;
    }
    feeds(event);
}

static bool is_spared(pgno_t pgno)
{
    uint32_t i = pgno - compared.first;

    return feed.mode == BODY_DELTA && pgno >= compared.first &&
           i < compared.count && compared.same[i];
}

static void answers_copy(void)
{
    struct feed_event event = {.kind = FEED_CHUNK, .ask = question.ask};
    struct sim_record chunk = {.header = {.lineage = {{1}},
                                          .flags = RECORD_SNAPSHOT,
                                          .page_bytes = 512}};
    pgno_t pgno = question.pgno, end = question.end_pgno;

    end = end == 0 || end > PAGES ? PAGES + 1 : end;
    for (; pgno < end && chunk.count < CHUNK_PAGES; pgno++) {
        if (ours.hashes[pgno - 1] == 0 || is_spared(pgno))
            continue;
        chunk.pgnos[chunk.count] = pgno;
        chunk.values[chunk.count++] = ours.pages[pgno - 1];
    }
    event.header = chunk.count > 0 ? &chunk.header : NULL;
    event.bytes = BYTES_OF_RECORD;
    event.next_pgno = pgno < end ? pgno : 0;
    event.position = ours.position;
    feeds_record(event, &chunk);
}

/* As wal/requests.c compares. */
static void answers_compare(void)
{
    struct feed_event event = {.kind = FEED_COMPARED, .ask = question.ask};
    struct parcel *parcel = get(&heard_hashes);

    if (parcel == NULL)
        abort();
    EXPECT_EQ(parcel->first, question.pgno);
    compared = *parcel;
    for (uint32_t i = 0; i < compared.count; i++) {
        pgno_t pgno = compared.first + i;

        compared.same[i] = ours.hashes[pgno - 1] != 0 &&
                           ours.hashes[pgno - 1] == compared.hashes[i];
        event.differs |= ours.hashes[pgno - 1] != 0 && !compared.same[i];
    }
    event.bytes = BYTES_OF_RECORD;
    event.next_pgno = compared.first + compared.count;
    event.last = compared.last;
    parcel_free(parcel);
    feeds(event);
}

static void driver_answers(void)
{
    if (!asked || !connected)
        return;
    if (question.kind == FEED_DO_COMPARE && heard_hashes.count == 0 && !dead)
        return;
    asked = false;
    if (question.kind == FEED_DO_COMPARE && question.ask != feed.ask)
        return; /* what is here is for another */
    if (dead)
        feeds((struct feed_event){.kind = FEED_FAILED, .ask = question.ask});
    else if (question.kind == FEED_DO_COPY)
        answers_copy();
    else if (question.kind == FEED_DO_COMPARE)
        answers_compare();
    else
        answers_fetch();
}

/* As replication/net/supply.c and compare.c. */
static void primary_hears_hashes(const struct parcel *parcel)
{
    struct parcel *waits;

    EXPECT_LE(parcel->serial, feed.serial);
    if (parcel->serial < feed.serial)
        return;
    EXPECT_EQ(feed.mode, BODY_DELTA);
    EXPECT_LT(heard_hashes.count, BODY_HASHES_AHEAD);
    waits = put(&heard_hashes, CARGO_HASHES);
    *waits = *parcel;
}

static void primary_hears(void)
{
    struct parcel *parcel = get(&to_primary);
    struct feed_event event = {0};

    if (parcel == NULL)
        return;
    if (parcel->cargo == CARGO_HASHES) {
        primary_hears_hashes(parcel);
        parcel_free(parcel);
        return;
    }
    if (parcel->cargo == CARGO_ACK) {
        event.kind = FEED_ACK;
        event.ack = &parcel->ack;
        on_ack(&parcel->ack);
    } else if (parcel->cargo == CARGO_CREDIT) {
        event.kind = FEED_CREDIT;
        event.bytes = parcel->bytes;
    } else {
        history_free(&replica_said.history);
        replica_said = parcel->database;
        parcel->database.history = (struct history){0};
        replica_has_it = true;
        event.kind = parcel->resync ? FEED_RESYNC : FEED_HEARD;
        event.reason = parcel->reason;
        event.serial = parcel->serial;
    }
    feeds(event);
    parcel_free(parcel);
}

#endif

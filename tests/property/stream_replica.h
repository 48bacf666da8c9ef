/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/stream_replica.h - the replica of test_stream_world.c: an
 * engine behind a queue, and a follower.
 */
#ifndef TESTS_PROPERTY_STREAM_REPLICA_H
#define TESTS_PROPERTY_STREAM_REPLICA_H

#include "tests/property/stream_primary.h"

/* ---- the replica's engine ---------------------------------------------- */

static struct content theirs;   /* in place, what readers see */
static struct content incoming; /* a copy under way: its pages are
                                               those of the copy's file */
static uint64_t in_file[PAGES]; /* hashes of what earlier copies left there */
static struct sim_record held[RECORDS_MAX]; /* its log since the copy began */
static size_t held_count;
static struct sim_record first_part;
static bool copying, copy_ended, stopped;
static bool comparing, doubt; /* the copy: is a delta, of hashes in doubt */
static bool whole;            /* the next copy is not compared */
static bool suspect;          /* it stopped: the next copy in place heals */
static bool damaged;          /* a page, or its hash, is not what it was */
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
static size_t times_delta, times_doubted, times_healed, pages_spared;

static bool was_committed(const struct position *position)
{
    for (size_t i = 0; i < committed_count; i++)
        if (position_is_equal(&committed[i], position))
            return true;
    return position->txid == 0;
}

static void engine_stops(void)
{
    stopped = suspect = true;
    times_stopped++;
}

/* ---- what is here, as wal/delta.c has it --------------------------------- */

static uint64_t base_hash(pgno_t pgno)
{
    uint64_t hash = in_file[pgno - 1];

    return hash == 0 ? theirs.hashes[pgno - 1] : hash;
}

static uint32_t base_pages(void)
{
    pgno_t pgno = whole ? 0 : PAGES;

    while (pgno > 0 && base_hash(pgno) == 0)
        pgno--;
    return pgno;
}

static void file_forget(void)
{
    memset(incoming.pages, 0, sizeof incoming.pages);
    memset(in_file, 0, sizeof in_file);
}

/* What came of a copy that is given up stays. */
static void file_keep(void)
{
    for (uint32_t i = 0; i < PAGES; i++)
        if (incoming.hashes[i] != 0 &&
            (in_file[i] != 0 || incoming.hashes[i] != theirs.hashes[i]))
            in_file[i] = incoming.hashes[i];
}

/* Another process looks at what the file has. */
static void file_read(void)
{
    for (pgno_t pgno = 1; pgno <= PAGES; pgno++)
        in_file[pgno - 1] = hash_of(pgno, incoming.pages[pgno - 1]);
}

/* Into what readers see, or into the copy's file. */
static void engine_writes(struct content *content,
                          const struct sim_record *record)
{
    for (size_t i = 0; i < record->count && content == &incoming; i++)
        in_file[record->pgnos[i] - 1] = 0;
    write_pages(content, record);
}

/* The table is made to say what is in the pages. */
static void engine_rereads(pgno_t pgno)
{
    theirs.hashes[pgno - 1] = hash_of(pgno, theirs.pages[pgno - 1]);
}

static struct pipe answers; /* for the loop */

static void engine_tells(const struct parcel *asks)
{
    struct parcel *answer = put(&answers, CARGO_HASHES);
    uint32_t total = base_pages();
    pgno_t pgno = asks->first;

    answer->first = asks->first;
    answer->failed = !copying || copy_ended || rng_chance(&rng, 5);
    for (; pgno <= total && answer->count < RANGE_PAGES; pgno++) {
        if (doubt)
            engine_rereads(pgno);
        answer->hashes[answer->count++] = base_hash(pgno);
    }
    answer->last = pgno > total;
}

static void engine_spares(const struct parcel *same)
{
    if (!copying || stopped)
        return;
    for (uint32_t i = 0; i < same->count; i++) {
        pgno_t pgno = same->first + i;

        if (!same->same[i])
            continue;
        incoming.hashes[pgno - 1] = base_hash(pgno);
        if (base_hash(pgno) == 0)
            engine_stops();
        pages_spared++;
    }
}

/* ---- records, and copies ------------------------------------------------- */

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
        engine_writes(content, &prepared[part]);
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
        engine_writes(content, &first_part);
    if (header->flags == RECORD_RESOLVE)
        redo_prepared(content);
    engine_writes(content, record);
    content->position = record_position(header);
}

static bool is_exact(const struct content *content)
{
    return sum_of(content) == content->position.sum;
}

/* As wal/place.c: a page that is as readers have it is not in the file. */
static void content_placed(void)
{
    for (uint32_t i = 0; i < PAGES; i++)
        if (incoming.hashes[i] == 0)
            theirs.pages[i] = 0;
        else if (!comparing || incoming.hashes[i] != theirs.hashes[i])
            theirs.pages[i] = incoming.pages[i];
    memcpy(theirs.hashes, incoming.hashes, sizeof theirs.hashes);
    theirs.position = incoming.position;
}

static void engine_places(void)
{
    if (!copying || stopped || !copy_ended ||
        incoming.position.txid < copy_end.txid)
        return;
    if (!is_exact(&incoming)) {
        whole = !comparing || doubt;
        copying = false;
        file_forget();
        engine_stops();
        return;
    }
    content_placed();
    waiting = waiting_copy;
    copying = whole = false;
    file_forget();
    times_copied++;
    times_delta += comparing;
    times_doubted += doubt;
    times_healed += damaged && is_sound(&theirs);
    if (!comparing || suspect)
        EXPECT_TRUE(is_sound(&theirs));
    suspect = false;
    damaged = damaged && !is_sound(&theirs);
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

static void engine_abandons(void)
{
    if (copying)
        file_keep();
    copying = false;
    received = theirs.position.txid;
}

static void engine_begins(const struct parcel *parcel)
{
    const struct position *start = &parcel->open.position;

    engine_abandons();
    comparing = parcel->open.mode == BODY_DELTA;
    suspect = suspect || parcel->doubt;
    doubt = comparing && suspect;
    if (!comparing)
        file_forget();
    memset(incoming.hashes, 0, sizeof incoming.hashes);
    incoming.position = *start;
    waiting_copy = (struct waiting){0};
    copying = true;
    copy_ended = stopped = false;
    held_count = 0;
    received = start->txid;
}

static void engine_ends(const struct position *end)
{
    if (!copying || stopped)
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
        if (copying && !stopped)
            engine_writes(&incoming, &parcel->record);
    } else if (parcel->cargo == CARGO_SAME) {
        consumed += BYTES_OF_RECORD;
        engine_spares(parcel);
    } else if (parcel->cargo == CARGO_HASHES) {
        engine_tells(parcel);
    } else if (parcel->cargo == CARGO_BEGIN) {
        engine_begins(parcel);
    } else if (parcel->cargo == CARGO_END) {
        engine_ends(&parcel->position);
    } else if (parcel->cargo == CARGO_ABANDON) {
        engine_abandons();
    } else if (parcel->cargo == CARGO_RESTART) {
        stopped = false;
    } else {
        history_free(&their_history);
        EXPECT_OK(history_copy(&their_history, &parcel->open.history));
    }
    parcel_free(parcel);
    EXPECT_TRUE(was_committed(&theirs.position));
    EXPECT_TRUE(damaged || (is_exact(&theirs) && is_sound(&theirs)));
}

/* A disk that changes what it has, or memory the table: nobody notices. */
static void engine_is_damaged(void)
{
    uint32_t i = (uint32_t)rng_below(&rng, PAGES);

    if (copying || theirs.hashes[i] == 0)
        return;
    if (rng_chance(&rng, 50))
        theirs.pages[i]++;
    else
        theirs.hashes[i]++;
    damaged = true;
}

/* Reads the pages: they are what their hashes say, or it stops. */
static void engine_verifies(void)
{
    if (!copying && !stopped && !is_sound(&theirs))
        engine_stops();
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
        .base_page_bytes = base_pages() == 0 ? 0 : 512,
        .base_pages = base_pages(),
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

/* As replication/net/channel.c asks, one at a time. */
static bool hashing;
static uint64_t turn, asked_turn;

static void asks_for_hashes(pgno_t first)
{
    if (hashing)
        return;
    hashing = true;
    asked_turn = turn;
    put(&queue, CARGO_HASHES)->first = first;
}

static void sends_hashes(const struct parcel *answer)
{
    struct parcel *parcel = put(&to_primary, CARGO_HASHES);

    if (answer == NULL)
        abort();
    parcel->serial = follow.serial;
    parcel->first = answer->first;
    parcel->count = answer->count;
    parcel->last = answer->last;
    memcpy(parcel->hashes, answer->hashes, sizeof parcel->hashes);
    if (noisy && !calm && rng_chance(&rng, 2) && parcel->count > 0)
        parcel->hashes[rng_below(&rng, parcel->count)]++;
}

static void queues(const struct follow_action *action,
                   const struct parcel *cause)
{
    static const enum cargo cargo[] = {
        [FOLLOW_DO_HISTORY] = CARGO_HISTORY,
        [FOLLOW_DO_OFFER] = CARGO_RECORD,
        [FOLLOW_DO_BEGIN] = CARGO_BEGIN,
        [FOLLOW_DO_CHUNK] = CARGO_CHUNK,
        [FOLLOW_DO_SAME] = CARGO_SAME,
        [FOLLOW_DO_END] = CARGO_END,
        [FOLLOW_DO_ABANDON] = CARGO_ABANDON,
        [FOLLOW_DO_RESTART] = CARGO_RESTART,
    };
    struct parcel *parcel = put(&queue, cargo[action->kind]);

    parcel->doubt = action->doubt;
    if (cause == NULL)
        return;
    parcel->record = cause->record;
    parcel->position = cause->position;
    parcel->first = cause->first;
    parcel->count = cause->count;
    memcpy(parcel->same, cause->same, sizeof parcel->same);
    parcel->open.mode = cause->open.mode;
    parcel->open.position = cause->open.position;
    EXPECT_OK(history_copy(&parcel->open.history, &cause->open.history));
}

static void follow_acts(const struct follow_action *action,
                        const struct parcel *cause)
{
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
    } else if (action->kind == FOLLOW_DO_HASH) {
        asks_for_hashes(action->pgno);
    } else if (action->kind == FOLLOW_DO_HASHES) {
        sends_hashes(cause);
    } else {
        queues(action, cause);
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

/* The engine's answer, perhaps to what nobody asks any more. */
static void loop_hears(void)
{
    struct parcel *parcel = get(&answers);
    struct follow_event event = {.kind = FOLLOW_HASHES};

    if (parcel == NULL)
        return;
    hashing = false;
    event.next_pgno = parcel->first + parcel->count;
    event.last = parcel->last;
    event.failed = parcel->failed || asked_turn != turn;
    follows(event, parcel);
    parcel_free(parcel);
}

static void replica_hears(void)
{
    struct parcel *parcel = get(&to_replica);
    struct follow_event event = {0};
    struct body_same same;

    if (parcel == NULL)
        return;
    event.header = &parcel->record.header;
    event.bytes = BYTES_OF_RECORD;
    event.position = parcel->position;
    event.open = &parcel->open;
    if (parcel->cargo == CARGO_OPEN) {
        event.kind = FOLLOW_OPEN;
        turn++;
        times_resumed += parcel->open.mode == BODY_RESUME;
    } else if (parcel->cargo == CARGO_RECORD) {
        event.kind = FOLLOW_RECORD;
    } else if (parcel->cargo == CARGO_CHUNK) {
        event.kind = FOLLOW_CHUNK;
    } else if (parcel->cargo == CARGO_SAME) {
        event.kind = FOLLOW_SAME;
        same = (struct body_same){.first = parcel->first,
                                  .count = parcel->count};
        event.same = &same;
    } else {
        event.kind = FOLLOW_COPIED;
    }
    follows(event, parcel);
    parcel_free(parcel);
}

#endif

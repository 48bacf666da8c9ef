/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/test_stream_world.c - one feed and one follower in a bad
 * world: records and answers late, connections cut, the log trimmed under a
 * slow replica, the engine slow, credit short, the replica restarted or its
 * power cut, the primary replaced by one that lost a tail, bytes changed on
 * the way, commits prepared and left like that for long.
 *
 * A database here is PAGES numbers and its sum, so that records, fuzzy copies
 * and redo are the real thing in small. The follower's content may only ever
 * be one that the primary had, and once the weather calms it must be the
 * primary's. A commit that is prepared shows nowhere, and an ack counts it
 * only when this very one lies whole, and durable, in the follower's log.
 */
#include "tests/property/stream_replica.h"

static void connects(void)
{
    if (connected)
        return;
    connected = true;
    refused = false;
    feed_init(&feed, WINDOW_BYTES);
    question.asked = false;
    replica_has_it = false;
    says_what_it_has(put(&to_primary, CARGO_STATE));
}

static void is_cut(void)
{
    if (!connected)
        return;
    connected = false;
    empty(&to_replica);
    empty(&to_primary);
    pinned = 0;
    follows((struct follow_event){.kind = FOLLOW_LOST}, NULL);
}

/* The replica's process ends and begins again; what is in place stays, and
 * what waits in the log, unless the power failed before it was synced. */
static void replica_restarts(void)
{
    struct follow_view view;

    is_cut();
    empty(&queue);
    if (!waiting.durable && rng_chance(&rng, 50))
        waiting = (struct waiting){0};
    waiting.durable = false; /* who knows who ran before us */
    copying = stopped = false;
    consumed = 0;
    received = theirs.position.txid;
    view = view_now();
    follow_init(&follow, &(struct lineage){{1}}, &view);
}

static void world_begins(void)
{
    struct follow_view view;

    rng = test_rng();
    on_ack = ack_is_true;
    calm = dead = connected = refused = stopped = copying = false;
    epoch = 1;
    ours = theirs = (struct content){0};
    undecided = (struct record_header){0};
    waiting = waiting_copy = (struct waiting){0};
    memset(past, 0, sizeof past);
    records_first = records_count = committed_count = 0;
    pinned = received = consumed = now_ns = 0;
    history_free(&our_history);
    history_free(&their_history);
    EXPECT_OK(history_begin(&our_history, epoch, 1));
    times_stopped = times_copied = times_resumed = times_applied = 0;
    times_held = times_told_again = 0;
    view = view_now();
    follow_init(&follow, &(struct lineage){{1}}, &view);
}

static void driver_notices(void)
{
    if (connected)
        feeds((struct feed_event){.kind = FEED_SOURCE});
    if (refused)
        is_cut();
}

static void time_passes(void)
{
    now_ns += UINT64_C(400000000);
    follows((struct follow_event){.kind = FOLLOW_TICK}, NULL);
    if (connected)
        feeds((struct feed_event){.kind = FEED_TICK});
}

static void bad_weather(void)
{
    unsigned dice = (unsigned)rng_below(&rng, 1000);

    if (dice < 10)
        is_cut();
    else if (dice < 12)
        replica_restarts();
    else if (dice < 15) {
        is_cut();
        fails_over(rng_chance(&rng, 50));
    } else if (dice < 25)
        dead = !dead;
    else if (dice < 40)
        trims();
}

/* One random thing happens. */
static void happens(void)
{
    switch (rng_below(&rng, 10)) {
    case 0:
        if (!calm && rng_chance(&rng, 40))
            commits();
        break;
    case 1:
    case 2:
        replica_hears();
        break;
    case 3:
        primary_hears();
        break;
    case 4:
        driver_answers();
        break;
    case 5:
        engine_works();
        break;
    case 6:
        engine_syncs();
        break;
    case 7:
        follows((struct follow_event){.kind = FOLLOW_PROGRESS}, NULL);
        break;
    case 8:
        driver_notices();
        connects();
        break;
    default:
        time_passes();
        break;
    }
    if (!calm && rng_chance(&rng, 30))
        bad_weather();
}

static bool is_settled(void)
{
    return to_replica.count == 0 && to_primary.count == 0 && queue.count == 0 &&
           follow.state == FOLLOW_STREAMING && feed.state == FEED_TAIL &&
           feed.next.prepared == (undecided.parts != 0) &&
           position_is_equal(&ours.position, &theirs.position);
}

static void world_calms(void)
{
    calm = true;
    dead = false;
    for (int i = 0; i < 100000 && !is_settled(); i++)
        happens();
    EXPECT_TRUE(is_settled());
}

/* What is prepared and not decided is the replica's, too, and it says so. */
static void undecided_is_held(void)
{
    struct position sent = record_position(&undecided);
    struct parcel *parcel;

    engine_syncs();
    follows((struct follow_event){.kind = FOLLOW_PROGRESS}, NULL);
    while (to_primary.count > 0)
        primary_hears();
    EXPECT_EQ(feed.acked.durable_txid, sent.txid);
    EXPECT_EQ(feed.acked.position.txid, sent.txid - 1);
    parcel = put(&to_primary, CARGO_STATE);
    says_what_it_has(parcel);
    EXPECT_TRUE(position_is_equal(&parcel->database.prepared, &sent));
    empty(&to_primary);
}

static void world_ends(void)
{
    world_calms();
    if (undecided.parts != 0) {
        undecided_is_held();
        decides(rng_chance(&rng, 50));
        world_calms();
    }
    EXPECT_EQ(theirs.position.txid, ours.position.txid);
    EXPECT_EQ(theirs.position.sum, ours.position.sum);
    EXPECT_MEM(theirs.pages, ours.pages, sizeof ours.pages);
    follows((struct follow_event){.kind = FOLLOW_PROGRESS}, NULL);
    while (to_primary.count > 0)
        primary_hears();
    EXPECT_EQ(feed.acked.position.txid, ours.position.txid);
    EXPECT_FALSE(feed.pinned);
    is_cut();
    empty(&queue);
}

TEST(whatever_the_weather_the_replica_ends_with_the_primarys_content)
{
    size_t stops = 0, copies = 0, resumes = 0, applies = 0;
    size_t waited = 0, told = 0;
    struct rng worlds = test_rng();

    noisy = false;
    for (int world = 0; world < 60; world++) {
        world_begins();
        rng.state ^= rng_u64(&worlds);
        for (int i = 0; i < 6000; i++)
            happens();
        world_ends();
        stops += times_stopped;
        copies += times_copied;
        resumes += times_resumed;
        applies += times_applied;
        waited += times_held;
        told += times_told_again;
    }
    EXPECT_EQ(stops, 0); /* the follower let nothing wrong through */
    EXPECT_GT(copies, 60);
    EXPECT_GT(resumes, 60);
    EXPECT_GT(applies, 4000);
    EXPECT_GT(waited, 200);
    EXPECT_GT(told, 200);
}

TEST(content_changed_on_the_way_is_never_seen_and_heals)
{
    size_t stops = 0;
    struct rng worlds = test_rng();

    noisy = true;
    for (int world = 0; world < 30; world++) {
        world_begins();
        rng.state ^= rng_u64(&worlds);
        for (int i = 0; i < 6000; i++)
            happens();
        world_ends();
        stops += times_stopped;
    }
    EXPECT_GT(stops, 20);
}

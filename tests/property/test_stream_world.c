/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/test_stream_world.c - one feed and one follower in a bad
 * world: records and answers late, connections cut, the log trimmed under a
 * slow replica, the engine slow, credit short, the replica restarted or its
 * power cut, the primary replaced by one that lost a tail, bytes changed on
 * the way, commits prepared and left like that for long, pages damaged where
 * they lie, copies cut off of which something is there.
 *
 * A database here is PAGES numbers and its sum, so that records, fuzzy copies
 * and redo are the real thing in small. The follower's content may only ever
 * be one that the primary had, and once the weather calms it must be the
 * primary's. A commit that is prepared shows nowhere, and an ack counts it
 * only when this very one lies whole, and durable, in the follower's log.
 */
#include "tests/property/stream_replica.h"

static bool fragile; /* pages and hashes are damaged */

static void connects(void)
{
    if (connected)
        return;
    connected = true;
    refused = false;
    feed_init(&feed, WINDOW_BYTES);
    asked = false;
    empty(&heard_hashes);
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
    turn++;
    follows((struct follow_event){.kind = FOLLOW_LOST}, NULL);
}

/* The replica's process ends and begins again; what is in place stays, and
 * what waits in the log, unless the power failed before it was synced. */
static void replica_restarts(void)
{
    struct follow_view view;

    is_cut();
    empty(&queue);
    empty(&answers);
    hashing = whole = suspect = false;
    file_read();
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
    ours = theirs = incoming = (struct content){0};
    whole = damaged = suspect = hashing = false;
    file_forget();
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
    times_delta = times_doubted = times_healed = pages_spared = 0;
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
    else if (dice < 50 && fragile)
        engine_is_damaged();
}

/* One random thing happens. */
static void happens(void)
{
    switch (rng_below(&rng, 12)) {
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
    case 9:
        loop_hears();
        break;
    case 10:
        if (fragile && rng_chance(&rng, 5))
            engine_verifies();
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
           is_sound(&theirs) && follow.state == FOLLOW_STREAMING &&
           feed.state == FEED_TAIL &&
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
    empty(&answers);
}

/* Many worlds, and what happened in all of them. */
static struct sums {
    size_t stops, copies, resumes, applies, waited, told, deltas, doubted,
        healed, spared;
} sums;

static void worlds(int count)
{
    struct rng seeds = test_rng();

    sums = (struct sums){0};
    for (int world = 0; world < count; world++) {
        world_begins();
        rng.state ^= rng_u64(&seeds);
        for (int i = 0; i < 8000; i++)
            happens();
        world_ends();
        sums.stops += times_stopped;
        sums.copies += times_copied;
        sums.resumes += times_resumed;
        sums.applies += times_applied;
        sums.waited += times_held;
        sums.told += times_told_again;
        sums.deltas += times_delta;
        sums.doubted += times_doubted;
        sums.healed += times_healed;
        sums.spared += pages_spared;
    }
    printf("    %zu copies, %zu of them deltas, %zu in doubt, %zu healed; "
           "%zu pages spared; %zu records, %zu stops\n",
           sums.copies, sums.deltas, sums.doubted, sums.healed, sums.spared,
           sums.applies, sums.stops);
}

TEST(whatever_the_weather_the_replica_ends_with_the_primarys_content)
{
    noisy = fragile = false;
    worlds(60);
    EXPECT_EQ(sums.stops, 0); /* the follower let nothing wrong through */
    EXPECT_GT(sums.copies, 60);
    EXPECT_GT(sums.resumes, 60);
    EXPECT_GT(sums.applies, 3000);
    EXPECT_GT(sums.waited, 200);
    EXPECT_GT(sums.told, 200);
    EXPECT_GT(sums.deltas, 60);
    EXPECT_GT(sums.spared, 200);
}

TEST(content_changed_on_the_way_is_never_seen_and_heals)
{
    noisy = true;
    fragile = false;
    worlds(100);
    EXPECT_GT(sums.stops, 20);
    EXPECT_GT(sums.deltas, 60);
    EXPECT_GT(sums.doubted, 10);
}

TEST(content_that_was_damaged_where_it_lies_is_compared_as_it_is_and_heals)
{
    noisy = false;
    fragile = true;
    worlds(60);
    EXPECT_GT(sums.stops, 20);
    EXPECT_GT(sums.doubted, 20);
    EXPECT_GT(sums.healed, 20);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_replication.c - server and client over real sockets on
 * loopback, each with an engine in memory. */
#include "tests/unit/net_stage.h"

TEST(a_new_replica_gets_the_content_and_then_every_commit)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 20);
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    for (int i = 0; i < 50; i++) {
        engine_commit(database, &rng);
        UNTIL(is_equal(database));
    }
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    EXPECT_GE(database->tail_hits, 50); /* from memory, not from the log */
    the_cluster_ends();
}

TEST(a_replica_that_was_away_resumes_from_the_log)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 3);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    commits(database, &rng, 300);
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    the_cluster_ends();
}

TEST(a_replica_away_for_longer_than_the_log_is_copied_again)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 3);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    commits(database, &rng, 30);
    engine_trim(database, 5);
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 2);
    EXPECT_EQ(database->pinned, 0);
    the_cluster_ends();
}

/* ---- deltas -------------------------------------------------------------- */

/* A replica that is equal, away, and not in the primary's log any more. */
static struct database *a_replica_away(struct rng *rng)
{
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, rng, 20); /* every page was written */
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    engine_commit(database, rng);
    engine_trim(database, 0);
    return database;
}

static size_t pages_that_differ(const struct database *a,
                                const struct database *b)
{
    size_t count = 0;

    for (uint32_t i = 0; i < ENGINE_PAGES; i++)
        count += memcmp(a->pages[i], b->pages[i], ENGINE_PAGE_BYTES) != 0;
    return count;
}

TEST(a_replica_that_has_most_pages_is_sent_the_others_range_by_range)
{
    struct rng rng = test_rng();
    struct database *database = a_replica_away(&rng);
    struct database *copy = the_copy_of(database);
    size_t missing = pages_that_differ(database, copy);

    copy->copied_pages = 0;
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(copy->copies, 2);
    EXPECT_EQ(copy->copied_pages, missing);
    EXPECT_EQ(copy->ranges_told, 3); /* 8 pages, 3 a message */
    EXPECT_EQ(database->ranges_told, 3);
    EXPECT_EQ(database->pinned, 0);
    the_cluster_ends();
}

TEST(a_copy_that_is_cut_off_goes_on_with_what_came)
{
    struct rng rng = test_rng();
    struct database *database, *copy;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 20);
    client_starts();
    UNTIL((copy = copy_of(database)) != NULL && copy->copied_pages >= 4);
    client_stops();
    EXPECT_EQ(copy->copies, 0);
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_LE(copy->copied_pages, ENGINE_PAGES + 1);
    EXPECT_GE(copy->ranges_told, 1);
    the_cluster_ends();
}

/* As turn(), but for the replica's engine: what it is asked stays in its
 * queue. */
#define UNTIL_BUT_REPLICA(condition)                                           \
    do {                                                                       \
        uint64_t until_ns = clock_now_ns() + PATIENCE_NS;                      \
        bool came = false;                                                     \
        while (!(came = (condition)) && clock_now_ns() < until_ns) {           \
            uv_run(&loop, UV_RUN_NOWAIT);                                      \
            engine_turn(&primary);                                             \
        }                                                                      \
        EXPECT_TRUE(came);                                                     \
    } while (0)

static size_t queued(const struct database *database, enum engine_note note)
{
    size_t count = 0;

    for (size_t i = 0; i < database->queue_count; i++)
        count += database->queue[i].note == note;
    return count;
}

TEST(hashes_that_come_when_the_next_connection_is_there_are_not_sent)
{
    struct rng rng = test_rng();
    struct database *database = a_replica_away(&rng);
    struct database *copy = the_copy_of(database);

    client_starts();
    UNTIL_BUT_REPLICA(queued(copy, ENGINE_HASHES) == 1);
    engine_turn(&replica); /* the first range is told, the second is asked */
    EXPECT_EQ(copy->ranges_told, 1);
    EXPECT_EQ(queued(copy, ENGINE_HASHES), 1);
    closed = 0;
    server_close(server, on_closed, NULL);
    server = NULL;
    UNTIL_BUT_REPLICA(closed == 1);
    UNTIL_BUT_REPLICA(queued(copy, ENGINE_ABANDON) == 1);
    server_starts();
    UNTIL_BUT_REPLICA(queued(copy, ENGINE_BEGIN) == 1);
    UNTIL(is_equal(database));
    EXPECT_EQ(copy->copies, 2);
    EXPECT_EQ(copy->copies_begun, 3); /* the primary did not hang up again */
    the_cluster_ends();
}

/* ---- records, and the rest ----------------------------------------------- */

TEST(more_than_a_window_of_records_arrives_whole)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 1);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    commits(database, &rng, 1500); /* about 18 MB */
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    the_cluster_ends();
}

TEST(a_large_transaction_in_parts_is_read_from_the_log_part_by_part)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    primary.parts = 3;
    primary.tail_records = 0;
    database = a_database("app.db", 1);
    commits(database, &rng, 1);
    client_starts();
    UNTIL(is_equal(database));
    for (int i = 0; i < 30; i++) {
        engine_commit(database, &rng);
        UNTIL(is_equal(database));
    }
    commits(database, &rng, 30);
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    the_cluster_ends();
}

TEST(connections_cut_at_any_moment_lose_nothing)
{
    struct rng rng = test_rng();
    struct database *database;

    a_cluster();
    primary.parts = 2;
    database = a_database("app.db", 1);
    commits(database, &rng, 50);
    for (int cut = 0; cut < 60; cut++) {
        client_starts();
        for (uint64_t turns = rng_below(&rng, 120); turns > 0; turns--) {
            turn();
            if (rng_chance(&rng, 20))
                engine_commit(database, &rng);
        }
        if (rng_chance(&rng, 20))
            engine_trim(database, rng_below(&rng, 10));
        client_stops();
    }
    client_starts();
    UNTIL(is_equal(database));
    the_cluster_ends();
}

TEST(the_replica_comes_back_when_the_primary_does)
{
    struct rng rng = test_rng();
    struct database *database;
    struct client_facts facts;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 3);
    client_starts();
    UNTIL(is_equal(database));
    server_stops();
    commits(database, &rng, 3);
    UNTIL((client_facts(client, &facts), facts.failure[0] != '\0'));
    server_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(the_copy_of(database)->copies, 1);
    the_cluster_ends();
}

TEST(databases_made_and_dropped_while_connected_come_and_go)
{
    struct rng rng = test_rng();
    struct database *first, *second, *copy;

    a_cluster();
    first = a_database("one.db", 1);
    commits(first, &rng, 1);
    client_starts();
    UNTIL(is_equal(first));
    second = a_database("dir/two.db", 2);
    second->view.owner_uid = 1000;
    commits(second, &rng, 1);
    UNTIL(is_equal(second));
    EXPECT_EQ(the_copy_of(second)->view.owner_uid, 1000);
    second->view.owner_mode = 0600;
    second->changed = true;
    UNTIL(the_copy_of(second)->view.owner_mode == 0600);
    copy = the_copy_of(first);
    first->view.state = DATABASE_DROPPED;
    first->changed = true;
    UNTIL(copy->view.state == DATABASE_DROPPED);
    commits(second, &rng, 5);
    UNTIL(is_equal(second));
    the_cluster_ends();
}

TEST(a_database_dropped_while_the_replica_was_away_goes_when_it_is_back)
{
    struct rng rng = test_rng();
    struct database *database, *copy;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 1);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    copy = the_copy_of(database);
    database->view.state = DATABASE_DROPPED;
    client_starts();
    UNTIL(copy->view.state == DATABASE_DROPPED);
    the_cluster_ends();
}

TEST(another_database_under_the_same_name_replaces_the_old_one)
{
    struct rng rng = test_rng();
    struct database *old, *fresh;

    a_cluster();
    old = a_database("app.db", 1);
    commits(old, &rng, 5);
    client_starts();
    UNTIL(is_equal(old));
    old->view.state = DATABASE_DROPPED;
    old->changed = true;
    fresh = a_database("app.db", 2);
    commits(fresh, &rng, 2);
    UNTIL(is_equal(fresh));
    the_cluster_ends();
}

TEST(a_replica_that_diverged_is_brought_back_by_a_copy)
{
    struct rng rng = test_rng();
    struct database *database, *copy;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 5);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    copy = the_copy_of(database);
    replica.epoch = primary.epoch;
    commits(copy, &rng, 3); /* it wrote by itself */
    commits(database, &rng, 2);
    client_starts();
    UNTIL(is_equal(database));
    EXPECT_EQ(copy->copies, 2);
    the_cluster_ends();
}

struct seen {
    int replicas, streams;
    struct server_replica replica;
    struct server_stream stream;
};

static void see_replica(void *context, const struct server_replica *one)
{
    struct seen *seen = context;

    seen->replicas++;
    seen->replica = *one;
    EXPECT_STR(one->node, "r");
}

static void see_stream(void *context, const struct server_stream *one)
{
    struct seen *seen = context;

    seen->streams++;
    seen->stream = *one;
}

TEST(what_a_replica_does_not_follow_is_not_sent)
{
    struct rng rng = test_rng();
    struct client_facts facts;
    struct database *database;
    struct seen seen = {0};

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 5);
    wanted = false;
    client_starts();
    UNTIL((client_facts(client, &facts), facts.round_trip_ns != 0));
    EXPECT_TRUE(list_is_empty(&replica.databases));
    commits(database, &rng, 5); /* nor is it behind in it */
    turn();
    server_replicas(server, see_replica, &seen);
    EXPECT_EQ(seen.replicas, 1);
    EXPECT_EQ(seen.replica.behind_txids, 0);
    EXPECT_EQ(seen.replica.lag_ns, 0);
    the_cluster_ends();
}

static void is_refused(struct identity identity, const char *reason)
{
    struct client_facts facts;

    client_starts_as(identity, "localhost");
    UNTIL((client_facts(client, &facts),
           strncmp(facts.failure, reason, strlen(reason)) == 0));
    client_stops();
}

TEST(who_does_not_belong_here_is_told_why)
{
    struct identity stranger = identity_of("s");

    a_cluster();
    stranger.cluster = "other";
    is_refused(stranger, "cluster: s is in cluster \"other\", p in \"app\"");
    is_refused(identity_of("p"), "same-node: ");
    replica.epoch = epoch_raise(primary.epoch, 7);
    is_refused(identity_of("r"), "fenced: r has heard of epoch 2");
    EXPECT_EQ(roster.count, 0);
    the_cluster_ends();
}

TEST(a_primary_from_before_a_newer_epoch_is_refused_until_it_raises_its_own)
{
    struct rng rng = test_rng();
    struct client_facts facts;
    struct database *database;
    epoch_t newer;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 5);
    client_starts();
    UNTIL(is_equal(database));
    client_stops();
    newer = epoch_raise(primary.epoch, 9);
    EXPECT_OK(history_begin(&the_copy_of(database)->history, newer, 100));
    client_starts();
    UNTIL((client_facts(client, &facts),
           strncmp(facts.failure, "fenced: ", 8) == 0));
    primary.epoch = epoch_raise(newer, 1); /* it was started again */
    EXPECT_OK(history_begin(&database->history, primary.epoch, 6));
    commits(database, &rng, 1);
    UNTIL(is_equal(database));
    the_cluster_ends();
}

TEST(both_ends_know_how_far_the_replica_is)
{
    struct rng rng = test_rng();
    struct client_stream stream;
    struct client_facts facts;
    struct seen seen = {0};
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 5);
    client_starts();
    UNTIL(is_equal(database));
    UNTIL((client_facts(client, &facts), facts.roster_count == 2));
    EXPECT_STR(facts.state, "following");
    EXPECT_STR(facts.node, "p");
    EXPECT_STR(facts.roster[0].node, "r");
    EXPECT_TRUE(facts.roster[0].connected);
    EXPECT_TRUE(facts.roster[1].primary);
    EXPECT_OK(client_stream(client, copy_of(database), &stream));
    EXPECT_STR(stream.state, "streaming");
    EXPECT_EQ(stream.primary_txid, 5);
    EXPECT_LT(stream.age_ns, PATIENCE_NS);
    server_replicas(server, see_replica, &seen);
    server_streams(server, database, see_stream, &seen);
    EXPECT_EQ(seen.replicas, 1);
    EXPECT_EQ(seen.streams, 1);
    EXPECT_EQ(seen.stream.applied_txid, 5);
    EXPECT_EQ(seen.stream.behind_txids, 0);
    client_stops();
    UNTIL(roster_find(&roster, "r")->connections == 0);
    EXPECT_OK(roster_forget(&roster, "r"));
    the_cluster_ends();
}

TEST(a_database_that_no_message_could_name_costs_only_itself)
{
    struct rng rng = test_rng();
    struct database *odd, *good;

    a_cluster();
    odd = a_database("a\tb.db", 1);
    good = a_database("good.db", 2);
    commits(odd, &rng, 2);
    commits(good, &rng, 2);
    client_starts();
    UNTIL(is_equal(good));
    engine_commit(odd, &rng);
    engine_commit(good, &rng);
    UNTIL(is_equal(good));
    EXPECT_TRUE(copy_of(odd) == NULL);
    the_cluster_ends();
}

TEST(a_replica_that_is_being_copied_to_is_behind_by_all)
{
    struct rng rng = test_rng();
    struct seen seen = {0};
    struct database *database;

    a_cluster();
    database = a_database("app.db", 1);
    commits(database, &rng, 5);
    client_starts();
    UNTIL((server_streams(server, database, see_stream, &seen),
           seen.streams > 0));
    EXPECT_EQ(seen.stream.behind_txids, 5);
    EXPECT_GE(seen.stream.lag_ns, 1);
    UNTIL(is_equal(database));
    UNTIL((server_streams(server, database, see_stream, &seen),
           seen.stream.behind_txids == 0));
    EXPECT_EQ(seen.stream.lag_ns, 0); /* nothing was committed since */
    the_cluster_ends();
}

TEST(databases_that_are_dropped_are_let_go_while_the_connection_lasts)
{
    struct rng rng = test_rng();
    struct database *all[60], *copy;
    struct client_facts facts;
    char name[16];

    a_cluster();
    client_starts();
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++) {
        snprintf(name, sizeof name, "%u.db", i);
        all[i] = a_database(name, (uint8_t)(i + 1));
        commits(all[i], &rng, 3);
        UNTIL(is_equal(all[i]));
        copy = the_copy_of(all[i]);
        /* Acks and credit of this may still be on their way. */
        commits(all[i], &rng, (int)rng_below(&rng, 3));
        for (uint64_t turns = rng_below(&rng, 4); turns > 0; turns--)
            turn();
        all[i]->view.state = DATABASE_DROPPED;
        all[i]->changed = true;
        UNTIL(copy->view.state == DATABASE_DROPPED && copy->references == 1);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        EXPECT_EQ(all[i]->references, 1);
    UNTIL((client_facts(client, &facts), facts.round_trip_ns != 0));
    EXPECT_STR(facts.failure, "");
    the_cluster_ends();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_wait.c - waiters: order, deadlines, limits, re-entry. */
#include "replication/core/wait.h"

#include "tests/harness.h"

static struct wait_queue queue;
static struct wait_entry *told[64];
static int told_rc[64];
static size_t told_count;

static void on_done(struct wait_entry *entry, int rc)
{
    told[told_count] = entry;
    told_rc[told_count++] = rc;
}

static void a_queue(void)
{
    told_count = 0;
    wait_init(&queue);
}

static void park(struct wait_entry *entry, txid_t txid, uint64_t deadline_ns)
{
    EXPECT_OK(wait_add(&queue, entry, txid, deadline_ns, on_done));
}

TEST(those_who_wait_are_told_lowest_txid_first)
{
    struct wait_entry a, b, c;

    a_queue();
    park(&a, 30, WAIT_FOREVER);
    park(&b, 10, WAIT_FOREVER);
    park(&c, 20, WAIT_FOREVER);
    wait_advance(&queue, 25);
    EXPECT_EQ(told_count, 2);
    EXPECT_EQ(told[0], &b);
    EXPECT_EQ(told[1], &c);
    EXPECT_EQ(told_rc[0], 0);
    EXPECT_EQ(wait_count(&queue), 1);
    wait_remove(&queue, &a);
    wait_close(&queue);
}

TEST(among_equals_the_first_to_come_is_told_first)
{
    struct wait_entry entries[9];

    a_queue();
    for (size_t i = 0; i < ARRAY_LENGTH(entries); i++)
        park(&entries[i], 7, WAIT_FOREVER);
    wait_advance(&queue, 7);
    EXPECT_EQ(told_count, ARRAY_LENGTH(entries));
    for (size_t i = 0; i < ARRAY_LENGTH(entries); i++)
        EXPECT_EQ(told[i], &entries[i]);
    wait_close(&queue);
}

TEST(nobody_is_told_inside_wait_add_even_if_the_txid_is_here)
{
    struct wait_entry entry;

    a_queue();
    wait_advance(&queue, 100);
    park(&entry, 1, WAIT_FOREVER);
    EXPECT_EQ(told_count, 0);
    wait_advance(&queue, 100);
    EXPECT_EQ(told_count, 1);
    wait_close(&queue);
}

TEST(a_deadline_passes_for_those_it_concerns_alone)
{
    struct wait_entry soon, late, never;

    a_queue();
    park(&never, 1, WAIT_FOREVER);
    park(&late, 2, 2000);
    park(&soon, 3, 1000);
    EXPECT_EQ(wait_next_deadline(&queue), 1000);
    wait_expire(&queue, 999);
    EXPECT_EQ(told_count, 0);
    wait_expire(&queue, 1000);
    EXPECT_EQ(told_count, 1);
    EXPECT_EQ(told[0], &soon);
    EXPECT_EQ(told_rc[0], -ETIMEDOUT);
    EXPECT_EQ(wait_next_deadline(&queue), 2000);
    wait_advance(&queue, 2);
    EXPECT_EQ(told_count, 3);
    EXPECT_EQ(wait_next_deadline(&queue), WAIT_FOREVER);
    wait_close(&queue);
}

TEST(one_without_a_deadline_outlives_every_clock)
{
    struct wait_entry entry;

    a_queue();
    park(&entry, 1, WAIT_FOREVER);
    wait_expire(&queue, UINT64_MAX);
    EXPECT_EQ(told_count, 0);
    wait_cancel_all(&queue, -ECANCELED);
    EXPECT_EQ(told_rc[0], -ECANCELED);
    wait_close(&queue);
}

TEST(whoever_goes_away_is_never_told)
{
    struct wait_entry a, b, zeroed = {0};

    a_queue();
    park(&a, 1, 10);
    park(&b, 1, 10);
    wait_remove(&queue, &a);
    wait_remove(&queue, &a);
    wait_remove(&queue, &zeroed);
    wait_advance(&queue, 5);
    wait_expire(&queue, 100);
    EXPECT_EQ(told_count, 1);
    EXPECT_EQ(told[0], &b);
    wait_close(&queue);
}

static struct wait_entry neighbour;

static void on_done_takes_neighbour_back(struct wait_entry *entry, int rc)
{
    on_done(entry, rc);
    wait_remove(&queue, &neighbour);
}

TEST(one_who_is_told_may_take_a_neighbour_back_that_was_due_too)
{
    struct wait_entry entry;

    a_queue();
    EXPECT_OK(wait_add(&queue, &entry, 1, WAIT_FOREVER,
                       on_done_takes_neighbour_back));
    park(&neighbour, 2, WAIT_FOREVER);
    wait_advance(&queue, 2);
    EXPECT_EQ(told_count, 1);
    EXPECT_EQ(told[0], &entry);
    wait_close(&queue);
}

static void on_done_parks_again(struct wait_entry *entry, int rc)
{
    on_done(entry, rc);
    EXPECT_OK(wait_add(&queue, entry, 0, WAIT_FOREVER, on_done_parks_again));
}

TEST(one_who_parks_again_when_told_waits_for_the_next_advance)
{
    struct wait_entry entry;

    a_queue();
    EXPECT_OK(wait_add(&queue, &entry, 1, WAIT_FOREVER, on_done_parks_again));
    wait_advance(&queue, 1);
    EXPECT_EQ(told_count, 1);
    wait_advance(&queue, 1);
    EXPECT_EQ(told_count, 2);
    wait_cancel_all(&queue, -ECANCELED);
    EXPECT_EQ(told_count, 3);
    EXPECT_EQ(wait_count(&queue), 1);
    wait_remove(&queue, &entry);
    wait_close(&queue);
}

TEST(one_more_than_wait_max_is_refused_and_changes_nothing)
{
    static struct wait_entry entries[WAIT_MAX + 1];
    size_t last = WAIT_MAX;

    a_queue();
    for (size_t i = 0; i < last; i++)
        park(&entries[i], i + 1, WAIT_FOREVER);
    EXPECT_EQ(wait_add(&queue, &entries[last], 1, 1, on_done), -ENOBUFS);
    EXPECT_EQ(wait_count(&queue), last);
    EXPECT_EQ(wait_next_deadline(&queue), WAIT_FOREVER);
    for (size_t i = 0; i < last; i++)
        wait_remove(&queue, &entries[i]);
    wait_close(&queue);
}

static txid_t reached;
static uint64_t now;

static void on_done_is_right(struct wait_entry *entry, int rc)
{
    if (rc == 0)
        EXPECT_LE(entry->txid, reached);
    else if (rc == -ETIMEDOUT)
        EXPECT_LE(entry->deadline_ns, now);
    told_count++;
}

/* Against the obvious: after each step nobody parked should have been told. */
TEST(after_any_mix_of_calls_exactly_the_unreached_are_parked)
{
    static struct wait_entry entries[500];
    struct rng rng = test_rng();
    size_t parked;

    a_queue();
    reached = now = 0;
    for (int round = 0; round < 20000; round++) {
        struct wait_entry *entry =
            &entries[rng_below(&rng, ARRAY_LENGTH(entries))];

        if (entry->place[WAIT_BY_TXID] != 0)
            wait_remove(&queue, entry);
        else
            EXPECT_OK(wait_add(&queue, entry, reached + rng_below(&rng, 99),
                               now + 1 + rng_below(&rng, 99),
                               on_done_is_right));
        if (rng_chance(&rng, 10))
            wait_advance(&queue, reached += rng_below(&rng, 9));
        if (rng_chance(&rng, 10))
            wait_expire(&queue, now += rng_below(&rng, 9));
    }
    wait_advance(&queue, reached);
    wait_expire(&queue, now);
    parked = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(entries); i++) {
        if (entries[i].place[WAIT_BY_TXID] == 0)
            continue;
        parked++;
        EXPECT_GT(entries[i].txid, reached);
        EXPECT_GT(entries[i].deadline_ns, now);
    }
    EXPECT_EQ(wait_count(&queue), parked);
    EXPECT_GT(told_count, 100);
    wait_cancel_all(&queue, -ECANCELED);
    wait_close(&queue);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_history.c - epochs, and what two nodes have in common. */
#include "wal/history.h"

#include "tests/harness.h"

#define FOREVER UINT64_MAX

/* A history from pairs epoch, first TXID; ends at epoch 0. */
static struct history a_history(const uint64_t *pairs)
{
    struct history history = {0};

    for (; pairs[0] != 0; pairs += 2)
        EXPECT_OK(history_begin(&history, pairs[0], pairs[1]));
    return history;
}

#define A_HISTORY(...) a_history((const uint64_t[]){__VA_ARGS__, 0})

TEST(an_empty_history_names_nothing)
{
    struct history history = {0};
    txid_t end = 7;

    EXPECT_EQ(history_last(&history), 0);
    EXPECT_EQ(history_epoch_of(&history, 1), 0);
    EXPECT_FALSE(history_has(&history, 1, &end));
    EXPECT_EQ(end, 7);
    history_free(&history);
    history_free(&history);
}

TEST(each_txid_belongs_to_the_epoch_begun_last_before_it)
{
    struct history history = A_HISTORY(10, 5, 20, 8, 30, 100);

    EXPECT_EQ(history_epoch_of(&history, 4), 0);
    EXPECT_EQ(history_epoch_of(&history, 5), 10);
    EXPECT_EQ(history_epoch_of(&history, 7), 10);
    EXPECT_EQ(history_epoch_of(&history, 8), 20);
    EXPECT_EQ(history_epoch_of(&history, 99), 20);
    EXPECT_EQ(history_epoch_of(&history, FOREVER), 30);
    EXPECT_EQ(history_last(&history), 30);
    history_free(&history);
}

TEST(an_epoch_ends_where_the_next_begins_and_the_newest_is_open)
{
    struct history history = A_HISTORY(10, 1, 20, 8);
    txid_t end;

    EXPECT_TRUE(history_has(&history, 10, &end));
    EXPECT_EQ(end, 7);
    EXPECT_TRUE(history_has(&history, 20, &end));
    EXPECT_EQ(end, FOREVER);
    EXPECT_FALSE(history_has(&history, 15, &end));
    history_free(&history);
}

TEST(epochs_and_first_txids_never_go_back)
{
    struct history history = A_HISTORY(10, 1, 20, 8);

    EXPECT_EQ(history_begin(&history, 20, 9), -EINVAL);
    EXPECT_EQ(history_begin(&history, 19, 9), -EINVAL);
    EXPECT_EQ(history_begin(&history, 0, 9), -EINVAL);
    EXPECT_EQ(history_begin(&history, 30, 7), -EINVAL);
    EXPECT_EQ(history.count, 2);
    history_free(&history);
    EXPECT_EQ(history_begin(&history, 1, 0), -EINVAL);
}

TEST(an_epoch_without_transactions_leaves_no_trace)
{
    struct history history = A_HISTORY(10, 1, 20, 8, 30, 8);
    txid_t end;

    EXPECT_EQ(history.count, 2);
    EXPECT_FALSE(history_has(&history, 20, &end));
    EXPECT_TRUE(history_has(&history, 10, &end));
    EXPECT_EQ(end, 7);
    EXPECT_EQ(history_epoch_of(&history, 8), 30);
    history_free(&history);
}

TEST(only_the_oldest_entry_is_forgotten_when_the_list_is_full)
{
    struct history history = {0};
    txid_t end;

    for (uint64_t i = 1; i <= HISTORY_MAX + 1; i++)
        EXPECT_OK(history_begin(&history, i, i));
    EXPECT_EQ(history.count, HISTORY_MAX);
    EXPECT_FALSE(history_has(&history, 1, &end));
    EXPECT_TRUE(history_has(&history, 2, &end));
    EXPECT_EQ(history_epoch_of(&history, 1), 0);
    EXPECT_EQ(history_last(&history), HISTORY_MAX + 1);
    history_free(&history);
}

TEST(a_copy_lives_on_when_the_original_is_freed)
{
    struct history history = A_HISTORY(10, 1, 20, 8), copy, nothing;

    EXPECT_OK(history_copy(&copy, &history));
    history_free(&history);
    EXPECT_OK(history_begin(&copy, 30, 9));
    EXPECT_EQ(history_epoch_of(&copy, 8), 20);
    EXPECT_OK(history_copy(&nothing, &history));
    EXPECT_EQ(nothing.count, 0);
    history_free(&copy);
}

static txid_t common(const struct history *a, txid_t a_txid,
                     const struct history *b, txid_t b_txid)
{
    txid_t result = history_common(a, a_txid, b, b_txid);

    EXPECT_EQ(history_common(b, b_txid, a, a_txid), result);
    return result;
}

TEST(on_one_history_the_node_behind_says_how_far_both_agree)
{
    struct history a = A_HISTORY(10, 1, 20, 8);

    EXPECT_EQ(common(&a, 50, &a, 30), 30);
    EXPECT_EQ(common(&a, 50, &a, 5), 5);
    EXPECT_EQ(common(&a, 50, &a, 0), 0);
    history_free(&a);
}

TEST(a_node_that_missed_a_failover_agrees_up_to_it)
{
    struct history a = A_HISTORY(10, 1, 20, 8), b = A_HISTORY(10, 1);

    EXPECT_EQ(common(&a, 50, &b, 7), 7);
    EXPECT_EQ(common(&a, 50, &b, 3), 3);
    EXPECT_EQ(common(&a, 50, &b, 12), 7); /* 8..12 is b's lost branch */
    history_free(&a);
    history_free(&b);
}

TEST(two_branches_agree_up_to_the_fork)
{
    struct history a = A_HISTORY(10, 1, 20, 8, 40, 20);
    struct history b = A_HISTORY(10, 1, 30, 6);

    EXPECT_EQ(common(&a, 50, &b, 50), 5);
    history_free(&a);
    history_free(&b);
}

TEST(a_history_ahead_of_its_own_txid_promises_nothing)
{
    struct history a = A_HISTORY(10, 1, 20, 8);

    EXPECT_EQ(common(&a, 5, &a, 100), 5);
    history_free(&a);
}

TEST(strangers_agree_on_nothing)
{
    struct history a = A_HISTORY(10, 1, 20, 8), b = A_HISTORY(11, 1);
    struct history none = {0};

    EXPECT_EQ(common(&a, 50, &b, 50), 0);
    EXPECT_EQ(common(&a, 50, &none, 50), 0);
    history_free(&a);
    history_free(&b);
}

/* A family of nodes: each takes over from another at some TXID. Who holds
 * which transaction is written down one by one and compared with the answer. */
#define NODES 6
#define TXIDS 60

struct relative {
    struct history history;
    txid_t txid;
    epoch_t wrote[TXIDS + 1]; /* who made TXID i, as this node holds it */
};

static void relative_adopt(struct relative *node, const struct relative *from,
                           txid_t up_to)
{
    history_free(&node->history);
    node->txid = up_to;
    for (txid_t i = 1; i <= up_to; i++) {
        node->wrote[i] = from->wrote[i];
        if (i == 1 || from->wrote[i] != from->wrote[i - 1])
            EXPECT_OK(history_begin(&node->history, from->wrote[i], i));
    }
}

static void relative_write(struct relative *node, epoch_t epoch, txid_t count)
{
    EXPECT_OK(history_begin(&node->history, epoch, node->txid + 1));
    for (; count > 0 && node->txid < TXIDS; count--)
        node->wrote[++node->txid] = epoch;
}

static txid_t common_one_by_one(const struct relative *a,
                                const struct relative *b)
{
    txid_t i = 0;

    while (i < a->txid && i < b->txid && a->wrote[i + 1] == b->wrote[i + 1])
        i++;
    return i;
}

TEST(common_is_what_comparing_every_transaction_would_say)
{
    static struct relative nodes[NODES];
    struct rng rng = test_rng();
    epoch_t epoch = 0;

    for (int i = 0; i < 20000; i++) {
        struct relative *a = &nodes[rng_below(&rng, NODES)];
        struct relative *b = &nodes[rng_below(&rng, NODES)];

        if (rng_chance(&rng, 50) && a != b)
            relative_adopt(a, b, rng_between(&rng, b->txid / 2, b->txid));
        else
            relative_write(a, ++epoch, rng_below(&rng, 9));
        EXPECT_EQ(common(&a->history, a->txid, &b->history, b->txid),
                  common_one_by_one(a, b));
    }
    for (int i = 0; i < NODES; i++)
        history_free(&nodes[i].history);
}

TEST(what_is_encoded_reads_back)
{
    struct history history = A_HISTORY(10, 1, UINT64_MAX, UINT64_MAX), back;
    uint8_t bytes[64] = {0};
    size_t used;

    EXPECT_EQ(history_encoded_bytes(&history), 36);
    history_encode(&history, bytes);
    EXPECT_EQ(bytes[0], 2); /* little-endian */
    EXPECT_EQ(bytes[4], 10);
    EXPECT_OK(history_decode(&back, bytes, sizeof bytes, &used));
    EXPECT_EQ(used, 36);
    EXPECT_EQ(back.count, 2);
    EXPECT_EQ(back.entries[1].first_txid, UINT64_MAX);
    history_free(&back);
    for (size_t size = 0; size < 36; size++)
        EXPECT_EQ(history_decode(&back, bytes, size, &used), -EBADMSG);
    history_free(&history);
}

TEST(an_empty_history_takes_four_bytes)
{
    struct history history = {0}, back;
    uint8_t bytes[4];
    size_t used;

    history_encode(&history, bytes);
    EXPECT_OK(history_decode(&back, bytes, 4, &used));
    EXPECT_EQ(used, 4);
    EXPECT_EQ(back.count, 0);
}

TEST(a_list_that_does_not_rise_is_refused)
{
    struct history history = A_HISTORY(10, 1, 20, 8), back;
    uint8_t bytes[36];
    size_t used;

    history_encode(&history, bytes);
    bytes[20] = 10; /* second epoch equals the first */
    EXPECT_EQ(history_decode(&back, bytes, 36, &used), -EBADMSG);
    bytes[20] = 20;
    bytes[28] = 1; /* second TXID equals the first */
    EXPECT_EQ(history_decode(&back, bytes, 36, &used), -EBADMSG);
    bytes[28] = 8;
    bytes[12] = 0; /* TXID 0 */
    EXPECT_EQ(history_decode(&back, bytes, 36, &used), -EBADMSG);
    bytes[12] = 1;
    EXPECT_OK(history_decode(&back, bytes, 36, &used));
    history_free(&back);
    history_free(&history);
}

TEST(a_count_past_the_limit_is_refused_before_memory_is_taken)
{
    static uint8_t bytes[4 + (HISTORY_MAX + 1) * HISTORY_ENTRY_BYTES];
    struct history back;
    size_t used;

    bytes[0] = 1;
    bytes[1] = HISTORY_MAX >> 8;
    EXPECT_EQ(history_decode(&back, bytes, sizeof bytes, &used), -EBADMSG);
    memset(bytes, 0xff, 4);
    EXPECT_EQ(history_decode(&back, bytes, sizeof bytes, &used), -EBADMSG);
}

TEST(what_is_cut_off_takes_the_epochs_with_it_that_began_there)
{
    struct history history = {0};

    EXPECT_OK(history_begin(&history, 3, 1));
    EXPECT_OK(history_begin(&history, 5, 10));
    EXPECT_OK(history_begin(&history, 8, 20));
    history_cut(&history, 20);
    EXPECT_EQ(history_last(&history), 8);
    history_cut(&history, 19);
    EXPECT_EQ(history_last(&history), 5);
    EXPECT_OK(history_begin(&history, 9, 20));
    history_cut(&history, 0);
    EXPECT_EQ(history_last(&history), 0);
    history_free(&history);
}

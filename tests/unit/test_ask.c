/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "base/bytes.h"
#include "replication/core/ask.h"

#define EPOCH(number) (((epoch_t)(number) << EPOCH_RANDOM_BITS) | 7)

static const struct lineage ours = {{1}};

/* Epochs 1, 2, ... that begin at these TXIDs; 0 ends the list. */
static struct history history_of(txid_t first, txid_t second, txid_t third)
{
    const txid_t firsts[] = {first, second, third};
    struct history history = {0};

    for (size_t i = 0; i < ARRAY_LENGTH(firsts) && firsts[i] != 0; i++)
        EXPECT_OK(history_begin(&history, EPOCH(i + 1), firsts[i]));
    return history;
}

/* What a primary at (epoch, txid) makes of a replica that received so much. */
static enum ask_answer asked(epoch_t epoch, txid_t txid, struct history history,
                             txid_t received, struct history theirs)
{
    struct body_database replica = {
        .lineage = ours, .received_txid = received, .history = theirs};
    struct position position = {.epoch = epoch, .txid = txid};
    enum ask_answer answer = ask_judge(&ours, &position, &history, &replica);

    history_free(&history);
    history_free(&theirs);
    return answer;
}

TEST(a_replica_with_more_of_our_own_epoch_has_more)
{
    EXPECT_EQ(asked(EPOCH(1), 10, history_of(1, 0, 0), 15, history_of(1, 0, 0)),
              ASK_MORE);
}

TEST(a_replica_with_epochs_that_we_have_lost_has_more)
{
    EXPECT_EQ(
        asked(EPOCH(1), 10, history_of(1, 0, 0), 25, history_of(1, 11, 20)),
        ASK_MORE);
}

TEST(one_with_nothing_lost_is_asked_for_everything)
{
    EXPECT_EQ(asked(0, 0, history_of(0, 0, 0), 25, history_of(1, 11, 0)),
              ASK_MORE);
}

TEST(a_replica_with_as_much_or_less_has_nothing_for_us)
{
    EXPECT_EQ(asked(EPOCH(1), 10, history_of(1, 0, 0), 10, history_of(1, 0, 0)),
              ASK_NOTHING);
    EXPECT_EQ(asked(EPOCH(2), 12, history_of(1, 8, 0), 9, history_of(1, 8, 0)),
              ASK_NOTHING);
    EXPECT_EQ(asked(EPOCH(1), 10, history_of(1, 0, 0), 0, history_of(0, 0, 0)),
              ASK_NOTHING);
}

TEST(another_branch_is_no_continuation_of_ours)
{
    /* We committed 10 in epoch 1; there epoch 2 began at 8. */
    EXPECT_EQ(asked(EPOCH(1), 10, history_of(1, 0, 0), 15, history_of(1, 8, 0)),
              ASK_PARTED);
    /* We committed 8 to 10 in epoch 2; there they are of epoch 1. */
    EXPECT_EQ(asked(EPOCH(2), 10, history_of(1, 8, 0), 15, history_of(1, 0, 0)),
              ASK_PARTED);
}

TEST(a_history_that_runs_ahead_of_our_commits_is_no_commit)
{
    /* Ours heard of epoch 2 and has nothing of it yet. */
    EXPECT_EQ(
        asked(EPOCH(1), 10, history_of(1, 11, 0), 15, history_of(1, 11, 0)),
        ASK_MORE);
}

TEST(a_position_of_another_epoch_than_its_history_says_is_not_asked)
{
    EXPECT_EQ(asked(EPOCH(3), 10, history_of(1, 0, 0), 15, history_of(1, 0, 0)),
              ASK_PARTED);
}

TEST(another_lineage_under_our_name_is_another_database)
{
    struct body_database replica = {.lineage = {{2}}, .received_txid = 5};
    struct position position = {0};
    struct history history = {0};

    EXPECT_EQ(ask_judge(&ours, &position, &history, &replica), ASK_OTHER);
}

/* What replicas say that are at (epoch, txid): who of them knows better? */
static bool better(epoch_t epoch, txid_t received, epoch_t than, txid_t txid)
{
    struct body_database a = {.received_txid = received};
    struct body_database b = {.received_txid = txid};
    bool is;

    EXPECT_OK(history_begin(&a.history, epoch, 1));
    EXPECT_OK(history_begin(&b.history, than, 1));
    is = ask_is_better(&a, &b);
    history_free(&a.history);
    history_free(&b.history);
    return is;
}

TEST(of_two_replicas_the_newer_epoch_knows_better_then_who_has_more)
{
    EXPECT_TRUE(better(EPOCH(2), 5, EPOCH(1), 9));
    EXPECT_FALSE(better(EPOCH(1), 9, EPOCH(2), 5));
    EXPECT_TRUE(better(EPOCH(2), 6, EPOCH(2), 5));
    EXPECT_FALSE(better(EPOCH(2), 5, EPOCH(2), 5));
}

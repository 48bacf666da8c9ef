/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_continuity.c - which record may come after which. */
#include "wal/continuity.h"

#include "tests/harness.h"

static struct record_header a_record(txid_t first, txid_t last, uint32_t flags)
{
    return (struct record_header){
        .flags = flags,
        .epoch = 3,
        .first_txid = first,
        .last_txid = last,
        .previous = {.epoch = 3, .txid = first - 1},
        .part = 1,
        .parts = 1,
    };
}

static bool accepts(const struct continuity *continuity, txid_t first,
                    txid_t last, uint32_t flags)
{
    struct record_header header = a_record(first, last, flags);

    return continuity_accepts(continuity, &header);
}

static void comes(struct continuity *continuity, txid_t first, txid_t last,
                  uint32_t flags)
{
    struct record_header header = a_record(first, last, flags);

    continuity_advance(continuity, &header);
}

TEST(a_log_begins_anywhere_but_not_with_the_end_of_something)
{
    struct continuity none = {0};
    struct record_header part = a_record(9, 9, 0);

    EXPECT_TRUE(accepts(&none, 9, 12, 0));
    EXPECT_TRUE(accepts(&none, 9, 9, RECORD_PREPARED));
    EXPECT_TRUE(accepts(&none, 9, 9, RECORD_RESOLVE | RECORD_ABORT));
    EXPECT_FALSE(accepts(&none, 9, 9, RECORD_RESOLVE));
    EXPECT_FALSE(accepts(&none, 0, 0, RECORD_SNAPSHOT));
    part.part = part.parts = 2;
    EXPECT_FALSE(continuity_accepts(&none, &part));
    EXPECT_EQ(continuity_txid(&none), 0);
    EXPECT_EQ(continuity_reach_txid(&none), 0);
}

TEST(the_next_record_covers_the_next_txid)
{
    struct continuity at_5 = {0};

    comes(&at_5, 1, 5, 0);
    EXPECT_TRUE(accepts(&at_5, 6, 6, 0));
    EXPECT_TRUE(accepts(&at_5, 6, 99, 0));
    EXPECT_TRUE(accepts(&at_5, 2, 6, 0));
    EXPECT_FALSE(accepts(&at_5, 2, 5, 0));
    EXPECT_FALSE(accepts(&at_5, 7, 9, 0));
    EXPECT_EQ(continuity_txid(&at_5), 5);
}

TEST(an_epoch_never_falls)
{
    struct continuity at_1 = {0};
    struct record_header older = a_record(2, 2, 0);

    comes(&at_1, 1, 1, 0);
    older.epoch = 2;
    EXPECT_FALSE(continuity_accepts(&at_1, &older));
    older.epoch = 4;
    EXPECT_TRUE(continuity_accepts(&at_1, &older));
}

TEST(a_prepared_record_waits_for_its_decision)
{
    struct continuity waits = {0};

    comes(&waits, 1, 5, 0);
    comes(&waits, 6, 6, RECORD_PREPARED);
    EXPECT_EQ(continuity_txid(&waits), 5);
    EXPECT_EQ(continuity_end_txid(&waits), 6);
    EXPECT_TRUE(accepts(&waits, 6, 6, RECORD_RESOLVE));
    EXPECT_TRUE(accepts(&waits, 6, 6, RECORD_RESOLVE | RECORD_ABORT));
    EXPECT_TRUE(accepts(&waits, 6, 8, 0)); /* seen committed after all */
    EXPECT_TRUE(accepts(&waits, 6, 6, RECORD_PREPARED));
    EXPECT_FALSE(accepts(&waits, 7, 7, 0));
    EXPECT_FALSE(accepts(&waits, 7, 7, RECORD_RESOLVE));
    comes(&waits, 6, 6, RECORD_RESOLVE);
    EXPECT_EQ(continuity_txid(&waits), 6);
    EXPECT_FALSE(accepts(&waits, 6, 6, RECORD_RESOLVE));
    EXPECT_TRUE(accepts(&waits, 7, 7, 0));
}

TEST(a_log_that_begins_with_a_prepared_record_has_a_next_txid_too)
{
    struct continuity waits = {0};

    comes(&waits, 6, 6, RECORD_PREPARED);
    EXPECT_EQ(continuity_txid(&waits), 0);
    EXPECT_TRUE(accepts(&waits, 6, 6, RECORD_RESOLVE));
    EXPECT_FALSE(accepts(&waits, 9, 9, 0));
}

TEST(between_parts_comes_nothing_else)
{
    struct continuity parts = {0};
    struct record_header part = a_record(6, 6, 0);

    comes(&parts, 1, 5, 0);
    part.parts = 3;
    continuity_advance(&parts, &part);
    EXPECT_EQ(continuity_end_txid(&parts), 5);
    EXPECT_EQ(continuity_reach_txid(&parts), 6);
    EXPECT_FALSE(accepts(&parts, 6, 6, 0));
    EXPECT_FALSE(continuity_accepts(&parts, &part)); /* again */
    part.part = 3;
    EXPECT_FALSE(continuity_accepts(&parts, &part));
    part.part = 2;
    part.sum_after++;
    EXPECT_FALSE(continuity_accepts(&parts, &part));
    part.sum_after--;
    continuity_advance(&parts, &part);
    part.part = 3;
    continuity_advance(&parts, &part);
    EXPECT_EQ(continuity_txid(&parts), 6);
    EXPECT_EQ(parts.unfinished.parts, 0);
}

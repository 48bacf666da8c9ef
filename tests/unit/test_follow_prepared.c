/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_follow_prepared.c - the replica's half, of a commit that is
 * prepared and not decided: what is told of it. */
#include "tests/unit/follow_stage.h"

#define HELD ((struct position){EPOCH, 101, 0x77})

static void gets_prepared(uint32_t part, uint32_t parts)
{
    gets((struct record_header){.flags = RECORD_PREPARED,
                                .first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 0xaaaa},
                                .sum_after = HELD.sum,
                                .part = part,
                                .parts = parts},
         10);
}

static void gets_decision(uint32_t flags)
{
    gets((struct record_header){.flags = RECORD_RESOLVE | flags,
                                .first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 0xaaaa},
                                .sum_after = flags == 0 ? HELD.sum : 0xaaaa},
         10);
}

/* The engine took it from the queue: it lies whole in the log. */
static void holds(struct position prepared, bool durable)
{
    view.prepared = prepared;
    view.prepared_durable = durable;
    happens(FOLLOW_PROGRESS);
}

TEST(received_and_durable_count_a_whole_prepared_and_the_position_does_not)
{
    const struct body_ack *ack;

    a_replica();
    resumes();
    gets_prepared(1, 2);
    happens(FOLLOW_PROGRESS); /* half of it: nothing to tell */
    does_nothing();
    gets_prepared(2, 2);
    holds(HELD, false);
    ack = &does(0, FOLLOW_DO_ACK)->ack;
    EXPECT_EQ(ack->received_txid, 101);
    EXPECT_EQ(ack->durable_txid, 90);
    EXPECT_EQ(ack->position.txid, 100);
    holds(HELD, true); /* and all that is before it */
    ack = &does(0, FOLLOW_DO_ACK)->ack;
    EXPECT_EQ(ack->received_txid, 101);
    EXPECT_EQ(ack->durable_txid, 101);
    EXPECT_EQ(ack->position.txid, 100);
}

TEST(only_the_prepared_of_this_open_counts_not_one_of_its_txid_from_before)
{
    a_replica();
    view.prepared = (struct position){EPOCH - 1, 101, 0x66};
    view.prepared_durable = true;
    follow_init(&follow, &lineage, &view);
    resumes();
    EXPECT_EQ(does(1, FOLLOW_DO_ACK)->ack.received_txid, 100);
    gets_prepared(1, 1); /* in the queue; the log holds the old one yet */
    happens(FOLLOW_PROGRESS);
    does_nothing();
    holds(HELD, true);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.durable_txid, 101);
}

TEST(a_replica_whose_copy_is_not_complete_does_not_count_a_prepared)
{
    a_replica();
    is_opened(BODY_SNAPSHOT, view.position);
    gets_prepared(1, 1);
    does(0, FOLLOW_DO_OFFER);
    copy_ends(100);
    view.copying = true;
    view.consumed_bytes = 10;
    holds(HELD, true);
    does_nothing(); /* the one at the OPEN said nothing, and that holds */
    EXPECT_EQ(tells().prepared.txid, 0);
    view.copying = false;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.durable_txid, 101);
    EXPECT_EQ(tells().prepared.txid, 101);
}

TEST(a_prepared_is_told_until_something_after_it_is_offered)
{
    a_replica();
    resumes();
    EXPECT_EQ(tells().prepared.txid, 0);
    gets_prepared(1, 1);
    for (int connections = 0; connections < 3; connections++) {
        struct body_database told;

        happens(FOLLOW_LOST);
        told = tells();
        EXPECT_TRUE(position_is_equal(&told.prepared, &HELD));
        EXPECT_EQ(told.received_txid, 100); /* it comes again from there */
        EXPECT_EQ(told.durable_txid, 90);
        resumes();
        if (connections == 1)
            gets_prepared(1, 2); /* the older one is whole, this one not yet */
    }
    gets_prepared(1, 1);
    does(0, FOLLOW_DO_OFFER);
    gets_decision(0);
    does(0, FOLLOW_DO_OFFER);
    EXPECT_EQ(tells().prepared.txid, 0);
    EXPECT_EQ(tells().received_txid, 101);
}

TEST(an_abort_or_another_record_of_its_txid_ends_a_prepared_too)
{
    a_replica();
    resumes();
    gets_prepared(1, 1);
    gets_decision(RECORD_ABORT);
    does(0, FOLLOW_DO_OFFER);
    EXPECT_EQ(tells().prepared.txid, 0);
    a_replica();
    resumes();
    gets_prepared(1, 1);
    happens(FOLLOW_LOST);
    resumes();
    gets_txid(101); /* a primary that never had the PREPARED */
    does(0, FOLLOW_DO_OFFER);
    EXPECT_EQ(tells().prepared.txid, 0);
}

TEST(a_prepared_in_the_log_is_told_after_a_restart)
{
    struct body_database told;

    a_replica();
    view.prepared = HELD;
    follow_init(&follow, &lineage, &view);
    told = tells();
    EXPECT_TRUE(position_is_equal(&told.prepared, &HELD));
    /* A log that says something else than where we are is not believed. */
    view.prepared.txid = 103;
    follow_init(&follow, &lineage, &view);
    EXPECT_EQ(tells().prepared.txid, 0);
}

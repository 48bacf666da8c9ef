/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_feed.c - the primary's half: decisions, order, credit. */
#include "tests/unit/feed_stage.h"

TEST(what_cannot_be_read_now_is_opened_later)
{
    a_primary();
    a_replica_at(OURS, 60, 1);
    source.ready = false;
    hears();
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(does(0, FEED_DO_OPEN)->mode, BODY_NOTHING);
    EXPECT_OK(steps(event(FEED_SOURCE)));
    EXPECT_EQ(actions.count, 0); /* not said twice */
    source.ready = true;
    EXPECT_OK(steps(event(FEED_SOURCE)));
    EXPECT_EQ(does(0, FEED_DO_OPEN)->mode, BODY_RESUME);
    EXPECT_EQ(does(0, FEED_DO_OPEN)->serial, 2);
}

/* ---- records ----------------------------------------------------------- */

TEST(records_go_out_one_after_the_other_until_none_is_left)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    EXPECT_EQ(does(0, FEED_DO_OPEN)->position.txid, 97);
    EXPECT_EQ(does(1, FEED_DO_FETCH)->cursor.txid, 98);
    reads(98, 99, 10);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(does(1, FEED_DO_FETCH)->cursor.txid, 100);
    reads(100, 100, 10);
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_commit_at_the_tail_is_fetched_at_once)
{
    a_primary();
    a_replica_at(OURS, 100, 0xaaaa);
    hears();
    EXPECT_EQ(feed.state, FEED_TAIL);
    publishes(101);
    EXPECT_EQ(does(0, FEED_DO_FETCH)->cursor.txid, 101);
    publishes(105); /* while the answer is on its way */
    EXPECT_EQ(actions.count, 0);
    reads(101, 105, 10);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_record_batched_across_the_replicas_position_is_sent_whole)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    reads(95, 100, 10);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_large_transaction_goes_out_part_by_part)
{
    a_primary();
    a_replica_at(OURS, 99, 1);
    hears();
    EXPECT_OK(reads_as(100, 100, 0, 1, 3, 10));
    EXPECT_EQ(does(1, FEED_DO_FETCH)->cursor.part, 2);
    EXPECT_OK(reads_as(100, 100, 0, 1, 3, 10)); /* again: skipped */
    EXPECT_EQ(does(0, FEED_DO_FETCH)->cursor.part, 2);
    EXPECT_OK(reads_as(100, 100, 0, 2, 3, 10));
    EXPECT_OK(reads_as(100, 100, 0, 3, 3, 10));
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(without_credit_nothing_is_fetched_and_one_record_may_overdraw)
{
    a_primary();
    a_replica_at(OURS, 90, 1);
    hears();
    reads(91, 91, 5000); /* a window of 1000 */
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(feed.state, FEED_STARVED);
    EXPECT_EQ(feed.credit, -4000);
    publishes(101);
    EXPECT_EQ(actions.count, 0);
    gets_credit(4000);
    EXPECT_EQ(actions.count, 0); /* 0 is not above 0 */
    gets_credit(1);
    EXPECT_EQ(does(0, FEED_DO_FETCH)->cursor.txid, 92);
}

TEST(a_slow_replica_whose_records_were_trimmed_gets_a_snapshot)
{
    struct feed_event one;

    a_primary();
    a_replica_at(OURS, 60, 1);
    hears();
    one = event(FEED_TRIMMED);
    one.ask = feed.ask;
    EXPECT_OK(steps(one));
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 101);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->reason, BODY_TRIMMED);
    EXPECT_FALSE(does(1, FEED_DO_OPEN)->diverged);
}

TEST(an_answer_that_leaves_a_hole_is_as_good_as_none)
{
    a_primary();
    a_replica_at(OURS, 60, 1);
    hears();
    reads(62, 62, 10);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->reason, BODY_TRIMMED);
}

TEST(an_answer_to_an_older_question_is_not_sent)
{
    struct feed_event one;

    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    one = event(FEED_RECORD);
    one.ask = feed.ask;
    header = (struct record_header){.first_txid = 98, .last_txid = 98};
    one.header = &header;
    EXPECT_OK(asks_again(BODY_GAP, feed.serial));
    EXPECT_OK(steps(one));
    EXPECT_EQ(actions.count, 0);
}

/* ---- copies ------------------------------------------------------------ */

TEST(a_copy_is_pinned_first_and_released_when_its_records_are_sent)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 101);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->position.txid, 100);
    EXPECT_EQ(does(2, FEED_DO_COPY)->pgno, 1);
    publishes(102); /* commits go on */
    reads_pages(500, 10);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 500);
    publishes(103);
    reads_pages(0, 10);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(does(1, FEED_DO_COPIED)->position.txid, 103);
    EXPECT_EQ(does(2, FEED_DO_FETCH)->cursor.txid, 101);
    reads(101, 102, 10);
    EXPECT_EQ(does(1, FEED_DO_FETCH)->cursor.txid, 103);
    reads(103, 103, 10);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(does(1, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_copy_of_an_idle_database_is_released_with_its_last_page)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    reads_pages(0, 10);
    does(1, FEED_DO_COPIED);
    EXPECT_EQ(does(2, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_copy_waits_for_credit_like_records_do)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    reads_pages(500, 1001);
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(feed.state, FEED_COPY_STARVED);
    gets_credit(500);
    EXPECT_EQ(does(0, FEED_DO_COPY)->pgno, 500);
}

TEST(a_new_page_size_starts_the_copy_over)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    reads_pages(500, 10);
    source.page_bytes = 8192;
    reads_pages(250, 10);
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(does(2, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
    EXPECT_EQ(does(3, FEED_DO_COPY)->pgno, 1);
}

TEST(a_failing_read_is_tried_again_at_the_next_tick_and_not_before)
{
    struct feed_event one;

    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    one = event(FEED_FAILED);
    one.ask = feed.ask;
    EXPECT_OK(steps(one));
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_NOTHING);
    publishes(101);
    EXPECT_EQ(actions.count, 0);
    EXPECT_OK(steps(event(FEED_TICK)));
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
}

/* ---- what the replica says --------------------------------------------- */

TEST(a_replica_whose_content_disagrees_is_copied_whatever_its_history)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    EXPECT_OK(asks_again(BODY_SUM, feed.serial));
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
    EXPECT_FALSE(does(1, FEED_DO_OPEN)->diverged);
}

TEST(a_replica_that_missed_something_is_decided_upon_anew)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    a_replica_at(OURS, 98, 1);
    EXPECT_OK(asks_again(BODY_GAP, feed.serial));
    EXPECT_EQ(does(0, FEED_DO_OPEN)->mode, BODY_RESUME);
    EXPECT_EQ(does(0, FEED_DO_OPEN)->position.txid, 98);
}

TEST(a_complaint_about_an_open_that_was_replaced_is_ignored)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    EXPECT_OK(asks_again(BODY_GAP, 1));
    EXPECT_EQ(feed.serial, 2);
    EXPECT_OK(asks_again(BODY_GAP, 1));
    EXPECT_EQ(actions.count, 0);
    EXPECT_EQ(asks_again(BODY_GAP, 3), -EPROTO);
}

TEST(an_ack_for_what_was_never_sent_is_refused_and_changes_nothing)
{
    struct feed before;

    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    reads(98, 98, 10);
    before = feed;
    EXPECT_EQ(acks(99, 99, 99, 1), -EPROTO);
    EXPECT_EQ(acks(98, 99, 98, 1), -EPROTO);
    EXPECT_EQ(acks(97, 97, 98, 1), -EPROTO);
    EXPECT_MEM(&feed, &before, sizeof feed);
    EXPECT_OK(acks(98, 97, 97, 1));
    EXPECT_EQ(feed.acked.received_txid, 98);
    EXPECT_EQ(feed.acked.durable_txid, 97);
}

TEST(a_replica_with_all_of_it_in_its_queue_yet_has_something)
{
    a_primary();
    a_replica_at(OURS, 0, 0);
    replica.position = (struct position){0};
    replica.received_txid = 60; /* of our history */
    hears();
    EXPECT_EQ(does(0, FEED_DO_OPEN)->mode, BODY_RESUME);
    EXPECT_EQ(does(0, FEED_DO_OPEN)->position.txid, 60);
    a_primary(); /* that lost everything */
    source.position = (struct position){0};
    source.first_log_txid = source.page_bytes = 0;
    hears();
    EXPECT_EQ(does(0, FEED_DO_OPEN)->mode, BODY_NOTHING);
    EXPECT_EQ(feed.reason, BODY_BUSY);
}

TEST(an_ack_about_an_older_open_moves_nothing)
{
    struct body_ack ack = {1, 97, 97, {OURS, 97, 1}};
    struct feed_event one;

    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    EXPECT_OK(asks_again(BODY_SUM, 1)); /* it starts over */
    one = event(FEED_ACK);
    one.ack = &ack;
    EXPECT_OK(steps(one));
    EXPECT_EQ(feed.acked.position.txid, 0);
}

TEST(a_replica_that_applied_our_txid_to_another_sum_is_copied)
{
    a_primary();
    a_replica_at(OURS, 99, 1);
    hears();
    reads(100, 100, 10);
    EXPECT_OK(acks(100, 100, 100, 0xaaaa));
    EXPECT_EQ(actions.count, 0);
    EXPECT_OK(acks(100, 100, 100, 0xaaab));
    EXPECT_EQ(does(1, FEED_DO_OPEN)->reason, BODY_SUM);
}

TEST(a_replica_that_does_not_want_it_is_left_alone)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    EXPECT_OK(asks_again(BODY_UNWANTED, feed.serial));
    EXPECT_EQ(actions.count, 1);
    does(0, FEED_DO_PIN);
    publishes(101);
    EXPECT_EQ(actions.count, 0);
}

TEST(telling_twice_what_it_has_is_a_mistake)
{
    a_primary();
    a_replica_at(OURS, 97, 1);
    hears();
    EXPECT_EQ(steps(event(FEED_HEARD)), -EPROTO);
}

TEST(a_dropped_database_is_dropped_once_and_nothing_follows)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    hears();
    EXPECT_OK(steps(event(FEED_DROPPED)));
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    does(1, FEED_DO_DROP);
    EXPECT_OK(steps(event(FEED_DROPPED)));
    EXPECT_EQ(actions.count, 0);
    publishes(101);
    EXPECT_EQ(actions.count, 0);
    EXPECT_EQ(feed.state, FEED_CLOSED);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_feed_delta.c - the primary's half, of a copy that is
 * compared range by range: in which order, for which credit, and what of it is
 * left when something else happens. */
#include "tests/unit/feed_stage.h"

#include <errno.h>

#define SAME_BYTES 100

/* A replica that fell behind and has pages of our size. */
static void a_delta(void)
{
    a_primary();
    a_replica_at(OURS, 48, 1);
    replica.base_page_bytes = 4096;
    replica.base_pages = 20000;
    hears();
}

static int compares_as(pgno_t next_pgno, bool differs, bool last, uint32_t ask)
{
    struct feed_event one = event(FEED_COMPARED);

    one.ask = ask;
    one.bytes = SAME_BYTES;
    one.next_pgno = next_pgno;
    one.differs = differs;
    one.last = last;
    return steps(one);
}

/* The driver compared the range before next_pgno. */
static void compares(pgno_t next_pgno, bool differs, bool last)
{
    EXPECT_OK(compares_as(next_pgno, differs, last, feed.ask));
}

/* The driver had nothing to send of what it was asked to copy. */
static void reads_no_pages(void)
{
    struct feed_event one = event(FEED_CHUNK);

    one.ask = feed.ask;
    one.position = source.position;
    EXPECT_OK(steps(one));
}

static void fails(void)
{
    struct feed_event one = event(FEED_FAILED);

    one.ask = feed.ask;
    EXPECT_OK(steps(one));
}

TEST(a_delta_is_pinned_opened_and_waits_for_the_first_hashes)
{
    a_delta();
    EXPECT_EQ(actions.count, 3);
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 101);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_DELTA);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->reason, BODY_TRIMMED);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->position.txid, 100);
    EXPECT_EQ(does(2, FEED_DO_COMPARE)->pgno, 1);
    EXPECT_EQ(feed.state, FEED_COMPARING);
}

TEST(each_range_is_answered_and_then_sent_before_the_next_is_compared)
{
    a_delta();
    compares(8193, true, false);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(feed.credit, 1000 - SAME_BYTES);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 1);
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 8193);
    reads_pages(300, 10);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 300);
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 8193);
    reads_pages(0, 10); /* that was the range, not all */
    does(0, FEED_DO_SEND);
    EXPECT_EQ(actions.count, 2);
    EXPECT_EQ(does(1, FEED_DO_COMPARE)->pgno, 8193);
    compares(16385, true, false);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 8193);
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 16385);
}

TEST(the_last_range_is_copied_to_the_end_with_what_the_replica_never_had)
{
    a_delta();
    compares(501, true, true);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 1);
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 0);
    publishes(103);
    reads_pages(0, 10);
    EXPECT_EQ(does(1, FEED_DO_COPIED)->position.txid, 103);
    EXPECT_EQ(does(2, FEED_DO_FETCH)->cursor.txid, 101);
    reads(101, 103, 10);
    EXPECT_EQ(does(1, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_range_in_which_nothing_differs_costs_its_answer_and_no_reading)
{
    a_delta();
    compares(8193, false, false);
    does(0, FEED_DO_SEND);
    EXPECT_EQ(does(1, FEED_DO_COMPARE)->pgno, 8193);
    compares(9001, false, true);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 9001); /* pages past its last */
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 0);
    reads_no_pages(); /* there are none: it is as large as ours, or larger */
    EXPECT_EQ(does(0, FEED_DO_COPIED)->position.txid, 100);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_replica_larger_than_we_are_is_compared_to_its_own_end)
{
    a_delta();
    compares(8193, true, false); /* we end at 100 */
    reads_pages(0, 10);
    EXPECT_EQ(does(1, FEED_DO_COMPARE)->pgno, 8193);
    compares(12001, false, true);
    reads_no_pages();
    does(0, FEED_DO_COPIED);
    EXPECT_EQ(feed.state, FEED_TAIL);
}

TEST(a_replica_that_has_nothing_after_all_is_sent_everything)
{
    a_delta();
    compares(1, false, true);
    EXPECT_EQ(does(1, FEED_DO_COPY)->pgno, 1);
    EXPECT_EQ(does(1, FEED_DO_COPY)->end_pgno, 0);
}

TEST(without_credit_a_delta_goes_on_where_it_waited)
{
    a_delta();
    feed.credit = SAME_BYTES;
    compares(8193, true, false); /* the answer takes it all */
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(feed.state, FEED_COPY_STARVED);
    gets_credit(10);
    EXPECT_EQ(does(0, FEED_DO_COPY)->pgno, 1);
    EXPECT_EQ(does(0, FEED_DO_COPY)->end_pgno, 8193);
    reads_pages(300, 10);
    EXPECT_EQ(feed.state, FEED_COPY_STARVED);
    gets_credit(10);
    EXPECT_EQ(does(0, FEED_DO_COPY)->pgno, 300);
    reads_pages(0, 10);
    EXPECT_EQ(actions.count, 1);
    gets_credit(1);
    EXPECT_EQ(does(0, FEED_DO_COMPARE)->pgno, 8193);
    EXPECT_EQ(feed.state, FEED_COMPARING);
}

TEST(a_delta_opened_without_credit_waits_before_it_compares)
{
    a_primary();
    a_replica_at(OURS, 1, 1);
    replica.base_page_bytes = 4096;
    replica.base_pages = 1;
    feed.credit = 0;
    hears();
    EXPECT_EQ(actions.count, 2);
    EXPECT_EQ(feed.state, FEED_COPY_STARVED);
    gets_credit(1);
    EXPECT_EQ(does(0, FEED_DO_COMPARE)->pgno, 1);
}

TEST(a_new_page_size_makes_it_a_snapshot)
{
    a_delta();
    compares(8193, true, false);
    source.page_bytes = 8192;
    reads_pages(250, 10);
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(does(2, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
    EXPECT_EQ(does(3, FEED_DO_COPY)->pgno, 1);
    EXPECT_EQ(does(3, FEED_DO_COPY)->end_pgno, 0);
}

TEST(a_resync_starts_a_delta_over_and_answers_to_the_old_one_do_nothing)
{
    uint32_t asked;

    a_delta();
    asked = feed.ask;
    EXPECT_OK(asks_again(BODY_DAMAGED, feed.serial));
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(does(2, FEED_DO_OPEN)->mode, BODY_DELTA);
    EXPECT_EQ(does(3, FEED_DO_COMPARE)->pgno, 1);
    EXPECT_OK(compares_as(8193, true, false, asked));
    EXPECT_EQ(actions.count, 0);
    EXPECT_EQ(feed.credit, 1000);
    EXPECT_EQ(feed.state, FEED_COMPARING);
}

TEST(an_answer_that_goes_back_is_no_answer)
{
    a_delta();
    compares(8193, false, false);
    EXPECT_EQ(compares_as(8192, false, false, feed.ask), -EPROTO);
    EXPECT_EQ(feed.state, FEED_COMPARING);
}

TEST(a_failure_to_compare_is_tried_again_at_the_next_tick)
{
    a_delta();
    compares(8193, false, false);
    fails();
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_NOTHING);
    publishes(101);
    EXPECT_EQ(actions.count, 0);
    EXPECT_OK(steps(event(FEED_TICK)));
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_DELTA);
    EXPECT_EQ(does(2, FEED_DO_COMPARE)->pgno, 1); /* from the start */
}

TEST(a_database_dropped_in_a_delta_is_dropped_and_let_go_of)
{
    a_delta();
    EXPECT_OK(steps(event(FEED_DROPPED)));
    EXPECT_EQ(does(0, FEED_DO_PIN)->txid, 0);
    does(1, FEED_DO_DROP);
    compares(8193, true, false);
    EXPECT_EQ(actions.count, 0);
}

TEST(what_a_replica_applied_since_it_came_is_compared_and_not_sent_again)
{
    struct feed_event one;

    a_primary();
    a_replica_at(OURS, 99, 1); /* said nothing of pages then */
    hears();
    reads(100, 100, 10);
    EXPECT_OK(acks(100, 100, 100, 0xaaaa));
    publishes(101);
    one = event(FEED_TRIMMED);
    one.ask = feed.ask;
    EXPECT_OK(steps(one));
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_DELTA);
    EXPECT_EQ(does(1, FEED_DO_OPEN)->reason, BODY_TRIMMED);
}

TEST(a_replica_that_asks_again_is_believed_about_what_it_has)
{
    a_primary();
    a_replica_at(OURS, 99, 1);
    hears();
    reads(100, 100, 10);
    EXPECT_OK(acks(100, 100, 100, 0xaaaa));
    EXPECT_OK(asks_again(BODY_STOPPED, feed.serial)); /* of no pages */
    EXPECT_EQ(does(1, FEED_DO_OPEN)->mode, BODY_SNAPSHOT);
    replica.base_page_bytes = 4096;
    replica.base_pages = 1;
    EXPECT_OK(asks_again(BODY_STOPPED, feed.serial));
    EXPECT_EQ(does(2, FEED_DO_OPEN)->mode, BODY_DELTA);
    EXPECT_EQ(does(2, FEED_DO_OPEN)->reason, BODY_STOPPED);
}

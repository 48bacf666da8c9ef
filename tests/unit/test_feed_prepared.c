/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_feed_prepared.c - the primary's half, of a commit that is
 * prepared and not decided: when it is sent, what may be acked of it. */
#include "tests/unit/feed_stage.h"

TEST(a_prepared_goes_out_before_its_txid_is_ours_and_its_resolve_after)
{
    a_primary();
    a_replica_at(OURS, 100, 0xaaaa);
    hears();
    source.prepared_txid = 101;
    EXPECT_OK(steps(event(FEED_SOURCE)));
    EXPECT_EQ(does(0, FEED_DO_FETCH)->cursor.txid, 101);
    EXPECT_OK(reads_as(101, 101, RECORD_PREPARED, 1, 1, 10));
    EXPECT_EQ(feed.state, FEED_TAIL);
    source.prepared_txid = 0;
    publishes(101);
    EXPECT_TRUE(does(0, FEED_DO_FETCH)->cursor.prepared);
    EXPECT_OK(reads_as(101, 101, RECORD_PREPARED, 1, 1, 10)); /* skipped */
    EXPECT_TRUE(does(0, FEED_DO_FETCH)->cursor.prepared);
    EXPECT_OK(reads_as(101, 101, RECORD_RESOLVE, 1, 1, 10));
    does(0, FEED_DO_SEND);
    EXPECT_EQ(feed.next.txid, 102);
}

TEST(an_ack_may_count_a_prepared_once_it_was_sent)
{
    a_primary();
    a_replica_at(OURS, 100, 0xaaaa);
    hears();
    source.prepared_txid = 101;
    EXPECT_OK(steps(event(FEED_SOURCE)));
    EXPECT_EQ(acks(101, 101, 100, 0xaaaa), -EPROTO);
    EXPECT_OK(reads_as(101, 101, RECORD_PREPARED, 1, 1, 10));
    EXPECT_EQ(acks(101, 101, 101, 0xbbbb), -EPROTO); /* not resolved */
    EXPECT_OK(acks(101, 101, 100, 0xaaaa));
    EXPECT_EQ(feed.acked.durable_txid, 101);
    EXPECT_EQ(feed.acked.position.txid, 100);
}

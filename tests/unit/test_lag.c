/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_lag.c - how far behind, on one clock. */
#include "replication/core/lag.h"

#include "tests/harness.h"

TEST(lag_is_the_time_from_published_to_heard_as_applied)
{
    struct lag lag = {0};

    lag_published(&lag, 1, 1000);
    lag_published(&lag, 2, 1500);
    EXPECT_EQ(lag_txids(&lag), 2);
    lag_applied(&lag, 1, 1200);
    EXPECT_EQ(lag.last_ns, 200);
    lag_applied(&lag, 2, 1600);
    EXPECT_EQ(lag_ns(&lag, 9999), 100);
    EXPECT_EQ(lag_txids(&lag), 0);
}

TEST(who_is_behind_ages_until_it_catches_up)
{
    struct lag lag = {0};

    lag_published(&lag, 5, 1000);
    EXPECT_EQ(lag_ns(&lag, 1100), 100);
    EXPECT_EQ(lag_ns(&lag, 5000), 4000);
    lag_applied(&lag, 5, 6000);
    EXPECT_EQ(lag_ns(&lag, 9000), 5000);
}

TEST(when_marks_run_out_lag_is_never_told_too_small)
{
    struct lag lag = {0};

    for (txid_t txid = 1; txid <= 1000; txid++)
        lag_published(&lag, txid, txid * 10);
    EXPECT_EQ(lag_txids(&lag), 1000);
    lag_applied(&lag, 999, 20000); /* published at 9990 */
    EXPECT_GE(lag_ns(&lag, 20000), 20000 - 9990);
    lag_applied(&lag, 1000, 20000);
    EXPECT_GE(lag.last_ns, 20000 - 10000);
    EXPECT_EQ(lag.count, 0);
}

TEST(a_replica_that_starts_over_owes_nothing_from_before)
{
    struct lag lag = {0};

    lag_published(&lag, 50, 1000);
    lag_restart(&lag, 20, 20, 1500);
    EXPECT_EQ(lag_txids(&lag), 0);
    lag_published(&lag, 60, 2000);
    EXPECT_EQ(lag_txids(&lag), 40);
    lag_applied(&lag, 60, 2100);
    EXPECT_EQ(lag.last_ns, 100);
}

TEST(what_is_missing_at_the_start_ages_but_is_no_measure_once_it_is_there)
{
    struct lag lag = {0};

    lag_restart(&lag, 0, 50, 1000); /* a copy */
    EXPECT_EQ(lag_txids(&lag), 50);
    EXPECT_EQ(lag_ns(&lag, 4000), 3000);
    lag_published(&lag, 51, 5000);
    lag_applied(&lag, 50, 5050);
    EXPECT_EQ(lag_ns(&lag, 5060), 60);
    lag_applied(&lag, 51, 5080);
    EXPECT_EQ(lag_ns(&lag, 9000), 80);
}

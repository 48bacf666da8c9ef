/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_decide.c - how a replica gets what it lacks. */
#include "replication/core/decide.h"

#include "tests/unit/feed_stage.h"

static void decides(enum body_mode mode, enum body_reason reason, bool diverged)
{
    enum body_reason found;
    bool aside;

    EXPECT_EQ(decide_open(&source, &replica, &found, &aside), mode);
    EXPECT_EQ(found, reason);
    EXPECT_EQ(aside, diverged);
}

TEST(a_replica_on_our_history_resumes_where_it_is)
{
    a_primary();
    a_replica_at(OURS, 60, 1);
    decides(BODY_RESUME, BODY_NONE, false);
    a_replica_at(OURS, 100, 0xaaaa);
    decides(BODY_RESUME, BODY_NONE, false);
}

TEST(a_replica_resumes_across_a_change_of_epoch_it_missed)
{
    a_primary();
    source.first_log_txid = 30;
    a_replica_at(OLDER, 35, 1);
    decides(BODY_RESUME, BODY_NONE, false);
    a_replica_at(OLDER, 40, 1); /* at its very end */
    decides(BODY_RESUME, BODY_NONE, false);
}

TEST(the_first_record_missing_in_the_log_makes_it_a_snapshot)
{
    a_primary();
    a_replica_at(OURS, 49, 1);
    decides(BODY_RESUME, BODY_NONE, false);
    a_replica_at(OURS, 48, 1);
    decides(BODY_SNAPSHOT, BODY_TRIMMED, false);
    source.first_log_txid = 0; /* all of it */
    a_replica_at(OURS, 99, 1);
    decides(BODY_SNAPSHOT, BODY_TRIMMED, false);
    a_replica_at(OURS, 100, 0xaaaa); /* needs nothing from it */
    decides(BODY_RESUME, BODY_NONE, false);
}

TEST(a_replica_that_went_on_in_an_epoch_that_ended_has_diverged)
{
    a_primary();
    a_replica_at(OLDER, 41, 1);
    decides(BODY_SNAPSHOT, BODY_DIVERGED, true);
}

TEST(two_raises_to_the_same_number_are_two_epochs)
{
    a_primary();
    a_replica_at(OURS + 1, 60, 1);
    decides(BODY_SNAPSHOT, BODY_DIVERGED, true);
}

TEST(a_replica_ahead_of_a_primary_that_lost_its_tail_is_told_so)
{
    a_primary();
    a_replica_at(OURS, 101, 1);
    decides(BODY_SNAPSHOT, BODY_AHEAD, true);
}

TEST(the_same_txid_with_another_sum_was_applied_wrongly_and_has_not_diverged)
{
    a_primary();
    a_replica_at(OURS, 100, 0xbbbb);
    decides(BODY_SNAPSHOT, BODY_SUM, false);
}

TEST(content_of_an_old_epoch_under_a_new_history_does_not_resume)
{
    a_primary();
    a_replica_at(OURS, 60, 1);      /* the history it was told ... */
    replica.position.epoch = OLDER; /* ... and what it really holds */
    decides(BODY_SNAPSHOT, BODY_DIVERGED, true);
}

TEST(another_database_under_the_same_name_is_kept_aside)
{
    a_primary();
    a_replica_at(OURS, 60, 1);
    replica.lineage.bytes[0]++;
    decides(BODY_SNAPSHOT, BODY_LINEAGE, true);
}

TEST(a_replica_with_nothing_gets_a_snapshot_or_the_first_record)
{
    enum body_reason reason;
    bool diverged;

    a_primary();
    EXPECT_EQ(decide_open(&source, NULL, &reason, &diverged), BODY_SNAPSHOT);
    EXPECT_EQ(reason, BODY_NEW);
    EXPECT_FALSE(diverged);
    source.position = (struct position){0};
    source.page_bytes = 0;
    EXPECT_EQ(decide_open(&source, NULL, &reason, &diverged), BODY_RESUME);
}

TEST(who_lends_to_one_that_lost_all_sends_all_records_or_a_copy)
{
    enum body_reason reason;
    bool diverged;

    a_primary();
    source.lends = true;
    EXPECT_EQ(decide_open(&source, NULL, &reason, &diverged), BODY_SNAPSHOT);
    source.first_log_txid = 2;
    EXPECT_EQ(decide_open(&source, NULL, &reason, &diverged), BODY_SNAPSHOT);
    source.first_log_txid = 1;
    EXPECT_EQ(decide_open(&source, NULL, &reason, &diverged), BODY_RESUME);
    EXPECT_EQ(reason, BODY_NONE);
}

TEST(who_lends_replaces_nothing_that_is_there)
{
    a_primary();
    source.lends = true;
    a_replica_at(OURS, 60, 1);
    decides(BODY_RESUME, BODY_NONE, false);
    a_replica_at(OURS, 48, 1);
    decides(BODY_NOTHING, BODY_BUSY, false);
    a_replica_at(OLDER, 41, 1);
    decides(BODY_NOTHING, BODY_BUSY, false);
}

/* ---- pages to compare with ----------------------------------------------- */

static void has_pages(uint32_t page_bytes, uint32_t pages)
{
    replica.base_page_bytes = page_bytes;
    replica.base_pages = pages;
}

TEST(a_copy_of_what_is_there_in_part_is_a_delta_whatever_its_reason)
{
    a_primary();
    a_replica_at(OURS, 48, 1);
    has_pages(4096, 7);
    decides(BODY_DELTA, BODY_TRIMMED, false);
    a_replica_at(OURS, 100, 0xbbbb);
    has_pages(4096, 7);
    decides(BODY_DELTA, BODY_SUM, false);
    a_replica_at(OURS, 101, 1);
    has_pages(4096, 7);
    decides(BODY_DELTA, BODY_AHEAD, true);
    a_replica_at(OLDER, 41, 1);
    has_pages(4096, 7);
    decides(BODY_DELTA, BODY_DIVERGED, true);
    a_replica_at(OURS, 0, 0); /* a first copy was cut off */
    has_pages(4096, 7);
    decides(BODY_DELTA, BODY_NEW, false);
}

TEST(pages_of_another_size_or_database_or_none_are_not_compared)
{
    a_primary();
    a_replica_at(OURS, 48, 1);
    has_pages(512, 7);
    decides(BODY_SNAPSHOT, BODY_TRIMMED, false);
    has_pages(4096, 0);
    decides(BODY_SNAPSHOT, BODY_TRIMMED, false);
    has_pages(4096, 7);
    replica.lineage.bytes[0]++;
    decides(BODY_SNAPSHOT, BODY_LINEAGE, true);
}

TEST(pages_to_compare_with_make_no_copy_of_what_can_be_resumed)
{
    a_primary();
    a_replica_at(OURS, 60, 1);
    has_pages(4096, 7);
    decides(BODY_RESUME, BODY_NONE, false);
}

TEST(a_copy_of_no_content_waits_also_as_a_delta)
{
    a_primary();
    source.page_bytes = 0; /* a file that lost its header */
    a_replica_at(OURS, 48, 1);
    has_pages(4096, 7);
    decides(BODY_NOTHING, BODY_BUSY, false);
    source.ready = false;
    decides(BODY_NOTHING, BODY_BUSY, false);
}

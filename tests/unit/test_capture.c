/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_capture.c - what a pass makes of a WAL that nobody holds
 * back: with synchronous=OFF SQLite starts it over before all was captured.
 * No mount: the anchor opens the plain file, and the test says when we look.
 */
#include "tests/unit/recover_stage.h"

#include "wal/attach.h"
#include "wal/capture.h"
#include "wal/reread.h"

#include <errno.h>

#define ROWS 60 /* of 200 KB each: more than is read at once */

static txid_t before;

/* Everything is captured, and the next commit starts the WAL over. */
static void a_primary_that_captures(void)
{
    a_primary("");
    stock_exec(application, "PRAGMA page_size=4096;"
                            "PRAGMA journal_mode=WAL;"
                            "PRAGMA synchronous=OFF;"
                            "PRAGMA wal_autocheckpoint=0;"
                            "CREATE TABLE other(n);"
                            "INSERT INTO other VALUES (0);"
                            "CREATE TABLE rows(id INTEGER PRIMARY KEY, v);");
    for (int i = 1; i <= ROWS; i++)
        stock_exec(application, "INSERT INTO rows VALUES (%d, zeroblob(1))", i);
    EXPECT_OK(attach_open(database));
    EXPECT_OK(reread(database));
    stock_exec(application, "PRAGMA wal_checkpoint(PASSIVE)");
    looks();
    before = view.position.txid;
}

static void a_commit_starts_the_wal_over(void)
{
    stock_exec(application, "UPDATE other SET n = n + 1;"
                            "PRAGMA wal_checkpoint(PASSIVE)");
}

static void a_backlog_of_small_commits(void)
{
    for (int i = 1; i <= ROWS; i++)
        stock_exec(application,
                   "UPDATE rows SET v = randomblob(200000) WHERE id = %d", i);
}

static void a_large_commit(void)
{
    stock_exec(application, "UPDATE rows SET v = randomblob(200000)");
}

/* All that is published is captured, as SQLite sees it. */
static void is_even(void)
{
    looks();
    EXPECT_FALSE(capture_has_news(database));
    EXPECT_EQ(view.position.sum, sum_of_files());
}

static void it_ends(void)
{
    attach_close(database, false);
    the_end();
}

static void a_gap_is_noticed_before_anything_is_shown(void)
{
    EXPECT_EQ(capture_pass(database), -ESTALE);
    looks();
    EXPECT_EQ(view.position.txid, before);
    EXPECT_OK(reread(database));
    is_even();
    EXPECT_EQ(view.position.txid, before + 1);
}

/* A first step of it would show these commits without the missed one. */
TEST(of_a_backlog_behind_a_missed_commit_no_step_is_captured)
{
    a_primary_that_captures();
    a_commit_starts_the_wal_over();
    a_backlog_of_small_commits();
    a_gap_is_noticed_before_anything_is_shown();
    it_ends();
}

TEST(a_large_commit_behind_a_missed_one_is_not_captured)
{
    a_primary_that_captures();
    a_commit_starts_the_wal_over();
    a_large_commit();
    a_gap_is_noticed_before_anything_is_shown();
    it_ends();
}

TEST(a_backlog_behind_a_wal_that_was_captured_is_taken_in_steps)
{
    a_primary_that_captures();
    a_backlog_of_small_commits();
    EXPECT_EQ(capture_pass(database), 1);
    is_even();
    EXPECT_EQ(view.position.txid, before + ROWS);
    EXPECT_GT(log_newest(database->log)->first_txid, before + 1);
    EXPECT_EQ(capture_pass(database), 0);
    it_ends();
}

TEST(a_large_commit_and_small_ones_around_it_are_captured)
{
    a_primary_that_captures();
    stock_exec(application, "UPDATE other SET n = n + 1");
    a_large_commit();
    stock_exec(application, "UPDATE other SET n = n + 1");
    EXPECT_EQ(capture_pass(database), 1);
    is_even();
    EXPECT_EQ(view.position.txid, before + 3);
    it_ends();
}

/* The frames' pages as somebody may overwrite them at any time. */
static void the_wal_holds_other_pages(void)
{
    struct walindex_header header;
    uint8_t other[4096];
    int fd = open(stage_path("-wal"), O_WRONLY);

    memset(other, 'x', sizeof other);
    EXPECT_OK(walindex_read(&database->index, &header));
    for (uint32_t i = 1; i <= header.max_frame; i++)
        EXPECT_EQ(
            pwrite(fd, other, sizeof other,
                   (off_t)(frame_offset(i, sizeof other) + FRAME_HEADER_BYTES)),
            sizeof other);
    close(fd);
}

/* When all of the WAL is in the database file a read transaction looks at that
 * alone, and keeps nobody from starting the WAL over: no more do we. */
TEST(a_large_commit_that_was_copied_back_is_read_where_sqlite_reads_it)
{
    a_primary_that_captures();
    a_large_commit();
    stock_exec(application, "PRAGMA wal_checkpoint(PASSIVE)");
    the_wal_holds_other_pages();
    EXPECT_EQ(capture_pass(database), 1);
    is_even();
    EXPECT_EQ(view.position.txid, before + 1);
    it_ends();
}

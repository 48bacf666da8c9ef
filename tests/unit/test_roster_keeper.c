/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_roster_keeper.c - the roster reaches its file, whatever
 * happens meanwhile, and comes back from it. */
#include "node/roster_keeper.h"

#include "base/thread.h"

#include "tests/harness.h"
#include "tests/support/stock.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct stock_folder folder;
static int data_fd;
static uv_loop_t loop;
static struct roster_keeper keeper;

static void starts(void)
{
    EXPECT_EQ(uv_loop_init(&loop), 0);
    EXPECT_OK(roster_keeper_open(&keeper, &loop, data_fd, "us"));
}

/* As a node does: the loop runs until nothing is under way. */
static void ends(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    roster_keeper_close(&keeper);
    EXPECT_EQ(uv_loop_close(&loop), 0);
}

static void a_folder(void)
{
    thread_register(THREAD_LOOP, "test");
    stock_folder_make(&folder);
    data_fd = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    starts();
}

static void no_folder(void)
{
    ends();
    close(data_fd);
    stock_folder_remove(&folder);
}

static void meets(const char *node)
{
    EXPECT_OK(roster_add(&keeper.roster, node, "fra", "x:1", true));
}

static void knows(size_t count, const char *last)
{
    EXPECT_EQ(keeper.roster.count, count);
    EXPECT_STR(keeper.roster.entries[count - 1].node, last);
}

TEST(who_was_met_is_known_after_a_restart)
{
    a_folder();
    meets("a");
    ends();
    starts();
    knows(1, "a");
    EXPECT_EQ(keeper.roster.entries[0].seen_ns, 0);
    no_folder();
}

TEST(what_changes_while_it_is_written_is_written_too)
{
    char node[8];

    a_folder();
    for (int i = 0; i < 100; i++) {
        snprintf(node, sizeof node, "n%d", i);
        meets(node);
    }
    EXPECT_TRUE(keeper.writing && keeper.changed); /* one at a time */
    ends();
    starts();
    knows(100, "n99");
    EXPECT_OK(roster_forget(&keeper.roster, "n99"));
    ends();
    starts();
    knows(99, "n98");
    no_folder();
}

TEST(what_could_not_be_written_is_written_later)
{
    a_folder();
    EXPECT_OK(mkdirat(data_fd, ROSTER_FILE_NAME ".new", 0700)); /* in the way */
    meets("a");
    uv_run(&loop, UV_RUN_DEFAULT);
    EXPECT_TRUE(keeper.failing);
    EXPECT_TRUE(faccessat(data_fd, ROSTER_FILE_NAME, F_OK, 0) != 0);
    roster_keeper_tick(&keeper);
    uv_run(&loop, UV_RUN_DEFAULT);
    EXPECT_TRUE(keeper.failing);
    EXPECT_OK(unlinkat(data_fd, ROSTER_FILE_NAME ".new", AT_REMOVEDIR));
    roster_keeper_tick(&keeper);
    ends();
    EXPECT_FALSE(keeper.failing);
    starts();
    knows(1, "a");
    roster_keeper_tick(&keeper); /* nothing changed: nothing is written */
    EXPECT_FALSE(keeper.writing);
    no_folder();
}

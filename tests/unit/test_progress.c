/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_progress.c - who hears how far long work is, and when. */
#include "wal/notes.h"
#include "wal/progress.h"

#include "tests/harness.h"

static unsigned said;

/* What wal/notes.c would tell the node. */
void notes_event(struct database *database, enum database_event event,
                 const char *text)
{
    (void)database;
    (void)text;
    said += event == DATABASE_EVENT_PROGRESS;
}

TEST(work_that_is_soon_done_says_nothing)
{
    struct progress progress;

    progress_begin(&progress, "work", "pages", 10);
    EXPECT_FALSE(progress_is_due(&progress, 10));
    EXPECT_FALSE(progress_is_due(&progress, 10 + PROGRESS_FIRST_NS - 1));
    progress_end(&progress, NULL, 0);
    EXPECT_EQ(said, 0);
}

TEST(work_that_lasts_says_so_at_times_and_when_it_is_done)
{
    struct progress progress;
    uint64_t now = 10 + PROGRESS_FIRST_NS;

    progress_begin(&progress, "work", "pages", 10);
    EXPECT_TRUE(progress_is_due(&progress, now));
    EXPECT_FALSE(progress_is_due(&progress, now));
    EXPECT_FALSE(progress_is_due(&progress, now + PROGRESS_NEXT_NS - 1));
    EXPECT_TRUE(progress_is_due(&progress, now + PROGRESS_NEXT_NS));
    said = 0;
    progress_end(&progress, NULL, 0);
    EXPECT_EQ(said, 1);
    progress_end(&progress, NULL, 0);
    EXPECT_EQ(said, 1);
}

TEST(what_is_no_work_is_never_due)
{
    struct progress progress = {0};

    EXPECT_FALSE(progress_is_due(&progress, UINT64_MAX));
    said = 0;
    progress_step(&progress, NULL, 1, 2);
    progress_end(&progress, NULL, -EIO);
    EXPECT_EQ(said, 0);
}

TEST(a_percentage_is_never_more_than_is_done)
{
    struct progress progress = {.what = "first copy", .unit = "pages"};
    char text[PROGRESS_TEXT_BYTES];

    EXPECT_EQ(progress_percent(0, 7), 0);
    EXPECT_EQ(progress_percent(999999, 1000000), 99);
    EXPECT_EQ(progress_percent(7, 7), 100);
    EXPECT_EQ(progress_percent(8, 7), 100); /* it became smaller meanwhile */
    EXPECT_EQ(progress_percent(0, 0), 100);
    EXPECT_EQ(progress_percent(UINT64_MAX / 2, UINT64_MAX), 50);
    progress_format(&progress, 540, 1200, text);
    EXPECT_STR(text, "first copy: 45 %, 540 of 1200 pages");
}

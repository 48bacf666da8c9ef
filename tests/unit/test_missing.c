/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_missing.c - a database whose file was gone at the start, and
 * a new one of its name, when the disk says no.
 */
#include "tests/unit/recover_stage.h"

#include "wal/missing.h"

#include <unistd.h>

static void renamed(const char *from, const char *to)
{
    EXPECT_EQ(renameat(stage_data.fd, from, stage_data.fd, to), 0);
}

TEST(what_could_not_be_buried_is_still_missing)
{
    struct lineage old, fresh = {{7}};

    a_primary("mode=rwc");
    old = database->lineage;
    application_ends();
    dies();
    (void)unlink(stage_path(""));
    EXPECT_OK(starts_as(DATABASE_PRIMARY));
    EXPECT_TRUE(database == NULL);
    database = catalog_make(catalog, "app.db", &fresh);
    EXPECT_OK(catalog_add(catalog, database));
    renamed("lost", "away");
    renamed("epoch", "lost"); /* no folder */
    EXPECT_TRUE(missing_end(database) < 0);
    EXPECT_FALSE(catalog_is_dropped(catalog, &old));
    renamed("lost", "epoch");
    renamed("away", "lost");
    EXPECT_OK(missing_end(database));
    EXPECT_TRUE(catalog_is_dropped(catalog, &old));
    the_end();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_retention.c - how much of its log a database keeps. */
#include "tests/unit/recover_stage.h"

#include "wal/budget.h"
#include "wal/retention.h"

#include <dirent.h>
#include <sys/stat.h>

#define PAGES 16u /* of noise in a record: 64 KiB that LZ4 cannot help */

static struct rng rng;

static int noise_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                       const uint8_t **ret_image)
{
    (void)context;
    (void)pgno;
    rng_bytes(&rng, buffer, 4096);
    *ret_image = buffer;
    return 0;
}

static void commits(unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        pgno_t pgnos[PAGES];
        struct emit_plan plan = {
            .commits = 1, .page_bytes = 4096, .size_pages = PAGES};
        struct emit_source source = {
            .count = PAGES, .pgnos = pgnos, .fetch = noise_fetch};
        bool emitted;

        for (pgno_t pgno = 1; pgno <= PAGES; pgno++)
            pgnos[pgno - 1] = pgno;
        EXPECT_OK(emit(database, &plan, &source, &emitted));
    }
    looks();
}

/* A log of some segments: 64, 128, 256, 512 KiB, as records of 64 fit. */
static void a_primary_with_a_log(void)
{
    rng = test_rng();
    a_primary("");
    commits(15);
    catalog->config.log_retain_bytes = UINT64_MAX;
    EXPECT_EQ(view.first_log_txid, 1);
}

/* All segments look as if nothing had been written to them for so long. */
static void time_passes(uint64_t seconds)
{
    struct timespec times[2];
    char path[200];
    DIR *dir;
    struct dirent *entry;

    clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec -= (time_t)seconds;
    times[0] = times[1];
    snprintf(path, sizeof path, "%s/%s/log", stage_folder, database->directory);
    dir = opendir(path);
    EXPECT_TRUE(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            EXPECT_OK(utimensat(dirfd(dir), entry->d_name, times, 0));
    closedir(dir);
}

TEST(a_log_larger_than_it_may_be_is_trimmed_to_that_in_one_go)
{
    a_primary_with_a_log();
    catalog->config.log_retain_bytes = 1;
    retention_step(database, false); /* not 64 MiB yet: nothing is done */
    EXPECT_EQ(log_first_txid(database->log), 1);
    retention_step(database, true);
    looks();
    EXPECT_GT(log_first_txid(database->log), 7);
    EXPECT_EQ(view.first_log_txid, log_first_txid(database->log));
    EXPECT_EQ(view.log_bytes, log_bytes(database->log));
    the_end();
}

TEST(a_log_older_than_it_may_be_is_trimmed_when_it_is_looked_at)
{
    struct position before;

    a_primary_with_a_log();
    before = view.position;
    time_passes(1000);
    catalog->config.log_max_age_ns = 900 * NS_PER_S;
    retention_step(database, false); /* not at every step */
    EXPECT_EQ(log_first_txid(database->log), 1);
    database->retention_due_ns = 1;
    retention_step(database, false);
    EXPECT_GT(log_first_txid(database->log), 7);
    EXPECT_EQ(database->hashes_saved_txid, 15);
    EXPECT_FALSE(retention_is_due(database));
    application_ends();
    dies();
    EXPECT_OK(starts_as(DATABASE_PRIMARY)); /* and nothing was needed of it */
    EXPECT_TRUE(position_is_equal(&view.position, &before));
    the_end();
}

TEST(a_young_log_stays_and_without_an_age_an_old_one_does)
{
    a_primary_with_a_log();
    time_passes(1000);
    catalog->config.log_max_age_ns = 1100 * NS_PER_S;
    database->retention_due_ns = 1;
    retention_step(database, true);
    EXPECT_EQ(log_first_txid(database->log), 1);
    catalog->config.log_max_age_ns = 0;
    database->retention_due_ns = 1;
    commits(1);
    retention_step(database, true);
    EXPECT_EQ(log_first_txid(database->log), 1);
    the_end();
}

TEST(what_a_copy_under_way_needs_is_kept_whatever_its_age)
{
    a_primary_with_a_log();
    time_passes(1000);
    catalog->config.log_max_age_ns = 900 * NS_PER_S;
    database_pin(database, &rng, 3);
    retention_apply(database, 15);
    EXPECT_GT(log_first_txid(database->log), 0);
    EXPECT_LE(log_first_txid(database->log), 3);
    database_pin(database, &rng, 0);
    EXPECT_OK(log_sync(database->log));
    retention_apply(database, 15);
    EXPECT_GT(log_first_txid(database->log), 7);
    the_end();
}

/* 20 MiB: more than is kept for nobody. */
static void a_primary_with_a_large_log(void)
{
    a_primary_with_a_log();
    commits(320);
    EXPECT_OK(log_sync(database->log));
}

TEST(what_every_replica_has_durable_is_kept_for_nobody_but_for_a_little)
{
    char one, two;

    a_primary_with_a_large_log();
    catalog_replicas(catalog, 2);
    database_need(database, &one, 330);
    retention_apply(database, 335);
    EXPECT_EQ(log_first_txid(database->log), 1); /* the other has not told */
    database_need(database, &two, 100);
    retention_apply(database, 335);
    EXPECT_EQ(log_first_txid(database->log) <= 100, true);
    EXPECT_GT(log_first_txid(database->log), 1);
    database_need(database, &two, UINT64_MAX); /* it does not follow this one */
    for (int i = 0; i < 9; i++) {
        EXPECT_OK(log_sync(database->log));
        retention_apply(database, 335);
    }
    EXPECT_LE(log_bytes(database->log), RETAIN_LEAST_BYTES);
    EXPECT_GT(log_bytes(database->log), RETAIN_LEAST_BYTES / 16);
    the_end();
}

TEST(a_replica_that_is_away_keeps_the_log_as_long_as_size_and_age_allow)
{
    char one, two;

    a_primary_with_a_large_log();
    catalog_replicas(catalog, 3);
    database_need(database, &one, 330);
    database_need(database, &two, 330);
    retention_apply(database, 335);
    EXPECT_EQ(log_first_txid(database->log), 1);
    catalog_replicas(catalog, 2); /* gone for good */
    database_need(database, &two, 0);
    retention_apply(database, 335);
    EXPECT_EQ(log_first_txid(database->log), 1);
    the_end();
}

/* ---- all logs together --------------------------------------------------- */

TEST(the_largest_logs_give_way_and_small_ones_never_pay_for_them)
{
    uint64_t few[] = {10, 1000, 20}, many[] = {50, 50, 50, 50}, none[1];

    EXPECT_EQ(budget_level(few, 3, 1030), BUDGET_NONE);
    EXPECT_EQ(budget_level(few, 3, 1029), 999);
    EXPECT_EQ(budget_level(few, 3, 100), 70);
    EXPECT_EQ(budget_level(few, 3, 31), 10);
    EXPECT_EQ(budget_level(few, 3, 30), 10);
    EXPECT_EQ(budget_level(many, 4, 100), 25);
    EXPECT_EQ(budget_level(none, 0, 0), BUDGET_NONE);
}

TEST(logs_that_are_too_large_together_are_trimmed_though_each_may_be_larger)
{
    a_primary_with_a_large_log();
    catalog->config.log_total_bytes = 4u << 20;
    for (int i = 0; i < 9; i++) {
        commits(10);
        EXPECT_OK(log_sync(database->log));
        catalog->log_level_due_ns = 0; /* a second has passed */
        retention_step(database, true);
    }
    looks();
    EXPECT_LE(log_bytes(database->log), 4u << 20);
    EXPECT_EQ(catalog->log_total, log_bytes(database->log));
    EXPECT_GT(log_first_txid(database->log), 1);
    the_end();
}

/* Each look writes the side file: 8 bytes a page, synced. */
TEST(a_log_that_is_too_large_and_needed_is_not_looked_at_with_every_commit)
{
    a_primary_with_a_log();
    atomic_store(&catalog->log_level, 1);
    database_pin(database, &rng, 1); /* a copy is under way */
    retention_step(database, false);
    EXPECT_EQ(log_first_txid(database->log), 1);
    EXPECT_EQ(database->hashes_saved_txid, 15);
    commits(1);
    retention_step(database, false);
    EXPECT_EQ(database->hashes_saved_txid, 15);
    database_pin(database, &rng, 0);
    database->over_due_ns = 0; /* a while later */
    retention_step(database, false);
    EXPECT_EQ(database->hashes_saved_txid, 16);
    EXPECT_GT(log_first_txid(database->log), 7);
    the_end();
}

TEST(what_recovery_redoes_is_kept_whatever_its_age)
{
    a_primary_with_a_log();
    EXPECT_OK(log_sync(database->log));
    time_passes(1000);
    catalog->config.log_max_age_ns = 900 * NS_PER_S;
    database->meta.base_txid = 3; /* a replica's file has no more */
    database->hashes_saved_txid = 15;
    EXPECT_EQ(retention_base(database), 3);
    retention_apply(database, retention_base(database));
    EXPECT_LE(log_first_txid(database->log), 4);
    database->meta.base_txid = 15;
    database->hashes_saved_txid = 2; /* could not be written since */
    EXPECT_EQ(retention_base(database), 2);
    the_end();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_log_faults.c - the log when the world says no.
 *
 * Plans of faults are read once per process, so each runs in a process of its
 * own: this program again, with the name of the test and TIDEMARK_FAULT.
 */
#include "wal/log.h"

#include "base/bytes.h"
#include "tests/harness.h"
#include "tests/support/logs.h"

#include <signal.h>

#ifdef TIDEMARK_FAULTS

/* Runs the test that runs again, with that plan. */
static void again_with(const char *plan, const char *io)
{
    int status = -1;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        setenv("TIDEMARK_FAULT", plan, 1);
        setenv("TIDEMARK_IO", io, 1);
        execl("/proc/self/exe", "test_log_faults", harness_now->name, NULL);
        _exit(1);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    if (status != 0)
        fprintf(stderr, "with %s and %s\n", plan, io);
    EXPECT_EQ(status, 0);
}

static void again_both_ways(const char *plan)
{
    again_with(plan, "");
    again_with(plan, "pwrite");
}

static bool is_planned(void)
{
    return getenv("TIDEMARK_FAULT") != NULL;
}

/* A planned error, and nothing but it. */
static void expect_planned(int rc)
{
    EXPECT_TRUE(rc == -ENOSPC || rc == -EIO || rc == -ENOMEM);
}

/* What has failed works at the second or third try: plans have two faults. */
#define TRIED(call)                                                            \
    do {                                                                       \
        int tried = (call);                                                    \
        for (int tries = 0; tried < 0 && tries < 2; tries++) {                 \
            expect_planned(tried);                                             \
            tried = (call);                                                    \
        }                                                                      \
        EXPECT_OK(tried);                                                      \
    } while (0)

static int append_or_leave_as_it_was(struct logs *logs, txid_t txid)
{
    struct record_header header = logs_header(logs, txid, txid, 0);
    struct blob *blob = logs_blob(&header, 1 + (uint32_t)(txid % 3));
    uint64_t bytes = log_bytes(logs->log);
    txid_t last = log_last_txid(logs->log);
    int rc = txid % 4 == 0 ? log_append_sync(logs->log, &header, blob)
                           : log_append(logs->log, &header, blob);

    if (rc < 0) {
        EXPECT_EQ(log_bytes(logs->log), bytes);
        EXPECT_EQ(log_last_txid(logs->log), last);
    } else if (txid % 4 == 0) {
        EXPECT_EQ(log_durable_txid(logs->log), txid);
    }
    blob_unref(blob);
    return rc;
}

static int cut_or_reopen(struct logs *logs, txid_t txid)
{
    int rc = log_cut(logs->log, txid);

    if (rc < 0) {
        expect_planned(rc);
        TRIED(logs_open(logs));
    }
    return rc;
}

static void a_day_of_a_log(void)
{
    struct logs logs;
    int count;

    logs_make(&logs);
    TRIED(logs_open(&logs));
    for (txid_t txid = 1; txid <= 80; txid++) {
        TRIED(append_or_leave_as_it_was(&logs, txid));
        if (txid % 10 == 0)
            TRIED(log_sync(logs.log));
        if (txid % 10 == 0 && log_durable_txid(logs.log) != txid)
            EXPECT_EQ(log_durable_txid(logs.log), txid);
    }
    for (uint32_t part = 1; part < 9; part++) /* given up */
        TRIED(logs_append_part(&logs, 81, part, 9, 9));
    TRIED(append_or_leave_as_it_was(&logs, 81));
    TRIED(cut_or_reopen(&logs, 60));
    TRIED(append_or_leave_as_it_was(&logs, 61));
    TRIED(log_sync(logs.log));
    (void)log_trim(logs.log, 0, 0, 30);
    TRIED(logs_open(&logs));
    EXPECT_EQ(logs.found.cut_bytes, 0);
    EXPECT_EQ(log_last_txid(logs.log), 61);
    count = logs_count(&logs);
    if (count < 0) /* a fault may hit the reading, too */
        count = logs_count(&logs);
    EXPECT_GT(count, 30);
    logs_remove(&logs);
}

TEST(a_failure_anywhere_leaves_the_log_as_it_was_and_the_next_try_works)
{
    static const char *const sites[] = {
        "log.open", "log.scan",     "log.alloc",  "log.read",
        "log.save", "log.remove",   "log.create", "log.append",
        "log.sync", "log.truncate", "log.trim",   "log.rewrite"};
    static const unsigned calls[] = {1, 2, 3, 5, 8, 21, 55};
    char plan[64];

    if (is_planned()) {
        a_day_of_a_log();
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(sites); i++)
        for (size_t k = 0; k < ARRAY_LENGTH(calls); k++) {
            snprintf(plan, sizeof plan, "%s=%u:ENOSPC", sites[i], calls[k]);
            again_with(plan, k % 2 == 0 ? "" : "pwrite");
        }
}

TEST(a_failure_while_a_failure_is_mended_is_no_worse)
{
    static const char *const mends[] = {"log.truncate", "log.remove",
                                        "log.rewrite", "log.create"};
    static const char *const sites[] = {"log.append", "log.sync", "log.create"};
    char plan[128];

    if (is_planned()) {
        a_day_of_a_log();
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(sites); i++)
        for (size_t j = 0; j < ARRAY_LENGTH(mends); j++)
            for (unsigned k = 1; k <= 16; k += 5) {
                snprintf(plan, sizeof plan, "%s=%u:ENOSPC,%s=1:EIO", sites[i],
                         k, mends[j]);
                if (strcmp(sites[i], mends[j]) != 0)
                    again_with(plan, k % 2 == 0 ? "" : "pwrite");
            }
}

TEST(what_a_failed_sync_lost_is_never_called_durable)
{
    struct logs logs;

    if (!is_planned()) {
        again_both_ways("log.sync=3:EIO"); /* file, name, and now */
        return;
    }
    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    EXPECT_OK(logs_append(&logs, 1, 0, 1));
    EXPECT_OK(log_sync(logs.log));
    EXPECT_OK(logs_append(&logs, 2, 0, 1));
    EXPECT_EQ(log_sync(logs.log), -EIO);
    EXPECT_EQ(log_durable_txid(logs.log), 1);
    /* As if the kernel had dropped the page it could not write. */
    logs_flip(&logs, logs_file(&logs, ".seg", 0),
              64 + LOGS_RECORD_BYTES(1) + 9);
    EXPECT_EQ(log_sync(logs.log), -EIO);
    EXPECT_EQ(log_sync(logs.log), -EIO);
    EXPECT_EQ(log_durable_txid(logs.log), 1);
    logs_flip(&logs, logs_file(&logs, ".seg", 0),
              64 + LOGS_RECORD_BYTES(1) + 9);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_durable_txid(logs.log), 2);
    logs_remove(&logs);
}

/* Lets files grow to so many bytes only; 0: as they like. */
static void files_up_to(uint64_t bytes)
{
    struct rlimit limit = {bytes == 0 ? RLIM_INFINITY : bytes, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &limit));
}

/* Appends records of 9 pages until one is written in part only. */
static void append_until_torn(struct logs *logs)
{
    txid_t txid = log_last_txid(logs->log) + 1;
    int rc = 0;

    files_up_to(logs_size(logs, logs_file(logs, ".seg", 0)) + 10000);
    while (rc == 0)
        rc = logs_append(logs, txid++, 0, 9);
    EXPECT_EQ(rc, -EFBIG);
    files_up_to(0);
}

TEST(a_record_written_in_part_leaves_no_bytes_behind)
{
    struct logs logs;
    const char *name = "0000000000000001-00000001.seg";

    if (!is_planned()) {
        again_both_ways("log.truncate=9:EIO"); /* never */
        again_both_ways("log.truncate=1:EIO"); /* mended by the next append */
        return;
    }
    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    EXPECT_OK(logs_append(&logs, 1, 0, 1));
    append_until_torn(&logs);
    EXPECT_OK(logs_append(&logs, 2, 0, 0));
    EXPECT_EQ(logs_size(&logs, name), log_bytes(logs.log));
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.cut_bytes, 0);
    EXPECT_EQ(logs_count(&logs), 2);
    logs_remove(&logs);
}

TEST(a_segment_that_could_not_be_removed_is_gone_before_the_next_is_made)
{
    struct logs logs;

    if (!is_planned()) {
        again_both_ways("log.append=16:ENOSPC,log.remove=1:EIO");
        return;
    }
    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    for (txid_t txid = 1; txid <= 15; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    EXPECT_EQ(logs_append(&logs, 16, 0, 1), -ENOSPC);
    EXPECT_EQ(logs_files(&logs, ".seg"), 2);        /* left over */
    EXPECT_OK(logs_append_range(&logs, 14, 20, 1)); /* has another name */
    EXPECT_EQ(logs_files(&logs, ".seg"), 2);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs_count(&logs), 16);
    logs_remove(&logs);
}

TEST(a_cut_that_failed_takes_no_appends_until_reopened)
{
    struct logs logs;

    if (!is_planned()) {
        again_both_ways("log.truncate=1:EIO");
        return;
    }
    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    for (txid_t txid = 1; txid <= 5; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    EXPECT_EQ(log_cut(logs.log, 3), -EIO);
    EXPECT_EQ(logs_append(&logs, 4, 0, 1), -EIO);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(log_last_txid(logs.log), 5);
    EXPECT_OK(log_cut(logs.log, 3));
    EXPECT_OK(logs_append(&logs, 4, 0, 1));
    logs_remove(&logs);
}

#else

TEST(fault_points_are_not_compiled_in)
{
    EXPECT_EQ(site_fault(SITE_LOG_APPEND), 0);
}

#endif

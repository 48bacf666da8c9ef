/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_log.c - a log while it is open: append, read, shorten. */
#include "wal/log.h"

#include "base/clock.h"
#include "tests/harness.h"
#include "tests/support/logs.h"
#include "wal/segment.h"

#include <stdatomic.h>

#include <pthread.h>
#include <sys/stat.h>

static struct logs a_log(void)
{
    struct logs logs;

    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    return logs;
}

/* Records 1..count of one page each. */
static struct logs a_log_of(txid_t count)
{
    struct logs logs = a_log();

    for (txid_t txid = 1; txid <= count; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    return logs;
}

/* The TXID at which the record found for txid ends. */
static txid_t sought(struct logs *logs, txid_t txid)
{
    struct log_cursor cursor;
    txid_t found = 0;
    int rc = log_seek(logs->log, txid, &cursor);

    if (rc == 0)
        rc = logs_read(logs, &cursor, &found);
    EXPECT_OK(rc);
    return found;
}

TEST(a_new_log_is_empty)
{
    struct logs logs = a_log();
    struct log_cursor cursor;

    EXPECT_EQ(logs.found.last.parts, 0);
    EXPECT_EQ(logs.found.first_txid, 0);
    EXPECT_EQ(log_bytes(logs.log), 0);
    EXPECT_EQ(log_last_txid(logs.log), 0);
    EXPECT_EQ(log_first_txid(logs.log), 0);
    EXPECT_EQ(log_seek(logs.log, 1, &cursor), -ENOENT);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_OK(log_cut(logs.log, 0));
    EXPECT_EQ(log_trim(logs.log, 0, 0, 100), 0);
    logs_remove(&logs);
}

TEST(what_was_appended_is_read_in_order_now_and_after_opening_again)
{
    struct logs logs = a_log_of(200);

    EXPECT_EQ(logs_count(&logs), 200);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs_count(&logs), 200);
    EXPECT_EQ(logs.found.last.last_txid, 200);
    EXPECT_EQ(logs.found.first_txid, 1);
    EXPECT_EQ(logs.found.cut_bytes, 0);
    EXPECT_EQ(logs.found.bytes, log_bytes(logs.log));
    EXPECT_OK(logs_append(&logs, 201, 0, 1));
    EXPECT_EQ(logs_count(&logs), 201);
    logs_remove(&logs);
}

TEST(a_log_may_begin_at_any_txid)
{
    struct logs logs = a_log();

    EXPECT_OK(logs_append(&logs, 1000000, 0, 1));
    EXPECT_EQ(log_first_txid(logs.log), 1000000);
    EXPECT_EQ(sought(&logs, 1000000), 1000000);
    logs_remove(&logs);
}

TEST(reading_at_the_end_goes_on_after_an_append)
{
    struct logs logs = a_log_of(1);
    struct log_cursor cursor;
    txid_t txid;

    EXPECT_OK(log_seek(logs.log, 1, &cursor));
    for (txid_t next = 1; next < 100; next++) { /* across segments */
        EXPECT_OK(logs_read(&logs, &cursor, &txid));
        EXPECT_EQ(txid, next);
        EXPECT_EQ(logs_read(&logs, &cursor, &txid), -ENOENT);
        EXPECT_OK(logs_append(&logs, next + 1, 0, 1));
    }
    logs_remove(&logs);
}

TEST(seeking_finds_the_record_that_holds_a_txid)
{
    struct logs logs = a_log();
    struct log_cursor cursor;
    struct rng rng = test_rng();

    for (txid_t txid = 1; txid <= 600; txid += 3)
        EXPECT_OK(logs_append_range(&logs, txid, txid + 2, 1));
    for (int again = 0; again < 2; again++) {
        for (txid_t txid = 1; txid <= 600; txid++)
            EXPECT_EQ(sought(&logs, txid), (txid + 2) / 3 * 3);
        for (int i = 0; i < 300; i++) {
            txid_t txid = rng_between(&rng, 1, 600);

            EXPECT_EQ(sought(&logs, txid), (txid + 2) / 3 * 3);
        }
        EXPECT_EQ(log_seek(logs.log, 601, &cursor), -ENOENT);
        EXPECT_EQ(log_seek(logs.log, 0, &cursor), -ENOENT);
        EXPECT_OK(logs_open(&logs));
    }
    logs_remove(&logs);
}

TEST(a_record_may_overlap_but_never_leave_a_hole)
{
    struct logs logs = a_log_of(10);

    EXPECT_EQ(logs_append(&logs, 12, 0, 1), -EINVAL);
    EXPECT_EQ(logs_append(&logs, 10, 0, 1), -EINVAL);
    EXPECT_OK(logs_append_range(&logs, 5, 20, 1));
    EXPECT_EQ(log_last_txid(logs.log), 20);
    EXPECT_EQ(sought(&logs, 11), 20);
    EXPECT_EQ(sought(&logs, 10), 10);
    logs.lineage.bytes[0]++;
    EXPECT_EQ(logs_append(&logs, 21, 0, 1), -EINVAL);
    logs_remove(&logs);
}

TEST(epochs_never_fall_in_a_log)
{
    struct logs logs = a_log_of(1);
    struct record_header header = logs_header(&logs, 2, 2, RECORD_EPOCH);
    struct blob *blob;

    header.epoch = 4;
    blob = logs_blob(&header, 0);
    EXPECT_OK(log_append(logs.log, &header, blob));
    blob_unref(blob);
    EXPECT_EQ(log_last_txid(logs.log), 2);
    EXPECT_EQ(logs_append(&logs, 3, 0, 1), -EINVAL);
    logs_remove(&logs);
}

TEST(segments_double_and_a_large_record_ends_one)
{
    struct logs logs = a_log_of(100); /* 437 kB: 64 k, 128 k, 256 k */
    uint64_t before;

    EXPECT_EQ(logs_files(&logs, ".seg"), 3);
    EXPECT_LE(logs_size(&logs, logs_file(&logs, ".seg", 0)), 64u << 10);
    EXPECT_GT(logs_size(&logs, logs_file(&logs, ".seg", 0)), 59u << 10);
    EXPECT_LE(logs_size(&logs, logs_file(&logs, ".seg", 1)), 128u << 10);
    EXPECT_GT(logs_size(&logs, logs_file(&logs, ".seg", 1)), 123u << 10);
    before = log_bytes(logs.log);
    EXPECT_OK(logs_append(&logs, 101, 0, 200)); /* 820 kB, 512 k is due */
    EXPECT_OK(logs_append(&logs, 102, 0, 1));
    EXPECT_EQ(logs_files(&logs, ".seg"), 5);
    EXPECT_EQ(logs_size(&logs, logs_file(&logs, ".seg", 3)),
              64 + LOGS_RECORD_BYTES(200));
    EXPECT_EQ(log_bytes(logs.log),
              before + 2 * 64 + LOGS_RECORD_BYTES(200) + LOGS_RECORD_BYTES(1));
    EXPECT_STR(logs_file(&logs, ".seg", 0), "0000000000000001-00000001.seg");
    EXPECT_STR(logs_file(&logs, ".seg", 4), "0000000000000066-00000005.seg");
    EXPECT_EQ(segment_cap(9, 0), 16u << 20);
    EXPECT_EQ(segment_cap(UINT32_MAX, 0), 16u << 20);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs_count(&logs), 102);
    logs_remove(&logs);
}

/* ---- parts and prepared commits ----------------------------------------- */

TEST(parts_count_when_the_last_one_is_there)
{
    struct logs logs = a_log_of(1);
    struct log_cursor cursor;
    txid_t txid;

    EXPECT_OK(log_seek(logs.log, 1, &cursor));
    EXPECT_OK(logs_read(&logs, &cursor, &txid));
    for (uint32_t part = 1; part < 30; part++) { /* several segments */
        EXPECT_OK(logs_append_part(&logs, 2, part, 30, 4));
        EXPECT_EQ(log_last_txid(logs.log), 1);
        EXPECT_EQ(logs_read(&logs, &cursor, &txid), -ENOENT);
        EXPECT_EQ(log_seek(logs.log, 2, &cursor), -ENOENT);
    }
    EXPECT_GT(logs_files(&logs, ".seg"), 2);
    EXPECT_OK(logs_append_part(&logs, 2, 30, 30, 4));
    EXPECT_EQ(log_last_txid(logs.log), 2);
    EXPECT_EQ(logs_count(&logs), 31);
    EXPECT_OK(logs_append(&logs, 3, 0, 1));
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, 3);
    EXPECT_EQ(logs_count(&logs), 32);
    logs_remove(&logs);
}

TEST(skipping_passes_from_part_to_part_also_across_segments)
{
    struct logs logs = a_log_of(1);
    struct log_cursor cursor;
    struct record_header header;

    for (uint32_t part = 1; part <= 40; part++)
        EXPECT_OK(logs_append_part(&logs, 2, part, 40, 3));
    EXPECT_OK(log_seek(logs.log, 2, &cursor));
    for (uint32_t part = 1; part <= 40; part++) {
        EXPECT_OK(log_skip(logs.log, &cursor, &header));
        EXPECT_EQ(header.last_txid, 2);
        EXPECT_EQ(header.part, part);
    }
    EXPECT_EQ(log_skip(logs.log, &cursor, &header), -ENOENT);
    logs_remove(&logs);
}

TEST(parts_come_in_order_and_belong_together)
{
    struct logs logs = a_log_of(1);

    EXPECT_EQ(logs_append_part(&logs, 2, 2, 3, 1), -EINVAL);
    EXPECT_OK(logs_append_part(&logs, 2, 1, 3, 1));
    EXPECT_EQ(logs_append_part(&logs, 2, 3, 3, 1), -EINVAL);
    EXPECT_EQ(logs_append_part(&logs, 2, 2, 4, 1), -EINVAL);
    EXPECT_OK(logs_append_part(&logs, 2, 2, 3, 1));
    EXPECT_OK(logs_append_part(&logs, 2, 3, 3, 1));
    EXPECT_EQ(log_last_txid(logs.log), 2);
    logs_remove(&logs);
}

TEST(parts_that_were_given_up_are_cut_by_the_next_record)
{
    struct logs logs = a_log_of(1);
    uint64_t bytes = log_bytes(logs.log);

    for (uint32_t part = 1; part <= 40; part++)
        EXPECT_OK(logs_append_part(&logs, 2, part, 99, 4));
    EXPECT_GT(logs_files(&logs, ".seg"), 3);
    EXPECT_OK(logs_append(&logs, 2, 0, 1));
    EXPECT_EQ(logs_files(&logs, ".seg"), 1);
    EXPECT_EQ(logs_files(&logs, ""), 1); /* nothing is kept of them */
    EXPECT_EQ(log_bytes(logs.log), bytes + LOGS_RECORD_BYTES(1));
    EXPECT_EQ(logs_count(&logs), 2);
    /* The first record of a log as well. */
    EXPECT_OK(log_cut(logs.log, 0));
    EXPECT_OK(logs_append_part(&logs, 7, 1, 2, 1));
    EXPECT_EQ(log_first_txid(logs.log), 0);
    EXPECT_OK(logs_append_part(&logs, 9, 1, 2, 1));
    EXPECT_OK(logs_append_part(&logs, 9, 2, 2, 1));
    EXPECT_EQ(log_first_txid(logs.log), 9);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs_count(&logs), 2);
    logs_remove(&logs);
}

TEST(a_prepared_record_moves_no_txid_until_it_is_resolved)
{
    struct logs logs = a_log_of(3);

    EXPECT_OK(logs_append(&logs, 4, RECORD_PREPARED, 2));
    EXPECT_EQ(log_last_txid(logs.log), 3);
    EXPECT_EQ(sought(&logs, 4), 4);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, 3);
    EXPECT_EQ(logs.found.prepared.last_txid, 4);
    EXPECT_EQ(logs.found.prepared.pages, 2);
    EXPECT_OK(logs_append(&logs, 4, RECORD_RESOLVE, 0));
    EXPECT_EQ(log_last_txid(logs.log), 4);
    EXPECT_OK(logs_append(&logs, 5, 0, 1));
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.prepared.parts, 0);
    EXPECT_EQ(logs.found.last.last_txid, 5);
    EXPECT_EQ(logs_count(&logs), 6);
    logs_remove(&logs);
}

TEST(a_resolve_needs_its_prepared_but_an_abort_does_not)
{
    struct logs logs = a_log_of(3);

    EXPECT_EQ(logs_append(&logs, 4, RECORD_RESOLVE, 0), -EINVAL);
    EXPECT_OK(logs_append(&logs, 4, RECORD_RESOLVE | RECORD_ABORT, 0));
    EXPECT_EQ(log_last_txid(logs.log), 4);
    EXPECT_OK(logs_append(&logs, 5, RECORD_PREPARED, 1));
    EXPECT_EQ(logs_append(&logs, 6, RECORD_RESOLVE, 0), -EINVAL);
    EXPECT_OK(logs_append(&logs, 5, RECORD_RESOLVE | RECORD_ABORT, 0));
    EXPECT_EQ(log_last_txid(logs.log), 5);
    logs_remove(&logs);
}

TEST(a_resolve_stays_in_the_segment_of_what_it_resolves)
{
    struct logs logs = a_log_of(14); /* one more page does not fit */

    EXPECT_OK(logs_append(&logs, 15, RECORD_PREPARED, 1));
    while (logs_size(&logs, logs_file(&logs, ".seg", 0)) + 264 <= 64u << 10)
        EXPECT_OK(logs_append(&logs, 15, RECORD_PREPARED, 0));
    EXPECT_OK(logs_append(&logs, 15, RECORD_RESOLVE, 0));
    EXPECT_EQ(logs_files(&logs, ".seg"), 1);
    EXPECT_OK(logs_append(&logs, 16, 0, 0));
    EXPECT_EQ(logs_files(&logs, ".seg"), 2);
    logs_remove(&logs);
}

/* ---- durable ------------------------------------------------------------ */

TEST(what_was_appended_is_durable_after_a_sync)
{
    struct logs logs = a_log_of(100);

    EXPECT_LT(log_durable_txid(logs.log), 100);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_durable_txid(logs.log), 100);
    EXPECT_OK(logs_append(&logs, 101, 0, 1));
    EXPECT_EQ(log_durable_txid(logs.log), 100);
    EXPECT_OK(logs_open(&logs)); /* who knows who ran before us */
    EXPECT_EQ(log_durable_txid(logs.log), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_durable_txid(logs.log), 101);
    logs_remove(&logs);
}

TEST(append_sync_is_durable_when_it_returns)
{
    struct logs logs = a_log_of(1);

    for (txid_t txid = 2; txid < 60; txid++) { /* linked, and in new segments */
        struct record_header header = logs_header(&logs, txid, txid, 0);
        struct blob *blob = logs_blob(&header, 1);

        EXPECT_OK(log_append_sync(logs.log, &header, blob));
        EXPECT_EQ(log_durable_txid(logs.log), txid);
        blob_unref(blob);
    }
    EXPECT_EQ(logs_count(&logs), 59);
    logs_remove(&logs);
}

struct syncs {
    struct log *log;
    atomic_bool stop;
    int failed;
    unsigned count;
};

static void *sync_again_and_again(void *pointer)
{
    struct syncs *syncs = pointer;

    while (!atomic_load(&syncs->stop)) {
        txid_t before = log_last_txid(syncs->log);

        if (log_sync(syncs->log) < 0)
            syncs->failed = 1;
        if (log_durable_txid(syncs->log) < before &&
            log_last_txid(syncs->log) >= before) /* was not cut */
            syncs->failed = 2;
        syncs->count++;
    }
    return NULL;
}

TEST(others_may_sync_while_the_worker_appends_reads_and_shortens)
{
    struct logs logs = a_log_of(1);
    struct syncs syncs[2] = {{.log = logs.log}, {.log = logs.log}};
    pthread_t threads[2];
    struct log_cursor cursor;
    txid_t txid, read = 0;

    EXPECT_OK(log_seek(logs.log, 1, &cursor));
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, sync_again_and_again, &syncs[i]);
    for (txid = 2; txid <= 1500; txid++) {
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
        EXPECT_OK(logs_read(&logs, &cursor, &read));
        EXPECT_EQ(read, txid - 1);
        if (txid % 100 == 0)
            log_trim(logs.log, 1u << 20, 0, txid - 200);
    }
    EXPECT_OK(logs_append_part(&logs, 1501, 1, 2, 1));
    EXPECT_OK(log_cut(logs.log, 1490));
    for (int i = 0; i < 2; i++) {
        atomic_store(&syncs[i].stop, true);
        pthread_join(threads[i], NULL);
        EXPECT_EQ(syncs[i].failed, 0);
    }
    EXPECT_EQ(log_last_txid(logs.log), 1490);
    EXPECT_OK(log_sync(logs.log)); /* theirs may have been before the last */
    EXPECT_EQ(log_durable_txid(logs.log), 1490);
    logs_remove(&logs);
}

/* ---- shortening --------------------------------------------------------- */

TEST(trimming_takes_old_segments_one_per_sync)
{
    struct logs logs = a_log_of(200); /* segments from 1, 16, 46, 106 */
    struct log_cursor cursor = {1, 64};
    uint64_t bytes = log_bytes(logs.log);
    txid_t txid;

    EXPECT_EQ(log_trim(logs.log, 0, 0, 100), 0); /* not durable yet */
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_trim(logs.log, bytes, 0, 100), 0);
    EXPECT_EQ(log_trim(logs.log, 0, 0, 15), 0);
    EXPECT_EQ(log_trim(logs.log, 0, 0, 16), 64 + 15 * LOGS_RECORD_BYTES(1));
    EXPECT_EQ(log_first_txid(logs.log), 16);
    EXPECT_EQ(log_trim(logs.log, 0, 0, 100), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_GT(log_trim(logs.log, 0, 0, 200), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_GT(log_trim(logs.log, 0, 0, 1000), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_trim(logs.log, 0, 0, 1000), 0); /* the newest stays */
    EXPECT_EQ(log_first_txid(logs.log), 106);
    EXPECT_EQ(log_seek(logs.log, 105, &cursor), -ENOENT);
    EXPECT_EQ(logs_read(&logs, &cursor, &txid), -ESTALE);
    EXPECT_EQ(sought(&logs, 106), 106);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.first_txid, 106);
    EXPECT_EQ(logs_count(&logs), 95);
    logs_remove(&logs);
}

/* As if nothing had been written to it for a while. */
static void ages(struct logs *logs, size_t k, uint64_t seconds)
{
    struct timespec times[2];

    clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec -= (time_t)seconds;
    times[0] = times[1];
    EXPECT_OK(utimensat(logs->log_fd, logs_file(logs, ".seg", k), times, 0));
}

TEST(trimming_takes_segments_that_are_too_old_however_few_they_are)
{
    struct logs logs = a_log_of(200); /* segments from 1, 16, 46, 106 */
    uint64_t bytes = log_bytes(logs.log), now = clock_wall_ns();

    EXPECT_OK(log_sync(logs.log));
    for (size_t k = 0; k < 4; k++)
        ages(&logs, k, 4000 - 1000 * k);
    EXPECT_EQ(log_trim(logs.log, bytes, 0, 1000), 0); /* age does not count */
    EXPECT_EQ(log_trim(logs.log, bytes, now - 4500 * NS_PER_S, 1000), 0);
    EXPECT_EQ(log_trim(logs.log, bytes, now - 2500 * NS_PER_S, 15), 0);
    EXPECT_GT(log_trim(logs.log, bytes, now - 2500 * NS_PER_S, 1000), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_GT(log_trim(logs.log, bytes, now - 2500 * NS_PER_S, 1000), 0);
    EXPECT_OK(logs_open(&logs)); /* the files say so, after a restart as well */
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_first_txid(logs.log), 46);
    EXPECT_GT(log_trim(logs.log, bytes, now, 1000), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_trim(logs.log, bytes, now, 1000), 0); /* the newest stays */
    logs_remove(&logs);
}

TEST(a_record_in_parts_is_trimmed_as_a_whole)
{
    struct logs logs = a_log_of(15); /* fills the first segment */

    for (uint32_t part = 1; part <= 60; part++)
        EXPECT_OK(logs_append_part(&logs, 16, part, 60, 4));
    for (txid_t txid = 17; txid <= 300; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    EXPECT_OK(log_sync(logs.log));
    EXPECT_GT(log_trim(logs.log, 0, 0, 17), 0);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_trim(logs.log, 0, 0, 17), 0);
    EXPECT_EQ(log_first_txid(logs.log), 16);
    /* Half trimmed: what is left of it is not there for a reader. */
    EXPECT_GT(log_trim(logs.log, 0, 0, 299), 0);
    EXPECT_GT(log_first_txid(logs.log), 17);
    EXPECT_OK(logs_open(&logs));
    EXPECT_GT(logs.found.first_txid, 17);
    EXPECT_EQ(logs_count(&logs), (int)(300 - logs.found.first_txid + 1));
    EXPECT_OK(log_sync(logs.log));
    EXPECT_GT(log_trim(logs.log, 0, 0, 299), 0);
    logs_remove(&logs);
}

TEST(cutting_keeps_what_ends_there_and_saves_the_rest)
{
    struct logs logs = a_log_of(60); /* segments from 1, 16, 46 */
    struct log_cursor cursor;

    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_cut(logs.log, 61), -ENOENT);
    EXPECT_OK(log_cut(logs.log, 60));
    EXPECT_EQ(logs_files(&logs, ".cut-1"), 0);
    EXPECT_OK(log_cut(logs.log, 20));
    EXPECT_EQ(log_last_txid(logs.log), 20);
    EXPECT_EQ(log_durable_txid(logs.log), 20);
    EXPECT_EQ(logs_count(&logs), 20);
    EXPECT_EQ(logs_files(&logs, ".seg"), 2);
    EXPECT_EQ(logs_files(&logs, ".cut-1"), 2);
    EXPECT_EQ(logs_size(&logs, "0000000000000010-00000002.seg.cut-1"),
              25 * LOGS_RECORD_BYTES(1));
    EXPECT_EQ(logs_size(&logs, "000000000000002e-00000003.seg.cut-1"),
              64 + 15 * LOGS_RECORD_BYTES(1));
    EXPECT_EQ(log_seek(logs.log, 21, &cursor), -ENOENT);
    EXPECT_OK(logs_append(&logs, 21, 0, 2)); /* another history */
    EXPECT_OK(log_cut(logs.log, 20));
    EXPECT_EQ(logs_files(&logs, ".cut-2"), 1);
    EXPECT_OK(logs_append(&logs, 21, 0, 3));
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs_count(&logs), 21);
    logs_remove(&logs);
}

TEST(cutting_within_a_record_is_refused_and_before_all_empties)
{
    struct logs logs = a_log();

    EXPECT_OK(logs_append_range(&logs, 10, 20, 1));
    EXPECT_OK(logs_append_range(&logs, 21, 30, 1));
    EXPECT_EQ(log_cut(logs.log, 15), -ENOENT);
    EXPECT_EQ(log_cut(logs.log, 25), -ENOENT);
    EXPECT_EQ(logs_count(&logs), 2);
    EXPECT_OK(log_cut(logs.log, 9));
    EXPECT_EQ(log_bytes(logs.log), 0);
    EXPECT_EQ(log_first_txid(logs.log), 0);
    EXPECT_OK(logs_append(&logs, 77, 0, 1));
    EXPECT_EQ(sought(&logs, 77), 77);
    logs_remove(&logs);
}

TEST(cutting_takes_a_prepared_record_that_waits_beyond)
{
    struct logs logs = a_log_of(4);

    EXPECT_OK(logs_append(&logs, 5, RECORD_PREPARED, 1));
    EXPECT_OK(log_cut(logs.log, 4));
    EXPECT_EQ(logs_append(&logs, 5, RECORD_RESOLVE, 0), -EINVAL);
    EXPECT_OK(logs_append(&logs, 5, RECORD_PREPARED, 1));
    EXPECT_OK(logs_append(&logs, 5, RECORD_RESOLVE, 0));
    EXPECT_OK(logs_append(&logs, 6, 0, 1));
    EXPECT_OK(log_cut(logs.log, 5));
    EXPECT_EQ(logs_count(&logs), 6);
    logs_remove(&logs);
}

TEST(damage_far_back_is_found_by_reading)
{
    struct logs logs = a_log_of(200);
    struct log_cursor cursor;
    txid_t txid;

    logs_flip(&logs, logs_file(&logs, ".seg", 0),
              64 + 5 * LOGS_RECORD_BYTES(1) + 1000);
    EXPECT_OK(logs_open(&logs));
    EXPECT_OK(log_seek(logs.log, 5, &cursor));
    EXPECT_OK(logs_read(&logs, &cursor, &txid));
    EXPECT_EQ(logs_read(&logs, &cursor, &txid), -EBADMSG);
    EXPECT_EQ(logs_read(&logs, &cursor, &txid), -EBADMSG);
    EXPECT_EQ(sought(&logs, 7), 7);
    logs_remove(&logs);
}

/* ---- the same without io_uring ------------------------------------------ */

TEST(all_this_holds_without_io_uring)
{
    struct logs logs = a_log();
    const char *io = getenv("TIDEMARK_IO");
    int status = -1;
    pid_t child;

    if (io != NULL && strcmp(io, "pwrite") == 0) {
        EXPECT_STR(log_method(logs.log), "pwrite");
        logs_remove(&logs);
        return;
    }
    fflush(NULL);
    child = fork();
    if (child == 0) {
        setenv("TIDEMARK_IO", "pwrite", 1);
        execl("/proc/self/exe", "test_log", NULL);
        _exit(1);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    logs_remove(&logs);
}

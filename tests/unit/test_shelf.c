/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_shelf.c - what opening a log does with what a crash left. */
#include "wal/shelf.h"

#include "base/bytes.h"
#include "tests/harness.h"
#include "tests/support/logs.h"

#include <fcntl.h>
#include <signal.h>
#include <xxhash.h>

#define GOLDEN "tests/golden/log-v1.seg"
#define ONE LOGS_RECORD_BYTES(1)
#define PER_FIRST 15  /* records of one page in segment 1 */
#define PER_SECOND 30 /* and 2 */
#define PER_THIRD 60

/* A closed log of records 1..count with one page each. */
static struct logs a_closed_log_of(txid_t count)
{
    struct logs logs;

    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    for (txid_t txid = 1; txid <= count; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    logs_close(&logs);
    return logs;
}

/* Opens a copy of the name: logs_file() reuses its memory. */
static const char *segment(const struct logs *logs, size_t k)
{
    static char name[64];

    snprintf(name, sizeof name, "%s", logs_file(logs, ".seg", k));
    return name;
}

static void expect_whole(struct logs *logs, int records, uint64_t cut_bytes)
{
    EXPECT_OK(logs_open(logs));
    EXPECT_EQ(logs->found.cut_bytes, cut_bytes);
    EXPECT_EQ(logs_count(logs), records);
    EXPECT_OK(logs_append(logs, (txid_t)records + 1, 0, 1));
    EXPECT_OK(logs_open(logs));
    EXPECT_EQ(logs->found.cut_bytes, 0);
    EXPECT_EQ(logs_count(logs), records + 1);
}

static void expect_refused(struct logs *logs, int error)
{
    uint64_t before = logs_fingerprint(logs);

    EXPECT_EQ(logs_open(logs), -error);
    EXPECT_EQ(logs_fingerprint(logs), before);
    EXPECT_TRUE(logs->log == NULL);
}

TEST(a_tail_torn_anywhere_is_cut_at_the_last_whole_record)
{
    struct logs logs = a_closed_log_of(2);
    uint64_t size = logs_size(&logs, segment(&logs, 0));
    struct rng rng = test_rng();

    for (int i = 0; i < 40; i++) {
        uint64_t left = i < 2 ? (uint64_t)i : rng_below(&rng, ONE);

        logs_truncate(&logs, segment(&logs, 0), size - ONE + left);
        EXPECT_OK(logs_open(&logs));
        EXPECT_EQ(logs.found.cut_bytes, left);
        EXPECT_EQ(logs.found.saved_bytes, 0);
        EXPECT_EQ(logs.found.last.last_txid, 1);
        EXPECT_OK(logs_append(&logs, 2, 0, 1));
        logs_close(&logs);
        EXPECT_EQ(logs_size(&logs, segment(&logs, 0)), size);
    }
    expect_whole(&logs, 2, 0);
    EXPECT_EQ(logs_files(&logs, ""), 1);
    logs_remove(&logs);
}

TEST(zeroes_and_noise_behind_the_last_record_are_cut)
{
    struct logs logs = a_closed_log_of(3);
    uint64_t size = logs_size(&logs, segment(&logs, 0));
    struct rng rng = test_rng();
    uint8_t noise[5000] = {0};

    logs_poke(&logs, segment(&logs, 0), size, noise, sizeof noise);
    expect_whole(&logs, 3, sizeof noise);
    logs_close(&logs);
    size = logs_size(&logs, segment(&logs, 0));
    rng_bytes(&rng, noise, sizeof noise);
    logs_poke(&logs, segment(&logs, 0), size, noise, sizeof noise);
    expect_whole(&logs, 4, sizeof noise);
    EXPECT_EQ(logs_files(&logs, ""), 1);
    logs_remove(&logs);
}

TEST(whole_records_behind_damage_are_saved_before_they_are_cut)
{
    struct logs logs = a_closed_log_of(10);
    static uint8_t before[4 * ONE + 1], after[4 * ONE + 1];
    uint64_t damage = 64 + 6 * ONE;
    const char *saved = "0000000000000001-00000001.seg.cut-1";

    logs_flip(&logs, segment(&logs, 0), damage + 300);
    EXPECT_EQ(
        logs_peek(&logs, segment(&logs, 0), damage, before, sizeof before),
        4 * ONE);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, 6);
    EXPECT_EQ(logs.found.cut_bytes, 4 * ONE);
    EXPECT_EQ(logs.found.saved_bytes, 4 * ONE);
    EXPECT_EQ(logs_peek(&logs, saved, 0, after, sizeof after), 4 * ONE);
    EXPECT_MEM(after, before, 4 * ONE);
    EXPECT_EQ(logs_count(&logs), 6);
    expect_whole(&logs, 6, 0);
    logs_remove(&logs);
}

TEST(a_whole_record_is_found_wherever_it_begins_behind_damage)
{
    for (uint64_t gap = 65536 - 9; gap <= 65536 + 1; gap++) {
        struct logs logs = a_closed_log_of(1);
        struct record_header header = logs_header(&logs, 3, 3, 0);
        struct blob *blob = logs_blob(&header, 1);

        logs_poke(&logs, segment(&logs, 0), 64 + ONE + gap, blob->data,
                  blob->size);
        EXPECT_OK(logs_open(&logs));
        EXPECT_EQ(logs.found.saved_bytes, gap + ONE);
        blob_unref(blob);
        logs_remove(&logs);
    }
}

TEST(a_second_cut_never_overwrites_the_first)
{
    struct logs logs = a_closed_log_of(4);

    for (int i = 0; i < 3; i++) {
        logs_flip(&logs, segment(&logs, 0), 64 + 2 * ONE + 5);
        EXPECT_OK(logs_open(&logs));
        EXPECT_EQ(logs.found.saved_bytes, 2 * ONE);
        EXPECT_OK(logs_append(&logs, 3, 0, 1));
        EXPECT_OK(logs_append(&logs, 4, 0, 1));
        logs_close(&logs);
    }
    EXPECT_EQ(logs_files(&logs, ".cut-1"), 1);
    EXPECT_EQ(logs_files(&logs, ".cut-3"), 1);
    logs_remove(&logs);
}

TEST(a_torn_segment_before_the_last_takes_the_last_along)
{
    struct logs logs = a_closed_log_of(PER_FIRST + PER_SECOND + 5);
    uint64_t last = logs_size(&logs, segment(&logs, 2));

    logs_truncate(&logs, segment(&logs, 1), 64 + 10 * ONE + 100);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, PER_FIRST + 10);
    EXPECT_EQ(logs.found.cut_bytes, 100 + last);
    EXPECT_EQ(logs.found.saved_bytes, 100 + last);
    EXPECT_EQ(logs_files(&logs, ".cut-1"), 2);
    expect_whole(&logs, PER_FIRST + 10, 0);
    logs_remove(&logs);
}

TEST(a_segment_that_ends_early_but_cleanly_takes_the_last_along_too)
{
    struct logs logs = a_closed_log_of(PER_FIRST + PER_SECOND + 5);

    logs_truncate(&logs, segment(&logs, 1), 64 + 10 * ONE);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, PER_FIRST + 10);
    EXPECT_EQ(logs.found.saved_bytes, 64 + 5 * ONE);
    logs_remove(&logs);
}

TEST(a_segment_whose_first_write_was_lost_goes)
{
    static const uint64_t sizes[] = {0, 10, 64, 64 + 256, 64 + 1000};
    uint8_t zeroes[64] = {0};

    for (size_t i = 0; i < 2 * ARRAY_LENGTH(sizes); i++) {
        struct logs logs = a_closed_log_of(PER_FIRST + 1);
        uint64_t size = sizes[i / 2];

        logs_truncate(&logs, segment(&logs, 1), size);
        if (i % 2 == 1) /* the length came, the bytes did not */
            logs_poke(&logs, segment(&logs, 1), 0, zeroes,
                      size < 64 ? size : 64);
        EXPECT_OK(logs_open(&logs));
        EXPECT_EQ(logs.found.cut_bytes, size);
        EXPECT_EQ(logs_files(&logs, ""), 1);
        expect_whole(&logs, PER_FIRST, 0);
        logs_remove(&logs);
    }
}

TEST(a_record_whose_last_parts_are_missing_is_cut_before_its_first)
{
    struct logs logs = a_closed_log_of(3);

    EXPECT_OK(logs_open(&logs));
    for (uint32_t part = 1; part <= 50; part++) /* over five segments */
        EXPECT_OK(logs_append_part(&logs, 4, part, 51, 4));
    EXPECT_GT(logs_files(&logs, ".seg"), 3);
    logs_close(&logs);
    expect_whole(&logs, 3,
                 logs_size(&logs, segment(&logs, 1)) +
                     logs_size(&logs, segment(&logs, 2)) +
                     logs_size(&logs, segment(&logs, 3)) +
                     logs_size(&logs, segment(&logs, 0)) - 64 - 3 * ONE);
    EXPECT_EQ(logs_files(&logs, ""), 1);
    logs_remove(&logs);
}

TEST(where_the_position_stands_is_found_behind_many_parts)
{
    struct logs logs = a_closed_log_of(3);

    EXPECT_OK(logs_open(&logs));
    for (uint32_t part = 1; part <= 50; part++) {
        struct record_header header = logs_header(&logs, 4, 4, RECORD_PREPARED);
        struct blob *blob;

        header.part = part, header.parts = 50;
        blob = logs_blob(&header, 4);
        EXPECT_OK(log_append(logs.log, &header, blob));
        blob_unref(blob);
    }
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, 3);
    EXPECT_EQ(logs.found.prepared.last_txid, 4);
    EXPECT_EQ(logs.found.prepared.part, 50);
    EXPECT_EQ(logs.found.cut_bytes, 0);
    logs_remove(&logs);
}

TEST(damage_among_parts_further_back_than_a_crash_reaches_is_refused)
{
    struct logs logs = a_closed_log_of(3);

    EXPECT_OK(logs_open(&logs));
    for (uint32_t part = 1; part <= 50; part++)
        EXPECT_OK(logs_append_part(&logs, 4, part, 50, 4));
    EXPECT_GT(logs_files(&logs, ".seg"), 3);
    logs_close(&logs);
    logs_flip(&logs, segment(&logs, 1), 64 + 1000);
    expect_refused(&logs, EBADMSG);
    logs_remove(&logs);
}

/* ---- refused, untouched ------------------------------------------------- */

TEST(a_missing_segment_is_refused)
{
    struct logs logs = a_closed_log_of(PER_FIRST + PER_SECOND + PER_THIRD + 1);

    unlinkat(logs.log_fd, segment(&logs, 1), 0);
    expect_refused(&logs, EBADMSG);
    logs_remove(&logs);
}

TEST(a_copied_segment_is_refused)
{
    struct logs logs = a_closed_log_of(PER_FIRST + 1);

    EXPECT_OK(linkat(logs.log_fd, segment(&logs, 1), logs.log_fd,
                     "0000000000000011-00000002.seg", 0));
    expect_refused(&logs, EBADMSG);
    logs_remove(&logs);
}

TEST(a_segment_of_another_name_is_refused)
{
    struct logs logs = a_closed_log_of(5);

    EXPECT_OK(renameat(logs.log_fd, segment(&logs, 0), logs.log_fd,
                       "0000000000000002-00000001.seg"));
    expect_refused(&logs, EBADMSG);
    logs_remove(&logs);
}

TEST(files_that_are_not_segments_are_left_alone)
{
    struct logs logs = a_closed_log_of(5);
    static const char *const names[] = {"README",
                                        "1-1.seg",
                                        "000000000000000A-00000001.seg",
                                        "0000000000000001-00000001.seg.cut-1",
                                        "+000000000000001-00000009.seg",
                                        "0000000000000001-00000009.seg "};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        close(openat(logs.log_fd, names[i], O_CREAT | O_WRONLY, 0600));
    expect_whole(&logs, 5, 0);
    EXPECT_EQ(logs_files(&logs, ""), 1 + ARRAY_LENGTH(names));
    logs_remove(&logs);
}

TEST(a_log_of_another_database_is_refused)
{
    struct logs logs = a_closed_log_of(5);

    logs.lineage.bytes[3]++;
    expect_refused(&logs, EBADMSG);
    logs.lineage.bytes[3]--;
    expect_whole(&logs, 5, 0);
    logs_remove(&logs);
}

/* Gives a header at offset another version and makes its hash right. */
static void set_version(struct logs *logs, size_t k, uint64_t offset,
                        size_t header_bytes)
{
    uint8_t bytes[256];

    logs_peek(logs, segment(logs, k), offset, bytes, header_bytes);
    put_le32(bytes + 8, 2);
    put_le64(bytes + header_bytes - 8, XXH3_64bits(bytes, header_bytes - 8));
    logs_poke(logs, segment(logs, k), offset, bytes, header_bytes);
}

TEST(a_newer_segment_is_refused)
{
    for (size_t k = 0; k < 2; k++) {
        struct logs logs = a_closed_log_of(PER_FIRST + 1);

        set_version(&logs, k, 0, SEGMENT_HEADER_BYTES);
        expect_refused(&logs, EPROTONOSUPPORT);
        logs_remove(&logs);
    }
}

TEST(a_newer_record_is_refused)
{
    struct logs logs = a_closed_log_of(5);

    set_version(&logs, 0, 64 + 4 * ONE, RECORD_HEADER_BYTES);
    expect_refused(&logs, EPROTONOSUPPORT);
    logs_remove(&logs);
}

TEST(a_damaged_header_further_back_is_refused)
{
    struct logs logs = a_closed_log_of(PER_FIRST + PER_SECOND + 1);

    logs_flip(&logs, segment(&logs, 0), 40);
    expect_refused(&logs, EBADMSG);
    logs_remove(&logs);
}

/* ---- interrupted -------------------------------------------------------- */

TEST(kill_in_the_middle_of_appends_loses_at_most_the_torn_record)
{
    for (int round = 0; round < 10; round++) {
        struct logs logs = a_closed_log_of(1);
        pid_t child = fork();
        int status;

        if (child == 0) {
            if (logs_open(&logs) != 0)
                _exit(1);
            for (txid_t txid = 2;; txid++)
                if (logs_append(&logs, txid, 0, 1 + (uint32_t)(txid % 5)) != 0)
                    _exit(1);
        }
        while (logs_size(&logs, segment(&logs, 0)) < 20000)
            usleep(200);
        usleep(300 * (unsigned)round);
        kill(child, SIGKILL);
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFSIGNALED(status));
        EXPECT_OK(logs_open(&logs));
        EXPECT_EQ(logs.found.saved_bytes, 0);
        EXPECT_EQ(logs_count(&logs), (int)logs.found.last.last_txid);
        EXPECT_GT(logs_count(&logs), 2);
        logs_remove(&logs);
    }
}

static void golden_write(const struct logs *logs)
{
    static uint8_t bytes[65536];
    size_t size = logs_peek(logs, segment(logs, 0), 0, bytes, sizeof bytes);
    FILE *file = fopen(GOLDEN, "wb");

    EXPECT_EQ(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

TEST(segments_of_version_1_are_read_for_ever)
{
    static const char name[] = "0000000000000001-00000001.seg";
    static uint8_t bytes[65536];
    struct logs logs = a_closed_log_of(2);
    FILE *file;
    size_t size;

    EXPECT_OK(logs_open(&logs));
    EXPECT_OK(logs_append(&logs, 3, RECORD_PREPARED, 1));
    EXPECT_OK(logs_append(&logs, 3, RECORD_RESOLVE, 0));
    EXPECT_OK(logs_append_part(&logs, 4, 1, 2, 1));
    EXPECT_OK(logs_append_part(&logs, 4, 2, 2, 1));
    logs_close(&logs);
    if (getenv("TIDEMARK_GOLDEN_WRITE") != NULL) /* once, for a new version */
        golden_write(&logs);
    file = fopen(GOLDEN, "rb");
    EXPECT_TRUE(file != NULL);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    logs_truncate(&logs, name, 0);
    logs_poke(&logs, name, 0, bytes, size);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.last.last_txid, 4);
    EXPECT_EQ(logs.found.cut_bytes, 0);
    EXPECT_EQ(logs_count(&logs), 6);
    logs_remove(&logs);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_doctor.c - what versions, locks and amounts mean. */
#include "tests/harness.h"
#include "base/bytes.h"
#include "node/doctor_facts.h"

#include <string.h>

static unsigned faults_of(const char *text)
{
    struct doctor_version version = {0};

    EXPECT_TRUE(doctor_version_parse(text, &version));
    return doctor_sqlite_faults(version);
}

TEST(a_version_is_two_or_three_numbers_and_what_follows_does_not_matter)
{
    struct doctor_version version = {9, 9, 9};

    EXPECT_FALSE(doctor_version_parse("", &version));
    EXPECT_FALSE(doctor_version_parse("6", &version));
    EXPECT_FALSE(doctor_version_parse("linux-6.9", &version));
    EXPECT_EQ(version.major, 9);
    EXPECT_TRUE(doctor_version_parse("6.18.44-cloud+1", &version));
    EXPECT_EQ(version.major, 6);
    EXPECT_EQ(version.minor, 18);
    EXPECT_EQ(version.patch, 44);
    EXPECT_TRUE(doctor_version_parse("6.9-rc1", &version));
    EXPECT_EQ(version.minor, 9);
    EXPECT_EQ(version.patch, 0);
}

TEST(versions_are_compared_number_by_number)
{
    struct doctor_version version = {6, 10, 0};

    EXPECT_FALSE(doctor_version_is_before(version, 6, 9, 0));
    EXPECT_FALSE(doctor_version_is_before(version, 6, 10, 0));
    EXPECT_TRUE(doctor_version_is_before(version, 6, 10, 1));
    EXPECT_TRUE(doctor_version_is_before(version, 7, 0, 0));
    EXPECT_FALSE(doctor_version_is_before(version, 5, 99, 99));
}

TEST(the_wal_reset_bug_ends_with_3_51_3_and_in_two_older_lines)
{
    static const char *const have[] = {"3.7.0",  "3.40.1", "3.44.5", "3.45.0",
                                       "3.50.6", "3.51.0", "3.51.2"};
    static const char *const have_not[] = {"3.44.6", "3.50.7", "3.51.3",
                                           "3.52.0", "3.53.1", "4.0.0"};

    for (size_t i = 0; i < ARRAY_LENGTH(have); i++)
        EXPECT_TRUE((faults_of(have[i]) & DOCTOR_WAL_RESET) != 0);
    for (size_t i = 0; i < ARRAY_LENGTH(have_not); i++)
        EXPECT_EQ(faults_of(have_not[i]), 0);
}

TEST(the_savepoint_gap_is_told_of_the_versions_that_were_seen_to_have_it)
{
    EXPECT_TRUE((faults_of("3.40.1") & DOCTOR_SAVEPOINT) != 0);
    EXPECT_EQ(faults_of("3.41.0"), DOCTOR_WAL_RESET);
    EXPECT_EQ(faults_of("3.53.0"), 0);
}

TEST(a_reader_is_a_read_lock_on_the_marks_of_a_shm)
{
    struct doctor_lock lock;

    EXPECT_TRUE(doctor_lock_parse("47: POSIX  ADVISORY  READ 30603 "
                                  "00:33:10127210 124 124\n",
                                  &lock));
    EXPECT_EQ(lock.pid, 30603);
    EXPECT_EQ(lock.major, 0);
    EXPECT_EQ(lock.minor, 0x33);
    EXPECT_EQ(lock.inode, 10127210);
    EXPECT_TRUE(doctor_lock_is_reader(&lock));
    lock.first = lock.last = 128; /* the dead man's switch: all have it */
    EXPECT_FALSE(doctor_lock_is_reader(&lock));
    lock.first = lock.last = 122;
    EXPECT_FALSE(doctor_lock_is_reader(&lock));
    lock.first = 120;
    lock.last = 123;
    EXPECT_TRUE(doctor_lock_is_reader(&lock));
    lock.is_read = false; /* a checkpoint, for an instant */
    EXPECT_FALSE(doctor_lock_is_reader(&lock));
}

TEST(a_lock_that_is_only_waited_for_is_none)
{
    static const char *const lines[] = {
        "1: -> POSIX  ADVISORY  READ 17 00:33:1 124 124",
        "2: FLOCK  ADVISORY  WRITE 17 fe:00:1 0 EOF",
        "3: LEASE  ACTIVE    READ 17 fe:00:1 0 EOF",
        "4: POSIX  ADVISORY  READ 17 00:33:1 124",
        "",
    };
    struct doctor_lock lock;

    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++)
        EXPECT_FALSE(doctor_lock_parse(lines[i], &lock));
    EXPECT_TRUE(
        doctor_lock_parse("5: OFDLCK ADVISORY  READ -1 fe:0a:99 0 EOF", &lock));
    EXPECT_EQ(lock.pid, -1);
    EXPECT_EQ(lock.last, UINT64_MAX);
}

TEST(a_field_is_found_by_its_whole_name_in_its_base)
{
    static const char text[] = "pos:\t0\nflags:\t02500002\nmnt_id:\t55\n"
                               "CapEff:\t000001ffffffffff\nempty:\n";
    uint64_t number = 7;

    EXPECT_FALSE(doctor_field(text, "id", 10, &number));
    EXPECT_FALSE(doctor_field(text, "mnt", 10, &number));
    EXPECT_FALSE(doctor_field(text, "empty", 10, &number));
    EXPECT_EQ(number, 7);
    EXPECT_TRUE(doctor_field(text, "mnt_id", 10, &number));
    EXPECT_EQ(number, 55);
    EXPECT_TRUE(doctor_field(text, "flags", 8, &number));
    EXPECT_EQ(number, 02500002);
    EXPECT_TRUE(doctor_field(text, "CapEff", 16, &number));
    EXPECT_EQ(number, UINT64_C(0x1ffffffffff));
}

TEST(a_mount_has_an_id_and_a_device)
{
    unsigned major, minor;
    uint64_t id;

    EXPECT_TRUE(doctor_mount_parse("55 27 0:51 / /data rw - fuse.tidemark t rw",
                                   &id, &major, &minor));
    EXPECT_EQ(id, 55);
    EXPECT_EQ(major, 0);
    EXPECT_EQ(minor, 51);
    EXPECT_FALSE(doctor_mount_parse("", &id, &major, &minor));
}

TEST(a_link_names_a_file_by_its_last_part)
{
    EXPECT_TRUE(doctor_link_names("/data/a/app.db", "app.db"));
    EXPECT_TRUE(doctor_link_names("/app.db", "app.db"));
    EXPECT_TRUE(doctor_link_names("/app.db (deleted)", "app.db"));
    EXPECT_FALSE(doctor_link_names("/data/my-app.db", "app.db"));
    EXPECT_FALSE(doctor_link_names("/data/app.db-wal", "app.db"));
    EXPECT_FALSE(doctor_link_names("app.db", "app.db"));
    EXPECT_FALSE(doctor_link_names("", "app.db"));
}

#define MIB (UINT64_C(1) << 20)

TEST(space_is_short_below_a_tenth_and_a_gibibyte)
{
    EXPECT_EQ(doctor_judge_space(63 * MIB, 100 * MIB), DOCTOR_BAD);
    EXPECT_EQ(doctor_judge_space(64 * MIB, 100 * MIB), DOCTOR_OK);
    EXPECT_EQ(doctor_judge_space(900 * MIB, 20000 * MIB), DOCTOR_WARN);
    EXPECT_EQ(doctor_judge_space(1024 * MIB, 20000 * MIB), DOCTOR_OK);
    EXPECT_EQ(doctor_judge_inodes(0, 0), DOCTOR_OK);
    EXPECT_EQ(doctor_judge_inodes(99, 1000), DOCTOR_BAD);
    EXPECT_EQ(doctor_judge_inodes(9999, 1000000), DOCTOR_WARN);
    EXPECT_EQ(doctor_judge_inodes(9999, 20000), DOCTOR_OK);
}

TEST(a_wal_is_large_above_64_mib_and_half_of_its_database)
{
    EXPECT_FALSE(doctor_wal_is_large(64 * MIB, 0));
    EXPECT_TRUE(doctor_wal_is_large(64 * MIB + 1, 0));
    EXPECT_FALSE(doctor_wal_is_large(100 * MIB, 200 * MIB));
    EXPECT_TRUE(doctor_wal_is_large(101 * MIB, 200 * MIB));
}

TEST(logs_may_grow_to_the_lesser_of_what_each_and_all_may_have)
{
    EXPECT_EQ(doctor_log_growth(10, 0, 3, 4), 26);
    EXPECT_EQ(doctor_log_growth(10, 20, 3, 4), 16);
    EXPECT_EQ(doctor_log_growth(10, 20, 0, 0), 10);
    EXPECT_EQ(doctor_log_growth(10, 20, 3, 21), 0);
    EXPECT_EQ(doctor_log_growth(UINT64_MAX, 20, 3, 0), 20);
    EXPECT_FALSE(doctor_log_is_large(125, 100));
    EXPECT_TRUE(doctor_log_is_large(126, 100));
}

TEST(network_file_systems_are_bad_and_memory_is_gone_with_the_machine)
{
    enum doctor_level level;

    EXPECT_EQ(strcmp(doctor_filesystem(0x6969, &level), "nfs"), 0);
    EXPECT_EQ(level, DOCTOR_BAD);
    EXPECT_EQ(strcmp(doctor_filesystem(0xff534d42, &level), "cifs"), 0);
    EXPECT_EQ(level, DOCTOR_BAD);
    EXPECT_EQ(strcmp(doctor_filesystem(0x01021994, &level), "tmpfs"), 0);
    EXPECT_EQ(level, DOCTOR_WARN);
    EXPECT_EQ(strcmp(doctor_filesystem(0xef53, &level), "ext4"), 0);
    EXPECT_EQ(level, DOCTOR_OK);
    EXPECT_TRUE(doctor_filesystem(0x12345678, &level) == NULL);
    EXPECT_EQ(level, DOCTOR_OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_doctor_scan.c - the version of SQLite, out of a program. */
#include "tests/harness.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "node/sqlite_scan.h"

#include <string.h>

#define MAGIC "SQLite format 3"
#define SOURCE                                                                 \
    "2022-12-28 14:03:47 "                                                     \
    "df5c253c0b3dd24916e4ec7cf77d3db5294cc9fd45ae7b9c5e82ad8197f38a24"

/* A program of zero bytes, into which texts are put. */
static unsigned char program[8192];

static void clear(void)
{
    memset(program, 0, sizeof program);
}

static void put(size_t at, const char *text)
{
    ASSERT(at + strlen(text) < sizeof program);
    memcpy(program + at, text, strlen(text));
}

/* The version found, as 3040001; 0: none. step: bytes of a window. */
static unsigned found(size_t step)
{
    struct doctor_version version = {0};
    struct sqlite_scan scan = {0};

    for (size_t at = 0; at < sizeof program; at += step) {
        size_t left = sizeof program - at;
        size_t size = step + SQLITE_SCAN_OVERLAP;

        sqlite_scan_window(&scan, program + at, size < left ? size : left, at);
    }
    if (!sqlite_scan_end(&scan, &version))
        return 0;
    return version.major * 1000000 + version.minor * 1000 + version.patch;
}

TEST(a_library_says_its_version_between_zero_bytes)
{
    clear();
    put(100, MAGIC);
    put(1000, SOURCE);
    put(3000, "3.40.1");
    EXPECT_EQ(found(sizeof program), 3040001);
}

TEST(each_of_the_three_texts_is_needed)
{
    clear();
    put(1000, SOURCE);
    put(3000, "3.40.1");
    EXPECT_EQ(found(sizeof program), 0);
    put(100, MAGIC " "); /* no final zero byte */
    EXPECT_EQ(found(sizeof program), 0);
    clear();
    put(100, MAGIC);
    put(3000, "3.40.1"); /* somebody else's: SQLite names its check-in */
    EXPECT_EQ(found(sizeof program), 0);
    put(1000, "2022-12-28 14:03:47 not a hash of forty digits of hexadecimals");
    EXPECT_EQ(found(sizeof program), 0);
}

TEST(of_several_versions_the_one_next_to_the_check_in_is_meant)
{
    clear();
    put(100, MAGIC);
    put(500, "3.11.2"); /* the language that the program is written in */
    put(2000, "3.45.1");
    put(2100, SOURCE);
    put(4000, "3.17.2");
    EXPECT_EQ(found(sizeof program), 3045001);
}

TEST(what_is_like_a_version_is_none)
{
    static const char *const texts[] = {"3.40", "3.40.1-beta", "3.", "33.4.5",
                                        "3.1234567890123456.1"};

    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        clear();
        put(100, MAGIC);
        put(1000, SOURCE);
        put(3000, texts[i]);
        EXPECT_EQ(found(sizeof program), 0);
    }
    clear();
    memset(program, 'x', sizeof program); /* to the last byte, and no zero */
    memcpy(program + sizeof program - 7,
           "\0"
           "3.40.1",
           7);
    EXPECT_EQ(found(sizeof program), 0);
}

TEST(windows_that_overlap_miss_nothing)
{
    clear();
    put(100, MAGIC);
    put(1000, SOURCE);
    put(3000, "3.40.1");
    for (size_t step = 1; step < 400; step += 7)
        EXPECT_EQ(found(step), 3040001);
}

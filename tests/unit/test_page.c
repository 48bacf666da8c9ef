/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_page.c - page hashes and the database header. */
#include "wal/page.h"

#include "base/bytes.h"
#include "tests/harness.h"

#include <sqlite3.h>
#include <xxhash.h>

static uint8_t page[PAGE_MAX_BYTES];
static uint8_t copy[PAGE_MAX_BYTES];

/* The definition, word for word: hash a copy whose two bytes are 0. */
static uint64_t hash_by_definition(pgno_t pgno, uint32_t page_bytes)
{
    memcpy(copy, page, page_bytes);
    if (pgno == 1)
        copy[18] = copy[19] = 0;
    return XXH3_64bits_withSeed(copy, page_bytes, pgno);
}

TEST(page_sizes_are_the_powers_of_two_from_512_to_65536)
{
    uint32_t valid = 0;

    for (uint32_t size = 0; size <= 2 * PAGE_MAX_BYTES; size++)
        valid += page_size_is_valid(size);
    EXPECT_EQ(valid, 8);
    EXPECT_TRUE(page_size_is_valid(512) && page_size_is_valid(65536));
    EXPECT_FALSE(page_size_is_valid(UINT32_MAX));
    EXPECT_FALSE(page_size_is_valid(UINT32_C(1) << 31));
}

TEST(hash_is_xxh3_of_the_page_seeded_with_its_number)
{
    struct rng rng = test_rng();

    rng_bytes(&rng, page, sizeof page);
    for (uint32_t size = PAGE_MIN_BYTES; size <= PAGE_MAX_BYTES; size *= 2)
        for (pgno_t pgno = 1; pgno < 5; pgno++)
            EXPECT_EQ(page_hash(pgno, page, size),
                      hash_by_definition(pgno, size));
    EXPECT_EQ(page_hash(UINT32_MAX, page, 512),
              hash_by_definition(UINT32_MAX, 512));
}

/* Nodes of different builds compare these: they may never change. */
TEST(hash_of_known_pages_is_the_same_forever)
{
    memset(page, 0, sizeof page);
    EXPECT_EQ(page_hash(1, page, 4096), UINT64_C(0xeca1fdafb7b0bd2a));
    EXPECT_EQ(page_hash(2, page, 4096), UINT64_C(0xdae284c37489d958));
    for (size_t i = 0; i < sizeof page; i++)
        page[i] = (uint8_t)i;
    EXPECT_EQ(page_hash(2, page, 65536), UINT64_C(0xcd065e8849cc2fb0));
}

TEST(hash_of_page_1_does_not_see_the_journal_mode)
{
    uint64_t before;

    memset(page, 7, sizeof page);
    page[18] = page[19] = 1;
    before = page_hash(1, page, 1024);
    page_header_set_wal(page);
    EXPECT_EQ(page[18], 2);
    EXPECT_EQ(page[19], 2);
    EXPECT_EQ(page_hash(1, page, 1024), before);
    EXPECT_EQ(page[19], 2);
    page[17] ^= 1;
    EXPECT_NE(page_hash(1, page, 1024), before);
}

TEST(hash_of_other_pages_sees_every_byte)
{
    uint64_t before;

    memset(page, 7, sizeof page);
    before = page_hash(2, page, 512);
    for (size_t i = 0; i < 512; i++) {
        page[i] ^= 1;
        EXPECT_NE(page_hash(2, page, 512), before);
        page[i] ^= 1;
    }
}

TEST(equal_pages_at_two_numbers_do_not_cancel_out_in_the_sum)
{
    memset(page, 0, sizeof page);
    EXPECT_NE(page_hash(2, page, 4096), page_hash(3, page, 4096));
}

TEST(lock_byte_page_is_never_hashed)
{
    EXPECT_EQ(page_lock_byte(512), 2097153);
    EXPECT_EQ(page_lock_byte(4096), 262145);
    EXPECT_EQ(page_lock_byte(65536), 16385);
    EXPECT_ABORT(page_hash(page_lock_byte(4096), page, 4096));
    EXPECT_ABORT(page_hash(0, page, 4096));
    EXPECT_ABORT(page_hash(2, page, 1000));
}

/* A database made by SQLite with the given pragmas, its image in page. */
static void image_make(const char *sql)
{
    sqlite3_int64 size = 0;
    sqlite3 *db = NULL;
    unsigned char *image;

    EXPECT_EQ(sqlite3_open(":memory:", &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    image = sqlite3_serialize(db, "main", &size, 0);
    EXPECT_TRUE(image != NULL);
    memcpy(page, image,
           (size_t)size < sizeof page ? (size_t)size : sizeof page);
    sqlite3_free(image);
    sqlite3_close(db);
}

TEST(header_of_a_stock_database_reads_back)
{
    struct page_header header;

    image_make("PRAGMA page_size=1024; CREATE TABLE t(a);"
               "INSERT INTO t VALUES(zeroblob(50000)); DELETE FROM t;");
    EXPECT_OK(page_header_decode(page, 1024, &header));
    EXPECT_EQ(header.page_bytes, 1024);
    EXPECT_FALSE(header.wal);
    EXPECT_EQ(header.change_counter, get_be32(page + 24));
    EXPECT_GT(header.free_pages, 40);
    EXPECT_EQ(header.size_pages, 2 + header.free_pages);
    EXPECT_TRUE(header.first_trunk >= 3 &&
                header.first_trunk <= header.size_pages);
    page_header_set_wal(page);
    EXPECT_OK(page_header_decode(page, PAGE_HEADER_BYTES, &header));
    EXPECT_TRUE(header.wal);
}

TEST(page_size_1_in_the_header_means_65536)
{
    struct page_header header;

    image_make("PRAGMA page_size=65536; CREATE TABLE t(a);");
    EXPECT_OK(page_header_decode(page, sizeof page, &header));
    EXPECT_EQ(header.page_bytes, 65536);
}

TEST(size_in_a_header_of_another_change_counter_is_not_believed)
{
    struct page_header header;

    image_make("CREATE TABLE t(a);");
    put_be32(page + 24, get_be32(page + 24) + 1);
    EXPECT_OK(page_header_decode(page, sizeof page, &header));
    EXPECT_EQ(header.size_pages, 0);
}

TEST(what_is_no_database_is_refused)
{
    struct page_header header = {.page_bytes = 77};

    image_make("CREATE TABLE t(a);");
    EXPECT_EQ(page_header_decode(page, PAGE_HEADER_BYTES - 1, &header),
              -EINVAL);
    page[15] = ' '; /* the 0 belongs to the magic */
    EXPECT_EQ(page_header_decode(page, sizeof page, &header), -EINVAL);
    page[15] = 0;
    put_be16(page + 16, 513);
    EXPECT_EQ(page_header_decode(page, sizeof page, &header), -EINVAL);
    put_be16(page + 16, 256);
    EXPECT_EQ(page_header_decode(page, sizeof page, &header), -EINVAL);
    memset(page, 0, sizeof page);
    EXPECT_EQ(page_header_decode(page, sizeof page, &header), -EINVAL);
    EXPECT_EQ(header.page_bytes, 77);
}

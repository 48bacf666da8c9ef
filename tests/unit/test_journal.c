/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_journal.c - rollback journals made by hand, byte by byte.
 *
 * What SQLite itself writes is tests/property/test_journal_law.c.
 */
#include "wal/journal.h"

#include "base/bytes.h"
#include "tests/harness.h"

#include <sys/mman.h>

#define P 512u
#define RECORD_BYTES (P + 8)

struct hand {
    struct os_file journal, database;
    uint64_t at; /* where the next byte of the journal goes */
    uint32_t nonce;
};

static void hand_open(struct hand *hand)
{
    *hand = (struct hand){.nonce = 1000};
    hand->journal = (struct os_file){memfd_create("journal", 0), true};
    hand->database = (struct os_file){memfd_create("database", 0), true};
}

static void hand_close(struct hand *hand)
{
    os_close(&hand->journal);
    os_close(&hand->database);
}

static void hand_write(struct hand *hand, const void *bytes, size_t size)
{
    EXPECT_OK(os_pwrite(&hand->journal, bytes, size, hand->at, SITE_NONE));
    hand->at += size;
}

static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9,
                                 0x20, 0xa1, 0x63, 0xd7};

static void hand_header(struct hand *hand, uint32_t records, bool synced)
{
    uint8_t sector[512] = {0};

    hand->at = (hand->at + 511) / 512 * 512;
    if (synced) {
        memcpy(sector, magic, 8);
        put_be32(sector + 8, records);
    }
    put_be32(sector + 12, ++hand->nonce);
    put_be32(sector + 16, 100); /* pages before */
    put_be32(sector + 20, 512);
    put_be32(sector + 24, P);
    hand_write(hand, sector, sizeof sector);
}

/* A record of pgno; the page starts with the given numbers. */
static void hand_record(struct hand *hand, pgno_t pgno, const uint32_t *numbers,
                        size_t count)
{
    uint8_t record[RECORD_BYTES];
    uint8_t *page = record + 4;

    memset(page, 0xee, P); /* looks like nothing */
    for (size_t i = 0; i < count; i++)
        put_be32(page + 4 * i, numbers[i]);
    put_be32(record, pgno);
    put_be32(page + P, hand->nonce + page[P - 200] + page[P - 400]);
    hand_write(hand, record, sizeof record);
}

#define RECORD(hand, pgno, ...)                                                \
    hand_record(hand, pgno, (const uint32_t[]){__VA_ARGS__, 0},                \
                ARRAY_LENGTH(((const uint32_t[]){__VA_ARGS__})))
#define PLAIN 0xeeeeeeee

/* Four bytes at the start of database page pgno, or at offset 32 of page 1. */
static void hand_database(struct hand *hand, pgno_t pgno, uint32_t number)
{
    uint8_t bytes[4];

    put_be32(bytes, number);
    EXPECT_OK(os_pwrite(&hand->database, bytes, 4,
                        pgno == 1 ? 32 : (uint64_t)(pgno - 1) * P, SITE_NONE));
}

/* The set as text, "1 2 3", or the error. */
static const char *hand_read(struct hand *hand, uint32_t new_pages,
                             size_t pages_max)
{
    static char text[2000];
    struct journal_changes changes;
    size_t used = 0;
    int rc = journal_read(&hand->journal, &hand->database, new_pages, pages_max,
                          &changes);

    text[0] = '\0';
    if (rc < 0)
        snprintf(text, sizeof text, "%s", strerrorname_np(-rc));
    for (size_t i = 0; rc == 0 && i < changes.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u",
                                 i == 0 ? "" : " ", changes.pages[i]);
    journal_changes_free(&changes);
    return text;
}

#define READ(hand) hand_read(hand, 100, 1000)

TEST(an_empty_or_zeroed_or_unsynced_journal_is_none)
{
    struct hand hand;

    hand_open(&hand);
    EXPECT_STR(READ(&hand), "ENOENT");
    EXPECT_EQ(journal_is_hot(&hand.journal), 0);
    hand_header(&hand, 1, false);
    RECORD(&hand, 7, PLAIN);
    EXPECT_STR(READ(&hand), "ENOENT");
    EXPECT_EQ(journal_is_hot(&hand.journal), 0);
    hand_close(&hand);
}

TEST(a_journal_with_a_header_is_hot_even_without_records)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 0, true);
    EXPECT_STR(READ(&hand), "");
    EXPECT_EQ(journal_is_hot(&hand.journal), 1);
    hand_close(&hand);
}

TEST(a_header_with_impossible_sizes_leaves_the_set_uncertain)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 0, true);
    hand.at = 26;
    hand_write(&hand, "\x02\x01", 2); /* page size 513 */
    EXPECT_STR(READ(&hand), "EBADMSG");
    EXPECT_EQ(journal_is_hot(&hand.journal), 0);
    hand_close(&hand);
}

TEST(a_segment_begins_at_the_sector_behind_the_last_record)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 2, true);
    RECORD(&hand, 9, PLAIN);
    RECORD(&hand, 3, PLAIN);
    hand_header(&hand, 0, true);
    hand_header(&hand, 1, true);
    RECORD(&hand, 5, PLAIN);
    EXPECT_STR(READ(&hand), "3 5 9");
    hand_close(&hand);
}

TEST(a_segment_that_waits_for_its_sync_counts_too)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 1, true);
    RECORD(&hand, 9, PLAIN);
    hand_header(&hand, 0, false);
    RECORD(&hand, 4, PLAIN);
    RECORD(&hand, 5, PLAIN);
    EXPECT_STR(READ(&hand), "4 5 9");
    hand_close(&hand);
}

TEST(records_until_the_end_stop_where_the_nonce_does_not_fit)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 0xffffffff, true);
    RECORD(&hand, 9, PLAIN);
    hand.nonce++; /* what follows an older transaction left there */
    RECORD(&hand, 4, PLAIN);
    EXPECT_STR(READ(&hand), "9");
    hand_close(&hand);
}

TEST(a_counted_record_that_is_not_there_leaves_the_set_uncertain)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 2, true);
    RECORD(&hand, 9, PLAIN);
    EXPECT_STR(READ(&hand), "EBADMSG"); /* too few */
    hand.nonce++;
    RECORD(&hand, 4, PLAIN);
    EXPECT_STR(READ(&hand), "EBADMSG"); /* wrong checksum */
    hand.nonce--;
    hand.at -= RECORD_BYTES;
    RECORD(&hand, 0, PLAIN);
    EXPECT_STR(READ(&hand), "EBADMSG"); /* no such page */
    hand.at -= RECORD_BYTES;
    RECORD(&hand, page_lock_byte(P), PLAIN);
    EXPECT_STR(READ(&hand), "EBADMSG");
    hand_close(&hand);
}

TEST(another_page_size_in_the_database_leaves_the_set_uncertain)
{
    uint8_t header[PAGE_HEADER_BYTES] = "SQLite format 3";
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 0, true);
    header[16] = P >> 8;
    EXPECT_OK(os_pwrite(&hand.database, header, sizeof header, 0, SITE_NONE));
    EXPECT_STR(READ(&hand), "");
    header[16] = 16;
    EXPECT_OK(os_pwrite(&hand.database, header, sizeof header, 0, SITE_NONE));
    EXPECT_STR(READ(&hand), "EBADMSG");
    hand_close(&hand);
}

TEST(pages_past_the_old_size_are_in_and_pages_past_the_new_one_out)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 2, true);
    RECORD(&hand, 9, PLAIN);
    RECORD(&hand, 90, PLAIN);
    EXPECT_STR(hand_read(&hand, 103, 100), "9 90 101 102 103");
    EXPECT_STR(hand_read(&hand, 50, 100), "9");
    hand_close(&hand);
}

TEST(more_pages_than_allowed_are_refused)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 1, true);
    RECORD(&hand, 9, PLAIN);
    EXPECT_STR(hand_read(&hand, 102, 3), "9 101 102");
    EXPECT_STR(hand_read(&hand, 102, 2), "E2BIG");
    EXPECT_STR(hand_read(&hand, UINT32_MAX, 1000), "E2BIG");
    EXPECT_STR(hand_read(&hand, 100, 0), "E2BIG");
    hand_close(&hand);
}

/* Page 1 names the first trunk at byte 32, its ninth number. */
#define PAGE1(first_trunk) 0, 0, 0, 0, 0, 0, 0, 0, first_trunk

TEST(leaves_come_from_trunks_in_the_journal_and_the_way_from_the_database)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 3, true);
    RECORD(&hand, 1, PAGE1(10));
    RECORD(&hand, 20, 30, 2, 21, 22); /* next, leaves, leaf, leaf */
    RECORD(&hand, 40, 0, 1, 99);      /* looks like one, is none */
    hand_database(&hand, 10, 20);
    hand_database(&hand, 20, 77); /* already overwritten */
    hand_database(&hand, 30, 0);
    EXPECT_STR(READ(&hand), "1 20 21 22 40");
    hand_close(&hand);
}

TEST(an_untouched_page_1_is_read_from_the_database)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 1, true);
    RECORD(&hand, 20, 0, 1, 21);
    hand_database(&hand, 1, 20);
    EXPECT_STR(READ(&hand), "20 21");
    hand_close(&hand);
}

TEST(a_free_list_in_a_circle_ends_and_every_likely_trunk_counts)
{
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 2, true);
    RECORD(&hand, 1, PAGE1(10));
    RECORD(&hand, 40, 0, 1, 99);
    hand_database(&hand, 10, 11);
    hand_database(&hand, 11, 12);
    hand_database(&hand, 12, 11);
    EXPECT_STR(READ(&hand), "1 40 99");
    hand_database(&hand, 12, 12);
    EXPECT_STR(READ(&hand), "1 40 99");
    hand_database(&hand, 12, 101); /* past the end */
    EXPECT_STR(READ(&hand), "1 40 99");
    hand_database(&hand, 12, 90); /* past the end of the file */
    EXPECT_STR(READ(&hand), "1 40 99");
    hand_database(&hand, 12, 0);
    EXPECT_STR(READ(&hand), "1 40");
    hand_close(&hand);
}

TEST(the_original_size_is_that_of_the_old_page_1_if_it_is_less)
{
    /* "SQLite format 3", page size, ..., counter, size, ..., counter */
    static const uint32_t page_1[24] = {
        0x53514c69,       0x74652066, 0x6f726d61, 0x74203300,
        P << 16 | 0x0101, [6] = 7,    [7] = 97,   [23] = 7};
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 1, true);
    hand_record(&hand, 1, page_1, ARRAY_LENGTH(page_1));
    EXPECT_STR(READ(&hand), "1 98 99 100");
    hand_close(&hand);
}

TEST(a_super_name_that_does_not_sum_up_is_none)
{
    struct journal_changes changes;
    uint8_t tail[4 + 3 + 16];
    struct hand hand;

    hand_open(&hand);
    hand_header(&hand, 1, true);
    RECORD(&hand, 9, PLAIN);
    put_be32(tail, page_lock_byte(P));
    memcpy(tail + 4, "a\xc3\xa9", 3); /* bytes are signed in the sum */
    put_be32(tail + 7, 3);
    put_be32(tail + 11, (uint32_t)('a' + (0xc3 - 256) + (0xa9 - 256)));
    memcpy(tail + 15, magic, 8);
    hand_write(&hand, tail, sizeof tail);
    EXPECT_OK(journal_read(&hand.journal, &hand.database, 100, 9, &changes));
    EXPECT_STR(changes.super_name, "a\xc3\xa9");
    journal_changes_free(&changes);
    hand.at -= 17;
    hand_write(&hand, "b", 1);
    EXPECT_OK(journal_read(&hand.journal, &hand.database, 100, 9, &changes));
    EXPECT_STR(changes.super_name, "");
    EXPECT_EQ(changes.count, 1);
    journal_changes_free(&changes);
    hand_close(&hand);
}

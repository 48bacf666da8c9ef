/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_record.c - what a record may say, and what is refused. */
#include "wal/record.h"

#include "base/bytes.h"
#include "tests/harness.h"

#include <xxhash.h>

#define GOLDEN "tests/golden/record-v1.bin"
#define PAGE_BYTES 512u

static const struct lineage some_lineage = {{1, 2, 3, 4, 5, 6, 7, 8, 9}};
static uint8_t pages[8][PAGE_BYTES];
static const uint8_t *const images[8] = {pages[0], pages[1], pages[2],
                                         pages[3], pages[4], pages[5],
                                         pages[6], pages[7]};

/* Page i: text that repeats when i is even, numbers that do not when odd. */
static void pages_fill(void)
{
    struct rng rng = {7};

    for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
        memset(pages[i], (int)('a' + i), PAGE_BYTES);
        if (i % 2 == 1)
            rng_bytes(&rng, pages[i], PAGE_BYTES);
    }
}

static struct record_header a_header(txid_t txid)
{
    pages_fill();
    return (struct record_header){
        .lineage = some_lineage,
        .epoch = 5,
        .first_txid = txid,
        .last_txid = txid,
        .previous = {5, txid - 1, 0x1111},
        .sum_after = 0x2222,
        .page_bytes = PAGE_BYTES,
        .size_pages = 100,
        .commit_wall_ns = 1234567890123456789u,
        .wal_salt = {9, 8, 7, 6, 5, 4, 3, 2},
        .wal_frame = 77,
        .wal_checksum = {0xdeadbeef, 0xfeedface},
        .part = 1,
        .parts = 1,
    };
}

static struct record_header an_empty(uint32_t flags, txid_t txid)
{
    struct record_header header = a_header(txid);

    header.flags = flags;
    header.sum_after = header.previous.sum;
    if (flags == RECORD_EPOCH)
        header.previous.epoch = 4;
    if (flags == RECORD_DROP)
        header.size_pages = 0, header.sum_after = 0;
    return header;
}

static struct blob *encoded(struct record_header *header, uint32_t count)
{
    static const pgno_t pgnos[8] = {1, 2, 5, 6, 7, 50, 99, 100};
    struct blob *blob = NULL;

    EXPECT_OK(record_encode(header, pgnos, images, count, &blob));
    return blob;
}

/* Makes the hashes right again after bytes were changed on purpose: what is
 * refused then is refused for its meaning. */
static void rehash(struct blob *blob)
{
    uint64_t hash = XXH3_64bits(blob->data, 248);

    put_le64(blob->data + 248, hash);
    put_le64(blob->data + blob->size - 8,
             XXH3_64bits_withSeed(blob->data + 256, blob->size - 264, hash));
}

static int decode_rc(const struct blob *blob)
{
    struct record record = {0};
    int rc = record_decode(blob->data, blob->size, &record);

    record_free(&record);
    return rc;
}

static void expect_same_header(const struct record_header *a,
                               const struct record_header *b)
{
    EXPECT_TRUE(record_is_same(a, b));
    EXPECT_EQ(a->commit_wall_ns, b->commit_wall_ns);
    EXPECT_MEM(a->wal_salt, b->wal_salt, sizeof a->wal_salt);
    EXPECT_EQ(a->wal_frame, b->wal_frame);
    EXPECT_EQ(a->wal_checksum[0], b->wal_checksum[0]);
    EXPECT_EQ(a->wal_checksum[1], b->wal_checksum[1]);
    EXPECT_EQ(a->part, b->part);
    EXPECT_EQ(a->pages, b->pages);
    EXPECT_EQ(a->raw_bytes, b->raw_bytes);
}

TEST(a_record_gives_back_what_went_in)
{
    struct record_header header = a_header(10);
    struct blob *blob = encoded(&header, 8);
    struct record record = {0};

    EXPECT_OK(record_decode(blob->data, blob->size, &record));
    expect_same_header(&record.header, &header);
    EXPECT_EQ(record.header.stored_bytes, header.stored_bytes);
    EXPECT_EQ(record.pgnos[0], 1);
    EXPECT_EQ(record.pgnos[7], 100);
    EXPECT_MEM(record.images, pages, sizeof pages);
    record_free(&record);
    blob_unref(blob);
}

TEST(images_that_lie_apart_or_together_make_the_same_record)
{
    struct record_header header = a_header(10), again = header;
    struct blob *together = encoded(&header, 8), *apart;
    uint8_t copies[8][PAGE_BYTES + 24];
    const uint8_t *scattered[8];
    static const pgno_t pgnos[8] = {1, 2, 5, 6, 7, 50, 99, 100};

    for (size_t i = 0; i < 8; i++)
        scattered[i] = memcpy(copies[i], pages[i], PAGE_BYTES);
    EXPECT_OK(record_encode(&again, pgnos, scattered, 8, &apart));
    EXPECT_EQ(apart->size, together->size);
    EXPECT_MEM(apart->data, together->data, apart->size);
    blob_unref(together);
    blob_unref(apart);
}

TEST(a_body_that_lz4_makes_no_smaller_is_stored_as_it_is)
{
    struct record_header header = a_header(10);
    const uint8_t *noise = pages[1];
    static const pgno_t pgno = 3;
    struct record record = {0};
    struct blob *blob;

    EXPECT_OK(record_encode(&header, &pgno, &noise, 1, &blob));
    EXPECT_EQ(header.stored_bytes, header.raw_bytes);
    EXPECT_EQ(blob->size, 256 + 4 + PAGE_BYTES + 8);
    EXPECT_OK(record_decode(blob->data, blob->size, &record));
    EXPECT_MEM(record.images, noise, PAGE_BYTES);
    record_free(&record);
    blob_unref(blob);
    /* The compressor must have found its feet again. */
    header = a_header(10);
    blob = encoded(&header, 1);
    EXPECT_LT(header.stored_bytes, header.raw_bytes);
    EXPECT_OK(decode_rc(blob));
    blob_unref(blob);
}

TEST(records_without_pages_are_264_bytes)
{
    static const uint32_t kinds[] = {0,
                                     RECORD_EPOCH,
                                     RECORD_RESOLVE,
                                     RECORD_RESOLVE | RECORD_ABORT,
                                     RECORD_DROP,
                                     RECORD_REREAD,
                                     RECORD_PREPARED};

    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct record_header header = an_empty(kinds[i], 10);
        struct blob *blob = encoded(&header, 0);
        struct record record = {0};

        EXPECT_EQ(blob->size, RECORD_MIN_BYTES);
        EXPECT_OK(record_decode(blob->data, blob->size, &record));
        expect_same_header(&record.header, &header);
        EXPECT_TRUE(record.images == NULL && record.pgnos == NULL);
        record_free(&record);
        blob_unref(blob);
    }
}

TEST(only_a_prepared_record_moves_no_position)
{
    struct record_header header = a_header(10);

    EXPECT_TRUE(record_moves(&header));
    header.flags = RECORD_RESOLVE;
    EXPECT_TRUE(record_moves(&header));
    header.flags = RECORD_PREPARED | RECORD_REREAD;
    EXPECT_FALSE(record_moves(&header));
}

/* Each breaks one rule of record.h's table. */
static const struct bad {
    const char *rule;
    uint32_t flags;
    size_t offset; /* of a 64-bit field ... */
    uint64_t value;
} bads[] = {
    {"flags of a later version", 1u << 7, 0, 0},
    {"prepared and resolve", RECORD_PREPARED | RECORD_RESOLVE, 0, 0},
    {"abort without resolve", RECORD_ABORT, 0, 0},
    {"abort of prepared", RECORD_PREPARED | RECORD_ABORT, 0, 0},
    {"epoch and reread", RECORD_EPOCH | RECORD_REREAD, 0, 0},
    {"drop and snapshot", RECORD_DROP | RECORD_SNAPSHOT, 0, 0},
    {"drop of a database with pages", RECORD_DROP, 0, 0},
    {"epoch 0", 0, offsetof(struct record_header, epoch), 0},
    {"epoch falls", 0, offsetof(struct record_header, epoch), 4},
    {"epoch record in its old epoch", RECORD_EPOCH, 0, 0},
    {"TXID 0", 0, offsetof(struct record_header, first_txid), 0},
    {"TXIDs descend", 0, offsetof(struct record_header, last_txid), 9},
    {"TXIDs end", 0, offsetof(struct record_header, last_txid), UINT64_MAX},
    {"a hole before", 0, offsetof(struct record_header, previous.txid), 8},
    {"two TXIDs prepared", RECORD_PREPARED,
     offsetof(struct record_header, last_txid), 11},
    {"abort that changes the sum", RECORD_RESOLVE | RECORD_ABORT, 0, 0},
};

TEST(what_contradicts_itself_is_no_header)
{
    for (size_t i = 0; i < ARRAY_LENGTH(bads); i++) {
        struct record_header header = a_header(10);

        EXPECT_TRUE(record_header_ok(&header));
        header.flags = bads[i].flags;
        if (bads[i].offset != 0)
            memcpy((uint8_t *)&header + bads[i].offset, &bads[i].value, 8);
        if (record_header_ok(&header))
            fprintf(stderr, "accepted: %s\n", bads[i].rule);
        EXPECT_FALSE(record_header_ok(&header));
    }
}

TEST(sizes_that_cannot_be_are_refused)
{
    struct record_header header = a_header(10);

    header.page_bytes = 1000;
    EXPECT_FALSE(record_header_ok(&header));
    header = a_header(10), header.page_bytes = 0;
    EXPECT_FALSE(record_header_ok(&header));
    header.size_pages = 0; /* a database that has no content yet */
    EXPECT_TRUE(record_header_ok(&header));
    header = a_header(10), header.pages = 101;
    EXPECT_FALSE(record_header_ok(&header));
    header = a_header(10), header.part = 0;
    EXPECT_FALSE(record_header_ok(&header));
    header = a_header(10), header.part = 2;
    EXPECT_FALSE(record_header_ok(&header));
    header = a_header(10), header.parts = 2; /* parts of nothing */
    EXPECT_FALSE(record_header_ok(&header));
    header.pages = 1;
    EXPECT_TRUE(record_header_ok(&header));
}

TEST(a_snapshot_may_follow_anything)
{
    struct record_header header = a_header(10);

    header.flags = RECORD_SNAPSHOT | RECORD_REREAD;
    header.previous = (struct position){0};
    EXPECT_TRUE(record_header_ok(&header));
    header.first_txid = header.last_txid = 0; /* a copy before any capture */
    EXPECT_TRUE(record_header_ok(&header));
}

TEST(our_own_nonsense_stops_the_encoder)
{
    static const pgno_t same[] = {3, 3}, far[] = {3, 101};
    struct record_header header = a_header(10);
    struct blob *blob;

    EXPECT_ABORT(record_encode(&header, same, images, 2, &blob));
    EXPECT_ABORT(record_encode(&header, far, images, 2, &blob));
    header.flags = RECORD_ABORT;
    EXPECT_ABORT(record_encode(&header, same, images, 1, &blob));
}

TEST(a_record_that_would_be_too_large_is_for_parts)
{
    uint32_t count = RECORD_MAX_BYTES / PAGE_BYTES;
    pgno_t *pgnos = calloc(count, sizeof *pgnos);
    const uint8_t **many = calloc(count, sizeof *many);
    struct record_header header = a_header(10);
    struct blob *blob = NULL;

    header.size_pages = count;
    for (uint32_t i = 0; i < count; i++)
        pgnos[i] = i + 1, many[i] = pages[0];
    EXPECT_EQ(record_encode(&header, pgnos, many, count, &blob), -E2BIG);
    EXPECT_OK(record_encode(&header, pgnos, many, count - 1000, &blob));
    EXPECT_OK(decode_rc(blob));
    blob_unref(blob);
    free(pgnos);
    free(many);
}

TEST(a_newer_version_is_told_from_damage)
{
    struct record_header header = a_header(10);
    struct blob *blob = encoded(&header, 2);

    put_le32(blob->data + 8, RECORD_VERSION + 1);
    EXPECT_EQ(decode_rc(blob), -EBADMSG);
    rehash(blob);
    EXPECT_EQ(decode_rc(blob), -EPROTONOSUPPORT);
    put_le32(blob->data + 8, 0);
    rehash(blob);
    EXPECT_EQ(decode_rc(blob), -EBADMSG);
    blob_unref(blob);
}

TEST(reserved_bytes_that_are_not_zero_are_refused)
{
    for (size_t at = 152; at < 248; at++) {
        struct record_header header = a_header(10);
        struct blob *blob = encoded(&header, 1);

        blob->data[at] = 1;
        rehash(blob);
        EXPECT_EQ(decode_rc(blob), -EBADMSG);
        blob_unref(blob);
    }
}

static int decode_with_table(pgno_t first, pgno_t second, uint32_t size_pages)
{
    struct record_header header = a_header(10);
    struct blob *blob = encoded(&header, 2);
    int rc;

    put_le32(blob->data + 100, size_pages);
    put_le32(blob->data + 256, first);
    put_le32(blob->data + 260, second);
    rehash(blob);
    rc = decode_rc(blob);
    blob_unref(blob);
    return rc;
}

TEST(a_table_must_ascend_and_stay_in_the_database)
{
    pgno_t lock = page_lock_byte(PAGE_BYTES);

    EXPECT_EQ(decode_with_table(1, 2, 2), 0);
    EXPECT_EQ(decode_with_table(0, 2, 2), -EBADMSG);
    EXPECT_EQ(decode_with_table(2, 2, 2), -EBADMSG);
    EXPECT_EQ(decode_with_table(2, 1, 2), -EBADMSG);
    EXPECT_EQ(decode_with_table(1, 3, 2), -EBADMSG);
    EXPECT_EQ(decode_with_table(lock - 1, lock + 1, lock + 1), 0);
    EXPECT_EQ(decode_with_table(1, lock, lock + 1), -EBADMSG);
}

TEST(a_header_does_not_take_another_records_body)
{
    struct record_header header = a_header(10), other = a_header(11);
    struct blob *a = encoded(&header, 2), *b = encoded(&other, 2);

    EXPECT_EQ(a->size, b->size);
    memcpy(a->data + 256, b->data + 256, a->size - 256);
    EXPECT_EQ(decode_rc(a), -EBADMSG);
    blob_unref(a);
    blob_unref(b);
}

TEST(a_body_that_decompresses_to_another_size_is_refused)
{
    struct record_header header = a_header(10);
    struct blob *blob = encoded(&header, 1);

    memset(blob->data + 260, 0xff, header.stored_bytes);
    rehash(blob);
    EXPECT_EQ(decode_rc(blob), -EBADMSG);
    memset(blob->data + 260, 0, header.stored_bytes); /* empty sequences */
    rehash(blob);
    EXPECT_EQ(decode_rc(blob), -EBADMSG);
    blob_unref(blob);
}

TEST(peek_needs_only_the_header)
{
    struct record_header header = a_header(10), seen;
    struct blob *blob = encoded(&header, 3);
    size_t total = 0;

    EXPECT_OK(record_peek(blob->data, 256, &seen, &total));
    EXPECT_EQ(total, blob->size);
    EXPECT_EQ(seen.pages, 3);
    EXPECT_EQ(record_peek(blob->data, 255, &seen, &total), -EBADMSG);
    blob_unref(blob);
}

TEST(a_failed_decode_leaves_the_callers_record_alone)
{
    struct record record = {.header.epoch = 42};
    uint8_t noise[300] = {0};

    EXPECT_EQ(record_decode(noise, sizeof noise, &record), -EBADMSG);
    EXPECT_EQ(record.header.epoch, 42);
    EXPECT_TRUE(record.images == NULL);
}

/* The records of the golden file, in order; version 1 for ever. */
static uint32_t golden_header(size_t i, struct record_header *ret_header)
{
    struct record_header header = a_header(10 + i);
    uint32_t count = 0;

    if (i == 0)
        count = 8;
    else if (i == 1)
        header.flags = RECORD_PREPARED, count = 1;
    else if (i == 2)
        header = an_empty(RECORD_RESOLVE | RECORD_ABORT, 11);
    else if (i == 3)
        header = an_empty(RECORD_EPOCH, 12);
    else if (i == 4 || i == 5)
        header.first_txid = 13, header.last_txid = 20,
        header.previous.txid = 12, header.parts = 2,
        header.part = (uint32_t)i - 3, count = 4;
    else
        header = an_empty(RECORD_DROP, 21);
    *ret_header = header;
    return count;
}

#define GOLDEN_RECORDS 7

static void golden_write(void)
{
    FILE *file = fopen(GOLDEN, "wb");

    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        struct record_header header;
        uint32_t count = golden_header(i, &header);
        struct blob *blob = encoded(&header, count);

        EXPECT_EQ(fwrite(blob->data, 1, blob->size, file), blob->size);
        blob_unref(blob);
    }
    fclose(file);
}

TEST(records_of_version_1_are_read_for_ever)
{
    static uint8_t bytes[65536];
    struct record_header wanted;
    size_t size, total, at = 0;
    FILE *file;

    if (getenv("TIDEMARK_GOLDEN_WRITE") != NULL) /* once, for a new version */
        golden_write();
    file = fopen(GOLDEN, "rb");
    EXPECT_TRUE(file != NULL);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        struct record record = {0};

        golden_header(i, &wanted);
        EXPECT_OK(record_peek(bytes + at, size - at, &record.header, &total));
        EXPECT_LE(at + total, size);
        EXPECT_OK(record_decode(bytes + at, total, &record));
        wanted.pages = record.header.pages;
        wanted.raw_bytes = record.header.raw_bytes;
        expect_same_header(&record.header, &wanted);
        if (wanted.pages > 0)
            EXPECT_MEM(record.images, pages, wanted.raw_bytes);
        record_free(&record);
        at += total;
    }
    EXPECT_EQ(at, size);
}

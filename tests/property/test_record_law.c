/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/test_record_law.c - for any record x: decode(encode(x)) = x,
 * and nothing that differs from encode(x) by one bit or by its end decodes.
 */
#include "wal/record.h"

#include "base/bytes.h"
#include "tests/harness.h"

struct sample {
    struct record_header header;
    pgno_t pgnos[64];
    uint8_t *memory;
    const uint8_t *images[64];
    uint32_t count;
    struct blob *blob;
};

static struct record_header random_header(struct rng *rng, uint32_t count)
{
    static const uint32_t with_pages[] = {
        0,
        RECORD_PREPARED,
        RECORD_REREAD,
        RECORD_SNAPSHOT | RECORD_REREAD,
        RECORD_SNAPSHOT | RECORD_PREPARED,
    };
    static const uint32_t empty[] = {0, RECORD_RESOLVE, RECORD_EPOCH,
                                     RECORD_RESOLVE | RECORD_ABORT,
                                     RECORD_DROP};
    uint32_t kind = (uint32_t)rng_below(rng, 5);
    struct record_header header = {
        .flags = count > 0 ? with_pages[kind] : empty[kind],
        .epoch = rng_between(rng, 2, UINT64_MAX),
        .first_txid = rng_between(rng, 1, UINT64_MAX - 1),
        .sum_after = rng_u64(rng),
        .page_bytes = 512u << rng_below(rng, 8),
        .size_pages = (uint32_t)rng_between(rng, 1000, UINT32_MAX),
        .commit_wall_ns = rng_u64(rng),
        .wal_frame = (uint32_t)rng_u64(rng),
        .part = 1,
        .parts = 1,
    };

    rng_bytes(rng, header.lineage.bytes, LINEAGE_BYTES);
    rng_bytes(rng, header.wal_salt, FRAME_SALT_BYTES);
    rng_bytes(rng, header.wal_checksum, sizeof header.wal_checksum);
    header.last_txid = header.first_txid;
    if (header.flags == 0)
        header.last_txid = rng_between(rng, header.first_txid, UINT64_MAX - 1);
    header.previous = (struct position){header.epoch - 1, header.first_txid - 1,
                                        header.sum_after};
    if (header.flags == RECORD_DROP)
        header.sum_after = header.size_pages = 0;
    if (count > 0 && rng_chance(rng, 20)) {
        header.parts = (uint32_t)rng_between(rng, 1, RECORD_PARTS_MAX);
        header.part = (uint32_t)rng_between(rng, 1, header.parts);
    }
    return header;
}

/* Ascending, in the database, around the lock-byte page as well. */
static void random_pgnos(struct rng *rng, struct sample *sample)
{
    pgno_t lock = page_lock_byte(sample->header.page_bytes);
    uint64_t room = sample->header.size_pages - sample->count - 1;
    pgno_t at = (pgno_t)rng_below(rng, room);

    if (rng_chance(rng, 20) && lock + 100 < sample->header.size_pages)
        at = lock - (pgno_t)rng_between(rng, 1, 20);
    for (uint32_t i = 0; i < sample->count; i++) {
        uint64_t left = sample->header.size_pages - at - (sample->count - i) -
                        1;

        at += 1 + (pgno_t)rng_below(rng, left < 3 ? 1 : 3);
        at += at == lock;
        sample->pgnos[i] = at;
    }
}

static struct sample random_sample(struct rng *rng, uint32_t count_max)
{
    struct sample sample = {.count = (uint32_t)rng_below(rng, count_max + 1)};
    size_t page_bytes;

    sample.header = random_header(rng, sample.count);
    page_bytes = sample.header.page_bytes;
    sample.memory = calloc(sample.count + 1, page_bytes + 24);
    for (uint32_t i = 0; i < sample.count; i++) {
        uint8_t *page = sample.memory + i * (page_bytes + 24);

        sample.images[i] = page;
        rng_bytes(rng, page, rng_chance(rng, 50) ? page_bytes : 40);
    }
    random_pgnos(rng, &sample);
    EXPECT_OK(record_encode(&sample.header, sample.pgnos, sample.images,
                            sample.count, &sample.blob));
    EXPECT_TRUE(sample.blob != NULL);
    return sample;
}

static void sample_free(struct sample *sample)
{
    free(sample->memory);
    blob_unref(sample->blob);
}

TEST(decode_of_encode_is_the_same)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 150; round++) {
        struct sample sample = random_sample(&rng, 63);
        const struct record_header *h = &sample.header;
        struct record record = {0};

        EXPECT_OK(record_decode(sample.blob->data, sample.blob->size, &record));
        EXPECT_TRUE(record_is_same(&record.header, h));
        EXPECT_EQ(record.header.part, h->part);
        EXPECT_EQ(record.header.wal_frame, h->wal_frame);
        EXPECT_MEM(record.header.wal_salt, h->wal_salt, FRAME_SALT_BYTES);
        EXPECT_EQ(record.header.wal_checksum[1], h->wal_checksum[1]);
        EXPECT_EQ(record.header.stored_bytes, h->stored_bytes);
        EXPECT_EQ(record.header.pages, sample.count);
        for (uint32_t i = 0; i < sample.count; i++) {
            EXPECT_EQ(record.pgnos[i], sample.pgnos[i]);
            EXPECT_MEM(record.images + (size_t)i * h->page_bytes,
                       sample.images[i], h->page_bytes);
        }
        record_free(&record);
        sample_free(&sample);
    }
}

static void expect_refused(const uint8_t *bytes, size_t size)
{
    struct record_header header;
    struct record record = {0};

    EXPECT_EQ(record_check(bytes, size, &header), -EBADMSG);
    EXPECT_EQ(record_decode(bytes, size, &record), -EBADMSG);
}

TEST(every_single_bit_counts)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 12; round++) {
        struct sample sample = random_sample(&rng, 3);
        uint8_t *bytes = sample.blob->data;
        size_t bits = sample.blob->size * 8, step = bits / 20000 + 1;

        for (size_t bit = rng_below(&rng, step); bit < bits; bit += step) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            expect_refused(bytes, sample.blob->size);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        sample_free(&sample);
    }
}

TEST(no_part_of_a_record_is_a_record)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 12; round++) {
        struct sample sample = random_sample(&rng, 3);
        size_t size = sample.blob->size, step = size / 3000 + 1;

        for (size_t cut = 0; cut < size; cut += step)
            expect_refused(sample.blob->data, cut);
        expect_refused(sample.blob->data, size - 1);
        sample_free(&sample);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_segment.c - names and headers of a log's files. */
#include "wal/segment.h"

#include "base/bytes.h"
#include "tests/harness.h"

#include <xxhash.h>

static const struct segment_header some = {
    .lineage = {{1, 2, 3}},
    .sequence = 7,
    .first_txid = 0x123456789abcdef0,
    .before_txid = 0x123456789abcdeef,
    .first_part = 1,
};

static void rehash(uint8_t *bytes)
{
    put_le64(bytes + 56, XXH3_64bits(bytes, 56));
}

TEST(a_header_gives_back_what_went_in)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header;

    segment_header_encode(&some, bytes);
    EXPECT_OK(segment_header_decode(bytes, sizeof bytes, &header));
    EXPECT_TRUE(lineage_is_equal(&header.lineage, &some.lineage));
    EXPECT_EQ(header.sequence, some.sequence);
    EXPECT_EQ(header.first_txid, some.first_txid);
    EXPECT_EQ(header.before_txid, some.before_txid);
    EXPECT_EQ(header.first_part, some.first_part);
}

TEST(every_bit_of_a_header_counts_and_none_may_be_missing)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header;

    segment_header_encode(&some, bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT_EQ(segment_header_decode(bytes, sizeof bytes, &header),
                  -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < sizeof bytes; size++)
        EXPECT_EQ(segment_header_decode(bytes, size, &header), -EBADMSG);
}

TEST(fields_that_cannot_be_are_refused)
{
    static const struct {
        size_t offset;
        uint32_t value;
        int rc;
    } bad[] = {{8, 2, -EPROTONOSUPPORT},
               {8, 0, -EBADMSG},
               {12, 0, -EBADMSG},
               {48, 0, -EBADMSG},
               {52, 1, -EBADMSG}};
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        segment_header_encode(&some, bytes);
        put_le32(bytes + bad[i].offset, bad[i].value);
        rehash(bytes);
        EXPECT_EQ(segment_header_decode(bytes, sizeof bytes, &header),
                  bad[i].rc);
    }
    segment_header_encode(&some, bytes);
    put_le64(bytes + 32, 0);
    rehash(bytes);
    EXPECT_EQ(segment_header_decode(bytes, sizeof bytes, &header), -EBADMSG);
}

TEST(names_say_txid_and_sequence)
{
    char name[SEGMENT_NAME_BYTES];
    uint32_t sequence = 0;
    txid_t txid = 0;

    segment_name(&some, name);
    EXPECT_STR(name, "123456789abcdef0-00000007.seg");
    EXPECT_TRUE(segment_name_parse(name, &txid, &sequence));
    EXPECT_EQ(txid, some.first_txid);
    EXPECT_EQ(sequence, 7);
}

TEST(only_our_own_spelling_is_a_segments_name)
{
    static const char *const names[] = {
        "",
        "123456789abcdef0-00000007",
        "123456789abcdef0-00000007.seg.cut-1",
        "123456789ABCDEF0-00000007.seg",
        " 23456789abcdef0-00000007.seg",
        "0x3456789abcdef0-00000007.seg",
        "123456789abcdef0--0000007.seg",
        "123456789abcdef0-0000000007.seg",
    };
    uint32_t sequence;
    txid_t txid;

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        EXPECT_FALSE(segment_name_parse(names[i], &txid, &sequence));
}

TEST(caps_double_to_a_limit)
{
    EXPECT_EQ(segment_cap(1, 0), 64u << 10);
    EXPECT_EQ(segment_cap(2, 0), 128u << 10);
    EXPECT_EQ(segment_cap(8, 0), 8u << 20);
    EXPECT_EQ(segment_cap(9, 0), 16u << 20);
    EXPECT_EQ(segment_cap(10, 0), 16u << 20);
    EXPECT_EQ(segment_cap(10, 1u << 20), 1u << 20);
    EXPECT_EQ(segment_cap(10, (1u << 20) - 1), 512u << 10);
    EXPECT_EQ(segment_cap(2, 1u << 20), 128u << 10);
    EXPECT_EQ(segment_cap(9, 1), 64u << 10);
}

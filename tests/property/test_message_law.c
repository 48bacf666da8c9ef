/* SPDX-License-Identifier: Apache-2.0 */
/* tests/property/test_message_law.c - laws of framing and bodies, from
 * seeds. */
#include "base/bytes.h"
#include "base/crc.h"
#include "replication/core/body.h"

#include "tests/harness.h"

#define MESSAGES 200
#define STREAM_MAX_BYTES (MESSAGES * (MESSAGE_HEADER_BYTES + 3000))

struct said {
    enum message_type type;
    unsigned flags;
    uint32_t stream;
    size_t at, length; /* of the body in bytes[] */
};

static uint8_t bytes[STREAM_MAX_BYTES];
static size_t used;
static struct said said[MESSAGES];

static void say(struct rng *rng, struct said *one)
{
    size_t length = rng_chance(rng, 20) ? 0 : rng_below(rng, 3000);

    *one = (struct said){
        .type = (enum message_type)rng_between(rng, MESSAGE_HELLO,
                                               MESSAGE_TYPES - 1),
        .flags = (unsigned)rng_below(rng, MESSAGE_FLAGS + 1),
        .stream = (uint32_t)rng_u64(rng),
        .at = used + MESSAGE_HEADER_BYTES,
        .length = length,
    };
    rng_bytes(rng, bytes + one->at, length);
    message_header_encode(bytes + used, one->type, one->flags, one->stream,
                          bytes + one->at, length);
    used += MESSAGE_HEADER_BYTES + length;
}

static void is_as_said(const struct message *heard, const struct said *one)
{
    EXPECT_EQ(heard->type, one->type);
    EXPECT_EQ(heard->flags, one->flags);
    EXPECT_EQ(heard->stream, one->stream);
    EXPECT_EQ(heard->body == NULL, one->length == 0);
    if (heard->body == NULL)
        return;
    EXPECT_EQ(heard->body->size, one->length);
    EXPECT_MEM(heard->body->data, bytes + one->at, one->length);
}

/* Gives the decoder cut[] of the stream piece by piece, each in an allocation
 * of just its size, and expects said[] back. */
static void hear_in_pieces(struct rng *rng, size_t longest)
{
    struct message_decoder decoder;
    struct message message;
    size_t heard = 0;

    message_decoder_init(&decoder);
    message_decoder_open(&decoder);
    for (size_t at = 0; at < used;) {
        size_t size = rng_between(rng, 1, longest), done = 0, took;
        uint8_t *piece;
        int rc;

        size = size < used - at ? size : used - at;
        piece = malloc(size);
        memcpy(piece, bytes + at, size);
        do {
            rc = message_decode(&decoder, piece + done, size - done, &took,
                                &message);
            EXPECT_GE(rc, 0);
            done += took;
            if (rc == 1) {
                is_as_said(&message, &said[heard++]);
                blob_unref(message.body);
            }
        } while (rc == 1);
        EXPECT_EQ(done, size);
        free(piece);
        at += size;
    }
    EXPECT_EQ(heard, MESSAGES);
    message_decoder_close(&decoder);
}

TEST(any_cut_of_the_stream_gives_the_same_messages)
{
    static const size_t longest[] = {1, 2, 19, 21, 100, 5000, 1u << 20};
    struct rng rng = test_rng();

    for (int round = 0; round < 5; round++) {
        used = 0;
        for (size_t i = 0; i < MESSAGES; i++)
            say(&rng, &said[i]);
        for (size_t i = 0; i < ARRAY_LENGTH(longest); i++)
            hear_in_pieces(&rng, longest[i]);
    }
}

TEST(noise_never_gets_past_the_decoder_with_more_than_was_sent)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 2000; round++) {
        struct message_decoder decoder;
        struct message message;
        size_t size = rng_below(&rng, 400), done = 0, took = 0;
        int rc;

        rng_bytes(&rng, bytes, size);
        if (rng_chance(&rng, 50) && size >= MESSAGE_HEADER_BYTES) {
            put_le32(bytes, (uint32_t)rng_below(&rng, 40)); /* nearly right */
            bytes[4] = (uint8_t)rng_below(&rng, 20);
            bytes[5] &= 1;
            put_le16(bytes + 6, 0);
            put_le32(bytes + 16, crc_of(bytes, 16));
        }
        message_decoder_init(&decoder);
        do {
            rc = message_decode(&decoder, bytes + done, size - done, &took,
                                &message);
            done += took;
            if (rc == 1)
                blob_unref(message.body);
        } while (rc == 1);
        EXPECT_LE(done, size);
        EXPECT_TRUE(rc < 0 || done == size);
        message_decoder_close(&decoder);
    }
}

static struct body_database a_database(struct rng *rng)
{
    struct body_database database = {.name = "a/b.db"};
    epoch_t at = 0;

    rng_bytes(rng, database.lineage.bytes, LINEAGE_BYTES);
    for (txid_t txid = 1; rng_chance(rng, 70); txid += rng_between(rng, 1, 9)) {
        at += rng_between(rng, 1, 1u << 30);
        EXPECT_OK(history_begin(&database.history, at, txid));
    }
    database.position = (struct position){at, rng_below(rng, 1u << 20),
                                          rng_u64(rng)};
    database.received_txid = database.position.txid + rng_below(rng, 9);
    database.durable_txid = rng_between(rng, 0, database.received_txid);
    if (rng_chance(rng, 50))
        database.prepared = (struct position){at + rng_between(rng, 1, 9),
                                              database.received_txid + 1,
                                              rng_u64(rng)};
    if (rng_chance(rng, 50)) {
        database.base_page_bytes = 512u << rng_below(rng, 8);
        database.base_pages = (uint32_t)rng_u64(rng);
    }
    return database;
}

static bool says_the_same(const struct body_database *a,
                          const struct body_database *b)
{
    return lineage_is_equal(&a->lineage, &b->lineage) &&
           position_is_equal(&a->position, &b->position) &&
           a->received_txid == b->received_txid &&
           a->durable_txid == b->durable_txid &&
           position_is_equal(&a->prepared, &b->prepared) &&
           a->base_page_bytes == b->base_page_bytes &&
           a->base_pages == b->base_pages && strcmp(a->name, b->name) == 0 &&
           a->history.count == b->history.count;
}

/* What later code relies on, whoever sent it. */
static void bounds_hold(const struct body_database *heard)
{
    const struct position *prepared = &heard->prepared;

    EXPECT_LE(heard->position.txid, heard->received_txid);
    EXPECT_LE(heard->durable_txid, heard->received_txid);
    EXPECT_TRUE(body_name_is_valid(heard->name, strlen(heard->name)));
    EXPECT_TRUE(heard->base_page_bytes == 0
                    ? heard->base_pages == 0
                    : page_size_is_valid(heard->base_page_bytes));
    if (prepared->txid == 0)
        EXPECT_TRUE(prepared->epoch == 0 && prepared->sum == 0);
    else
        EXPECT_TRUE(prepared->txid > heard->received_txid &&
                    prepared->epoch >= heard->position.epoch);
}

TEST(what_a_node_has_is_heard_as_said_and_bent_bytes_stay_within_bounds)
{
    struct rng rng = test_rng();
    size_t taken = 0, refused = 0;

    for (int round = 0; round < 20000; round++) {
        struct body_database one = a_database(&rng), heard;
        struct blob *blob;

        EXPECT_OK(body_database_encode(&one, &blob));
        memmove(blob->data, blob->data + MESSAGE_HEADER_BYTES,
                blob->size - MESSAGE_HEADER_BYTES);
        blob->size -= MESSAGE_HEADER_BYTES;
        EXPECT_OK(body_database_decode(blob, &heard));
        EXPECT_TRUE(says_the_same(&one, &heard));
        history_free(&heard.history);
        blob->data[rng_below(&rng, blob->size)] ^= (uint8_t)rng_between(&rng, 1,
                                                                        255);
        if (body_database_decode(blob, &heard) == 0) {
            bounds_hold(&heard);
            history_free(&heard.history);
            taken++;
        } else {
            refused++;
        }
        history_free(&one.history);
        blob_unref(blob);
    }
    EXPECT_GT(taken, 1000);
    EXPECT_GT(refused, 1000);
}

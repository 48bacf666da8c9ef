/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/message_stage.h - messages as one end says them, and what the
 * other hears. Include it once per program; it brings the harness.
 */
#ifndef TESTS_UNIT_MESSAGE_STAGE_H
#define TESTS_UNIT_MESSAGE_STAGE_H

#include "base/bytes.h"
#include "base/crc.h"
#include "replication/core/body.h"

#include "tests/harness.h"

static struct message_decoder decoder;
static struct message message;

static inline int hears(const uint8_t *bytes, size_t size)
{
    size_t used;

    message_decoder_init(&decoder);
    message_decoder_open(&decoder);
    message = (struct message){0};
    return message_decode(&decoder, bytes, size, &used, &message);
}

/* What the peer would be handed of a whole encoded message. */
static inline struct blob *body_of(struct blob *whole)
{
    EXPECT_EQ(hears(whole->data, whole->size), 1);
    blob_unref(whole);
    return message.body;
}

static inline void sum_header(uint8_t *bytes)
{
    put_le32(bytes + 16, crc_of(bytes, 16));
}

/* A message that was bent by hand says again what it is. */
static inline void sum_again(struct blob *blob)
{
    size_t length = blob->size - MESSAGE_HEADER_BYTES;

    put_le32(blob->data, (uint32_t)length);
    put_le32(blob->data + 12,
             crc_of(blob->data + MESSAGE_HEADER_BYTES, length));
    sum_header(blob->data);
}

static inline struct body_hello a_hello(void)
{
    return (struct body_hello){
        .version_min = 1,
        .version_max = 3,
        .epoch = 77,
        .candidate = true,
        .cluster = "app",
        .node = "fra-1",
        .region = "fra",
        .advertise = "[2001:db8::1]:20202",
    };
}

static inline struct body_database a_database(void)
{
    struct body_database database = {
        .lineage = {{1, 2, 3}},
        .position = {11, 20, 33},
        .received_txid = 25,
        .durable_txid = 24,
        .prepared = {11, 26, 44},
        .base_page_bytes = 4096,
        .base_pages = 77,
        .name = "a/b.db",
    };

    EXPECT_OK(history_begin(&database.history, 5, 1));
    EXPECT_OK(history_begin(&database.history, 11, 12));
    return database;
}

static inline struct blob *an_open(struct body_open *open)
{
    struct body_database database = a_database();
    struct blob *whole;

    *open = (struct body_open){
        .mode = BODY_SNAPSHOT,
        .reason = BODY_DIVERGED,
        .diverged = true,
        .serial = 2,
        .lineage = {{9}},
        .position = {1, 2, 3},
        .page_bytes = 4096,
        .size_pages = 100,
        .uid = 1000,
        .gid = 100,
        .mode_bits = 0640,
        .name = "app.db",
        .history = database.history,
    };
    EXPECT_OK(body_open_encode(3, open, &whole));
    return whole;
}

#endif

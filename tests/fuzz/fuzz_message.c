/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_message.c - any bytes through the decoder, each message
 * through the decoder of its body. The first byte says how the rest is cut;
 * when it is even, sums are made to fit first: no fuzzer finds one by chance.
 */
#include "base/bytes.h"
#include "base/crc.h"
#include "replication/core/body.h"
#include "replication/core/pulse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_pulse(const struct blob *body)
{
    struct pulse pulse;
    uint32_t stream;
    txid_t txid;

    if (pulse_decode(body, &pulse) < 0)
        return;
    for (uint32_t i = 0; i < pulse.count; i++)
        pulse_stream(&pulse, i, &stream, &txid);
}

/* Whoever decodes these reads as much as they say there is. */
static void try_ranges(const struct blob *body)
{
    struct body_hashes hashes;
    struct body_same same;
    volatile uint8_t seen;

    if (body_hashes_decode(body, &hashes) == 0 && hashes.count > 0)
        seen = body_hashes_bytes(body)[(size_t)hashes.count * 8 - 1];
    if (body_same_decode(body, &same) == 0 && same.count > 0)
        seen = same.bits[(same.count - 1) / 8];
    (void)seen;
}

static void try_small(const struct message *message)
{
    union {
        struct body_hello hello;
        struct body_welcome welcome;
        struct body_refuse refuse;
        struct body_ack ack;
        struct body_attr attr;
        struct body_drop drop;
        struct position position;
        uint32_t bytes;
    } any;

    body_hello_decode(message->body, &any.hello);
    body_welcome_decode(message->body, &any.welcome);
    body_refuse_decode(message->body, &any.refuse);
    body_ack_decode(message->body, &any.ack);
    body_attr_decode(message->body, &any.attr);
    body_drop_decode(message->body, &any.drop);
    body_copied_decode(message->body, &any.position);
    body_credit_decode(message->body, &any.bytes);
}

/* Every decoder sees every body: the type is one byte, not worth a search. */
static void try_all(const struct message *message)
{
    static struct pulse_node nodes[PULSE_NODES_MAX];
    struct body_database database;
    struct body_resync resync;
    struct body_open open;
    uint32_t count;

    try_small(message);
    try_pulse(message->body);
    try_ranges(message->body);
    pulse_roster_decode(message->body, nodes, &count);
    if (body_database_decode(message->body, &database) == 0)
        history_free(&database.history);
    if (body_resync_decode(message->body, &resync) == 0)
        history_free(&resync.database.history);
    if (body_open_decode(message->body, &open) == 0)
        history_free(&open.history);
}

/* As a peer of bad intent would: with sums that fit. */
static void sums_fit(uint8_t *bytes, size_t size)
{
    while (size >= MESSAGE_HEADER_BYTES) {
        size_t length = get_le32(bytes), room = size - MESSAGE_HEADER_BYTES;

        if (length <= room && bytes[4] != MESSAGE_RECORD &&
            bytes[4] != MESSAGE_CHUNK)
            put_le32(
                bytes + 12,
                length == 0 ? 0 : crc_of(bytes + MESSAGE_HEADER_BYTES, length));
        put_le32(bytes + 16, crc_of(bytes, 16));
        if (length > room)
            return;
        bytes += MESSAGE_HEADER_BYTES + length;
        size -= MESSAGE_HEADER_BYTES + length;
    }
}

static void hear(const uint8_t *bytes, size_t size, size_t step)
{
    struct message_decoder decoder;
    struct message message;
    size_t at = 0;
    int rc = 0;

    message_decoder_init(&decoder);
    while (at < size && rc >= 0) {
        size_t took, piece = size - at < step ? size - at : step;

        rc = message_decode(&decoder, bytes + at, piece, &took, &message);
        at += took;
        if (rc == 1) {
            try_all(&message);
            blob_unref(message.body);
        }
    }
    message_decoder_close(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;

    if (size < 2)
        return 0;
    bytes = malloc(size - 1);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2 == 0)
        sums_fit(bytes, size - 1);
    hear(bytes, size - 1, data[0] + 1u);
    free(bytes);
    return 0;
}

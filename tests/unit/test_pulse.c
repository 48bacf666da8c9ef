/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_pulse.c - heartbeats and rosters. */
#include "base/bytes.h"
#include "replication/core/pulse.h"

#include "tests/harness.h"

/* What the peer would be handed of a whole encoded message. */
static struct blob *body_of(struct blob *whole)
{
    struct message_decoder decoder;
    struct message message;
    size_t used;

    message_decoder_init(&decoder);
    message_decoder_open(&decoder);
    EXPECT_EQ(
        message_decode(&decoder, whole->data, whole->size, &used, &message), 1);
    blob_unref(whole);
    return message.body;
}

TEST(a_heartbeat_lists_the_streams_that_moved)
{
    struct pulse said = {.sequence = 3, .heard = 2, .held_ns = 500}, heard;
    struct pack_writer writer;
    struct blob *whole, *body;
    uint32_t stream;
    txid_t txid;

    pulse_begin(&writer, &said, 10);
    pulse_add(&writer, 4, 400);
    pulse_add(&writer, 6, 600);
    EXPECT_OK(pack_finish(&writer, &whole));
    body = body_of(whole);
    EXPECT_OK(pulse_decode(body, &heard));
    EXPECT_EQ(heard.sequence, 3);
    EXPECT_EQ(heard.heard, 2);
    EXPECT_EQ(heard.held_ns, 500);
    EXPECT_EQ(heard.count, 2);
    pulse_stream(&heard, 1, &stream, &txid);
    EXPECT_EQ(stream, 6);
    EXPECT_EQ(txid, 600);
    body->size--;
    EXPECT_EQ(pulse_decode(body, &heard), -EBADMSG);
    blob_unref(body);
}

TEST(a_roster_arrives_as_it_was_said)
{
    struct pulse_node said[2] = {
        {true, false, true, 0, 0, 0, "a", "fra", "a:1"},
        {false, true, false, 70, 80, 90, "b", "ams", "b:2"},
    };
    struct pulse_node heard[PULSE_NODES_MAX];
    struct blob *whole, *body;
    uint32_t count;

    EXPECT_OK(pulse_roster_encode(said, 2, &whole));
    body = body_of(whole);
    EXPECT_OK(pulse_roster_decode(body, heard, &count));
    EXPECT_EQ(count, 2);
    EXPECT_TRUE(heard[0].candidate && heard[0].primary);
    EXPECT_FALSE(heard[0].connected);
    EXPECT_EQ(heard[1].behind_txids, 90);
    EXPECT_STR(heard[1].advertise, "b:2");
    put_le32(body->data, PULSE_NODES_MAX + 1);
    EXPECT_EQ(pulse_roster_decode(body, heard, &count), -EBADMSG);
    blob_unref(body);
}

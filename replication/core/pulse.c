/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/pulse.c - see pulse.h. */
#include "replication/core/pulse.h"

#include "base/assert.h"
#include "base/bytes.h"

#define PULSE_COUNT_OFFSET 24u
#define PULSE_FIXED_BYTES 28u
#define PULSE_STREAM_BYTES 12u

#define NODE_CANDIDATE 1u
#define NODE_CONNECTED 2u
#define NODE_PRIMARY 4u
#define NODE_MAX_BYTES (21u + 2u * (1u + BODY_ID_MAX) + 2u + BODY_ADVERTISE_MAX)

void pulse_begin(struct pack_writer *writer, const struct pulse *pulse,
                 uint32_t streams)
{
    ASSERT(streams <= PULSE_STREAMS_MAX);
    pack_begin(writer, MESSAGE_HEARTBEAT, 0, 0,
               PULSE_FIXED_BYTES + streams * PULSE_STREAM_BYTES);
    pack_u64(writer, pulse->sequence);
    pack_u64(writer, pulse->heard);
    pack_u64(writer, pulse->held_ns);
    pack_u32(writer, 0);
}

void pulse_add(struct pack_writer *writer, uint32_t stream, txid_t txid)
{
    size_t body;

    pack_u32(writer, stream);
    pack_u64(writer, txid);
    if (writer->blob == NULL)
        return;
    body = writer->blob->size - MESSAGE_HEADER_BYTES;
    pack_u32_at(writer, PULSE_COUNT_OFFSET,
                (uint32_t)((body - PULSE_FIXED_BYTES) / PULSE_STREAM_BYTES));
}

int pulse_decode(const struct blob *body, struct pulse *ret_pulse)
{
    struct pack_reader reader = pack_open(body);
    struct pulse pulse = {0};
    int rc;

    pulse.sequence = pack_take_u64(&reader);
    pulse.heard = pack_take_u64(&reader);
    pulse.held_ns = pack_take_u64(&reader);
    pulse.count = pack_take_u32(&reader);
    pack_require(&reader, pulse.sequence > 0);
    pack_require(&reader, pulse.count <= PULSE_STREAMS_MAX);
    pulse.streams = reader.bytes + reader.used;
    for (uint32_t i = 0; i < pulse.count && reader.failed == 0; i++) {
        pack_require(&reader, pack_take_u32(&reader) > 0);
        pack_take_u64(&reader);
    }
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_pulse = pulse;
    return rc;
}

void pulse_stream(const struct pulse *pulse, uint32_t index,
                  uint32_t *ret_stream, txid_t *ret_txid)
{
    const uint8_t *at = pulse->streams + index * PULSE_STREAM_BYTES;

    ASSERT(index < pulse->count);
    *ret_stream = get_le32(at);
    *ret_txid = get_le64(at + 4);
}

static void roster_add(struct pack_writer *writer,
                       const struct pulse_node *node)
{
    unsigned flags = (node->candidate ? NODE_CANDIDATE : 0) |
                     (node->connected ? NODE_CONNECTED : 0) |
                     (node->primary ? NODE_PRIMARY : 0);

    pack_u8(writer, (uint8_t)flags);
    pack_u32(writer, node->seen_ms);
    pack_u64(writer, node->lag_ms);
    pack_u64(writer, node->behind_txids);
    pack_text8(writer, node->node);
    pack_text8(writer, node->region);
    pack_text16(writer, node->advertise);
}

int pulse_roster_encode(const struct pulse_node *nodes, uint32_t count,
                        struct blob **ret_blob)
{
    struct pack_writer writer;

    ASSERT(count <= PULSE_NODES_MAX);
    pack_begin(&writer, MESSAGE_ROSTER, 0, 0, 4 + count * NODE_MAX_BYTES);
    pack_u32(&writer, count);
    for (uint32_t i = 0; i < count; i++)
        roster_add(&writer, &nodes[i]);
    return pack_finish(&writer, ret_blob);
}

static void roster_take(struct pack_reader *reader, struct pulse_node *ret_node)
{
    unsigned flags = pack_take_u8(reader);

    pack_require(reader, flags < 2 * NODE_PRIMARY);
    ret_node->candidate = (flags & NODE_CANDIDATE) != 0;
    ret_node->connected = (flags & NODE_CONNECTED) != 0;
    ret_node->primary = (flags & NODE_PRIMARY) != 0;
    ret_node->seen_ms = pack_take_u32(reader);
    ret_node->lag_ms = pack_take_u64(reader);
    ret_node->behind_txids = pack_take_u64(reader);
    pack_take_text8(reader, ret_node->node, BODY_ID_MAX);
    pack_take_text8(reader, ret_node->region, BODY_ID_MAX);
    pack_take_text16(reader, ret_node->advertise, BODY_ADVERTISE_MAX);
}

int pulse_roster_decode(const struct blob *body, struct pulse_node *ret_nodes,
                        uint32_t *ret_count)
{
    struct pack_reader reader = pack_open(body);
    uint32_t count = pack_take_u32(&reader);
    int rc;

    pack_require(&reader, count <= PULSE_NODES_MAX);
    for (uint32_t i = 0; i < count && reader.failed == 0; i++)
        roster_take(&reader, &ret_nodes[i]);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_count = count;
    return rc;
}

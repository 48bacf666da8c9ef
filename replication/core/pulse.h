/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/pulse.h - what nodes tell each other every second: that
 * they live, how far each database is, and who else there is.
 *
 * Little-endian; texts as in body.h.
 *
 * HEARTBEAT 0  8 sequence, from 1 on each connection
 *           8  8 newest sequence heard from the peer, 0: none yet
 *          16  8 ns that this has lain here: peer's round trip = its own
 *                time since it sent that sequence, less this
 *          24  4 count
 *          28  - count x { u32 stream, u64 TXID }: from the primary, the
 *                streams whose position moved since the heartbeat before
 * ROSTER    0  4 count
 *           4  - count x node:
 *           0  1 flags: 1 candidate, 2 connected, 4 primary
 *           1  4 ms since last seen
 *           5  8 ms of lag
 *          13  8 TXIDs behind
 *          21  - text8 node, text8 region, text16 advertise
 *
 * No clock reading ever crosses the wire, only spans on the sender's clock.
 * Decoders check the whole body first; the walks that follow cannot fail.
 * Pure but for memory. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_PULSE_H
#define TIDEMARK_REPLICATION_CORE_PULSE_H

#include "replication/core/body.h"
#include "replication/core/pack.h"

#define PULSE_STREAMS_MAX 4096u /* in one heartbeat; the rest go in the next */
#define PULSE_NODES_MAX 256u    /* in one roster */

struct pulse {
    uint64_t sequence;
    uint64_t heard; /* newest sequence of the peer */
    uint64_t held_ns;
    uint32_t count;
    const uint8_t *streams; /* count entries inside the body; borrowed */
};

struct pulse_node {
    bool candidate, connected, primary;
    uint32_t seen_ms; /* since last seen, on the primary's clock */
    uint64_t lag_ms;  /* of its worst database */
    uint64_t behind_txids;
    char node[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char advertise[BODY_ADVERTISE_MAX + 1];
};

/* A heartbeat is begun, gets up to PULSE_STREAMS_MAX streams, is finished
 * with pack_finish(). streams: how many will be added at most. */
void pulse_begin(struct pack_writer *writer, const struct pulse *pulse,
                 uint32_t streams);
void pulse_add(struct pack_writer *writer, uint32_t stream, txid_t txid);

/* -EBADMSG. ret_pulse->streams lives as long as body. */
int pulse_decode(const struct blob *body, struct pulse *ret_pulse);

/* Entry index of a decoded pulse. */
void pulse_stream(const struct pulse *pulse, uint32_t index,
                  uint32_t *ret_stream, txid_t *ret_txid);

/* A roster of count nodes as one message. 0 or -ENOMEM. */
int pulse_roster_encode(const struct pulse_node *nodes, uint32_t count,
                        struct blob **ret_blob);

/* Fills at most PULSE_NODES_MAX nodes. -EBADMSG, and then ret_nodes holds
 * nothing of use. */
int pulse_roster_decode(const struct blob *body, struct pulse_node *ret_nodes,
                        uint32_t *ret_count);

#endif

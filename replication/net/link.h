/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/link.h - one TCP connection that carries messages.
 *
 * It knows framing, the order of writes, a pulse and when the other end is
 * dead; not what any message means. Latency first: on an idle socket a
 * message is written by the very call that sends it, without a copy, a timer
 * or a turn of the loop. Behind a slow peer messages queue up by reference;
 * owners ask link_is_full() before they make more and are told on_room.
 *
 * Lifetime, as libuv has it: link_init() succeeded means link_close() must be
 * called; the memory is the owner's again in on_closed, which always comes
 * later, never inside a call. Everything here runs on the loop thread, in a
 * process that ignores SIGPIPE: libuv writes without asking for an errno.
 */
#ifndef TIDEMARK_REPLICATION_NET_LINK_H
#define TIDEMARK_REPLICATION_NET_LINK_H

#include "replication/core/message.h"
#include "replication/core/pulse.h"

#include <uv.h>

#define LINK_TICK_MS 1000u         /* a heartbeat each */
#define LINK_DEAD_MS 5000u         /* nothing heard for so long: it is dead */
#define LINK_FULL_BYTES (4u << 20) /* queued: owners stop making more */
#define LINK_QUEUE_MAX_BYTES (64u << 20) /* queued: the peer is given up */
#define LINK_READ_BYTES (256u << 10)
#define LINK_PEER_BYTES 64
#define LINK_PULSES 16u /* heartbeats whose echo still tells the round trip */
#define LINK_WRITE_ITEMS 64u /* in one write */

struct link;

struct link_hooks {
    /* A message arrived; its body (one reference, may be NULL) is taken. */
    void (*on_message)(struct link *link, struct message *message);
    /* The queue was full, or room was wanted, and it has room again. */
    void (*on_room)(struct link *link);
    /* A second has passed: send a heartbeat. */
    void (*on_tick)(struct link *link);
    /* The link is no more, memory and all: error as given to link_close(), or
     * what the world said; 0: the peer closed in order. */
    void (*on_closed)(struct link *link, int error);
};

struct link_item {
    uint8_t header[MESSAGE_HEADER_BYTES];
    size_t header_bytes; /* 0: the blob begins with its header */
    struct blob *blob;   /* one reference; NULL: header only */
};

struct link {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write; /* at most one is under way */
    const struct link_hooks *hooks;
    struct message_decoder decoder;
    uint8_t *read_buffer; /* LINK_READ_BYTES */
    /* waiting to be written, oldest first: a ring */
    struct link_item *items;
    size_t items_first, items_count, items_capacity;
    size_t items_writing; /* the first so many are in `write` ... */
    uint8_t write_headers[LINK_WRITE_ITEMS][MESSAGE_HEADER_BYTES]; /* ... with
                             these headers: the ring may grow meanwhile */
    size_t queued_bytes;
    bool was_full;
    bool room_wanted; /* on_room is due although it was not full */
    bool started, flushing, closing;
    unsigned handles_open;
    int error;
    /* pulse */
    uint64_t heard_ns;                   /* anything at all, monotonic */
    uint64_t pulse_sequence;             /* of the last heartbeat we sent */
    uint64_t pulse_sent_ns[LINK_PULSES]; /* when, by sequence */
    uint64_t pulse_heard;                /* newest sequence of the peer */
    uint64_t pulse_heard_ns;             /* when */
    uint64_t round_trip_ns;              /* newest measure; 0: none yet */
    char peer[LINK_PEER_BYTES];          /* "127.0.0.1:20202", for people */
};

/* A link with no connection yet. 0 or -ENOMEM; then nothing needs closing. */
int link_init(struct link *link, uv_loop_t *loop,
              const struct link_hooks *hooks);

/* link->tcp is connected: reads, ticks, and may be written to. */
int link_start(struct link *link);

/* The peer is known and welcome: messages may be large from now on. */
void link_open(struct link *link);

/* Sends a whole message as an encoder made it; takes the reference. Nothing
 * happens, and nothing needs to be done about it, on a link that closes. */
void link_send(struct link *link, struct blob *message);

/* Sends body under a header of its own; takes the reference. */
void link_send_body(struct link *link, enum message_type type, unsigned flags,
                    uint32_t stream, struct blob *body);

/* Sends a message without a body. */
void link_send_empty(struct link *link, enum message_type type, unsigned flags);

/* Enough is queued; on_room will say when there is less. */
bool link_is_full(struct link *link);

/* Somebody waits for less to be queued than now: on_room, as if it were full.
 * When little is queued it may not come; then nothing here is in the way. */
void link_want_room(struct link *link);

/* Fills what a heartbeat says of the link itself, and counts it as sent. */
void link_pulse(struct link *link, struct pulse *ret_pulse);

/* A heartbeat of the peer was decoded: measures the round trip. */
void link_pulsed(struct link *link, const struct pulse *pulse);

/* Ends the connection. May be called again and at any time after init. */
void link_close(struct link *link, int error);

/* Ends it when all that was sent is written, or after LINK_DEAD_MS. What
 * still arrives is not read any more. */
void link_flush_and_close(struct link *link, int error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/following.h - what a replica and its primary say to each
 * other once it is welcome: its databases, their streams, heartbeats.
 *
 * Channels stay when a connection goes; streams, which are numbers on one
 * connection, do not. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_FOLLOWING_H
#define TIDEMARK_REPLICATION_NET_FOLLOWING_H

#include "replication/net/channel.h"
#include "replication/net/client.h"
#include "replication/net/lending.h"
#include "replication/net/lookup.h"

#define FOLLOWING_STREAMS_MAX 65536u
#define FOLLOWING_TEXT_BYTES (BODY_TEXT_MAX + 32) /* "reason: text" */

struct following {
    const struct client_config *config;
    struct link *link; /* the client's; up from _begin to _lost */
    bool up;
    struct body_welcome welcome; /* of the newest primary; texts "" before */
    char parting[FOLLOWING_TEXT_BYTES]; /* why the other end, or we, left; "" */
    struct lookup channels;             /* by database; owned */
    struct channel **streams;           /* number n at [n - 1]; may be NULL */
    uint32_t streams_count;             /* highest number heard of */
    uint32_t streams_capacity;
    struct lending lending;    /* while the primary asks */
    struct pulse_node *roster; /* PULSE_NODES_MAX; NULL until the first */
    uint32_t roster_count;
};

void following_init(struct following *following,
                    const struct client_config *config, struct link *link);

/* Frees channels and all; the connection is gone. */
void following_close(struct following *following);

/*
 * Before HELLO: finds what there is to follow, and the highest epoch heard of
 * in any of it. -ENOMEM.
 */
int following_prepare(struct following *following, epoch_t *ret_epoch);

/* Welcome: tells what we have. 0 or a reason to close the link. */
int following_begin(struct following *following);

/* A message of the primary; its body is borrowed. As above. */
int following_hear(struct following *following, const struct message *message);

void following_tick(struct following *following);
void following_room(struct following *following);
void following_changed(struct following *following, struct database *database);

/* Says BYE, then the link closes. */
void following_part(struct following *following, enum body_reason reason,
                    const char *text);

/* The link is gone. */
void following_lost(struct following *following);

/* NULL: database is not followed. */
struct channel *following_channel(const struct following *following,
                                  const struct database *database);

#endif

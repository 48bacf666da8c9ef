/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/client.h - a replica's connection to its primary.
 *
 *   RESTING --time--> RESOLVING --> CONNECTING --> GREETING --> FOLLOWING
 *      ^------ no such name, refused, lost, wrong ------+-----------'
 *
 * Names are resolved at each attempt and every address tried, so a primary
 * that moved is found again. Between attempts it rests, from 50 ms doubling
 * to 5 s, each time a random part less, so that a crowd of replicas does not
 * come back in step; a connection that lasted starts over at 50 ms.
 *
 * client_open() succeeded means client_close() must be called, and everything
 * it was given stays valid until on_closed. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_CLIENT_H
#define TIDEMARK_REPLICATION_NET_CLIENT_H

#include "base/address.h"
#include "replication/core/pulse.h"
#include "replication/net/identity.h"
#include "wal/database.h"

#include <uv.h>

#define CLIENT_REST_MIN_MS 50u
#define CLIENT_REST_MAX_MS 5000u
#define CLIENT_LASTED_MS 5000u
#define CLIENT_ANSWER_MS 5000u /* for a connect, and then for WELCOME */

struct client; /* opaque */

struct client_config {
    uv_loop_t *loop;
    struct catalog *catalog;
    struct identity identity;
    struct address primary;
    void *context;
    /* Should this node follow a database of that name? */
    bool (*follows)(void *context, const char *name);
    /* Addresses of the primary were found; may be NULL. */
    void (*on_resolved)(void *context, const struct addrinfo *found);
    /* Connected, lost, refused or a new roster; may be NULL. */
    void (*on_changed)(void *context);
};

/* config is copied; what it points to is borrowed. The first attempt begins
 * with the next turn of the loop. 0 or -ENOMEM. */
int client_open(struct client **ret_client, const struct client_config *config);

/* From catalog_config.on_changed. */
void client_changed(struct client *client, struct database *database);

/* Says BYE and frees the client; on_closed comes later, once, and may be
 * NULL. catalog_stop() comes after it. */
void client_close(struct client *client, void (*on_closed)(void *context),
                  void *context);

/* ---- what people want to know ---------------------------------------------*/

struct client_facts {
    const char *state; /* "resting", ..., "following" */
    const char *peer;  /* address in use or tried last; "" */
    const char *node, *region, *advertise; /* the primary's; "" if unknown */
    epoch_t epoch;                         /* the primary's */
    uint64_t since_ns;                     /* monotonic: in this state since */
    uint64_t round_trip_ns;                /* 0: not measured yet */
    const char *failure;                   /* why there is no connection; "" */
    const struct pulse_node *roster;       /* newest from the primary */
    uint32_t roster_count;
};

/* Texts are valid until the loop turns. */
void client_facts(const struct client *client, struct client_facts *ret_facts);

struct client_stream {
    const char *state;  /* follow_state_name() */
    const char *reason; /* of the last RESYNC, body_reason_name() */
    txid_t primary_txid;
    uint64_t behind_txids;
    uint64_t age_ns; /* upper bound; UINT64_MAX: never current yet */
};

/* -ENOENT: database is not followed. */
int client_stream(const struct client *client, const struct database *database,
                  struct client_stream *ret_stream);

#endif

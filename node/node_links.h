/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_links.h - inside one node: its connections to other nodes, and
 * the copy of what they know that any thread may read.
 */
#ifndef TIDEMARK_NODE_NODE_LINKS_H
#define TIDEMARK_NODE_NODE_LINKS_H

#include "base/address.h"
#include "node/status.h"
#include "replication/net/client.h"
#include "replication/net/roster.h"
#include "replication/net/server.h"

#include <pthread.h>
#include <uv.h>

struct links_replica {
    char id[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char address[ADDRESS_TEXT_BYTES];
    bool candidate;
    uint64_t since_ms;
    uint64_t rtt_us;
    struct status_stream *streams; /* owned, as are the names they borrow */
    char **names;
    size_t stream_count;
};

/* One database of a replica, against the primary. */
struct links_database {
    struct lineage lineage;
    uint64_t lag_us;
    uint64_t behind_txids;
};

/* What server or client knew when asked last. */
struct links_facts {
    struct links_replica *replicas; /* on the primary */
    size_t replica_count;
    struct links_database *databases; /* on a replica */
    size_t database_count;
    bool connected; /* replica: to the primary */
    uint64_t rtt_us;
    uint64_t lag_us; /* replica: of its worst database */
    char primary_id[BODY_ID_MAX + 1];
};

struct links {
    bool open;
    struct server *server; /* on the primary */
    struct client *client; /* on a replica */
    struct roster roster;
    uv_timer_t timer;
    char advertise[ADDRESS_TEXT_BYTES];
    char primary_id[BODY_ID_MAX + 1]; /* [lock] lent to status */
    pthread_mutex_t lock;
    struct links_facts facts; /* [lock] */
};

#endif

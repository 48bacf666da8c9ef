/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/status.h - plain facts into the object of docs/status.md.
 *
 * The node fills in the structs, this makes the JSON and judges the health:
 * what is not green is named by one sentence a person can act on. Pure but
 * for memory. Any thread.
 *
 * Texts are borrowed during the call. A number that nobody knows is
 * STATUS_NONE and becomes null: 0 would be a claim.
 */
#ifndef TIDEMARK_NODE_STATUS_H
#define TIDEMARK_NODE_STATUS_H

#include "wal/database.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STATUS_NONE UINT64_MAX

enum status_health { STATUS_OK, STATUS_DEGRADED, STATUS_FAILED };

#define STATUS_FAILURE_BYTES 600 /* of a reason in words */

struct status_node {
    const char *id;
    const char *region;
    const char *cluster;
    const char *version;
    const char *advertise; /* "10.0.0.2:20202" */
    const char *mount;
    const char *data;
    const char *mode;        /* "passthrough" or "classic" */
    const char *mode_reason; /* why not passthrough; "" */
    const char *log_method;  /* log_method() */
    bool is_primary;
    bool asking; /* a primary that asks its replicas, and serves nobody yet */
    bool candidate;
    epoch_t epoch; /* highest known; 0: none */
    uint64_t uptime_ms;
    int pid;
    /* On a replica: the primary it follows. */
    const char *primary_address; /* "" on the primary */
    const char *primary_id;      /* "" until it said hello */
    bool primary_connected;
    const char *primary_failure; /* why not, newest; "" */
    uint64_t primary_rtt_us;
};

/* One database, as this node has it. */
struct status_database {
    const char *name;
    struct database_view view;
    /* On a replica, against the primary; STATUS_NONE on the primary. */
    uint64_t lag_us; /* commit there to visible here, upper bound */
    uint64_t behind_txids;
    uint64_t waiters; /* for a token */
};

/* One database as it travels to one replica. */
struct status_stream {
    const char *database;
    const char *state; /* "live", "log", "copy", "waiting" */
    txid_t received_txid;
    txid_t durable_txid;
    txid_t applied_txid;
    uint64_t lag_us; /* commit to applied there, by this node's clock */
    uint64_t behind_txids;
    uint32_t copied_pages, copy_pages; /* of a copy; 0 of 0: none */
};

/* One replica, as the primary sees it. */
struct status_replica {
    const char *id;
    const char *region;
    const char *address; /* advertised */
    bool candidate;
    bool connected;
    uint64_t since_ms; /* connected, or away, for so long */
    uint64_t rtt_us;
    const struct status_stream *streams;
    size_t stream_count;
};

/* The whole object, with no databases and replicas yet; NULL: no memory. */
json_t *status_make(const struct status_node *node);

/* Each raises the health of the node to its own if that is worse. -ENOMEM:
 * status is then incomplete and to be dropped. */
int status_add_database(json_t *status, const struct status_database *database);
int status_add_replica(json_t *status, const struct status_replica *replica);

/* Something in data/lost. */
int status_add_lost(json_t *status, const struct catalog_lost *lost);
/* How many there are; those that were added are the newest of them. */
int status_set_lost_count(json_t *status, size_t count);

/* null for ""; bytes that are no UTF-8 become '?'. Up to some 1000 bytes. */
json_t *status_text_json(const char *text);

/* A sentence about the node that status shows until it is mended. */
int status_add_problem(json_t *status, enum status_health health,
                       const char *text);

/* "ok", "degraded", "failed"; and back, FAILED for anything else. */
const char *status_health_name(enum status_health health);
enum status_health status_health_from(const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/server.h - where replicas connect to a primary.
 *
 * Listens (dual-stack on "" and ::), greets or refuses with a reason in
 * words, and keeps a guest for each replica. A replica that comes again
 * under its id replaces its old connection, which may be half dead.
 *
 * server_open() succeeded means server_close() must be called, and everything
 * it was given stays valid until on_closed. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_SERVER_H
#define TIDEMARK_REPLICATION_NET_SERVER_H

#include "base/address.h"
#include "replication/net/identity.h"
#include "replication/net/roster.h"
#include "wal/database.h"

#include <uv.h>

#define SERVER_SESSIONS_MAX 64u /* each may pin logs: as many as PINS_MAX */

struct server; /* opaque */

struct asking;

struct server_config {
    uv_loop_t *loop;
    struct catalog *catalog;
    struct roster *roster;
    struct identity identity;
    struct address listen; /* port 0: any, see server_port() */
    struct asking *asking; /* asks, until server_serve(); NULL: serves */
    void *context;
    /* While it serves: a replica has what this node does not know, or has heard
     * of a newer epoch. True: it is going to ask, by server_ask(), which is not
     * for this call. NULL: nobody wants to know. */
    bool (*on_lacking)(void *context);
};

/*
 * Listens. config is copied; what it points to is borrowed. Names are
 * resolved here and block: only at start. -EADDRINUSE and the like, told to
 * site_fail() with the address.
 */
int server_open(struct server **ret_server, const struct server_config *config);

/* The port that is listened on. */
uint16_t server_port(const struct server *server);

/* What it asked is over: everybody is told to connect again, and served. */
void server_serve(struct server *server);

/* It serves no more, but asks: everybody is told to connect again. */
void server_ask(struct server *server, struct asking *asking);

/* From catalog_config.on_changed: hands the news to every guest. */
void server_changed(struct server *server, struct database *database);

/* Says BYE to all and frees the server; on_closed comes later, once, and may
 * be NULL. catalog_stop() comes after it. */
void server_close(struct server *server, void (*on_closed)(void *context),
                  void *context);

/* ---- what people want to know ---------------------------------------------*/

struct server_replica {
    const char *node, *region, *advertise, *peer; /* valid in the visit */
    bool candidate;
    uint64_t since_ns; /* monotonic: connected since */
    uint64_t round_trip_ns;
    uint64_t lag_ns; /* of its worst database */
    uint64_t behind_txids;
    size_t queued_bytes; /* wait for its socket */
};

struct server_stream {
    const char *node;
    const char *state;  /* "live", "log", "copy", "waiting": docs/status.md */
    const char *reason; /* of the last OPEN, body_reason_name() */
    txid_t received_txid, durable_txid, applied_txid;
    uint64_t lag_ns, behind_txids;
    uint32_t copied_pages, copy_pages; /* "copy": sent, of how many; else 0 */
    int64_t credit_bytes;
};

/* Each connected replica. */
void server_replicas(const struct server *server,
                     void (*visit)(void *context,
                                   const struct server_replica *replica),
                     void *context);

/* Each stream of database that is open: not to who does not follow it. */
void server_streams(const struct server *server,
                    const struct database *database,
                    void (*visit)(void *context,
                                  const struct server_stream *stream),
                    void *context);

#endif

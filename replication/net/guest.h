/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/guest.h - the primary's end of one replica: its greeting,
 * its databases, its streams.
 *
 *   GREETING --HELLO, welcome--> HEARING --DATABASE..., LAST--> SERVING
 *       '---------refused, wrong, lost------'----------'-----> (closed)
 *
 * In HEARING a database the replica names gets its stream at once; those it
 * did not name get theirs at LAST, so that none is copied that could have
 * been resumed. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_GUEST_H
#define TIDEMARK_REPLICATION_NET_GUEST_H

#include "replication/net/identity.h"
#include "replication/net/lookup.h"
#include "replication/net/roster.h"
#include "replication/net/supply.h"

#define GUEST_STREAMS_MAX 65536u
#define GUEST_HELLO_MS 5000u /* a peer that has not said HELLO is closed */

struct guest;
struct asking;
struct asking_peer;

/* What a guest needs of the server, and tells it. */
struct guest_host {
    uv_loop_t *loop;
    struct catalog *catalog;
    const struct identity *identity;
    struct roster *roster;
    struct asking *asking; /* NULL: it serves */
    void *context;
    /* A replica introduces itself: BODY_NONE and it is welcome; else why not,
     * and ret_text (BODY_TEXT_MAX + 1 bytes) what to do about it. */
    enum body_reason (*on_hello)(void *context, struct guest *guest,
                                 const struct body_hello *hello,
                                 char *ret_text);
    /* It has a database that we do not know. True: we ask before long. */
    bool (*on_lacking)(void *context);
    void (*on_closed)(void *context, struct guest *guest);
};

enum guest_state { GUEST_GREETING, GUEST_HEARING, GUEST_SERVING };

struct guest {
    struct list among; /* the server's guests */
    const struct guest_host *host;
    struct link link;
    enum guest_state state;
    struct body_hello hello; /* valid from HEARING on */
    bool registered;         /* counted in the roster */
    uint64_t since_ns;
    struct asking_peer *peer; /* it said hello while the primary asked */
    struct supply **streams;  /* number n at [n - 1]; NULL: it was dropped */
    uint32_t streams_count, streams_capacity;
    struct lookup by_database; /* the same streams */
    struct supply_room room;   /* of the link, shared by them */
};

/* A guest around a link with no connection yet; NULL: no memory. It frees
 * itself after host->on_closed. */
struct guest *guest_new(const struct guest_host *host);

/* Its link is connected: waits for HELLO. */
void guest_start(struct guest *guest);

/* Says why not, then closes. */
void guest_refuse(struct guest *guest, enum body_reason reason,
                  const char *text);

/* Says goodbye, then closes. */
void guest_end(struct guest *guest, enum body_reason reason, const char *text);

/* Something about database changed, or it is new. */
void guest_changed(struct guest *guest, struct database *database);

/* The stream of database; NULL: none. */
const struct supply *guest_stream(const struct guest *guest,
                                  const struct database *database);

/* Over all streams: the worst lag and how much is missing. */
void guest_lag(const struct guest *guest, uint64_t now_ns, uint64_t *ret_lag_ns,
               uint64_t *ret_behind_txids);

#endif

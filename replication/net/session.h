/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/session.h - the primary's end of one replica: its greeting,
 * its databases, its streams.
 *
 *   GREETING --HELLO, welcome--> HEARING --DATABASE..., LAST--> SERVING
 *       '---------refused, wrong, lost------'----------'-----> (closed)
 *
 * In HEARING a database the replica names gets its stream at once; those it
 * did not name get theirs at LAST, so that none is copied that could have
 * been resumed. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_SESSION_H
#define TIDEMARK_REPLICATION_NET_SESSION_H

#include "replication/net/identity.h"
#include "replication/net/lookup.h"
#include "replication/net/roster.h"
#include "replication/net/supply.h"

#define SESSION_STREAMS_MAX 65536u

struct session;

/* What a session needs of the server, and tells it. */
struct session_host {
    uv_loop_t *loop;
    struct catalog *catalog;
    const struct identity *identity;
    struct roster *roster;
    void *context;
    /* A replica introduces itself: BODY_NONE and it is welcome; else why not,
     * and ret_text (BODY_TEXT_MAX + 1 bytes) what to do about it. */
    enum body_reason (*on_hello)(void *context, struct session *session,
                                 const struct body_hello *hello,
                                 char *ret_text);
    void (*on_closed)(void *context, struct session *session);
};

enum session_state { SESSION_GREETING, SESSION_HEARING, SESSION_SERVING };

struct session {
    struct list link_of_host; /* the server's list */
    const struct session_host *host;
    struct link link;
    enum session_state state;
    struct body_hello hello; /* valid from HEARING on */
    bool registered;         /* counted in the roster */
    uint64_t since_ns;
    struct supply **streams; /* number n at [n - 1] */
    uint32_t streams_count, streams_capacity;
    struct lookup by_database; /* the same streams */
    struct list thirsty;       /* supplies that wait for room in the link */
};

/* A session around a link with no connection yet; NULL: no memory. It frees
 * itself after host->on_closed. */
struct session *session_new(const struct session_host *host);

/* Its link is connected: waits for HELLO. */
void session_start(struct session *session);

/* Says why not, then closes. */
void session_refuse(struct session *session, enum body_reason reason,
                    const char *text);

/* Says goodbye, then closes. */
void session_end(struct session *session, enum body_reason reason,
                 const char *text);

/* Something about database changed, or it is new. */
void session_changed(struct session *session, struct database *database);

/* The stream of database; NULL: none. */
const struct supply *session_stream(const struct session *session,
                                    const struct database *database);

/* Over all streams: the worst lag and how much is missing. */
void session_lag(const struct session *session, uint64_t now_ns,
                 uint64_t *ret_lag_ns, uint64_t *ret_behind_txids);

#endif

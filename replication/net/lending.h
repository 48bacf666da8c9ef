/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/lending.h - a replica's end when its primary asks: the
 * primary says DATABASE, and is sent what it lacks as if it were the replica.
 *
 * A primary that was not stopped in order, or has nothing, may have lost what
 * this node holds (asking.h). Streams here are numbered by the replica, and the
 * connection has no others: a primary that asks has opened none. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_LENDING_H
#define TIDEMARK_REPLICATION_NET_LENDING_H

#include "replication/net/supply.h"

#define LENDING_STREAMS_MAX 65536u

struct lending {
    struct catalog *catalog;
    struct link *link;
    struct supply **streams; /* number n at [n - 1] */
    uint32_t count, capacity;
    struct supply_room room;
};

void lending_init(struct lending *lending, struct catalog *catalog,
                  struct link *link);

/* The connection is gone, or about to be; nothing is lent, and it may be lent
 * again. */
void lending_close(struct lending *lending);

/* DATABASE, ACK, CREDIT or RESYNC of the primary. 0 or why to close. */
int lending_hear(struct lending *lending, const struct message *message);

void lending_changed(struct lending *lending, struct database *database);
void lending_tick(struct lending *lending);
void lending_room(struct lending *lending);

#endif

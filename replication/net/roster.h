/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/roster.h - the nodes the primary knows of: registered when
 * they say HELLO, kept when they go away, forgotten on request.
 *
 * Retention, durability and the page ask it who there is. It lives in memory;
 * on_changed tells node/ when who is in it changed, so that it can be saved,
 * and node/ puts back what it saved with roster_add(). Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_ROSTER_H
#define TIDEMARK_REPLICATION_NET_ROSTER_H

#include "replication/core/pulse.h"

struct roster_entry {
    char node[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char advertise[BODY_ADVERTISE_MAX + 1];
    bool candidate;
    unsigned connections; /* 0 or 1; 2 while a new one replaces an old one */
    uint64_t seen_ns;     /* monotonic; 0: not since this process started */
    uint64_t lag_ns;      /* of its worst database, newest measure */
    uint64_t behind_txids;
};

struct roster {
    struct roster_entry *entries; /* in order of registration */
    size_t count, capacity;       /* count <= PULSE_NODES_MAX - 1 */
    void *context;
    void (*on_changed)(void *context); /* may be NULL */
};

void roster_init(struct roster *roster, void *context,
                 void (*on_changed)(void *context));
void roster_close(struct roster *roster);

/* Puts a node in, or updates region, advertise and candidate of one that is
 * there. -ENOBUFS: full; -ENOMEM. */
int roster_add(struct roster *roster, const char *node, const char *region,
               const char *advertise, bool candidate);

/* A connection of node began (+1) or ended (-1). */
void roster_connected(struct roster *roster, const char *node, int change,
                      uint64_t now_ns);

/* node was heard from, and is so far behind. */
void roster_heard(struct roster *roster, const char *node, uint64_t now_ns,
                  uint64_t lag_ns, uint64_t behind_txids);

/* Takes node out. -ENOENT; -EBUSY: it is connected. */
int roster_forget(struct roster *roster, const char *node);

/* NULL when it is not there. Valid until the next add or forget. */
const struct roster_entry *roster_find(const struct roster *roster,
                                       const char *node);

/* Fills up to PULSE_NODES_MAX - 1 nodes as the wire has them. */
uint32_t roster_fill(const struct roster *roster, uint64_t now_ns,
                     struct pulse_node *ret_nodes);

#endif

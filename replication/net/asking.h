/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/asking.h - a primary that starts, or has nothing, asks its
 * replicas for what they have more of its own history, before it serves.
 *
 *   replica                                  primary that asks
 *   HELLO                                 -> WELCOME
 *   DATABASE for each it has, LAST        -> (keeps those with more)
 *                                         <- DATABASE, what it has itself
 *   OPEN, CHUNK*, COPIED, RECORD*         -> ACK, CREDIT
 *                                         <- BYE, "again", when it serves
 *
 * From the primary's DATABASE on the two have changed places: the replica runs
 * a supply (lending.h), the primary a channel, as ever. For each database the
 * replica with most is asked first; one at a time.
 *
 * A database that the primary does not know, whose name is free and which was
 * never dropped here, is fetched whole: all its records when the replica's log
 * has them, else a copy. Not before everybody was heard, or time is up: it is
 * made as the one has it who knows best, and nobody else's counts then.
 *
 * It is over when every node of the roster was heard and nobody has more, or
 * when time is up: then those that were not heard are not waited for, and what
 * is being fetched goes on as long as it arrives. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_ASKING_H
#define TIDEMARK_REPLICATION_NET_ASKING_H

#include "replication/core/body.h"
#include "replication/net/link.h"
#include "replication/net/roster.h"
#include "wal/database.h"

#define ASKING_NAMES_BYTES 256

struct asking_config {
    uv_loop_t *loop;
    struct catalog *catalog; /* between catalog_ask() and catalog_start() */
    const struct roster *roster;
    uint64_t timeout_ms;
    bool anybody; /* nobody knows who there is: time has to be up */
    void *context;
    void (*on_over)(void *context); /* once; not inside a call from outside */
};

struct asking; /* opaque */
struct asking_peer;

/* Begins. 0 or -ENOMEM. */
int asking_open(struct asking **ret_asking, const struct asking_config *config);

/* Ends it, over or not; it frees itself when the last peer is gone. The
 * catalog is not touched any more, but by requests that are still out. */
void asking_close(struct asking *asking);

/* From catalog_config.on_changed. */
void asking_changed(struct asking *asking, struct database *database);

/* Seconds left; ret_names: those that are waited for, "ams-1, fra-2", or that
 * it is anybody; "" when it is nobody. */
uint64_t asking_waits_for(const struct asking *asking,
                          char ret_names[ASKING_NAMES_BYTES]);

/* ---- one replica; for guest.c ---------------------------------------------*/

/* node said HELLO on link, which outlives the peer. NULL: no memory. */
struct asking_peer *asking_peer_new(struct asking *asking, struct link *link,
                                    const char *node);

/* The link is gone. */
void asking_peer_lost(struct asking_peer *peer);

/* DATABASE, OPEN, RECORD, what else a stream brings. 0 or why to close. */
int asking_peer_hear(struct asking_peer *peer, const struct message *message);

#endif

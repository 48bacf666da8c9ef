/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/channel.h - drives one follow: hands what the primary sends
 * of one database to the engine, and tells the primary what came of it.
 *
 * A channel lives as long as this process follows its database; connections
 * come and go under it. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_CHANNEL_H
#define TIDEMARK_REPLICATION_NET_CHANNEL_H

#include "replication/core/follow.h"
#include "replication/net/link.h"
#include "wal/database.h"

struct channel {
    struct database *database; /* one reference */
    struct follow follow;
    struct link *link; /* NULL: no connection, or no stream on it */
    uint32_t stream;
    struct database_view view; /* as of the last step */
    txid_t primary_txid;       /* the primary's, newest heard of */
    uint64_t primary_ns;       /* when we heard that it is no more than that */
    uint64_t current_ns;       /* when we last knew we had all of it; 0: not */
    uint64_t turn;             /* counts OPENs and connections lost */
    /* of a delta: what the engine was asked for; it answers exactly once */
    struct database_request request;
    bool asked;          /* it lies there ... */
    uint64_t asked_turn; /* ... since that turn */
    bool freed;          /* nobody wants the answer: it frees the channel */
};

/* Takes a reference of its own. Nothing of database is in the engine's queue
 * yet. NULL: no memory. */
struct channel *channel_new(struct database *database);

/* NULL is fine. While the engine has a question, the memory stays until it
 * answers. */
void channel_free(struct channel *channel);

/* What we have, as a DATABASE message. 0 or -ENOMEM. */
int channel_tell(struct channel *channel, struct blob **ret_blob);

/* The primary decided: the stream is ours from now on. */
void channel_open(struct channel *channel, struct link *link, uint32_t stream,
                  const struct body_open *open);

/* A record or chunk arrived; takes the reference. */
void channel_record(struct channel *channel, struct blob *blob, bool chunk);

/* Pages of a delta need not come; takes the reference. */
void channel_same(struct channel *channel, struct blob *blob);

void channel_copied(struct channel *channel, const struct position *position);
void channel_attr(struct channel *channel, const struct body_attr *attr);

/* The primary dropped the database. */
void channel_drop(struct channel *channel);

/* A heartbeat says where the primary is; or, with nothing new about this
 * stream, that it is where it was (txid 0). */
void channel_pulse(struct channel *channel, txid_t txid, uint64_t now_ns);

/* The engine moved. */
void channel_changed(struct channel *channel);

/* A second has passed. */
void channel_tick(struct channel *channel);

/* The connection is gone. */
void channel_lost(struct channel *channel);

/*
 * An upper bound of how old what readers see here is: time since we last knew
 * to have all the primary had, and one round trip. UINT64_MAX: never yet.
 */
uint64_t channel_age_ns(const struct channel *channel, uint64_t now_ns,
                        uint64_t round_trip_ns);

#endif

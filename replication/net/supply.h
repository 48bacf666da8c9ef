/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/supply.h - drives one feed: gets it records and pages of
 * one database, and puts what it sends on the link.
 *
 * Records come from what was read ahead, from memory (database_tail), or from
 * the log on the database's worker, in this order; pages from its worker. One
 * question to the worker is out at most. Supplies of one link share its room:
 * when it is full, one waits in `thirsty` with what it has at hand; while what
 * is queued and what workers will answer would fill it, in `unread` before
 * the worker is asked. So many databases that start at once are read one after
 * the other, as the replica takes them, and never all into memory.
 *
 * A supply outlives supply_close() while its question is out: the worker
 * answers exactly once, and only then is the memory free. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_SUPPLY_H
#define TIDEMARK_REPLICATION_NET_SUPPLY_H

#include "replication/core/feed.h"
#include "replication/core/lag.h"
#include "replication/net/compare.h"
#include "replication/net/link.h"
#include "wal/database.h"

/* What the supplies of one link share. */
struct supply_room {
    struct list thirsty;   /* supplies that wait for room in the link */
    struct list unread;    /* that have yet to ask their worker */
    size_t promised_bytes; /* asked for, or read and to be sent now */
};

struct supply {
    struct database *database; /* one reference */
    bool lends;                /* a replica's, for a primary that asks */
    struct link *link;         /* NULL: closed, waiting for the answer */
    struct supply_room *room;  /* the owner's */
    struct list thirsty_link, unread_link;
    size_t promised_bytes; /* this one's of the room's */
    uint32_t stream;
    struct feed feed;
    struct lag lag;
    struct body_database replica; /* what it said last; history owned */
    bool replica_known;
    struct database_view view; /* as of the last step */
    /* the feed's question */
    struct feed_action question; /* FETCH, COPY or COMPARE; void when its ask
                                    is not the feed's any more */
    bool asked;                  /* it is not answered */
    bool submitted;              /* request lies with the worker ... */
    uint32_t submitted_ask;      /* ... for the question of that number */
    struct database_request request;
    /* records read ahead, in order */
    struct blob *batch[DATABASE_REQUEST_BLOBS];
    size_t batch_first, batch_count;
    struct compare *compare; /* of a delta; NULL: there was none */
    /* what the replica knows already */
    txid_t told_txid; /* in heartbeats */
    uint32_t told_uid, told_gid, told_mode;
    bool opened; /* an OPEN was sent: the stream has a name */
};

/* Takes over nothing: database gets a reference of its own. NULL: no memory. */
struct supply *supply_new(struct database *database, struct link *link,
                          uint32_t stream, struct supply_room *room);

/* The connection ends. supply may be freed now or later, not by the caller. */
void supply_close(struct supply *supply);

/* The replica said what it has (its history is taken over) or, with NULL,
 * that it has nothing of this database. */
void supply_hear(struct supply *supply, struct body_database *replica);

/* It cannot go on; resync's history is taken over. */
void supply_resync(struct supply *supply, struct body_resync *resync);

/* HASHES. 0, or what is wrong with it. */
int supply_hashes(struct supply *supply, struct blob *body, bool last);

void supply_ack(struct supply *supply, const struct body_ack *ack);
void supply_credit(struct supply *supply, uint32_t bytes);

/* Something about the database changed. */
void supply_changed(struct supply *supply);

/* A second has passed. */
void supply_tick(struct supply *supply);

void supply_room_init(struct supply_room *room);

/* The link has room again: they go on where they stopped. Each gets a turn,
 * then the next: a large one does not keep out the small. */
void supply_room_share(struct supply_room *room, struct link *link);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/fetch.h - one database on its way from a replica to a
 * primary that asks (asking.h).
 *
 *   told -> OPEN -> records, or a copy -> all received, or cannot go on
 *     -> DATABASE_GRAFT on the worker -> on_end
 *
 * Whatever goes wrong ends it with what arrived in order: a connection that is
 * lost, a replica whose log no longer reaches back (it says NOTHING), a record
 * that does not fit. Loop thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_FETCH_H
#define TIDEMARK_REPLICATION_NET_FETCH_H

#include "replication/net/channel.h"

struct fetch {
    struct list link;  /* the owner's list, of all of them */
    struct link *peer; /* NULL: gone, or done with */
    struct channel *channel;
    uint32_t stream; /* the replica's; 0: it has not opened it */
    txid_t until;    /* received up to here it is done */
    bool whole;      /* the database was not here */
    bool grafting;   /* request is out */
    uint64_t moved_ns;
    struct database_request request;
    void *context;
    /* What came is the content, or was nothing; the owner frees it. */
    void (*on_end)(struct fetch *fetch);
};

/* Takes a reference of database of its own; in no list. NULL: no memory. */
struct fetch *fetch_new(struct database *database, txid_t until, bool whole);

/* Not while it is grafting. */
void fetch_free(struct fetch *fetch);

/* Tells the replica what is here. What fails ends it. */
void fetch_begin(struct fetch *fetch, struct link *peer);

/* No more of it comes: what arrived becomes the content. */
void fetch_end(struct fetch *fetch);

/* The replica decided how it comes; open may be about any of its streams. */
void fetch_open(struct fetch *fetch, uint32_t stream,
                const struct body_open *open);

/* RECORD, CHUNK, COPIED, ATTR on its stream. 0 or why to close. */
int fetch_hear(struct fetch *fetch, const struct message *message);

/* The engine moved. */
void fetch_changed(struct fetch *fetch);

#endif

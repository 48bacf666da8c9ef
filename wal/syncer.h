/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/syncer.h - makes a log's segments durable, on any thread, while the
 * worker appends. Part of log.c; nobody else includes this.
 *
 * Durability is a number per segment, `synced`: a sync takes all segments
 * where it is behind `end`, and the directory when names in it changed.
 *
 *   append:  end ------------------------>|     worker, page cache only
 *   sync:    synced ---------->|                any thread, waits for disk
 *
 * Two locks, taken in this order:
 *   sync_lock  one sync or cut at a time; held while the disk works. Who waits
 *              for it mostly finds its work done. Linux tells a write error to
 *              one fsync of a descriptor only: two at the same time could
 *              leave one of them believing in success.
 *   lock       what other threads read: numbers, segments[], end and synced;
 *              held for nanoseconds, never over IO. The worker alone changes
 *              segments[] and end, so it reads those without it.
 */
#ifndef TIDEMARK_WAL_SYNCER_H
#define TIDEMARK_WAL_SYNCER_H

#include "wal/shelf.h"

#include <pthread.h>

struct syncer {
    struct shelf *shelf; /* borrowed */
    pthread_mutex_t sync_lock;
    pthread_mutex_t lock;
    /* all with lock */
    uint64_t names_changed;   /* counts creations and deletions */
    uint64_t names_synced;    /* as many are durable */
    txid_t last_txid;         /* TXID the shelf's position stands at */
    txid_t durable_txid;      /* the same, known durable; <= last_txid */
    struct position prepared; /* of the shelf's end; TXID 0: none */
    bool prepared_durable;    /* it, or one equal to it in front of it, is */
};

void syncer_init(struct syncer *syncer, struct shelf *shelf);
void syncer_close(struct syncer *syncer);

/* Makes durable what is on the shelf. Any thread; with sync_lock. */
int syncer_sync(struct syncer *syncer);

/* True when all names, and all segments but the newest, are durable. Worker,
 * without lock. */
bool syncer_is_settled(struct syncer *syncer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/wait.h - those who wait for a TXID of one database, each
 * until its own deadline.
 *
 * Two heaps over the same entries: by TXID (those parked first win among
 * equals) and by deadline. Adding, removing and each entry that is done cost
 * O(log n); an advance that reaches nobody costs one comparison.
 *
 * Nothing here reads a clock: the owner asks wait_next_deadline(), arms one
 * timer for all and calls wait_expire() with the time it has become. What a
 * TXID means after a change of epoch is not decided here either: on a new
 * history the owner cancels all and judges each token anew.
 *
 * Loop thread only. An entry may be embedded anywhere; zeroed means "parked
 * nowhere".
 */
#ifndef TIDEMARK_REPLICATION_CORE_WAIT_H
#define TIDEMARK_REPLICATION_CORE_WAIT_H

#include "base/list.h"
#include "wal/position.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_MAX 16384u /* parked in one queue */
#define WAIT_FOREVER UINT64_MAX

struct wait_entry;
typedef void (*wait_on_done)(struct wait_entry *entry, int rc);

enum wait_order { WAIT_BY_TXID, WAIT_BY_DEADLINE, WAIT_ORDERS };

struct wait_entry {
    txid_t txid;
    uint64_t deadline_ns;
    uint64_t arrival; /* breaks ties: first come, first served */
    wait_on_done on_done;
    size_t place[WAIT_ORDERS]; /* in each heap, from 1; 0: in none */
    struct list due;           /* taken out of the heaps, about to be told */
    int rc;                    /* what it will be told */
};

struct wait_heap {
    struct wait_entry **entries; /* owned; [0 .. capacity) */
    size_t count;
    size_t capacity;
};

struct wait_queue {
    struct wait_heap heaps[WAIT_ORDERS]; /* the same entries in both */
    struct list due;
    uint64_t arrivals;
};

void wait_init(struct wait_queue *queue);

/* The queue must be empty: wait_cancel_all() first. */
void wait_close(struct wait_queue *queue);

/*
 * Parks entry until the database reaches txid or deadline_ns (monotonic;
 * WAIT_FOREVER: none). entry belongs to the queue until on_done runs: once,
 * on the loop, with 0, -ETIMEDOUT or what wait_cancel_all() was given; never
 * inside this call, even if txid is here: the next wait_advance() sees it.
 * Errors: -ENOBUFS, WAIT_MAX parked; -ENOMEM. on_done then never runs.
 */
int wait_add(struct wait_queue *queue, struct wait_entry *entry, txid_t txid,
             uint64_t deadline_ns, wait_on_done on_done);

/* Takes entry back; on_done will not run. One that is not parked is fine, so
 * that whoever waits may go away at any time, also inside another's on_done. */
void wait_remove(struct wait_queue *queue, struct wait_entry *entry);

/* The database is at txid: done with 0 for all up to there, lowest first.
 * on_done may add and remove; what it adds waits for the next call. */
void wait_advance(struct wait_queue *queue, txid_t txid);

/* It is now_ns: done with -ETIMEDOUT for all whose deadline has come. */
void wait_expire(struct wait_queue *queue, uint64_t now_ns);

/* Done with rc (< 0, usually -ECANCELED) for all. */
void wait_cancel_all(struct wait_queue *queue, int rc);

/* Earliest deadline; WAIT_FOREVER: no timer is needed. */
uint64_t wait_next_deadline(const struct wait_queue *queue);

/* Parked now. */
size_t wait_count(const struct wait_queue *queue);

#endif

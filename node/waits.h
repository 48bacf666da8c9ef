/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/waits.h - everybody who waits for a token, from wherever they came.
 *
 * A token is judged when it comes and again whenever the database's history
 * changes: between the two it is parked by TXID (replication/core/wait.h). A
 * database this node has not heard of is waited for as well. One timer for
 * all. Loop thread only.
 */
#ifndef TIDEMARK_NODE_WAITS_H
#define TIDEMARK_NODE_WAITS_H

#include "replication/core/wait.h"
#include "wal/database.h"
#include "wal/token.h"

#include <uv.h>

struct waits {
    struct catalog *catalog;
    uv_timer_t timer;
    struct list rooms; /* one per database name somebody waits for */
    size_t count;      /* waiting now */
    bool closing;
    uint64_t reached, timed_out, lost, unknown; /* since the start */
};

/*
 * One who waits. The memory is the caller's again when on_done runs: once, on
 * the loop, with 0, -ETIMEDOUT, -ESTALE (lost), -EINVAL (no token of this
 * database), -EBUSY (too many), -ECANCELED; perhaps inside waits_begin().
 */
struct waiter {
    struct wait_entry entry;
    struct list link;
    struct waits *waits;
    struct wait_room *room; /* NULL: not waiting */
    struct token token;
    uint64_t deadline_ns;
    void (*on_done)(struct waiter *waiter, int rc);
};

void waits_open(struct waits *waits, uv_loop_t *loop, struct catalog *catalog);

/* Cancels everybody and closes the timer. */
void waits_close(struct waits *waits);

void waits_begin(struct waits *waits, struct waiter *waiter,
                 const char *database, const char *token, size_t token_size,
                 uint64_t timeout_ms);

/* Ends a wait with -ECANCELED; one that is done already is fine. */
void waits_cancel(struct waits *waits, struct waiter *waiter);

/* Each database name that somebody waits for, and how many do. */
void waits_each(const struct waits *waits,
                void (*visit)(void *context, const char *name, size_t count),
                void *context);

/* The database's position or history moved. */
void waits_changed(struct waits *waits, struct database *database);

#endif

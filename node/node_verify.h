/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_verify.h - inside one node: pages are compared with their hashes,
 * because somebody asked (`tidemark verify`, range after range) or because it
 * is time (the scrub: all databases in turn, at a rate that nobody feels).
 * What comes of it is in the views, and so in `status`. Loop thread only.
 */
#ifndef TIDEMARK_NODE_NODE_VERIFY_H
#define TIDEMARK_NODE_NODE_VERIFY_H

#include "node/control.h"
#include "wal/database.h"

#include <uv.h>

#define SCRUB_FIRST_MS (10u * 60000u) /* after the start, at the earliest */

struct scrub_name {
    struct list link;
    char text[];
};

struct scrub {
    struct catalog *catalog;
    uint64_t every_ms;   /* 0: never */
    uint64_t rate_bytes; /* a second */
    uv_timer_t timer;
    struct list names;         /* still to be looked at in this pass */
    struct database *database; /* being looked at, one reference */
    struct database_request request;
    pgno_t next_pgno;
    bool open;
    bool submitted;
    bool closing;
};

void scrub_open(struct scrub *scrub, uv_loop_t *loop, struct catalog *catalog,
                uint64_t every_ms, uint64_t rate_bytes);

/* Its timer closes; a request that is out may be answered later, until the
 * catalog has stopped. Zeroed is fine. */
void scrub_close(struct scrub *scrub);

/* Answers {"do":"verify"}: one range, and where the next one begins. */
void node_verify(struct catalog *catalog, struct control_call *call,
                 const char *name, pgno_t from_pgno);

/* Nobody reads the answer any more. */
void node_verify_cancel(struct control_call *call);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_state.h - inside one node: what node.c, node_hooks.c,
 * node_links.c, node_facts.c and node_status.c share. Loop thread only, but
 * where said.
 */
#ifndef TIDEMARK_NODE_NODE_STATE_H
#define TIDEMARK_NODE_NODE_STATE_H

#include "base/clock.h"
#include "base/lockfile.h"
#include "base/logger.h"
#include "base/os.h"
#include "fuse/mount.h"
#include "node/config.h"
#include "node/control.h"
#include "node/doorway.h"
#include "node/node_facts.h"
#include "node/node_links.h"
#include "node/node_verify.h"
#include "node/status.h"
#include "node/waits.h"
#include "wal/database.h"

#include <uv.h>

struct node {
    const struct config *config;
    bool is_primary;
    bool may_lack;  /* the last run did not end in order, or as a replica, or
                      replicas are asked for all that there is */
    bool was_empty; /* no database was here, or had been */
    bool lacks;     /* a replica has what is not here: the next start asks */
    bool stopping;
    bool failed; /* the way up ended early */
    bool ended;  /* by node_end() */
    bool loop_open;
    bool doorway_open;
    bool serving; /* the mount answers */
    uint64_t started_ns;
    struct os_file data;
    struct os_file files;
    struct lockfile lock;
    uv_loop_t loop;
    uv_async_t async; /* any thread: run catalog_dispatch() */
    uv_signal_t signals[4];
    struct catalog *catalog;
    struct mount *mount;
    struct waits waits;
    struct doorway doorway;
    struct control control;
    struct links links;
    struct scrub scrub;
    struct facts_place facts; /* for status, which any thread may ask for */
    pthread_mutex_t lock_passed;
    struct list passed; /* [lock_passed] forced passes that are done */
    void (*on_links_closed)(struct node *node);
};

/* node.c: the node stops and its process says that it failed. */
void node_end(struct node *node, const char *reason);

/* node_links.c: connections to other nodes. First the roster, then, when
 * node_links_asks(), what replicas have more is fetched, which runs the loop;
 * then the links. -ECANCELED: the node was stopped meanwhile. */
int node_links_prepare(struct node *node);
bool node_links_asks(const struct node *node);
int node_links_ask(struct node *node);
int node_links_open(struct node *node);
void node_links_close(struct node *node, void (*on_closed)(struct node *node));
void node_links_changed(struct node *node, struct database *database);

/* What a callback of theirs left to do outside of it. Loop. */
void node_links_turn(struct node *node);
void node_links_free(struct node *node);

/* node_hooks.c: answers the tokens whose pass is done. Loop. */
void node_passed(struct node *node);

/* node_hooks.c: what mount and control socket ask. */
void node_mount_hooks(struct node *node, struct mount_hooks *ret_hooks);
void node_control_handlers(struct node *node,
                           struct control_handlers *ret_handlers);

/* node_status.c: the object of docs/status.md; NULL: out of memory. */
json_t *node_status(struct node *node);

#endif

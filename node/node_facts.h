/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_facts.h - inside one node: a picture of what only the loop may
 * look at, for everybody else.
 *
 * Server, client and waits belong to the loop; status and .lag are asked for
 * by FUSE workers, which never wait for it. So the loop leaves a picture,
 * taken anew each second and whenever the control socket asks for status.
 * Nobody changes one: whoever reads holds a reference, and the lock is held
 * only for as long as it takes to get it, however many databases there are.
 */
#ifndef TIDEMARK_NODE_NODE_FACTS_H
#define TIDEMARK_NODE_NODE_FACTS_H

#include "base/address.h"
#include "node/status.h"
#include "replication/core/body.h"

#include <pthread.h>

struct node;
struct node_facts; /* a picture; opaque */

/* What the node has of it. Zeroed: no picture yet. */
struct facts_place {
    pthread_mutex_t lock;
    struct node_facts *facts; /* [lock] */
};

void node_facts_init(struct facts_place *place);

/* After the last reader. */
void node_facts_close(struct facts_place *place);

/* Takes a new picture; out of memory: the old one stays. Loop. */
void node_facts_refresh(struct node *node);

/* ---- any thread ---------------------------------------------------------- */

/* With a reference; NULL: none yet, which the rest takes for "unknown". */
struct node_facts *node_facts_get(struct node *node);
void node_facts_put(struct node *node, struct node_facts *facts);

/* Texts are valid until node_facts_put(). */
void node_facts_of_node(const struct node_facts *facts,
                        struct status_node *ret_node);
void node_facts_of_database(const struct node_facts *facts,
                            struct status_database *ret_database);
int node_facts_of_replicas(const struct node_facts *facts, json_t *status);

/* How old a replica's data may be: its worst database. STATUS_NONE: unknown,
 * of one of them at least. */
uint64_t node_facts_lag_us(const struct node_facts *facts);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/lookup.h - from the address of one thing to another: which
 * stream of this connection, which channel, is about this database?
 *
 * A sorted array: news of a database ask it on every commit, databases come
 * and go rarely. Keys and values are borrowed. Any thread, one owner.
 */
#ifndef TIDEMARK_REPLICATION_NET_LOOKUP_H
#define TIDEMARK_REPLICATION_NET_LOOKUP_H

#include <stddef.h>

struct lookup_entry {
    const void *key;
    void *value;
};

struct lookup {
    struct lookup_entry *entries; /* ascending by key; owned */
    size_t count, capacity;
};

/* NULL when key is not there. */
void *lookup_find(const struct lookup *lookup, const void *key);

/* key must not be there yet. -ENOMEM. */
int lookup_add(struct lookup *lookup, const void *key, void *value);

/* Fine when it is not there. */
void lookup_remove(struct lookup *lookup, const void *key);

void lookup_free(struct lookup *lookup);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/browse.h - finding and reading records on a shelf. Part of log.c, whose
 * header has the contract; nobody else includes this. Worker thread.
 */
#ifndef TIDEMARK_WAL_BROWSE_H
#define TIDEMARK_WAL_BROWSE_H

#include "wal/shelf.h"

/* A place before which all records end at txid or below: looking for a later
 * TXID may begin there. */
struct browse_hint {
    struct log_cursor cursor; /* sequence 0: none */
    txid_t txid;
};

struct browse {
    struct shelf *shelf; /* borrowed */
    struct browse_hint last_read;
    struct browse_hint last_append;
};

/* Forgets what was known of places; after a cut. */
void browse_forget(struct browse *browse);

/* The first record whose last TXID is txid or more, whole or not. -ENOENT:
 * there is none. */
int browse_seek(struct browse *browse, txid_t txid,
                struct log_cursor *ret_cursor);

/* log_skip(), log_read(). */
int browse_skip(struct browse *browse, struct log_cursor *cursor,
                struct record_header *ret_header);
int browse_read(struct browse *browse, struct log_cursor *cursor,
                struct record_header *ret_header, struct blob **ret_blob);

#endif

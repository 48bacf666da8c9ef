/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/fetching.h - a primary that asks takes a whole database that it does not
 * know from a replica, before the new epoch begins.
 *
 *   catalog_fetch:  the name is taken; META_FETCHING, before anything else
 *   offered, copied: as at a replica, into a file beside (incoming.h)
 *   the end:        what is placed by rename is durable beside its place
 *                   (placing.h) -> META_FETCHING goes -> rename -> position
 *
 * All of it or nothing: a part of a replica's commits in the catalog would be
 * all that counts, and the replica's own be replaced by it. With META_FETCHING
 * a start removes what there is, and asks again; without it, it puts the copy
 * in its place.
 */
#ifndef TIDEMARK_WAL_FETCHING_H
#define TIDEMARK_WAL_FETCHING_H

#include "wal/engine.h"

static inline bool fetching_is(struct database *database)
{
    return atomic_load(&database->fetching);
}

/* While the catalog asks: takes the note, of which others than a stream's wait
 * for the end. Worker. */
void fetching_note(struct database *database, struct note *note);

/* What is due after the notes. Worker. */
void fetching_step(struct database *database);

/* All that came up to `until` or later becomes the database. Negative: it did
 * not come, or cannot be put in place, which is told; and the database is gone
 * from the catalog, and from the disk. Worker. */
int fetching_end(struct database *database, txid_t until);

/* The copy is durable beside its place: from here on it counts. No-op for what
 * is not fetched. Worker. */
int fetching_counts(struct database *database);

#endif

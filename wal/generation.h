/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/generation.h - one generation of a WAL, put into the database file from
 * the log. For the start of a primary that has more of it than SQLite's own
 * recovery would find.
 */
#ifndef TIDEMARK_WAL_GENERATION_H
#define TIDEMARK_WAL_GENERATION_H

#include "wal/engine.h"

/*
 * Redoes what the log's end has of the generation with this salt, and moves
 * the WAL aside to lost/. Nobody has the files open; live: through the mount,
 * which answers. -ENOENT: the log no longer has its beginning; nothing changed.
 */
int generation_redo(struct database *database,
                    const uint8_t salt[FRAME_SALT_BYTES], bool live);

/* The log's newest record of the generation with this salt that ends at frame
 * or before; zeroed: it has none. */
int generation_place(struct database *database,
                     const uint8_t salt[FRAME_SALT_BYTES], uint32_t frame,
                     struct record_header *ret_header);

#endif

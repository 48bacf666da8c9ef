/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/copying.h - the notes about a copy that comes in: what they do to the
 * database, and what it shows of it meanwhile. How a copy is built, compared
 * and placed is in incoming.h, delta.h. Worker only.
 */
#ifndef TIDEMARK_WAL_COPYING_H
#define TIDEMARK_WAL_COPYING_H

#include "wal/engine.h"

/* The database's files are there. */
void copying_begin(struct database *database, const struct note *note);

/* Answers note->request, when the note is freed. */
void copying_hashes(struct database *database, const struct note *note);

void copying_same(struct database *database, const struct note *note);
void copying_chunk(struct database *database, struct blob *blob);
void copying_end(struct database *database, const struct note *note);

/* It will not be finished; nothing if it is complete already. */
void copying_abandon(struct database *database);

/* A copy that has caught up becomes the database. */
void copying_place(struct database *database);

#endif

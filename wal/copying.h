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

/* NOTE_COPY_CHUNK, HASHES (answered when the note is freed), SAME, END, and
 * ABANDON, which does nothing to one that is complete. */
void copying_note(struct database *database, const struct note *note);

/* A copy that has caught up becomes the database. */
void copying_place(struct database *database);

#endif

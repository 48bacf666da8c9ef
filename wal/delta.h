/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/delta.h - what is here already of a copy that begins, page by page.
 *
 * A page is looked for where its content may be, in this order:
 *   1 the copy's own file: what came of an earlier one that was cut off
 *   2 a file that recovery put aside, db/<lineage>/base
 *   3 the database, as its readers see it
 * What is found in 2 is put into 1 as it is read. The hashes that are told are
 * those of bytes that were read, or of the database's own table; the table is
 * not believed when the copy begins in doubt of it. Worker only.
 */
#ifndef TIDEMARK_WAL_DELTA_H
#define TIDEMARK_WAL_DELTA_H

#include "wal/engine.h"

/* A copy begins whose file is open: what is there counts. page_bytes: of the
 * copy; what has pages of another size is no base. */
void delta_begin(struct database *database, bool doubt);

/* What an earlier process left, or recovery put aside: noticed at the start,
 * so that the primary hears of it. Again, when recovery put something aside. */
void delta_find(struct database *database);

/* Recovery moved the database's file to path, below data: a delta may find its
 * pages there. Nothing lost when that cannot be noted: all pages come. */
void delta_put_aside(struct database *database, const char *path);

/* Says in the view what a copy may be compared with. */
void delta_show(struct database *database);

/* Answers a DATABASE_HASHES. -ECANCELED: no delta is under way. */
int delta_hashes(struct database *database, struct database_request *request);

/* The primary says which pages are the same: they count as copied. -EBADMSG:
 * it cannot know of one of them. */
int delta_same(struct database *database, const struct note *note);

/* The copy's file gets another page there; all of it is emptied. */
void delta_overwrite(struct delta *delta, pgno_t pgno);
void delta_empty(struct delta *delta);

/* The copy is cut off: what its file holds beside the database stays. */
void delta_keep(struct database *database);

/* Forgets all of it; what was put aside goes as well. */
void delta_end(struct database *database);

#endif

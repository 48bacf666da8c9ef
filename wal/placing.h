/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/placing.h - a finished copy is not lost again while it takes its place.
 *
 * Over a database that somebody has open a copy goes in as one transaction in
 * its WAL, and recovery throws a replica's WAL away. So before that all that
 * the copy is made of is durable beside the database, in db/<lineage>/:
 *   placing-N         its pages: all but those that the database's file has
 *   log-placing-N/    its records; becomes log/
 *   placing-hashes-N  the hashes of its pages, and its position (hashes.h).
 *                     The mark: comes last, goes first
 * N: 0, or 1 while the mark of the copy before is still there.
 *
 * With the mark there, recovery puts pages into the file until all are those
 * of the table, and redoes the log from its position on. Without it what was
 * there before is what counts: its file and its log are as they were. Either
 * way no TXID that was called durable is forgotten.
 *
 * The mark goes when the file holds all of it: after a rename at once, else by
 * the first checkpoint. Until then database->placed, and the log keeps all.
 * Worker only, or the start.
 */
#ifndef TIDEMARK_WAL_PLACING_H
#define TIDEMARK_WAL_PLACING_H

#include "wal/incoming.h"

/* The copy is complete: from here on a crash puts it in its place. May be
 * called again, after a failure and when more records came. */
int placing_prepare(struct database *database);

/* Where its pages are then, below data. */
void placing_path(const struct database *database,
                  char ret_path[INCOMING_PATH_BYTES]);

/* It is given up before it was placed: what was there before counts again. */
void placing_undo(struct database *database);

/* Its log is the database's from here on. */
int placing_take_log(struct database *database);

/* The database file holds all up to its base, and that is saved. A failure, or
 * hashes that could not be saved, leave the mark for the next time. */
void placing_end(struct database *database, txid_t base);

/* At the start, before the log is opened: is there a mark? Then the log is the
 * copy's, and database->placed. */
int placing_find(struct database *database);

/* In directory (db/<lineage>) a whole copy waits for its place: its database
 * is not missing because the file is. */
bool placing_waits(int data_fd, const char *directory);

/* The table of the mark. -EBADMSG, -ENOENT: it is none. */
int placing_load(struct database *database, struct hashes *ret_hashes,
                 uint32_t *ret_page_bytes, struct position *ret_position);

/* Recovery: the copy and the log after it become the file, which nobody else
 * has open, and the mark goes. database->hashes: as of the log's end; live:
 * see recover_path(). -EBADMSG: a page is neither here nor there. */
int placing_redo(struct database *database, bool live);

/* What is left of one that does not count: the pages serve a delta. */
void placing_forget(struct database *database);

/* The file has all that they would be of use for. */
void placing_no_delta(struct database *database);

#endif

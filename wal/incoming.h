/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/incoming.h - a copy of a database arrives at a replica.
 *
 * Pages are read at the primary while it goes on committing, so the copy is
 * fuzzy; the records after its start, redone in order over it, make it exact
 * at its end and after. It is built in data/db/<lineage>/incoming and only
 * then takes its place: by rename when there is no database yet, else as one
 * transaction in its WAL. Of a delta only what differs comes; see delta.h.
 * Worker only.
 */
#ifndef TIDEMARK_WAL_INCOMING_H
#define TIDEMARK_WAL_INCOMING_H

#include "wal/engine.h"

#define INCOMING_PATH_BYTES 96

/* What lies in the database's own folder, below data. */
void incoming_path(const struct database *database, const char *what,
                   char path[INCOMING_PATH_BYTES]);

/* A copy begins. Its records go to a log of its own until it is in place, so
 * that a crash before that finds the old database whole. */
int incoming_begin(struct database *database, const struct database_copy *copy);

/* No copy: records make the database's first file, or one of another page
 * size; they are in the database's own log. */
int incoming_begin_file(struct database *database);

/* Pages of the copy. */
int incoming_chunk(struct database *database, const struct record *record);

/* All pages are here: redoes what the log has already. */
int incoming_end(struct database *database, const struct position *end);

/* Redoes one record on the file. */
int incoming_record(struct database *database, const struct record *record);

/* True when the copy is exact: at or past its end. */
bool incoming_is_complete(const struct database *database);

/* Puts the copy in place; the hashes and the position become the database's.
 * -EBADMSG: its sum is not what the record says. */
int incoming_place(struct database *database);

/* The copy is cut off: what came of it stays for a delta. */
void incoming_suspend(struct database *database);

/* Throws the copy away, also when none is there. */
void incoming_abandon(struct database *database);

#endif

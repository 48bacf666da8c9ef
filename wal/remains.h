/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/remains.h - what is left of a database that was dropped: its tombstone,
 * which is its meta file, and nothing else.
 */
#ifndef TIDEMARK_WAL_REMAINS_H
#define TIDEMARK_WAL_REMAINS_H

#include "wal/engine.h"

/* Removes all below directory (db/<lineage>) but the meta file, as far as
 * that is possible; a start tries it again. */
void remains_remove_files(int data_fd, const char *directory);

/* All of it, the meta file last: it leaves no tombstone. */
void remains_erase(int data_fd, const char *directory);

/* Primary: an application deleted it. DROP in the log, a tombstone in meta, and
 * the database leaves the catalog. Worker only. */
void remains_bury(struct database *database);

/*
 * At start: nothing can go on from this lineage. Its log is kept in lost/, it
 * becomes a tombstone and leaves the catalog; `why` is told. The database file
 * stays where it is.
 */
int remains_retire(struct database *database, const char *why);

/* At start: the meta file cannot be read, nobody knows whose directory it is.
 * It is kept in lost/. */
int remains_put_aside(struct catalog *catalog, const char *directory);

/* After the tombstone was saved: the files go, and what is in memory and of
 * use to nobody. A replica's log stays open as long as the object: others may
 * be in it. Worker only. */
void remains_let_go(struct database *database);

#endif

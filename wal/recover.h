/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover.h - what a start makes of what the last run left behind; before
 * the mount is up, on the plain files. One path for a crash and a power cut.
 */
#ifndef TIDEMARK_WAL_RECOVER_H
#define TIDEMARK_WAL_RECOVER_H

#include "wal/engine.h"

#define RECOVER_PATH_BYTES (4096 + DATABASE_NAME_MAX + 32)

/* Loads every directory of db/ and brings its database in order; a tombstone
 * or a directory of nobody is passed over. Main thread, before the workers
 * run. */
int recover_all(struct catalog *catalog);

/* After an orderly stop: remembers how the file looks, so that the next start
 * need not look at it. For catalog_each. */
void recover_mark_clean(void *context, struct database *database);

/* Before the first change after a clean start: the mark is taken back. */
int recover_unmark_clean(struct database *database);

/* Processes that outlived an earlier daemon have the files open. */
bool recover_has_orphans(struct database *database);

/* The page hashes anew, as of the log's end. -EBADMSG: it cannot tell. */
int recover_hashes(struct database *database);

/* The same from the log alone, which must reach back to the first record. */
int recover_hashes_of_log(struct database *database);

/* The file (suffix ""), or what stands beside it; live: as the mount, which
 * answers, names it. Returns what directory the path starts at. */
int recover_path(const struct database *database, const char *suffix, bool live,
                 char path[RECOVER_PATH_BYTES]);

/* Makes the directories above a database's file. */
int recover_make_parents(struct database *database);

/* Opens main_file for writing. make: also when it is not there, with its
 * owner, but never through a live mount. -EBADMSG: it is not there. */
int recover_open_file(struct database *database, bool live, bool make);

/* The last stop was in order, and nothing came after it. */
bool recover_is_clean(struct database *database);

/* The file is not the one that we closed then. */
bool recover_was_touched(struct database *database);

/*
 * Makes the database's file durable. After a sync that failed, its own or one
 * of SQLite's (database->file_suspect), the kernel may call pages clean that it
 * could not write, and no later sync writes them: on a replica, where nobody
 * else writes to it, all of it is written again first. Worker, or the
 * checkpoint thread while it has the database.
 */
int recover_sync_file(struct database *database, enum site site);

/* Makes the file durable before something is said of its content, which SQLite
 * does not do with synchronous=OFF, and which companions lie beside it: it
 * never does that for a WAL it deletes, and one that a power cut brings back
 * looks like a stranger's. */
int recover_sync_files(struct database *database);

/* A journal lies beside it that SQLite would roll back. */
bool recover_journal_is_hot(struct database *database);

/* A WAL lies beside it, and is not empty. */
bool recover_wal_is_left(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover.h - what a start makes of what the last run left behind; before
 * the mount is up, on the plain files. One path for a crash and a power cut.
 */
#ifndef TIDEMARK_WAL_RECOVER_H
#define TIDEMARK_WAL_RECOVER_H

#include "wal/engine.h"

/* Loads every directory of db/ and brings its database in order; a tombstone
 * or a directory of nobody is passed over. Main thread, before the workers
 * run. */
int recover_all(struct catalog *catalog);

/* After an orderly stop: remembers how the file looks, so that the next start
 * need not look at it. For catalog_each. */
void recover_mark_clean(void *context, struct database *database);

/* Before the first change after a clean start: the mark is taken back. */
int recover_unmark_clean(struct database *database);

#endif

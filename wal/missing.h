/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/missing.h - databases of a primary whose file was gone from data/files
 * when it started: told, kept in memory for `status`, and taken from nobody.
 *
 * A file that is not there may have been deleted, or its disk was not mounted,
 * or a restore was half done: nothing tells. So it is no DROP. Its log stays,
 * replicas keep what they have, and the start that finds the file back goes on
 * with it. A new database of the name ends the old one, as anywhere else.
 */
#ifndef TIDEMARK_WAL_MISSING_H
#define TIDEMARK_WAL_MISSING_H

#include "wal/engine.h"

/* meta's database has no file: told. Main thread, at a start. */
void missing_add(struct catalog *catalog, const struct meta *meta);

/* database is new and has its files: whoever was missing under its name is
 * dropped, its log kept in lost/. 0 or a negative errno. Worker. */
int missing_end(struct database *database);

/* Is one of that name missing? Any thread. */
bool missing_has(struct catalog *catalog, const char *name);

void missing_free(struct catalog *catalog);

#endif

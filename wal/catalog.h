/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/catalog.h - inside the engine: making, finding and letting go of
 * databases. What others may call is in database.h.
 */
#ifndef TIDEMARK_WAL_CATALOG_H
#define TIDEMARK_WAL_CATALOG_H

#include "wal/engine.h"

/* A database object with one reference, in no table yet; NULL: no memory. */
struct database *catalog_make(struct catalog *catalog, const char *name,
                              const struct lineage *lineage);

/* Opens its log and writes its first meta file. */
int catalog_create_files(struct database *database);

/* Enters it in the tables (which hold a reference of their own). -EEXIST:
 * another one has the name. */
int catalog_add(struct catalog *catalog, struct database *database);

/* Takes it out of the name table: its name is free for another. */
void catalog_remove_name(struct database *database);

/* Takes it out of all tables and gives their reference back. */
void catalog_remove(struct database *database);

/* Remembers that a lineage was dropped. */
void catalog_bury(struct catalog *catalog, const struct lineage *lineage);

/* A new lineage. */
int catalog_draw_lineage(struct lineage *ret_lineage);

#endif

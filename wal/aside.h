/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/aside.h - a database file, with the -wal and -journal that belong to
 * it, moves to data/lost, where SQLite can open it as it was.
 */
#ifndef TIDEMARK_WAL_ASIDE_H
#define TIDEMARK_WAL_ASIDE_H

#include "wal/lost.h"

/*
 * what.ending is "db". live: the mount answers, and what it knows by name goes
 * through it; who has the files open keeps them. 0: done, and ret_path says
 * where, from data; "": there was no file (its companions are gone, too). A
 * negative errno, told: something may have moved, and it can be tried again.
 * Worker, or main thread before the workers run.
 */
int aside_move(struct database *database, const struct lost_what *what,
               bool live, char ret_path[LOST_PATH_BYTES]);

/* The same, told, for a file that never came from the primary and has the name
 * of a database that is to be copied here. None is no error. Worker. */
int aside_strange(struct database *database);

#endif

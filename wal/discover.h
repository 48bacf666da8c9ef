/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/discover.h - which files are databases, and how one becomes a database:
 * by what applications do with it, or found in data/files by a start.
 *
 * A file is one when it starts with the SQLite header, or when SQLite opens a
 * -journal or a -wal beside it. At a start nobody opens anything, so there a
 * companion counts when SQLite would recover from it: a hot journal, or a WAL
 * with a header.
 */
#ifndef TIDEMARK_WAL_DISCOVER_H
#define TIDEMARK_WAL_DISCOVER_H

#include "wal/engine.h"

/* What a message, a log line and a line of `status` can name: no control
 * bytes. Any other file may have them, but none becomes a database. */
bool discover_name_is_clean(const char *name);

/* -EINVAL, told: this would make a database that no replica can have. */
int discover_refuse_name(struct catalog *catalog, const char *name);

/* The file starts with the SQLite header. */
bool discover_has_header(const struct os_file *file);

/* How the regular file files/NAME looks; false: there is none. */
bool discover_status(struct catalog *catalog, const char *name,
                     struct stat *ret_status);

/* The file turns out to be a database: the object now, its files on the
 * worker. With a reference, or NULL: a replica, no such file, a name nobody
 * can say, no memory. Any thread. */
struct database *discover_adopt(struct catalog *catalog, const char *name);

/*
 * Walks data/files for databases that came while no node ran. A primary adopts
 * them; a replica tells of each: they are nobody's, and stay as they are until
 * the primary has a database of that name. What cannot be read is told and
 * passed over; symbolic links, FIFOs and the like are not looked at. 0, or a
 * negative errno when files/ itself cannot be read. Main thread, before the
 * workers run.
 */
int discover_all(struct catalog *catalog);

#endif

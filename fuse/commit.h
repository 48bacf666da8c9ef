/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/commit.h - the commit operations of a rollback journal: it is unlinked
 * (journal_mode=DELETE), cut to 0 (TRUNCATE), or its header is zeroed
 * (PERSIST). The engine reads the journal before, and hears how it went.
 * FUSE workers.
 */
#ifndef TIDEMARK_FUSE_COMMIT_H
#define TIDEMARK_FUSE_COMMIT_H

#include "fuse/session.h"

/*
 * A commit operation is about to be done to the journal at path; file is its
 * backing file, open for reading and still whole; not open: it could not be
 * opened, and the database will be re-read. Returns the database for
 * commit_end(); NULL when this commits nothing: no journal, no database, or
 * our own doing.
 */
struct database *commit_begin(struct mount *mount, const char *path,
                              const struct os_file *file, bool own);

/* It was done, or failed with rc. NULL is fine. */
void commit_end(struct database *database, int rc);

#define COMMIT_HEADER_BYTES 28 /* what SQLite zeroes */

/* Does this write zero the header of a journal? A fresh header begins with
 * zeros too, but its sector size (bytes 20..23) is never 0. Pure. */
bool commit_is_zeroing(const char *bytes, size_t size, off_t offset);

/* The database the file at path belongs to by its name, with a reference, or
 * NULL; and what it is of it. */
struct database *commit_find_database(struct mount *mount, const char *path,
                                      enum database_file *ret_kind);

#endif

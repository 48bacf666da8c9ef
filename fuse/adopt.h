/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/adopt.h - handles of files that become databases while they are open.
 *
 * An application opens an empty file; only when SQLite opens a journal or a
 * WAL beside it the engine sees a database. The open handles of the file are
 * then told to the engine late, so that it knows who has the database open
 * and every handle leads to it. Until then they are strangers: listed at their
 * inode, under its lock. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_ADOPT_H
#define TIDEMARK_FUSE_ADOPT_H

#include "fuse/handle.h"

/* handle was opened and belongs to no database. */
void adopt_stranger(struct handle *handle);

/* handle is being closed: nobody adopts it any more. */
void adopt_forget(struct handle *handle);

/* A journal or WAL at path was opened, and it belongs to a database: so do
 * the strangers at the database's own file. */
void adopt_beside(struct mount *mount, const char *path);

/* The database of a handle, with a reference, or NULL. Looks again when the
 * handle is a stranger. */
struct database *adopt_database(struct handle *handle,
                                enum database_file *ret_kind);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/owner.h - whose a database is: uid, gid and mode of its file.
 *
 * On the primary the file says it, whoever changed it and when. On a replica
 * the primary does: the view has what it said last, and the file is made to
 * follow. Either is looked at behind the change by the one worker, so the last
 * change is the one that counts. Worker, or main thread while it recovers.
 */
#ifndef TIDEMARK_WAL_OWNER_H
#define TIDEMARK_WAL_OWNER_H

#include "wal/engine.h"

/* Primary: the view gets what the file has. Whether that is news; none when
 * there is no file. */
bool owner_look(struct database *database);

/* Primary: the file's may be another now; replicas and metadata get it. */
void owner_changed(struct database *database);

/* Replica: the metadata get what the view has, and the file, if it is another.
 * A failure is told; the next time that the primary says it tries again. */
void owner_give(struct database *database);

/* Replica: the same for a file that is to become the database. 0, or a negative
 * errno. */
int owner_give_new(struct database *database, const struct os_file *file);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/overwrite.h - a file that is written over a database, as cp does it:
 * emptied, then filled by somebody who is no SQLite.
 *
 * From being emptied until a writer closes it, the file is no database: who
 * opens it waits, and nothing is read from it. Then all of it is one commit.
 */
#ifndef TIDEMARK_WAL_OVERWRITE_H
#define TIDEMARK_WAL_OVERWRITE_H

#include "wal/engine.h"

/* An application is about to empty the main file. -EBUSY: a WAL is in use; as
 * soon as nobody has it open, our anchor lets go of it. FUSE thread. */
int overwrite_begin(struct database *database);

/* An application has closed the main file. FUSE thread. */
void overwrite_closed(struct database *database, bool was_writable);

/* Any thread. */
bool overwrite_is_on(struct database *database);

/* It is another file, or has another content, and can be read: what is mapped
 * and open is of the old one. Worker. */
void overwrite_end(struct database *database);

#endif

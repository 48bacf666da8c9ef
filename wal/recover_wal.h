/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_wal.h - a primary's WAL after an unclean stop: what of it the
 * log does not have yet.
 */
#ifndef TIDEMARK_WAL_RECOVER_WAL_H
#define TIDEMARK_WAL_RECOVER_WAL_H

#include "wal/engine.h"

/*
 * Captures the committed tail of the WAL file (nobody has it open), or marks
 * the database for a re-read when log and WAL do not fit together. Afterwards
 * attach_at says how far the WAL is captured.
 */
int recover_wal(struct database *database);

/* The mount is live, and a database that was held back is about to be opened
 * by SQLite, and re-read: what its recovery would not see of the log's commits
 * is put into the file before. */
int recover_unsummed(struct database *database);

#endif

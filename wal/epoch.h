/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/epoch.h - the highest epoch that this node knows of, in data/epoch:
 * "TMKEPOC1", u64 LE, XXH3-64 of both. Under the catalog's lock.
 */
#ifndef TIDEMARK_WAL_EPOCH_H
#define TIDEMARK_WAL_EPOCH_H

#include "wal/engine.h"

/* Reads it; none yet is no error. -EBADMSG: damaged. */
int epoch_load(struct catalog *catalog);

/* A static primary raises the epoch at every start, after the old WALs were
 * captured under the old one; on disk before it is used. A replica does not. */
int epoch_renew(struct catalog *catalog);

/* A record's epoch, when the history has not got it, is on disk before the log
 * has the record. Writer thread; negative errno of the save. */
int epoch_take(struct database *database, const struct record_header *header);

#endif

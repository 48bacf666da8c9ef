/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/redo.h - a log, read from somewhere to its end: committed transactions
 * in order, each part by part.
 */
#ifndef TIDEMARK_WAL_REDO_H
#define TIDEMARK_WAL_REDO_H

#include "wal/engine.h"

/* Called for each part of each committed transaction; an error ends it. */
typedef int (*redo_fn)(struct database *database, const struct record *record);

/* Runs redo over the log (while a copy is under way: over the copy's) from
 * txid on; nothing there is no error. Worker only. */
int redo_log(struct database *database, txid_t txid, redo_fn redo);

/* The same, straight into main_file, which is open for writing here and to
 * nobody else; on a replica it is in WAL mode then, on a primary in the mode
 * that the records have. Synced. */
int redo_into_file(struct database *database, txid_t txid);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/graft.h - a primary that starts takes records from a replica that has
 * more of its own history, before the new epoch begins.
 *
 *   offered:  checked -> (the first: meta is marked, WAL copied back) -> log
 *   the end:  log durable -> hashes redone -> file redone -> meta -> position
 *
 * META_GRAFTING says that the file, its WAL copied back, holds all up to the
 * base TXID and is to be redone from there to the log's end, whatever a redo
 * that was cut short has left in it. It is durable before anything else is
 * done, so that no start ever takes a file that is older than its log, or half
 * of it, for what the primary committed. Nobody has the files open: the mount
 * does not answer.
 */
#ifndef TIDEMARK_WAL_GRAFT_H
#define TIDEMARK_WAL_GRAFT_H

#include "wal/engine.h"

/* While the catalog asks: offers are taken, all other notes wait for the end.
 * Takes the note. Worker. */
void graft_note(struct database *database, struct note *note);

/* What was offered becomes the content. 0, also when nothing was; else a
 * negative errno, told, and it stands where it stood. Worker. */
int graft_end(struct database *database);

/* File and log are one, and there is no WAL: nothing but a clean mark tells
 * so. Worker, or the start. */
void graft_explained(struct database *database);

/* At a start, META_GRAFTING is set, and the hashes are those of the log's end:
 * redoes the file. Main thread. */
int graft_recover(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/apply.h - records become frames in the replica's own WAL.
 *
 * The daemon is a peer writer: it holds WAL_WRITE, appends frames with
 * SQLite's own checksum chain and publishes the wal-index. Readers never wait
 * for it. Each record is one commit in the WAL; a batch is published at once.
 * Worker only, database attached.
 */
#ifndef TIDEMARK_WAL_APPLY_H
#define TIDEMARK_WAL_APPLY_H

#include "wal/engine.h"

/* Takes over the wal-index as it is after attaching. -EAGAIN: unreadable. */
int apply_start(struct database *database);

/*
 * Writes the pages of one record (commit: its last page carries the commit
 * mark) and updates the hashes. Nothing is visible before apply_publish().
 */
int apply_pages(struct database *database, const struct record *record,
                bool commit);

/* One page from elsewhere; commit_pages as in a frame. */
int apply_page(struct database *database, pgno_t pgno, const uint8_t *image,
               uint32_t commit_pages);

/* Makes all that was written visible to the next reader. */
int apply_publish(struct database *database);

/* Back to what is published: frames that were written are forgotten, page
 * hashes and database->applied are again those of the view. */
void apply_abandon(struct database *database);

/* Starts the WAL over when all of it is in the database file and no reader
 * is in it; true when it did. */
bool apply_reset(struct database *database);

void apply_free(struct apply *apply);

#endif

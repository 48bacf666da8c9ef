/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/readview.h - a database's pages as a reader sees them, held still.
 *
 * In WAL mode one read transaction of the anchor pins the WAL, and pages are
 * found through the wal-index as SQLite finds them; in rollback modes a
 * connection of its own holds SHARED, which keeps writers from committing, so
 * keep it short. Worker only; one at a time per database.
 */
#ifndef TIDEMARK_WAL_READVIEW_H
#define TIDEMARK_WAL_READVIEW_H

#include "wal/engine.h"

struct readview {
    struct database *database;
    bool wal;
    struct anchor own;             /* rollback modes */
    struct walindex_header header; /* WAL: what the transaction sees */
    uint32_t minimum;              /* WAL: frames up to it are in the file */
    uint32_t page_bytes;
    uint32_t size_pages;
};

/* Before the first one: the database is attached, or none of ours is needed.
 * 0, -EAGAIN: not yet; others as the world said. */
int readview_ready(struct database *database);

/* After: the page hashes know all that was visible before this. -EAGAIN: not
 * yet. */
int readview_settle(struct database *database);

/* -EAGAIN: a writer is in the way, or a checkpoint has the anchor: try later;
 * others as the world said. Opens the main file, which stays open. */
int readview_open(struct readview *view, struct database *database);
void readview_close(struct readview *view);

/* Page pgno into page (page_bytes long); past the end of the file: zeroes,
 * as SQLite reads it. */
int readview_page(struct readview *view, pgno_t pgno, uint8_t *page);

/* On a replica in WAL mode: the same, if any frame has it, *ret_there. Whether
 * it was copied back or not, the database file need not have it after a power
 * cut: SQLite syncs the file when all frames are in it, not before. */
int readview_wal_page(struct readview *view, pgno_t pgno, uint8_t *page,
                      bool *ret_there);

#endif

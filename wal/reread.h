/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/reread.h - when nobody can say what changed: read every page, compare
 * hashes, and let one TXID cover the difference. Worker only, primary.
 */
#ifndef TIDEMARK_WAL_REREAD_H
#define TIDEMARK_WAL_REREAD_H

#include "wal/engine.h"

/* Re-reads now, under one read view; in WAL mode capture goes on from there.
 * -EAGAIN: a writer is in the way, try later. */
int reread(struct database *database);

/* Settles a prepared commit whose application has died before it was done: it
 * is old, and a read lock can be had. What fails is left to the next step. */
void reread_if_abandoned(struct database *database);

/* The pgnos 1..size_pages without the lock-byte page, to be freed with
 * os_free(). */
int reread_all_pages(uint32_t size_pages, uint32_t page_bytes,
                     pgno_t **ret_pgnos, uint32_t *ret_count);

#endif

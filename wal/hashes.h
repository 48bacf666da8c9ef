/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/hashes.h - the hash of every page of one database, and their xor.
 *
 * 8 bytes a page in memory; 0 stands for a page that was never written (SQLite
 * leaves holes: pages that were allocated and freed in one transaction, and
 * the lock-byte page). The side file holds the table together with the
 * position it stands for; the log redoes it from there.
 *
 * Side file, little-endian:
 *   offset  size  field
 *        0     8  magic "TMKHASH1"
 *        8     4  page size
 *       12     4  pages
 *       16     8  epoch of the position
 *       24     8  TXID
 *       32     8  sum
 *       40    16  lineage
 *       56     8  XXH3-64 of bytes 0..55
 *       64   8*n  page hashes, pages 1..n
 *   64+8*n     8  XXH3-64 of the page hashes
 *
 * One owner (the database's worker). Saving replaces the file whole.
 */
#ifndef TIDEMARK_WAL_HASHES_H
#define TIDEMARK_WAL_HASHES_H

#include "base/os.h"
#include "wal/page.h"
#include "wal/position.h"

struct hashes {
    uint64_t *of;      /* of[pgno - 1]; entries past count are 0 */
    uint32_t count;    /* pages of the database */
    uint32_t capacity; /* entries allocated */
    uint64_t sum;      /* xor of all */
};

void hashes_free(struct hashes *hashes);

/* Hash of page pgno, 0 when it is past the end or was never written. */
static inline uint64_t hashes_get(const struct hashes *hashes, pgno_t pgno)
{
    return pgno <= hashes->count ? hashes->of[pgno - 1] : 0;
}

/*
 * Makes room for size_pages entries, so that the calls that follow cannot
 * fail; the content does not change. -ENOMEM.
 */
int hashes_reserve(struct hashes *hashes, uint32_t size_pages);

/* Sets one page's hash (<= reserved); the database grows to it if needed. */
void hashes_set(struct hashes *hashes, pgno_t pgno, uint64_t hash);

/* The database now has size_pages pages: those cut off leave the sum. */
void hashes_resize(struct hashes *hashes, uint32_t size_pages);

/* The sum as it would be after setting pgnos[i] to values[i] and resizing to
 * size_pages. pgnos ascending. Changes nothing. */
uint64_t hashes_sum_after(const struct hashes *hashes, const pgno_t *pgnos,
                          const uint64_t *values, uint32_t count,
                          uint32_t size_pages);

/* Writes the side file so that either the old or the new one is there. */
int hashes_save(const struct hashes *hashes, int dirfd, const char *path,
                const struct lineage *lineage, uint32_t page_bytes,
                const struct position *position);

/* Reads it. -ENOENT: none; -EBADMSG: damaged or another lineage's. */
int hashes_load(struct hashes *hashes, int dirfd, const char *path,
                const struct lineage *lineage, uint32_t *ret_page_bytes,
                struct position *ret_position);

#endif

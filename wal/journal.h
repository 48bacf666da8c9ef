/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/journal.h - which pages a rollback-journal transaction changed.
 *
 * A rollback journal is one or more segments and perhaps a tail. Integers are
 * big-endian. S and P are the sector and page size of the first header.
 *
 *   segment header, S bytes, at a multiple of S
 *   offset  size  field
 *        0     8  magic d9 d5 05 f9 20 a1 63 d7
 *        8     4  records in this segment; 0xffffffff: as many as follow
 *       12     4  nonce, drawn anew for each header
 *       16     4  database size in pages before the transaction
 *       20     4  sector size S   } those of the first header count
 *       24     4  page size P     }
 *       28     -  undefined up to S
 *
 *   record, P + 8 bytes, back to back behind the header
 *        0     4  pgno, neither 0 nor the lock-byte page
 *        4     P  that page as it was before the transaction
 *    4 + P     4  nonce + the bytes of the page at P-200, P-400, ... above 0
 *
 *   tail, last bytes of the file, if several databases commit together
 *        0     4  pgno of the lock-byte page: no record has it
 *        4     n  name of the super-journal
 *    4 + n     4  n
 *    8 + n     4  sum of the name's bytes, each signed
 *   12 + n     8  magic
 *
 * Segments. Each time SQLite's cache spills, the segment is closed and synced:
 * only then are magic and count written, until then these 12 bytes are 0. The
 * next header lies at the next multiple of S behind the last record. With
 * synchronous=OFF nothing is ever synced: one segment, count 0xffffffff. Behind
 * the last segment there may be anything that an older transaction left there
 * (journal_mode=PERSIST): its records do not fit the nonce.
 *
 * How a journal ends is how a transaction ends: removed (DELETE), cut to 0
 * bytes (TRUNCATE), or its first 28 bytes zeroed (PERSIST).
 *
 * Changed pages. Those in the journal, those past the original size, and the
 * leaves of those old free-list trunks whose own page is in the journal: a leaf
 * that is put to use is written without being journaled, since nobody needs
 * its old content, but taking it changes its trunk. The old free list starts
 * in the old page 1 and runs through trunks as they were: from the journal if
 * they are there, else from the database. It is walked only as far as needed,
 * and not at all when no journaled page looks like a trunk, so that a small
 * commit on a database with millions of free pages stays small.
 *
 * The original size is the one in the old page 1, if the journal has more: a
 * file that shrinks is cut after its commit, and whoever dies in between leaves
 * it longer. The journal counts what the file has, and SQLite writes such pages
 * like new ones.
 *
 * Segments whose magic is still 0 are read like the others: when a transaction
 * that spilled is rolled back, such a segment may hold the trunk of a leaf that
 * was written, and nothing restores that leaf.
 *
 * The set may be too large, never too small: callers drop pages whose hash did
 * not change. Reads the two files it is given, allocates its result, keeps
 * nothing. Memory is bounded by pages_max. Any thread; the caller knows that
 * nobody writes meanwhile: at FSYNC of the database, or, where synchronous=OFF
 * sends none, at the operation that ends the journal, before it is done.
 */
#ifndef TIDEMARK_WAL_JOURNAL_H
#define TIDEMARK_WAL_JOURNAL_H

#include "base/os.h"
#include "wal/page.h"

#define JOURNAL_NAME_BYTES 520 /* SQLite's longest path, and a final 0 */

struct journal_changes {
    uint32_t page_bytes;
    pgno_t *pages; /* ascending, no duplicates, none past new_pages, no
                         * lock-byte page */
    size_t count;  /* <= pages_max */
    char super_name[JOURNAL_NAME_BYTES]; /* as in the tail, or "" */
};

/*
 * Reads the journal against a database that now has new_pages pages.
 * Returns 0; -ENOENT: no valid journal header there (empty, zeroed, never
 * synced: not hot, and the database not written under it); -EBADMSG: broken
 * past the first header in a way that leaves the set uncertain, or the
 * transaction changed the page size: the caller must re-read all pages; -E2BIG
 * past pages_max (pages named more than once may count more than once);
 * -ENOMEM and errors of reading.
 * The caller frees with journal_changes_free(), also after an error.
 */
int journal_read(const struct os_file *journal, const struct os_file *database,
                 uint32_t new_pages, size_t pages_max,
                 struct journal_changes *ret_changes);

void journal_changes_free(struct journal_changes *changes);

/* True when the journal would be played back by the next opener as far as
 * its own bytes tell: non-empty, valid header (locks and the super-journal
 * are the caller's to check). 0/1 or a negative errno. */
int journal_is_hot(const struct os_file *journal);

#endif

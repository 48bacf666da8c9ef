/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/journal.h - which pages a rollback-journal transaction changed.
 *
 * (layout table and the rule for the changed set: sqlite.md 10.1 and 10.6,
 * to be written out here)
 *
 * Pages changed by a transaction = those in the journal, those past the
 * original size, and the leaves of those old free-list trunks whose own page
 * is in the journal (a leaf that is reused is written without being
 * journaled). A superset is harmless: callers drop pages whose hash did not
 * change. Reads the two files it is given, allocates its result, keeps
 * nothing. Any thread; the caller knows that nobody writes meanwhile.
 */
#ifndef TIDEMARK_WAL_JOURNAL_H
#define TIDEMARK_WAL_JOURNAL_H

#include "base/os.h"
#include "wal/page.h"

struct journal_changes {
    uint32_t page_bytes;
    uint32_t old_pages; /* database size before, from the first header */
    pgno_t *pages;      /* ascending, no duplicates, none past new_pages */
    size_t count;
    char super_name[512]; /* super-journal named at the tail, or "" */
};

/*
 * Reads the journal against a database that now has new_pages pages.
 * Returns 0; -ENOENT: no valid journal header there (empty or zeroed: not
 * hot); -EBADMSG: broken past the first header in a way that leaves the set
 * uncertain, the caller must re-read all pages; -E2BIG past pages_max.
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

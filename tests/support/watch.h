/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/watch.h - a SQLite VFS that looks at rollback transactions.
 *
 * It stands where the mount will stand: whenever a transaction on a watched
 * database is about to become final (fsync of the database, then the end of
 * its journal: unlink, truncate, zeroed header) it asks journal_read() for the
 * changed pages and compares every page of the file with a copy taken before
 * the transaction. A changed page that is not in the set is a miss.
 *
 * Nothing is really synced: the page cache is the disk of these tests. Watches
 * are global: one test at a time, one thread.
 */
#ifndef TIDEMARK_TESTS_SUPPORT_WATCH_H
#define TIDEMARK_TESTS_SUPPORT_WATCH_H

#include "wal/journal.h"

#define WATCHES_MAX 4
#define WATCH_VFS "watch"

struct watch {
    char path[256];  /* of the database */
    uint8_t *before; /* its content when the transaction began */
    size_t before_bytes;
    bool ended;  /* the journal ended; what comes now is no commit */
    bool canary; /* take the old leaves out of the set: misses must show */

    /* Of the last check, for tests that ask more. */
    size_t set_pages; /* that journal_read() returned */
    char super_name[JOURNAL_NAME_BYTES];

    /* Of all checks. */
    size_t checks;
    size_t changed; /* pages that really changed */
    size_t leaves;  /* of those, leaves of the old free list */
    size_t missed;  /* changed, but not in the set */
    size_t refused; /* -EBADMSG because the page size changed */
};

/* What the next opened files say about their disk, for sqlite3_io_methods. */
extern int watch_characteristics;
extern int watch_sector_bytes;

/* Registers the VFS, forgets all watches. */
void watch_start(void);

/* Watches the database at path from now on. */
struct watch *watch_add(const char *path);

/* The content now is what the next transaction starts from. */
void watch_begin(struct watch *watch);

/* Like watch_begin, but the content is that of another watch's: for a copy
 * that was made in the middle of a transaction. */
void watch_begin_as(struct watch *watch, const struct watch *other);

#endif

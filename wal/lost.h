/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/lost.h - data/lost: what was put aside rather than thrown away, each
 * entry with a text beside it that says what it is.
 *
 *   lost/<lineage>-<time>.db        a database file
 *   lost/<lineage>-<time>.db-wal    the WAL that belongs to it
 *   lost/<lineage>-<time>.wal       a WAL alone
 *   lost/<lineage>-<time>.log       a log, a folder
 *   lost/<lineage>-<time>.dir       a folder of data/db
 *   lost/ENTRY.txt                  of each but a db-wal: lines "key: value",
 *                                   in this order: database, file, lineage,
 *                                   epoch, txid, sum, when, why
 *
 * <time> is in ns, hex. epoch, txid and sum are the last position that the
 * node knows the entry to have held; what is in it may be newer. The text is
 * written, whole and durable, before the entry is moved: nothing ever lies
 * there that nobody explains. Nothing here is read again but for `status`.
 */
#ifndef TIDEMARK_WAL_LOST_H
#define TIDEMARK_WAL_LOST_H

#include "wal/engine.h"

#define LOST_PATH_BYTES 96

/* What is put aside. */
struct lost_what {
    const char *database; /* its name */
    const char *lineage;  /* as in data/db; "strange": nobody's */
    const char *ending;   /* "db", "wal", "log", "dir" */
    const char *why;      /* one sentence */
    struct position position;
};

/* What of database is put aside, at its position now. */
struct lost_what lost_of(const struct database *database, const char *ending,
                         const char *why);

/* Names an entry, path from data, and writes its text. It has to be put there
 * now, and then said with lost_kept() or, when that failed or there was
 * nothing, lost_undone(). 0 or a negative errno, told to site_fail(). */
int lost_begin(struct catalog *catalog, const struct lost_what *what,
               char ret_path[LOST_PATH_BYTES]);

/* It is there: shown by `status` from now on. */
void lost_kept(struct catalog *catalog, const struct lost_what *what,
               const char *path);

/* It is not. */
void lost_undone(struct catalog *catalog, const char *path);

/* lost_begin(), a rename of `from`, a path from data, and what came of it.
 * -ENOENT: there is no such thing. ret_path may be NULL. */
int lost_move(struct catalog *catalog, const struct lost_what *what,
              const char *from, char ret_path[LOST_PATH_BYTES]);

/* Reads what the runs before left. Main thread, at a start. */
int lost_load(struct catalog *catalog);
void lost_free(struct catalog *catalog);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/stock.h - the stock SQLite as the judge of our formats.
 *
 * A folder that goes away again, connections, and what SQLite itself sees.
 * What has to work for a test to make sense ends the program when it does
 * not; what a test is about returns a code. POSIX locks belong to process and
 * inode: close nothing on a database's files while connections are open.
 */
#ifndef TESTS_SUPPORT_STOCK_H
#define TESTS_SUPPORT_STOCK_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct stock_folder {
    char path[64];
};

/* Makes a new folder; removes it with all files in it. */
void stock_folder_make(struct stock_folder *folder);
void stock_folder_remove(struct stock_folder *folder);

/* "folder/name" and a suffix, in memory that the fourth next call reuses. */
const char *stock_path(const struct stock_folder *folder, const char *name,
                       const char *suffix);

/* A connection in WAL mode that checkpoints only when told. page_bytes counts
 * for a database that does not exist yet; 0: SQLite's default. */
sqlite3 *stock_open(const char *path, uint32_t page_bytes);

/* Runs statements (a printf format); they must succeed. */
void stock_exec(sqlite3 *connection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs statements; SQLite's result code. */
int stock_try(sqlite3 *connection, const char *sql);

/* First column of the first row. */
int64_t stock_number(sqlite3 *connection, const char *sql);

/* The database as this connection sees it, page by page; free() it. */
uint8_t *stock_image(sqlite3 *connection, size_t *ret_size);

/* Asks the sqlite3 program, so another process. Its output without the last
 * newline lives until the next call. */
const char *stock_ask(const char *path, const char *sql);

#endif

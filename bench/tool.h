/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/tool.h - what the load generators share: small programs that use
 * nothing but the stock SQLite, say one line of JSON and end.
 *
 * Any failure ends the program with a sentence and status 1: a measurement
 * that met an error is no measurement.
 */
#ifndef TIDEMARK_BENCH_TOOL_H
#define TIDEMARK_BENCH_TOOL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define TOOL_BUSY_MS 10000

void tool_fail(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/* An argument as a number from least to most. */
int64_t tool_number(const char *text, int64_t least, int64_t most);

/* An argument in seconds, as nanoseconds. */
uint64_t tool_seconds_ns(const char *text);

/* Opens for writing in WAL mode; sync is a value of PRAGMA synchronous. */
sqlite3 *tool_open_writer(const char *path, const char *sync);

/* Opens for reading only, as a careful application on a replica does. */
sqlite3 *tool_open_reader(const char *path);

void tool_exec(sqlite3 *db, const char *sql);
sqlite3_stmt *tool_prepare(sqlite3 *db, const char *sql);

/* One step; true when there is a row. */
bool tool_step(sqlite3_stmt *statement);

/* The first column of the first row. */
int64_t tool_query(sqlite3 *db, const char *sql);

/* Until SIGTERM or SIGINT came, which from now on end the program in good
 * order: what was measured is still said. */
void tool_catch_signals(void);
bool tool_is_stopped(void);

/* Wakes as exactly as the kernel can; at once when the time has passed. */
void tool_sleep_until(uint64_t due_ns);

/* The kernel may wake this thread late by 50 us to save power. Not here. */
void tool_wake_exactly(void);

#endif

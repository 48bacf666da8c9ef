/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/tool.c - what the load generators share.
 */
#include "bench/tool.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static volatile sig_atomic_t tool_stopped;

void tool_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

int64_t tool_number(const char *text, int64_t least, int64_t most)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least ||
        value > most)
        tool_fail("%s is not a number from %lld to %lld", text,
                  (long long)least, (long long)most);
    return value;
}

uint64_t tool_seconds_ns(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || seconds <= 0 || seconds > 86400)
        tool_fail("%s is not a number of seconds", text);
    return (uint64_t)(seconds * 1e9);
}

static sqlite3 *open_with(const char *path, int flags)
{
    sqlite3 *db;

    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
        tool_fail("%s: %s", path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, TOOL_BUSY_MS);
    return db;
}

sqlite3 *tool_open_writer(const char *path, const char *sync)
{
    sqlite3 *db = open_with(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    char *sql = sqlite3_mprintf("PRAGMA synchronous = %s", sync);

    tool_exec(db, "PRAGMA journal_mode = wal");
    tool_exec(db, sql);
    sqlite3_free(sql);
    return db;
}

sqlite3 *tool_open_reader(const char *path)
{
    return open_with(path, SQLITE_OPEN_READONLY);
}

void tool_exec(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        tool_fail("%s: %s", sql, sqlite3_errmsg(db));
}

sqlite3_stmt *tool_prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        tool_fail("%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

bool tool_step(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        tool_fail("%s: %s", sqlite3_sql(statement),
                  sqlite3_errmsg(sqlite3_db_handle(statement)));
    return rc == SQLITE_ROW;
}

int64_t tool_query(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = tool_prepare(db, sql);
    int64_t value;

    if (!tool_step(statement))
        tool_fail("%s: no row", sql);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void tool_on_signal(int number)
{
    (void)number;
    tool_stopped = 1;
}

void tool_catch_signals(void)
{
    struct sigaction action = {.sa_handler = tool_on_signal};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

bool tool_is_stopped(void)
{
    return tool_stopped != 0;
}

void tool_sleep_until(uint64_t due_ns)
{
    struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                           .tv_nsec = (long)(due_ns % NS_PER_S)};

    while (clock_now_ns() < due_ns && !tool_is_stopped())
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

void tool_wake_exactly(void)
{
    if (prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul) != 0)
        tool_fail("prctl(PR_SET_TIMERSLACK) failed");
}

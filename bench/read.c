/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/read.c - point reads as fast as they go.
 *
 *   read DB SECONDS
 *
 * Each is a transaction of its own: one row of table t by its key, the keys
 * drawn evenly from those that were there at the start.
 */
#include "bench/tool.h"

#include "base/clock.h"

#include <stdio.h>

#define READS_PER_LOOK 64 /* between two looks at the clock */

/* Numerical Recipes' generator: its high bits are even enough for keys. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) +
             UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void read_row(sqlite3_stmt *select, int64_t id)
{
    sqlite3_bind_int64(select, 1, id);
    if (!tool_step(select))
        tool_fail("row %lld is not there", (long long)id);
    sqlite3_reset(select);
}

int main(int argc, char **argv)
{
    sqlite3_stmt *select;
    sqlite3 *db;
    uint64_t start_ns, now_ns, until_ns, rows, count = 0, random = 1;

    if (argc != 3)
        tool_fail("usage: read DB SECONDS");
    tool_catch_signals();
    db = tool_open_reader(argv[1]);
    rows = (uint64_t)tool_query(db, "SELECT max(id) FROM t");
    select = tool_prepare(db, "SELECT v FROM t WHERE id = ?");
    now_ns = start_ns = clock_now_ns();
    until_ns = start_ns + tool_seconds_ns(argv[2]);
    while (now_ns < until_ns && !tool_is_stopped()) {
        for (int i = 0; i < READS_PER_LOOK; i++, count++)
            read_row(select, (int64_t)(next_random(&random) % rows) + 1);
        now_ns = clock_now_ns();
    }
    printf("{\"reads\": %llu, \"seconds\": %.6f, \"rows\": %llu}\n",
           (unsigned long long)count, (double)(now_ns - start_ns) / 1e9,
           (unsigned long long)rows);
    sqlite3_finalize(select);
    sqlite3_close(db);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/pace.c - commits on a schedule that nothing can slow down.
 *
 *   pace DB SYNC RATE SECONDS
 *
 * Transaction i is due at start + i / RATE, whatever became of those before
 * it (open loop): when the system stalls, the ones that fell due meanwhile
 * are late by the whole stall, and so are the figures made from them.
 *
 * A row says when it was due, when its transaction began, and when the COMMIT
 * of the row before it returned; bench/watch.c makes lags from that. All by
 * CLOCK_MONOTONIC, which every process of one machine shares.
 */
#include "bench/histogram.h"
#include "bench/tool.h"

#include "base/clock.h"

#include <string.h>

#define ROW_BYTES 100
#define LATE_NS NS_PER_MS

struct pacer {
    sqlite3_stmt *insert;
    int64_t seq;
    uint64_t before_ns; /* when the last COMMIT returned */
    uint64_t late;      /* began more than LATE_NS after it was due */
    char row[ROW_BYTES];
};

static struct histogram commits;

static void pacer_open(struct pacer *pacer, sqlite3 *db)
{
    tool_exec(db, "CREATE TABLE IF NOT EXISTS lag(seq INTEGER PRIMARY KEY, "
                  "due INTEGER, began INTEGER, before INTEGER, v TEXT)");
    *pacer = (struct pacer){0};
    pacer->seq = tool_query(db, "SELECT ifnull(max(seq), 0) FROM lag");
    pacer->insert = tool_prepare(db, "INSERT INTO lag VALUES(?,?,?,?,?)");
    memset(pacer->row, 'x', sizeof(pacer->row));
}

static void pacer_commit(struct pacer *pacer, uint64_t due_ns)
{
    sqlite3_stmt *insert = pacer->insert;
    uint64_t began_ns = clock_now_ns();

    sqlite3_bind_int64(insert, 1, ++pacer->seq);
    sqlite3_bind_int64(insert, 2, (int64_t)due_ns);
    sqlite3_bind_int64(insert, 3, (int64_t)began_ns);
    sqlite3_bind_int64(insert, 4, (int64_t)pacer->before_ns);
    sqlite3_bind_text(insert, 5, pacer->row, ROW_BYTES, SQLITE_STATIC);
    tool_step(insert);
    sqlite3_reset(insert);
    pacer->before_ns = clock_now_ns();
    histogram_add(&commits, pacer->before_ns - began_ns);
    if (began_ns > due_ns + LATE_NS)
        pacer->late++;
}

int main(int argc, char **argv)
{
    struct pacer pacer;
    sqlite3 *db;
    uint64_t start_ns, due_ns, rate, count;

    if (argc != 5)
        tool_fail("usage: pace DB SYNC RATE SECONDS");
    tool_catch_signals();
    tool_wake_exactly();
    db = tool_open_writer(argv[1], argv[2]);
    pacer_open(&pacer, db);
    rate = (uint64_t)tool_number(argv[3], 1, 1000000);
    count = tool_seconds_ns(argv[4]) * rate / NS_PER_S;
    start_ns = clock_now_ns() + 10 * NS_PER_MS;
    for (uint64_t i = 0; i < count && !tool_is_stopped(); i++) {
        due_ns = start_ns + i * NS_PER_S / rate;
        tool_sleep_until(due_ns);
        pacer_commit(&pacer, due_ns);
    }
    printf("{\"transactions\": %llu, \"late\": %llu, \"seconds\": %.6f, ",
           (unsigned long long)count, (unsigned long long)pacer.late,
           (double)(clock_now_ns() - start_ns) / 1e9);
    histogram_print(&commits, "commit", stdout);
    puts("}");
    sqlite3_finalize(pacer.insert);
    sqlite3_close(db);
    return 0;
}

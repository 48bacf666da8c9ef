/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/write.c - commits as fast as they go.
 *
 *   write DB SYNC ROWS SECONDS
 *
 * Each transaction inserts ROWS rows of 100 bytes. Counted from WARM_UP_NS
 * on: opening and the first growth of the WAL are not what is measured.
 * SIGTERM ends it early, and what was done until then is said.
 */
#include "bench/tool.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define WARM_UP_NS (100 * NS_PER_MS)
#define ROW_BYTES 100

struct writer {
    sqlite3_stmt *begin, *insert, *commit;
    int64_t rows;
};

static void writer_open(struct writer *writer, sqlite3 *db, int64_t rows)
{
    tool_exec(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, "
                  "v TEXT)");
    writer->rows = rows;
    writer->begin = tool_prepare(db, "BEGIN IMMEDIATE");
    writer->insert = tool_prepare(db, "INSERT INTO t(v) VALUES(?)");
    writer->commit = tool_prepare(db, "COMMIT");
}

static void run_once(sqlite3_stmt *statement)
{
    tool_step(statement);
    sqlite3_reset(statement);
}

/* A single row commits by itself, as most applications do. */
static void writer_commit(struct writer *writer, const char *row)
{
    if (writer->rows > 1)
        run_once(writer->begin);
    for (int64_t i = 0; i < writer->rows; i++) {
        sqlite3_bind_text(writer->insert, 1, row, ROW_BYTES, SQLITE_STATIC);
        run_once(writer->insert);
    }
    if (writer->rows > 1)
        run_once(writer->commit);
}

static uint64_t writer_run(struct writer *writer, uint64_t until_ns,
                           uint64_t *ret_end_ns)
{
    char row[ROW_BYTES];
    uint64_t count = 0, now_ns = clock_now_ns();

    memset(row, 'x', sizeof(row));
    while (now_ns < until_ns && !tool_is_stopped()) {
        writer_commit(writer, row);
        count++;
        now_ns = clock_now_ns();
    }
    *ret_end_ns = now_ns;
    return count;
}

int main(int argc, char **argv)
{
    struct writer writer;
    sqlite3 *db;
    uint64_t start_ns, end_ns, count;

    if (argc != 5)
        tool_fail("usage: write DB SYNC ROWS SECONDS");
    tool_catch_signals();
    db = tool_open_writer(argv[1], argv[2]);
    writer_open(&writer, db, tool_number(argv[3], 1, 1000000));
    writer_run(&writer, clock_now_ns() + WARM_UP_NS, &start_ns);
    count = writer_run(&writer, start_ns + tool_seconds_ns(argv[4]), &end_ns);
    printf("{\"transactions\": %llu, \"seconds\": %.6f, \"sqlite\": \"%s\"}\n",
           (unsigned long long)count, (double)(end_ns - start_ns) / 1e9,
           sqlite3_libversion());
    sqlite3_finalize(writer.begin);
    sqlite3_finalize(writer.insert);
    sqlite3_finalize(writer.commit);
    sqlite3_close(db);
    return 0;
}

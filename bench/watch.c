/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/watch.c - a stock reader that says when it first saw each row.
 *
 *   watch DB ROWS SECONDS
 *
 * Reads what bench/pace.c writes, on another node or on the same, until it
 * has seen ROWS new rows or SECONDS are over. Says "ready" on standard error
 * once it would miss nothing.
 *
 * A reader that only queries would take a whole core from what it measures,
 * and one that sleeps between queries would measure its sleep. So it sleeps
 * until the kernel says that the -wal beside the database was written
 * (inotify, as any program can), then queries again and again for LOOK_NS,
 * and then every PAUSE_NS for a while: the write comes a moment before the
 * commit is published, and a fsync may lie between. It yields after each
 * query: the one who woke it may be about to publish on the very core that
 * the reader took from him. A row's time is taken when sqlite3_step() has
 * returned it.
 *
 * Two lags of each row: since it was due (nothing is hidden: a late writer
 * counts), and since its COMMIT returned to the writer.
 */
#include "bench/histogram.h"
#include "bench/tool.h"

#include "base/clock.h"

#include <poll.h>
#include <sched.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_NS (300 * NS_PER_US)
#define PAUSE_NS (200 * NS_PER_US)
#define PATIENCE_NS (100 * NS_PER_MS)
#define SLEEP_NS (50 * NS_PER_MS) /* looked at with no event: "missed" */

struct watcher {
    sqlite3_stmt *select;
    int inotify_fd;
    int64_t seq;         /* the last row seen */
    uint64_t visible_ns; /* when */
    uint64_t rows, events, queries, missed;
};

static struct histogram since_due, since_commit;

static void watcher_open(struct watcher *watcher, sqlite3 *db, const char *path)
{
    char *wal = sqlite3_mprintf("%s-wal", path);

    *watcher = (struct watcher){0};
    watcher->seq = tool_query(db, "SELECT ifnull(max(seq), 0) FROM lag");
    watcher->select = tool_prepare(db, "SELECT seq, due, before FROM lag "
                                       "WHERE seq > ? ORDER BY seq");
    watcher->inotify_fd = inotify_init1(IN_NONBLOCK);
    if (watcher->inotify_fd < 0 ||
        inotify_add_watch(watcher->inotify_fd, wal, IN_MODIFY) < 0)
        tool_fail("%s: cannot be watched", wal);
    sqlite3_free(wal);
}

static void watcher_count(struct watcher *watcher)
{
    int64_t seq = sqlite3_column_int64(watcher->select, 0);
    uint64_t due_ns = (uint64_t)sqlite3_column_int64(watcher->select, 1);
    uint64_t before_ns = (uint64_t)sqlite3_column_int64(watcher->select, 2);
    uint64_t now_ns = clock_now_ns();

    if (seq != watcher->seq + 1)
        tool_fail("row %lld came after row %lld", (long long)seq,
                  (long long)watcher->seq);
    histogram_add(&since_due, now_ns - due_ns);
    /* Visible may be earlier than back in the writer: that is no lag. */
    if (watcher->rows > 0)
        histogram_add(&since_commit, watcher->visible_ns > before_ns
                                         ? watcher->visible_ns - before_ns
                                         : 0);
    watcher->seq = seq;
    watcher->visible_ns = now_ns;
    watcher->rows++;
}

/* One query; how many new rows it had. */
static uint64_t watcher_query(struct watcher *watcher)
{
    uint64_t rows = watcher->rows;

    sqlite3_bind_int64(watcher->select, 1, watcher->seq);
    while (tool_step(watcher->select))
        watcher_count(watcher);
    sqlite3_reset(watcher->select);
    watcher->queries++;
    return watcher->rows - rows;
}

/* Sleeps until the -wal was written; false when it was not. */
static bool watcher_sleep(struct watcher *watcher, uint64_t most_ns)
{
    struct pollfd poll_fd = {.fd = watcher->inotify_fd, .events = POLLIN};
    struct timespec most = {.tv_nsec = (long)most_ns};
    char events[4096];

    if (ppoll(&poll_fd, 1, &most, NULL) <= 0)
        return false;
    while (read(watcher->inotify_fd, events, sizeof(events)) > 0)
        watcher->events++;
    return true;
}

static void watcher_look(struct watcher *watcher)
{
    uint64_t began_ns;

    if (!watcher_sleep(watcher, SLEEP_NS)) {
        if (watcher_query(watcher) > 0)
            watcher->missed++;
        return;
    }
    began_ns = clock_now_ns();
    while (watcher_query(watcher) == 0) {
        if (clock_now_ns() > began_ns + PATIENCE_NS)
            return;
        if (clock_now_ns() > began_ns + LOOK_NS)
            watcher_sleep(watcher, PAUSE_NS);
        else
            sched_yield(); /* to the writer that woke us, on this core */
    }
}

static void watcher_print(const struct watcher *watcher)
{
    printf("{\"rows\": %llu, \"events\": %llu, \"queries\": %llu, "
           "\"missed\": %llu, ",
           (unsigned long long)watcher->rows,
           (unsigned long long)watcher->events,
           (unsigned long long)watcher->queries,
           (unsigned long long)watcher->missed);
    histogram_print(&since_due, "due", stdout);
    fputs(", ", stdout);
    histogram_print(&since_commit, "commit", stdout);
    puts("}");
}

int main(int argc, char **argv)
{
    struct watcher watcher;
    sqlite3 *db;
    uint64_t rows, until_ns;

    if (argc != 4)
        tool_fail("usage: watch DB ROWS SECONDS");
    tool_catch_signals();
    tool_wake_exactly();
    db = tool_open_reader(argv[1]);
    watcher_open(&watcher, db, argv[1]);
    rows = (uint64_t)tool_number(argv[2], 1, INT32_MAX);
    until_ns = clock_now_ns() + tool_seconds_ns(argv[3]);
    fputs("ready\n", stderr);
    while (watcher.rows < rows && clock_now_ns() < until_ns &&
           !tool_is_stopped())
        watcher_look(&watcher);
    watcher_print(&watcher);
    close(watcher.inotify_fd);
    sqlite3_finalize(watcher.select);
    sqlite3_close(db);
    return 0;
}

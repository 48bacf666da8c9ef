/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/session.c - read your own write, as a shell script would.
 *
 *   session PRIMARY REPLICA DB RATE SECONDS
 *
 * PRIMARY and REPLICA are two mounts. RATE times a second, on a fixed
 * schedule: commits a row on the primary, reads the token from
 * .tidemark/token/DB there, opens .tidemark/wait/DB/TOKEN on the replica,
 * then reads the row there with a stock SQLite. The row must be found at
 * once: if it is not, the program fails.
 *
 * Times count from when COMMIT returned: to the token in hand, to the wait
 * answered, to the row read.
 */
#include "bench/histogram.h"
#include "bench/tool.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct session {
    sqlite3_stmt *insert, *select;
    char *token_path, *wait_path; /* of the mounts; the latter ends in "/" */
    int64_t seq;
};

static struct histogram tokens, waits, rows;

static void session_open(struct session *session, sqlite3 *primary,
                         sqlite3 *replica, char **mounts)
{
    const char *db = mounts[2];

    session->seq = tool_query(primary, "SELECT ifnull(max(seq), 0) FROM s");
    session->insert = tool_prepare(primary, "INSERT INTO s VALUES(?, 'x')");
    session->select = tool_prepare(replica, "SELECT v FROM s WHERE seq = ?");
    session->token_path = sqlite3_mprintf("%s/.tidemark/token/%s", mounts[0],
                                          db);
    session->wait_path = sqlite3_mprintf("%s/.tidemark/wait/%s/", mounts[1],
                                         db);
}

static void session_write(struct session *session)
{
    sqlite3_bind_int64(session->insert, 1, ++session->seq);
    tool_step(session->insert);
    sqlite3_reset(session->insert);
}

static void session_token(const struct session *session, char *token,
                          size_t token_max)
{
    int fd = open(session->token_path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, token, token_max - 1);

    if (size <= 0)
        tool_fail("%s: %s", session->token_path, strerror(errno));
    close(fd);
    token[size] = '\0';
    token[strcspn(token, "\n")] = '\0';
}

static void session_wait(const struct session *session, const char *token)
{
    char path[4096];
    int fd;

    sqlite3_snprintf(sizeof(path), path, "%s%s", session->wait_path, token);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        tool_fail("%s: %s", path, strerror(errno));
    close(fd);
}

static void session_read(const struct session *session)
{
    sqlite3_bind_int64(session->select, 1, session->seq);
    if (!tool_step(session->select))
        tool_fail("row %lld was waited for and is not there",
                  (long long)session->seq);
    sqlite3_reset(session->select);
}

static void session_run_once(struct session *session)
{
    char token[512];
    uint64_t start_ns;

    session_write(session);
    start_ns = clock_now_ns();
    session_token(session, token, sizeof(token));
    histogram_add(&tokens, clock_now_ns() - start_ns);
    session_wait(session, token);
    histogram_add(&waits, clock_now_ns() - start_ns);
    session_read(session);
    histogram_add(&rows, clock_now_ns() - start_ns);
}

static void session_print(void)
{
    putchar('{');
    histogram_print(&tokens, "token", stdout);
    fputs(", ", stdout);
    histogram_print(&waits, "wait", stdout);
    fputs(", ", stdout);
    histogram_print(&rows, "row", stdout);
    puts("}");
}

static sqlite3 *open_in(const char *mount, const char *name, bool writer)
{
    char *path = sqlite3_mprintf("%s/%s", mount, name);
    sqlite3 *db = writer ? tool_open_writer(path, "NORMAL")
                         : tool_open_reader(path);

    sqlite3_free(path);
    return db;
}

int main(int argc, char **argv)
{
    struct session session;
    sqlite3 *primary, *replica;
    uint64_t start_ns, rate, count;

    if (argc != 6)
        tool_fail("usage: session PRIMARY REPLICA DB RATE SECONDS");
    tool_catch_signals();
    tool_wake_exactly();
    primary = open_in(argv[1], argv[3], true);
    replica = open_in(argv[2], argv[3], false);
    session_open(&session, primary, replica, &argv[1]);
    rate = (uint64_t)tool_number(argv[4], 1, 1000000);
    count = tool_seconds_ns(argv[5]) * rate / NS_PER_S;
    start_ns = clock_now_ns();
    for (uint64_t i = 0; i < count && !tool_is_stopped(); i++) {
        tool_sleep_until(start_ns + i * NS_PER_S / rate);
        session_run_once(&session);
    }
    session_print();
    sqlite3_free(session.token_path);
    sqlite3_free(session.wait_path);
    sqlite3_finalize(session.insert);
    sqlite3_finalize(session.select);
    sqlite3_close(replica);
    sqlite3_close(primary);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/transfer.c - sqlite3_backup in steps, so that it can show progress and
 * be interrupted. From the first step on the backup holds the write lock of
 * `to`; what it wrote becomes visible at the end at once, or not at all.
 */
#include "node/transfer.h"

#include "base/clock.h"
#include "node/quantity.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEP_PAGES 256
#define BUSY_MS 30000 /* how long to wait for somebody else's lock */
#define PROGRESS_EACH_MS 100

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static int fail(struct transfer *transfer, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct transfer *transfer, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(transfer->text, sizeof transfer->text, format, arguments);
    va_end(arguments);
    return error;
}

/* ---- opening, and questions --------------------------------------------- */

static int open_one(struct transfer *transfer, const char *path, int flags,
                    sqlite3 **ret_db)
{
    int rc = sqlite3_open_v2(path, ret_db, flags, NULL);

    if (*ret_db == NULL)
        return fail(transfer, -EIO, "out of memory");
    if (rc != SQLITE_OK)
        return fail(transfer, -EIO, "%s: %s", path, sqlite3_errmsg(*ret_db));
    sqlite3_busy_timeout(*ret_db, BUSY_MS);
    return 0;
}

void transfer_close(struct transfer *transfer)
{
    sqlite3_close(transfer->from); /* NULL is fine */
    sqlite3_close(transfer->to);
    transfer->from = NULL;
    transfer->to = NULL;
}

/* The first column of the first row; "" when there is none. */
static int ask(struct transfer *transfer, sqlite3 *db, const char *name,
               const char *sql, char answer[32])
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    answer[0] = '\0';
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        snprintf(answer, 32, "%s",
                 (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        return 0;
    return fail(transfer, -EIO, "%s: %s", name, sqlite3_errmsg(db));
}

int transfer_open(struct transfer *transfer, const char *from, const char *to)
{
    char ignored[32];
    int rc;

    *transfer = (struct transfer){.from_name = from, .to_name = to};
    if (access(from, R_OK) != 0)
        return fail(transfer, -EIO, "%s: %s", from, strerror(errno));
    rc = open_one(transfer, from, SQLITE_OPEN_READONLY, &transfer->from);
    /* SQLite opens anything; look before `to` is made for nothing. */
    if (rc == 0)
        rc = ask(transfer, transfer->from, from,
                 "SELECT count(*) FROM sqlite_schema", ignored);
    if (rc == 0)
        rc = open_one(transfer, to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                      &transfer->to);
    return rc;
}

int transfer_hold(struct transfer *transfer)
{
    char ignored[32];
    int rc = ask(transfer, transfer->from, transfer->from_name, "BEGIN",
                 ignored);

    if (rc < 0)
        return rc;
    return ask(transfer, transfer->from, transfer->from_name,
               "SELECT count(*) FROM sqlite_schema", ignored);
}

int transfer_check(struct transfer *transfer)
{
    char from_size[32], to_size[32], to_mode[32], to_pages[32];
    int rc = ask(transfer, transfer->from, transfer->from_name,
                 "PRAGMA page_size", from_size);

    if (rc == 0)
        rc = ask(transfer, transfer->to, transfer->to_name,
                 "PRAGMA journal_mode", to_mode);
    if (rc == 0)
        rc = ask(transfer, transfer->to, transfer->to_name, "PRAGMA page_count",
                 to_pages);
    if (rc == 0)
        rc = ask(transfer, transfer->to, transfer->to_name, "PRAGMA page_size",
                 to_size);
    if (rc < 0 || strcmp(to_mode, "wal") != 0 || strcmp(to_pages, "0") == 0 ||
        strcmp(from_size, to_size) == 0)
        return rc;
    return fail(transfer, -EINVAL,
                "%s has pages of %s bytes, but %s is in WAL mode and keeps its "
                "%s; make a copy that fits and import that: "
                "sqlite3 '%s' \"PRAGMA page_size=%s; VACUUM INTO "
                "'/tmp/copy.db'\"",
                transfer->from_name, from_size, transfer->to_name, to_size,
                transfer->from_name, to_size);
}

/* ---- copying ------------------------------------------------------------ */

struct progress {
    const char *label;
    bool shown; /* standard error is a terminal */
    uint64_t next_ns;
};

static void progress_show(struct progress *progress, sqlite3_backup *backup,
                          uint32_t page_bytes, bool last)
{
    int64_t total = sqlite3_backup_pagecount(backup);
    int64_t done = total - sqlite3_backup_remaining(backup);
    char text[QUANTITY_TEXT_BYTES];

    if (!progress->shown || total <= 0 ||
        (!last && clock_now_ns() < progress->next_ns))
        return;
    progress->next_ns = clock_now_ns() + PROGRESS_EACH_MS * NS_PER_MS;
    quantity_format_size((uint64_t)done * page_bytes, text);
    fprintf(stderr, "\r%s: %3d%%  %s\033[K%s", progress->label,
            (int)(100 * done / total), text, last ? "\n" : "");
}

/* Steps until done; SQLITE_DONE, SQLITE_INTERRUPT or what went wrong. */
static int copy(struct transfer *transfer, sqlite3_backup *backup,
                struct progress *progress)
{
    uint64_t deadline = clock_now_ns() + BUSY_MS * NS_PER_MS;
    int rc;

    do {
        rc = sqlite3_backup_step(backup, STEP_PAGES);
        if (rc == SQLITE_OK)
            deadline = clock_now_ns() + BUSY_MS * NS_PER_MS;
        if (rc == SQLITE_LOCKED)
            sqlite3_sleep(10); /* SQLite waited for SQLITE_BUSY, not for it */
        progress_show(progress, backup, transfer->page_bytes, false);
        if (interrupted)
            return SQLITE_INTERRUPT;
    } while (rc == SQLITE_OK || ((rc == SQLITE_BUSY || rc == SQLITE_LOCKED) &&
                                 clock_now_ns() < deadline));
    progress_show(progress, backup, transfer->page_bytes, true);
    return rc;
}

static int explain(struct transfer *transfer, int rc)
{
    if (rc == SQLITE_DONE)
        return 0;
    if (rc == SQLITE_INTERRUPT)
        return fail(transfer, -EINTR, "interrupted; nothing was changed");
    if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED)
        return fail(transfer, -EIO,
                    "%s is busy: an application holds a transaction open for "
                    "longer than %d s; end it and try again",
                    transfer->to_name, BUSY_MS / 1000);
    return fail(transfer, -EIO, "copying %s to %s: %s; nothing was changed",
                transfer->from_name, transfer->to_name, sqlite3_errstr(rc));
}

static int run_backup(struct transfer *transfer, const char *label)
{
    struct progress progress = {label, isatty(STDERR_FILENO) == 1, 0};
    sqlite3_backup *backup = sqlite3_backup_init(transfer->to, "main",
                                                 transfer->from, "main");
    int rc, finished;

    if (backup == NULL)
        return fail(transfer, -EIO, "%s: %s", transfer->to_name,
                    sqlite3_errmsg(transfer->to));
    rc = copy(transfer, backup, &progress);
    transfer->pages = sqlite3_backup_pagecount(backup);
    /* Commits, or rolls back what was not finished. */
    finished = sqlite3_backup_finish(backup);
    if (rc == SQLITE_DONE && finished != SQLITE_OK)
        rc = finished;
    return explain(transfer, rc);
}

int transfer_run(struct transfer *transfer, const char *label)
{
    const struct sigaction catch = {.sa_handler = on_signal};
    struct sigaction interrupt, terminate;
    char bytes[32];
    int rc = ask(transfer, transfer->from, transfer->from_name,
                 "PRAGMA page_size", bytes);

    if (rc < 0)
        return rc;
    sscanf(bytes, "%u", &transfer->page_bytes);
    interrupted = 0;
    sigaction(SIGINT, &catch, &interrupt);
    sigaction(SIGTERM, &catch, &terminate);
    rc = run_backup(transfer, label);
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &terminate, NULL);
    return rc;
}

/* ---- where -------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "?" : text;
}

/* True when name is a path below the mount that can be a database's. */
static bool name_is_valid(const char *name)
{
    static const char *const endings[] = {"-wal", "-shm", "-journal"};
    size_t length = strlen(name);

    if (length == 0 || name[0] == '/' || name[length - 1] == '/' ||
        strncmp(name, ".tidemark/", 10) == 0)
        return false;
    for (const char *at = name; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "../", 3) == 0 || strcmp(at, "..") == 0)
            return false;
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t ending = strlen(endings[i]);

        if (length >= ending && strcmp(name + length - ending, endings[i]) == 0)
            return false;
    }
    return true;
}

int transfer_path(const json_t *status, const char *name, bool need_primary,
                  char *ret_path, size_t size, char text[TRANSFER_TEXT_BYTES])
{
    const json_t *node = json_object_get(status, "node");
    const char *mount = text_of(node, "mount");

    if (!name_is_valid(name)) {
        snprintf(text, TRANSFER_TEXT_BYTES,
                 "%s is not the name of a database; write its path below the "
                 "mount %s",
                 name, mount);
        return -EINVAL;
    }
    if (need_primary && strcmp(text_of(node, "role"), "primary") != 0) {
        snprintf(text, TRANSFER_TEXT_BYTES,
                 "this node is a replica; do it on the primary, %s",
                 text_of(json_object_get(node, "primary"), "address"));
        return -EINVAL;
    }
    if ((size_t)snprintf(ret_path, size, "%s/%s", mount, name) < size)
        return 0;
    snprintf(text, TRANSFER_TEXT_BYTES, "%.80s...: path too long", name);
    return -EINVAL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/stock.c - see stock.h. */
#include "tests/support/stock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "stock: %s: %s\n", what, why);
    abort();
}

void stock_folder_make(struct stock_folder *folder)
{
    snprintf(folder->path, sizeof folder->path, "/tmp/tidemark-test-XXXXXX");
    if (mkdtemp(folder->path) == NULL)
        give_up("mkdtemp", folder->path);
}

void stock_folder_remove(struct stock_folder *folder)
{
    DIR *directory = opendir(folder->path);
    struct dirent *entry;

    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(folder->path);
}

const char *stock_path(const struct stock_folder *folder, const char *name,
                       const char *suffix)
{
    static char paths[4][160];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s%s", folder->path, name, suffix);
    return path;
}

sqlite3 *stock_open(const char *path, uint32_t page_bytes)
{
    sqlite3 *connection;

    if (sqlite3_open(path, &connection) != SQLITE_OK)
        give_up(path, sqlite3_errmsg(connection));
    if (page_bytes != 0)
        stock_exec(connection, "PRAGMA page_size=%u", page_bytes);
    stock_exec(connection, "PRAGMA journal_mode=WAL;"
                           "PRAGMA wal_autocheckpoint=0;"
                           "PRAGMA synchronous=NORMAL;"
                           "SELECT count(*) FROM sqlite_schema");
    return connection;
}

void stock_exec(sqlite3 *connection, const char *format, ...)
{
    char *sql = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&sql, format, arguments) < 0)
        give_up(format, "out of memory");
    va_end(arguments);
    if (stock_try(connection, sql) != SQLITE_OK)
        give_up(sql, sqlite3_errmsg(connection));
    free(sql);
}

int stock_try(sqlite3 *connection, const char *sql)
{
    return sqlite3_exec(connection, sql, NULL, NULL, NULL);
}

int64_t stock_number(sqlite3 *connection, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t number;

    if (sqlite3_prepare_v2(connection, sql, -1, &statement, NULL) !=
            SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        give_up(sql, sqlite3_errmsg(connection));
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

uint8_t *stock_image(sqlite3 *connection, size_t *ret_size)
{
    sqlite3_int64 size = 0;
    uint8_t *pages = sqlite3_serialize(connection, "main", &size, 0);
    uint8_t *copy = pages == NULL ? NULL : malloc((size_t)size + 1);

    if (copy == NULL)
        give_up("serialize", sqlite3_errmsg(connection));
    memcpy(copy, pages, (size_t)size);
    sqlite3_free(pages);
    *ret_size = (size_t)size;
    return copy;
}

/* The child's side: the program's output goes into the pipe. */
static _Noreturn void ask_child(int out, const char *path, const char *sql)
{
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execlp("sqlite3", "sqlite3", "-batch", path, sql, (char *)NULL);
    _exit(127);
}

const char *stock_ask(const char *path, const char *sql)
{
    static char answer[4096];
    size_t size = 0;
    ssize_t n;
    int pipes[2], status;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        give_up("pipe", sql);
    pid = fork();
    if (pid == 0)
        ask_child(pipes[1], path, sql);
    close(pipes[1]);
    while ((n = read(pipes[0], answer + size, sizeof answer - 1 - size)) > 0)
        size += (size_t)n;
    close(pipes[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        give_up("sqlite3", sql);
    while (size > 0 && answer[size - 1] == '\n')
        size--;
    answer[size] = '\0';
    return answer;
}

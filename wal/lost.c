/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/lost.c - see lost.h. The catalog holds the newest entries for `status`,
 * under its lock; a start reads them from the texts. A text that cannot be
 * read, or is none of ours, leaves an entry with its file's name alone.
 */
#include "wal/lost.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES (DATABASE_NAME_MAX + 1024)
#define TEXT_ENDING ".txt"

struct lost_what lost_of(const struct database *database, const char *ending,
                         const char *why)
{
    return (struct lost_what){
        .database = database->name,
        .lineage = database->directory + strlen("db/"),
        .ending = ending,
        .why = why,
        .position = database->view.position,
    };
}

/* ---- what `status` shows --------------------------------------------------*/

/* Among the newest, oldest first. Takes entry's texts. */
static void remember(struct catalog *catalog, struct catalog_lost *entry)
{
    struct lost_ledger *ledger = &catalog->lost;
    size_t at;

    pthread_mutex_lock(&catalog->lock);
    ledger->count++;
    at = ledger->shown;
    while (at > 0 && ledger->entries[at - 1].wall_ns > entry->wall_ns)
        at--;
    if (ledger->shown == CATALOG_LOST_SHOWN && at > 0) {
        free(ledger->entries[0].database);
        memmove(&ledger->entries[0], &ledger->entries[1],
                (at - 1) * sizeof *entry);
        ledger->entries[at - 1] = *entry;
        *entry = (struct catalog_lost){0};
    } else if (ledger->shown < CATALOG_LOST_SHOWN) {
        memmove(&ledger->entries[at + 1], &ledger->entries[at],
                (ledger->shown - at) * sizeof *entry);
        ledger->entries[at] = *entry;
        ledger->shown++;
        *entry = (struct catalog_lost){0};
    }
    pthread_mutex_unlock(&catalog->lock);
    free(entry->database);
}

size_t catalog_each_lost(struct catalog *catalog,
                         void (*visit)(void *context,
                                       const struct catalog_lost *lost),
                         void *context)
{
    size_t count;

    pthread_mutex_lock(&catalog->lock);
    count = catalog->lost.count;
    for (size_t i = catalog->lost.shown; i-- > 0;)
        visit(context, &catalog->lost.entries[i]);
    pthread_mutex_unlock(&catalog->lock);
    return count;
}

void lost_free(struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->lost.shown; i++)
        free(catalog->lost.entries[i].database);
    catalog->lost = (struct lost_ledger){0};
}

/* ---- putting aside --------------------------------------------------------*/

/* "<lineage>-<time>.<ending>"; 0: it has no time. */
static uint64_t time_of(const char *file)
{
    const char *dash = strrchr(file, '-');

    return dash == NULL ? 0 : strtoull(dash + 1, NULL, 16);
}

static void text_path(const char *path, char text[LOST_PATH_BYTES + 8])
{
    snprintf(text, LOST_PATH_BYTES + 8, "%s" TEXT_ENDING, path);
}

static void date_format(uint64_t wall_ns, char *text, size_t size)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm utc = {0};

    (void)gmtime_r(&seconds, &utc);
    strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

int lost_begin(struct catalog *catalog, const struct lost_what *what,
               char ret_path[LOST_PATH_BYTES])
{
    char text[TEXT_BYTES], path[LOST_PATH_BYTES + 8], date[32];
    uint64_t now = clock_wall_ns();
    int used;

    snprintf(ret_path, LOST_PATH_BYTES, "lost/%s-%" PRIx64 ".%s", what->lineage,
             now, what->ending);
    date_format(now, date, sizeof date);
    used = snprintf(text, sizeof text,
                    "database: %s\nfile: %s\nlineage: %s\n"
                    "epoch: %" PRIu64 " (%016" PRIx64 ")\ntxid: %" PRIu64
                    "\nsum: %016" PRIx64 "\nwhen: %s\nwhy: %s\n",
                    what->database, ret_path + strlen("lost/"), what->lineage,
                    epoch_number(what->position.epoch), what->position.epoch,
                    what->position.txid, what->position.sum, date, what->why);
    ASSERT(used > 0 && (size_t)used < sizeof text);
    text_path(ret_path, path);
    return os_replace(catalog->config.data_fd, path, text, (size_t)used,
                      SITE_LOST_WRITE);
}

void lost_kept(struct catalog *catalog, const struct lost_what *what,
               const char *path)
{
    struct catalog_lost entry = {
        .database = strdup(what->database),
        .epoch = what->position.epoch,
        .txid = what->position.txid,
        .wall_ns = time_of(path),
    };

    snprintf(entry.file, sizeof entry.file, "%s", path + strlen("lost/"));
    snprintf(entry.why, sizeof entry.why, "%s", what->why);
    remember(catalog, &entry);
}

void lost_undone(struct catalog *catalog, const char *path)
{
    char text[LOST_PATH_BYTES + 8];

    text_path(path, text);
    (void)os_unlink(catalog->config.data_fd, text, SITE_LOST_WRITE);
}

int lost_move(struct catalog *catalog, const struct lost_what *what,
              const char *from, char ret_path[LOST_PATH_BYTES])
{
    char path[LOST_PATH_BYTES];
    int rc = lost_begin(catalog, what, path);

    if (rc < 0)
        return rc;
    rc = os_rename(catalog->config.data_fd, from, path, SITE_RECOVER_REMOVE);
    if (rc < 0)
        lost_undone(catalog, path);
    else
        lost_kept(catalog, what, path);
    if (rc == 0 && ret_path != NULL)
        memcpy(ret_path, path, sizeof path);
    return rc;
}

/* ---- at a start -----------------------------------------------------------*/

/* The value of a line "key: value" of text; copied, cut at size. */
static bool value_of(const char *text, const char *key, char *value,
                     size_t size)
{
    size_t length = strlen(key);

    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');

        if (strncmp(line, key, length) == 0 &&
            strncmp(line + length, ": ", 2) == 0 && end != NULL) {
            line += length + 2;
            snprintf(value, size, "%.*s", (int)(end - line), line);
            return true;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

static void text_read(struct catalog *catalog, struct catalog_lost *entry)
{
    char path[LOST_PATH_BYTES + 16], text[TEXT_BYTES] = "",
                                     value[DATABASE_NAME_MAX + 1];
    struct os_file file = {0};

    snprintf(path, sizeof path, "lost/%s" TEXT_ENDING, entry->file);
    if (os_open(&file, catalog->config.data_fd, path,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, SITE_LOST_READ) < 0)
        return;
    (void)os_pread(&file, text, sizeof text - 1, 0, SITE_LOST_READ);
    os_close(&file);
    if (value_of(text, "database", value, sizeof value))
        entry->database = strdup(value);
    if (value_of(text, "epoch", value, sizeof value) &&
        strchr(value, '(') != NULL)
        entry->epoch = strtoull(strchr(value, '(') + 1, NULL, 16);
    if (value_of(text, "txid", value, sizeof value))
        entry->txid = strtoull(value, NULL, 10);
    (void)value_of(text, "why", entry->why, sizeof entry->why);
}

static bool ends_in(const char *name, const char *ending)
{
    size_t length = strlen(name), more = strlen(ending);

    return length >= more && strcmp(name + length - more, ending) == 0;
}

int lost_load(struct catalog *catalog)
{
    int fd = os_openat(catalog->config.data_fd, "lost", O_RDONLY | O_DIRECTORY,
                       0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *found;

    if (dir == NULL) {
        int error = errno;

        if (fd >= 0)
            close(fd);
        return site_fail(SITE_LOST_READ, "lost", error);
    }
    while ((found = readdir(dir)) != NULL) {
        struct catalog_lost entry = {.wall_ns = time_of(found->d_name)};

        if (found->d_name[0] == '.' || ends_in(found->d_name, TEXT_ENDING) ||
            ends_in(found->d_name, ".db-wal") ||
            strlen(found->d_name) >= sizeof entry.file)
            continue;
        memcpy(entry.file, found->d_name, strlen(found->d_name) + 1);
        remember(catalog, &entry);
    }
    closedir(dir);
    for (size_t i = 0; i < catalog->lost.shown; i++)
        text_read(catalog, &catalog->lost.entries[i]);
    return 0;
}

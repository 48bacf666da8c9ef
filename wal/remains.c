/* SPDX-License-Identifier: Apache-2.0 */
/* wal/remains.c - see remains.h. */
#include "wal/remains.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/attach.h"
#include "wal/budget.h"
#include "wal/capture.h"
#include "wal/catalog.h"
#include "wal/emit.h"
#include "wal/lost.h"
#include "wal/notes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static DIR *directory_open(int parent, const char *path)
{
    int fd = os_openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL && fd >= 0)
        close(fd);
    return dir;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A log: a directory of files, hidden ones as well. */
static void log_remove(int parent, const char *name)
{
    DIR *dir = directory_open(parent, name);
    struct dirent *entry;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (!is_dots(entry->d_name))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

void remains_remove_files(int data_fd, const char *directory)
{
    DIR *dir = directory_open(data_fd, directory);
    struct dirent *entry;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;

        if (is_dots(name) || strcmp(name, "meta") == 0)
            continue;
        if (unlinkat(dirfd(dir), name, 0) != 0)
            log_remove(dirfd(dir), name);
    }
    closedir(dir);
}

void remains_erase(int data_fd, const char *directory)
{
    char path[96];

    remains_remove_files(data_fd, directory);
    snprintf(path, sizeof path, "%s/meta", directory);
    (void)unlinkat(data_fd, path, 0);
    (void)unlinkat(data_fd, directory, AT_REMOVEDIR);
}

void remains_let_go(struct database *database)
{
    ASSERT_ON_WORKER();
    remains_remove_files(database->catalog->config.data_fd,
                         database->directory);
    budget_forget(database);
    emit_tail_clear(database);
    capture_free(&database->capture);
    apply_free(&database->apply);
    hashes_free(&database->hashes);
    if (database->catalog->config.role == DATABASE_PRIMARY) {
        log_close(database->log); /* only its worker is ever in it */
        database->log = NULL;
    }
}

/* The file is gone: a DROP ends the lineage, a tombstone remembers it. */
void remains_bury(struct database *database)
{
    struct record_header header = {
        .flags = RECORD_DROP,
        .lineage = database->lineage,
        .epoch = database->catalog->epoch,
        .first_txid = database->view.position.txid + 1,
        .last_txid = database->view.position.txid + 1,
        .previous = database->view.position,
        .page_bytes = database->view.page_bytes,
        .commit_wall_ns = clock_wall_ns(),
        .part = 1,
        .parts = 1,
    };
    struct blob *blob = NULL;
    int rc;

    attach_remove_companions(database);
    attach_close(database, false);
    rc = record_encode(&header, NULL, NULL, 0, &blob);
    if (rc == 0 && database->log != NULL)
        rc = log_append_sync(database->log, &header, blob);
    blob_unref(blob);
    database->meta.flags |= META_DROPPED;
    if (rc < 0 || notes_save_meta(database) < 0)
        notes_fails(database);
    else
        remains_let_go(database);
    catalog_bury(database->catalog, &database->lineage);
    notes_state(database, DATABASE_DROPPED);
    notes_event(database, DATABASE_EVENT_DROPPED, NULL);
    catalog_remove(database);
}

int remains_retire(struct database *database, const char *why)
{
    struct lost_what what = lost_of(database, "log", why);
    char path[96];
    int rc;

    ASSERT_ON_WORKER();
    log_close(database->log);
    database->log = NULL;
    snprintf(path, sizeof path, "%s/log", database->directory);
    rc = lost_move(database->catalog, &what, path, NULL);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    database->meta.flags |= META_DROPPED;
    rc = notes_save_meta(database);
    if (rc < 0)
        return rc;
    remains_let_go(database);
    catalog_bury(database->catalog, &database->lineage);
    database->view.state = DATABASE_DROPPED;
    notes_event(database, DATABASE_EVENT_FAILED, why);
    catalog_remove(database);
    return 0;
}

int remains_put_aside(struct catalog *catalog, const char *directory)
{
    const char *lineage = directory + strlen("db/");
    struct lost_what what = {
        .database = "unknown: it was written in the meta file",
        .lineage = lineage,
        .ending = "dir",
        .why = "the meta file of this folder of data/db is damaged",
    };

    if (catalog->config.on_event != NULL)
        catalog->config.on_event(catalog->config.context, DATABASE_EVENT_FAILED,
                                 directory,
                                 "its meta file is damaged; it is kept in "
                                 "lost/, the file is a new database");
    return lost_move(catalog, &what, directory, NULL);
}

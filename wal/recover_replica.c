/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_replica.c - see recover_replica.h.
 *
 * The WAL is thrown away and the log redone on the database file from the last
 * complete checkpoint on: log before WAL, so the log has all that the WAL had.
 */
#include "wal/recover_replica.h"

#include "base/clock.h"
#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/recover.h"
#include "wal/redo.h"
#include "wal/rollback.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PATH_BYTES (4096 + DATABASE_NAME_MAX + 32)

/* The file, or what stands beside it; returns the directory path is below. */
static int path_of(const struct database *database, const char *suffix,
                   bool live, char path[PATH_BYTES])
{
    const struct catalog_config *config = &database->catalog->config;

    if (!live) {
        snprintf(path, PATH_BYTES, "%s%s", database->backing, suffix);
        return config->data_fd;
    }
    snprintf(path, PATH_BYTES, "%s/%s%s", config->mount_path, database->name,
             suffix);
    return AT_FDCWD;
}

static void remove_companions(struct database *database, bool live)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    char path[PATH_BYTES];

    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        int dirfd = path_of(database, suffixes[i], live, path);

        (void)os_unlink(dirfd, path, SITE_RECOVER_REMOVE);
    }
}

/* Redo of one record straight into the file; nobody has it open. */
static int redo_record(struct database *database, const struct record *record)
{
    const struct record_header *header = &record->header;
    int rc = 0;

    for (uint32_t i = 0; i < header->pages && rc == 0; i++) {
        uint8_t *image = record->images + (size_t)i * header->page_bytes;

        if (record->pgnos[i] == 1)
            page_header_set_wal(image);
        rc = os_pwrite(&database->main_file, image, header->page_bytes,
                       (uint64_t)(record->pgnos[i] - 1) * header->page_bytes,
                       SITE_RECOVER_WRITE);
    }
    if (rc == 0 && header->part == header->parts && header->page_bytes != 0)
        rc = os_ftruncate(&database->main_file,
                          (uint64_t)header->size_pages * header->page_bytes,
                          SITE_RECOVER_WRITE);
    return rc;
}

static int redo_file(struct database *database, bool live)
{
    char text[96], path[PATH_BYTES];
    int dirfd, rc;

    if (database->view.page_bytes == 0)
        return 0; /* no content yet: no file */
    remove_companions(database, live);
    dirfd = path_of(database, "", live, path);
    rc = os_open(&database->main_file, dirfd, path, O_RDWR, 0,
                 SITE_RECOVER_OPEN);
    if (rc == -ENOENT)
        return -EBADMSG; /* the file is gone: copy it anew */
    if (rc == 0)
        rc = redo_log(database, database->meta.base_txid + 1, redo_record);
    if (rc == 0)
        rc = os_fsync(&database->main_file, SITE_RECOVER_WRITE);
    os_close(&database->main_file);
    if (rc < 0)
        return rc;
    snprintf(text, sizeof text, "log redone from TXID %llu to %llu",
             (unsigned long long)database->meta.base_txid + 1,
             (unsigned long long)database->view.position.txid);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
    database->meta.base_txid = database->view.position.txid;
    return notes_save_meta(database);
}

static int file_put_aside(struct database *database, bool live)
{
    int dirfd = database->catalog->config.data_fd, rc = 0;
    char path[96], name[PATH_BYTES];

    snprintf(path, sizeof path, "lost/%s-%llx.db", database->directory + 3,
             (unsigned long long)clock_wall_ns());
    if (!live) {
        rc = os_rename(dirfd, database->backing, path, SITE_RECOVER_REMOVE);
    } else {
        /* Not renamed behind the mount, which knows the name. */
        if (linkat(dirfd, database->backing, dirfd, path, 0) != 0 &&
            errno != ENOENT)
            return site_fail(SITE_RECOVER_REMOVE, path, errno);
        dirfd = path_of(database, "", live, name);
        rc = os_unlink(dirfd, name, SITE_RECOVER_REMOVE);
    }
    return rc == -ENOENT ? 0 : rc;
}

static int log_begin(struct database *database, bool live)
{
    int dirfd = database->catalog->config.data_fd, rc;
    struct log_found found;
    struct log *log = NULL;
    char path[96];

    snprintf(path, sizeof path, "%s/%s", database->directory,
             live ? "log-incoming" : "log");
    if (live) { /* others may be in the old one */
        logdir_remove(database, path);
        rc = log_open(&log, dirfd, path, &database->lineage, &found);
        if (rc == 0)
            rc = logdir_replace(database, log, path);
        if (rc < 0)
            log_close(log);
        return rc;
    }
    log_close(database->log);
    database->log = NULL;
    rc = logdir_put_aside(database);
    if (rc == 0)
        rc = log_open(&database->log, dirfd, path, &database->lineage, &found);
    return rc;
}

int recover_forget(struct database *database, bool live)
{
    struct database_view *view = &database->view;
    int rc;

    remove_companions(database, live);
    rc = file_put_aside(database, live);
    if (rc == 0)
        rc = log_begin(database, live);
    if (rc < 0)
        return rc;
    hashes_free(&database->hashes);
    pthread_mutex_lock(&database->lock);
    view->position = (struct position){0};
    view->received_txid = 0;
    view->durable_txid = 0;
    view->prepared = view->position;
    view->prepared_durable = false;
    view->page_bytes = 0;
    pthread_mutex_unlock(&database->lock);
    database->applied = view->position;
    notes_event(database, DATABASE_EVENT_RECOVERED,
                "file, log and hashes do not agree; kept in lost/, waiting "
                "for a copy");
    return 0;
}

int recover_replica(struct database *database, int rc, bool live)
{
    if (rc == 0 && recover_is_clean(database)) {
        if (!recover_was_touched(database)) {
            rollback_explained(database);
            return 0;
        }
        rc = -EBADMSG; /* somebody wrote to it, and no log says what */
    }
    if (rc == 0 && database->view.page_bytes != 0 &&
        !(database->meta.flags & META_COPIED))
        rc = -EBADMSG; /* a copy was being put in place */
    rc = rc == 0 ? redo_file(database, live) : rc;
    return rc == -EBADMSG ? recover_forget(database, live) : rc;
}

void recover_held_back(struct database *database)
{
    int rc = -EAGAIN;

    ASSERT_ON_WORKER();
    if (!recover_has_orphans(database)) {
        rc = recover_hashes(database);
        if (rc == 0 || rc == -EBADMSG)
            rc = recover_replica(database, rc, true);
        if (rc < 0)
            notes_fails(database);
    }
    if (rc < 0) {
        worker_at(database, clock_now_ns() + NS_PER_S);
        return;
    }
    database->applied = database->view.position;
    notes_works(database);
    notes_state(database, DATABASE_CLOSED);
    notes_event(database, DATABASE_EVENT_RECOVERED,
                "no process from before has it open any more");
}

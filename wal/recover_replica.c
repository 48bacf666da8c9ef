/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_replica.c - see recover_replica.h.
 *
 * The WAL is thrown away and the log redone on the database file from the last
 * complete checkpoint on: log before WAL, so the log has all that the WAL had.
 */
#include "wal/recover_replica.h"

#include "base/clock.h"
#include "wal/aside.h"
#include "wal/delta.h"
#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/placing.h"
#include "wal/recover.h"
#include "wal/redo.h"
#include "wal/rollback.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void remove_companions(struct database *database, bool live)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    char path[RECOVER_PATH_BYTES];

    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        int dirfd = recover_path(database, suffixes[i], live, path);

        (void)os_unlink(dirfd, path, SITE_RECOVER_REMOVE);
    }
}

/* anew: whatever the file has goes first. -EBADMSG: it is gone, and must be
 * copied. */
static int redo_log_on(struct database *database, bool live, bool anew)
{
    int rc;

    remove_companions(database, live);
    rc = recover_open_file(database, live, anew);
    if (rc == 0 && anew)
        rc = os_ftruncate(&database->main_file, 0, SITE_RECOVER_WRITE);
    if (rc == 0)
        rc = redo_into_file(database, database->meta.base_txid + 1);
    os_close(&database->main_file);
    if (rc == 0 && anew && !live)
        rc = os_sync_parent(database->catalog->config.data_fd,
                            database->backing, SITE_RECOVER_SYNC);
    return rc;
}

static int redo_file(struct database *database, bool live, bool anew)
{
    char text[96];
    int rc;

    if (database->view.page_bytes == 0)
        return 0;                        /* no content yet: no file */
    rc = recover_unmark_clean(database); /* we change it now */
    if (anew)
        database->meta.base_txid = 0;
    if (rc == 0)
        rc = redo_log_on(database, live, anew);
    if (rc < 0)
        return rc;
    if (anew)
        placing_no_delta(database);
    database->meta.flags |= META_COPIED;
    snprintf(text, sizeof text, "log redone from TXID %llu to %llu",
             (unsigned long long)database->meta.base_txid + 1,
             (unsigned long long)database->view.position.txid);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
    database->meta.base_txid = database->view.position.txid;
    return notes_save_meta(database);
}

int recover_placing(struct database *database, int rc, bool live)
{
    if (rc == 0)
        rc = recover_unmark_clean(database);
    if (rc == 0) {
        remove_companions(database, live);
        rc = placing_redo(database, live);
    }
    if (rc == 0)
        notes_event(database, DATABASE_EVENT_RECOVERED,
                    "a copy that was being put in its place is in it now");
    return rc;
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
        return rc < 0 ? rc : logdir_sync(database);
    }
    log_close(database->log);
    database->log = NULL;
    rc = logdir_put_aside(database);
    if (rc == 0)
        rc = log_open(&database->log, dirfd, path, &database->lineage, &found);
    return rc;
}

/* What becomes of a file that is not the primary's. */
static void forgotten_tell(struct database *database, const char *why,
                           const char *kept)
{
    char text[LOST_PATH_BYTES + 200];

    if (kept[0] != '\0')
        snprintf(text, sizeof text, "%s; it is kept as %s, waiting for a copy",
                 why, kept);
    else
        snprintf(text, sizeof text, "%s; there is no file, waiting for a copy",
                 why);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
}

int recover_forget(struct database *database, const char *why, bool live)
{
    struct lost_what what = lost_of(database, "db", why);
    struct database_view *view = &database->view;
    char kept[LOST_PATH_BYTES];
    int rc;

    if (database->placed)
        placing_forget(database);
    rc = aside_move(database, &what, live, kept);
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
    if (kept[0] != '\0')
        delta_put_aside(database, kept);
    forgotten_tell(database, why, kept);
    delta_find(database);
    return 0;
}

int recover_replica(struct database *database, int rc, bool live)
{
    const char *why = "file, log and hashes do not agree";
    bool anew;

    database->meta.flags &= ~META_GRAFTING; /* what is below does the same */
    if (database->placed) {
        rc = recover_placing(database, rc, live);
        if (rc != -EBADMSG)
            return rc;
        why = "the copy that was being put in its place is damaged";
    }
    if (rc == 0 && recover_is_clean(database)) {
        /* A WAL of ours would have kept it from being marked clean. */
        if (!recover_was_touched(database) && !recover_wal_is_left(database)) {
            rollback_explained(database);
            return 0;
        }
        why = "somebody wrote to it while the node was stopped, and nobody "
              "but the primary may";
        rc = -EBADMSG;
    }
    anew = !(database->meta.flags & META_COPIED);
    if (rc == 0 && anew && database->view.page_bytes != 0) {
        why = "its first records were being written, or its pages were damaged";
        rc = log_first_txid(database->log) == 1
                 ? recover_hashes_of_log(database)
                 : -EBADMSG;
    }
    rc = rc == 0 ? redo_file(database, live, anew) : rc;
    return rc == -EBADMSG ? recover_forget(database, why, live) : rc;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover.c - see recover.h.
 *
 * Both roles begin alike: meta, the log (its torn tail cut), the page hashes
 * redone from the log. Then, when the last stop was not in order:
 *
 *   replica  the WAL is thrown away and the log redone on the database file
 *            from the last complete checkpoint on: log before WAL, so the log
 *            has all that the WAL had.
 *   primary  the log's last record names salts, frame and checksum chain. The
 *            same salts and chain in the WAL: what follows in it is captured
 *            under the old epoch. salt1 + 1: the gate had logged the whole
 *            older generation, capture from frame 1. Anything else: re-read
 *            by page hash.
 *
 * Applications that outlived the daemon (orphans) may still write: a lease
 * on each file tells, and such a database is held back.
 */
#include "wal/recover.h"

#include "base/clock.h"
#include "wal/budget.h"
#include "wal/catalog.h"
#include "wal/delta.h"
#include "wal/journal.h"
#include "wal/emit.h"
#include "wal/graft.h"
#include "wal/logdir.h"
#include "wal/missing.h"
#include "wal/notes.h"
#include "wal/overwrite.h"
#include "wal/owner.h"
#include "wal/placing.h"
#include "wal/recover_replica.h"
#include "wal/recover_wal.h"
#include "wal/redo.h"
#include "wal/remains.h"
#include "wal/replica.h"
#include "wal/rollback.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- hashes -------------------------------------------------------------- */

static int hash_record(struct database *database, const struct record *record)
{
    const struct record_header *header = &record->header;
    struct hashes *hashes = &database->hashes;
    int rc = hashes_reserve(hashes, header->size_pages);

    if (rc < 0 || header->last_txid <= database->applied.txid)
        return rc;
    if (header->flags & RECORD_SNAPSHOT && header->part == 1)
        hashes_resize(hashes, 0);
    if (header->size_pages < hashes->count)
        hashes_resize(hashes, header->size_pages);
#ifndef CANARY_STALE_HASHES /* nor compared with what the record says */
    for (uint32_t i = 0; i < header->pages; i++)
        hashes_set(hashes, record->pgnos[i],
                   page_hash(record->pgnos[i],
                             record->images + (size_t)i * header->page_bytes,
                             header->page_bytes));
#endif
    if (header->part < header->parts)
        return 0;
    hashes_resize(hashes, header->size_pages);
    database->applied = record_position(header);
    database->applied_header = *header;
#ifdef CANARY_STALE_HASHES
    return 0;
#endif
    return hashes->sum == header->sum_after
               ? 0
               : site_fail(SITE_RECOVER_READ, database->name, EBADMSG);
}

/* The table as of the log's end. -EBADMSG: it cannot be had from the log. */
static int hashes_recover(struct database *database)
{
    struct position position = {0};
    uint32_t page_bytes = 0;
    char path[96];
    int rc;

    snprintf(path, sizeof path, "%s/hashes", database->directory);
    if (database->placed)
        rc = placing_load(database, &database->hashes, &page_bytes, &position);
    else
        rc = hashes_load(&database->hashes, database->catalog->config.data_fd,
                         path, &database->lineage, &page_bytes, &position);
    if (rc < 0 && rc != -ENOENT && rc != -EBADMSG)
        return rc;
    database->applied = position;
    database->applied_header = (struct record_header){
        .epoch = position.epoch,
        .last_txid = position.txid,
        .sum_after = position.sum,
        .page_bytes = page_bytes,
        .size_pages = database->hashes.count,
    };
    database->hashes_saved_txid = position.txid;
    return redo_log(database, position.txid + 1, hash_record);
}

int recover_hashes(struct database *database)
{
    hashes_free(&database->hashes);
    return hashes_recover(database);
}

int recover_hashes_of_log(struct database *database)
{
    hashes_free(&database->hashes);
    database->applied = (struct position){0};
    return redo_log(database, 1, hash_record);
}

bool recover_is_clean(struct database *database)
{
    return database->meta.flags & META_CLEAN &&
           position_is_equal(&database->meta.clean_position,
                             &database->view.position);
}

/* The view as the log's end has it. */
static void view_set(struct database *database)
{
    struct database_view *view = &database->view;
    const struct record_header *header = &database->applied_header;

    view->position = record_position(header);
    view->received_txid = header->last_txid;
    /* Of a damaged log: a new epoch begins before those that were lost. What
     * a replica was told may be for commits to come. */
    if (database->catalog->config.role == DATABASE_PRIMARY)
        history_cut(&database->history, header->last_txid);
    /* A clean stop synced the log first; else log_settle() just did. */
    view->durable_txid = recover_is_clean(database) ? header->last_txid
                                                    : notes_durable(database);
    view->prepared_durable = log_prepared(database->log, &view->prepared);
    view->page_bytes = header->page_bytes;
    view->size_pages = header->size_pages;
    view->commit_wall_ns = header->commit_wall_ns;
    view->first_log_txid = log_first_txid(database->log);
    view->log_bytes = log_bytes(database->log);
    view->published_ns = clock_now_ns();
}

/* ---- a prepared commit that was not decided ------------------------------ */

bool recover_journal_is_hot(struct database *database)
{
    char path[DATABASE_NAME_MAX + 32];
    struct os_file file = {0};
    bool there;

    snprintf(path, sizeof path, "%s-journal", database->backing);
    there = os_open(&file, database->catalog->config.data_fd, path, O_RDONLY, 0,
                    SITE_RECOVER_OPEN) == 0 &&
            journal_is_hot(&file) == 1;
    os_close(&file);
    return there;
}

/*
 * Written down before anything else is: the next record may not make the
 * PREPARED void, replicas have it. Without the hashes that the log explains,
 * all is read again, and whatever is found there gets a TXID of its own.
 */
static int prepared_resolve(struct database *database,
                            const struct log_found *found, bool commit)
{
    struct record_header before = found->last, header;
    struct blob *blob;
    int rc;

    if (before.parts == 0)
        before = database->applied_header; /* a copy, and no record yet */
    header = commit ? record_commit(&found->prepared)
                    : record_abort(&found->prepared, &before);
    rc = record_encode(&header, NULL, NULL, 0, &blob);
    if (rc == 0) {
        rc = log_append_sync(database->log, &header, blob);
        blob_unref(blob);
    }
    return rc;
}

/* rc: what hashes_recover() said. all_read: whatever is in the files is going
 * to be read again. */
static int prepared_settle(struct database *database, struct log_found *found,
                           bool all_read, int rc)
{
    bool commit;
    int settled;

    if (found->prepared.parts == 0 || (rc < 0 && rc != -EBADMSG))
        return rc;
    /* Journal still hot: SQLite will roll it back. Else it committed. */
    commit = rc == 0 && !all_read && !recover_journal_is_hot(database);
    settled = prepared_resolve(database, found, commit);
    if (settled < 0)
        return settled;
    found->last = *log_newest(database->log);
    found->prepared.parts = 0;
    return rc < 0 ? rc
                  : redo_log(database, database->applied.txid + 1, hash_record);
}

/* ---- one database -------------------------------------------------------- */

/* The side file may stand at the log's end: its header knows no WAL. */
static void wal_place_set(struct database *database,
                          const struct log_found *found)
{
    struct record_header *header = &database->applied_header;

    if (found->last.parts == 0 ||
        found->last.last_txid != database->applied.txid)
        return;
    record_copy_place(header, &found->last);
    header->commit_wall_ns = found->last.commit_wall_ns;
}

static int recover_content(struct database *database, struct log_found *found)
{
    bool replica = database->catalog->config.role == DATABASE_REPLICA;
    bool touched = false;
    int rc = hashes_recover(database);

    if (!replica)
        rc = prepared_settle(database, found, false, rc);
    if (rc < 0 && rc != -EBADMSG)
        return rc;
    wal_place_set(database, found);
    view_set(database);
    if (replica)
        return recover_replica(database, rc, false);
    if (database->placed) /* it was a replica's */
        rc = recover_placing(database, rc, false);
    if (rc == -EBADMSG && database->placed)
        placing_forget(database);
    if (rc == 0 && database->meta.flags & META_GRAFTING)
        return graft_recover(database);
    if (rc == 0 && recover_is_clean(database)) {
        touched = recover_was_touched(database);
        if (!touched && !recover_wal_is_left(database)) {
            rollback_explained(database);
            return 0;
        }
    }
    if (rc == -EBADMSG) { /* every page counts as changed */
        hashes_free(&database->hashes);
        database->needs_reread = true;
    }
    if (touched)
        database->needs_reread = true;
    return recover_wal(database);
}

static void epoch_seen(struct catalog *catalog, const struct history *history)
{
    epoch_t epoch = history_last(history);

    if (epoch > catalog->epoch)
        catalog->epoch = epoch;
}

/* What a killed process left may be in the page cache only, and a replica is
 * about to tell the primary how much of it is durable. */
static void log_settle(struct database *database, const struct log_found *found)
{
    struct position end = record_position(&found->last);

    if (database->meta.flags & META_CLEAN && found->prepared.parts == 0 &&
        position_is_equal(&end, &database->meta.clean_position))
        return;
    if (log_sync(database->log) < 0)
        notes_fails(database); /* told as not durable */
}

/* Power failed after a name was taken by a new database and before the old
 * one was a tombstone: whichever is read first goes on, with what is there. */
static int recover_second(struct database *database, struct meta *meta)
{
    struct catalog *catalog = database->catalog;
    struct database *first = catalog_find(catalog, database->name);
    int rc = 0;

    meta_free(&database->meta);
    database->meta = *meta;
    *meta = (struct meta){0};
    if (catalog->config.role == DATABASE_PRIMARY)
        first->needs_reread = true;
    else
        rc = recover_forget(first, "two databases had its name", false);
    database_unref(first);
    if (rc == 0)
        rc = remains_retire(database, "two had the name; this one is given "
                                      "up, its log is kept in lost/");
    return rc;
}

static int recover_loaded(struct database *database, struct meta *meta)
{
    struct catalog *catalog = database->catalog;
    struct log_found found;
    char path[96];
    int rc;

    meta_free(&database->meta);
    database->meta = *meta;
    *meta = (struct meta){0};
    database->view.owner_uid = database->meta.uid;
    database->view.owner_gid = database->meta.gid;
    database->view.owner_mode = database->meta.mode;
    if (catalog->config.role == DATABASE_PRIMARY)
        (void)owner_look(database); /* it may have changed meanwhile */
    rc = history_copy(&database->history, &database->meta.history);
    epoch_seen(catalog, &database->history);
    if (rc == 0)
        rc = placing_find(database);
    snprintf(path, sizeof path, "%s/log", database->directory);
    if (rc == 0)
        rc = log_open(&database->log, catalog->config.data_fd, path,
                      &database->lineage, &found);
    /* One that cannot be read must not keep the others from being served. */
    if (rc == -EBADMSG && catalog->config.role == DATABASE_REPLICA)
        return recover_forget(database, "its log is damaged", false);
    if (rc == -EBADMSG)
        return remains_retire(database,
                              "its log is damaged, and kept in lost/; the file "
                              "is a new database");
    if (rc == 0)
        log_settle(database, &found);
    if (rc == 0 && recover_has_orphans(database)) {
        rc = hashes_recover(database);
        if (catalog->config.role == DATABASE_PRIMARY)
            rc = prepared_settle(database, &found, true, rc);
        wal_place_set(database, &found);
        view_set(database);
        if (rc == -EBADMSG) /* every page counts as changed */
            hashes_free(&database->hashes);
        database->view.state = DATABASE_HELD_BACK;
        notes_event(database, DATABASE_EVENT_HELD_BACK,
                    "processes from before still have it open; end them");
        return rc == -EBADMSG ? 0 : rc;
    }
    if (rc == 0)
        rc = recover_content(database, &found);
    if (rc == 0)
        budget_count(database);
    if (rc == 0 && catalog->config.role == DATABASE_REPLICA)
        delta_find(database);
    database->applied = database->view.position;
    return rc;
}

static bool is_missing(struct catalog *catalog, const struct meta *meta)
{
    char path[DATABASE_NAME_MAX + 16];
    struct stat status;

    snprintf(path, sizeof path, "files/%s", meta->name);
    return fstatat(catalog->config.data_fd, path, &status,
                   AT_SYMLINK_NOFOLLOW) != 0 &&
           errno == ENOENT;
}

static int recover_database(struct catalog *catalog, const char *lineage_text)
{
    enum thread_role role = thread_role();
    struct database *database;
    struct meta meta;
    char path[96];
    int rc;

    snprintf(path, sizeof path, "db/%s", lineage_text);
    rc = meta_load(&meta, catalog->config.data_fd, path);
    if (rc == -ENOENT)
        return 0; /* made, and the power failed before it had a name */
    if (rc == -EBADMSG)
        return remains_put_aside(catalog, path);
    if (rc < 0)
        return rc;
    if (meta.flags & META_FETCHING) { /* replicas have it, and are asked */
        remains_erase(catalog->config.data_fd, path);
        meta_free(&meta);
        return 0;
    }
    if (meta.flags & META_DROPPED) {
        catalog_bury(catalog, &meta.lineage);
        remains_remove_files(catalog->config.data_fd, path);
        epoch_seen(catalog, &meta.history);
        meta_free(&meta);
        return 0;
    }
    if (catalog->config.role == DATABASE_PRIMARY &&
        is_missing(catalog, &meta) &&
        !placing_waits(catalog->config.data_fd, path)) {
        missing_add(catalog, &meta);
        epoch_seen(catalog, &meta.history);
        meta_free(&meta);
        return 0;
    }
    database = catalog_make(catalog, meta.name, &meta.lineage);
    if (database == NULL)
        return site_fail(SITE_RECOVER_OPEN, lineage_text, ENOMEM);
    rc = catalog_add(catalog, database);
    thread_register(THREAD_WORKER, "recover");
    if (rc == 0)
        rc = recover_loaded(database, &meta);
    else if (rc == -EEXIST)
        rc = recover_second(database, &meta);
    thread_register(role, "tidemark");
    meta_free(&meta);
    database_unref(database);
    return rc;
}

void recover_mark_clean(void *context, struct database *database)
{
    struct meta *meta = &database->meta;
    struct meta_fingerprint now;

    (void)context;
    if (database->view.state != DATABASE_CLOSED || database->needs_reread ||
        meta->flags & META_GRAFTING || database->stopped || database->doubt ||
        database->log == NULL || overwrite_is_on(database) ||
        database->hashes_saved_txid != database->view.position.txid)
        return;
    if (meta_take_fingerprint(database->catalog->config.data_fd,
                              database->backing, &now) < 0)
        return;
    /* What is left in a replica's WAL is redone from the log by the next
     * start; behind a clean mark a WAL is somebody else's. */
    if (database->catalog->config.role == DATABASE_REPLICA &&
        recover_wal_is_left(database))
        return;
    /* It must be the file that the position is of. */
    if (database->catalog->config.role == DATABASE_PRIMARY &&
        !meta_fingerprint_is_equal(&now, &database->explained))
        return;
    if (recover_is_clean(database) &&
        meta_fingerprint_is_equal(&now, &meta->clean))
        return; /* it is marked: nobody used it since */
    if (recover_sync_files(database) < 0)
        return;
    meta->clean = now;
    meta->flags |= META_CLEAN;
    meta->clean_position = database->view.position;
    if (notes_save_meta(database) < 0)
        meta->flags &= ~META_CLEAN;
}

int recover_unmark_clean(struct database *database)
{
    if (!(database->meta.flags & META_CLEAN))
        return notes_keep_meta(database);
    database->meta.flags &= ~META_CLEAN;
    return notes_save_meta(database);
}

/* ---- all of them -------------------------------------------------------- */

static void recovery_tell(struct catalog *catalog, struct progress *progress,
                          unsigned done)
{
    struct catalog_config *config = &catalog->config;
    char text[PROGRESS_TEXT_BYTES];

    if (!progress_is_due(progress, clock_now_ns()) || config->on_event == NULL)
        return;
    snprintf(text, sizeof text, "recovery: %u databases so far", done);
    config->on_event(config->context, DATABASE_EVENT_PROGRESS, "*", text);
}

int recover_all(struct catalog *catalog)
{
    struct progress progress;
    unsigned done = 0;
    int fd = os_openat(catalog->config.data_fd, "db", O_RDONLY | O_DIRECTORY,
                       0),
        rc = 0;
    struct dirent *entry;
    DIR *dir;

    if (fd < 0)
        return site_fail(SITE_CATALOG_OPEN, "db", errno);
    dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return site_fail(SITE_CATALOG_OPEN, "db", errno);
    }
    progress_begin(&progress, "recovery", "databases", clock_now_ns());
    while (rc == 0 && (entry = readdir(dir)) != NULL)
        if (strlen(entry->d_name) == 2 * LINEAGE_BYTES) {
            rc = recover_database(catalog, entry->d_name);
            recovery_tell(catalog, &progress, ++done);
        }
    closedir(dir);
    return rc;
}

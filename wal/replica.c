/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/replica.c - one database on a replica.
 *
 * Modes, by what is there:
 *   copying   incoming.active: records wait in the log, or are redone on the
 *             copy once it has all its pages
 *   fresh     no file yet: the first records are written as a file
 *   applying  attached, or attached when the next record comes
 *   stopped   records are dropped
 *
 * A new one has no files of its own yet: the first note that needs them makes
 * them. When that fails it stops like one whose copy cannot be written, and
 * the primary is asked again; the others go on.
 */
#include "wal/replica.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/aside.h"
#include "wal/attach.h"
#include "wal/backfill.h"
#include "wal/catalog.h"
#include "wal/copying.h"
#include "wal/held.h"
#include "wal/incoming.h"
#include "wal/notes.h"
#include "wal/offer.h"
#include "wal/owner.h"
#include "wal/placing.h"
#include "wal/primary.h"
#include "wal/recover.h"
#include "wal/recover_replica.h"
#include "wal/remains.h"
#include "wal/retention.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IDLE_NS (10 * NS_PER_S)
#define RETRY_BUSY_NS (2 * NS_PER_MS)
#define SYNC_DELAY_NS (10 * NS_PER_MS)
#define OPEN_NS (10 * NS_PER_S)

/* A record contradicts what we have: nothing more is applied. */
void replica_stop(struct database *database, const char *reason)
{
    if (database->stopped)
        return;
    database->stopped = database->doubt = true;
    pthread_mutex_lock(&database->lock);
    snprintf(database->view.stopped, sizeof database->view.stopped, "%s",
             reason);
    pthread_mutex_unlock(&database->lock);
    notes_event(database, DATABASE_EVENT_STOPPED, reason);
    notes_state(database, DATABASE_STOPPED);
}

void replica_show_prepared(struct database *database)
{
    struct log *log = database->incoming.log != NULL ? database->incoming.log
                                                     : database->log;
    struct position prepared;
    bool durable = log_prepared(log, &prepared);

    pthread_mutex_lock(&database->lock);
    database->view.prepared = prepared;
    database->view.prepared_durable = durable;
    pthread_mutex_unlock(&database->lock);
}

void replica_save_hashes(struct database *database,
                         const struct position *position, uint32_t page_bytes)
{
    char path[96];

    if (database->doubt)
        return; /* a start would believe them */
    snprintf(path, sizeof path, "%s/hashes", database->directory);
    if (log_sync(database->log) < 0 ||
        hashes_save(&database->hashes, database->catalog->config.data_fd, path,
                    &database->lineage, page_bytes, position) < 0)
        notes_fails(database); /* recovery redoes more of the log */
    else
        database->hashes_saved_txid = position->txid;
}

/* ---- attaching ----------------------------------------------------------- */

int replica_attach(struct database *database)
{
    int rc;

    if (database->anchor.connection != NULL)
        return 0;
    notes_state(database, DATABASE_ATTACHING);
    rc = attach_open(database);
    if (rc == 0)
        rc = apply_start(database);
    if (rc < 0) {
        attach_close(database, false);
        return rc;
    }
    notes_state(database, DATABASE_ATTACHED);
    return 0;
}

/* SQLite deletes the WAL once all of it is in the database file. */
static bool wal_is_gone(const struct database *database)
{
    char path[DATABASE_NAME_MAX + 16];
    struct stat status;

    snprintf(path, sizeof path, "%s-wal", database->backing);
    return fstatat(database->catalog->config.data_fd, path, &status, 0) != 0 &&
           errno == ENOENT;
}

/* The file holds all up to our position: recovery can start from here, and has
 * nothing to do if nothing comes after. So a stop need not write it down for
 * each database that is at rest. */
static void base_here(struct database *database)
{
    struct position *position = &database->view.position;
    struct meta *meta = &database->meta;

    if (recover_sync_files(database) < 0) {
        notes_fails(database);
        return;
    }
    replica_save_hashes(database, position, database->view.page_bytes);
    meta->base_txid = position->txid;
    meta->flags |= META_COPIED;
    if (database->hashes_saved_txid == position->txid &&
        meta_take_fingerprint(database->catalog->config.data_fd,
                              database->backing, &meta->clean) == 0) {
        meta->clean_position = *position;
        meta->flags |= META_CLEAN;
    }
    if (notes_save_meta(database) < 0) {
        meta->flags &= ~META_CLEAN;
        notes_fails(database);
    } else {
        placing_end(database, position->txid);
        retention_apply(database, retention_base(database));
    }
}

void replica_detach(struct database *database)
{
    bool attached = database->anchor.connection != NULL, synced;

    ASSERT(!database->apply.checkpointing);
    if (attached) {
        /* Of the same batch as what ends us: the log has it. */
        if (database->applied.txid != database->view.position.txid)
            apply_abandon(database);
        notes_state(database, DATABASE_ATTACHING);
        /* SQLite copies the WAL back, and no page may be in the file before
         * its record is durable. */
        synced = log_sync(database->log) == 0;
        if (!synced)
            notes_fails(database);
        attach_close(database, synced && !database->incoming.published);
        if (!wal_is_gone(database)) /* perhaps for a sync that failed */
            database->file_suspect = true;
        apply_free(&database->apply);
        notes_state(database,
                    database->stopped ? DATABASE_STOPPED : DATABASE_CLOSED);
    }
    os_close(&database->main_file);
    if (!attached || database->stopped || database->doubt ||
        !wal_is_gone(database))
        return;
    if (database->placed ||
        database->view.position.txid != database->hashes_saved_txid)
        base_here(database);
    else
        recover_mark_clean(NULL, database);
}

static void remove_from_mount(struct database *database)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[4096 + DATABASE_NAME_MAX + 16];

    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        snprintf(path, sizeof path, "%s/%s%s",
                 database->catalog->config.mount_path, database->name,
                 suffixes[i]);
        (void)os_unlink(AT_FDCWD, path, SITE_REPLICA_REMOVE);
    }
}

int replica_replace(struct database *database,
                    int (*place)(struct database *database))
{
    attach_close(database, false);
    apply_free(&database->apply);
    remove_from_mount(database);
    notes_state(database, DATABASE_CLOSED);
    return place(database);
}

/* Whoever waits for our name, on this worker. */
static void wake_after(void *context, struct database *database)
{
    struct database *dropped = context;

    if (database->worker == dropped->worker && database->after == dropped)
        notes_wake(database);
}

/* keep: another lineage takes the name; the file stays in lost/. */
static void drop(struct database *database, bool keep)
{
    struct lost_what what = lost_of(database, "db",
                                    "the primary has another database of "
                                    "this name");
    struct catalog *catalog = database->catalog;
    char kept[LOST_PATH_BYTES], text[LOST_PATH_BYTES + 64];

    if (database->view.state == DATABASE_DROPPED)
        return; /* moved aside, and then dropped: the name is another's */
    attach_close(database, keep);
    if (keep && aside_move(database, &what, true, kept) < 0)
        notes_fails(database);
    incoming_abandon(database);
    remove_from_mount(database);
    database->meta.flags |= META_DROPPED;
    if (database->log != NULL && notes_save_meta(database) < 0)
        notes_fails(database);
    else
        remains_let_go(database);
    catalog_bury(catalog, &database->lineage);
    notes_state(database, DATABASE_DROPPED);
    if (keep)
        snprintf(text, sizeof text, "replaced; the old file is kept as %s",
                 kept);
    notes_event(database, DATABASE_EVENT_DROPPED, keep ? text : NULL);
    catalog_each(catalog, wake_after, database);
    catalog_remove(database);
}

/* ---- records ------------------------------------------------------------ */

static int files_make(struct database *database)
{
    int rc = aside_strange(database);

    return rc < 0 ? rc : catalog_create_files(database);
}

static bool has_files(struct database *database)
{
    if (database->log == NULL && files_make(database) < 0) {
        notes_fails(database);
        replica_stop(database, site_failure());
        log_close(database->log); /* all of them, or none */
        database->log = NULL;
        return false;
    }
    return true;
}

static void note_offer(struct database *database, struct blob *blob)
{
    if (has_files(database))
        offer_record(database, blob);
}

/* ---- the step ------------------------------------------------------------ */

void replica_sync_soon(struct database *database)
{
    /* Once for all that comes in a while: put off by every commit again, a
     * steady stream of them would never become durable. */
    if (database->sync_due_ns == 0)
        database->sync_due_ns = clock_now_ns() + SYNC_DELAY_NS;
    worker_at(database, database->sync_due_ns);
}

static void sync_if_due(struct database *database)
{
    if (database->sync_due_ns == 0 || clock_now_ns() < database->sync_due_ns)
        return;
    database->sync_due_ns = 0;
    if (worker_submit(database, WORKER_SYNC) < 0)
        replica_sync_soon(database);
}

static void idle_check(struct database *database)
{
    uint64_t now = clock_now_ns();
    bool used;

    pthread_mutex_lock(&database->lock);
    used = database->view.applications > 0;
    pthread_mutex_unlock(&database->lock);
    if (used || database->anchor.connection == NULL)
        return;
    if (now - database->view.published_ns < IDLE_NS ||
        database->apply.checkpointing) {
        worker_at(database, now + IDLE_NS);
        return;
    }
    if (notes_begin_close(database))
        replica_detach(database);
}

/*
 * Only now, with all its effects in the view, is what was offered consumed:
 * the loop takes a view to be about what was offered iff it was consumed.
 */
void replica_show_consumed(struct database *database)
{
    bool copying = database->incoming.active;

    if (database->consumed == 0 && copying == database->view.copying)
        return;
    pthread_mutex_lock(&database->lock);
    database->view.consumed_bytes += database->consumed;
    database->view.copying = copying;
    database->view.copied_pages = database->incoming.copied_pages;
    database->view.copy_pages = copying ? database->incoming.size_pages : 0;
    pthread_mutex_unlock(&database->lock);
    database->consumed = 0;
    notes_changed(database);
}

static void note_handle(struct database *database, struct note *note);

/* Who had our name is gone? Until then the files of that name are his. */
static void after_check(struct database *database)
{
    struct database *after = database->after;

    if (after == NULL || after->view.state != DATABASE_DROPPED)
        return;
    database->after = NULL;
    database_unref(after);
}

/* What waited, in its order, until something has to wait again. */
static void held_release(struct database *database)
{
    struct note *note;

    while ((note = held_next(database)) != NULL) {
        note_handle(database, note);
        note_free(note);
    }
}

void replica_step(struct database *database)
{
    if (database->view.state == DATABASE_DROPPED || database->closing)
        return;
    if (database->view.state == DATABASE_HELD_BACK)
        recover_held_back(database);
    after_check(database);
    held_release(database);
    if (database->view.state == DATABASE_DROPPED)
        held_forget(database);
    if (database->view.state == DATABASE_DROPPED ||
        database->view.state == DATABASE_HELD_BACK)
        return;
    offer_catch_up(database);
    copying_place(database);
    offer_publish(database);
    replica_show_consumed(database);
    backfill_if_due(database);
    sync_if_due(database);
    retention_look(database);
    idle_check(database);
}

static void note_history(struct database *database, struct note *note)
{
    pthread_mutex_lock(&database->lock);
    history_free(&database->history);
    database->history = note->history;
    pthread_mutex_unlock(&database->lock);
    note->history = (struct history){0};
    if (has_files(database) && notes_save_meta(database) < 0)
        notes_fails(database);
    notes_changed(database);
}

/* Why it stopped is told until there is something new in its place. */
static void note_restart(struct database *database)
{
    database->stopped = false;
    database->behind = false;
    notes_state(database, database->anchor.connection != NULL
                              ? DATABASE_ATTACHED
                              : DATABASE_CLOSED);
}

/* Its checkpoint, if one runs, closes it when it is done. */
static void note_close(struct database *database, enum note_kind kind)
{
    database->closing = database->closing || kind == NOTE_STOP;
    if (database->apply.checkpointing)
        return;
    if (kind == NOTE_STOP || notes_begin_close(database))
        replica_detach(database);
}

static void note_handle(struct database *database, struct note *note)
{
    if (note->blob != NULL)
        database->consumed += note->blob->size;
    if (database->view.state == DATABASE_DROPPED)
        return; /* sent before the primary said so, or was heard */
    switch (note->kind) {
    case NOTE_OFFER:
        note_offer(database, note->blob);
        break;
    case NOTE_COPY_BEGIN:
        if (has_files(database))
            copying_begin(database, note);
        break;
    case NOTE_COPY_CHUNK:
    case NOTE_COPY_HASHES:
    case NOTE_COPY_SAME:
    case NOTE_COPY_END:
    case NOTE_COPY_ABANDON:
        copying_note(database, note);
        break;
    case NOTE_DROP:
        drop(database, note->rc != 0);
        break;
    case NOTE_HISTORY:
        note_history(database, note);
        break;
    case NOTE_OWNER:
        owner_give(database);
        break;
    case NOTE_RESTART:
        note_restart(database);
        break;
    case NOTE_CHECKPOINTED:
        database->worker->checkpoints--;
        /* Records of this very batch may be written and not published yet:
         * they would be lost with the WAL that starts over, and the hashes
         * that are saved know of them already. */
        offer_publish(database);
        backfill_done(database);
        if (database->closing)
            replica_detach(database);
        break;
    case NOTE_DETACH:
    case NOTE_STOP:
        note_close(database, note->kind);
        break;
    case NOTE_ADOPT:
    case NOTE_RESOLVE:
    case NOTE_CHANGES:
    case NOTE_REREAD:
    case NOTE_UNLINKED:
    case NOTE_CUT:
    case NOTE_REPLACED:
        break; /* a primary's */
    }
}

void replica_note(struct database *database, struct note *note)
{
    if (held_take(database, note))
        return;
    note_handle(database, note);
    note_free(note);
}

void replica_parked(struct database *database, struct parked *parked)
{
    int rc = 0;

    if (parked->what == PARKED_OPEN && database->after != NULL)
        rc = -EAGAIN;
    else if (parked->what == PARKED_OPEN && database->log != NULL)
        rc = replica_attach(database);
    if (rc == -EAGAIN && clock_now_ns() - parked->since_ns < OPEN_NS) {
        notes_wait(database, parked);
        worker_at(database, clock_now_ns() + RETRY_BUSY_NS);
        return;
    }
    if (rc < 0)
        notes_fails(database);
    parked->on_done(parked, rc < 0 ? -EIO : 0);
}

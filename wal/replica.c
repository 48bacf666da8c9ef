/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/replica.c - one database on a replica.
 *
 * A record on its way: checked against our position -> log (page cache) ->
 * frames in the WAL -> sum compared -> published -> position -> acks by the
 * loop, which sees the view change. Whatever fails after the log is tried
 * again from the log; a record that contradicts us stops the database until
 * the primary decides anew.
 *
 * Modes, by what is there:
 *   copying   incoming.active: records wait in the log, or are redone on the
 *             copy once it has all its pages
 *   fresh     no file yet: the first records are written as a file
 *   applying  attached, or attached when the next record comes
 *   stopped   records are dropped
 */
#include "wal/replica.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/attach.h"
#include "wal/catalog.h"
#include "wal/incoming.h"
#include "wal/notes.h"
#include "wal/primary.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IDLE_NS (10 * NS_PER_S)
#define RETRY_BUSY_NS (2 * NS_PER_MS)
#define RETRY_FAILED_NS (200 * NS_PER_MS)
#define SYNC_DELAY_NS (10 * NS_PER_MS)
#define OPEN_NS (10 * NS_PER_S)
#define WAL_LIMIT_BYTES (16u << 20) /* checkpoint when the WAL is that large */
#define WAL_LIMIT_FRAMES 1000u      /* ... and at least that many frames */
#define BASE_SAVE_BYTES (32u << 20) /* of log, between two saved bases */

static uint32_t wal_limit(const struct database *database)
{
    uint32_t page_bytes = database->apply.header.page_bytes;
    uint32_t frames = page_bytes == 0 ? 0 : WAL_LIMIT_BYTES / page_bytes;

    return frames < WAL_LIMIT_FRAMES ? WAL_LIMIT_FRAMES : frames;
}

/* A record contradicts what we have: nothing more is applied. */
static void stop(struct database *database, const char *reason)
{
    if (database->stopped)
        return;
    database->stopped = true;
    pthread_mutex_lock(&database->lock);
    snprintf(database->view.stopped, sizeof database->view.stopped, "%s",
             reason);
    pthread_mutex_unlock(&database->lock);
    notes_event(database, DATABASE_EVENT_STOPPED, reason);
    notes_state(database, DATABASE_STOPPED);
}

/* ---- the log, read back --------------------------------------------------- */

static int redo_one(struct database *database, const struct blob *blob,
                    const struct record_header *resolve, replica_redo_fn redo)
{
    struct record record;
    int rc = record_decode(blob->data, blob->size, &record);

    if (rc < 0)
        return rc;
    if (resolve != NULL)
        record.header.commit_wall_ns = resolve->commit_wall_ns;
    rc = redo(database, &record);
    record_free(&record);
    return rc;
}

/* The parts of the PREPARED that starts at cursor. */
static int redo_prepared(struct database *database, struct log_cursor cursor,
                         const struct record_header *resolve,
                         replica_redo_fn redo)
{
    struct record_header header = {0};
    struct blob *blob;
    int rc = 0;

    do {
        rc = log_read(database->log, &cursor, &header, &blob);
        if (rc < 0)
            return rc;
        rc = redo_one(database, blob, resolve, redo);
        blob_unref(blob);
    } while (rc == 0 && header.part < header.parts);
    return rc;
}

int replica_redo(struct database *database, txid_t txid, replica_redo_fn redo)
{
    struct log_cursor cursor, at, prepared = {0};
    struct record_header header;
    struct blob *blob;
    int rc = log_seek(database->log, txid, &cursor);

    while (rc == 0) {
        at = cursor;
        rc = log_read(database->log, &cursor, &header, &blob);
        if (rc < 0)
            break;
        if (header.flags & RECORD_PREPARED) {
            if (header.part == 1)
                prepared = at;
        } else if (header.flags & RECORD_RESOLVE &&
                   !(header.flags & RECORD_ABORT)) {
            rc = redo_prepared(database, prepared, &header, redo);
        } else {
            rc = redo_one(database, blob, NULL, redo);
        }
        blob_unref(blob);
    }
    return rc == -ENOENT ? 0 : rc;
}

int replica_restart_log(struct database *database)
{
    int dirfd = database->catalog->config.data_fd;
    char path[96], aside[96];
    struct log_found found;
    int rc;

    snprintf(path, sizeof path, "%s/log", database->directory);
    snprintf(aside, sizeof aside, "%s/log-aside-%llx", database->directory,
             (unsigned long long)clock_wall_ns());
    if (database->log != NULL && log_bytes(database->log) > 0) {
        rc = os_rename(dirfd, path, aside, SITE_REPLICA_LOG);
        if (rc < 0)
            return rc;
        log_close(database->log);
        database->log = NULL;
    }
    if (database->log != NULL)
        return 0;
    return log_open(&database->log, dirfd, path, &database->lineage, &found);
}

void replica_save_hashes(struct database *database,
                         const struct position *position, uint32_t page_bytes)
{
    char path[96];

    snprintf(path, sizeof path, "%s/hashes", database->directory);
    if (log_sync(database->log) < 0 ||
        hashes_save(&database->hashes, database->catalog->config.data_fd, path,
                    &database->lineage, page_bytes, position) < 0)
        notes_fails(database); /* recovery redoes more of the log */
    else
        database->hashes_saved_txid = position->txid;
}

/* ---- attaching ------------------------------------------------------------ */

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

void replica_detach(struct database *database)
{
    bool attached = database->anchor.connection != NULL;

    ASSERT(!database->apply.checkpointing);
    if (attached) {
        notes_state(database, DATABASE_ATTACHING);
        if (log_sync(database->log) < 0)
            notes_fails(database);
        attach_close(database, true);
        apply_free(&database->apply);
        notes_state(database, database->stopped ? DATABASE_STOPPED
                                                : DATABASE_CLOSED);
    }
    os_close(&database->main_file);
    if (database->view.position.txid != database->hashes_saved_txid) {
        replica_save_hashes(database, &database->view.position,
                            database->view.page_bytes);
        if (attached)
            database->meta.base_txid = database->view.position.txid;
        if (notes_save_meta(database) < 0)
            notes_fails(database);
    }
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

/* keep: another lineage takes the name; the file stays in lost/. */
static void drop(struct database *database, bool keep)
{
    char path[96];

    attach_close(database, keep);
    if (keep) {
        int dirfd = database->catalog->config.data_fd;

        snprintf(path, sizeof path, "lost/%s.db", database->directory + 3);
        if (linkat(dirfd, database->backing, dirfd, path, 0) != 0)
            notes_event(database, DATABASE_EVENT_FAILED,
                        "the replaced file could not be kept in lost/");
    }
    apply_free(&database->apply);
    incoming_abandon(database);
    remove_from_mount(database);
    database->meta.flags |= META_DROPPED;
    if (notes_save_meta(database) < 0)
        notes_fails(database);
    catalog_bury(database->catalog, &database->lineage);
    notes_state(database, DATABASE_DROPPED);
    notes_event(database, DATABASE_EVENT_DROPPED,
                keep ? "replaced; the old file is kept in lost/" : NULL);
    catalog_remove(database);
}

/* ---- records --------------------------------------------------------------- */

static int apply_record(struct database *database, const struct record *record)
{
    const struct record_header *header = &record->header;
    bool last = header->part == header->parts;
    int rc;

    if (header->last_txid <= database->applied.txid)
        return 0; /* an overlap: we have it */
    if (header->part == 1 && header->first_txid == database->applied.txid + 1 &&
        header->previous.sum != database->applied.sum)
        return site_fail(SITE_APPLY_REFUSE, "record does not follow our sum",
                         EBADMSG);
    if (header->page_bytes != database->view.page_bytes &&
        header->pages > 0)
        return site_fail(SITE_APPLY_REFUSE, "page size changed", EBADMSG);
    rc = apply_pages(database, record, last);
    if (rc < 0 || !last)
        return rc;
    if (database->hashes.sum != header->sum_after)
        return site_fail(SITE_APPLY_REFUSE, "sum after the record differs",
                         EBADMSG);
    database->applied = record_position(header);
    database->applied_header = *header;
    return 0;
}

/* A snapshot record replaces everything, perhaps with another page size: it
 * is built as a file and put in place. */
static bool is_for_file(const struct database *database,
                        const struct record_header *header)
{
    return database->view.page_bytes == 0 ||
           (header->page_bytes != 0 &&
            header->page_bytes != database->view.page_bytes);
}

/* No file yet, or another page size: the record makes the file. */
static int direct_begin(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[96];
    int rc;

    incoming_abandon(database);
    snprintf(path, sizeof path, "%s/incoming", database->directory);
    rc = os_open(&incoming->file, database->catalog->config.data_fd, path,
                 O_RDWR | O_CREAT | O_TRUNC, 0600, SITE_INCOMING_OPEN);
    if (rc < 0)
        return rc;
    incoming->active = incoming->ended = true;
    incoming->position = incoming->end = database->view.position;
    incoming->page_bytes = database->view.page_bytes;
    return 0;
}

static bool is_whole(const struct record_header *header)
{
    return header->parts == 1 &&
           !(header->flags & (RECORD_PREPARED | RECORD_RESOLVE));
}

/* True when the record completes transactions that can now be applied. */
static bool completes(const struct record_header *header)
{
    return header->part == header->parts &&
           !(header->flags & RECORD_PREPARED);
}

/* Everything the log has past our position, into the copy or the WAL. */
static int apply_from_log(struct database *database)
{
    if (database->incoming.active)
        return replica_redo(database, database->incoming.position.txid + 1,
                            incoming_record);
    return replica_redo(database, database->applied.txid + 1, apply_record);
}

static int apply_blob(struct database *database,
                      const struct record_header *header, struct blob *blob)
{
    struct record record;
    int rc;

    if (!completes(header))
        return 0;
    if (!database->incoming.active && is_for_file(database, header)) {
        if (header->pages > 0 || !is_whole(header)) {
            rc = direct_begin(database);
            if (rc < 0)
                return rc;
        }
    }
    if (!database->incoming.active && database->view.page_bytes != 0) {
        rc = replica_attach(database);
        if (rc < 0)
            return rc;
    }
    if (!is_whole(header) || database->behind)
        return apply_from_log(database);
    rc = record_decode(blob->data, blob->size, &record);
    if (rc < 0)
        return rc;
    rc = database->incoming.active ? incoming_record(database, &record)
                                   : apply_record(database, &record);
    record_free(&record);
    return rc;
}

/* Does the record continue what we received? 0: take it; 1: we have it. */
static int offer_check(struct database *database,
                       const struct record_header *header)
{
    txid_t received = database->view.received_txid;

    if (!lineage_is_equal(&header->lineage, &database->lineage))
        return site_fail(SITE_APPLY_REFUSE, "record of another lineage",
                         EBADMSG);
    if (header->epoch < history_last(&database->history))
        return site_fail(SITE_APPLY_REFUSE, "record of an older epoch",
                         EBADMSG);
    if (header->last_txid <= received)
        return 1;
    if (header->first_txid > received + 1)
        return site_fail(SITE_APPLY_REFUSE, "records are missing before it",
                         EBADMSG);
    return 0;
}

/* The highest epoch seen is on disk before it is used. */
static int offer_epoch(struct database *database,
                       const struct record_header *header)
{
    int rc;

    if (header->epoch == history_last(&database->history))
        return 0;
    pthread_mutex_lock(&database->lock);
    rc = history_begin(&database->history, header->epoch, header->first_txid);
    pthread_mutex_unlock(&database->lock);
    return rc < 0 ? rc : notes_save_meta(database);
}

static void received_set(struct database *database,
                         const struct record_header *header)
{
    if (!completes(header))
        return;
    pthread_mutex_lock(&database->lock);
    database->view.received_txid = header->last_txid;
    pthread_mutex_unlock(&database->lock);
}

static void try_again(struct database *database, int rc)
{
    database->behind = true;
    if (rc == -EBADMSG || rc == -EPROTONOSUPPORT || rc == -EINVAL) {
        stop(database, site_failure());
        return;
    }
    if (rc != -EAGAIN)
        notes_fails(database);
    worker_at(database, clock_now_ns() +
                            (rc == -EAGAIN ? RETRY_BUSY_NS : RETRY_FAILED_NS));
}

static void offer(struct database *database, struct blob *blob)
{
    struct record_header header;
    size_t total;
    int rc;

    if (database->stopped)
        return;
    rc = record_peek(blob->data, blob->size, &header, &total);
    if (rc == 0 && total != blob->size)
        rc = site_fail(SITE_APPLY_REFUSE, "record of the wrong size", EBADMSG);
    if (rc == 0)
        rc = offer_check(database, &header);
    if (rc == 1)
        return;
    if (rc == 0)
        rc = offer_epoch(database, &header);
    if (rc == 0)
        rc = log_append(database->log, &header, blob);
    if (rc < 0) {
        /* Not in the log: the stream is broken here, ask for it again. */
        stop(database, site_failure());
        return;
    }
    received_set(database, &header);
    if (database->incoming.active && !database->incoming.ended)
        return; /* redone when the copy has all its pages */
    rc = apply_blob(database, &header, blob);
    if (rc < 0)
        try_again(database, rc);
}

/* ---- copies ---------------------------------------------------------------- */

static void copy_begin(struct database *database, const struct note *note)
{
    int rc = incoming_begin(database, &note->position, note->page_bytes);

    if (rc < 0) {
        notes_fails(database);
        stop(database, site_failure());
        return;
    }
    database->stopped = false;
    database->behind = false;
    pthread_mutex_lock(&database->lock);
    database->view.received_txid = note->position.txid;
    database->view.stopped[0] = '\0';
    pthread_mutex_unlock(&database->lock);
    if (database->anchor.connection == NULL)
        notes_state(database, DATABASE_COPYING);
}

static void copy_chunk(struct database *database, struct blob *blob)
{
    struct record record;
    int rc;

    if (!database->incoming.active || database->stopped)
        return;
    rc = record_decode(blob->data, blob->size, &record);
    if (rc == 0) {
        rc = incoming_chunk(database, &record);
        record_free(&record);
    }
    if (rc < 0)
        stop(database, rc == -EBADMSG ? "a chunk of the copy is damaged"
                                      : site_failure());
}

static void copy_end(struct database *database, const struct note *note)
{
    int rc;

    if (!database->incoming.active || database->stopped)
        return;
    rc = incoming_end(database, &note->position);
    if (rc < 0)
        stop(database, site_failure());
}

/* A copy that has caught up becomes the database. */
static void copy_place_if_complete(struct database *database)
{
    int rc;

    if (database->stopped || !incoming_is_complete(database))
        return;
    rc = incoming_place(database);
    if (rc == -EBADMSG) {
        stop(database, "the finished copy has another sum than its records");
        return;
    }
    if (rc < 0) {
        notes_fails(database);
        worker_at(database, clock_now_ns() + RETRY_FAILED_NS);
        return;
    }
    notes_works(database);
    database->applied = database->view.position;
    database->behind = false;
    notes_state(database, database->anchor.connection != NULL
                              ? DATABASE_ATTACHED
                              : DATABASE_CLOSED);
}

/* ---- checkpoints ------------------------------------------------------------ */

static void checkpoint_if_due(struct database *database)
{
    struct apply *apply = &database->apply;
    uint32_t limit = wal_limit(database);

    if (database->anchor.connection == NULL || apply->checkpointing ||
        apply->header.max_frame < limit ||
        apply->header.max_frame < apply->checkpoint_next)
        return;
    if (worker_submit(database, WORKER_CHECKPOINT) < 0)
        return; /* the next batch asks again */
    apply->checkpointing = true;
    apply->checkpoint_txid = database->view.position.txid;
}

static void base_advance(struct database *database)
{
    struct catalog_config *config = &database->catalog->config;

    database->meta.base_txid = database->apply.checkpoint_txid;
    if (log_bytes(database->log) - database->base_saved_bytes <
        BASE_SAVE_BYTES)
        return;
    replica_save_hashes(database, &database->view.position,
                        database->view.page_bytes);
    if (notes_save_meta(database) < 0) {
        notes_fails(database);
        return;
    }
    (void)log_trim(database->log, config->log_retain_bytes,
                   database->meta.base_txid);
    database->base_saved_bytes = log_bytes(database->log);
}

static void reset_try(struct database *database)
{
    struct apply *apply = &database->apply;

    if (!apply_reset(database)) {
        apply->checkpoint_next = apply->header.max_frame + wal_limit(database);
        return;
    }
    apply->checkpoint_next = 0;
    pthread_mutex_lock(&database->lock);
    database->view.resets++;
    database->view.wal_frames = 0;
    pthread_mutex_unlock(&database->lock);
}

/*
 * All copied and nothing new behind it: the WAL starts over. While records
 * keep coming that never happens by itself, so a WAL of twice the limit gets
 * a closing checkpoint, short because another one went just before, during
 * which records wait.
 */
static void checkpointed(struct database *database)
{
    struct apply *apply = &database->apply;
    uint32_t copied = (uint32_t)apply->checkpoint_copied;
    bool complete = apply->checkpoint_rc == 0 &&
                    apply->checkpoint_frames == apply->checkpoint_copied;

    apply->checkpointing = false;
    pthread_mutex_lock(&database->lock);
    database->view.checkpoints++;
    pthread_mutex_unlock(&database->lock);
    if (complete)
        base_advance(database);
    if (complete && copied == apply->header.max_frame) {
        reset_try(database);
    } else if (complete && !apply->hold &&
               apply->header.max_frame >= 2 * wal_limit(database)) {
        apply->hold = worker_submit(database, WORKER_CHECKPOINT) == 0;
        apply->checkpointing = apply->hold;
        apply->checkpoint_txid = database->view.position.txid;
        return;
    } else {
        apply->checkpoint_next =
            apply->header.max_frame + wal_limit(database) / 2;
    }
    apply->hold = false;
}

/* ---- the step ---------------------------------------------------------------- */

static void publish(struct database *database)
{
    int rc = 0;

    if (database->applied.txid == database->view.position.txid)
        return;
    if (database->anchor.connection != NULL)
        rc = apply_publish(database);
    if (rc < 0) {
        apply_abandon(database);
        database->applied = database->view.position;
        try_again(database, rc);
        return;
    }
    notes_works(database);
    notes_publish(database, &database->applied_header);
    database->sync_due_ns = clock_now_ns() + SYNC_DELAY_NS;
    worker_at(database, database->sync_due_ns);
}

/* What could not be applied when it came, from the log. */
static void catch_up(struct database *database)
{
    int rc = 0;

    if (!database->behind || database->stopped || database->apply.hold)
        return;
    database->behind = false;
    if (!database->incoming.active && database->view.page_bytes != 0)
        rc = replica_attach(database);
    if (rc == 0)
        rc = apply_from_log(database);
    if (rc < 0)
        try_again(database, rc);
}

static void sync_if_due(struct database *database)
{
    if (database->sync_due_ns == 0 ||
        clock_now_ns() < database->sync_due_ns)
        return;
    if (worker_submit(database, WORKER_SYNC) == 0)
        database->sync_due_ns = 0;
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
static void consumed_show(struct database *database)
{
    bool copying = database->incoming.active;

    if (database->consumed == 0 && copying == database->view.copying)
        return;
    pthread_mutex_lock(&database->lock);
    database->view.consumed_bytes += database->consumed;
    database->view.copying = copying;
    pthread_mutex_unlock(&database->lock);
    database->consumed = 0;
    notes_changed(database);
}

void replica_step(struct database *database)
{
    struct list *link;

    if (database->view.state == DATABASE_DROPPED)
        return;
    if (!database->apply.hold)
        while ((link = list_pop(&database->held)) != NULL)
            replica_note(database, LIST_ENTRY(link, struct note, link));
    catch_up(database);
    copy_place_if_complete(database);
    publish(database);
    consumed_show(database);
    checkpoint_if_due(database);
    sync_if_due(database);
    idle_check(database);
}

static void note_history(struct database *database, struct note *note)
{
    pthread_mutex_lock(&database->lock);
    history_free(&database->history);
    database->history = note->history;
    pthread_mutex_unlock(&database->lock);
    note->history = (struct history){0};
    if (notes_save_meta(database) < 0)
        notes_fails(database);
    notes_changed(database);
}

static void note_restart(struct database *database)
{
    database->stopped = false;
    database->behind = false;
    pthread_mutex_lock(&database->lock);
    database->view.stopped[0] = '\0';
    pthread_mutex_unlock(&database->lock);
    notes_state(database, database->anchor.connection != NULL
                              ? DATABASE_ATTACHED
                              : DATABASE_CLOSED);
}

static void note_owner(struct database *database)
{
    char path[4096 + DATABASE_NAME_MAX];

    if (notes_save_meta(database) < 0)
        notes_fails(database);
    if (database->view.page_bytes == 0)
        return;
    snprintf(path, sizeof path, "%s/%s", database->catalog->config.mount_path,
             database->name);
    if (chown(path, database->meta.uid, database->meta.gid) != 0 ||
        chmod(path, database->meta.mode & 07777) != 0)
        notes_fails(database);
}

/* Notes that change content wait while a closing checkpoint runs. */
static bool waits_for_hold(const struct database *database,
                           enum note_kind kind)
{
    return database->apply.hold &&
           (kind == NOTE_OFFER || kind == NOTE_COPY_BEGIN ||
            kind == NOTE_COPY_CHUNK || kind == NOTE_COPY_END ||
            kind == NOTE_DROP);
}

static void note_handle(struct database *database, struct note *note)
{
    if (note->blob != NULL)
        database->consumed += note->blob->size;
    switch (note->kind) {
    case NOTE_OFFER:
        offer(database, note->blob);
        break;
    case NOTE_COPY_BEGIN:
        copy_begin(database, note);
        break;
    case NOTE_COPY_CHUNK:
        copy_chunk(database, note->blob);
        break;
    case NOTE_COPY_END:
        copy_end(database, note);
        break;
    case NOTE_COPY_ABANDON:
        if (database->incoming.active && !incoming_is_complete(database))
            incoming_abandon(database);
        break;
    case NOTE_DROP:
        drop(database, note->rc != 0);
        break;
    case NOTE_HISTORY:
        note_history(database, note);
        break;
    case NOTE_OWNER:
        note_owner(database);
        break;
    case NOTE_RESTART:
        note_restart(database);
        break;
    case NOTE_CHECKPOINTED:
        checkpointed(database);
        break;
    case NOTE_DETACH:
    case NOTE_STOP:
        if (!database->apply.checkpointing)
            replica_detach(database);
        break;
    case NOTE_ADOPT:
    case NOTE_RESOLVE:
    case NOTE_CHANGES:
    case NOTE_REREAD:
    case NOTE_UNLINKED:
    case NOTE_EXPLAINED:
    case NOTE_REPLACED:
        break; /* a primary's */
    }
}

void replica_note(struct database *database, struct note *note)
{
    if (waits_for_hold(database, note->kind)) {
        list_push_back(&database->held, &note->link);
        return;
    }
    note_handle(database, note);
    note_free(note);
}

void replica_parked(struct database *database, struct parked *parked)
{
    int rc = 0;

    if (parked->what == PARKED_OPEN)
        rc = replica_attach(database);
    if (rc == -EAGAIN &&
        clock_now_ns() - parked->since_ns < OPEN_NS) {
        list_push_back(&database->waiting, &parked->link);
        worker_at(database, clock_now_ns() + RETRY_BUSY_NS);
        return;
    }
    if (rc < 0) {
        notes_fails(database);
        notes_left(database);
    }
    parked->on_done(parked, rc < 0 ? -EIO : 0);
}

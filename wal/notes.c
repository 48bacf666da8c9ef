/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/notes.c - see notes.h. Lock order: a database's lock is never held
 * while a worker's or the catalog's is taken.
 */
#include "wal/notes.h"

#include "base/clock.h"
#include "wal/primary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct note *note_new(enum note_kind kind)
{
    struct note *note = calloc(1, sizeof *note);

    if (note != NULL)
        note->kind = kind;
    return note;
}

void note_free(struct note *note)
{
    if (note == NULL)
        return;
    blob_unref(note->blob);
    if (note->request != NULL)
        notes_done(note->request->database->catalog, note->request);
    if (note->changes != NULL) {
        free(note->changes->pgnos);
        free(note->changes->images);
        free(note->changes);
    }
    history_free(&note->history);
    free(note);
}

void notes_wake(struct database *database)
{
    struct worker *worker = database->worker;
    bool wake = false;

    pthread_mutex_lock(&worker->lock);
    if (list_is_empty(&database->run_link)) {
        database_ref(database);
        list_push_back(&worker->runnable, &database->run_link);
        wake = atomic_load(&worker->asleep);
    }
    pthread_mutex_unlock(&worker->lock);
    if (wake) {
        uint64_t one = 1;
        ssize_t ignored = write(worker->event_fd, &one, sizeof one);

        (void)ignored; /* full counter: it is awake anyway */
    }
}

void notes_post(struct database *database, struct note *note)
{
    if (note == NULL) {
        notes_event(database, DATABASE_EVENT_FAILED, "out of memory");
        pthread_mutex_lock(&database->lock);
        database->forgotten = true;
        pthread_mutex_unlock(&database->lock);
        notes_wake(database);
        return;
    }
    pthread_mutex_lock(&database->lock);
    list_push_back(&database->notes, &note->link);
    pthread_mutex_unlock(&database->lock);
    notes_wake(database);
}

int notes_of_dropped(int what)
{
    return what == PARKED_OPEN ? -ENOENT : 0;
}

int notes_park(struct database *database, struct parked *parked, int what)
{
    int rc = DATABASE_PARKED;

    parked->what = what;
    parked->since_ns = clock_now_ns();
    pthread_mutex_lock(&database->lock);
    if (database->view.state == DATABASE_DROPPED)
        rc = notes_of_dropped(what);
    else if (atomic_load(&database->catalog->stopped))
        rc = -EIO;
    else
        list_push_back(&database->parked, &parked->link);
    pthread_mutex_unlock(&database->lock);
    if (rc == DATABASE_PARKED)
        notes_wake(database);
    return rc;
}

void notes_wait(struct database *database, struct parked *parked)
{
    pthread_mutex_lock(&database->lock);
    list_push_back(&database->waiting, &parked->link);
    pthread_mutex_unlock(&database->lock);
}

static void catalog_wake(struct catalog *catalog)
{
    if (catalog->config.on_wake != NULL)
        catalog->config.on_wake(catalog->config.context);
}

void notes_changed(struct database *database)
{
    struct catalog *catalog = database->catalog;
    bool wake = false;

    pthread_mutex_lock(&catalog->lock);
    if (list_is_empty(&database->changed_link)) {
        database_ref(database);
        list_push_back(&catalog->changed, &database->changed_link);
        wake = !catalog->woken;
        catalog->woken = true;
    }
    pthread_mutex_unlock(&catalog->lock);
    if (wake)
        catalog_wake(catalog);
}

void notes_done(struct catalog *catalog, struct database_request *request)
{
    bool wake;

    pthread_mutex_lock(&catalog->lock);
    list_push_back(&catalog->done, &request->link);
    wake = !catalog->woken;
    catalog->woken = true;
    pthread_mutex_unlock(&catalog->lock);
    if (wake)
        catalog_wake(catalog);
}

txid_t notes_durable(const struct database *database)
{
    const struct meta *meta = &database->meta;
    txid_t base = meta->flags & META_COPIED ? meta->base_txid : 0;
    txid_t logged = log_durable_txid(database->log);

    if (database->placed) /* the base is that of what was there before */
        base = database->placed_txid;
    return logged > base ? logged : base;
}

void notes_publish(struct database *database,
                   const struct record_header *header)
{
    struct database_view *view = &database->view;
    txid_t durable = notes_durable(database);

#ifdef CANARY_EARLY_ACK /* durable as soon as it is written */
    durable = header->last_txid;
#endif
    pthread_mutex_lock(&database->lock);
    view->position = record_position(header);
    view->page_bytes = header->page_bytes;
    view->size_pages = header->size_pages;
    view->commit_wall_ns = header->commit_wall_ns;
    view->published_ns = clock_now_ns();
    view->records++;
    view->durable_txid = durable;
    if (database->catalog->config.role == DATABASE_PRIMARY)
        view->received_txid = header->last_txid;
    else if (!database->failing) /* why it had stopped is over */
        view->stopped[0] = '\0';
    view->log_bytes = log_bytes(database->log);
    view->first_log_txid = log_first_txid(database->log);
    pthread_mutex_unlock(&database->lock);
    notes_changed(database);
}

void notes_state(struct database *database, enum database_state state)
{
    bool changed;

    pthread_mutex_lock(&database->lock);
    changed = database->view.state != state;
    database->view.state = state;
    pthread_mutex_unlock(&database->lock);
    if (changed)
        notes_changed(database);
}

void notes_event(struct database *database, enum database_event event,
                 const char *text)
{
    struct catalog_config *config = &database->catalog->config;

    if (config->on_event != NULL)
        config->on_event(config->context, event, database->name,
                         text == NULL ? "" : text);
}

void notes_fails(struct database *database)
{
    const char *text = site_failure();

    pthread_mutex_lock(&database->lock);
    snprintf(database->view.stopped, sizeof database->view.stopped, "%s", text);
    pthread_mutex_unlock(&database->lock);
    if (!database->failing)
        notes_event(database, DATABASE_EVENT_FAILED, text);
    database->failing = true;
}

void notes_works(struct database *database)
{
    if (!database->failing)
        return;
    database->failing = false;
    pthread_mutex_lock(&database->lock);
    database->view.stopped[0] = '\0';
    pthread_mutex_unlock(&database->lock);
    notes_event(database, DATABASE_EVENT_RESUMED, NULL);
}

int notes_save_meta(struct database *database)
{
    struct meta *meta = &database->meta;
    int rc;

    pthread_mutex_lock(&database->lock);
    meta->uid = database->view.owner_uid;
    meta->gid = database->view.owner_gid;
    meta->mode = database->view.owner_mode;
    history_free(&meta->history);
    rc = history_copy(&meta->history, &database->history);
    pthread_mutex_unlock(&database->lock);
    if (rc < 0)
        rc = site_fail(SITE_META_SAVE, database->name, -rc);
    else
        rc = meta_save(meta, database->catalog->config.data_fd,
                       database->directory);
    database->meta_unsaved = rc < 0;
    return rc;
}

int notes_keep_meta(struct database *database)
{
    return database->meta_unsaved ? notes_save_meta(database) : 0;
}

txid_t notes_pinned(struct database *database, txid_t txid)
{
    pthread_mutex_lock(&database->lock);
    for (size_t i = 0; i < PINS_MAX; i++)
        if (database->pins[i].owner != NULL && database->pins[i].txid < txid)
            txid = database->pins[i].txid;
    pthread_mutex_unlock(&database->lock);
    return txid;
}

void notes_left(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    ASSERT(database->view.applications > 0);
    database->view.applications--;
    pthread_mutex_unlock(&database->lock);
}

bool notes_begin_close(struct database *database)
{
    bool nobody;

    pthread_mutex_lock(&database->lock);
    nobody = database->view.applications == 0;
    if (nobody)
        database->view.state = DATABASE_ATTACHING;
    pthread_mutex_unlock(&database->lock);
    return nobody;
}

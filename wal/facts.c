/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/facts.c - the public facts of a database, and what the loop offers a
 * replica's: thin functions that copy a view or leave a note.
 */
#include "wal/catalog.h"
#include "wal/notes.h"

#include <errno.h>

const char *database_event_name(enum database_event event)
{
    static const char *const names[] = {
        [DATABASE_EVENT_ADOPTED] = "adopted",
        [DATABASE_EVENT_RECOVERED] = "recovered",
        [DATABASE_EVENT_GAP] = "gap",
        [DATABASE_EVENT_CHANGED] = "changed",
        [DATABASE_EVENT_DROPPED] = "dropped",
        [DATABASE_EVENT_HELD_BACK] = "held_back",
        [DATABASE_EVENT_STOPPED] = "stopped",
        [DATABASE_EVENT_FAILED] = "failed",
        [DATABASE_EVENT_RESUMED] = "resumed",
        [DATABASE_EVENT_REFUSED] = "refused",
        [DATABASE_EVENT_DAMAGED] = "damaged",
        [DATABASE_EVENT_PROGRESS] = "progress",
        [DATABASE_EVENT_STRANGE] = "strange",
    };

    ASSERT((size_t)event < ARRAY_LENGTH(names));
    return names[event];
}

const char *database_state_name(enum database_state state)
{
    static const char *const names[] = {
        [DATABASE_CLOSED] = "closed",       [DATABASE_ROLLBACK] = "rollback",
        [DATABASE_ATTACHING] = "attaching", [DATABASE_ATTACHED] = "attached",
        [DATABASE_COPYING] = "copying",     [DATABASE_HELD_BACK] = "held_back",
        [DATABASE_STOPPED] = "stopped",     [DATABASE_DROPPED] = "dropped",
    };

    ASSERT((size_t)state < ARRAY_LENGTH(names));
    return names[state];
}

void database_view(struct database *database, struct database_view *ret_view)
{
    pthread_mutex_lock(&database->lock);
    *ret_view = database->view;
    pthread_mutex_unlock(&database->lock);
}

bool database_is_explained(struct database *database)
{
    struct database_view view;

    database_view(database, &view);
    return !view.unexplained;
}

int database_history(struct database *database, struct history *ret_history)
{
    int rc;

    pthread_mutex_lock(&database->lock);
    rc = history_copy(ret_history, &database->history);
    pthread_mutex_unlock(&database->lock);
    return rc;
}

int database_history_to_tell(struct database *database,
                             struct history *ret_history)
{
    struct catalog *catalog = database->catalog;
    epoch_t epoch = catalog_epoch(catalog);
    struct history history = {0};
    txid_t next;
    int rc;

    pthread_mutex_lock(&database->lock);
    rc = history_copy(&history, &database->history);
    next = database->view.position.txid + 1;
    pthread_mutex_unlock(&database->lock);
    if (rc == 0 && catalog->config.role == DATABASE_PRIMARY &&
        epoch > history_last(&history))
        rc = history_begin(&history, epoch, next);
    if (rc < 0)
        history_free(&history);
    else
        *ret_history = history;
    return rc;
}

/* ---- replica: offers ----------------------------------------------------- */

/* Another lineage has the name: let the old one go, keep its file. */
static int move_aside(struct database *old)
{
    struct note *note = note_new(NOTE_DROP);

    if (note == NULL)
        return -ENOMEM;
    note->rc = 1; /* keep a copy in lost/ */
    catalog_remove_name(old);
    notes_post(old, note);
    return 0;
}

int catalog_follow(struct catalog *catalog, const char *name,
                   const struct lineage *lineage,
                   struct database **ret_database)
{
    struct database *database = catalog_find(catalog, name);
    int rc = 0;

    if (catalog->config.role == DATABASE_PRIMARY) {
        database_unref(database);
        return -EROFS;
    }
    if (database != NULL && lineage_is_equal(&database->lineage, lineage)) {
        *ret_database = database;
        return 0;
    }
    if (database != NULL)
        rc = move_aside(database);
    database_unref(database);
    if (rc < 0)
        return rc;
    database = catalog_make(catalog, name, lineage);
    if (database == NULL)
        return -ENOMEM;
    rc = catalog_add(catalog, database); /* its files: with the first note */
    if (rc < 0) {
        database_unref(database);
        return rc;
    }
    *ret_database = database;
    return 0;
}

int database_set_history(struct database *database,
                         const struct history *history)
{
    struct note *note = note_new(NOTE_HISTORY);

    if (note == NULL || history_copy(&note->history, history) < 0) {
        note_free(note);
        return -ENOMEM;
    }
    notes_post(database, note);
    return 0;
}

/* A note that owns blob; NULL: no memory, blob is gone. */
static struct note *blob_note(struct database *database, enum note_kind kind,
                              struct blob *blob)
{
    struct note *note = note_new(kind);

    if (note == NULL) {
        /* Lost: the next record shows the hole and is refused. */
        pthread_mutex_lock(&database->lock);
        database->view.consumed_bytes += blob->size;
        pthread_mutex_unlock(&database->lock);
        blob_unref(blob);
    } else {
        note->blob = blob;
    }
    return note;
}

void database_offer(struct database *database, struct blob *blob)
{
    notes_post(database, blob_note(database, NOTE_OFFER, blob));
}

void database_copy_chunk(struct database *database, struct blob *blob)
{
    notes_post(database, blob_note(database, NOTE_COPY_CHUNK, blob));
}

void database_copy_begin(struct database *database,
                         const struct database_copy *copy)
{
    struct note *note = note_new(NOTE_COPY_BEGIN);

    if (note != NULL)
        note->copy = *copy;
    notes_post(database, note);
}

void database_copy_hashes(struct database *database,
                          struct database_request *request)
{
    struct note *note = note_new(NOTE_COPY_HASHES);

    request->kind = DATABASE_HASHES;
    request->database = database_ref(database);
    request->rc = -ECANCELED;
    request->count = 0;
    request->next_pgno = 0;
    if (note != NULL)
        note->request = request;
    else
        notes_done(database->catalog, request);
    notes_post(database, note);
}

void database_copy_same(struct database *database, struct blob *blob,
                        pgno_t first, uint32_t count, const uint8_t *bits)
{
    struct note *note = blob_note(database, NOTE_COPY_SAME, blob);

    if (note != NULL) {
        note->first = first;
        note->count = count;
        note->bits = bits;
    }
    notes_post(database, note);
}

void database_copy_end(struct database *database, const struct position *end)
{
    struct note *note = note_new(NOTE_COPY_END);

    if (note != NULL)
        note->position = *end;
    notes_post(database, note);
}

void database_copy_abandon(struct database *database)
{
    notes_post(database, note_new(NOTE_COPY_ABANDON));
}

void database_drop(struct database *database)
{
    catalog_remove_name(database);
    notes_post(database, note_new(NOTE_DROP));
}

void database_set_owner(struct database *database, uint32_t uid, uint32_t gid,
                        uint32_t mode)
{
    pthread_mutex_lock(&database->lock);
    database->view.owner_uid = uid;
    database->view.owner_gid = gid;
    database->view.owner_mode = mode & 07777;
    pthread_mutex_unlock(&database->lock);
    notes_post(database, note_new(NOTE_OWNER));
}

void database_restart(struct database *database)
{
    notes_post(database, note_new(NOTE_RESTART));
}

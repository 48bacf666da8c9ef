/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/copying.c - see copying.h.
 *
 * Whatever of it fails stops the database, and the primary is asked again; a
 * copy that was compared, and is not what its records say, is compared once
 * more in doubt of all hashes, then sent whole.
 */
#include "wal/copying.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/delta.h"
#include "wal/incoming.h"
#include "wal/notes.h"
#include "wal/offer.h"
#include "wal/owner.h"
#include "wal/replica.h"
#include "wal/worker.h"

#include <errno.h>
#include <stdio.h>

#define RETRY_FAILED_NS (200 * NS_PER_MS)

/* What stopped us may be younger than this copy's OPEN, or the copy that was to
 * mend it was cut off: the one that comes into place has to. */
void copying_begin(struct database *database, const struct note *note)
{
    struct database_copy copy = note->copy;
    int rc;

    offer_publish(database); /* what came before it in this very batch */
    database->doubt = copy.doubt = copy.doubt || database->doubt;
    rc = incoming_begin(database, &copy);
    if (rc < 0) {
        notes_fails(database);
        replica_stop(database, site_failure());
        return;
    }
    database->stopped = false;
    database->behind = false;
    pthread_mutex_lock(&database->lock);
    database->view.received_txid = note->copy.start.txid;
    pthread_mutex_unlock(&database->lock);
    replica_show_prepared(database);
    if (database->anchor.connection == NULL)
        notes_state(database, DATABASE_COPYING);
}

/* What we have is again what counts. */
static void copy_abandon(struct database *database)
{
    if (!database->incoming.active || incoming_is_complete(database))
        return;
    incoming_suspend(database);
    pthread_mutex_lock(&database->lock);
    database->view.received_txid = log_last_txid(database->log);
    if (database->view.received_txid < database->view.position.txid)
        database->view.received_txid = database->view.position.txid;
    pthread_mutex_unlock(&database->lock);
    replica_show_prepared(database);
    if (database->anchor.connection == NULL && !database->stopped)
        notes_state(database, DATABASE_CLOSED);
}

/* A table that cannot be made true is no base: then all pages come. */
static void copy_hashes(struct database *database, const struct note *note)
{
    struct database_request *request = note->request;

    request->rc = delta_hashes(database, request);
    if (request->rc == -ECANCELED || request->rc == -EAGAIN || request->rc >= 0)
        return;
    database->whole = true;
    delta_show(database);
    replica_stop(database, site_failure());
}

static void copy_same(struct database *database, const struct note *note)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    if (!incoming->active || database->stopped)
        return;
    rc = delta_same(database, note);
    if (note->count > 0)
        incoming->copied_pages = note->first + note->count - 1;
    progress_step(&incoming->progress, database, incoming->copied_pages,
                  incoming->size_pages);
    if (rc < 0)
        replica_stop(database, site_failure());
}

static void copy_chunk(struct database *database, struct blob *blob)
{
    struct record record;
    int rc;

    ASSERT(blob != NULL);
    if (!database->incoming.active || database->stopped)
        return;
    rc = record_decode(blob->data, blob->size, &record);
    if (rc == 0) {
        rc = incoming_chunk(database, &record);
        record_free(&record);
    }
    if (rc < 0)
        replica_stop(database, rc == -EBADMSG ? "a chunk of the copy is damaged"
                                              : site_failure());
}

static void copy_end(struct database *database, const struct note *note)
{
    int rc;

    if (!database->incoming.active || database->stopped)
        return;
    rc = incoming_end(database, &note->position);
    if (rc < 0)
        replica_stop(database, site_failure());
}

void copying_note(struct database *database, const struct note *note)
{
    switch ((int)note->kind) {
    case NOTE_COPY_CHUNK:
        copy_chunk(database, note->blob);
        break;
    case NOTE_COPY_HASHES:
        copy_hashes(database, note);
        break;
    case NOTE_COPY_SAME:
        copy_same(database, note);
        break;
    case NOTE_COPY_END:
        copy_end(database, note);
        break;
    case NOTE_COPY_ABANDON:
        copy_abandon(database);
        break;
    }
}

/* One that was compared with what is here is compared again, in doubt of all
 * hashes; if it was so already, the next copy is whole. */
static void copy_refuse(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char reason[sizeof database->view.stopped];

    snprintf(reason, sizeof reason, "%s", site_failure());
    apply_abandon(database); /* what of it is written is not published */
    if (!incoming->sparse || incoming->delta.doubt)
        database->whole = true;
    incoming_abandon(database);
    delta_show(database);
    replica_stop(database, reason);
}

/* A copy that has caught up becomes the database. */
void copying_place(struct database *database)
{
    int rc;

    if (database->stopped || !incoming_is_complete(database) ||
        database->apply.checkpointing)
        return; /* it may close the anchor, which the checkpoint has */
    rc = incoming_place(database);
    if (rc == -EBADMSG) {
        copy_refuse(database);
        return;
    }
    if (rc < 0) {
        apply_abandon(database);
        notes_fails(database);
        worker_at(database, clock_now_ns() + RETRY_FAILED_NS);
        return;
    }
    notes_works(database);
    owner_give(database); /* its pages may have been ready for a while */
    database->applied = database->view.position;
    database->behind = false;
    delta_show(database);
    replica_show_prepared(database);
    replica_sync_soon(database);
    notes_state(database, database->anchor.connection != NULL
                              ? DATABASE_ATTACHED
                              : DATABASE_CLOSED);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/graft.c - see graft.h.
 *
 * SQLite itself copies the WAL back, or rolls a hot journal back: what it
 * makes of the files is what recovery took them for. It opens them below data,
 * not through the mount.
 *
 * When something does not fit, or the disk says no, the log is cut back to
 * where it was, and the replica's commits are not fetched. That is told: the
 * replica is going to get a copy of what the primary has.
 */
#include "wal/graft.h"

#include "wal/epoch.h"
#include "wal/notes.h"
#include "wal/recover.h"
#include "wal/redo.h"
#include "wal/retention.h"
#include "wal/rollback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* ---- the first record -----------------------------------------------------*/

/* Copies the WAL back, or rolls a journal back, and makes it durable. */
static int files_settle(struct database *database)
{
    char path[DATABASE_NAME_MAX + 48];
    struct anchor anchor = {0};
    int rc;

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s",
             database->catalog->config.data_fd, database->backing);
    rc = anchor_open(&anchor, path);
    anchor_close(&anchor, true);
    if (rc == 0 && recover_wal_is_left(database))
        rc = site_fail(SITE_GRAFT_FILE, "its WAL could not be copied back",
                       EBUSY);
    return rc < 0 ? rc : recover_sync_files(database);
}

static int pages_compare(struct database *database, uint8_t *page)
{
    uint32_t page_bytes = database->view.page_bytes;
    struct hashes *hashes = &database->hashes;

    for (pgno_t pgno = 1; pgno <= hashes->count; pgno++) {
        uint64_t hash = hashes_get(hashes, pgno);
        int rc;

        if (hash == 0) /* never written, or the lock-byte page */
            continue;
        rc = os_pread_full(&database->main_file, page, page_bytes,
                           (uint64_t)(pgno - 1) * page_bytes, SITE_GRAFT_FILE);
        if (rc < 0)
            return rc;
        if (hash != page_hash(pgno, page, page_bytes))
            return site_fail(SITE_GRAFT_FILE,
                             "its file holds what no log explains, which "
                             "counts",
                             EBADMSG);
    }
    return 0;
}

/* A re-read was due. Perhaps it would find nothing. */
static int files_compare(struct database *database)
{
    uint8_t *page = NULL;
    int rc = os_alloc(&page, database->view.page_bytes, SITE_GRAFT_FILE);

    if (rc == 0)
        rc = os_open(&database->main_file, database->catalog->config.data_fd,
                     database->backing, O_RDONLY, 0, SITE_GRAFT_FILE);
    if (rc == 0)
        rc = pages_compare(database, page);
    os_close(&database->main_file);
    os_free(&page);
    if (rc == 0)
        database->needs_reread = false;
    return rc;
}

static int graft_begin(struct database *database)
{
    int rc;

    if (database->meta.flags & META_GRAFTING)
        return 0;
    database->meta.base_txid = database->view.position.txid;
    database->meta.flags |= META_GRAFTING;
    database->meta.flags &= ~META_CLEAN;
    rc = notes_save_meta(database);
    if (rc < 0) {
        database->meta.flags &= ~META_GRAFTING;
        return rc;
    }
    rc = files_settle(database);
    database->attach_at_valid = false; /* there is no WAL any more */
    if (rc == 0 && database->needs_reread && database->view.page_bytes != 0)
        rc = files_compare(database);
    return rc;
}

/* ---- records --------------------------------------------------------------*/

static int record_fits(struct database *database,
                       const struct record_header *header)
{
    const struct position *position = &database->view.position;
    txid_t received = database->view.received_txid;

    if (!lineage_is_equal(&header->lineage, &database->lineage))
        return site_fail(SITE_GRAFT_REFUSE, "record of another lineage",
                         EBADMSG);
    if (header->first_txid > received + 1 || header->last_txid <= received)
        return site_fail(SITE_GRAFT_REFUSE, "record out of order", EBADMSG);
    if (header->epoch < history_last(&database->history))
        return site_fail(SITE_GRAFT_REFUSE, "record of an older epoch",
                         EBADMSG);
    if (header->part == 1 && header->first_txid == position->txid + 1 &&
        header->previous.sum != position->sum)
        return site_fail(SITE_GRAFT_REFUSE, "record does not follow our sum",
                         EBADMSG);
    return 0;
}

static int record_take(struct database *database, struct blob *blob)
{
    struct record record;
    int rc = record_decode(blob->data, blob->size, &record);

    if (rc < 0)
        return rc;
    rc = record_fits(database, &record.header);
    if (rc == 0)
        rc = graft_begin(database);
    if (rc == 0)
        rc = epoch_take(database, &record.header);
    if (rc == 0)
        rc = log_append(database->log, &record.header, blob);
    if (rc == 0 && record_completes(&record.header)) {
        pthread_mutex_lock(&database->lock);
        database->view.received_txid = record.header.last_txid;
        pthread_mutex_unlock(&database->lock);
    }
    record_free(&record);
    return rc;
}

void graft_note(struct database *database, struct note *note)
{
    ASSERT_ON_WORKER();
    if (note->kind != NOTE_OFFER) {
        list_push_back(&database->held, &note->link);
        return;
    }
    if (!database->stopped && record_take(database, note->blob) < 0) {
        notes_fails(database);
        database->stopped = true;
        notes_state(database, DATABASE_STOPPED);
    }
    pthread_mutex_lock(&database->lock);
    database->view.consumed_bytes += note->blob->size;
    pthread_mutex_unlock(&database->lock);
    note_free(note);
    notes_changed(database);
}

/* ---- the end --------------------------------------------------------------*/

/* File and log are one again, and the log's end is what counts. */
static int grafting_over(struct database *database)
{
    int rc;

    database->meta.flags &= ~META_GRAFTING;
    rc = notes_save_meta(database);
    if (rc < 0)
        database->meta.flags |= META_GRAFTING;
    return rc;
}

void graft_explained(struct database *database)
{
    rollback_explained(database);
    retention_step(database, true);
    recover_mark_clean(NULL, database);
}

static int file_redo(struct database *database)
{
    int rc = os_open(&database->main_file, database->catalog->config.data_fd,
                     database->backing, O_RDWR, 0, SITE_GRAFT_FILE);

    if (rc == 0)
        rc = redo_into_file(database, database->meta.base_txid + 1);
    os_close(&database->main_file);
    if (rc < 0)
        return rc;
    database->meta.base_txid = database->applied.txid;
    return grafting_over(database);
}

int graft_recover(struct database *database)
{
    int rc = 0;

    /* Else that is done, and SQLite could not read what a redo began. */
    if (recover_wal_is_left(database) || recover_journal_is_hot(database))
        rc = files_settle(database);
    if (rc == 0)
        rc = file_redo(database);
    if (rc < 0)
        return rc;
    graft_explained(database);
    notes_event(database, DATABASE_EVENT_RECOVERED,
                "what was fetched from a replica was redone from the log");
    return 0;
}

/* Nothing after txid, nor a part of a record; an empty log is as good. */
static int log_back_to(struct database *database, txid_t txid)
{
    int rc = log_cut(database->log, txid);

    return rc == -ENOENT ? 0 : rc;
}

/* Back to where it stood. The file is as it was then. */
static int graft_undo(struct database *database)
{
    txid_t txid = database->view.position.txid;
    int rc = log_back_to(database, txid);

    if (rc == 0)
        rc = recover_hashes(database);
    if (rc < 0)
        return rc; /* META_GRAFTING stays: the next start sees to it */
    pthread_mutex_lock(&database->lock);
    history_cut(&database->history, txid);
    database->view.received_txid = txid;
    pthread_mutex_unlock(&database->lock);
    rc = grafting_over(database);
    if (rc == 0)
        graft_explained(database);
    return rc;
}

/* Whole transactions in the log, all of them durable, and the hashes theirs. */
static int log_settle(struct database *database)
{
    int rc = log_back_to(database, database->view.received_txid);

    if (rc == 0)
        rc = log_sync(database->log);
    return rc < 0 ? rc : recover_hashes(database);
}

static void graft_tell(struct database *database, txid_t before)
{
    char text[96];

    snprintf(text, sizeof text, "TXID %llu to %llu fetched from a replica",
             (unsigned long long)before + 1,
             (unsigned long long)database->view.position.txid);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
}

int graft_end(struct database *database)
{
    txid_t before = database->view.position.txid;
    int rc;

    ASSERT_ON_WORKER();
    if (database->stopped)
        notes_state(database, DATABASE_CLOSED);
    database->stopped = false;
    if (!(database->meta.flags & META_GRAFTING))
        return 0;
    rc = log_settle(database);
    if (rc == -EBADMSG) {
        notes_fails(database);
        return graft_undo(database) < 0 ? -EIO : rc;
    }
    if (rc == 0)
        rc = file_redo(database);
    if (rc < 0) {
        notes_fails(database);
        return rc;
    }
    notes_works(database);
    notes_publish(database, &database->applied_header);
    graft_explained(database);
    if (database->view.position.txid > before)
        graft_tell(database, before);
    return 0;
}

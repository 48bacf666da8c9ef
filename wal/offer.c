/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/offer.c - see offer.h.
 *
 * A record on its way: checked against our position -> log (page cache) ->
 * frames in the WAL -> sum compared -> published -> position -> acks by the
 * loop, which sees the view change. Whatever fails after the log is tried
 * again from the log; a record that contradicts us stops the database until
 * the primary decides anew.
 */
#include "wal/offer.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/epoch.h"
#include "wal/incoming.h"
#include "wal/notes.h"
#include "wal/redo.h"
#include "wal/replica.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define RETRY_BUSY_NS (2 * NS_PER_MS)
#define RETRY_FAILED_NS (200 * NS_PER_MS)

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
    if (header->page_bytes != database->view.page_bytes && header->pages > 0)
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

static bool is_whole(const struct record_header *header)
{
    return header->parts == 1 &&
           !(header->flags & (RECORD_PREPARED | RECORD_RESOLVE));
}

/* What was applied becomes visible, and the position with it. */
static int publish(struct database *database)
{
    int rc = 0;

    if (database->applied.txid == database->view.position.txid)
        return 0;
    if (database->anchor.connection != NULL)
        rc = apply_publish(database);
    if (rc < 0)
        return rc;
    notes_works(database);
    notes_publish(database, &database->applied_header);
    replica_sync_soon(database);
    return 0;
}

/* One record of the log. Published alone: what fails after it takes nothing
 * back that was good, and a long backlog makes progress. */
static int apply_logged(struct database *database, const struct record *record)
{
    int rc = apply_record(database, record);

    if (rc == 0 && record->header.part == record->header.parts)
        rc = publish(database);
    return rc;
}

/* Everything the log has past our position, into the copy or the WAL. */
static int apply_from_log(struct database *database)
{
    if (database->incoming.active)
        return redo_log(database, database->incoming.position.txid + 1,
                        incoming_record);
    return redo_log(database, database->applied.txid + 1, apply_logged);
}

static int apply_blob(struct database *database,
                      const struct record_header *header, struct blob *blob)
{
    struct record record;
    int rc;

    if (!record_completes(header))
        return 0;
    if (!database->incoming.active && is_for_file(database, header)) {
        if (header->pages > 0 || !is_whole(header)) {
            rc = incoming_begin_file(database);
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
    if (header->epoch <= history_last(&database->history) &&
        header->epoch !=
            history_epoch_of(&database->history, header->last_txid))
        return site_fail(SITE_APPLY_REFUSE, "record of an older epoch",
                         EBADMSG);
    if (header->last_txid <= received)
        return 1;
    if (header->first_txid > received + 1)
        return site_fail(SITE_APPLY_REFUSE, "records are missing before it",
                         EBADMSG);
    return 0;
}

static int offer_epoch(struct database *database,
                       const struct record_header *header)
{
    if (header->epoch <= history_last(&database->history))
        return notes_keep_meta(database);
    return epoch_take(database, header);
}

/* It is in the log. A PREPARED counts as received only in the ACK: what the
 * view says was received is what a RESUME may go on after. */
static void received_set(struct database *database,
                         const struct record_header *header)
{
    bool prepared = (header->flags & RECORD_PREPARED) != 0;

    if (header->part < header->parts)
        return;
    if (record_completes(header)) {
        pthread_mutex_lock(&database->lock);
        database->view.received_txid = header->last_txid;
        pthread_mutex_unlock(&database->lock);
    }
    if (prepared || database->view.prepared.txid != 0)
        replica_show_prepared(database);
    if (prepared)
        replica_sync_soon(database);
}

/* A record contradicts us. Those before it that came with it are good, and
 * in the log. */
static void refuse(struct database *database)
{
    char reason[sizeof database->view.stopped];

    snprintf(reason, sizeof reason, "%s", site_failure());
    /* Not attached: it is the file that contradicts us. */
    if (!database->incoming.active && database->anchor.connection != NULL &&
        apply_from_log(database) < 0)
        apply_abandon(database);
    replica_stop(database, reason);
}

static void try_again(struct database *database, int rc)
{
    apply_abandon(database);
    database->behind = true;
    if (rc == -EBADMSG || rc == -EPROTONOSUPPORT || rc == -EINVAL) {
        refuse(database);
        return;
    }
    if (rc != -EAGAIN)
        notes_fails(database);
    worker_at(database, clock_now_ns() +
                            (rc == -EAGAIN ? RETRY_BUSY_NS : RETRY_FAILED_NS));
}

void offer_record(struct database *database, struct blob *blob)
{
    struct record_header header;
    size_t total;
    int rc;

    if (database->stopped || database->closing)
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
#ifdef CANARY_LOG_AFTER_WAL /* readers see it before it is in the log */
    if (rc == 0 && apply_blob(database, &header, blob) == 0)
        rc = publish(database);
#endif
    if (rc == 0)
        rc = log_append(database->incoming.log != NULL ? database->incoming.log
                                                       : database->log,
                        &header, blob);
    if (rc < 0) {
        /* Not in the log: the stream is broken here, ask for it again. */
        replica_stop(database, site_failure());
        return;
    }
    received_set(database, &header);
    if (database->incoming.active && !database->incoming.ended)
        return; /* redone when the copy has all its pages */
    rc = apply_blob(database, &header, blob);
    if (rc < 0)
        try_again(database, rc);
}

void offer_publish(struct database *database)
{
    int rc = publish(database);

    if (rc < 0)
        try_again(database, rc);
}

/* What could not be applied when it came, from the log. */
void offer_catch_up(struct database *database)
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

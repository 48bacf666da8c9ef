/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/backfill.c - see backfill.h.
 *
 * A WAL over the limit gets a checkpoint on the checkpoint thread while apply
 * goes on. All copied and nothing new behind it: the WAL starts over. While
 * records keep coming that never happens by itself, so a WAL of twice the
 * limit gets a closing checkpoint, short because another one went just
 * before, during which records wait (apply.hold).
 */
#include "wal/backfill.h"

#include "base/clock.h"
#include "wal/apply.h"
#include "wal/notes.h"
#include "wal/placing.h"
#include "wal/replica.h"
#include "wal/retention.h"
#include "wal/worker.h"

#define WAL_LIMIT_BYTES (16u << 20) /* checkpoint when the WAL is that large */
#define WAL_LIMIT_FRAMES 1000u      /* ... and at least that many frames */
#define BASE_SAVE_BYTES (32u << 20) /* of log, between two saved bases */

static uint32_t wal_limit(const struct database *database)
{
    uint32_t page_bytes = database->apply.header.page_bytes;
    uint32_t frames = page_bytes == 0 ? 0 : WAL_LIMIT_BYTES / page_bytes;

    return frames < WAL_LIMIT_FRAMES ? WAL_LIMIT_FRAMES : frames;
}

static bool is_due(const struct database *database)
{
    uint32_t frames = database->apply.header.max_frame;

    if (database->placed && frames > 0 &&
        clock_now_ns() >= database->copy_due_ns)
        return true;
    return frames >= wal_limit(database) &&
           frames >= database->apply.checkpoint_next;
}

void backfill_if_due(struct database *database)
{
    struct apply *apply = &database->apply;

    if (database->anchor.connection == NULL || apply->checkpointing ||
        database->incoming.published || !is_due(database))
        return;
    if (worker_submit(database, WORKER_CHECKPOINT) < 0)
        return; /* the next batch asks again */
    apply->checkpointing = true;
    apply->checkpoint_txid = database->view.position.txid;
}

static void base_advance(struct database *database)
{
    if (database->doubt)
        return; /* nothing here is one until a copy is in place */
    database->meta.base_txid = database->apply.checkpoint_txid;
#ifdef CANARY_LATE_BASE /* the log may forget what only the WAL has */
    database->meta.base_txid = database->view.position.txid;
#endif
    if (!(database->meta.flags & META_COPIED) || database->placed)
        database->base_saved_bytes = 0; /* a copy is complete only now */
    else if (!database->meta_unsaved &&
             log_bytes(database->log) - database->base_saved_bytes <
                 BASE_SAVE_BYTES &&
             !retention_is_due(database) && !retention_is_over(database))
        return;
    replica_save_hashes(database, &database->view.position,
                        database->view.page_bytes);
    database->meta.flags |= META_COPIED;
    if (notes_save_meta(database) < 0) {
        notes_fails(database);
        return;
    }
    placing_end(database, database->view.position.txid);
    retention_apply(database, retention_base(database));
    database->base_saved_bytes = log_bytes(database->log);
}

/* A reader, or a disk, was in the way. */
static void copy_again(struct database *database)
{
    if (!database->placed)
        return;
    database->copy_due_ns = clock_now_ns() + NS_PER_S;
    worker_at(database, database->copy_due_ns);
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

void backfill_done(struct database *database)
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
    } else if (complete && !apply->hold && !database->closing &&
               apply->header.max_frame >= 2 * wal_limit(database)) {
        apply->hold = worker_submit(database, WORKER_CHECKPOINT) == 0;
        apply->checkpointing = apply->hold;
        apply->checkpoint_txid = database->view.position.txid;
        return;
    } else {
        apply->checkpoint_next = apply->header.max_frame +
                                 wal_limit(database) / 2;
    }
    apply->hold = false;
    copy_again(database);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/checkpoint.c - see checkpoint.h.
 *
 * Log and WAL are synced before SQLite is asked: its own FSYNC(-wal) holds the
 * WAL's inode lock, which apply needs to append, and finds nothing left to do
 * then. What was copied is synced after it: SQLite leaves that to a later
 * checkpoint when frames were appended meanwhile, and we are about to say that
 * the file has it. While a checkpoint runs (apply.checkpointing) the anchor is
 * ours; the worker does not touch it.
 */
#include "wal/checkpoint.h"

#include "wal/notes.h"
#include "wal/recover.h"
#include "wal/stuck.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static int wal_sync(struct database *database)
{
    struct os_file file = {0};
    char path[DATABASE_NAME_MAX + 32];
    int rc;

    snprintf(path, sizeof path, "%s-wal", database->backing);
    rc = os_open(&file, database->catalog->config.data_fd, path, O_RDONLY, 0,
                 SITE_CHECKPOINT_SYNC);
    if (rc == 0)
        rc = os_fdatasync(&file, SITE_CHECKPOINT_SYNC);
    os_close(&file);
    return rc;
}

static void run_checkpoint(struct database *database)
{
    struct note *note = note_new(NOTE_CHECKPOINTED);
    struct apply *apply = &database->apply;
    int rc = log_sync(log_of(database));

    if (rc == 0)
        rc = wal_sync(database);
    if (rc == 0) {
        rc = anchor_checkpoint(&database->anchor, &apply->checkpoint_frames,
                               &apply->checkpoint_copied);
        database->file_suspect |= rc < 0 && rc != -EAGAIN;
    }
    if (rc == 0 && apply->checkpoint_frames == apply->checkpoint_copied)
        rc = recover_sync_file(database, SITE_CHECKPOINT_SYNC);
    apply->checkpoint_rc = rc;
    if (note == NULL)
        notes_event(database, DATABASE_EVENT_FAILED, "out of memory");
    else
        notes_post(database, note); /* hands apply back to the worker */
}

static void run_sync(struct database *database)
{
    struct log *log = log_of(database);
    struct database_view *view = &database->view;
    struct position prepared;
    bool prepared_durable;
    txid_t durable;

    if (log_sync(log) < 0)
        return; /* not durable, not acked as such; the next one tries again */
    durable = log_durable_txid(log);
    prepared_durable = log_prepared(log, &prepared);
    pthread_mutex_lock(&database->lock);
    if (log == log_of(database)) { /* else a copy's took its place */
        if (durable > view->durable_txid)
            view->durable_txid = durable;
        if (position_is_equal(&prepared, &view->prepared))
            view->prepared_durable = prepared_durable;
    }
    pthread_mutex_unlock(&database->lock);
    notes_changed(database);
}

/* With checkpoint_lock. A worker that is in the mount for too long is looked
 * after each second. */
static void wait_and_watch(struct worker *worker)
{
    uint64_t since = worker->in_mount_ns, now = clock_now_ns(), until;
    struct timespec at;

    if (since == 0) {
        pthread_cond_wait(&worker->checkpoint_wake, &worker->checkpoint_lock);
        return;
    }
    if (now < since + STUCK_NS) {
        until = since + STUCK_NS;
    } else {
        pthread_mutex_unlock(&worker->checkpoint_lock);
        stuck_answer(worker);
        pthread_mutex_lock(&worker->checkpoint_lock);
        if (worker->in_mount_ns != since)
            return;
        until = now + NS_PER_S;
    }
    at = (struct timespec){.tv_sec = (time_t)(until / NS_PER_S),
                           .tv_nsec = (long)(until % NS_PER_S)};
    (void)pthread_cond_clockwait(&worker->checkpoint_wake,
                                 &worker->checkpoint_lock, CLOCK_MONOTONIC,
                                 &at);
}

static bool job_take(struct worker *worker, struct checkpoint_job *ret_job)
{
    bool have;

    pthread_mutex_lock(&worker->checkpoint_lock);
    while (worker->checkpoint_head == worker->checkpoint_tail &&
           !worker->checkpoint_stop)
        wait_and_watch(worker);
    have = worker->checkpoint_head != worker->checkpoint_tail;
    if (have)
        *ret_job = worker->checkpoint_queue[worker->checkpoint_head++ %
                                            CHECKPOINT_QUEUE];
    pthread_mutex_unlock(&worker->checkpoint_lock);
    return have;
}

void *checkpoint_run(void *argument)
{
    struct worker *worker = argument;
    struct checkpoint_job job;
    char name[16];

    snprintf(name, sizeof name, "ckpt-%u", worker->number);
    thread_register(THREAD_CHECKPOINT, name);
    while (job_take(worker, &job)) {
        if (job.checkpoint)
            run_checkpoint(job.database);
        else
            run_sync(job.database);
        database_unref(job.database);
    }
    thread_unregister();
    return NULL;
}

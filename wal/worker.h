/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/worker.h - the threads that own databases, and what wakes them.
 *
 * A worker sleeps in ppoll() on an eventfd (notes), inotify (applications
 * wrote) and its databases' timers; each database is pinned to one worker.
 * Beside each runs a checkpoint thread for what takes milliseconds on a
 * replica, checkpoints and syncing logs, and to answer for a worker that is
 * stuck.
 */
#ifndef TIDEMARK_WAL_WORKER_H
#define TIDEMARK_WAL_WORKER_H

#include "wal/engine.h"

int worker_open(struct worker *worker, struct catalog *catalog,
                unsigned number);
int worker_start(struct worker *worker);

/* Asks both threads to end when nothing is runnable, and joins them. */
void worker_stop(struct worker *worker);
void worker_close(struct worker *worker);

/* Ties inotify watch wd to a database. On the worker. */
void worker_watch(struct database *database, int wd);
void worker_unwatch(struct database *database, int wd);

/* Runs the database again at at_ns (monotonic) at the latest; the earliest of
 * several wishes counts. On the worker. */
void worker_at(struct database *database, uint64_t at_ns);

/* What the checkpoint thread can be asked for. */
enum worker_job { WORKER_CHECKPOINT, WORKER_SYNC };

/* Queues a job; a NOTE_CHECKPOINTED (or nothing, for SYNC) answers. -EAGAIN:
 * the queue is full. On the worker. */
int worker_submit(struct database *database, enum worker_job job);

/*
 * Around calls to the mount that wait for names or files there. Somebody may
 * keep the kernel's lock of a directory and wait for a call that is parked with
 * this worker (rm of a file that is being synced): after a while the checkpoint
 * thread answers in its place, see wal/stuck.h. On the worker; they nest.
 */
void worker_enter_mount(struct worker *worker);
void worker_leave_mount(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/checkpoint.h - what takes milliseconds on a replica, on a thread of its
 * own: SQLite's PASSIVE checkpoint and making logs durable. It also watches its
 * worker, on both sides, and answers for one that is stuck.
 */
#ifndef TIDEMARK_WAL_CHECKPOINT_H
#define TIDEMARK_WAL_CHECKPOINT_H

/* The thread of one worker; argument: struct worker. */
void *checkpoint_run(void *argument);

#endif

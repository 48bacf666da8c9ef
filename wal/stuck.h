/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/stuck.h - answers an FSYNC parked with a worker that waits for the mount.
 *
 * The kernel holds the lock of a file while its FSYNC waits for our answer.
 * Who deletes or renames that file meanwhile holds the lock of the directory
 * and waits for the file; a worker that then needs a name there waits for both,
 * and the FSYNC for the worker: for ever. So an FSYNC that is parked for
 * STUCK_NS with a worker which has been in the mount for so long is answered
 * EIO: a commit reports that to its application, a checkpoint is tried again.
 */
#ifndef TIDEMARK_WAL_STUCK_H
#define TIDEMARK_WAL_STUCK_H

#include "base/clock.h"
#include "wal/engine.h"

#define STUCK_NS (5 * NS_PER_S)

/* Answers those parked with this worker. Its checkpoint thread. */
void stuck_answer(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doorway.h - waits that come in through the mount, brought to the loop.
 *
 * A program opens .tidemark/wait/DB/TOKEN; a FUSE worker hands its parked
 * open in here, the loop takes it out and lets it wait with all others.
 */
#ifndef TIDEMARK_NODE_DOORWAY_H
#define TIDEMARK_NODE_DOORWAY_H

#include "fuse/mount.h"
#include "node/waits.h"

#include <pthread.h>

#define DOORWAY_MAX 4096          /* programs waiting by open at one time */
#define DOORWAY_TIMEOUT_MS 30000u /* then ETIMEDOUT */

struct doorway {
    pthread_mutex_t lock;
    struct list arrived;  /* [lock] opens the loop has not seen */
    struct list canceled; /* [lock] ids to cancel */
    size_t count;         /* [lock] all that are not done */
    bool closed;          /* [lock] */
    uv_async_t async;
    struct waits *waits;
    struct list waiting; /* [loop] */
};

int doorway_open(struct doorway *doorway, uv_loop_t *loop, struct waits *waits);

/* Ends every wait that is in here; later ones are refused. Loop. */
void doorway_close(struct doorway *doorway);

/* mount_hooks.wait: any thread. -EBUSY, -ENOMEM, -EIO (closing). */
int doorway_wait(struct doorway *doorway, const char *database,
                 const char *token, size_t token_size, struct mount_wait *wait);

/* mount_hooks.wait_cancel: any thread. */
void doorway_cancel(struct doorway *doorway, uint64_t wait_id);

#endif

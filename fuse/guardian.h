/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/guardian.h - a small process that ends the mount's connection when the
 * daemon dies, so that programs in the mount get errors and do not hang.
 *
 * The kernel ends a connection when the last descriptor of /dev/fuse closes.
 * A killed daemon may never come that far: it first gives up its memory, and
 * with it the -shm that it has mapped through its own mount; or a thread of
 * it waits for an answer that another one of it would have given. Then it
 * waits for itself, and everybody in the mount with it.
 *
 * Both hold a robust mutex in a shared page: the kernel hands over the one
 * of a dead thread before it gives up memory, where the end of a pipe, a
 * pidfd or the signal of a parent's death come after it, so never.
 *
 * guardian_start() and guardian_stop() belong to one thread, which must not
 * end before the process does.
 */
#ifndef TIDEMARK_FUSE_GUARDIAN_H
#define TIDEMARK_FUSE_GUARDIAN_H

#include <stdbool.h>
#include <sys/types.h>

#define GUARDIAN_NAME "tidemark-guard" /* for ps; at most 15 bytes */

struct guardian {
    struct guardian_pact *pact; /* shared with the process; NULL: none */
    pid_t pid;                  /* 0: none, or it is gone */
};

/*
 * Starts one for the mount at path, right after mounting and before the
 * process has other threads: they would not know that it forks. privileged:
 * this process has mounted by itself and may unmount by force. -EACCES: it
 * may not, and fusectl is not there either, so there would be nothing that a
 * guardian could do.
 */
int guardian_start(struct guardian *guardian, const char *path,
                   bool privileged);

/* True once: when it has ended though nobody told it to. */
bool guardian_has_gone(struct guardian *guardian);

/* Ends it; before unmounting, for it keeps the mount busy. Zeroed is fine. */
void guardian_stop(struct guardian *guardian);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/apart.h - asks in a process apart what may never be answered.
 *
 * The kernel lets whoever asks wait for the server of a mount, or for a
 * process that waits for one itself: for ever, if that is stopped. So a child
 * asks, and tells in messages what it learns. One that hangs is killed and
 * left behind: it holds nothing of ours, and ends when the kernel lets it go.
 * It hangs when it waits all the time: to be slow, on a busy machine or a slow
 * disk, is to run now and then.
 * For processes with one thread; each struct has one owner.
 */
#ifndef TIDEMARK_NODE_APART_H
#define TIDEMARK_NODE_APART_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define APART_MESSAGE_MAX 8192

struct apart {
    pid_t child;
    int fd;
    uint64_t waits; /* how often it had begun to wait when last we looked */
};

/* Runs in the child, which ends when this returns, in which all descriptors
 * but fd are closed and standard input, output and error lead nowhere. */
typedef void (*apart_ask)(void *context, int fd);

/* Starts the child; -errno. */
int apart_begin(struct apart *apart, apart_ask ask, void *context);

/* In the child: one message, not empty, of at most APART_MESSAGE_MAX bytes.
 * Waits while the parent is slow. */
void apart_tell(int fd, const void *message, size_t size);

/* The bytes of the next message, cut at size; 0: the child has ended;
 * -ETIMEDOUT: it has hung for patience_ms, or said nothing for a minute;
 * -errno. */
ssize_t apart_hear(struct apart *apart, void *ret_message, size_t size,
                   unsigned patience_ms);

/* Whatever the child is at. Never waits for one that hangs. */
void apart_end(struct apart *apart);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/serve.h - the FUSE workers: threads that take requests from the kernel.
 *
 * A few at first; one more whenever the last idle one takes a request, since
 * an fdatasync may keep a worker busy for long and must not keep others from
 * being served. They stay: an idle thread costs a stack nobody touches.
 */
#ifndef TIDEMARK_FUSE_SERVE_H
#define TIDEMARK_FUSE_SERVE_H

#include <pthread.h>
#include <stdbool.h>

#define SERVE_THREADS_FIRST 2
#define SERVE_THREADS_MAX 24

struct fuse_session;

struct serve {
    struct fuse_session *session;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t ended; /* a worker has: running fell */
    pthread_t threads[SERVE_THREADS_MAX];
    unsigned count;   /* of threads ever started */
    unsigned running; /* of them, those that have not ended */
    unsigned idle;    /* waiting for a request */
    bool stopping;
};

/*
 * For sanitizers, which do not see that a request which follows a reply comes
 * after it: the order is made in the kernel. ThreadSanitizer is told of it.
 * Replies are copied first: what is written is looked at when writev() has
 * returned, and by then the application has its answer and may have closed
 * the file whose text that was. In other builds it does nothing. After the
 * mount, before the first request.
 */
void serve_order(struct fuse_session *session);

/* Takes one request on the calling thread: 0, or a negative errno when there
 * are none to come. For the handshake, before serve_start(). */
int serve_one(struct fuse_session *session);

int serve_start(struct serve *serve, struct fuse_session *session);

/* Ends and joins the workers, also those still waiting for the kernel. Each
 * finishes the request it has. Takes zeroed and stopped alike. */
void serve_stop(struct serve *serve);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/serve.c - see serve.h.
 *
 * Workers end by themselves when the connection ends: the read says ENODEV.
 * It outlives the mount when another mount namespace has a copy of it; then
 * they are cancelled, but only while they read from the kernel: everywhere
 * else cancellation is off, so that no lock and no request is left behind.
 */
#include "fuse/serve.h"

#include "base/clock.h"
#include "fuse/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define STOP_WAIT_NS NS_PER_S /* for workers to end by themselves */

static int start_one(struct serve *serve);

/* Takes the next request; 0, or negative when the worker should end. */
static int next_request(struct fuse_session *session, struct fuse_buf *buf)
{
    int before, ignored, rc;

    do {
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
        rc = fuse_session_receive_buf(session, buf);
        pthread_setcancelstate(before, &ignored);
    } while (rc == -EINTR || rc == -EAGAIN);
    return rc > 0 ? 0 : rc == 0 ? -ENODEV : rc;
}

/* This worker goes to work: is there another one to wait meanwhile? */
static void serve_busy(struct serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    if (--serve->idle == 0 && !serve->stopping)
        (void)start_one(serve); /* then this one comes back sooner or later */
    pthread_mutex_unlock(&serve->lock);
}

static void serve_idle(struct serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    serve->idle++;
    pthread_mutex_unlock(&serve->lock);
}

/* What a worker has of its own, given back also when it is cancelled. */
struct worker {
    struct serve *serve;
    struct fuse_buf buf;
};

static void worker_end(void *argument)
{
    struct worker *worker = argument;
    struct serve *serve = worker->serve;

    free(worker->buf.mem);
    thread_unregister();
    pthread_mutex_lock(&serve->lock);
    serve->running--;
    pthread_cond_signal(&serve->ended);
    pthread_mutex_unlock(&serve->lock);
}

static void worker_name(const struct serve *serve, char *ret_name, size_t size)
{
    unsigned number = 0;

    while (number < serve->count &&
           !pthread_equal(serve->threads[number], pthread_self()))
        number++;
    snprintf(ret_name, size, "fuse-%u", number);
}

static void *worker_run(void *argument)
{
    struct serve *serve = argument;
    struct worker worker = {.serve = serve};
    char name[16];
    int ignored;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    pthread_mutex_lock(&serve->lock); /* held by who started us until then */
    worker_name(serve, name, sizeof name);
    pthread_mutex_unlock(&serve->lock);
    thread_register(THREAD_FUSE, name);
    pthread_cleanup_push(worker_end, &worker);
    while (next_request(serve->session, &worker.buf) == 0) {
        serve_busy(serve);
        fuse_session_process_buf(serve->session, &worker.buf);
        serve_idle(serve);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

/* The caller holds the lock. */
static int start_one(struct serve *serve)
{
    int rc;

    if (serve->count == SERVE_THREADS_MAX)
        return -EAGAIN;
    rc = thread_start(&serve->threads[serve->count], worker_run, serve);
    if (rc == 0) {
        serve->count++;
        serve->running++;
        serve->idle++;
    }
    return rc;
}

/* ---- under a sanitizer --------------------------------------------------- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static atomic_ullong order;

static ssize_t order_read(int fd, void *bytes, size_t size, void *userdata)
{
    ssize_t n = read(fd, bytes, size);

    (void)userdata;
    (void)atomic_load_explicit(&order, memory_order_acquire);
    return n;
}

static ssize_t order_writev(int fd, struct iovec *parts, int count,
                            void *userdata)
{
    size_t size = 0, at = 0;
    char *copy;
    ssize_t n;
    int error;

    (void)userdata;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    copy = malloc(size);
    ASSERT(copy != NULL);
    for (int i = 0; i < count; at += parts[i++].iov_len)
        memcpy(copy + at, parts[i].iov_base, parts[i].iov_len);
    atomic_fetch_add_explicit(&order, 1, memory_order_release);
    n = write(fd, copy, size);
    error = errno;
    free(copy);
    errno = error;
    return n;
}

void serve_order(struct fuse_session *session)
{
    static const struct fuse_custom_io io = {
        .read = order_read,
        .writev = order_writev,
    };

    ASSERT(fuse_session_custom_io(session, &io, sizeof io,
                                  fuse_session_fd(session)) == 0);
}
#else
void serve_order(struct fuse_session *session)
{
    (void)session;
}
#endif

/* ---- starting and stopping ----------------------------------------------- */

int serve_one(struct fuse_session *session)
{
    struct fuse_buf buf = {0};
    int rc = next_request(session, &buf);

    if (rc == 0)
        fuse_session_process_buf(session, &buf);
    free(buf.mem);
    return rc;
}

int serve_start(struct serve *serve, struct fuse_session *session)
{
    pthread_condattr_t clock;
    int rc = 0;

    *serve = (struct serve){.session = session};
    pthread_mutex_init(&serve->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&serve->ended, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_lock(&serve->lock);
    for (int i = 0; i < SERVE_THREADS_FIRST && rc == 0; i++)
        rc = start_one(serve);
    pthread_mutex_unlock(&serve->lock);
    if (rc < 0)
        serve_stop(serve);
    return rc;
}

/* Waits for the workers to end by themselves; false: some have not. */
static bool serve_wait(struct serve *serve)
{
    uint64_t until_ns = clock_now_ns() + STOP_WAIT_NS;
    const struct timespec until = {
        .tv_sec = (time_t)(until_ns / NS_PER_S),
        .tv_nsec = (long)(until_ns % NS_PER_S),
    };
    int rc = 0;
    bool all;

    pthread_mutex_lock(&serve->lock);
    serve->stopping = true;
    while (serve->running > 0 && rc == 0)
        rc = pthread_cond_timedwait(&serve->ended, &serve->lock, &until);
    all = serve->running == 0;
    pthread_mutex_unlock(&serve->lock);
    return all;
}

void serve_stop(struct serve *serve)
{
    if (serve->session == NULL)
        return;
    fuse_session_exit(serve->session);
    if (!serve_wait(serve))
        for (unsigned i = 0; i < serve->count; i++)
            pthread_cancel(serve->threads[i]);
    for (unsigned i = 0; i < serve->count; i++)
        pthread_join(serve->threads[i], NULL);
    pthread_cond_destroy(&serve->ended);
    pthread_mutex_destroy(&serve->lock);
    *serve = (struct serve){0};
}

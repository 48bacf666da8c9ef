/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/serve.c - see serve.h.
 *
 * A worker is cancelled only while it reads from the kernel: everywhere else
 * cancellation is off, so no lock and no request is ever left behind. After a
 * clean unmount none is needed: the read says ENODEV.
 */
#include "fuse/serve.h"

#include "fuse/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

static void worker_end(void *argument)
{
    struct fuse_buf *buf = argument;

    free(buf->mem);
    thread_unregister();
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
    struct fuse_buf buf = {0};
    char name[16];
    int ignored;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    pthread_mutex_lock(&serve->lock); /* held by who started us until then */
    worker_name(serve, name, sizeof name);
    pthread_mutex_unlock(&serve->lock);
    thread_register(THREAD_FUSE, name);
    pthread_cleanup_push(worker_end, &buf);
    while (next_request(serve->session, &buf) == 0) {
        serve_busy(serve);
        fuse_session_process_buf(serve->session, &buf);
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
        serve->idle++;
    }
    return rc;
}

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
    int rc = 0;

    *serve = (struct serve){.session = session};
    pthread_mutex_init(&serve->lock, NULL);
    pthread_mutex_lock(&serve->lock);
    for (int i = 0; i < SERVE_THREADS_FIRST && rc == 0; i++)
        rc = start_one(serve);
    pthread_mutex_unlock(&serve->lock);
    if (rc < 0)
        serve_stop(serve);
    return rc;
}

void serve_stop(struct serve *serve)
{
    unsigned count;

    if (serve->session == NULL)
        return;
    pthread_mutex_lock(&serve->lock);
    serve->stopping = true;
    count = serve->count;
    pthread_mutex_unlock(&serve->lock);
    for (unsigned i = 0; i < count; i++)
        pthread_cancel(serve->threads[i]);
    for (unsigned i = 0; i < count; i++)
        pthread_join(serve->threads[i], NULL);
    pthread_mutex_destroy(&serve->lock);
    *serve = (struct serve){0};
}

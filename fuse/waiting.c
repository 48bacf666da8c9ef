/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/waiting.c - see waiting.h.
 *
 * A wait has two holders, whoever comes last frees it: the FUSE worker until
 * hooks.wait has returned, and the node until on_done. An interrupt may come
 * before the node knows the wait; it is then passed on by the worker.
 */
#include "fuse/waiting.h"

#include "fuse/handle.h"
#include "fuse/virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

/* Fixes the content and replies. */
static void text_opened(struct handle *handle, int rc)
{
    fuse_req_t req = handle->req;

    if (rc == 0)
        rc = virtual_text(handle->mount, handle->inode, &handle->text,
                          &handle->text_size);
    if (rc == 0 && fuse_reply_open(req, &handle->fi) == 0)
        return; /* the handle may be released already */
    handle_free(handle);
    if (rc < 0)
        reply_result(req, rc);
}

/* ---- tokens and positions ------------------------------------------------ */

static void pass_on_done(struct parked *parked, int rc)
{
    struct handle *handle = CONTAINER_OF(parked, struct handle, parked);

    atomic_fetch_sub(&handle->mount->parked, 1);
    database_unref(handle->database);
    handle->database = NULL;
    text_opened(handle, rc);
}

static void open_after_pass(struct handle *handle)
{
    struct database *database = virtual_database(handle->mount, handle->inode);

    if (database == NULL || handle->own) {
        database_unref(database);
        text_opened(handle, database == NULL ? -ENOENT : 0);
        return;
    }
    handle->database = database;
    handle->parked.on_done = pass_on_done;
    atomic_fetch_add(&handle->mount->parked, 1);
    database_pass(database, &handle->parked);
}

/* ---- waits --------------------------------------------------------------- */

struct waiting {
    struct mount_wait wait;
    struct handle *handle;
    pthread_mutex_t lock; /* guards the rest; held while a cancel is told */
    unsigned holders;
    bool known; /* hooks.wait has returned 0 */
    bool interrupted;
};

static struct waiting *waiting_new(struct handle *handle)
{
    struct waiting *waiting = calloc(1, sizeof *waiting);

    if (waiting == NULL)
        return NULL;
    pthread_mutex_init(&waiting->lock, NULL);
    waiting->wait.id = atomic_fetch_add(&handle->mount->wait_ids, 1) + 1;
    waiting->handle = handle;
    waiting->holders = 2;
    return waiting;
}

static void waiting_let_go(struct waiting *waiting, unsigned count)
{
    unsigned holders;

    pthread_mutex_lock(&waiting->lock);
    holders = waiting->holders -= count;
    pthread_mutex_unlock(&waiting->lock);
    if (holders != 0)
        return;
    pthread_mutex_destroy(&waiting->lock);
    free(waiting);
}

static void waiting_cancel(const struct waiting *waiting, struct mount *mount)
{
    const struct mount_hooks *hooks = &mount->config.hooks;

    hooks->wait_cancel(hooks->context, waiting->wait.id);
}

/* Inside libfuse's lock of the request; waiting_on_done() takes it away. */
static void waiting_on_interrupt(fuse_req_t req, void *argument)
{
    struct waiting *waiting = argument;

    pthread_mutex_lock(&waiting->lock);
    waiting->interrupted = true;
    if (waiting->known)
        waiting_cancel(waiting, mount_of(req));
    pthread_mutex_unlock(&waiting->lock);
}

static void waiting_on_done(struct mount_wait *wait, int rc)
{
    struct waiting *waiting = CONTAINER_OF(wait, struct waiting, wait);
    struct handle *handle = waiting->handle;

    /* Waits for an interrupt that is being told, and lets none come after. */
    fuse_req_interrupt_func(handle->req, NULL, NULL);
    atomic_fetch_sub(&handle->mount->parked, 1);
    text_opened(handle, rc);
    waiting_let_go(waiting, 1);
}

/* The node has taken the wait: tell it what happened meanwhile. */
static void waiting_is_known(struct waiting *waiting, struct mount *mount)
{
    pthread_mutex_lock(&waiting->lock);
    waiting->known = true;
    if (waiting->interrupted)
        waiting_cancel(waiting, mount);
    pthread_mutex_unlock(&waiting->lock);
    waiting_let_go(waiting, 1);
}

/* Hands the wait over: 0, or refused and nothing is held any more. */
static int wait_submit(struct handle *handle, const char *name,
                       const char *token)
{
    struct mount *mount = handle->mount;
    const struct mount_hooks *hooks = &mount->config.hooks;
    struct waiting *waiting = waiting_new(handle);
    fuse_req_t req = handle->req;
    int rc;

    if (waiting == NULL)
        return -ENOMEM;
    waiting->wait.on_done = waiting_on_done;
    fuse_req_interrupt_func(req, waiting_on_interrupt, waiting);
    atomic_fetch_add(&mount->parked, 1);
    rc = hooks->wait(hooks->context, name, token, strlen(token),
                     &waiting->wait);
    if (rc == 0) {
        waiting_is_known(waiting, mount);
        return 0;
    }
    atomic_fetch_sub(&mount->parked, 1);
    fuse_req_interrupt_func(req, NULL, NULL);
    waiting_let_go(waiting, 2); /* on_done will not come */
    return rc;
}

static void open_after_wait(struct handle *handle)
{
    struct mount *mount = handle->mount;
    char name[DATABASE_NAME_MAX], token[NAME_MAX + 1];
    int rc = virtual_wait(mount, handle->inode, name, token);

    /* Our own thread would wait for itself. */
    if (rc == 0 && (handle->own || mount->config.hooks.wait == NULL))
        rc = -EOPNOTSUPP;
    if (rc == 0)
        rc = wait_submit(handle, name, token);
    if (rc < 0)
        text_opened(handle, rc);
}

void waiting_open(fuse_req_t req, struct inode *inode,
                  const struct fuse_file_info *fi)
{
    struct handle *handle;

    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        reply_result(req, -EPERM);
        return;
    }
    handle = handle_new(req, inode, fi);
    if (handle == NULL) {
        reply_result(req, -ENOMEM);
        return;
    }
    handle->fi.direct_io = 1; /* never from a cache of an older open */
    handle->fi.noflush = 1;
    if (inode->identity.virtual == VIRTUAL_WAIT)
        open_after_wait(handle);
    else if (inode->identity.virtual == VIRTUAL_TOKEN ||
             inode->identity.virtual == VIRTUAL_POSITION)
        open_after_pass(handle);
    else
        text_opened(handle, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/session.h - inside the mount: what a mount is made of, and the few
 * questions every request asks. Only fuse/ includes it.
 */
#ifndef TIDEMARK_FUSE_SESSION_H
#define TIDEMARK_FUSE_SESSION_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 17)

#include "base/list.h"
#include "base/thread.h"
#include "fuse/guardian.h"
#include "fuse/inode.h"
#include "fuse/mount.h"
#include "fuse/serve.h"
#include "wal/database.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

/*
 * How long the kernel may keep names and attributes. Nothing changes them
 * behind its back: applications come through the mount, and so does the engine
 * for every name that may be known here. For virtual files see virtual.h.
 */
#define SESSION_CACHE_SECONDS 3600.0

struct mount {
    struct mount_config config; /* fixed */
    char *path;                 /* fixed; absolute */
    struct fuse_session *session;
    struct inode_table table;
    struct serve serve;
    struct guardian guardian;
    bool mounted;     /* main thread: the kernel has it */
    bool helped;      /* main thread: fusermount3 mounted it */
    bool shook_hands; /* written by init(), before any worker */
    bool offered;     /* ditto: the kernel knows passthrough */
    bool passthrough; /* fixed once mount_open() returned */
    char reason[160];
    atomic_uint parked; /* requests that others will answer */
    atomic_ullong wait_ids;
    pthread_mutex_t handles_lock; /* guards handles; nothing held with it */
    struct list handles;
};

static inline struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline struct inode *inode_of(fuse_req_t req, fuse_ino_t number)
{
    return inode_from_number(&mount_of(req)->table, number);
}

/* The daemon itself asks: it must get its answer at once, or wait for itself.
 * Not for RELEASE, FORGET and writes from the page cache: they have no pid. */
static inline bool request_is_own(fuse_req_t req)
{
    return thread_is_ours(fuse_req_ctx(req)->pid);
}

/* Answers with nothing but a result: 0 or a negative errno. */
static inline void reply_result(fuse_req_t req, int rc)
{
    ASSERT(rc <= 0);
    fuse_reply_err(req, -rc);
}

#endif

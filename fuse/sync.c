/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/sync.c - see sync.h. A parked FSYNC is a struct sync with two halves
 * that go on side by side: the engine captures and makes its log durable on a
 * thread of its own, this one lets the disk have the file. The half that ends
 * last replies.
 */
#include "fuse/sync.h"

#include "fuse/adopt.h"

#include <errno.h>
#include <stdlib.h>

struct sync {
    struct parked parked;
    struct mount *mount;
    fuse_req_t req;
    struct database *database; /* a reference */
    enum database_file kind;
    atomic_int halves; /* not done yet */
    atomic_int rc;     /* of the half that failed, 0: none */
};

static void sync_reply(fuse_req_t req, int rc)
{
    if (rc == -EINTR || rc == -ENOSYS)
        rc = -EIO;
    reply_result(req, rc);
}

/* The last one sees what both left: each writes rc before it counts down. */
static void sync_half(struct sync *sync, int rc)
{
    if (rc < 0)
        atomic_store(&sync->rc, rc);
    if (atomic_fetch_sub(&sync->halves, 1) > 1)
        return;
    rc = atomic_load(&sync->rc);
    atomic_fetch_sub(&sync->mount->parked, 1);
    sync_reply(sync->req, rc);
    if (rc == 0)
        database_on_synced(sync->database, sync->kind);
    database_unref(sync->database);
    free(sync);
}

static void sync_on_done(struct parked *parked, int rc)
{
    sync_half(CONTAINER_OF(parked, struct sync, parked), rc);
}

static int sync_file(const struct inode *inode, int datasync)
{
    if (datasync)
        return os_fdatasync(&inode->file, SITE_SYNC_FILE);
    return os_fsync(&inode->file, SITE_SYNC_FILE);
}

/* The engine decides; the request is answered here or by sync_half(). */
static void sync_database(fuse_req_t req, struct inode *inode, int datasync,
                          struct database *database, enum database_file kind)
{
    struct mount *mount = mount_of(req);
    struct sync *sync = calloc(1, sizeof *sync);
    int rc;

    if (sync == NULL) {
        database_unref(database);
        sync_reply(req, -EIO);
        return;
    }
    *sync = (struct sync){
        .parked.on_done = sync_on_done,
        .mount = mount,
        .req = req,
        .database = database,
        .kind = kind,
        .halves = 2,
    };
    atomic_fetch_add(&mount->parked, 1);
    rc = database_on_fsync(database, kind, request_is_own(req), &sync->parked);
    if (rc == DATABASE_PARKED) {
        sync_half(sync, sync_file(inode, datasync)); /* gone with the last */
        return;
    }
    atomic_fetch_sub(&mount->parked, 1);
    free(sync);
    if (rc == 0)
        rc = sync_file(inode, datasync);
    sync_reply(req, rc);
    if (rc == 0)
        database_on_synced(database, kind);
    database_unref(database);
}

void sync_fsync(fuse_req_t req, fuse_ino_t number, int datasync,
                struct fuse_file_info *fi)
{
    struct handle *handle = handle_of(fi);
    struct inode *inode = inode_of(req, number);
    struct database *database;
    enum database_file kind;

    ASSERT_ON_FUSE();
    if (inode->identity.type == INODE_VIRTUAL) {
        sync_reply(req, 0);
        return;
    }
    database = adopt_database(handle, &kind);
    if (database != NULL)
        sync_database(req, inode, datasync, database, kind);
    else
        sync_reply(req, sync_file(inode, datasync));
}

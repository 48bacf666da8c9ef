/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/sync.c - see sync.h. A parked FSYNC is a struct sync until the engine,
 * which then has synced the file itself, answers from a thread of its own.
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
};

static void sync_reply(fuse_req_t req, int rc)
{
    if (rc == -EINTR || rc == -ENOSYS)
        rc = -EIO;
    reply_result(req, rc);
}

static void sync_on_done(struct parked *parked, int rc)
{
    struct sync *sync = CONTAINER_OF(parked, struct sync, parked);

    atomic_fetch_sub(&sync->mount->parked, 1);
    sync_reply(sync->req, rc);
    database_unref(sync->database);
    free(sync);
}

static int sync_file(const struct inode *inode, int datasync)
{
    if (datasync)
        return os_fdatasync(&inode->file, SITE_SYNC_FILE);
    return os_fsync(&inode->file, SITE_SYNC_FILE);
}

/* The engine decides; the request is answered here or by sync_on_done(). */
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
    };
    atomic_fetch_add(&mount->parked, 1);
    rc = database_on_fsync(database, kind, request_is_own(req), &sync->parked);
    if (rc == DATABASE_PARKED)
        return; /* sync may be gone already */
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

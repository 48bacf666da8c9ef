/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/anchor.c - see anchor.h. `PRAGMA schema_version` is the read: it takes
 * the locks and opens the WAL, and reads page 1 only, so that a damaged
 * schema does not keep us from holding on to the file.
 */
#include "wal/anchor.h"

#include "base/assert.h"
#include "base/site.h"
#include "wal/walindex.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int anchor_errno(int rc, const char *path)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return -EAGAIN;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return site_fail(SITE_ANCHOR_READ, path, EBADMSG);
    case SQLITE_NOMEM:
        return site_fail(SITE_ANCHOR_READ, path, ENOMEM);
    case SQLITE_FULL:
        return site_fail(SITE_ANCHOR_READ, path, ENOSPC);
    case SQLITE_CANTOPEN:
        return site_fail(SITE_ANCHOR_READ, path, ENOENT);
    default:
        return site_fail(SITE_ANCHOR_READ, path, EIO);
    }
}

static int anchor_run(struct anchor *anchor, const char *sql)
{
    return anchor_errno(sqlite3_exec(anchor->connection, sql, NULL, NULL, NULL),
                        sqlite3_db_filename(anchor->connection, "main"));
}

/*
 * SQLite run by root gives every -wal it opens the owner of the database.
 * fchown() takes the lock of the inode, which an application's FSYNC of that
 * -wal holds while it waits for this very anchor: both would wait for ever.
 * Nearly always the owner is right already, and fstat() takes no lock.
 */
static int change_owner_if_other(int fd, uid_t uid, gid_t gid)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && status.st_uid == uid && status.st_gid == gid)
        return 0;
    return fchown(fd, uid, gid);
}

/* -shm of the anchor that this thread is closing. */
static _Thread_local const struct os_file *closing_shm;

static int unmap_written_back(void *at, size_t size)
{
    if (closing_shm != NULL && closing_shm->open)
        walindex_write_back(closing_shm->fd);
    return munmap(at, size);
}

static void sqlite_setup(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    int rc = vfs->xSetSystemCall(vfs, "fchown",
                                 (sqlite3_syscall_ptr)change_owner_if_other);

    ASSERT(rc == SQLITE_OK);
    rc = vfs->xSetSystemCall(vfs, "munmap",
                             (sqlite3_syscall_ptr)unmap_written_back);
    ASSERT(rc == SQLITE_OK);
}

int anchor_open(struct anchor *anchor, const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int fault = site_fault(SITE_ANCHOR_OPEN), rc;

    ASSERT(anchor->connection == NULL);
    pthread_once(&once, sqlite_setup);
    if (fault != 0)
        return site_fail(SITE_ANCHOR_OPEN, path, fault);
    rc = anchor_errno(
        sqlite3_open_v2(path, &anchor->connection,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL),
        path);
    if (rc == 0) {
        /* Thousands may be open: no lookaside, hardly a page cache. */
        sqlite3_db_config(anchor->connection, SQLITE_DBCONFIG_LOOKASIDE, NULL,
                          0, 0);
        sqlite3_wal_autocheckpoint(anchor->connection, 0);
        rc = anchor_run(anchor, "PRAGMA cache_size=2");
    }
    if (rc == 0)
        rc = anchor_run(anchor, "PRAGMA schema_version");
    if (rc < 0)
        anchor_close(anchor, false);
    return rc;
}

void anchor_close(struct anchor *anchor, bool checkpoint)
{
    if (anchor->connection == NULL)
        return;
    sqlite3_db_config(anchor->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                      checkpoint ? 0 : 1, NULL);
    closing_shm = anchor->shm;
    sqlite3_close(anchor->connection);
    closing_shm = NULL;
    *anchor = (struct anchor){0};
}

int anchor_begin(struct anchor *anchor)
{
    int rc = anchor_run(anchor, "BEGIN");

    if (rc == 0)
        rc = anchor_run(anchor, "PRAGMA schema_version");
    if (rc < 0)
        anchor_end(anchor);
    return rc;
}

void anchor_end(struct anchor *anchor)
{
    if (sqlite3_get_autocommit(anchor->connection) == 0)
        (void)anchor_run(anchor, "COMMIT");
}

int anchor_checkpoint(struct anchor *anchor, int *ret_frames, int *ret_copied)
{
    int frames = -1, copied = -1;
    int rc = sqlite3_wal_checkpoint_v2(anchor->connection, "main",
                                       SQLITE_CHECKPOINT_PASSIVE, &frames,
                                       &copied);

    *ret_frames = frames < 0 ? 0 : frames;
    *ret_copied = copied < 0 ? 0 : copied;
    return anchor_errno(rc, sqlite3_db_filename(anchor->connection, "main"));
}

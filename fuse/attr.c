/* SPDX-License-Identifier: Apache-2.0 */
/* fuse/attr.c - see attr.h. */
#include "fuse/attr.h"

#include "fuse/backing.h"
#include "fuse/commit.h"
#include "fuse/handle.h"
#include "fuse/virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------- */

static void override_owner(const struct mount *mount, struct stat *status)
{
    if (mount->config.uid != MOUNT_KEEP_OWNER)
        status->st_uid = mount->config.uid;
    if (mount->config.gid != MOUNT_KEEP_OWNER)
        status->st_gid = mount->config.gid;
}

int attr_read(struct mount *mount, struct inode *inode, struct stat *ret_status,
              double *ret_seconds)
{
    bool virtual = inode->identity.type == INODE_VIRTUAL;
    int rc = virtual ? virtual_stat(mount, inode, ret_status)
                     : backing_stat(&mount->table, inode, ret_status);

    if (rc < 0)
        return rc;
    override_owner(mount, ret_status);
    *ret_seconds = virtual ? virtual_cache_seconds(mount, inode)
                           : SESSION_CACHE_SECONDS;
    return 0;
}

void attr_get(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    struct stat status;
    double seconds;
    int rc;

    ASSERT_ON_FUSE();
    (void)fi;
    rc = attr_read(mount_of(req), inode_of(req, number), &status, &seconds);
    if (rc < 0)
        reply_result(req, rc);
    else
        fuse_reply_attr(req, &status, seconds);
}

void attr_statfs(fuse_req_t req, fuse_ino_t number)
{
    int rc = site_fault(SITE_ATTR_STATFS);
    struct statvfs status;

    ASSERT_ON_FUSE();
    (void)number;
    if (rc == 0 && fstatvfs(mount_of(req)->config.files_fd, &status) < 0)
        rc = errno;
    if (rc != 0)
        reply_result(req, site_fail(SITE_ATTR_STATFS, NULL, rc));
    else
        fuse_reply_statfs(req, &status);
}

void attr_new_owner(fuse_req_t req, const struct stat *parent, uid_t *ret_uid,
                    gid_t *ret_gid)
{
    const struct mount_config *config = &mount_of(req)->config;
    const struct fuse_ctx *caller = fuse_req_ctx(req);

    *ret_uid = config->uid != MOUNT_KEEP_OWNER ? config->uid : caller->uid;
    if (config->gid != MOUNT_KEEP_OWNER)
        *ret_gid = config->gid;
    else
        *ret_gid = parent->st_mode & S_ISGID ? parent->st_gid : caller->gid;
}

/* ---- setting ------------------------------------------------------------- */

/* One SETATTR: where it goes, and what it wants. A file is in use. */
struct change {
    struct mount *mount;
    struct inode *inode;
    const struct stat *wanted;
    int what; /* FUSE_SET_ATTR_... */
    bool own;
    char path[DATABASE_NAME_MAX];
    enum database_file kind;
    struct database *database; /* a reference, or NULL */
};

#define CHANGES_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define CHANGES_TIMES                                                          \
    (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |     \
     FUSE_SET_ATTR_MTIME_NOW)

/* Cutting a rollback journal to 0 commits; everything else only asks. */
static int change_size(const struct change *change)
{
    const struct os_file *file = &change->inode->file;
    uint64_t size = (uint64_t)change->wanted->st_size;
    struct database *committing = NULL;
    int rc = 0;

    if (change->database != NULL)
        rc = database_on_resize(change->database, change->kind, size,
                                change->own);
    if (rc < 0)
        return rc;
    if (size == 0)
        committing = commit_begin(change->mount, change->path, file,
                                  change->own);
    rc = os_ftruncate(file, size, SITE_ATTR_RESIZE);
    commit_end(committing, rc);
    if (rc == 0 && change->database != NULL)
        database_on_resized(change->database, change->kind);
    return rc;
}

static bool is_directory(const struct change *change)
{
    return change->inode->identity.type == INODE_DIRECTORY;
}

/* Takes an owner who is asked for; with a configured one, no other, but for
 * our own requests: below it the file is as on the primary. */
static bool may_own(uint32_t configured, uint32_t wanted)
{
    return configured == MOUNT_KEEP_OWNER || wanted == UINT32_MAX ||
           wanted == configured;
}

static int change_owner(const struct change *change)
{
    const struct mount_config *config = &change->mount->config;
    const struct inode *inode = change->inode;
    uid_t uid = change->what & FUSE_SET_ATTR_UID ? change->wanted->st_uid
                                                 : (uid_t)-1;
    gid_t gid = change->what & FUSE_SET_ATTR_GID ? change->wanted->st_gid
                                                 : (gid_t)-1;
    int fault, rc;

    if (!change->own &&
        (!may_own(config->uid, uid) || !may_own(config->gid, gid)))
        return -EPERM;
    fault = site_fault(SITE_ATTR_OWNER);
    if (fault != 0)
        return site_fail(SITE_ATTR_OWNER, change->path, fault);
    if (is_directory(change))
        rc = fchownat(inode->directory.fd, ".", uid, gid, 0);
    else
        rc = fchown(inode->file.fd, uid, gid);
    return rc < 0 ? site_fail(SITE_ATTR_OWNER, change->path, errno) : 0;
}

static int change_mode(const struct change *change)
{
    const struct inode *inode = change->inode;
    mode_t mode = change->wanted->st_mode & 07777;
    int fault = site_fault(SITE_ATTR_MODE), rc;

    if (fault != 0)
        return site_fail(SITE_ATTR_MODE, change->path, fault);
    if (is_directory(change))
        rc = fchmodat(inode->directory.fd, ".", mode, 0);
    else
        rc = fchmod(inode->file.fd, mode);
    return rc < 0 ? site_fail(SITE_ATTR_MODE, change->path, errno) : 0;
}

static struct timespec new_time(int what, int set, int now,
                                struct timespec wanted)
{
    if (what & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (what & set)
        return wanted;
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_times(const struct change *change)
{
    const struct inode *inode = change->inode;
    const struct stat *wanted = change->wanted;
    struct timespec times[2] = {
        new_time(change->what, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW,
                 wanted->st_atim),
        new_time(change->what, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW,
                 wanted->st_mtim),
    };
    int fault = site_fault(SITE_ATTR_TIMES), rc;

    if (fault != 0)
        return site_fail(SITE_ATTR_TIMES, change->path, fault);
    if (is_directory(change))
        rc = utimensat(inode->directory.fd, ".", times, 0);
    else
        rc = futimens(inode->file.fd, times);
    return rc < 0 ? site_fail(SITE_ATTR_TIMES, change->path, errno) : 0;
}

/* The engine carries owner and mode of a database to the replicas. Asked for
 * again: what became one since was looked at before the change, perhaps. */
static void tell_owner(const struct change *change)
{
    struct database *database;
    enum database_file kind;

    if (is_directory(change) ||
        !inode_is_linked(&change->mount->table, change->inode))
        return;
    database = commit_find_database(change->mount, change->path, &kind);
    if (database != NULL && kind == DATABASE_FILE_MAIN)
        database_on_owner(database);
    database_unref(database);
}

static int change_all(const struct change *change)
{
    int what = change->what, rc = 0;

    if (what & FUSE_SET_ATTR_SIZE)
        rc = is_directory(change) ? -EISDIR : change_size(change);
    if (rc == 0 && (what & CHANGES_OWNER))
        rc = change_owner(change);
    if (rc == 0 && (what & FUSE_SET_ATTR_MODE))
        rc = change_mode(change);
    if (rc == 0 && (what & CHANGES_TIMES))
        rc = change_times(change);
    if (what & (CHANGES_OWNER | FUSE_SET_ATTR_MODE))
        tell_owner(change);
    return rc;
}

/* Finds out what the file is to the engine, and has it open meanwhile. */
static int change_run(struct change *change)
{
    struct inode_table *table = &change->mount->table;
    int rc = inode_path(table, change->inode, change->path,
                        sizeof change->path);

    if (rc < 0 || is_directory(change))
        return rc < 0 ? rc : change_all(change);
    rc = backing_use(table, change->inode,
                     (change->what & FUSE_SET_ATTR_SIZE) != 0);
    if (rc < 0)
        return rc;
    if (inode_is_linked(table, change->inode))
        change->database = commit_find_database(change->mount, change->path,
                                                &change->kind);
    rc = change_all(change);
    database_unref(change->database);
    backing_leave(change->inode);
    return rc;
}

void attr_set(fuse_req_t req, fuse_ino_t number, struct stat *wanted, int what,
              struct fuse_file_info *fi)
{
    struct change change = {
        .mount = mount_of(req),
        .inode = inode_of(req, number),
        .wanted = wanted,
        .what = what,
        .own = request_is_own(req),
    };
    int rc = -EPERM;

    ASSERT_ON_FUSE();
    if (change.inode->identity.type != INODE_VIRTUAL)
        rc = change_run(&change);
    if (rc < 0)
        reply_result(req, rc);
    else
        attr_get(req, number, fi);
}

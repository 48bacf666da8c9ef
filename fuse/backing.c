/* SPDX-License-Identifier: Apache-2.0 */
/* fuse/backing.c - see backing.h. */
#include "fuse/backing.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Is status the file that inode stands for? */
static int status_check(const struct inode *inode, const struct stat *status)
{
    struct inode_identity identity;

    if (inode_identify(status, &identity) < 0 ||
        !inode_identity_is_equal(&inode->identity, &identity))
        return -ESTALE;
    return 0;
}

static int stat_by_name(struct inode_table *table, struct inode *inode,
                        struct stat *ret_status)
{
    struct inode_place place;
    struct stat status;
    bool again;
    int rc;

    do {
        rc = inode_place_get(table, inode, &place);
        if (rc < 0)
            return rc;
        rc = fstatat(place.parent->directory.fd, place.name, &status,
                     AT_SYMLINK_NOFOLLOW);
        rc = rc < 0 ? -errno : status_check(inode, &status);
        again = rc < 0 && inode_place_is_old(table, inode, &place);
        inode_place_done(table, &place);
    } while (again);
    if (rc == 0)
        *ret_status = status;
    return rc == -ENOENT ? -ESTALE : rc;
}

int backing_stat(struct inode_table *table, struct inode *inode,
                 struct stat *ret_status)
{
    int fd = -1, rc = 0;

    ASSERT(inode->identity.type != INODE_VIRTUAL);
    if (inode->identity.type == INODE_DIRECTORY)
        return fstat(inode->directory.fd, ret_status) < 0 ? -errno : 0;
    pthread_mutex_lock(&inode->lock);
    if (inode->users > 0) {
        fd = inode->file.fd;
        rc = fstat(fd, ret_status) < 0 ? -errno : 0;
    }
    pthread_mutex_unlock(&inode->lock);
    return fd >= 0 ? rc : stat_by_name(table, inode, ret_status);
}

/* Opens the file of that place, if it is still the inode's. */
static int open_place(const struct inode *inode,
                      const struct inode_place *place, int access,
                      struct os_file *ret_file)
{
    struct os_file file = {0};
    struct stat status;
    int rc = os_open(&file, place->parent->directory.fd, place->name,
                     access | O_NOFOLLOW | O_NOCTTY, 0, SITE_BACKING_OPEN);

    if (rc == 0)
        rc = fstat(file.fd, &status) < 0
                 ? site_fail(SITE_BACKING_OPEN, place->name, errno)
                 : status_check(inode, &status);
    if (rc < 0)
        os_close(&file);
    else
        *ret_file = file;
    return rc == -ENOENT || rc == -ELOOP ? -ESTALE : rc;
}

static int open_by_name(struct inode_table *table, struct inode *inode,
                        int access, struct os_file *ret_file)
{
    struct inode_place place;
    bool again;
    int rc;

    do {
        rc = inode_place_get(table, inode, &place);
        if (rc < 0)
            return rc;
        rc = open_place(inode, &place, access, ret_file);
        again = rc < 0 && inode_place_is_old(table, inode, &place);
        inode_place_done(table, &place);
    } while (again);
    return rc;
}

static bool is_refusal(int rc)
{
    return rc == -EACCES || rc == -EPERM || rc == -EROFS || rc == -ETXTBSY;
}

/* The first user opens; the caller holds inode->lock. */
static int use_first(struct inode_table *table, struct inode *inode, bool write)
{
    int rc = open_by_name(table, inode, O_RDWR, &inode->file);

    inode->writable = rc == 0;
    if (is_refusal(rc) && !write)
        rc = open_by_name(table, inode, O_RDONLY, &inode->file);
    return rc;
}

/* A writer joins readers of a file we could only read so far: try again, and
 * put the new file in place of the old one under the same descriptor. */
static int use_upgrade(struct inode_table *table, struct inode *inode)
{
    struct os_file file = {0};
    int rc = open_by_name(table, inode, O_RDWR, &file);

    if (rc == 0 && dup3(file.fd, inode->file.fd, O_CLOEXEC) < 0)
        rc = site_fail(SITE_BACKING_OPEN, NULL, errno);
    inode->writable = rc == 0;
    os_close(&file);
    return rc;
}

int backing_use(struct inode_table *table, struct inode *inode, bool write)
{
    int rc = 0;

    ASSERT(inode->identity.type == INODE_FILE);
    pthread_mutex_lock(&inode->lock);
    if (inode->users == 0)
        rc = use_first(table, inode, write);
    else if (write && !inode->writable)
        rc = use_upgrade(table, inode);
    if (rc == 0)
        inode->users++;
    pthread_mutex_unlock(&inode->lock);
    return rc;
}

void backing_use_created(struct inode *inode, struct os_file *file)
{
    pthread_mutex_lock(&inode->lock);
    if (inode->users++ == 0) {
        inode->file = *file;
        inode->writable = true;
        *file = (struct os_file){0};
    }
    pthread_mutex_unlock(&inode->lock);
    os_close(file);
}

void backing_leave(struct inode *inode)
{
    struct os_file closing = {0};

    pthread_mutex_lock(&inode->lock);
    ASSERT(inode->users > 0);
    if (--inode->users == 0) {
        closing = inode->file;
        inode->file = (struct os_file){0};
    }
    pthread_mutex_unlock(&inode->lock);
    os_close(&closing);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* fuse/passthrough.c - see backing.h. */
#include "fuse/passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The kernel's interface, FUSE protocol 7.40: older headers lack it. */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};

#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

/* A positive id, or a negative errno. */
static int id_open(int fuse_fd, int fd)
{
    struct backing_map map = {.fd = fd};
    int fault = site_fault(SITE_PASSTHROUGH_OPEN), id;

    if (fault != 0)
        return site_fail(SITE_PASSTHROUGH_OPEN, NULL, fault);
    id = ioctl(fuse_fd, BACKING_OPEN, &map);
    if (id <= 0)
        return site_fail(SITE_PASSTHROUGH_OPEN, NULL, id < 0 ? errno : EIO);
    return id;
}

static void id_close(int fuse_fd, int id)
{
    uint32_t argument = (uint32_t)id;

    /* Only a bad id could fail, and the mount's end gives all of them back. */
    (void)ioctl(fuse_fd, BACKING_CLOSE, &argument);
}

#define PROBE_NAME ".tidemark-probe"

/* Not every file system has nameless files. */
static int probe_file(int files_fd, struct os_file *ret_file)
{
    int rc = os_open(ret_file, files_fd, ".", O_TMPFILE | O_RDWR, 0600,
                     SITE_PASSTHROUGH_PROBE);

    if (rc == -EOPNOTSUPP || rc == -EISDIR || rc == -ENOENT) {
        rc = os_open(ret_file, files_fd, PROBE_NAME,
                     O_RDWR | O_CREAT | O_NOFOLLOW, 0600,
                     SITE_PASSTHROUGH_PROBE);
        if (rc == 0)
            rc = os_unlink(files_fd, PROBE_NAME, SITE_PASSTHROUGH_PROBE);
    }
    return rc;
}

int passthrough_probe(int fuse_fd, int files_fd)
{
    struct os_file file = {0};
    int rc = probe_file(files_fd, &file), id;

    if (rc == 0) {
        id = id_open(fuse_fd, file.fd);
        if (id > 0)
            id_close(fuse_fd, id);
        else
            rc = id;
    }
    os_close(&file);
    return rc;
}

static bool goes_through_us(struct mount *mount, struct inode *inode)
{
    char path[DATABASE_NAME_MAX];
    size_t base;

    if (!mount->passthrough ||
        inode_path(&mount->table, inode, path, sizeof path) < 0)
        return true;
    return database_file_kind(path, &base) == DATABASE_FILE_JOURNAL;
}

int passthrough_attach(struct mount *mount, struct inode *inode,
                       struct fuse_file_info *fi)
{
    bool through_us = goes_through_us(mount, inode);
    int id = 0;

    pthread_mutex_lock(&inode->lock);
    ASSERT(inode->users > 0);
    if (inode->opens == 0) {
        if (!through_us)
            id = id_open(fuse_session_fd(mount->session), inode->file.fd);
        inode->backing_id = id > 0 ? id : 0;
    }
    if (id >= 0) {
        inode->opens++;
        fi->backing_id = inode->backing_id;
        fi->keep_cache = inode->backing_id == 0;
        fi->noflush = 1; /* nothing of ours happens at close() */
    }
    pthread_mutex_unlock(&inode->lock);
    return id < 0 ? id : 0;
}

void passthrough_detach(struct mount *mount, struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    ASSERT(inode->opens > 0);
    if (--inode->opens == 0 && inode->backing_id != 0) {
        id_close(fuse_session_fd(mount->session), inode->backing_id);
        inode->backing_id = 0;
    }
    pthread_mutex_unlock(&inode->lock);
}

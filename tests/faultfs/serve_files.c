/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/serve_files.c - see serve.h: bytes, attributes, syncs. */
#include "tests/faultfs/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int meet(enum mishap_call call, fuse_ino_t number)
{
    char name[PATH_MAX];

    nodes_name(number, name);
    return mishap_meet(call, name);
}

/* Done to fd: says when, and adds the event. Locked. */
static void tell(enum trace_kind kind, fuse_ino_t number, int fd,
                 uint64_t offset, const void *data, size_t data_bytes)
{
    struct trace_item item = {
        .event.kind = kind,
        .event.object = number,
        .event.offset = offset,
        .event.data_bytes = (uint32_t)data_bytes,
        .data = data,
    };
    struct stat status;

    if (nodes_status(number, fd, &status) == 0)
        event_owner(&item.event, &status);
    recorder_add(&item);
}

/* ---- attributes ---------------------------------------------------------- */

static void serve_getattr(fuse_req_t req, fuse_ino_t number,
                          struct fuse_file_info *info)
{
    struct stat status;
    int rc = nodes_status(number, info == NULL ? -1 : (int)info->fh, &status);

    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_attr(req, &status, SERVE_TIMEOUT_S);
}

/* How much of what makes the file longer there is room for. */
static uint64_t grow_to(fuse_ino_t number, int fd, uint64_t end)
{
    struct stat status;
    uint64_t size;

    if (nodes_status(number, fd, &status) < 0)
        return end;
    size = (uint64_t)status.st_size;
    return end <= size ? end : size + mishap_room(end - size);
}

static int set_size(fuse_ino_t number, const char *path, off_t size)
{
    if (grow_to(number, -1, (uint64_t)size) < (uint64_t)size)
        return -ENOSPC;
    if (truncate(path, size) != 0)
        return -errno;
    tell(TRACE_TRUNCATE, number, -1, (uint64_t)size, NULL, 0);
    return 0;
}

static int set_times(fuse_ino_t number, const char *path,
                     const struct stat *want, int what)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_nsec = UTIME_OMIT}};

    if (what & FUSE_SET_ATTR_ATIME)
        times[0] = want->st_atim;
    if (what & FUSE_SET_ATTR_MTIME)
        times[1] = want->st_mtim;
    if (what & FUSE_SET_ATTR_ATIME_NOW)
        times[0].tv_nsec = UTIME_NOW;
    if (what & FUSE_SET_ATTR_MTIME_NOW)
        times[1].tv_nsec = UTIME_NOW;
    if (utimensat(AT_FDCWD, path, times, 0) != 0)
        return -errno;
    tell(TRACE_TIMES, number, -1, 0, NULL, 0);
    return 0;
}

static int set_attributes(fuse_ino_t number, const struct stat *want, int what)
{
    char path[NODE_PATH_BYTES];
    int rc = 0;

    nodes_path(number, path);
    if (what & FUSE_SET_ATTR_MODE) {
        if (chmod(path, want->st_mode) != 0)
            return -errno;
        tell(TRACE_CHMOD, number, -1, 0, NULL, 0);
    }
    if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        if (chown(path, what & FUSE_SET_ATTR_UID ? want->st_uid : (uid_t)-1,
                  what & FUSE_SET_ATTR_GID ? want->st_gid : (gid_t)-1) != 0)
            return -errno;
        tell(TRACE_CHOWN, number, -1, 0, NULL, 0);
    }
    if (what & FUSE_SET_ATTR_SIZE)
        rc = set_size(number, path, want->st_size);
    if (rc == 0 && what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                           FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
        rc = set_times(number, path, want, what);
    return rc;
}

static void serve_setattr(fuse_req_t req, fuse_ino_t number, struct stat *want,
                          int what, struct fuse_file_info *info)
{
    struct stat status;
    int rc = meet(what & FUSE_SET_ATTR_SIZE ? MISHAP_WRITE : MISHAP_OTHER,
                  number);

    (void)info;
    recorder_lock();
    if (rc == 0)
        rc = set_attributes(number, want, what);
    recorder_unlock();
    if (rc == 0)
        rc = nodes_status(number, -1, &status);
    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_attr(req, &status, SERVE_TIMEOUT_S);
}

static void serve_statfs(fuse_req_t req, fuse_ino_t number)
{
    char path[NODE_PATH_BYTES];
    struct statvfs status;

    nodes_path(number, path);
    if (statvfs(path, &status) != 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_statfs(req, &status);
}

/* ---- bytes --------------------------------------------------------------- */

static void serve_open(fuse_req_t req, fuse_ino_t number,
                       struct fuse_file_info *info)
{
    int flags = info->flags &
                ~(O_APPEND | O_TRUNC | O_CREAT | O_EXCL | O_NOFOLLOW);
    char path[NODE_PATH_BYTES];
    int fd, rc = 0;

    nodes_path(number, path);
    fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    if (info->flags & O_TRUNC) {
        rc = meet(MISHAP_WRITE, number);
        recorder_lock();
        if (rc == 0)
            rc = set_size(number, path, 0);
        recorder_unlock();
    }
    info->fh = (uint64_t)fd;
    info->keep_cache = 1;
    if (rc == 0)
        rc = -fuse_reply_open(req, info);
    else
        fuse_reply_err(req, -rc);
    if (rc != 0)
        close(fd);
}

static void serve_release(fuse_req_t req, fuse_ino_t number,
                          struct fuse_file_info *info)
{
    (void)number;
    close((int)info->fh);
    fuse_reply_err(req, 0);
}

static void serve_read(fuse_req_t req, fuse_ino_t number, size_t size,
                       off_t offset, struct fuse_file_info *info)
{
    char *bytes = malloc(size);
    ssize_t n = bytes == NULL ? -1 : pread((int)info->fh, bytes, size, offset);

    (void)number;
    if (n < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
    free(bytes);
}

/* In part where there is no room for all. */
static ssize_t write_some(fuse_ino_t number, int fd, const char *bytes,
                          size_t size, off_t offset)
{
    uint64_t end = (uint64_t)offset + size, room = grow_to(number, fd, end);
    ssize_t n;

    if (room <= (uint64_t)offset && size > 0)
        return -ENOSPC;
    n = pwrite(fd, bytes, size - (size_t)(end - room), offset);
    if (n < 0)
        return -errno;
    tell(TRACE_WRITE, number, fd, (uint64_t)offset, bytes, (size_t)n);
    return n;
}

static void serve_write(fuse_req_t req, fuse_ino_t number, const char *bytes,
                        size_t size, off_t offset, struct fuse_file_info *info)
{
    ssize_t n = meet(MISHAP_WRITE, number);

    recorder_lock();
    if (n == 0)
        n = write_some(number, (int)info->fh, bytes, size, offset);
    recorder_unlock();
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_write(req, (size_t)n);
}

static void serve_fallocate(fuse_req_t req, fuse_ino_t number, int mode,
                            off_t offset, off_t length,
                            struct fuse_file_info *info)
{
    char path[NODE_PATH_BYTES];
    struct stat status;
    int rc = mode != 0 ? -EOPNOTSUPP : meet(MISHAP_WRITE, number);

    (void)info;
    nodes_path(number, path);
    recorder_lock();
    if (rc == 0)
        rc = nodes_status(number, -1, &status);
    if (rc == 0 && offset + length > status.st_size)
        rc = set_size(number, path, offset + length);
    recorder_unlock();
    fuse_reply_err(req, -rc);
}

/* ---- syncs: nothing is really synced, the trace is the disk -------------- */

static void sync_number(fuse_req_t req, fuse_ino_t number, enum trace_kind kind)
{
    struct trace_item item = {
        .event.kind = kind,
        .event.error = meet(MISHAP_SYNC, number),
        .event.object = number,
    };

    recorder_lock();
    recorder_add(&item);
    recorder_unlock();
    fuse_reply_err(req, -item.event.error);
}

static void serve_fsync(fuse_req_t req, fuse_ino_t number, int datasync,
                        struct fuse_file_info *info)
{
    (void)datasync, (void)info;
    sync_number(req, number, TRACE_SYNC);
}

static void serve_fsyncdir(fuse_req_t req, fuse_ino_t number, int datasync,
                           struct fuse_file_info *info)
{
    (void)datasync, (void)info;
    sync_number(req, number, TRACE_SYNC_DIR);
}

void serve_files(struct fuse_lowlevel_ops *operations)
{
    operations->getattr = serve_getattr;
    operations->setattr = serve_setattr;
    operations->statfs = serve_statfs;
    operations->open = serve_open;
    operations->release = serve_release;
    operations->read = serve_read;
    operations->write = serve_write;
    operations->fallocate = serve_fallocate;
    operations->fsync = serve_fsync;
    operations->fsyncdir = serve_fsyncdir;
}

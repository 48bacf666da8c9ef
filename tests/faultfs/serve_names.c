/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/serve_names.c - see serve.h: names, and what changes them. */
#include "tests/faultfs/serve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name,
                        int rc)
{
    struct fuse_entry_param entry = {0};

    if (rc == 0)
        rc = nodes_look_up(parent, name, &entry);
    if (rc == 0)
        fuse_reply_entry(req, &entry);
    else
        fuse_reply_err(req, -rc);
}

static void serve_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_entry(req, parent, name, 0);
}

static void serve_forget(fuse_req_t req, fuse_ino_t number, uint64_t count)
{
    nodes_forget(number, count);
    fuse_reply_none(req);
}

static void serve_forget_multi(fuse_req_t req, size_t count,
                               struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        nodes_forget(forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* ---- names that come ----------------------------------------------------- */

/* The system has made parent/name (rc 0): its owner and its event. Locked. */
static int tell_new(fuse_req_t req, enum trace_kind kind, fuse_ino_t parent,
                    const char *name)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    struct trace_item item = {
        .event.kind = kind, .event.parent = parent, .name = name};
    struct stat status;

    if (kind != TRACE_LINK && fchownat(nodes_fd(parent), name, caller->uid,
                                       caller->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    item.event.object = nodes_number(parent, name, &status);
    if (item.event.object == 0)
        return -errno;
    event_owner(&item.event, &status);
    if (!S_ISSOCK(status.st_mode)) /* a socket does not outlive anything */
        recorder_add(&item);
    return 0;
}

static void serve_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
                        mode_t mode, dev_t device)
{
    int rc = mishap_meet(MISHAP_OTHER, "");

    recorder_lock();
    if (rc == 0 && mknodat(nodes_fd(parent), name, mode, device) != 0)
        rc = -errno;
    if (rc == 0)
        rc = tell_new(req, TRACE_CREATE, parent, name);
    recorder_unlock();
    reply_entry(req, parent, name, rc);
}

static void serve_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
                        mode_t mode)
{
    int rc = mishap_meet(MISHAP_OTHER, "");

    recorder_lock();
    if (rc == 0 && mkdirat(nodes_fd(parent), name, mode) != 0)
        rc = -errno;
    if (rc == 0)
        rc = tell_new(req, TRACE_MKDIR, parent, name);
    recorder_unlock();
    reply_entry(req, parent, name, rc);
}

static void serve_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t parent,
                       const char *name)
{
    char path[NODE_PATH_BYTES];
    int rc = mishap_meet(MISHAP_OTHER, "");

    nodes_path(number, path);
    recorder_lock();
    if (rc == 0 &&
        linkat(AT_FDCWD, path, nodes_fd(parent), name, AT_SYMLINK_FOLLOW) != 0)
        rc = -errno;
    if (rc == 0)
        rc = tell_new(req, TRACE_LINK, parent, name);
    recorder_unlock();
    reply_entry(req, parent, name, rc);
}

static int create(fuse_req_t req, fuse_ino_t parent, const char *name,
                  mode_t mode, int flags)
{
    int fd, rc = 0;

    recorder_lock();
    fd = openat(nodes_fd(parent), name,
                (flags & ~(O_APPEND | O_TRUNC)) | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0)
        rc = -errno;
    else
        rc = tell_new(req, TRACE_CREATE, parent, name);
    recorder_unlock();
    if (rc < 0 && fd >= 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

static void serve_create(fuse_req_t req, fuse_ino_t parent, const char *name,
                         mode_t mode, struct fuse_file_info *info)
{
    struct fuse_entry_param entry = {0};
    int rc = mishap_meet(MISHAP_OTHER, "");

    /* The kernel asks for what it knows is not there. */
    if (rc == 0)
        rc = create(req, parent, name, mode, info->flags | O_EXCL);
    if (rc < 0) {
        fuse_reply_err(req, -rc);
        return;
    }
    info->fh = (uint64_t)rc;
    info->keep_cache = 1;
    rc = nodes_look_up(parent, name, &entry);
    if (rc == 0)
        fuse_reply_create(req, &entry, info);
    else
        fuse_reply_err(req, -rc);
}

/* ---- names that go ------------------------------------------------------- */

static int take_away(fuse_ino_t parent, const char *name, enum trace_kind kind)
{
    struct trace_item item = {
        .event.kind = kind, .event.parent = parent, .name = name};
    int flags = kind == TRACE_RMDIR ? AT_REMOVEDIR : 0, rc = 0;
    struct stat status;

    recorder_lock();
    item.event.object = nodes_number(parent, name, &status);
    if (item.event.object == 0 || unlinkat(nodes_fd(parent), name, flags) != 0)
        rc = -errno;
    else if (!S_ISSOCK(status.st_mode))
        recorder_add(&item);
    recorder_unlock();
    return rc;
}

static void serve_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int rc = mishap_meet(MISHAP_OTHER, "");

    fuse_reply_err(req, -(rc < 0 ? rc : take_away(parent, name, TRACE_UNLINK)));
}

static void serve_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int rc = mishap_meet(MISHAP_OTHER, "");

    fuse_reply_err(req, -(rc < 0 ? rc : take_away(parent, name, TRACE_RMDIR)));
}

static int rename_one(fuse_ino_t parent, const char *name, fuse_ino_t parent_to,
                      const char *name_to, unsigned flags)
{
    struct trace_item item = {
        .event.kind = TRACE_RENAME,
        .event.parent = parent,
        .event.parent_to = parent_to,
        .name = name,
        .name_to = name_to,
    };
    struct stat status;
    int rc = 0;

    recorder_lock();
    item.event.object = nodes_number(parent, name, &status);
    if (item.event.object == 0 ||
        renameat2(nodes_fd(parent), name, nodes_fd(parent_to), name_to,
                  flags) != 0)
        rc = -errno;
    else
        recorder_add(&item);
    recorder_unlock();
    return rc;
}

static void serve_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
                         fuse_ino_t parent_to, const char *name_to,
                         unsigned flags)
{
    int rc = mishap_meet(MISHAP_OTHER, "");

    if (rc == 0 && (flags & ~(unsigned)RENAME_NOREPLACE) != 0)
        rc = -EINVAL;
    if (rc == 0)
        rc = rename_one(parent, name, parent_to, name_to, flags);
    fuse_reply_err(req, -rc);
}

/* ---- directories --------------------------------------------------------- */

static void serve_opendir(fuse_req_t req, fuse_ino_t number,
                          struct fuse_file_info *info)
{
    char path[NODE_PATH_BYTES];
    DIR *dir;

    nodes_path(number, path);
    dir = opendir(path);
    info->fh = (uint64_t)(uintptr_t)dir;
    if (dir == NULL)
        fuse_reply_err(req, errno);
    else
        fuse_reply_open(req, info);
}

static void serve_readdir(fuse_req_t req, fuse_ino_t number, size_t size,
                          off_t offset, struct fuse_file_info *info)
{
    DIR *dir = (DIR *)(uintptr_t)info->fh;
    char *bytes = malloc(size);
    struct dirent *entry;
    size_t used = 0, need;

    (void)number;
    if (bytes == NULL)
        abort();
    seekdir(dir, offset);
    while ((entry = readdir(dir)) != NULL) {
        struct stat status = {.st_ino = entry->d_ino,
                              .st_mode = (mode_t)DTTOIF(entry->d_type)};

        need = fuse_add_direntry(req, bytes + used, size - used, entry->d_name,
                                 &status, entry->d_off);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, bytes, used);
    free(bytes);
}

static void serve_releasedir(fuse_req_t req, fuse_ino_t number,
                             struct fuse_file_info *info)
{
    (void)number;
    closedir((DIR *)(uintptr_t)info->fh);
    fuse_reply_err(req, 0);
}

void serve_names(struct fuse_lowlevel_ops *operations)
{
    operations->lookup = serve_lookup;
    operations->forget = serve_forget;
    operations->forget_multi = serve_forget_multi;
    operations->mknod = serve_mknod;
    operations->mkdir = serve_mkdir;
    operations->link = serve_link;
    operations->create = serve_create;
    operations->unlink = serve_unlink;
    operations->rmdir = serve_rmdir;
    operations->rename = serve_rename;
    operations->opendir = serve_opendir;
    operations->readdir = serve_readdir;
    operations->releasedir = serve_releasedir;
}

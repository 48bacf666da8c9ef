/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/dir.c - see dir.h. A virtual directory is listed when it is opened; a
 * real one is read as the kernel asks, at the places its file system gave.
 */
#include "fuse/dir.h"

#include "fuse/virtual.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct listed {
    char *name;
    bool directory;
};

/* An open directory (fi->fh): one of the two. */
struct dir {
    DIR *stream;
    struct dirent *next; /* read, but there was no room for it */
    off_t next_at;       /* the place before it */
    struct listed *listed;
    size_t count;
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
    return (struct dir *)(uintptr_t)fi->fh;
}

static void dir_free(struct dir *dir)
{
    if (dir->stream != NULL)
        closedir(dir->stream);
    for (size_t i = 0; i < dir->count; i++)
        free(dir->listed[i].name);
    free(dir->listed);
    free(dir);
}

/* ---- virtual ------------------------------------------------------------- */

/* A folder of several databases comes once for each: list it once. */
static bool is_listed(const struct dir *dir, const char *name)
{
    for (size_t i = 0; i < dir->count; i++)
        if (dir->listed[i].directory && strcmp(dir->listed[i].name, name) == 0)
            return true;
    return false;
}

static bool list_name(void *context, const char *name, bool directory)
{
    struct dir *dir = context;
    struct listed *more;

    if (directory && is_listed(dir, name))
        return true;
    more = realloc(dir->listed, (dir->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    dir->listed = more;
    more[dir->count].name = strdup(name);
    if (more[dir->count].name == NULL)
        return false;
    more[dir->count++].directory = directory;
    return true;
}

static size_t read_listed(fuse_req_t req, const struct dir *dir, char *bytes,
                          size_t size, off_t offset)
{
    size_t used = 0;

    for (size_t i = (size_t)offset; i < dir->count; i++) {
        const struct listed *listed = &dir->listed[i];
        const struct stat status = {
            .st_mode = listed->directory ? S_IFDIR : S_IFREG,
            .st_ino = (ino_t)-1, /* not 0: some readers skip it */
        };
        size_t needed = fuse_add_direntry(req, bytes + used, size - used,
                                          listed->name, &status, (off_t)i + 1);

        if (needed > size - used)
            break;
        used += needed;
    }
    return used;
}

/* ---- real ---------------------------------------------------------------- */

static int open_stream(const struct inode *inode, DIR **ret_stream)
{
    struct os_file file = {0};
    int rc = os_open(&file, inode->directory.fd, ".", O_RDONLY | O_DIRECTORY, 0,
                     SITE_DIR_OPEN);

    if (rc < 0)
        return rc;
    *ret_stream = fdopendir(file.fd);
    if (*ret_stream == NULL) {
        rc = site_fail(SITE_DIR_OPEN, NULL, ENOMEM);
        os_close(&file);
    }
    return rc;
}

/* Symbolic links, pipes and devices do not exist in the mount. */
static bool is_shown(const struct dir *dir, const struct dirent *entry)
{
    struct stat status;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_REG || entry->d_type == DT_DIR;
    return fstatat(dirfd(dir->stream), entry->d_name, &status,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

/* The entry at the place the kernel asks for, or NULL at the end. */
static struct dirent *next_entry(struct dir *dir, off_t offset)
{
    struct dirent *entry = dir->next;

    dir->next = NULL;
    if (entry != NULL && dir->next_at == offset)
        return entry;
    if (dir->next_at != offset)
        seekdir(dir->stream, offset);
    return readdir(dir->stream);
}

static size_t read_stream(fuse_req_t req, struct dir *dir, char *bytes,
                          size_t size, off_t offset)
{
    size_t used = 0;

    for (;;) {
        struct dirent *entry = next_entry(dir, offset);
        struct stat status = {0};
        size_t needed;

        if (entry == NULL)
            break;
        status.st_ino = entry->d_ino;
        status.st_mode = (mode_t)DTTOIF(entry->d_type);
        needed = is_shown(dir, entry)
                     ? fuse_add_direntry(req, bytes + used, size - used,
                                         entry->d_name, &status, entry->d_off)
                     : 0;
        if (needed > size - used) {
            dir->next = entry;
            break;
        }
        used += needed;
        offset = entry->d_off;
        dir->next_at = offset;
    }
    dir->next_at = offset;
    return used;
}

/* ---- requests ------------------------------------------------------------ */

void dir_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    struct inode *inode = inode_of(req, number);
    struct dir *dir = calloc(1, sizeof *dir);
    int rc;

    ASSERT_ON_FUSE();
    if (dir == NULL)
        rc = site_fail(SITE_DIR_OPEN, NULL, ENOMEM);
    else if (inode->identity.type == INODE_VIRTUAL)
        rc = virtual_list(mount_of(req), inode, list_name, dir);
    else
        rc = open_stream(inode, &dir->stream);
    if (rc == 0) {
        fi->fh = (uintptr_t)dir;
        if (fuse_reply_open(req, fi) == 0)
            return;
    }
    if (dir != NULL)
        dir_free(dir);
    if (rc < 0)
        reply_result(req, rc);
}

void dir_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
              struct fuse_file_info *fi)
{
    struct dir *dir = dir_of(fi);
    size_t used;
    char *bytes;
    int rc;

    ASSERT_ON_FUSE();
    (void)number;
    rc = os_alloc(&bytes, size, SITE_DIR_READ);
    if (rc < 0) {
        reply_result(req, rc);
        return;
    }
    used = dir->stream != NULL ? read_stream(req, dir, bytes, size, offset)
                               : read_listed(req, dir, bytes, size, offset);
    fuse_reply_buf(req, bytes, used);
    os_free(&bytes);
}

void dir_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    ASSERT_ON_FUSE();
    (void)number;
    dir_free(dir_of(fi));
    reply_result(req, 0);
}

void dir_fsync(fuse_req_t req, fuse_ino_t number, int datasync,
               struct fuse_file_info *fi)
{
    const struct dir *dir = dir_of(fi);
    int rc = 0, fault = site_fault(SITE_DIR_SYNC);

    ASSERT_ON_FUSE();
    (void)number, (void)datasync; /* a directory is all metadata */
    if (fault != 0)
        rc = site_fail(SITE_DIR_SYNC, NULL, fault);
    else if (dir->stream != NULL && fsync(dirfd(dir->stream)) < 0)
        rc = site_fail(SITE_DIR_SYNC, NULL, errno);
    reply_result(req, rc == -EINTR || rc == -ENOSYS ? -EIO : rc);
}

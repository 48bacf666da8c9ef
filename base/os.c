/* SPDX-License-Identifier: Apache-2.0 */
/* base/os.c - thin wrappers: EINTR and short calls are ours, sites named. */
#include "base/os.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_BYTES (256u << 10) /* at once, of what is written again */

/*
 * ThreadSanitizer watches open(), but not openat(), and not the system calls
 * by which libuv closes. A descriptor would seem to be still the socket that
 * had its number before, in use by another thread.
 */
#if defined(__SANITIZE_THREAD__)
int os_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    char whole[PATH_MAX + 32];

    if (dirfd == AT_FDCWD || path[0] == '/')
        return open(path, flags | O_CLOEXEC, mode);
    snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", dirfd, path);
    return open(whole, flags | O_CLOEXEC, mode);
}
#else
int os_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    return openat(dirfd, path, flags | O_CLOEXEC, mode);
}
#endif

int os_open(struct os_file *file, int dirfd, const char *path, int flags,
            mode_t mode, enum site site)
{
    int fault = site_fault(site);
    int fd;

    ASSERT(!file->open);
    if (fault != 0)
        return site_fail(site, path, fault);
    do {
        fd = os_openat(dirfd, path, flags, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return site_fail(site, path, errno);
    file->fd = fd;
    file->open = true;
    return 0;
}

void os_close(struct os_file *file)
{
    if (file->open)
        close(file->fd);
    *file = (struct os_file){0};
}

ssize_t os_pread(const struct os_file *file, void *ret_bytes, size_t size,
                 uint64_t offset, enum site site)
{
    uint8_t *at = ret_bytes;
    size_t done = 0;
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (done < size) {
        ssize_t n = pread(file->fd, at + done, size - done,
                          (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return site_fail(site, NULL, errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int os_pread_full(const struct os_file *file, void *ret_bytes, size_t size,
                  uint64_t offset, enum site site)
{
    ssize_t n = os_pread(file, ret_bytes, size, offset, site);

    if (n < 0)
        return (int)n;
    if ((size_t)n != size)
        return site_fail(site, "file ends too early", ENODATA);
    return 0;
}

int os_pwrite(const struct os_file *file, const void *bytes, size_t size,
              uint64_t offset, enum site site)
{
    const uint8_t *at = bytes;
    size_t done = 0;
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (done < size) {
        ssize_t n = pwrite(file->fd, at + done, size - done,
                           (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return site_fail(site, NULL, errno);
        done += (size_t)n;
    }
    return 0;
}

/* Drops the first `written` bytes from parts; returns the parts left. */
static int parts_advance(struct iovec **parts, int count, size_t written)
{
    while (count > 0 && written >= (*parts)->iov_len) {
        written -= (*parts)->iov_len;
        (*parts)++;
        count--;
    }
    if (count > 0) {
        (*parts)->iov_base = (uint8_t *)(*parts)->iov_base + written;
        (*parts)->iov_len -= written;
    }
    return count;
}

int os_pwritev(const struct os_file *file, struct iovec *parts, int count,
               uint64_t offset, enum site site)
{
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (count > 0) {
        int now = count > 1024 ? 1024 : count; /* IOV_MAX */
        ssize_t n = pwritev(file->fd, parts, now, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return site_fail(site, NULL, errno);
        offset += (size_t)n;
        count = parts_advance(&parts, count, (size_t)n);
    }
    return 0;
}

int os_fdatasync(const struct os_file *file, enum site site)
{
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (fdatasync(file->fd) != 0)
        if (errno != EINTR)
            return site_fail(site, NULL, errno);
    return 0;
}

int os_fsync(const struct os_file *file, enum site site)
{
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (fsync(file->fd) != 0)
        if (errno != EINTR)
            return site_fail(site, NULL, errno);
    return 0;
}

int os_write_again(const struct os_file *file, enum site site)
{
    uint64_t size = 0, at = 0;
    uint8_t *bytes = NULL;
    int rc = os_size(file, &size, site);

    if (rc == 0)
        rc = os_alloc(&bytes, AGAIN_BYTES, site);
    if (rc < 0)
        return rc;
    while (rc == 0 && at < size) {
        ssize_t n = os_pread(file, bytes, AGAIN_BYTES, at, site);

        rc = n < 0 ? (int)n : os_pwrite(file, bytes, (size_t)n, at, site);
        if (n <= 0)
            break;
        at += (uint64_t)n;
    }
    os_free(&bytes);
    return rc;
}

int os_ftruncate(const struct os_file *file, uint64_t size, enum site site)
{
    int fault = site_fault(site);

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    while (ftruncate(file->fd, (off_t)size) != 0)
        if (errno != EINTR)
            return site_fail(site, NULL, errno);
    return 0;
}

int os_size(const struct os_file *file, uint64_t *ret_size, enum site site)
{
    int fault = site_fault(site);
    struct stat status;

    ASSERT(file->open);
    if (fault != 0)
        return site_fail(site, NULL, fault);
    if (fstat(file->fd, &status) != 0)
        return site_fail(site, NULL, errno);
    *ret_size = (uint64_t)status.st_size;
    return 0;
}

int os_unlink(int dirfd, const char *path, enum site site)
{
    int fault = site_fault(site);

    if (fault != 0)
        return site_fail(site, path, fault);
    if (unlinkat(dirfd, path, 0) != 0)
        return site_fail(site, path, errno);
    return 0;
}

int os_rename(int dirfd, const char *from, const char *to, enum site site)
{
    int fault = site_fault(site);

    if (fault != 0)
        return site_fail(site, to, fault);
    if (renameat(dirfd, from, dirfd, to) != 0)
        return site_fail(site, to, errno);
    return 0;
}

int os_sync_dir(int dirfd, const char *path, enum site site)
{
    struct os_file dir = {0};
    int rc = os_open(&dir, dirfd, path, O_RDONLY | O_DIRECTORY, 0, site);

    if (rc == 0)
        rc = os_fsync(&dir, site);
    os_close(&dir);
    return rc;
}

static int replace_write(int dirfd, const char *temporary, const void *bytes,
                         size_t size, enum site site)
{
    struct os_file file = {0};
    int rc = os_open(&file, dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC,
                     0600, site);

    if (rc == 0)
        rc = os_pwrite(&file, bytes, size, 0, site);
    if (rc == 0)
        rc = os_fdatasync(&file, site);
    os_close(&file);
    return rc;
}

int os_sync_parent(int dirfd, const char *path, enum site site)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];

    if (slash == NULL)
        return os_sync_dir(dirfd, ".", site);
    if (slash == path)
        return os_sync_dir(dirfd, "/", site);
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    return os_sync_dir(dirfd, parent, site);
}

int os_mkdir(int dirfd, const char *path, mode_t mode, enum site site)
{
    int fault = site_fault(site), rc;

    if (fault != 0)
        return site_fail(site, path, fault);
    if (mkdirat(dirfd, path, mode) != 0 && errno != EEXIST)
        return site_fail(site, path, errno);
    /* One that was there may be so in memory only: whoever made it may have
     * been killed before this. A parent that we may not read is left alone. */
    rc = os_sync_parent(dirfd, path, site);
    return rc == -EACCES ? 0 : rc;
}

int os_replace(int dirfd, const char *path, const void *bytes, size_t size,
               enum site site)
{
    char temporary[PATH_MAX];
    int rc;

    if (snprintf(temporary, sizeof temporary, "%s.new", path) >=
        (int)sizeof temporary)
        return site_fail(site, path, ENAMETOOLONG);
    rc = replace_write(dirfd, temporary, bytes, size, site);
    if (rc == 0)
        rc = os_rename(dirfd, temporary, path, site);
    if (rc < 0) {
        unlinkat(dirfd, temporary, 0); /* a full disk wants its bytes back */
        return rc;
    }
    return os_sync_parent(dirfd, path, site);
}

char *os_read_text(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (file == NULL)
        return NULL;
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

int os_alloc(void *ret_pointer, size_t size, enum site site)
{
    int fault = site_fault(site);
    void *memory = fault != 0 ? NULL : calloc(1, size);

    if (memory == NULL)
        return site_fail(site, NULL, ENOMEM);
    memcpy(ret_pointer, &memory, sizeof memory);
    return 0;
}

void os_free(void *pointer_to_pointer)
{
    void *memory;

    memcpy(&memory, pointer_to_pointer, sizeof memory);
    free(memory);
    memory = NULL;
    memcpy(pointer_to_pointer, &memory, sizeof memory);
}

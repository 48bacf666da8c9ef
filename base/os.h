/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/os.h - the operating system, call by call, each with its site.
 *
 * Everything returns 0 (or a count) or a negative errno and has then told
 * site_fail(). EINTR is retried inside, short reads and writes are continued.
 * struct os_file is zero-safe: zeroed means "not open", closing it is fine.
 * Any thread; one file may be read and written by several at once.
 */
#ifndef TIDEMARK_BASE_OS_H
#define TIDEMARK_BASE_OS_H

#include "base/site.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct os_file {
    int fd;
    bool open; /* fd is ours */
};

/* openat() with O_CLOEXEC: a descriptor, or -1 and errno. For what wants a bare
 * one; ThreadSanitizer is told of it. */
int os_openat(int dirfd, const char *path, int flags, mode_t mode);

/* Opens path below dirfd (or AT_FDCWD); O_CLOEXEC is always added. */
int os_open(struct os_file *file, int dirfd, const char *path, int flags,
            mode_t mode, enum site site);

/* Closes; zeroes the struct. Errors of close are of no use and dropped. */
void os_close(struct os_file *file);

/* Reads up to size bytes at offset; returns the count, short only at EOF. */
ssize_t os_pread(const struct os_file *file, void *ret_bytes, size_t size,
                 uint64_t offset, enum site site);

/* Reads exactly size bytes at offset; -ENODATA when the file ends before. */
int os_pread_full(const struct os_file *file, void *ret_bytes, size_t size,
                  uint64_t offset, enum site site);

/* Writes all of bytes at offset. */
int os_pwrite(const struct os_file *file, const void *bytes, size_t size,
              uint64_t offset, enum site site);

/* Writes all parts, one after the other, at offset. The array is used up:
 * what its elements are afterwards is undefined. */
int os_pwritev(const struct os_file *file, struct iovec *parts, int count,
               uint64_t offset, enum site site);

/* Data durable; fsync: times and mode too. */
int os_fdatasync(const struct os_file *file, enum site site);
int os_fsync(const struct os_file *file, enum site site);

/* Writes what the file holds once more, which nobody else may write to. After
 * a sync that failed the kernel may call pages clean that it could not write:
 * only what is written again is synced by the next one. */
int os_write_again(const struct os_file *file, enum site site);

/* Cuts or extends (with a hole) to size bytes. */
int os_ftruncate(const struct os_file *file, uint64_t size, enum site site);

/* Size in bytes of an open file. */
int os_size(const struct os_file *file, uint64_t *ret_size, enum site site);

int os_unlink(int dirfd, const char *path, enum site site);
int os_rename(int dirfd, const char *from, const char *to, enum site site);

/* Makes a directory, durable with its name; one that is there already is no
 * error. */
int os_mkdir(int dirfd, const char *path, mode_t mode, enum site site);

/* Makes the entries of a directory (names, not contents) durable. */
int os_sync_dir(int dirfd, const char *path, enum site site);

/* The same of the directory that path is in: which file it names now, or that
 * it names none. */
int os_sync_parent(int dirfd, const char *path, enum site site);

/*
 * Replaces path by bytes so that after a power cut either the old or the new
 * content is there, whole: temporary file path.new, fsync, rename, fsync of
 * the directory. An error before the rename leaves the old content and no
 * temporary file; after it the new content is there, but maybe not durable.
 */
int os_replace(int dirfd, const char *path, const void *bytes, size_t size,
               enum site site);

/* All of a text that has no size, as those of /proc: the caller's, to be freed;
 * NULL when it cannot be read or is empty. No site: nothing hangs on it. */
char *os_read_text(const char *path);

/* Zeroed memory; -ENOMEM. os_free takes NULL and sets the pointer to NULL. */
int os_alloc(void *ret_pointer, size_t size, enum site site);
void os_free(void *pointer_to_pointer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/lockfile.h - one process owns a directory.
 *
 * flock() on a file that stays: the kernel lets go when the process ends,
 * however it ends. The file's content, a pid, is for people.
 */
#ifndef TIDEMARK_BASE_LOCKFILE_H
#define TIDEMARK_BASE_LOCKFILE_H

#include "base/os.h"

struct lockfile {
    struct os_file file;
};

/* -EWOULDBLOCK: another process has it. */
int lockfile_take(struct lockfile *lock, int dirfd, const char *name);

/* Zeroed is fine. */
void lockfile_release(struct lockfile *lock);

#endif

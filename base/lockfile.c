/* SPDX-License-Identifier: Apache-2.0 */
/* base/lockfile.c - see lockfile.h. */
#include "base/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int lockfile_take(struct lockfile *lock, int dirfd, const char *name)
{
    char text[32];
    int rc = os_open(&lock->file, dirfd, name, O_RDWR | O_CREAT, 0644,
                     SITE_LOCKFILE_OPEN);

    if (rc < 0)
        return rc;
    rc = site_fault(SITE_LOCKFILE_TAKE);
    if (rc == 0 && flock(lock->file.fd, LOCK_EX | LOCK_NB) != 0)
        rc = errno;
    if (rc != 0) {
        rc = site_fail(SITE_LOCKFILE_TAKE, name, rc);
        os_close(&lock->file);
        return rc;
    }
    snprintf(text, sizeof text, "%d\n", (int)getpid());
    (void)os_ftruncate(&lock->file, 0, SITE_LOCKFILE_OPEN);
    (void)os_pwrite(&lock->file, text, strlen(text), 0, SITE_LOCKFILE_OPEN);
    return 0;
}

void lockfile_release(struct lockfile *lock)
{
    os_close(&lock->file);
}

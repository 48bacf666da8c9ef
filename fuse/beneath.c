/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/beneath.c - see beneath.h.
 *
 *   fsopen, fsconfig, fsmount: a mount that is nowhere
 *   move_mount(BENEATH): it is between the directory and what covers it
 *
 * The system calls by number: C libraries have had them since yesterday, and
 * <linux/mount.h> and <sys/mount.h> do not go together everywhere.
 */
#include "fuse/beneath.h"

#include "base/site.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200
#endif

int beneath_open(const char *path)
{
    const char *slash = strrchr(path, '/');
    int parent, bare, error = site_fault(SITE_BENEATH_OPEN);
    char *above;

    if (slash == NULL || error != 0)
        return -(error != 0 ? error : EINVAL);
    above = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (above == NULL)
        return -ENOMEM;
    /* A copy of the mount that path lies in, without what is mounted there. */
    parent = (int)syscall(SYS_open_tree, AT_FDCWD, above,
                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    error = errno;
    free(above);
    if (parent < 0)
        return -error;
    bare = openat(parent, slash + 1,
                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    error = errno;
    close(parent);
    return bare < 0 ? -error : bare;
}

/* The options of mountpoint_mount(), one by one. A negative number when the
 * kernel does not take one. */
static long configure(int context, int device, bool allow_other)
{
    char fd[16], mode[16], user[16], group[16];
    const char *const options[][2] = {
        {"source", "tidemark"}, {"subtype", "tidemark"}, {"fd", fd},
        {"rootmode", mode},     {"user_id", user},       {"group_id", group},
    };
    long rc = 0;

    snprintf(fd, sizeof fd, "%d", device);
    snprintf(mode, sizeof mode, "%o", S_IFDIR);
    snprintf(user, sizeof user, "%u", getuid());
    snprintf(group, sizeof group, "%u", getgid());
    for (size_t i = 0; i < sizeof options / sizeof options[0] && rc == 0; i++)
        rc = syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[i][0],
                     options[i][1], 0);
    if (rc == 0)
        rc = syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG,
                     "default_permissions", NULL, 0);
    if (rc == 0 && allow_other)
        rc = syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "allow_other",
                     NULL, 0);
    if (rc == 0)
        rc = syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    return rc;
}

/* A mount that is nowhere yet. */
static int mount_make(int device, bool allow_other)
{
    int context = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
    int mount = -1, error;

    if (context >= 0 && configure(context, device, allow_other) == 0)
        mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                             MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    error = errno;
    if (context >= 0)
        close(context);
    return mount < 0 ? -error : mount;
}

int beneath_mount(const char *path, int device, bool allow_other)
{
    int error = site_fault(SITE_BENEATH_MOUNT);
    int mount = error != 0 ? -error : mount_make(device, allow_other);
    long rc;

    if (mount < 0)
        return mount;
    rc = syscall(SYS_move_mount, mount, "", AT_FDCWD, path,
                 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH);
    error = errno;
    close(mount); /* nowhere: the kernel forgets it */
    return rc < 0 ? -error : 0;
}

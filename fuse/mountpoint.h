/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/mountpoint.h - the directory a mount appears on: is it fit for one, is
 * a dead daemon's mount still there, and how to take ours away again.
 *
 * Every error comes with a text: what, on what, what to do. Main thread.
 */
#ifndef TIDEMARK_FUSE_MOUNTPOINT_H
#define TIDEMARK_FUSE_MOUNTPOINT_H

#include "fuse/mount.h"

#define MOUNTPOINT_FSTYPE "fuse.tidemark"

/* An absolute path for path, also when what is mounted there is dead. The
 * caller frees it. */
int mountpoint_resolve(const char *path, char **ret_path,
                       char error_text[MOUNT_ERROR_BYTES]);

/* Removes mounts of dead daemons, then checks that path is an empty directory
 * and no mount of a living one. One dead mount may stay: it covers the
 * directory until mountpoint_mount() changes it for ours. */
int mountpoint_prepare(const char *path, char error_text[MOUNT_ERROR_BYTES]);

/*
 * Mounts: returns a descriptor of /dev/fuse. -EPERM when this process may not
 * mount by itself, error_text is then not set: fusermount3 may still help.
 */
int mountpoint_mount(const char *path, bool allow_other,
                     char error_text[MOUNT_ERROR_BYTES]);

/* Unmounts; helped: fusermount3 had mounted it. Waits up to some seconds for
 * programs to close their files; then detaches it and returns -EBUSY. */
int mountpoint_unmount(const char *path, bool helped);

/*
 * Ends the connection of the mount whose root is open as `root`, by force;
 * the mount itself stays, dead, and covers the directory. -EPERM: not this
 * user. -EINVAL: it is no mount, or was detached. Any process.
 */
int mountpoint_abort(int root);

/* The file system type mounted at path as /proc/self/mountinfo's text tells
 * it, the last mount wins; false: nothing is. Pure. */
bool mountpoint_find(const char *mountinfo, const char *path, char *ret_type,
                     size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/passthrough.h - the kernel reads and writes the backing file by itself,
 * and we never see it.
 *
 * Passthrough is a property of an inode: all opens of it at one time go the
 * same way and name the same backing id, or the kernel refuses them. So the
 * first open decides, and the last release gives the id back. A rollback
 * journal is never passthrough: the write that zeroes its header is a commit.
 * The calls are the kernel's own (FUSE_DEV_IOC_BACKING_*), not libfuse's,
 * which need a request at hand. Any thread.
 */
#ifndef TIDEMARK_FUSE_PASSTHROUGH_H
#define TIDEMARK_FUSE_PASSTHROUGH_H

#include "fuse/session.h"

/* Asks the kernel for a passthrough of a nameless file in files_fd: 0, or
 * -EPERM (privilege), -ELOOP (too many layers of file systems), ... */
int passthrough_probe(int fuse_fd, int files_fd);

/*
 * One more open of inode, which is in use: sets what its reply must say.
 * Fails when the kernel refuses the backing id. Ends with passthrough_detach().
 */
int passthrough_attach(struct mount *mount, struct inode *inode,
                       struct fuse_file_info *fi);
void passthrough_detach(struct mount *mount, struct inode *inode);

#endif

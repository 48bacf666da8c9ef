/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/attr.h - requests about attributes: size, owner, mode, times, space.
 *
 * They are the backing file's, but for the owner where the configuration
 * names one. The size comes from the backing file in both modes; what an
 * application writes in passthrough mode the kernel adds itself. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_ATTR_H
#define TIDEMARK_FUSE_ATTR_H

#include "fuse/session.h"

void attr_get(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi);
void attr_set(fuse_req_t req, fuse_ino_t number, struct stat *wanted, int what,
              struct fuse_file_info *fi);
void attr_statfs(fuse_req_t req, fuse_ino_t number);

/* Attributes as applications see them, and how long they may keep them. */
int attr_read(struct mount *mount, struct inode *inode, struct stat *ret_status,
              double *ret_seconds);

/* Owner and group for a new file: the caller's, or the directory's group
 * where it is setgid, or the configured ones. parent is the directory. */
void attr_new_owner(fuse_req_t req, const struct stat *parent, uid_t *ret_uid,
                    gid_t *ret_gid);

#endif

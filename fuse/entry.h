/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/entry.h - requests about names: lookup, mkdir, unlink, rename, ...
 *
 * The kernel holds the directory while UNLINK, RENAME and CREATE run, and
 * every open and lookup in it waits: none of them is ever parked. Symbolic
 * links, hard links and device files do not exist here: they would give a
 * database a second name, or a name outside. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_ENTRY_H
#define TIDEMARK_FUSE_ENTRY_H

#include "fuse/session.h"

void entry_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void entry_forget(fuse_req_t req, fuse_ino_t number, uint64_t lookups);
void entry_forget_multi(fuse_req_t req, size_t count,
                        struct fuse_forget_data *forgets);
void entry_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
                 mode_t mode);
void entry_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void entry_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void entry_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
                  fuse_ino_t new_parent, const char *new_name, unsigned flags);

/* All refused with EPERM. */
void entry_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
                   const char *name);
void entry_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t new_parent,
                const char *new_name);
void entry_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
                 mode_t mode, dev_t device);

/* A regular file that was made, or found where one was to be made. */
struct entry_made {
    struct inode *inode; /* with a reference, as by inode_enter() */
    struct os_file file; /* open for reading and writing */
    bool found;
};

/* -EEXIST: the name is there and exclusive was asked; without that it is
 * opened as it is. */
int entry_make_file(fuse_req_t req, struct inode *parent, const char *name,
                    mode_t mode, bool exclusive, struct entry_made *ret_made);

/* Takes back what entry_make_file() made, with its reference; not what it
 * found. file is closed or given away already. */
void entry_unmake_file(fuse_req_t req, struct inode *parent, const char *name,
                       const struct entry_made *made);

/* The reply that makes the kernel know inode; takes no reference. */
int entry_describe(fuse_req_t req, struct inode *inode,
                   struct fuse_entry_param *ret_entry);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/handle.h - one open file of an application (fi->fh).
 *
 * From its OPEN or CREATE to its RELEASE; in between it may be parked, then
 * `parked` belongs to the engine until it answers. A handle has a reference of
 * its inode and one user of its backing file; a virtual file's has its text,
 * fixed when it was opened.
 */
#ifndef TIDEMARK_FUSE_HANDLE_H
#define TIDEMARK_FUSE_HANDLE_H

#include "fuse/session.h"

/*
 * The engine may answer a parked open before it has told us, by returning,
 * that it is parked. Whoever comes second replies.
 */
enum handle_stage { HANDLE_ASKING, HANDLE_PARKED, HANDLE_ANSWERED };

struct handle {
    struct list link; /* in mount->handles */
    struct mount *mount;
    struct inode *inode;
    struct fuse_file_info fi; /* as its reply says it */
    fuse_req_t req;           /* while it is parked */
    struct parked parked;
    atomic_int stage; /* enum handle_stage, while the engine is asked */
    int rc;           /* its answer, in HANDLE_ANSWERED */
    bool own;         /* opened by the daemon itself */
    bool writable;    /* asked for writing */

    /* files; inode->lock, once the open was answered */
    struct database *database; /* a reference; NULL: not a database */
    enum database_file kind;
    struct list stranger_link; /* in inode->strangers while it is NULL */

    /* virtual files */
    char *text;
    size_t text_size;
};

/* A handle for an OPEN in fi; NULL when memory is out. */
struct handle *handle_new(fuse_req_t req, struct inode *inode,
                          const struct fuse_file_info *fi);

/* Drops its reference of the inode; not its user of the backing file. */
void handle_free(struct handle *handle);

/* What the engine calls the file: its path now, or the last it had. */
int handle_path(struct handle *handle, char ret_path[DATABASE_NAME_MAX]);

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

/* At the end of the mount: what the kernel never released. The engine has
 * stopped; only its references are given back. */
void handle_free_all(struct mount *mount);

#endif

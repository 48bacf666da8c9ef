/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faultfs/serve.h - a backing directory, served as it is.
 *
 * Every file and directory has a number that is never used again; it is its
 * inode number here, and kept in an extended attribute of the backing file.
 * Whoever uses the mount and whoever reads the trace mean the same by it.
 */
#ifndef TIDEMARK_TESTS_FAULTFS_SERVE_H
#define TIDEMARK_TESTS_FAULTFS_SERVE_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 17)

#include "tests/faultfs/recorder.h"
#include "tests/faultfs/mishap.h"

#include <fuse_lowlevel.h>
#include <limits.h>

#define NODE_PATH_BYTES 64 /* of a link to the backing file */

/* ---- nodes.c: numbers and backing files ---------------------------------- */

/* Opens the backing directory and gives everything below it a number; adds
 * what is there already to the trace, as durable. 0 or a negative errno. */
int nodes_open(const char *backing);

/* A descriptor (O_PATH) of the number, for as long as the kernel knows it. */
int nodes_fd(fuse_ino_t number);

/* A path by which the backing file can be opened, by the link in /proc. */
void nodes_path(fuse_ino_t number, char path[NODE_PATH_BYTES]);

/* Where it is now below the backing directory, to match patterns with. */
void nodes_name(fuse_ino_t number, char name[PATH_MAX]);

/* The number that parent/name has, and its attributes; 0: none, see errno. */
fuse_ino_t nodes_number(fuse_ino_t parent, const char *name,
                        struct stat *ret_status);

/* The kernel knows it once more; count times less. */
int nodes_look_up(fuse_ino_t parent, const char *name,
                  struct fuse_entry_param *ret_entry);
void nodes_forget(fuse_ino_t number, uint64_t count);

/* Attributes as they are served, of an open file or, fd < 0, of the number. */
int nodes_status(fuse_ino_t number, int fd, struct stat *ret_status);

uint64_t mtime_of(const struct stat *status);

/* ---- serve_names.c, serve_files.c: requests ------------------------------ */

#define SERVE_TIMEOUT_S 1e9 /* nobody but the kernel changes anything */

void serve_names(struct fuse_lowlevel_ops *operations);
void serve_files(struct fuse_lowlevel_ops *operations);

/* Says who made it, in an event. */
void event_owner(struct trace_event *event, const struct stat *status);

#endif

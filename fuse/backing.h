/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/backing.h - the file in data/files that an inode stands for: reached
 * by name, opened once for all who use it, never through a symbolic link.
 * Any thread.
 */
#ifndef TIDEMARK_FUSE_BACKING_H
#define TIDEMARK_FUSE_BACKING_H

#include "fuse/inode.h"

/* Attributes of the backing file, open or not, unlinked or not; -ESTALE when
 * it is not there any more: the kernel then looks the name up again. */
int backing_stat(struct inode_table *table, struct inode *inode,
                 struct stat *ret_status);

/*
 * Opens the backing file, or shares the one that is open. It is opened for
 * reading and writing whatever the application asked, since all its opens
 * share it; read-only where the file system allows no more: then write gives
 * the error. -ESTALE as above. Ends with backing_leave().
 */
int backing_use(struct inode_table *table, struct inode *inode, bool write);

/* The same with a file that was just created; takes it. */
void backing_use_created(struct inode *inode, struct os_file *file);

/* One user less; the last one closes the backing file. */
void backing_leave(struct inode *inode);

#endif

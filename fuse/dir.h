/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/dir.h - requests about open directories: listing them, syncing them.
 *
 * Listings show regular files and directories of the backing directory;
 * virtual files are hidden, below .tidemark they are all there is. There is
 * no readdirplus: who wants attributes looks them up. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_DIR_H
#define TIDEMARK_FUSE_DIR_H

#include "fuse/session.h"

void dir_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi);
void dir_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
              struct fuse_file_info *fi);
void dir_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi);
void dir_fsync(fuse_req_t req, fuse_ino_t number, int datasync,
               struct fuse_file_info *fi);

#endif

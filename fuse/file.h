/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/file.h - requests about open files: open, create, read, write, space.
 *
 * OPEN may be parked by the engine; CREATE never is, the kernel holds the
 * directory meanwhile. READ and WRITE arrive only for files that are not
 * passthrough. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_FILE_H
#define TIDEMARK_FUSE_FILE_H

#include "fuse/session.h"

void file_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi);
void file_create(fuse_req_t req, fuse_ino_t parent, const char *name,
                 mode_t mode, struct fuse_file_info *fi);
void file_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi);
void file_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
               struct fuse_file_info *fi);
void file_write(fuse_req_t req, fuse_ino_t number, const char *bytes,
                size_t size, off_t offset, struct fuse_file_info *fi);
void file_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t offset,
                    off_t length, struct fuse_file_info *fi);
void file_lseek(fuse_req_t req, fuse_ino_t number, off_t offset, int whence,
                struct fuse_file_info *fi);

#endif

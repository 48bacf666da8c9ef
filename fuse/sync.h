/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/sync.h - FSYNC of a file: where the engine keeps a checkpoint or a
 * commit waiting.
 *
 * It always gets an answer that SQLite can live with: never ENOSYS (the kernel
 * would stop asking) and never EINTR (the commit would fail). The backing file
 * is synced here, the kernel does not do it. FUSE workers.
 */
#ifndef TIDEMARK_FUSE_SYNC_H
#define TIDEMARK_FUSE_SYNC_H

#include "fuse/session.h"

void sync_fsync(fuse_req_t req, fuse_ino_t number, int datasync,
                struct fuse_file_info *fi);

#endif

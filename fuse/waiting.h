/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/waiting.h - opening a virtual file, which may take its time.
 *
 * A token or position on a primary first lets the engine make a pass, so that
 * it covers every commit before the open; a wait is handed to the node and may
 * be interrupted. Both are parked. What the file says is fixed then. FUSE
 * workers.
 */
#ifndef TIDEMARK_FUSE_WAITING_H
#define TIDEMARK_FUSE_WAITING_H

#include "fuse/session.h"

/* Answers an OPEN of a virtual file, now or later. */
void waiting_open(fuse_req_t req, struct inode *inode,
                  const struct fuse_file_info *fi);

#endif

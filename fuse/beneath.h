/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/beneath.h - a mount that is put beneath the one that covers a
 * directory, so that the bare directory never shows while one is changed for
 * the other: programs would make their databases there.
 *
 * Needs Linux 6.5 and CAP_SYS_ADMIN; every function says with a negative errno
 * that it cannot, and has then changed nothing.
 */
#ifndef TIDEMARK_FUSE_BENEATH_H
#define TIDEMARK_FUSE_BENEATH_H

#include <stdbool.h>

/* Opens the directory that the mount at path covers: a descriptor. path is
 * absolute and has no links. */
int beneath_open(const char *path);

/* Mounts what is served on device, an unused descriptor of /dev/fuse, beneath
 * the mount at path. After an error device is used up all the same. */
int beneath_mount(const char *path, int device, bool allow_other);

#endif

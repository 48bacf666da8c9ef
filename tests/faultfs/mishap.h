/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faultfs/mishap.h - what goes wrong while the file system runs.
 *
 * Commands, one a line:
 *   fail write|sync K ERRNO [PATTERN]   the K-th from now on fails; K+: that
 *                                       one and all after it. PATTERN: of those
 *                                       files alone whose path matches
 *                                       (fnmatch, from the mount's root)
 *   full BYTES                          files may grow by so many bytes, then
 *                                       ENOSPC; a write gets done in part
 *   freeze all|sync                     changes and syncs, or syncs alone, wait
 *   clear                               all of these are over
 *
 * Any thread.
 */
#ifndef TIDEMARK_TESTS_FAULTFS_MISHAP_H
#define TIDEMARK_TESTS_FAULTFS_MISHAP_H

#include <stdbool.h>
#include <stdint.h>

enum mishap_call { MISHAP_WRITE, MISHAP_SYNC, MISHAP_OTHER };

/* 0 or -EINVAL. line is taken apart. */
int mishap_command(char *line);

/* Waits while it is frozen, then says what this call gets: 0, or a negative
 * errno. path is asked only where somebody wants to know. */
int mishap_meet(enum mishap_call call, const char *path);

/* How many of these bytes a file may grow by. They are taken. */
uint64_t mishap_room(uint64_t bytes);

#endif

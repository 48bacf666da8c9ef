/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/faultdisk.h - what a disk may hold after the power failed.
 *
 * Told event after event what a file system was told (trace.h), it knows which
 * of them a sync has made durable. What was not is, at a power cut, at the
 * mercy of the disk: it may have got there or not.
 *
 * Two kinds of disk:
 *   strict   what POSIX promises and no more. A sync of a file: its bytes and
 *            its size. A sync of a directory: its names. A name given or taken
 *            is durable when each directory it changed was synced; a file that
 *            was synced may be without a name. Names may become durable in
 *            any order.
 *   journal  as ext4 and xfs do. Names are journaled in their order, and a
 *            sync of anything takes with it all that the journal holds.
 *
 * A rename is one thing on both: all of it or nothing. A sync of a file that
 * fails makes nothing durable, and what it should have made so never becomes
 * durable by a later sync (the kernel calls the pages clean); it may be there
 * by luck. Names are not in the page cache: a later sync does for them.
 *
 * Pure but for faultdisk_write(). One thread.
 */
#ifndef TIDEMARK_TESTS_SUPPORT_FAULTDISK_H
#define TIDEMARK_TESTS_SUPPORT_FAULTDISK_H

#include "tests/support/trace.h"

#include <stdbool.h>

#define FAULTDISK_SECTOR 512u

/* Where a file keeps the number of its object, so that it has the same inode
 * number in the mount on the state as it had before. */
#define FAULTDISK_XATTR "user.faultfs"

enum faultdisk_kind { FAULTDISK_STRICT, FAULTDISK_JOURNAL };

/* What becomes of what no sync has made durable. */
enum faultdisk_fate {
    FAULTDISK_LOST,   /* all of it is lost */
    FAULTDISK_KEPT,   /* all of it is there, as after a kill */
    FAULTDISK_PREFIX, /* there up to some event, lost from there on */
    FAULTDISK_FREE,   /* each is there or not, whatever came before */
    FAULTDISK_TORN,   /* the same, and one write is there in part: some of its
                         sectors, and the size that it would have made */
    FAULTDISK_FATES
};

extern const char *const faultdisk_fates[FAULTDISK_FATES];

struct faultdisk; /* opaque */

struct faultdisk *faultdisk_new(enum faultdisk_kind kind);
void faultdisk_free(struct faultdisk *disk);

/* The next event. Its names and bytes must outlive the disk. */
void faultdisk_take(struct faultdisk *disk, const struct trace_item *item);

/*
 * Writes what the disk holds, should the power fail now, into the directory at
 * path, which is empty. The same seed: the same state. 0 or a negative errno.
 */
int faultdisk_write(struct faultdisk *disk, enum faultdisk_fate fate,
                    uint64_t seed, const char *path);

#endif

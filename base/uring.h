/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/uring.h - writes that are durable when they return, by io_uring where
 * the kernel and its seccomp filter allow it, else by plain calls.
 *
 * What it buys: write and fdatasync in one system call, and several files
 * made durable at the same time instead of one after the other. Callers see
 * no difference but that: same results, same errors, same sites, same faults.
 *
 * Each thread opens a small ring of its own at first use and closes it as it
 * ends: two databases never wait for each other's disk, and there is no lock.
 * A child after fork() opens its own. TIDEMARK_IO=pwrite in the environment
 * (read once) asks for plain calls, so that every test can run both ways.
 *
 * Never give it a descriptor of a FUSE mount of this process: the kernel may
 * run a request on a worker thread of its own, whose id is not registered
 * (thread.h); the mount would take it for an application's and park it.
 *
 * Any thread. Functions return 0 or a negative errno and have then told
 * site_fail().
 */
#ifndef TIDEMARK_BASE_URING_H
#define TIDEMARK_BASE_URING_H

#include "base/os.h"

#define URING_SYNCS_MAX 8

/* True when this thread's calls go through a ring. */
bool uring_is_available(void);

/*
 * Writes all of bytes at offset and makes the file's data durable, also what
 * others wrote there before. After an error the range may hold anything, and
 * earlier bytes of the file that were not durable yet may never become so:
 * the caller must write them again before it trusts a later sync.
 */
int uring_write_sync(const struct os_file *file, const void *bytes, size_t size,
                     uint64_t offset, enum site write_site,
                     enum site sync_site);

struct uring_sync {
    const struct os_file *file;
    bool metadata; /* fsync, as a directory needs; else fdatasync */
};

/* Makes up to URING_SYNCS_MAX files durable, all at once. Tries every one of
 * them; returns the first error. */
int uring_sync_group(const struct uring_sync *syncs, int count, enum site site);

#endif

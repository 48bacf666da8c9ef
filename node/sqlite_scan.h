/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/sqlite_scan.h - is there an SQLite in these bytes, and which?
 *
 * A library or a program that has SQLite in it has three texts that SQLite
 * keeps together: the first 16 bytes of every database file, with their final
 * 0; the check-in it was made from ("2022-12-28 14:03:47 df5c253c0b3d...");
 * and its version between two zero bytes. Other versions of that form may be
 * near in other libraries, so it is the one that is nearest to the check-in.
 * Pure; the bytes come in windows. Any thread, one owner each.
 */
#ifndef TIDEMARK_NODE_SQLITE_SCAN_H
#define TIDEMARK_NODE_SQLITE_SCAN_H

#include "node/doctor_facts.h"

/* Windows overlap by this: no text of ours is longer. */
#define SQLITE_SCAN_OVERLAP 128

struct sqlite_scan {
    bool has_magic;
    bool has_source, has_version, has_both;
    uint64_t source_at, version_at; /* the last ones */
    uint64_t distance;              /* of the nearest pair */
    struct doctor_version last;
    struct doctor_version version; /* of the nearest pair */
};

/* The bytes of the file from `at` on. Zeroed to begin with. */
void sqlite_scan_window(struct sqlite_scan *scan, const void *bytes,
                        size_t size, uint64_t at);

/* After the last window. False: no SQLite, or none that says which. */
bool sqlite_scan_end(const struct sqlite_scan *scan,
                     struct doctor_version *ret_version);

/* All of the open file, from its first byte; -errno of reading. */
int sqlite_scan_file(int fd, struct sqlite_scan *ret_scan);

#endif

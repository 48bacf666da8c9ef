/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_facts.h - what the numbers and lines that doctor reads mean:
 * versions, locks, mounts, and where "enough" ends. Pure. Any thread.
 */
#ifndef TIDEMARK_NODE_DOCTOR_FACTS_H
#define TIDEMARK_NODE_DOCTOR_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum doctor_level {
    DOCTOR_OK,
    DOCTOR_WARN,
    DOCTOR_BAD,
    DOCTOR_LEVELS,
};

/* ---- versions ------------------------------------------------------------ */

struct doctor_version {
    unsigned major, minor, patch;
};

/* "6.18.44-cloud", "3.40.1", "6.9": what follows the numbers is ignored.
 * False: it does not begin with a version. */
bool doctor_version_parse(const char *text, struct doctor_version *ret_version);

bool doctor_version_is_before(struct doctor_version version, unsigned major,
                              unsigned minor, unsigned patch);

/* Bits: what is wrong with a version of SQLite (docs/limits.md). */
enum doctor_sqlite_fault {
    /* A checkpoint that meets a WAL that starts over may skip frames: 3.7.0
     * to 3.51.2, mended in 3.44.6 and 3.50.7 as well. */
    DOCTOR_WAL_RESET = 1 << 0,
    /* Recovery reads only a part of a WAL that a rolled back savepoint has
     * been in: seen in 3.40, not in 3.53; later than 3.40 nobody looked. */
    DOCTOR_SAVEPOINT = 1 << 1,
};

unsigned doctor_sqlite_faults(struct doctor_version version);

/* ---- /proc --------------------------------------------------------------- */

/* One line of /proc/locks: a lock that somebody holds. */
struct doctor_lock {
    int pid; /* -1: nobody's own (OFD) */
    unsigned major, minor;
    uint64_t inode;
    uint64_t first, last; /* bytes; last is UINT64_MAX for EOF */
    bool is_read;
};

/* False: no lock on bytes, or one that is only waited for. */
bool doctor_lock_parse(const char *line, struct doctor_lock *ret_lock);

/* It is a reader of the -shm's WAL: the marks' bytes, 123 to 127. */
bool doctor_lock_is_reader(const struct doctor_lock *lock);

/* The number after "NAME:" in a text of such lines, in that base; false: there
 * is none. */
bool doctor_field(const char *text, const char *name, int base,
                  uint64_t *ret_number);

/* Id of a mount and its device, from a line of mountinfo. */
bool doctor_mount_parse(const char *line, uint64_t *ret_id, unsigned *ret_major,
                        unsigned *ret_minor);

/* True when a descriptor's link is a file of that base name ("app.db"), also
 * when it was deleted. */
bool doctor_link_names(const char *link, const char *name);

/* ---- enough -------------------------------------------------------------- */

#define DOCTOR_SPACE_BAD (UINT64_C(64) << 20) /* free bytes: below is bad */
#define DOCTOR_SPACE_WARN (UINT64_C(1) << 30) /* or a tenth, if that is less */
#define DOCTOR_INODES_BAD 100
#define DOCTOR_INODES_WARN 10000
#define DOCTOR_WAL_BYTES (UINT64_C(64) << 20) /* or half of the database */

enum doctor_level doctor_judge_space(uint64_t free_bytes, uint64_t all_bytes);

/* all: 0 on file systems that make them when they are needed. */
enum doctor_level doctor_judge_inodes(uint64_t free, uint64_t all);

bool doctor_wal_is_large(uint64_t wal_bytes, uint64_t database_bytes);

/* Trimming goes by whole segments: a quarter more is no news. */
bool doctor_log_is_large(uint64_t log_bytes, uint64_t retain_bytes);

/* How much the logs may still grow to what the configuration allows them:
 * total, or retain for each database when that is less; total 0: no limit. */
uint64_t doctor_log_growth(uint64_t retain_bytes, uint64_t total_bytes,
                           size_t databases, uint64_t now_bytes);

/* What a file system of that statfs type is called, and is fit for; NULL: it
 * is not known here, and *ret_level is DOCTOR_OK. */
const char *doctor_filesystem(uint64_t type, enum doctor_level *ret_level);

#endif

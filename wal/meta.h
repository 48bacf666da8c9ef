/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/meta.h - what must be known of a database before its log is read.
 *
 * One small file "meta" in the database's directory (data/db/<lineage>/),
 * replaced whole. Little-endian:
 *   offset  size  field
 *        0     8  magic "TMKMETA1"
 *        8    16  lineage
 *       24     4  flags: 1 clean stop, 2 dropped, 4 copy complete,
 *                 8 to be redone from the base TXID to the log's end,
 *                 16 not all of it is here yet, and nothing of it counts
 *       28     4  owner mode (permission bits)
 *       32     4  owner uid
 *       36     4  owner gid
 *       40     8  base TXID: the database file holds all up to here
 *       48     8  clean stop: epoch \
 *       56     8              TXID    position
 *       64     8              sum   /
 *       72     8  clean stop: inode of the database file
 *       80     8              size in bytes
 *       88     8              mtime in ns
 *       96     4              change counter
 *      100     2  length of the name
 *      102     n  name
 *    102+n     m  history (history.h)
 *  102+n+m     8  XXH3-64 of all before
 * One owner (the database's worker).
 */
#ifndef TIDEMARK_WAL_META_H
#define TIDEMARK_WAL_META_H

#include "wal/database.h"

#define META_CLEAN 1u     /* stopped in order; the fingerprint holds */
#define META_DROPPED 2u   /* a tombstone: the database was deleted */
#define META_COPIED 4u    /* the database file is complete */
#define META_GRAFTING 8u  /* on a primary: see graft.h */
#define META_FETCHING 16u /* on a primary: see fetching.h */

/* How a file that nobody touched looks. */
struct meta_fingerprint {
    uint64_t inode;
    uint64_t size_bytes;
    uint64_t mtime_ns;
    uint32_t change_counter;
};

struct meta {
    struct lineage lineage;
    uint32_t flags;
    uint32_t mode, uid, gid;
    txid_t base_txid;
    struct position clean_position;
    struct meta_fingerprint clean;
    char name[DATABASE_NAME_MAX + 1];
    struct history history; /* owned */
};

/* Writes directory/meta. */
int meta_save(const struct meta *meta, int dirfd, const char *directory);

/* -ENOENT, -EBADMSG; on success the caller frees with meta_free(). */
int meta_load(struct meta *ret_meta, int dirfd, const char *directory);

void meta_free(struct meta *meta);

/* The fingerprint of a database file as it is now. */
int meta_fingerprint_of(const struct os_file *file,
                        struct meta_fingerprint *ret_fingerprint);
int meta_take_fingerprint(int dirfd, const char *path,
                          struct meta_fingerprint *ret_fingerprint);

static inline bool meta_fingerprint_is_equal(const struct meta_fingerprint *a,
                                             const struct meta_fingerprint *b)
{
    return a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->mtime_ns == b->mtime_ns && a->change_counter == b->change_counter;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/inode.h - the files the kernel knows, by number and by name.
 *
 * A number the kernel holds (nodeid) is the address of a struct inode; the
 * root has FUSE's number 1. A tree of names is kept beside the kernel's: an
 * inode knows its parent and its name, so that the path below the mount can
 * be told to the engine, and its backing file be reached from the parent's
 * descriptor, one component at a time, never through a symbolic link.
 *
 *   unlinked   the name is gone, the inode stays while somebody has it open;
 *              its last path is remembered
 *   replaced   the name leads to another backing file than before: a new
 *              inode takes the name, the old one is as unlinked
 *
 * st_ino is the backing file's. Locks: a directory's `lock` is held while its
 * names are read or changed, a file's `lock` while its backing file is opened
 * or closed; then table->lock, held for nanoseconds. A directory comes before
 * what is in it. Any thread.
 */
#ifndef TIDEMARK_FUSE_INODE_H
#define TIDEMARK_FUSE_INODE_H

#include "base/list.h"
#include "base/os.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define INODE_ROOT_NUMBER 1 /* as FUSE has it */

enum inode_type { INODE_FILE, INODE_DIRECTORY, INODE_VIRTUAL };

/* Says which file an inode stands for. */
struct inode_identity {
    enum inode_type type;
    dev_t device; /* files and directories */
    ino_t number;
    unsigned virtual; /* virtual: enum virtual_kind, else 0 */
};

struct inode {
    /* table->lock */
    struct list bucket;
    struct inode *parent; /* with a reference; NULL: the root */
    char *name;
    bool linked;         /* the name leads here */
    unsigned moves;      /* of its name so far */
    uint64_t references; /* kernel lookups + children + our own */

    /* fixed */
    struct inode_identity identity;
    struct os_file directory; /* directories: O_PATH */

    /* lock */
    pthread_mutex_t lock;
    struct os_file file; /* files: open while users > 0, then fixed */
    bool writable;       /* file was opened for reading and writing */
    unsigned users;
    unsigned opens; /* of these, opens the kernel knows: fuse/passthrough.h */
    int backing_id; /* all of them are passthrough; 0: all go through us */
    struct list strangers; /* handles that are no database's: fuse/adopt.h */
};

struct inode_table {
    pthread_mutex_t lock;
    struct inode root;
    struct list *buckets;
    size_t buckets_count; /* a power of two */
    struct list unlinked; /* inodes whose name is gone */
    size_t count;         /* of inodes but the root */
};

/* files_fd is the directory behind the root; it is duplicated. */
int inode_table_open(struct inode_table *table, int files_fd);

/* Frees what is left, open or not. Takes zeroed and closed alike. */
void inode_table_close(struct inode_table *table);

struct inode *inode_from_number(struct inode_table *table, uint64_t number);
uint64_t inode_number(const struct inode_table *table,
                      const struct inode *inode);

/* The identity of a backing file, from its attributes. -EPERM for what is
 * neither a regular file nor a directory: the mount has no other. */
int inode_identify(const struct stat *status,
                   struct inode_identity *ret_identity);

/*
 * The inode of that name with one reference more, made when it is new. The
 * caller holds parent->lock and has just looked what is there.
 */
int inode_enter(struct inode_table *table, struct inode *parent,
                const char *name, const struct inode_identity *identity,
                struct inode **ret_inode);

/* The inode of that path and its parent, each with one reference more; NULL
 * when the kernel does not know it. */
struct inode *inode_find(struct inode_table *table, const char *path,
                         struct inode **ret_parent);

void inode_ref(struct inode_table *table, struct inode *inode);

/* That many references less; the last one frees. */
void inode_unref(struct inode_table *table, struct inode *inode,
                 uint64_t references);

/* The name is gone. The caller holds parent->lock. */
void inode_unlinked(struct inode_table *table, struct inode *parent,
                    const char *name);

/* from was renamed to `to`, whose inode, if any, is unlinked. The caller
 * holds both parents' locks. */
void inode_renamed(struct inode_table *table, struct inode *from_parent,
                   const char *from, struct inode *to_parent, const char *to);

/* Path below the mount, no leading slash, "" for the root; of an unlinked
 * inode the last one it had. -ENAMETOOLONG when size does not hold it, its 0
 * and a slash. */
int inode_path(struct inode_table *table, struct inode *inode, char *ret_path,
               size_t size);

/* The same for a name in a directory, whether it exists or not. */
int inode_path_of(struct inode_table *table, struct inode *parent,
                  const char *name, char *ret_path, size_t size);

bool inode_is_linked(struct inode_table *table, struct inode *inode);

/* A name with its directory, for calls of the ..at() family; the directory
 * stays until inode_place_done(). */
struct inode_place {
    struct inode *parent; /* with a reference */
    unsigned moves;
    char name[NAME_MAX + 1];
};

/* -ESTALE when inode is unlinked or the root. */
int inode_place_get(struct inode_table *table, struct inode *inode,
                    struct inode_place *ret_place);
void inode_place_done(struct inode_table *table, struct inode_place *place);

/* Did the name move since place was read? Then a failure there says nothing:
 * try again. */
bool inode_place_is_old(struct inode_table *table, struct inode *inode,
                        const struct inode_place *place);

bool inode_identity_is_equal(const struct inode_identity *a,
                             const struct inode_identity *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/virtual.h - files that exist only in the mount, and say where it stands.
 *
 *   .primary                   host name of the primary; only on a replica
 *                              that knows one
 *   .lag                       milliseconds, "%+010d\n"; on a replica of its
 *                              worst database, +999999999 for unknown
 *   DB-pos                     "%016x/%016x\n", TXID and sum of database DB
 *   .tidemark/status.json      what `status --json` says
 *   .tidemark/token/DB         token of DB; on the primary it covers every
 *                              commit before the open
 *   .tidemark/wait/DB/TOKEN    empty; opening it waits until TOKEN is reached
 *
 * Only the owner of the mount reads status.json and lists token/ and wait/:
 * they name databases, which may lie where others cannot look.
 *
 * DB may have slashes: below token/ and wait/ its folders are directories. No
 * listing shows the first three or .tidemark itself. Their content is made
 * when they are opened and does not change under who reads it. Any thread.
 */
#ifndef TIDEMARK_FUSE_VIRTUAL_H
#define TIDEMARK_FUSE_VIRTUAL_H

#include "fuse/session.h"

#include <limits.h>

enum virtual_kind {
    VIRTUAL_NONE,
    VIRTUAL_PRIMARY,
    VIRTUAL_LAG,
    VIRTUAL_POSITION,
    VIRTUAL_HOME,   /* .tidemark */
    VIRTUAL_STATUS, /* .tidemark/status.json */
    VIRTUAL_TOKENS, /* .tidemark/token and the folders below */
    VIRTUAL_TOKEN,
    VIRTUAL_WAITS, /* .tidemark/wait, the folders and databases below */
    VIRTUAL_WAIT,
};

/*
 * What name is in parent: an enum virtual_kind, VIRTUAL_NONE when the backing
 * directory answers, or -ENOENT when parent is virtual and has no such name.
 */
int virtual_find(struct mount *mount, struct inode *parent, const char *name);

/* Is name in parent ours, so that applications may neither make nor remove
 * it? Also true of names that do not exist at the moment. */
bool virtual_is_reserved(struct mount *mount, struct inode *parent,
                         const char *name);

/*
 * How long the kernel may keep name and attributes. What a file says is asked
 * for at each open. Tokens and waits come in the middle of a request of
 * somebody's user: each question saved is a fifth of what a token takes.
 */
double virtual_cache_seconds(struct mount *mount, struct inode *inode);

int virtual_stat(struct mount *mount, struct inode *inode,
                 struct stat *ret_status);

/*
 * The content of a virtual file now; the caller frees it. -ENOENT when it has
 * gone, -EISDIR for a directory. Does not wait for anything.
 */
int virtual_text(struct mount *mount, struct inode *inode, char **ret_text,
                 size_t *ret_size);

/* The database of a VIRTUAL_POSITION or VIRTUAL_TOKEN, with a reference, or
 * NULL when it is gone. */
struct database *virtual_database(struct mount *mount, struct inode *inode);

/* Splits a VIRTUAL_WAIT into database and token. */
int virtual_wait(struct mount *mount, struct inode *inode,
                 char ret_name[DATABASE_NAME_MAX],
                 char ret_token[NAME_MAX + 1]);

/* Calls visit for every name in a virtual directory; false from it ends. */
int virtual_list(struct mount *mount, struct inode *inode,
                 bool (*visit)(void *context, const char *name, bool directory),
                 void *context);

#endif

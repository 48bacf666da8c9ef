/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/adopt.c - see adopt.h. A late announcement says "created": it is never
 * parked, since the open it stands for was answered long ago.
 */
#include "fuse/adopt.h"

#include "fuse/commit.h"

#include <string.h>

void adopt_stranger(struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->lock);
    list_push_back(&inode->strangers, &handle->stranger_link);
    pthread_mutex_unlock(&inode->lock);
}

void adopt_forget(struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->lock);
    list_remove(&handle->stranger_link);
    pthread_mutex_unlock(&inode->lock);
}

/* Tells the engine of an open it did not hear of. The caller holds the
 * inode's lock; the engine never calls us back inside. */
static void announce_late(struct handle *handle, const char *path)
{
    struct mount *mount = handle->mount;
    struct database *database = NULL;
    enum database_file kind = DATABASE_FILE_OTHER;
    int rc = catalog_on_open(mount->config.catalog, path, &handle->inode->file,
                             handle->fi.flags, true, handle->own,
                             &handle->parked, &database, &kind);

    ASSERT(rc <= 0);
    if (rc < 0 || database == NULL)
        return; /* still a stranger */
    handle->database = database;
    handle->kind = kind;
    list_remove(&handle->stranger_link);
}

static void announce_all(struct inode *inode, const char *path)
{
    struct list *link, *safe;

    pthread_mutex_lock(&inode->lock);
    LIST_EACH(link, safe, &inode->strangers)
    announce_late(LIST_ENTRY(link, struct handle, stranger_link), path);
    pthread_mutex_unlock(&inode->lock);
}

void adopt_beside(struct mount *mount, const char *path)
{
    char name[DATABASE_NAME_MAX];
    struct inode *parent, *inode;
    size_t base;

    (void)database_file_kind(path, &base);
    memcpy(name, path, base);
    name[base] = '\0';
    inode = inode_find(&mount->table, name, &parent);
    if (inode == NULL)
        return;
    if (inode->identity.type == INODE_FILE)
        announce_all(inode, name);
    inode_unref(&mount->table, inode, 1);
    inode_unref(&mount->table, parent, 1);
}

/* Is it a database by now, by name or by what is in it? The engine says: with
 * journal_mode=MEMORY there is never a companion to tell. */
static void look_again(struct handle *handle)
{
    char path[DATABASE_NAME_MAX];

    if (inode_is_linked(&handle->mount->table, handle->inode) &&
        handle_path(handle, path) == 0)
        announce_all(handle->inode, path);
}

static struct database *current(struct handle *handle,
                                enum database_file *ret_kind)
{
    struct database *database = NULL;

    pthread_mutex_lock(&handle->inode->lock);
    if (handle->database != NULL)
        database = database_ref(handle->database);
    *ret_kind = handle->kind;
    pthread_mutex_unlock(&handle->inode->lock);
    return database;
}

struct database *adopt_database(struct handle *handle,
                                enum database_file *ret_kind)
{
    struct database *database = current(handle, ret_kind);

    if (database != NULL)
        return database;
    look_again(handle);
    return current(handle, ret_kind);
}

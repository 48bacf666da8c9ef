/* SPDX-License-Identifier: Apache-2.0 */
/* fuse/handle.c - see handle.h. */
#include "fuse/handle.h"

#include "fuse/backing.h"

#include <stdlib.h>

struct handle *handle_new(fuse_req_t req, struct inode *inode,
                          const struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct handle *handle;

    if (os_alloc(&handle, sizeof *handle, SITE_FILE_OPEN) < 0)
        return NULL;
    handle->mount = mount;
    handle->inode = inode;
    handle->req = req;
    handle->fi = *fi;
    handle->fi.fh = (uintptr_t)handle;
    handle->own = request_is_own(req);
    handle->writable = (fi->flags & O_ACCMODE) != O_RDONLY;
    handle->kind = DATABASE_FILE_OTHER;
    inode_ref(&mount->table, inode);
    pthread_mutex_lock(&mount->handles_lock);
    list_push_back(&mount->handles, &handle->link);
    pthread_mutex_unlock(&mount->handles_lock);
    return handle;
}

void handle_free(struct handle *handle)
{
    struct mount *mount = handle->mount;

    pthread_mutex_lock(&mount->handles_lock);
    list_remove(&handle->link);
    pthread_mutex_unlock(&mount->handles_lock);
    inode_unref(&mount->table, handle->inode, 1);
    free(handle->text);
    free(handle);
}

int handle_path(struct handle *handle, char ret_path[DATABASE_NAME_MAX])
{
    return inode_path(&handle->mount->table, handle->inode, ret_path,
                      DATABASE_NAME_MAX);
}

void handle_free_all(struct mount *mount)
{
    struct list *link;

    while ((link = list_pop(&mount->handles)) != NULL) {
        struct handle *handle = LIST_ENTRY(link, struct handle, link);

        database_unref(handle->database);
        if (handle->inode->identity.type == INODE_FILE)
            backing_leave(handle->inode);
        handle_free(handle);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/file.c - see file.h.
 *
 *   OPEN    use the backing file, take the backing id, ask the engine, reply
 *   CREATE  ask the engine, make the file, then the same; never parked
 *   RELEASE give all of it back and tell the engine
 *
 * When the reply of an OPEN does not reach the kernel there will be no
 * RELEASE: file_opened() then does what RELEASE would have done.
 */
#include "fuse/file.h"

#include "fuse/adopt.h"
#include "fuse/backing.h"
#include "fuse/commit.h"
#include "fuse/entry.h"
#include "fuse/handle.h"
#include "fuse/passthrough.h"
#include "fuse/virtual.h"
#include "fuse/waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_STACK_BYTES (128u << 10) /* one readahead of the kernel */

/* ---- open, create, release ----------------------------------------------- */

/* Gives the kernel's side of an open file back, then tells the engine. */
static void file_close(struct handle *handle)
{
    struct mount *mount = handle->mount;
    struct inode *inode = handle->inode;
    char path[DATABASE_NAME_MAX];
    int rc = handle_path(handle, path);

    adopt_forget(handle);
    passthrough_detach(mount, inode);
    backing_leave(inode);
    /* A file without a name cannot become a database any more. */
    if (rc == 0 &&
        (handle->database != NULL || inode_is_linked(&mount->table, inode)))
        catalog_on_release(mount->config.catalog, path, handle->database,
                           handle->kind, handle->writable, handle->own);
    else
        database_unref(handle->database);
    handle_free(handle);
}

/* The engine has decided about an open. */
static void file_opened(struct handle *handle, int rc)
{
    fuse_req_t req = handle->req;

    if (rc == 0) {
        if (fuse_reply_open(req, &handle->fi) != 0)
            file_close(handle);
        return; /* the handle may be released already */
    }
    file_close(handle);
    reply_result(req, rc);
}

static void file_on_done(struct parked *parked, int rc)
{
    struct handle *handle = CONTAINER_OF(parked, struct handle, parked);

    atomic_fetch_sub(&handle->mount->parked, 1);
    handle->rc = rc;
    if (atomic_exchange(&handle->stage, HANDLE_ANSWERED) == HANDLE_PARKED)
        file_opened(handle, rc);
}

/* What the engine said about the file, its answer may be still to come. */
static void file_belongs(struct handle *handle, const char *path,
                         struct database *database, enum database_file kind)
{
    handle->database = database;
    handle->kind = kind;
    if (database == NULL)
        adopt_stranger(handle);
    else if (kind != DATABASE_FILE_MAIN && !handle->own)
        adopt_beside(handle->mount, path);
}

/* Asks the engine about an open file: 0; a refusal; DATABASE_PARKED, then it
 * was or will be answered elsewhere and handle may be gone. */
static int file_announce(struct handle *handle, bool created)
{
    struct mount *mount = handle->mount;
    struct database *database = NULL;
    enum database_file kind = DATABASE_FILE_OTHER;
    char path[DATABASE_NAME_MAX];
    int rc = handle_path(handle, path);

    if (rc < 0)
        return rc;
    handle->parked.on_done = file_on_done;
    atomic_fetch_add(&mount->parked, 1);
    rc = catalog_on_open(mount->config.catalog, path, &handle->inode->file,
                         handle->fi.flags, created, handle->own,
                         &handle->parked, &database, &kind);
    if (rc != DATABASE_PARKED)
        atomic_fetch_sub(&mount->parked, 1);
    ASSERT(rc <= 0 || (rc == DATABASE_PARKED && !created));
    if (rc < 0)
        return rc;
    file_belongs(handle, path, database, kind);
    if (rc == DATABASE_PARKED &&
        atomic_exchange(&handle->stage, HANDLE_PARKED) == HANDLE_ANSWERED)
        file_opened(handle, handle->rc);
    return rc;
}

/* A handle of an inode in use; on failure inode is left as it was. */
static int file_handle(fuse_req_t req, struct inode *inode,
                       const struct fuse_file_info *fi,
                       struct handle **ret_handle)
{
    struct mount *mount = mount_of(req);
    struct handle *handle = handle_new(req, inode, fi);
    int rc;

    if (handle == NULL)
        return -ENOMEM;
    rc = passthrough_attach(mount, inode, &handle->fi);
    if (rc < 0)
        handle_free(handle);
    else
        *ret_handle = handle;
    return rc;
}

/* Undoes file_handle() for an open the engine refused at once. */
static void file_abandon(struct handle *handle)
{
    passthrough_detach(handle->mount, handle->inode);
    backing_leave(handle->inode);
    handle_free(handle);
}

void file_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(req, number);
    struct handle *handle = NULL;
    int rc;

    ASSERT_ON_FUSE();
    if (inode->identity.type == INODE_VIRTUAL) {
        waiting_open(req, inode, fi);
        return;
    }
    rc = backing_use(&mount->table, inode, (fi->flags & O_ACCMODE) != O_RDONLY);
    if (rc < 0) {
        reply_result(req, rc);
        return;
    }
    rc = file_handle(req, inode, fi, &handle);
    if (rc < 0) {
        backing_leave(inode);
        reply_result(req, rc);
        return;
    }
    ASSERT(handle != NULL);
    rc = file_announce(handle, false);
    if (rc == DATABASE_PARKED)
        return; /* handle may be gone already */
    if (rc == 0) {
        file_opened(handle, 0);
        return;
    }
    file_abandon(handle);
    reply_result(req, rc);
}

/* The reply of a CREATE; inode has one reference that goes to the kernel. */
static void file_created(fuse_req_t req, struct handle *handle)
{
    struct inode *inode = handle->inode;
    struct mount *mount = handle->mount;
    struct fuse_entry_param entry;
    int rc = entry_describe(req, inode, &entry);

    if (rc == 0 && fuse_reply_create(req, &entry, &handle->fi) == 0)
        return;
    file_close(handle);
    inode_unref(&mount->table, inode, 1);
    if (rc < 0)
        reply_result(req, rc);
}

/* Opens the file just made and asks the engine; inode is in use after 0. */
static int file_create_open(fuse_req_t req, struct entry_made *made,
                            struct fuse_file_info *fi,
                            struct handle **ret_handle)
{
    struct handle *handle = NULL;
    int rc;

    backing_use_created(made->inode, &made->file);
    rc = file_handle(req, made->inode, fi, &handle);
    if (rc < 0) {
        backing_leave(made->inode);
        return rc;
    }
    ASSERT(handle != NULL);
    rc = file_announce(handle, true);
    if (rc < 0)
        file_abandon(handle);
    else
        *ret_handle = handle;
    return rc;
}

/* May a file be made there? */
static int file_create_check(fuse_req_t req, struct inode *parent,
                             const char *name)
{
    struct mount *mount = mount_of(req);
    char path[DATABASE_NAME_MAX];
    int rc = inode_path_of(&mount->table, parent, name, path, sizeof path);

    if (rc == 0 && virtual_is_reserved(mount, parent, name))
        rc = -EPERM;
    if (rc == 0)
        rc = catalog_on_create(mount->config.catalog, path,
                               request_is_own(req));
    return rc;
}

void file_create(fuse_req_t req, fuse_ino_t parent_number, const char *name,
                 mode_t mode, struct fuse_file_info *fi)
{
    struct inode *parent = inode_of(req, parent_number);
    struct entry_made made = {0};
    struct handle *handle = NULL;
    int rc;

    ASSERT_ON_FUSE();
    rc = file_create_check(req, parent, name);
    if (rc == 0)
        rc = entry_make_file(req, parent, name, mode, (fi->flags & O_EXCL) != 0,
                             &made);
    if (rc == 0) {
        rc = file_create_open(req, &made, fi, &handle);
        if (rc < 0)
            entry_unmake_file(req, parent, name, &made);
    }
    if (rc < 0) {
        reply_result(req, rc);
        return;
    }
    ASSERT(handle != NULL);
    file_created(req, handle);
}

void file_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    struct handle *handle = handle_of(fi);

    ASSERT_ON_FUSE();
    (void)number;
    if (handle->inode->identity.type == INODE_VIRTUAL)
        handle_free(handle);
    else
        file_close(handle);
    reply_result(req, 0);
}

/* ---- content ------------------------------------------------------------- */

static void read_text(fuse_req_t req, const struct handle *handle, size_t size,
                      off_t offset)
{
    size_t at = (size_t)offset;

    if (at >= handle->text_size)
        fuse_reply_buf(req, NULL, 0);
    else if (size > handle->text_size - at)
        fuse_reply_buf(req, handle->text + at, handle->text_size - at);
    else
        fuse_reply_buf(req, handle->text + at, size);
}

static void read_file(fuse_req_t req, const struct inode *inode, size_t size,
                      off_t offset)
{
    char small[READ_STACK_BYTES];
    char *bytes = size <= sizeof small ? small : malloc(size);
    ssize_t n = -ENOMEM;

    if (bytes != NULL)
        n = os_pread(&inode->file, bytes, size, (uint64_t)offset,
                     SITE_FILE_READ);
    if (n < 0)
        reply_result(req, (int)n);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
    if (bytes != small)
        free(bytes);
}

void file_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
               struct fuse_file_info *fi)
{
    const struct inode *inode = inode_of(req, number);

    ASSERT_ON_FUSE();
    if (inode->identity.type == INODE_VIRTUAL)
        read_text(req, handle_of(fi), size, offset);
    else
        read_file(req, inode, size, offset);
}

void file_write(fuse_req_t req, fuse_ino_t number, const char *bytes,
                size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct handle *handle = handle_of(fi);
    const struct inode *inode = inode_of(req, number);
    struct database *database = NULL;
    char path[DATABASE_NAME_MAX];
    int rc;

    ASSERT_ON_FUSE();
    if (commit_is_zeroing(bytes, size, offset) &&
        handle_path(handle, path) == 0)
        database = commit_begin(handle->mount, path, &inode->file, handle->own);
    rc = os_pwrite(&inode->file, bytes, size, (uint64_t)offset,
                   SITE_FILE_WRITE);
    commit_end(database, rc);
    if (rc < 0)
        reply_result(req, rc);
    else
        fuse_reply_write(req, size);
}

/* Holes and shifts would change a database behind the engine's back. */
static bool is_of_database(struct handle *handle)
{
    enum database_file kind;
    struct database *database = adopt_database(handle, &kind);

    database_unref(database);
    return database != NULL;
}

static int allocate(const struct os_file *file, int mode, off_t offset,
                    off_t length)
{
    int error = site_fault(SITE_FILE_ALLOCATE);

    if (error == 0 && fallocate(file->fd, mode, offset, length) < 0)
        error = errno;
    return error == 0 ? 0 : site_fail(SITE_FILE_ALLOCATE, NULL, error);
}

void file_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t offset,
                    off_t length, struct fuse_file_info *fi)
{
    const struct inode *inode = inode_of(req, number);
    int rc = 0;

    ASSERT_ON_FUSE();
    if (inode->identity.type == INODE_VIRTUAL ||
        ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && is_of_database(handle_of(fi))))
        rc = -EOPNOTSUPP;
    else
        rc = allocate(&inode->file, mode, offset, length);
    reply_result(req, rc);
}

void file_lseek(fuse_req_t req, fuse_ino_t number, off_t offset, int whence,
                struct fuse_file_info *fi)
{
    const struct inode *inode = inode_of(req, number);
    off_t at;

    ASSERT_ON_FUSE();
    (void)fi;
    if (inode->identity.type == INODE_VIRTUAL) {
        reply_result(req, -EINVAL);
        return;
    }
    /* Moves a descriptor we share, but nobody reads or writes at its place. */
    at = lseek(inode->file.fd, offset, whence);
    if (at < 0)
        reply_result(req, -errno);
    else
        fuse_reply_lseek(req, at);
}

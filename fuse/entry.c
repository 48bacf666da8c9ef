/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/entry.c - see entry.h.
 *
 * Each change has four steps: ask the engine; do it to the backing directory
 * and to our names, under the directory's lock; tell the engine; reply. The
 * engine hears of it before the application can go on, so that a position
 * asked for afterwards covers it.
 */
#include "fuse/entry.h"

#include "fuse/attr.h"
#include "fuse/commit.h"
#include "fuse/virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(struct mount *mount, struct inode *parent, const char *name,
                   char ret_path[DATABASE_NAME_MAX])
{
    return inode_path_of(&mount->table, parent, name, ret_path,
                         DATABASE_NAME_MAX);
}

/* ---- lookup and forget --------------------------------------------------- */

int entry_describe(fuse_req_t req, struct inode *inode,
                   struct fuse_entry_param *ret_entry)
{
    struct mount *mount = mount_of(req);
    double seconds;

    *ret_entry = (struct fuse_entry_param){0};
    ret_entry->ino = inode_number(&mount->table, inode);
    int rc = attr_read(mount, inode, &ret_entry->attr, &seconds);
    ret_entry->attr_timeout = seconds;
    ret_entry->entry_timeout = seconds;
    return rc;
}

/* Tells the kernel about an inode that got a reference for it. */
static void reply_entry(fuse_req_t req, struct inode *inode)
{
    struct mount *mount = mount_of(req);
    struct fuse_entry_param entry;
    int rc = entry_describe(req, inode, &entry);

    if (rc == 0 && fuse_reply_entry(req, &entry) == 0)
        return;
    inode_unref(&mount->table, inode, 1);
    if (rc < 0)
        reply_result(req, rc == -ESTALE ? -ENOENT : rc);
}

static int enter_virtual(struct mount *mount, struct inode *parent,
                         const char *name, unsigned kind,
                         struct inode **ret_inode)
{
    const struct inode_identity identity = {
        .type = INODE_VIRTUAL,
        .virtual = kind,
    };

    return inode_enter(&mount->table, parent, name, &identity, ret_inode);
}

/* Enters what is there under that name; the caller holds parent->lock. What
 * is neither file nor directory is not shown. */
static int enter_real(struct mount *mount, struct inode *parent,
                      const char *name, struct inode **ret_inode)
{
    int fault = site_fault(SITE_ENTRY_LOOKUP);
    struct inode_identity identity;
    struct stat status;

    if (fault != 0)
        return site_fail(SITE_ENTRY_LOOKUP, name, fault);
    if (fstatat(parent->directory.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -ENOENT
                               : site_fail(SITE_ENTRY_LOOKUP, name, errno);
    if (inode_identify(&status, &identity) < 0)
        return -ENOENT;
    return inode_enter(&mount->table, parent, name, &identity, ret_inode);
}

void entry_lookup(fuse_req_t req, fuse_ino_t parent_number, const char *name)
{
    struct mount *mount = mount_of(req);
    struct inode *parent = inode_of(req, parent_number), *inode = NULL;
    int kind, rc;

    ASSERT_ON_FUSE();
    kind = virtual_find(mount, parent, name);
    if (kind < 0) {
        reply_result(req, kind);
        return;
    }
    pthread_mutex_lock(&parent->lock);
    rc = kind != VIRTUAL_NONE
             ? enter_virtual(mount, parent, name, (unsigned)kind, &inode)
             : enter_real(mount, parent, name, &inode);
    pthread_mutex_unlock(&parent->lock);
    if (rc < 0)
        reply_result(req, rc);
    else
        reply_entry(req, inode);
}

static void forget(struct mount *mount, fuse_ino_t number, uint64_t lookups)
{
    if (number != INODE_ROOT_NUMBER)
        inode_unref(&mount->table, inode_from_number(&mount->table, number),
                    lookups);
}

void entry_forget(fuse_req_t req, fuse_ino_t number, uint64_t lookups)
{
    forget(mount_of(req), number, lookups);
    fuse_reply_none(req);
}

void entry_forget_multi(fuse_req_t req, size_t count,
                        struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(mount_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* ---- making -------------------------------------------------------------- */

/* Owner and mode for a file or directory that is being made. */
struct adornment {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

static int adornment_of_caller(fuse_req_t req, struct inode *parent,
                               mode_t mode, struct adornment *ret_adornment)
{
    struct stat status;

    if (fstat(parent->directory.fd, &status) < 0)
        return -errno;
    ret_adornment->mode = mode;
    attr_new_owner(req, &status, &ret_adornment->uid, &ret_adornment->gid);
    return 0;
}

/*
 * What the daemon itself makes beside a database looks like the database: an
 * application that is not root must be able to use it.
 */
static bool adornment_of_database(struct inode *parent, const char *name,
                                  struct adornment *ret_adornment)
{
    char database[NAME_MAX + 1];
    struct stat status;
    size_t base;

    if (database_file_kind(name, &base) == DATABASE_FILE_MAIN)
        return false;
    snprintf(database, sizeof database, "%.*s", (int)base, name);
    if (fstatat(parent->directory.fd, database, &status, AT_SYMLINK_NOFOLLOW) <
        0)
        return false;
    *ret_adornment = (struct adornment){
        .uid = status.st_uid,
        .gid = status.st_gid,
        .mode = status.st_mode & 0777,
    };
    return true;
}

/* Owner first, since it clears bits of the mode. Only root can give files
 * away: without it they belong to the daemon's user, and so do its callers. */
static int adorn(fuse_req_t req, struct inode *parent, int fd, const char *name,
                 mode_t mode)
{
    int rc = -site_fault(SITE_ENTRY_ADORN);
    struct adornment adornment = {0};

    if (rc == 0 && (!request_is_own(req) ||
                    !adornment_of_database(parent, name, &adornment)))
        rc = adornment_of_caller(req, parent, mode, &adornment);
    if (rc == 0 && fchown(fd, adornment.uid, adornment.gid) < 0 &&
        (errno != EPERM || geteuid() == 0))
        rc = -errno;
    if (rc == 0 && fchmod(fd, adornment.mode & 07777) < 0)
        rc = -errno;
    return rc < 0 ? site_fail(SITE_ENTRY_ADORN, name, -rc) : 0;
}

/* A name that is there was made behind the mount: the kernel knew of none. */
static int make_or_find(fuse_req_t req, struct inode *parent, const char *name,
                        mode_t mode, bool exclusive,
                        struct entry_made *ret_made)
{
    struct os_file *file = &ret_made->file;
    int rc = os_open(file, parent->directory.fd, name,
                     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600,
                     SITE_ENTRY_CREATE);

    ret_made->found = rc == -EEXIST && !exclusive;
    if (ret_made->found)
        return os_open(file, parent->directory.fd, name, O_RDWR | O_NOFOLLOW, 0,
                       SITE_ENTRY_CREATE);
    if (rc < 0)
        return rc;
    rc = adorn(req, parent, file->fd, name, mode);
    if (rc < 0)
        (void)unlinkat(parent->directory.fd, name, 0);
    return rc;
}

int entry_make_file(fuse_req_t req, struct inode *parent, const char *name,
                    mode_t mode, bool exclusive, struct entry_made *ret_made)
{
    struct entry_made made = {0};
    int rc;

    pthread_mutex_lock(&parent->lock);
    rc = make_or_find(req, parent, name, mode, exclusive, &made);
    if (rc == 0)
        rc = enter_real(mount_of(req), parent, name, &made.inode);
    pthread_mutex_unlock(&parent->lock);
    if (rc < 0)
        os_close(&made.file);
    else
        *ret_made = made;
    return rc;
}

void entry_unmake_file(fuse_req_t req, struct inode *parent, const char *name,
                       const struct entry_made *made)
{
    struct inode_table *table = &mount_of(req)->table;

    pthread_mutex_lock(&parent->lock);
    if (!made->found &&
        os_unlink(parent->directory.fd, name, SITE_ENTRY_UNLINK) == 0)
        inode_unlinked(table, parent, name);
    pthread_mutex_unlock(&parent->lock);
    inode_unref(table, made->inode, 1);
}

static int make_directory(fuse_req_t req, struct inode *parent,
                          const char *name, mode_t mode)
{
    int rc = site_fault(SITE_ENTRY_MKDIR);
    struct os_file directory = {0};
    struct stat status;

    if (rc == 0 && (fstat(parent->directory.fd, &status) < 0 ||
                    mkdirat(parent->directory.fd, name, 0700) < 0))
        rc = errno;
    if (rc != 0)
        return site_fail(SITE_ENTRY_MKDIR, name, rc);
    mode |= status.st_mode & S_ISGID; /* passed on, as anywhere */
    rc = os_open(&directory, parent->directory.fd, name,
                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, SITE_ENTRY_MKDIR);
    if (rc == 0)
        rc = adorn(req, parent, directory.fd, name, mode);
    os_close(&directory);
    if (rc < 0)
        (void)unlinkat(parent->directory.fd, name, AT_REMOVEDIR);
    return rc;
}

void entry_mkdir(fuse_req_t req, fuse_ino_t parent_number, const char *name,
                 mode_t mode)
{
    struct mount *mount = mount_of(req);
    struct inode *parent = inode_of(req, parent_number), *inode = NULL;
    char path[DATABASE_NAME_MAX];
    int rc;

    ASSERT_ON_FUSE();
    rc = path_of(mount, parent, name, path);
    if (rc == 0 && virtual_is_reserved(mount, parent, name))
        rc = -EPERM;
    if (rc == 0) {
        pthread_mutex_lock(&parent->lock);
        rc = make_directory(req, parent, name, mode);
        if (rc == 0)
            rc = enter_real(mount, parent, name, &inode);
        pthread_mutex_unlock(&parent->lock);
    }
    if (rc < 0)
        reply_result(req, rc);
    else
        reply_entry(req, inode);
}

void entry_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
                   const char *name)
{
    (void)target, (void)parent, (void)name;
    reply_result(req, -EPERM);
}

void entry_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t new_parent,
                const char *new_name)
{
    (void)number, (void)new_parent, (void)new_name;
    reply_result(req, -EPERM);
}

void entry_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
                 mode_t mode, dev_t device)
{
    (void)parent, (void)name, (void)mode, (void)device;
    reply_result(req, -EPERM);
}

/* ---- removing ------------------------------------------------------------ */

/* Removes a name of the backing directory and ours. */
static int remove_name(struct mount *mount, struct inode *parent,
                       const char *name, int flags)
{
    int rc = site_fault(SITE_ENTRY_UNLINK);

    pthread_mutex_lock(&parent->lock);
    if (rc == 0 && unlinkat(parent->directory.fd, name, flags) < 0)
        rc = errno;
    if (rc == 0)
        inode_unlinked(&mount->table, parent, name);
    pthread_mutex_unlock(&parent->lock);
    return rc == 0 ? 0 : site_fail(SITE_ENTRY_UNLINK, name, rc);
}

/* Unlinking a rollback journal commits. */
static int unlink_file(fuse_req_t req, struct inode *parent, const char *name,
                       const char *path)
{
    struct mount *mount = mount_of(req);
    struct os_file journal = {0};
    struct database *committing = NULL;
    size_t base;
    int rc;

    /* It is done even if it cannot be read: then the engine must know that. */
    if (database_file_kind(path, &base) == DATABASE_FILE_JOURNAL &&
        os_open(&journal, parent->directory.fd, name, O_RDONLY | O_NOFOLLOW, 0,
                SITE_ENTRY_JOURNAL) != -ENOENT)
        committing = commit_begin(mount, path, &journal, request_is_own(req));
    rc = remove_name(mount, parent, name, 0);
    commit_end(committing, rc);
    os_close(&journal);
    return rc;
}

void entry_unlink(fuse_req_t req, fuse_ino_t parent_number, const char *name)
{
    struct mount *mount = mount_of(req);
    struct inode *parent = inode_of(req, parent_number);
    struct catalog *catalog = mount->config.catalog;
    bool own = request_is_own(req);
    char path[DATABASE_NAME_MAX];
    int rc;

    ASSERT_ON_FUSE();
    rc = path_of(mount, parent, name, path);
    if (rc == 0 && virtual_is_reserved(mount, parent, name))
        rc = -EPERM;
    if (rc == 0)
        rc = catalog_on_unlink(catalog, path, own);
    if (rc == 0) {
        rc = unlink_file(req, parent, name, path);
        if (rc == 0)
            catalog_on_unlinked(catalog, path, own);
    }
    reply_result(req, rc);
}

void entry_rmdir(fuse_req_t req, fuse_ino_t parent_number, const char *name)
{
    struct mount *mount = mount_of(req);
    struct inode *parent = inode_of(req, parent_number);
    int rc = -EPERM;

    ASSERT_ON_FUSE();
    if (!virtual_is_reserved(mount, parent, name))
        rc = remove_name(mount, parent, name, AT_REMOVEDIR);
    reply_result(req, rc);
}

/* ---- renaming ------------------------------------------------------------ */

struct renaming {
    struct inode *from_parent, *to_parent;
    const char *from, *to; /* names in them */
    char from_path[DATABASE_NAME_MAX], to_path[DATABASE_NAME_MAX];
    unsigned flags;
};

/* Two renames may meet the same two directories in opposite directions. */
static void folders_lock(struct inode *one, struct inode *other)
{
    struct inode *first = (uintptr_t)one < (uintptr_t)other ? one : other;

    pthread_mutex_lock(&first->lock);
    if (one != other)
        pthread_mutex_lock(first == one ? &other->lock : &one->lock);
}

static void folders_unlock(struct inode *one, struct inode *other)
{
    pthread_mutex_unlock(&one->lock);
    if (one != other)
        pthread_mutex_unlock(&other->lock);
}

static int rename_names(struct mount *mount, const struct renaming *renaming)
{
    struct inode *from_parent = renaming->from_parent;
    struct inode *to_parent = renaming->to_parent;
    int rc = site_fault(SITE_ENTRY_RENAME);

    folders_lock(from_parent, to_parent);
    if (rc == 0 &&
        renameat2(from_parent->directory.fd, renaming->from,
                  to_parent->directory.fd, renaming->to, renaming->flags) < 0)
        rc = errno;
    if (rc == 0)
        inode_renamed(&mount->table, from_parent, renaming->from, to_parent,
                      renaming->to);
    folders_unlock(from_parent, to_parent);
    return rc == 0 ? 0 : site_fail(SITE_ENTRY_RENAME, renaming->to, rc);
}

static int rename_check(struct mount *mount, struct renaming *renaming)
{
    int rc;

    /* An exchange would swap two databases under their open WALs. */
    if ((renaming->flags & ~(unsigned)RENAME_NOREPLACE) != 0)
        return -EINVAL;
    if (virtual_is_reserved(mount, renaming->from_parent, renaming->from) ||
        virtual_is_reserved(mount, renaming->to_parent, renaming->to))
        return -EPERM;
    rc = path_of(mount, renaming->from_parent, renaming->from,
                 renaming->from_path);
    if (rc == 0)
        rc = path_of(mount, renaming->to_parent, renaming->to,
                     renaming->to_path);
    return rc;
}

void entry_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
                  fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
    struct mount *mount = mount_of(req);
    struct catalog *catalog = mount->config.catalog;
    bool own = request_is_own(req);
    struct renaming renaming = {
        .from_parent = inode_of(req, parent),
        .to_parent = inode_of(req, new_parent),
        .from = name,
        .to = new_name,
        .flags = flags,
    };
    int rc;

    ASSERT_ON_FUSE();
    rc = rename_check(mount, &renaming);
    if (rc == 0)
        rc = catalog_on_rename(catalog, renaming.from_path, renaming.to_path,
                               own);
    if (rc == 0) {
        rc = rename_names(mount, &renaming);
        if (rc == 0)
            catalog_on_renamed(catalog, renaming.from_path, renaming.to_path,
                               own);
    }
    reply_result(req, rc);
}

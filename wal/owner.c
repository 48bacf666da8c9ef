/* SPDX-License-Identifier: Apache-2.0 */
/* wal/owner.c - see owner.h. */
#include "wal/owner.h"

#include "wal/notes.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_status(const struct database *database, struct stat *status)
{
    return fstatat(database->catalog->config.data_fd, database->backing, status,
                   AT_SYMLINK_NOFOLLOW);
}

/* ---- primary ------------------------------------------------------------- */

bool owner_look(struct database *database)
{
    struct database_view *view = &database->view;
    struct stat status;
    bool news;

    ASSERT_ON_WORKER();
    if (file_status(database, &status) != 0)
        return false; /* removed since, or replaced: more notes come */
    pthread_mutex_lock(&database->lock);
    news = view->owner_uid != status.st_uid ||
           view->owner_gid != status.st_gid ||
           view->owner_mode != (status.st_mode & 07777);
    view->owner_uid = status.st_uid;
    view->owner_gid = status.st_gid;
    view->owner_mode = status.st_mode & 07777;
    pthread_mutex_unlock(&database->lock);
    return news;
}

void owner_changed(struct database *database)
{
    if (!owner_look(database))
        return;
    if (database->log != NULL && notes_save_meta(database) < 0)
        notes_fails(database);
    notes_changed(database);
}

/* ---- replica ------------------------------------------------------------- */

static bool is_saved(struct database *database)
{
    const struct database_view *view = &database->view;
    const struct meta *meta = &database->meta;
    bool saved;

    pthread_mutex_lock(&database->lock);
    saved = view->owner_uid == meta->uid && view->owner_gid == meta->gid &&
            view->owner_mode == meta->mode;
    pthread_mutex_unlock(&database->lock);
    return saved;
}

/* Owner first, since it clears bits of the mode. Who may not give files away
 * keeps them, but for bits that would lend out who he is. fd -1: by path. */
static int give(const struct database *database, int fd, const char *path)
{
    const struct meta *meta = &database->meta;
    int fault = site_fault(SITE_OWNER_GIVE);
    mode_t mode = meta->mode & 07777;

    if (fault != 0)
        return site_fail(SITE_OWNER_GIVE, path, fault);
    if ((fd >= 0 ? fchown(fd, meta->uid, meta->gid)
                 : chown(path, meta->uid, meta->gid)) != 0) {
        if (errno != EPERM)
            return site_fail(SITE_OWNER_GIVE, path, errno);
        mode &= 0777;
    }
    if ((fd >= 0 ? fchmod(fd, mode) : chmod(path, mode)) != 0)
        return site_fail(SITE_OWNER_GIVE, path, errno);
    return 0;
}

/* Through the mount: the kernel keeps what it knows of the file. */
static int give_in_mount(struct database *database)
{
    char path[4096 + DATABASE_NAME_MAX];
    int rc;

    snprintf(path, sizeof path, "%s/%s", database->catalog->config.mount_path,
             database->name);
    worker_enter_mount(database->worker);
    rc = give(database, -1, path);
    worker_leave_mount(database->worker);
    return rc;
}

void owner_give(struct database *database)
{
    const struct meta *meta = &database->meta;
    struct stat status;

    ASSERT_ON_WORKER();
    if (database->log == NULL)
        return; /* it is made with what the view has */
    if (!is_saved(database) && notes_save_meta(database) < 0)
        notes_fails(database);
    /* Before it has content a file of this name is another's. */
    if (database->view.page_bytes == 0 || file_status(database, &status) != 0)
        return;
    if (status.st_uid == meta->uid && status.st_gid == meta->gid &&
        (status.st_mode & 07777) == meta->mode)
        return;
    if (give_in_mount(database) < 0)
        notes_fails(database);
}

int owner_give_new(struct database *database, const struct os_file *file)
{
    return give(database, file->fd, database->name);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/attach.c - see attach.h.
 *
 * Order matters on the way in and out. In: the anchor first (recovery runs
 * inside it, which needs WAL_WRITE free), then -shm, then the lock. Out: no
 * FUSE thread may see lock_fd any more, then the map, the anchor, and -shm
 * last: closing it drops every POSIX lock this process has on that inode.
 */
#include "wal/attach.h"

#include "wal/notes.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES (4096 + DATABASE_NAME_MAX + 16)

static void mount_path(const struct database *database, const char *suffix,
                       char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s%s", database->catalog->config.mount_path,
             database->name, suffix);
}

int attach_main(struct database *database)
{
    if (database->main_file.open)
        return 0;
    return os_open(&database->main_file, database->catalog->config.data_fd,
                   database->backing, O_RDONLY, 0, SITE_ATTACH_MAIN);
}

bool attach_is_wal(struct database *database)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;
    ssize_t n;

    if (!database->main_file.open)
        return false;
    n = os_pread(&database->main_file, bytes, sizeof bytes, 0,
                 SITE_ATTACH_MAIN);
    return n > 0 && page_header_decode(bytes, (size_t)n, &header) == 0 &&
           header.wal;
}

static int attach_wal_file(struct database *database)
{
    struct catalog_config *config = &database->catalog->config;
    char path[PATH_BYTES];

    if (config->role == DATABASE_REPLICA) {
        mount_path(database, "-wal", path);
        return os_open(&database->wal_file, AT_FDCWD, path, O_RDWR, 0,
                       SITE_ATTACH_WAL);
    }
    /* Capture only reads: straight from the backing file, in both modes. */
    snprintf(path, sizeof path, "%s-wal", database->backing);
    return os_open(&database->wal_file, config->data_fd, path, O_RDONLY, 0,
                   SITE_ATTACH_WAL);
}

static int attach_index(struct database *database)
{
    bool replica = database->catalog->config.role == DATABASE_REPLICA;
    char path[PATH_BYTES];
    int rc;

    mount_path(database, "-shm", path);
    rc = os_open(&database->shm_file, AT_FDCWD, path, O_RDWR, 0,
                 SITE_ATTACH_SHM);
    if (rc == 0)
        database->anchor.shm = &database->shm_file;
    if (rc == 0)
        rc = walindex_open(&database->index, database->shm_file.fd, replica);
    if (rc == 0 && replica)
        rc = walindex_lock(database->shm_file.fd, WALINDEX_LOCK_WRITE, 1);
    return rc;
}

/* What fstat() tells SQLite of the database, as a header of a WAL that has
 * just started over; false for a file that is none. */
static bool main_size(struct database *database, struct walindex_header *header)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header page;
    uint64_t size;
    ssize_t n = os_pread(&database->main_file, bytes, sizeof bytes, 0,
                         SITE_ATTACH_MAIN);

    if (n <= 0 || page_header_decode(bytes, (size_t)n, &page) < 0 ||
        os_size(&database->main_file, &size, SITE_ATTACH_MAIN) < 0)
        return false;
    header->page_bytes = page.page_bytes;
    header->size_pages = (uint32_t)(size / page.page_bytes);
    return header->size_pages != 0;
}

/*
 * A wal-index that was just made says that the database has 0 pages, until the
 * first commit. SQLite then asks fstat() in every read transaction, and after
 * a passthrough read that is a round trip to this daemon: 26 us a query, not
 * 4. So we say there what fstat() would say. Under WAL_WRITE; a primary, which
 * does not keep it, lets it be when somebody is about to commit anyway.
 */
static void index_size(struct database *database)
{
    bool replica = database->catalog->config.role == DATABASE_REPLICA;
    int fd = database->shm_file.fd;
    struct walindex_header header;
    struct walindex index;

    if (walindex_read(&database->index, &header) < 0 || header.max_frame != 0 ||
        header.size_pages != 0)
        return;
    if (!replica && walindex_lock(fd, WALINDEX_LOCK_WRITE, 1) < 0)
        return;
    (void)walindex_open(&index, fd, true);
    if (walindex_read(&index, &header) == 0 && header.max_frame == 0 &&
        header.size_pages == 0 && main_size(database, &header))
        walindex_publish(&index, &header);
    walindex_close(&index);
    if (!replica)
        walindex_unlock(fd, WALINDEX_LOCK_WRITE, 1);
}

int attach_open(struct database *database)
{
    char path[PATH_BYTES];
    int rc;

    ASSERT_ON_WORKER();
    ASSERT(database->anchor.connection == NULL);
    mount_path(database, "", path);
    worker_enter_mount(database->worker);
    rc = attach_main(database);
    if (rc == 0)
        rc = anchor_open(&database->anchor, path);
    if (rc == 0)
        rc = attach_index(database);
    if (rc == 0)
        index_size(database);
    if (rc == 0)
        rc = attach_wal_file(database);
    if (rc == 0 && database->catalog->config.role == DATABASE_PRIMARY)
        rc = attach_watch(database, true);
    worker_leave_mount(database->worker);
    if (rc < 0) {
        attach_close(database, false);
        return rc;
    }
    pthread_mutex_lock(&database->lock);
    database->lock_fd = database->shm_file.fd;
    database->paced = false; /* it is watched */
    pthread_mutex_unlock(&database->lock);
    return 0;
}

/* The last one out checkpoints. Before it closes, since that may take long, and
 * the close must not. Not beside an application: its FSYNC of the WAL may be
 * parked with us, and the kernel lets only one in at a time. */
static void checkpoint_alone(struct database *database)
{
    int frames, copied;
    bool alone;

    pthread_mutex_lock(&database->lock);
    alone = database->view.applications == 0;
    pthread_mutex_unlock(&database->lock);
    if (alone && database->anchor.connection != NULL)
        (void)anchor_checkpoint(&database->anchor, &frames, &copied);
}

void attach_close(struct database *database, bool checkpoint)
{
    ASSERT_ON_WORKER();
    ASSERT(!database->apply.checkpointing); /* the anchor is not ours now */
    pthread_mutex_lock(&database->lock);
    database->lock_fd = -1;
    pthread_mutex_unlock(&database->lock);
    attach_unwatch(database);
    if (database->shm_file.open &&
        database->catalog->config.role == DATABASE_REPLICA)
        walindex_unlock(database->shm_file.fd, WALINDEX_LOCK_WRITE, 1);
    walindex_close(&database->index);
    database->worker->let_go |= database->anchor.connection != NULL;
    if (checkpoint)
        checkpoint_alone(database);
    worker_enter_mount(database->worker);
    anchor_close(&database->anchor, checkpoint);
    worker_leave_mount(database->worker);
    os_close(&database->shm_file);
    os_close(&database->wal_file);
    os_close(&database->main_file);
}

/* Is the open file the one of that name below data? */
static bool is_named(const struct database *database,
                     const struct os_file *file, const char *backing)
{
    struct stat open_file, named;

    return file->open && fstat(file->fd, &open_file) == 0 &&
           fstatat(database->catalog->config.data_fd, backing, &named,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           open_file.st_ino == named.st_ino;
}

void attach_remove_companions(struct database *database)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    const struct os_file *files[] = {&database->wal_file, &database->shm_file};
    char path[PATH_BYTES], backing[DATABASE_NAME_MAX + 32];
    struct stat status;

    ASSERT_ON_WORKER();
    if (fstatat(database->catalog->config.data_fd, database->backing, &status,
                AT_SYMLINK_NOFOLLOW) == 0)
        return; /* a new database has the name, and perhaps the companions */
    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        snprintf(backing, sizeof backing, "%s%s", database->backing,
                 suffixes[i]);
        mount_path(database, suffixes[i], path);
        if (!is_named(database, files[i], backing))
            continue;
        worker_enter_mount(database->worker);
        (void)os_unlink(AT_FDCWD, path, SITE_ATTACH_REMOVE);
        worker_leave_mount(database->worker);
    }
}

int attach_watch(struct database *database, bool wal)
{
    int *watch = wal ? &database->watch_wal : &database->watch_main;
    char path[PATH_BYTES];
    int fault, wd;

    if (*watch >= 0)
        return 0;
    fault = site_fault(SITE_ATTACH_WATCH);
    if (fault != 0)
        return site_fail(SITE_ATTACH_WATCH, database->name, fault);
    mount_path(database, wal ? "-wal" : "", path);
    worker_enter_mount(database->worker);
    wd = inotify_add_watch(database->worker->inotify_fd, path, IN_MODIFY);
    worker_leave_mount(database->worker);
    if (wd < 0)
        return site_fail(SITE_ATTACH_WATCH, path, errno);
    *watch = wd;
    worker_watch(database, wd);
    return 0;
}

static void unwatch(struct database *database, int *watch)
{
    if (*watch < 0)
        return;
    worker_unwatch(database, *watch);
    inotify_rm_watch(database->worker->inotify_fd, *watch);
    *watch = -1;
}

void attach_unwatch(struct database *database)
{
    unwatch(database, &database->watch_wal);
    unwatch(database, &database->watch_main);
}

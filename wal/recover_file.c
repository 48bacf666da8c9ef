/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_file.c - what recovery asks of a database's files, and does to
 * them, whatever the role. See recover.h.
 */
#include "wal/recover.h"

#include "wal/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- orphans ------------------------------------------------------------- */

static bool file_has_orphans(struct database *database, const char *suffix)
{
    char path[DATABASE_NAME_MAX + 32];
    struct os_file file = {0};
    bool orphans;

    snprintf(path, sizeof path, "%s%s", database->backing, suffix);
    if (os_open(&file, database->catalog->config.data_fd, path, O_RDONLY, 0,
                SITE_RECOVER_LEASE) < 0)
        return false;
    /* A write lease is granted only when no other descriptor is open. */
    orphans = fcntl(file.fd, F_SETLEASE, F_WRLCK) != 0 && errno == EAGAIN;
    if (!orphans)
        (void)fcntl(file.fd, F_SETLEASE, F_UNLCK);
    os_close(&file);
    return orphans;
}

bool recover_has_orphans(struct database *database)
{
    return file_has_orphans(database, "") ||
           file_has_orphans(database, "-wal") ||
           file_has_orphans(database, "-shm");
}

/* ---- the file ------------------------------------------------------------ */

int recover_path(const struct database *database, const char *suffix, bool live,
                 char path[RECOVER_PATH_BYTES])
{
    const struct catalog_config *config = &database->catalog->config;

    if (!live) {
        snprintf(path, RECOVER_PATH_BYTES, "%s%s", database->backing, suffix);
        return config->data_fd;
    }
    snprintf(path, RECOVER_PATH_BYTES, "%s/%s%s", config->mount_path,
             database->name, suffix);
    return AT_FDCWD;
}

int recover_make_parents(struct database *database)
{
    char path[DATABASE_NAME_MAX + 16];
    int rc = 0;

    snprintf(path, sizeof path, "%s", database->backing);
    for (char *at = strchr(path + 6, '/'); at != NULL && rc == 0;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        rc = os_mkdir(database->catalog->config.data_fd, path, 0755,
                      SITE_INCOMING_PLACE);
        *at = '/';
    }
    return rc;
}

int recover_open_file(struct database *database, bool live, bool make)
{
    char path[RECOVER_PATH_BYTES];
    int dirfd = recover_path(database, "", live, path), rc = 0;

    make = make && !live;
    if (make)
        rc = recover_make_parents(database);
    if (rc == 0)
        rc = os_open(&database->main_file, dirfd, path,
                     make ? O_RDWR | O_CREAT : O_RDWR, 0600, SITE_RECOVER_OPEN);
    if (rc == 0 && make)
        rc = owner_give_new(database, &database->main_file);
    return rc == -ENOENT ? -EBADMSG : rc;
}

int recover_sync_file(struct database *database, enum site site)
{
    bool replica = database->catalog->config.role == DATABASE_REPLICA;
    struct os_file file = {0};
    int rc = os_open(&file, database->catalog->config.data_fd,
                     database->backing, replica ? O_RDWR : O_RDONLY, 0, site);

    if (rc == 0 && replica && database->file_suspect)
        rc = os_write_again(&file, site); /* nobody else writes to it */
    if (rc == 0)
        rc = os_fsync(&file, site);
    os_close(&file);
    database->file_suspect = rc < 0;
    return rc;
}

int recover_sync_files(struct database *database)
{
    int rc = recover_sync_file(database, SITE_RECOVER_SYNC);

    return rc < 0 ? rc
                  : os_sync_parent(database->catalog->config.data_fd,
                                   database->backing, SITE_RECOVER_SYNC);
}

/* ---- what it looks like -------------------------------------------------- */

/* An application that had it open when we stopped may have gone on in the
 * WAL: the file alone does not tell. */
bool recover_wal_is_left(struct database *database)
{
    char path[DATABASE_NAME_MAX + 32];
    struct stat status;

    snprintf(path, sizeof path, "%s-wal", database->backing);
    return fstatat(database->catalog->config.data_fd, path, &status,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           status.st_size > 0;
}

bool recover_was_touched(struct database *database)
{
    struct meta_fingerprint now;

    return meta_take_fingerprint(database->catalog->config.data_fd,
                                 database->backing, &now) < 0 ||
           !meta_fingerprint_is_equal(&now, &database->meta.clean);
}

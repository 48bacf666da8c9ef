/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/logdir.c - see logdir.h. What cannot be removed stays: the next start,
 * or the next log that needs the place, meets it again.
 */
#include "wal/logdir.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ASIDE "log-aside-"

void logdir_remove(struct database *database, const char *path)
{
    int fd = os_openat(database->catalog->config.data_fd, path,
                       O_RDONLY | O_DIRECTORY, 0);
    struct dirent *entry;
    DIR *dir;

    if (fd < 0)
        return;
    dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            (void)unlinkat(fd, entry->d_name, 0);
    closedir(dir);
    (void)unlinkat(database->catalog->config.data_fd, path, AT_REMOVEDIR);
}

/* Those put aside before `kept`, or by a clock that was wrong. */
static void asides_remove(struct database *database, const char *kept)
{
    int fd = os_openat(database->catalog->config.data_fd, database->directory,
                       O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    char path[96 + NAME_MAX];

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", database->directory,
                 entry->d_name);
        if (strncmp(entry->d_name, ASIDE, strlen(ASIDE)) == 0 &&
            strcmp(path, kept) != 0)
            logdir_remove(database, path);
    }
    closedir(dir);
}

int logdir_put_aside(struct database *database)
{
    int dirfd = database->catalog->config.data_fd;
    char path[96], aside[96];
    int rc;

    snprintf(path, sizeof path, "%s/log", database->directory);
    snprintf(aside, sizeof aside, "%s/" ASIDE "%llx", database->directory,
             (unsigned long long)clock_wall_ns());
    rc = os_rename(dirfd, path, aside, SITE_REPLICA_LOG);
    if (rc == 0)
        asides_remove(database, aside);
    return rc == -ENOENT ? 0 : rc;
}

int logdir_replace(struct database *database, struct log *log, const char *path)
{
    char own[96];
    int rc = 0;

    if (database->retired_count == LOGS_RETIRED_MAX)
        return site_fail(SITE_REPLICA_LOG, "too many copies; restart", ENOSPC);
    if (log_bytes(database->log) > 0)
        rc = logdir_put_aside(database);
    snprintf(own, sizeof own, "%s/log", database->directory);
    if (rc == 0)
        logdir_remove(database, own); /* an empty one is in the way */
    if (rc == 0)
        rc = os_rename(database->catalog->config.data_fd, path, own,
                       SITE_REPLICA_LOG);
    if (rc < 0)
        return rc;
    database->retired[database->retired_count++] = database->log;
    __atomic_store_n(&database->log, log, __ATOMIC_RELEASE);
    return 0;
}

int logdir_sync(struct database *database)
{
    return os_sync_dir(database->catalog->config.data_fd, database->directory,
                       SITE_REPLICA_LOG);
}

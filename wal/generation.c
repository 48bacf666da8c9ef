/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/generation.c - see generation.h.
 *
 * A generation begins when all of the one before is in the database file. So
 * that file, whatever a checkpoint has put there since, and all records of the
 * generation make its end. Failing or killed on the way, the WAL is still
 * there, and the next start does it again.
 */
#include "wal/generation.h"

#include "wal/log.h"
#include "wal/lost.h"
#include "wal/recover.h"
#include "wal/redo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* The first TXID of the records at the log's end that have this salt. */
static int first_txid(struct log *log, const uint8_t salt[FRAME_SALT_BYTES],
                      txid_t *ret_txid)
{
    struct record_header header;
    struct log_cursor cursor;
    txid_t txid = 0;
    bool whole = log_first_txid(log) == 1; /* nothing was trimmed */
    int rc = log_seek(log, log_first_txid(log), &cursor);

    while (rc == 0) {
        rc = log_skip(log, &cursor, &header);
        if (rc < 0)
            break;
        if (memcmp(header.wal_salt, salt, FRAME_SALT_BYTES) != 0) {
            txid = 0;
            whole = true; /* what comes now begins here */
        } else if (txid == 0) {
            txid = header.first_txid;
        }
    }
    if (rc != -ENOENT)
        return rc;
    if (txid == 0 || !whole)
        return -ENOENT;
    *ret_txid = txid;
    return 0;
}

int generation_place(struct database *database,
                     const uint8_t salt[FRAME_SALT_BYTES], uint32_t frame,
                     struct record_header *ret_header)
{
    struct record_header header;
    struct log_cursor cursor;
    int rc = log_seek(database->log, log_first_txid(database->log), &cursor);

    *ret_header = (struct record_header){0};
    while (rc == 0) {
        rc = log_skip(database->log, &cursor, &header);
        if (rc == 0 && header.part == header.parts &&
            header.wal_frame <= frame &&
            memcmp(header.wal_salt, salt, FRAME_SALT_BYTES) == 0)
            *ret_header = header;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int wal_put_aside(struct database *database, bool live)
{
    struct lost_what what = lost_of(
        database, "wal",
        "SQLite's own recovery would not see in this WAL all commits that "
        "were made; they were redone from the log");
    int dirfd = database->catalog->config.data_fd, rc;
    char path[RECOVER_PATH_BYTES], aside[LOST_PATH_BYTES];

    rc = lost_begin(database->catalog, &what, aside);
    if (rc < 0)
        return rc;
    (void)recover_path(database, "-wal", false, path);
    if (linkat(dirfd, path, dirfd, aside, 0) != 0) {
        rc = site_fail(SITE_RECOVER_REMOVE, aside, errno);
        lost_undone(database->catalog, aside);
        return rc;
    }
    lost_kept(database->catalog, &what, aside);
    dirfd = recover_path(database, "-wal", live, path);
    rc = os_unlink(dirfd, path, SITE_RECOVER_REMOVE);
    if (rc < 0)
        return rc;
    dirfd = recover_path(database, "-shm", live, path);
    rc = os_unlink(dirfd, path, SITE_RECOVER_REMOVE);
    return rc == -ENOENT ? 0 : rc;
}

int generation_redo(struct database *database,
                    const uint8_t salt[FRAME_SALT_BYTES], bool live)
{
    char path[RECOVER_PATH_BYTES];
    int dirfd = recover_path(database, "", live, path);
    txid_t txid;
    int rc = first_txid(database->log, salt, &txid);

    if (rc == 0)
        rc = os_open(&database->main_file, dirfd, path, O_RDWR, 0,
                     SITE_RECOVER_OPEN);
    if (rc == 0)
        rc = redo_into_file(database, txid);
    os_close(&database->main_file);
    return rc < 0 ? rc : wal_put_aside(database, live);
}

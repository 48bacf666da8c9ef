/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/aside.c - see aside.h.
 *
 * Companions first: should the power fail in between, the file is found again
 * without them and they lie in lost/ under a text; a WAL that stayed alone
 * would be taken for the WAL of whatever takes the file's place.
 */
#include "wal/aside.h"

#include "wal/discover.h"
#include "wal/notes.h"
#include "wal/recover.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int remove_one(struct database *database, const char *suffix, bool live)
{
    char path[RECOVER_PATH_BYTES];
    int dirfd = recover_path(database, suffix, live, path);
    int rc = os_unlink(dirfd, path, SITE_RECOVER_REMOVE);

    return rc == -ENOENT ? 0 : rc;
}

/* -ENOENT: there is none. Not renamed when live: behind the mount that knows
 * the name nothing moves. */
static int move_one(struct database *database, const char *suffix,
                    const char *to, bool live)
{
    int dirfd = database->catalog->config.data_fd;
    char from[RECOVER_PATH_BYTES], path[LOST_PATH_BYTES + 16];

    (void)recover_path(database, suffix, false, from);
    snprintf(path, sizeof path, "%s%s", to, suffix);
    if (!live)
        return os_rename(dirfd, from, path, SITE_RECOVER_REMOVE);
    if (linkat(dirfd, from, dirfd, path, 0) != 0)
        return site_fail(SITE_RECOVER_REMOVE, from, errno);
    return remove_one(database, suffix, live);
}

int aside_move(struct database *database, const struct lost_what *what,
               bool live, char ret_path[LOST_PATH_BYTES])
{
    static const char *const suffixes[] = {"-journal", "-wal", ""};
    struct catalog *catalog = database->catalog;
    bool moved = false;
    int rc = lost_begin(catalog, what, ret_path);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LENGTH(suffixes) && rc == 0; i++) {
        rc = move_one(database, suffixes[i], ret_path, live);
        moved = moved || rc == 0;
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc == 0)
        rc = remove_one(database, "-shm", live);
    if (moved) {
        lost_kept(catalog, what, ret_path);
    } else {
        lost_undone(catalog, ret_path);
        ret_path[0] = '\0';
    }
    return rc;
}

int aside_strange(struct database *database)
{
    struct lost_what what = lost_of(database, "db",
                                    "it lay here before the primary had a "
                                    "database of this name");
    char kept[LOST_PATH_BYTES], text[LOST_PATH_BYTES + 64];
    struct stat status;
    int rc;

    what.lineage = "strange";
    if (!discover_status(database->catalog, database->name, &status))
        return 0;
    rc = aside_move(database, &what, true, kept);
    if (rc < 0)
        return rc;
    snprintf(text, sizeof text, "%s; it is kept as %s", what.why, kept);
    notes_event(database, DATABASE_EVENT_STRANGE, text);
    return 0;
}

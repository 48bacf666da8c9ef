/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/fetching.c - see fetching.h.
 *
 * A replica's code does the work: records go to the log and on to the file
 * beside, a copy's chunks to the file, and its records to a log of its own.
 * Nothing of it needs the mount as long as there is no file to attach to.
 */
#include "wal/fetching.h"

#include "wal/budget.h"
#include "wal/catalog.h"
#include "wal/discover.h"
#include "wal/graft.h"
#include "wal/incoming.h"
#include "wal/missing.h"
#include "wal/notes.h"
#include "wal/offer.h"
#include "wal/remains.h"
#include "wal/replica.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- at the start ---------------------------------------------------------*/

/* A folder of data/db that is, or was, a database's. */
static bool is_known(int data_fd, const char *lineage)
{
    char path[96];
    struct meta meta;
    bool known;
    int rc;

    snprintf(path, sizeof path, "db/%s", lineage);
    rc = meta_load(&meta, data_fd, path);
    if (rc < 0)
        return rc != -ENOENT;
    known = (meta.flags & META_FETCHING) == 0;
    meta_free(&meta);
    return known;
}

bool catalog_was_empty(int data_fd)
{
    int fd = os_openat(data_fd, "db", O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool empty = true;

    if (dir == NULL) {
        empty = fd < 0 && errno == ENOENT;
        if (fd >= 0)
            close(fd);
        return empty;
    }
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strlen(entry->d_name) != 2 * LINEAGE_BYTES ||
                !is_known(data_fd, entry->d_name);
    closedir(dir);
    return empty;
}

/* ---- the loop's side ------------------------------------------------------*/

static bool is_free(struct catalog *catalog, const char *name)
{
    struct database *taken = catalog_find(catalog, name);
    char path[DATABASE_NAME_MAX + 16];
    struct stat status;

    database_unref(taken);
    snprintf(path, sizeof path, "files/%s", name);
    return taken == NULL &&
           fstatat(catalog->config.data_fd, path, &status,
                   AT_SYMLINK_NOFOLLOW) != 0 &&
           errno == ENOENT;
}

bool catalog_may_fetch(struct catalog *catalog, const char *name,
                       const struct lineage *lineage)
{
    size_t base;

    return strlen(name) <= DATABASE_NAME_MAX && discover_name_is_clean(name) &&
           database_file_kind(name, &base) == DATABASE_FILE_MAIN &&
           !catalog_is_dropped(catalog, lineage) &&
           !missing_has(catalog, name) && is_free(catalog, name);
}

int catalog_fetch(struct catalog *catalog, const char *name,
                  const struct lineage *lineage, struct database **ret_database)
{
    struct database *database;
    int rc;

    ASSERT(atomic_load(&catalog->asking));
    if (!catalog_may_fetch(catalog, name, lineage))
        return -EEXIST;
    database = catalog_make(catalog, name, lineage);
    if (database == NULL)
        return -ENOMEM;
    database->meta.flags = META_FETCHING;
    atomic_store(&database->fetching, true);
    rc = catalog_add(catalog, database); /* its files: with the first note */
    if (rc < 0) {
        database_unref(database);
        return rc;
    }
    *ret_database = database;
    return 0;
}

/* ---- what arrives ---------------------------------------------------------*/

/* Of a stream; what else comes waits for the end, as for all databases. */
static bool is_of_stream(enum note_kind kind)
{
    return kind == NOTE_HISTORY || kind == NOTE_OFFER ||
           kind == NOTE_COPY_BEGIN || kind == NOTE_COPY_CHUNK ||
           kind == NOTE_COPY_HASHES || kind == NOTE_COPY_SAME ||
           kind == NOTE_COPY_END || kind == NOTE_COPY_ABANDON ||
           kind == NOTE_OWNER || kind == NOTE_RESTART;
}

void fetching_note(struct database *database, struct note *note)
{
    ASSERT_ON_WORKER();
    if (is_of_stream(note->kind))
        replica_note(database, note);
    else
        list_push_back(&database->held, &note->link);
}

void fetching_step(struct database *database)
{
    offer_catch_up(database);
    replica_show_consumed(database);
}

/* ---- the end --------------------------------------------------------------*/

int fetching_counts(struct database *database)
{
    int rc;

    if (!(database->meta.flags & META_FETCHING))
        return 0;
    database->meta.flags &= ~META_FETCHING;
    rc = notes_save_meta(database);
    if (rc < 0)
        database->meta.flags |= META_FETCHING;
    return rc;
}

static bool is_whole(const struct database *database, txid_t until)
{
    const struct incoming *incoming = &database->incoming;

    return !database->stopped && incoming_is_complete(database) &&
           incoming->position.txid >= until && incoming->size_pages > 0;
}

/* Nothing after its position: a part of a record, or a PREPARED that the
 * replica was never told the end of. */
static int log_settle(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    struct log *log = incoming->log != NULL ? incoming->log : database->log;
    int rc = log_cut(log, incoming->position.txid);

    return rc == -ENOENT ? 0 : rc;
}

static int put_in_place(struct database *database)
{
    int rc = log_settle(database);

    if (rc == 0)
        rc = incoming_place(database);
    if (rc < 0)
        return rc;
    atomic_store(&database->fetching, false);
    notes_works(database);
    database->applied = database->view.position;
    database->behind = database->doubt = false;
    database->sync_due_ns = 0; /* it is durable */
    replica_show_prepared(database);
    replica_show_consumed(database);
    notes_state(database, DATABASE_CLOSED);
    graft_explained(database);
    budget_count(database);
    return 0;
}

/* It never was: nobody is told of a drop, and no tombstone remembers it. */
static void give_up(struct database *database)
{
    int dirfd = database->catalog->config.data_fd;
    bool counted = (database->meta.flags & META_FETCHING) == 0;

    database->meta.flags |= META_FETCHING;
    if (counted && notes_save_meta(database) < 0)
        notes_fails(database); /* the next start puts it in its place */
    incoming_abandon(database);
    if (counted)
        (void)os_unlink(dirfd, database->backing, SITE_FETCHING_REMOVE);
    log_close(database->log);
    database->log = NULL;
    remains_erase(dirfd, database->directory);
    budget_forget(database);
    catalog_remove_name(database);
    notes_state(database, DATABASE_DROPPED);
    catalog_remove(database);
}

int fetching_end(struct database *database, txid_t until)
{
    char text[96];
    int rc = -ECANCELED;

    ASSERT_ON_WORKER();
    if (is_whole(database, until)) {
        rc = put_in_place(database);
        if (rc < 0)
            notes_fails(database);
    }
    if (rc < 0) {
        give_up(database);
        return rc;
    }
    snprintf(text, sizeof text, "fetched whole from a replica, up to TXID %llu",
             (unsigned long long)database->view.position.txid);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
    return 0;
}

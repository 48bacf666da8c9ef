/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/hooks.c - the FUSE side of database.h: what applications do to files.
 *
 * Runs on FUSE workers. Nothing here waits for a worker, touches a path of
 * the mount or the mapped wal-index; it looks at backing files, takes a
 * database's lock for nanoseconds, leaves notes. The one lock question, who
 * holds CKPT, is asked of the kernel with a descriptor that attach.c keeps
 * valid under the database's lock.
 */
#include "wal/catalog.h"
#include "wal/discover.h"
#include "wal/notes.h"
#include "wal/overwrite.h"
#include "wal/primary.h"
#include "wal/recover.h"
#include "wal/rollback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum database_file database_file_kind(const char *name, size_t *ret_base)
{
    static const struct {
        const char *suffix;
        enum database_file kind;
    } kinds[] = {
        {"-wal", DATABASE_FILE_WAL},
        {"-shm", DATABASE_FILE_SHM},
        {"-journal", DATABASE_FILE_JOURNAL},
    };
    size_t length = strlen(name);

    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        size_t suffix = strlen(kinds[i].suffix);

        if (length > suffix && name[length - suffix - 1] != '/' &&
            strcmp(name + length - suffix, kinds[i].suffix) == 0) {
            *ret_base = length - suffix;
            return kinds[i].kind;
        }
    }
    *ret_base = length;
    return DATABASE_FILE_MAIN;
}

static bool is_primary(const struct catalog *catalog)
{
    return catalog->config.role == DATABASE_PRIMARY;
}

static struct database *find_of(struct catalog *catalog, const char *name,
                                enum database_file *ret_kind,
                                char base[DATABASE_NAME_MAX + 1])
{
    size_t length;

    *ret_kind = database_file_kind(name, &length);
    if (length > DATABASE_NAME_MAX)
        return NULL;
    memcpy(base, name, length);
    base[length] = '\0';
    return catalog_find(catalog, base);
}

/* ---- open and release ---------------------------------------------------- */

/* A companion of what is no database yet makes it one. */
static int create_companion(struct catalog *catalog, const char *name)
{
    enum database_file kind;
    char base[DATABASE_NAME_MAX + 1];
    struct database *database = find_of(catalog, name, &kind, base);
    struct stat status;

    database_unref(database);
    if (database != NULL || kind == DATABASE_FILE_MAIN ||
        discover_name_is_clean(base) ||
        !discover_status(catalog, base, &status))
        return 0;
    return discover_refuse_name(catalog, base);
}

/* It is coming from a replica, and is not in its place yet. */
static bool is_on_its_way(struct catalog *catalog, const char *name)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database;
    bool fetching;

    if (!atomic_load(&catalog->asking))
        return false;
    database = find_of(catalog, name, &kind, base);
    fetching = database != NULL && atomic_load(&database->fetching);
    database_unref(database);
    return fetching;
}

int catalog_on_create(struct catalog *catalog, const char *name, bool own)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database;
    bool known;

    if (own)
        return 0;
    if (is_on_its_way(catalog, name))
        return -EBUSY;
    if (is_primary(catalog))
        return discover_name_is_clean(name) ? 0
                                            : create_companion(catalog, name);
    database = find_of(catalog, name, &kind, base);
    known = database != NULL;
    database_unref(database);
    if (known && (kind == DATABASE_FILE_WAL || kind == DATABASE_FILE_SHM))
        return 0;
    return -EROFS;
}

static int open_main(struct database *database, const struct os_file *backing,
                     bool created, struct parked *parked)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header = {0};
    bool parks;
    ssize_t n;
    int rc = 0;

    n = os_pread(backing, bytes, sizeof bytes, 0, SITE_HOOKS_READ);
    if (n > 0)
        (void)page_header_decode(bytes, (size_t)n, &header);
    pthread_mutex_lock(&database->lock);
    if (database->view.state == DATABASE_HELD_BACK) {
        pthread_mutex_unlock(&database->lock);
        return -EBUSY;
    }
    database->view.applications++;
    parks = !created && header.wal &&
            (database->view.state != DATABASE_ATTACHED ||
             database->overwriting);
    pthread_mutex_unlock(&database->lock);
    if (parks)
        rc = notes_park(database, parked, PARKED_OPEN);
    else
        notes_wake(database);
    if (rc < 0)
        notes_left(database);
    return rc;
}

static int open_wal(struct database *database, int flags)
{
    struct catalog_config *config = &database->catalog->config;

    if (config->role == DATABASE_REPLICA && config->writes_readonly &&
        (flags & O_ACCMODE) != O_RDONLY)
        return -EROFS;
    notes_wake(database); /* it may just have become a WAL database */
    return 0;
}

/* It can be read, and taken away; what is written would be nowhere else. */
static int open_unclean(struct catalog *catalog, const char *base, int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY
               ? 0
               : discover_refuse_name(catalog, base);
}

int catalog_on_open(struct catalog *catalog, const char *name,
                    const struct os_file *backing, int flags, bool created,
                    bool own, struct parked *parked,
                    struct database **ret_database,
                    enum database_file *ret_kind)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database = find_of(catalog, name, &kind, base);
    int rc = 0;

    *ret_database = NULL;
    *ret_kind = DATABASE_FILE_OTHER;
    if (database == NULL && !own &&
        (kind == DATABASE_FILE_MAIN ? discover_has_header(backing)
                                    : kind != DATABASE_FILE_SHM)) {
        if (is_primary(catalog) && !discover_name_is_clean(base))
            return open_unclean(catalog, base, flags);
        database = discover_adopt(catalog, base);
    }
    if (database == NULL)
        return 0;
    if (!own && kind == DATABASE_FILE_MAIN)
        rc = open_main(database, backing, created, parked);
    else if (!own && kind == DATABASE_FILE_WAL)
        rc = open_wal(database, flags);
    if (rc < 0) {
        database_unref(database);
        return rc;
    }
    *ret_database = database;
    *ret_kind = kind;
    return rc;
}

void catalog_on_release(struct catalog *catalog, const char *name,
                        struct database *database, enum database_file kind,
                        bool was_writable, bool own)
{
    struct os_file file = {0};
    char path[DATABASE_NAME_MAX + 16];

    if (database != NULL) {
        if (!own && kind == DATABASE_FILE_MAIN) {
            notes_left(database);
            overwrite_closed(database, was_writable);
            notes_wake(database);
        }
        database_unref(database);
        return;
    }
    /* cp into the mount: written by somebody who is not SQLite. */
    if (own || !was_writable || !is_primary(catalog) ||
        strlen(name) > DATABASE_NAME_MAX)
        return;
    snprintf(path, sizeof path, "files/%s", name);
    if (os_open(&file, catalog->config.data_fd, path, O_RDONLY | O_NOFOLLOW, 0,
                SITE_HOOKS_READ) < 0)
        return;
    if (discover_has_header(&file)) {
        database = catalog_find(catalog, name);
        if (database == NULL)
            database = discover_adopt(catalog, name);
        else
            notes_post(database, note_new(NOTE_REREAD));
        database_unref(database);
    }
    os_close(&file);
}

/* ---- fsync and the commit operation -------------------------------------- */

static int fsync_wal(struct database *database, bool own, struct parked *parked)
{
    bool gated;

    if (!is_primary(database->catalog)) /* rule 2: log before database pages */
        return log_of(database) == NULL ? 0 : log_sync(log_of(database));
    if (own)
        return 0; /* the anchor's last checkpoint: all was captured before */
    pthread_mutex_lock(&database->lock);
#ifndef CANARY_NO_GATE
    /* A checkpoint has the database open. Who has not (sync FILE) must not
     * stand in the way of the one with which we let go. */
    gated = database->view.applications > 0 &&
            (database->lock_fd < 0 ||
             walindex_is_locked(database->lock_fd, WALINDEX_LOCK_CHECKPOINT));
#else
    gated = false;
#endif
    if (gated)
        database->view.gates++;
    pthread_mutex_unlock(&database->lock);
    return gated ? notes_park(database, parked, PARKED_FSYNC_WAL) : 0;
}

int database_on_fsync(struct database *database, enum database_file kind,
                      bool own, struct parked *parked)
{
    enum database_state state;

    if (kind == DATABASE_FILE_WAL)
        return fsync_wal(database, own, parked);
    if (kind != DATABASE_FILE_MAIN || own || !is_primary(database->catalog))
        return 0;
    pthread_mutex_lock(&database->lock);
    state = database->view.state;
    pthread_mutex_unlock(&database->lock);
    if (state == DATABASE_ATTACHED || state == DATABASE_DROPPED)
        return 0; /* a checkpoint wrote the database; nothing new in it */
    return notes_park(database, parked, PARKED_FSYNC_MAIN);
}

void database_on_synced(struct database *database, enum database_file kind)
{
    bool wake;

    if (kind != DATABASE_FILE_WAL || !is_primary(database->catalog))
        return;
    pthread_mutex_lock(&database->lock);
    database->synced = true;
    wake = !database->paced; /* else it looks soon by itself */
    pthread_mutex_unlock(&database->lock);
    if (wake)
        notes_wake(database);
}

/* The note of the commit operation under way on this FUSE worker: before and
 * after come from one request, on one thread. */
static _Thread_local struct note *commit_note;

void database_on_commit(struct database *database,
                        const struct os_file *journal)
{
    ASSERT(commit_note == NULL);
    if (is_primary(database->catalog))
        commit_note = rollback_collect(database, journal);
}

void database_on_committed(struct database *database, int rc)
{
    struct note *note = commit_note;

    commit_note = NULL;
    if (is_primary(database->catalog))
        rollback_collected(database, note, rc);
}

/* ---- size, names, owner -------------------------------------------------- */

/* We have the wal-index mapped. While that is under way the anchor's own lock
 * (DMS) keeps SQLite's first opener, who cuts -shm to 3 bytes, away. */
static bool is_attached(struct database *database)
{
    bool attached;

    pthread_mutex_lock(&database->lock);
    attached = database->lock_fd >= 0;
    pthread_mutex_unlock(&database->lock);
    return attached;
}

int database_on_resize(struct database *database, enum database_file kind,
                       uint64_t size, bool own)
{
    if (kind == DATABASE_FILE_MAIN && is_primary(database->catalog))
        rollback_cutting(database);
    if (own)
        return 0;
    /* Whoever maps a -shm that shrinks dies of it (SIGBUS). */
    if (kind == DATABASE_FILE_SHM && is_attached(database))
        return -EBUSY;
    if (kind == DATABASE_FILE_MAIN && !is_primary(database->catalog))
        return -EROFS;
    if (kind == DATABASE_FILE_MAIN && size == 0)
        return overwrite_begin(database);
    return 0;
}

void database_on_resized(struct database *database, enum database_file kind)
{
    if (kind == DATABASE_FILE_MAIN && is_primary(database->catalog) &&
        !overwrite_is_on(database))
        rollback_was_cut(database);
}

int catalog_on_unlink(struct catalog *catalog, const char *name, bool own)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database;
    int rc = 0;

    if (own)
        return 0;
    database = find_of(catalog, name, &kind, base);
    if (database == NULL)
        return 0;
    if ((kind == DATABASE_FILE_SHM || kind == DATABASE_FILE_WAL) &&
        is_attached(database))
        rc = -EBUSY;
    if (kind == DATABASE_FILE_MAIN && !is_primary(catalog))
        rc = -EROFS;
    database_unref(database);
    return rc;
}

/* The name no longer stands for this database. */
static void forget_name(struct database *database)
{
    catalog_remove_name(database);
    notes_post(database, note_new(NOTE_UNLINKED));
}

void catalog_on_unlinked(struct catalog *catalog, const char *name, bool own)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database;

    if (own || !is_primary(catalog))
        return;
    database = find_of(catalog, name, &kind, base);
    if (database != NULL && kind == DATABASE_FILE_MAIN)
        forget_name(database);
    database_unref(database);
}

/* 0 when nobody uses the database; else -EBUSY, and when it is only our
 * anchor, that lets go now: trying again soon works. */
static int is_in_use(struct database *database)
{
    bool used, held;

    pthread_mutex_lock(&database->lock);
    used = database->view.applications > 0;
    held = database->view.state != DATABASE_CLOSED &&
           database->view.state != DATABASE_ROLLBACK;
    pthread_mutex_unlock(&database->lock);
    if (!used && held)
        notes_post(database, note_new(NOTE_DETACH));
    return used || held ? -EBUSY : 0;
}

static int rename_check(struct catalog *catalog, const char *name)
{
    char base[DATABASE_NAME_MAX + 1];
    enum database_file kind;
    struct database *database = find_of(catalog, name, &kind, base);
    int rc = 0;

    if (database == NULL)
        return 0;
    if (!is_primary(catalog))
        rc = -EROFS;
    else if (kind != DATABASE_FILE_JOURNAL)
        rc = is_in_use(database);
    database_unref(database);
    return rc;
}

static bool is_known(struct catalog *catalog, const char *name)
{
    struct database *database = catalog_find(catalog, name);

    database_unref(database);
    return database != NULL;
}

struct below {
    const char *directory;
    size_t length;
    bool found;
};

static void below_visit(void *context, struct database *database)
{
    struct below *below = context;

    if (strncmp(database->name, below->directory, below->length) == 0 &&
        database->name[below->length] == '/')
        below->found = true;
}

int catalog_on_rename(struct catalog *catalog, const char *from, const char *to,
                      bool own)
{
    struct below below = {from, strlen(from), false};
    int rc;

    if (own)
        return 0;
    catalog_each(catalog, below_visit, &below);
    if (below.found)
        return is_primary(catalog) ? -EBUSY : -EROFS;
    rc = rename_check(catalog, from);
    if (rc == 0 && !discover_name_is_clean(to) && is_known(catalog, from))
        rc = discover_refuse_name(catalog, to);
    if (rc == 0 && is_on_its_way(catalog, to))
        rc = -EBUSY;
    return rc == 0 ? rename_check(catalog, to) : rc;
}

void catalog_on_renamed(struct catalog *catalog, const char *from,
                        const char *to, bool own)
{
    char base[DATABASE_NAME_MAX + 1];
    struct os_file file = {0};
    enum database_file kind;
    struct database *database;
    char path[DATABASE_NAME_MAX + 16];
    bool is_database;

    if (own || !is_primary(catalog))
        return;
    database = find_of(catalog, from, &kind, base);
    if (database != NULL && kind == DATABASE_FILE_MAIN)
        forget_name(database);
    database_unref(database);
    database = find_of(catalog, to, &kind, base);
    if (kind != DATABASE_FILE_MAIN) {
        database_unref(database);
        return;
    }
    snprintf(path, sizeof path, "files/%s", base);
    is_database = os_open(&file, catalog->config.data_fd, path,
                          O_RDONLY | O_NOFOLLOW, 0, SITE_HOOKS_READ) == 0 &&
                  discover_has_header(&file);
    os_close(&file);
    if (database != NULL && is_database)
        notes_post(database, note_new(NOTE_REPLACED));
    else if (database != NULL)
        forget_name(database);
    else if (is_database)
        database = discover_adopt(catalog, base);
    database_unref(database);
}

void database_on_owner(struct database *database)
{
    if (is_primary(database->catalog))
        notes_post(database, note_new(NOTE_OWNER));
}

void database_pass(struct database *database, struct parked *parked)
{
    int rc = 0;

    if (is_primary(database->catalog))
        rc = notes_park(database, parked, PARKED_PASS);
    if (rc != DATABASE_PARKED)
        parked->on_done(parked, rc);
}

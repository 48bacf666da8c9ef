/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/fake_catalog.h - an engine that says yes, counts, and parks what
 * a test asks it to; include it once, in a program that mounts.
 *
 * It defines what fuse/ calls of wal/database.h, so that the real engine is
 * not linked. A database is a name that had a -journal or -wal beside it, or
 * that fake_add() made. Parked requests are answered by a thread of its own
 * after park_ms, or when fake_release() is called.
 */
#ifndef TESTS_UNIT_FAKE_CATALOG_H
#define TESTS_UNIT_FAKE_CATALOG_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/list.h"
#include "wal/database.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct database {
    struct list link;
    atomic_int references;
    atomic_int opens; /* announced and not released */
    char name[DATABASE_NAME_MAX];
};

struct catalog {
    pthread_mutex_t lock;
    struct list databases;
    struct list parked;
    pthread_t thread;
    atomic_bool stop;
    /* What to do. */
    atomic_bool park_open, park_fsync, early; /* early: answer at once */
    atomic_bool hold;                         /* until fake_release() */
    atomic_int park_ms;
    atomic_int refuse_open, refuse_create, refuse_unlink, refuse_rename;
    atomic_int refuse_fsync;
    atomic_ullong txid;
    /* What was seen. */
    atomic_int fsyncs_main, fsyncs_wal, fsyncs_other, synced;
    atomic_int commits, hot_commits, committed, failed_commits;
    atomic_int resizes, resized, unlinked, renamed, owners, creates;
    atomic_int opens, releases, late_opens, passes;
};

enum database_file database_file_kind(const char *name, size_t *ret_base)
{
    static const struct {
        const char *suffix;
        enum database_file kind;
    } kinds[] = {{"-wal", DATABASE_FILE_WAL},
                 {"-shm", DATABASE_FILE_SHM},
                 {"-journal", DATABASE_FILE_JOURNAL}};
    size_t length = strlen(name);

    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        size_t suffix = strlen(kinds[i].suffix);

        if (length > suffix &&
            strcmp(name + length - suffix, kinds[i].suffix) == 0) {
            *ret_base = length - suffix;
            return kinds[i].kind;
        }
    }
    *ret_base = length;
    return DATABASE_FILE_MAIN;
}

struct database *database_ref(struct database *database)
{
    atomic_fetch_add(&database->references, 1);
    return database;
}

void database_unref(struct database *database)
{
    if (database != NULL && atomic_fetch_sub(&database->references, 1) == 1)
        free(database);
}

struct database *catalog_find(struct catalog *catalog, const char *name)
{
    struct database *found = NULL;
    struct list *link, *safe;

    pthread_mutex_lock(&catalog->lock);
    LIST_EACH(link, safe, &catalog->databases)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (strcmp(database->name, name) == 0)
            found = database_ref(database);
    }
    pthread_mutex_unlock(&catalog->lock);
    return found;
}

static struct database *fake_add(struct catalog *catalog, const char *name)
{
    struct database *database = catalog_find(catalog, name);

    if (database != NULL)
        return database;
    database = calloc(1, sizeof *database);
    snprintf(database->name, sizeof database->name, "%s", name);
    atomic_store(&database->references, 2);
    pthread_mutex_lock(&catalog->lock);
    list_push_back(&catalog->databases, &database->link);
    pthread_mutex_unlock(&catalog->lock);
    return database;
}

static void fake_drop(struct catalog *catalog, const char *name)
{
    struct database *database = catalog_find(catalog, name);

    if (database == NULL)
        return;
    pthread_mutex_lock(&catalog->lock);
    list_remove(&database->link);
    pthread_mutex_unlock(&catalog->lock);
    database_unref(database);
    database_unref(database);
}

void catalog_each(struct catalog *catalog,
                  void (*visit)(void *context, struct database *database),
                  void *context)
{
    struct list *link, *safe;

    pthread_mutex_lock(&catalog->lock);
    LIST_EACH(link, safe, &catalog->databases)
    visit(context, LIST_ENTRY(link, struct database, link));
    pthread_mutex_unlock(&catalog->lock);
}

const char *database_name(const struct database *database)
{
    return database->name;
}

static struct catalog *fake_now; /* for views, which have no catalog */

void database_view(struct database *database, struct database_view *ret_view)
{
    (void)database;
    *ret_view = (struct database_view){
        .lineage.bytes = {0xa, 0xb, 0xc, 0xd},
        .position = {.epoch = epoch_raise(0, 7),
                     .txid = atomic_load(&fake_now->txid),
                     .sum = 0x5eed},
    };
}

/* ---- parking ------------------------------------------------------------- */

static void fake_park(struct catalog *catalog, struct parked *parked)
{
    parked->since_ns = clock_now_ns();
    if (atomic_load(&catalog->early)) {
        parked->on_done(parked, 0);
        return;
    }
    pthread_mutex_lock(&catalog->lock);
    list_push_back(&catalog->parked, &parked->link);
    pthread_mutex_unlock(&catalog->lock);
}

static struct parked *fake_due(struct catalog *catalog)
{
    uint64_t wait_ns = (uint64_t)atomic_load(&catalog->park_ms) * NS_PER_MS;
    struct parked *due = NULL;

    pthread_mutex_lock(&catalog->lock);
    if (!list_is_empty(&catalog->parked) && !atomic_load(&catalog->hold)) {
        struct parked *first = LIST_ENTRY(catalog->parked.next, struct parked,
                                          link);

        if (first->since_ns + wait_ns <= clock_now_ns()) {
            list_remove(&first->link);
            due = first;
        }
    }
    pthread_mutex_unlock(&catalog->lock);
    return due;
}

static void *fake_run(void *argument)
{
    struct catalog *catalog = argument;
    struct parked *parked;

    while (!atomic_load(&catalog->stop)) {
        while ((parked = fake_due(catalog)) != NULL)
            parked->on_done(parked, 0);
        usleep(200);
    }
    return NULL;
}

static void fake_open(struct catalog *catalog)
{
    *catalog = (struct catalog){0};
    pthread_mutex_init(&catalog->lock, NULL);
    list_init(&catalog->databases);
    list_init(&catalog->parked);
    atomic_store(&catalog->txid, 1);
    fake_now = catalog;
    pthread_create(&catalog->thread, NULL, fake_run, catalog);
}

static void fake_close(struct catalog *catalog)
{
    struct list *link;

    atomic_store(&catalog->stop, true);
    pthread_join(catalog->thread, NULL);
    while ((link = list_pop(&catalog->databases)) != NULL)
        database_unref(LIST_ENTRY(link, struct database, link));
    pthread_mutex_destroy(&catalog->lock);
}

/* ---- what fuse/ tells ---------------------------------------------------- */

static struct database *fake_of(struct catalog *catalog, const char *name,
                                enum database_file *ret_kind, bool make)
{
    char base[DATABASE_NAME_MAX];
    size_t length;

    *ret_kind = database_file_kind(name, &length);
    memcpy(base, name, length);
    base[length] = '\0';
    if (make && *ret_kind != DATABASE_FILE_MAIN)
        return fake_add(catalog, base);
    return catalog_find(catalog, base);
}

int catalog_on_create(struct catalog *catalog, const char *name, bool own)
{
    (void)name, (void)own;
    atomic_fetch_add(&catalog->creates, 1);
    return atomic_load(&catalog->refuse_create);
}

int catalog_on_open(struct catalog *catalog, const char *name,
                    const struct os_file *backing, int flags, bool created,
                    bool own, struct parked *parked,
                    struct database **ret_database,
                    enum database_file *ret_kind)
{
    bool parks = atomic_load(&catalog->park_open) && !created && !own;
    struct database *database;
    int rc = atomic_load(&catalog->refuse_open);

    (void)backing, (void)flags;
    if (rc < 0)
        return rc;
    database = fake_of(catalog, name, ret_kind, true);
    if (database == NULL) {
        *ret_kind = DATABASE_FILE_OTHER;
        *ret_database = NULL;
        return 0;
    }
    atomic_fetch_add(&catalog->opens, 1);
    atomic_fetch_add(&database->opens, 1);
    if (created && *ret_kind == DATABASE_FILE_MAIN)
        atomic_fetch_add(&catalog->late_opens, 1);
    *ret_database = database;
    if (parks)
        fake_park(catalog, parked);
    return parks ? DATABASE_PARKED : 0;
}

void catalog_on_release(struct catalog *catalog, const char *name,
                        struct database *database, enum database_file kind,
                        bool was_writable, bool own)
{
    (void)name, (void)kind, (void)was_writable, (void)own;
    if (database == NULL)
        return;
    atomic_fetch_add(&catalog->releases, 1);
    atomic_fetch_sub(&database->opens, 1);
    database_unref(database);
}

int database_on_fsync(struct database *database, enum database_file kind,
                      bool own, struct parked *parked)
{
    struct catalog *catalog = fake_now;

    (void)database;
    atomic_fetch_add(kind == DATABASE_FILE_WAL    ? &catalog->fsyncs_wal
                     : kind == DATABASE_FILE_MAIN ? &catalog->fsyncs_main
                                                  : &catalog->fsyncs_other,
                     1);
    if (atomic_load(&catalog->refuse_fsync) < 0)
        return atomic_load(&catalog->refuse_fsync);
    if (own || !atomic_load(&catalog->park_fsync))
        return 0;
    fake_park(catalog, parked);
    return DATABASE_PARKED;
}

void database_on_synced(struct database *database, enum database_file kind)
{
    (void)database, (void)kind;
    atomic_fetch_add(&fake_now->synced, 1);
}

void database_on_commit(struct database *database,
                        const struct os_file *journal)
{
    static const uint8_t magic[] = {0xd9, 0xd5, 0x05, 0xf9,
                                    0x20, 0xa1, 0x63, 0xd7};
    uint8_t bytes[8] = {0};

    (void)database;
    atomic_fetch_add(&fake_now->commits, 1);
    if (journal->open &&
        pread(journal->fd, bytes, sizeof bytes, 0) == sizeof bytes &&
        memcmp(bytes, magic, sizeof magic) == 0)
        atomic_fetch_add(&fake_now->hot_commits, 1);
}

void database_on_committed(struct database *database, int rc)
{
    (void)database;
    atomic_fetch_add(rc < 0 ? &fake_now->failed_commits : &fake_now->committed,
                     1);
}

int database_on_resize(struct database *database, enum database_file kind,
                       uint64_t size, bool own)
{
    (void)database, (void)kind, (void)size, (void)own;
    atomic_fetch_add(&fake_now->resizes, 1);
    return 0;
}

void database_on_resized(struct database *database, enum database_file kind)
{
    (void)database, (void)kind;
    atomic_fetch_add(&fake_now->resized, 1);
}

int catalog_on_unlink(struct catalog *catalog, const char *name, bool own)
{
    (void)name, (void)own;
    return atomic_load(&catalog->refuse_unlink);
}

void catalog_on_unlinked(struct catalog *catalog, const char *name, bool own)
{
    size_t base;

    (void)own;
    atomic_fetch_add(&catalog->unlinked, 1);
    if (database_file_kind(name, &base) == DATABASE_FILE_MAIN)
        fake_drop(catalog, name);
}

int catalog_on_rename(struct catalog *catalog, const char *from, const char *to,
                      bool own)
{
    (void)from, (void)to, (void)own;
    return atomic_load(&catalog->refuse_rename);
}

void catalog_on_renamed(struct catalog *catalog, const char *from,
                        const char *to, bool own)
{
    (void)from, (void)to, (void)own;
    atomic_fetch_add(&catalog->renamed, 1);
}

void database_on_owner(struct database *database)
{
    (void)database;
    atomic_fetch_add(&fake_now->owners, 1);
}

void database_pass(struct database *database, struct parked *parked)
{
    (void)database;
    atomic_fetch_add(&fake_now->passes, 1);
    fake_park(fake_now, parked);
}

#endif

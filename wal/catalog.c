/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/catalog.c - see catalog.h and database.h.
 *
 * data/
 *   files/          plain SQLite files, mirrored by the mount
 *   db/<lineage>/   meta, hashes, log/, incoming (a copy under way)
 *   lost/           what was replaced by another lineage
 *   epoch           highest epoch seen: "TMKEPOC1", u64 LE, XXH3-64
 */
#include "wal/catalog.h"

#include "wal/budget.h"
#include "wal/emit.h"
#include "wal/epoch.h"
#include "wal/held.h"
#include "wal/notes.h"
#include "wal/capture.h"
#include "wal/apply.h"
#include "wal/discover.h"
#include "wal/incoming.h"
#include "wal/lost.h"
#include "wal/missing.h"
#include "wal/recover.h"
#include "wal/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#define WORKERS_MAX 4u

int catalog_draw_lineage(struct lineage *ret_lineage)
{
    if (getrandom(ret_lineage->bytes, LINEAGE_BYTES, 0) != LINEAGE_BYTES)
        return site_fail(SITE_CATALOG_ADD, "getrandom", EIO);
    return 0;
}

/* ---- objects ------------------------------------------------------------- */

static void directory_name(const struct lineage *lineage, char *text,
                           size_t size)
{
    int used = snprintf(text, size, "db/");

    for (int i = 0; i < LINEAGE_BYTES; i++)
        used += snprintf(text + used, size - (size_t)used, "%02x",
                         lineage->bytes[i]);
}

static void lists_init(struct database *database)
{
    list_init(&database->link);
    list_init(&database->name_link);
    list_init(&database->changed_link);
    list_init(&database->run_link);
    list_init(&database->timer_link);
    list_init(&database->notes);
    list_init(&database->parked);
    list_init(&database->requests);
    list_init(&database->ready);
    list_init(&database->waiting);
    list_init(&database->held);
    list_init(&database->tail);
}

struct database *catalog_make(struct catalog *catalog, const char *name,
                              const struct lineage *lineage)
{
    struct database *database = calloc(1, sizeof *database);

    if (database == NULL || strlen(name) > DATABASE_NAME_MAX) {
        free(database);
        return NULL;
    }
    database->name = strdup(name);
    if (database->name == NULL ||
        asprintf(&database->backing, "files/%s", name) < 0) {
        free(database->name);
        free(database);
        return NULL;
    }
    database->catalog = catalog;
    database->lineage = *lineage;
    database->view.lineage = *lineage;
    database->view.owner_mode = 0644;
    database->meta.lineage = *lineage;
    snprintf(database->meta.name, sizeof database->meta.name, "%s", name);
    directory_name(lineage, database->directory, sizeof database->directory);
    atomic_init(&database->references, 1);
    pthread_mutex_init(&database->lock, NULL);
    lists_init(database);
    database->lock_fd = -1;
    database->watch_wal = database->watch_main = -1;
    return database;
}

static void notes_free(struct list *notes)
{
    struct list *link;

    while ((link = list_pop(notes)) != NULL)
        note_free(LIST_ENTRY(link, struct note, link));
}

static void database_free(struct database *database)
{
    database_unref(database->after);
    notes_free(&database->notes);
    held_forget(database);
    emit_tail_clear(database);
    capture_free(&database->capture);
    apply_free(&database->apply);
    hashes_free(&database->hashes);
    hashes_free(&database->incoming.hashes);
    hashes_free(&database->incoming.delta.file);
    os_close(&database->incoming.delta.aside);
    os_close(&database->incoming.file);
    os_free(&database->prepared.pgnos);
    os_free(&database->prepared.values);
    history_free(&database->history);
    meta_free(&database->meta);
    log_close(database->log);
    log_close(database->incoming.log);
    for (unsigned i = 0; i < database->retired_count; i++)
        log_close(database->retired[i]);
    os_close(&database->main_file);
    pthread_mutex_destroy(&database->lock);
    free(database->backing);
    free(database->name);
    free(database);
}

struct database *database_ref(struct database *database)
{
    int before = atomic_fetch_add(&database->references, 1);

    ASSERT(before > 0);
    return database;
}

void database_unref(struct database *database)
{
    if (database == NULL)
        return;
    if (atomic_fetch_sub(&database->references, 1) == 1)
        database_free(database);
}

const char *database_name(const struct database *database)
{
    return database->name;
}

int catalog_create_files(struct database *database)
{
    int dirfd = database->catalog->config.data_fd;
    struct log_found found;
    char path[96];
    int rc = os_mkdir(dirfd, database->directory, 0700, SITE_CATALOG_ADD);

    snprintf(path, sizeof path, "%s/log", database->directory);
    if (rc == 0)
        rc = log_open(&database->log, dirfd, path, &database->lineage, &found);
    if (rc == 0)
        rc = notes_save_meta(database);
    if (rc < 0) { /* all or nothing: it is tried again */
        log_close(database->log);
        database->log = NULL;
    }
    return rc;
}

/* ---- tables -------------------------------------------------------------- */

static struct list *bucket(struct catalog *catalog, const char *name)
{
    return &catalog->names[XXH3_64bits(name, strlen(name)) % CATALOG_BUCKETS];
}

static struct database *find_locked(struct catalog *catalog, const char *name)
{
    struct list *head = bucket(catalog, name), *link, *safe;

    LIST_EACH(link, safe, head)
    {
        struct database *database = LIST_ENTRY(link, struct database,
                                               name_link);

        if (strcmp(database->name, name) == 0)
            return database;
    }
    return NULL;
}

/* The newest database that had the name and is not done dropping; NULL. */
static struct database *find_nameless(struct catalog *catalog, const char *name)
{
    struct database *found = NULL;
    struct list *link, *safe;

    if (catalog->nameless == 0)
        return NULL;
    LIST_EACH(link, safe, &catalog->all)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (list_is_empty(&database->name_link) &&
            strcmp(database->name, name) == 0)
            found = database;
    }
    return found;
}

/* Who takes a name after another goes to the same worker: the drop comes
 * first, here and in what the loop hears. */
static void worker_choose(struct catalog *catalog, struct database *database)
{
    struct database *before = find_nameless(catalog, database->name);

    if (before == NULL) {
        database->worker =
            &catalog->workers[catalog->next_worker++ % catalog->workers_count];
        return;
    }
    database->worker = before->worker;
    if (catalog->config.role == DATABASE_REPLICA)
        database->after = database_ref(before);
}

int catalog_add(struct catalog *catalog, struct database *database)
{
    int rc = 0;

    pthread_mutex_lock(&catalog->lock);
    if (find_locked(catalog, database->name) != NULL) {
        rc = -EEXIST;
    } else {
        worker_choose(catalog, database);
        list_push_back(&catalog->all, &database->link);
        list_push_back(bucket(catalog, database->name), &database->name_link);
        database_ref(database);
    }
    pthread_mutex_unlock(&catalog->lock);
    return rc;
}

void catalog_remove_name(struct database *database)
{
    struct catalog *catalog = database->catalog;

    pthread_mutex_lock(&catalog->lock);
    catalog->nameless += !list_is_empty(&database->name_link);
    list_remove(&database->name_link);
    pthread_mutex_unlock(&catalog->lock);
}

void catalog_remove(struct database *database)
{
    struct catalog *catalog = database->catalog;
    bool ours;

    pthread_mutex_lock(&catalog->lock);
    ours = !list_is_empty(&database->link);
    catalog->nameless -= ours && list_is_empty(&database->name_link);
    list_remove(&database->name_link);
    list_remove(&database->link);
    pthread_mutex_unlock(&catalog->lock);
    if (ours)
        database_unref(database);
}

struct database *catalog_find(struct catalog *catalog, const char *name)
{
    struct database *database;

    pthread_mutex_lock(&catalog->lock);
    database = find_locked(catalog, name);
    if (database != NULL)
        database_ref(database);
    pthread_mutex_unlock(&catalog->lock);
    return database;
}

struct database *catalog_find_lineage(struct catalog *catalog,
                                      const struct lineage *lineage)
{
    struct database *found = NULL;
    struct list *link, *safe;

    pthread_mutex_lock(&catalog->lock);
    LIST_EACH(link, safe, &catalog->all)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (found == NULL && lineage_is_equal(&database->lineage, lineage))
            found = database_ref(database);
    }
    pthread_mutex_unlock(&catalog->lock);
    return found;
}

static bool is_dropped(struct database *database)
{
    bool dropped;

    pthread_mutex_lock(&database->lock);
    dropped = database->view.state == DATABASE_DROPPED;
    pthread_mutex_unlock(&database->lock);
    return dropped;
}

void catalog_each(struct catalog *catalog,
                  void (*visit)(void *context, struct database *database),
                  void *context)
{
    struct list *link, *safe;

    pthread_mutex_lock(&catalog->lock);
    LIST_EACH(link, safe, &catalog->all)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (!is_dropped(database))
            visit(context, database);
    }
    pthread_mutex_unlock(&catalog->lock);
}

/* ---- tombstones ---------------------------------------------------------- */

void catalog_bury(struct catalog *catalog, const struct lineage *lineage)
{
    struct lineage *grown;

    pthread_mutex_lock(&catalog->lock);
    grown = realloc(catalog->dropped,
                    (catalog->dropped_count + 1) * sizeof *grown);
    if (grown != NULL) {
        catalog->dropped = grown;
        grown[catalog->dropped_count++] = *lineage;
    }
    pthread_mutex_unlock(&catalog->lock);
}

bool catalog_is_dropped(struct catalog *catalog, const struct lineage *lineage)
{
    bool found = false;

    pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < catalog->dropped_count && !found; i++)
        found = lineage_is_equal(&catalog->dropped[i], lineage);
    pthread_mutex_unlock(&catalog->lock);
    return found;
}

/* ---- life ---------------------------------------------------------------- */

static int workers_open(struct catalog *catalog)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = catalog->config.workers;
    int rc = 0;

    if (count == 0)
        count = cores < 1 ? 1 : (unsigned)cores;
    if (count > WORKERS_MAX)
        count = WORKERS_MAX;
    catalog->workers = calloc(count, sizeof *catalog->workers);
    if (catalog->workers == NULL)
        return site_fail(SITE_CATALOG_OPEN, NULL, ENOMEM);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = worker_open(&catalog->workers[i], catalog, i);
        catalog->workers_count++;
    }
    return rc;
}

static int directories_make(struct catalog *catalog)
{
    int dirfd = catalog->config.data_fd;
    int rc = os_mkdir(dirfd, "files", 0755, SITE_CATALOG_OPEN);

    if (rc == 0)
        rc = os_mkdir(dirfd, "db", 0700, SITE_CATALOG_OPEN);
    if (rc == 0)
        rc = os_mkdir(dirfd, "lost", 0700, SITE_CATALOG_OPEN);
    return rc;
}

int catalog_open(struct catalog **ret_catalog,
                 const struct catalog_config *config)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    int rc;

    if (catalog == NULL)
        return site_fail(SITE_CATALOG_OPEN, NULL, ENOMEM);
    catalog->config = *config;
    atomic_init(&catalog->log_level, BUDGET_NONE);
    pthread_mutex_init(&catalog->lock, NULL);
    list_init(&catalog->all);
    list_init(&catalog->changed);
    list_init(&catalog->done);
    for (unsigned i = 0; i < CATALOG_BUCKETS; i++)
        list_init(&catalog->names[i]);
    rc = directories_make(catalog);
    if (rc == 0)
        rc = lost_load(catalog);
    if (rc == 0)
        rc = workers_open(catalog);
    if (rc == 0)
        rc = epoch_load(catalog);
    if (rc == 0)
        rc = recover_all(catalog);
    if (rc == 0)
        rc = discover_all(catalog);
    if (rc == 0 && !config->asks)
        rc = epoch_renew(catalog);
    if (rc < 0) {
        catalog_close(catalog);
        return rc;
    }
    *ret_catalog = catalog;
    return 0;
}

static void wake_all(void *context, struct database *database)
{
    (void)context;
    notes_wake(database);
}

static int workers_start(struct catalog *catalog)
{
    int rc = 0;

    for (unsigned i = 0; i < catalog->workers_count && rc == 0; i++)
        rc = worker_start(&catalog->workers[i]);
    catalog->started = rc == 0;
    return rc;
}

static void explained_note(void *context, struct database *database)
{
    (void)context;
    database->view.unexplained = database->log == NULL ||
                                 database->view.state != DATABASE_CLOSED ||
                                 (database->view.position.txid > 0 &&
                                  database->hashes.count == 0);
}

static bool is_empty_locked(const struct catalog *catalog)
{
    return list_is_empty(&catalog->all) && catalog->dropped_count == 0 &&
           catalog->missing_count == 0;
}

bool catalog_is_empty(struct catalog *catalog)
{
    bool empty;

    pthread_mutex_lock(&catalog->lock);
    empty = is_empty_locked(catalog);
    pthread_mutex_unlock(&catalog->lock);
    return empty;
}

/* Whoever comes to be in the catalog from here on finds that it asks. */
static int ask_empty(struct catalog *catalog)
{
    bool empty;

    pthread_mutex_lock(&catalog->lock);
    empty = is_empty_locked(catalog);
    if (empty)
        atomic_store(&catalog->asking, true);
    pthread_mutex_unlock(&catalog->lock);
    return empty ? 0 : -EBUSY;
}

int catalog_ask(struct catalog *catalog)
{
    if (catalog->started)
        return ask_empty(catalog);
    ASSERT(catalog->config.asks);
    catalog_each(catalog, explained_note, NULL);
    atomic_store(&catalog->asking, true);
    return workers_start(catalog);
}

int catalog_start(struct catalog *catalog, bool passthrough)
{
    int rc = 0;

    catalog->passthrough = passthrough;
    if (atomic_load(&catalog->asking))
        rc = epoch_renew(catalog);
    if (rc == 0 && !catalog->started)
        rc = workers_start(catalog);
    if (rc < 0)
        return rc;
    atomic_store(&catalog->asking, false);
    catalog_each(catalog, wake_all, NULL); /* what recovery left to do */
    return 0;
}

static void stop_one(void *context, struct database *database)
{
    (void)context;
    notes_post(database, note_new(NOTE_STOP));
}

/* Everybody who still waits gets an answer. Whoever comes later finds
 * catalog->stopped. */
static void parked_release(void *context, struct database *database)
{
    struct list all, *link;

    (void)context;
    list_init(&all);
    pthread_mutex_lock(&database->lock);
    list_splice(&all, &database->ready);
    list_splice(&all, &database->waiting);
    list_splice(&all, &database->parked);
    pthread_mutex_unlock(&database->lock);
    while ((link = list_pop(&all)) != NULL) {
        struct parked *parked = LIST_ENTRY(link, struct parked, link);

        parked->on_done(parked, -EIO);
    }
}

/* The loop gets back what it asked for. */
static void held_release(void *context, struct database *database)
{
    (void)context;
    held_forget(database);
}

/* A primary's files are as they were when it let go of them, not as they are
 * now: an application may have written since. */
static void stopped_mark_clean(void *context, struct database *database)
{
    if (database->catalog->config.role == DATABASE_REPLICA ||
        !(database->meta.flags & META_CLEAN))
        recover_mark_clean(context, database);
}

void catalog_stop(struct catalog *catalog)
{
    if (!catalog->started)
        return;
    catalog->started = false;
    catalog_each(catalog, stop_one, NULL);
    for (unsigned i = 0; i < catalog->workers_count; i++)
        worker_stop(&catalog->workers[i]);
    atomic_store(&catalog->stopped, true);
    catalog_each(catalog, parked_release, NULL);
    catalog_each(catalog, held_release, NULL);
    catalog_each(catalog, stopped_mark_clean, NULL);
    catalog_dispatch(catalog); /* the loop gets its requests back */
}

void catalog_close(struct catalog *catalog)
{
    struct list *link;

    if (catalog == NULL)
        return;
    while ((link = list_pop(&catalog->changed)) != NULL)
        database_unref(LIST_ENTRY(link, struct database, changed_link));
    while ((link = list_pop(&catalog->all)) != NULL) {
        struct database *database = LIST_ENTRY(link, struct database, link);

        list_remove(&database->name_link);
        /* A commit after the worker had ended: not captured. */
        if (!list_is_empty(&database->notes))
            (void)recover_unmark_clean(database);
        database_unref(database);
    }
    for (unsigned i = 0; i < catalog->workers_count; i++)
        worker_close(&catalog->workers[i]);
    free(catalog->workers);
    free(catalog->dropped);
    lost_free(catalog);
    missing_free(catalog);
    pthread_mutex_destroy(&catalog->lock);
    free(catalog);
}

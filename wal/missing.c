/* SPDX-License-Identifier: Apache-2.0 */
/* wal/missing.c - see missing.h. The list is under the catalog's lock. */
#include "wal/missing.h"

#include "wal/catalog.h"
#include "wal/lost.h"
#include "wal/remains.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char missing_text[] =
    "its file was gone from data/files when this node started: replicas keep "
    "theirs. Stop the node and put the file back (tidemark export on a replica "
    "makes one), or create a database of this name anew and delete that";

void missing_add(struct catalog *catalog, const struct meta *meta)
{
    struct missing one = {.name = strdup(meta->name), .lineage = meta->lineage};
    struct missing *grown = realloc(catalog->missing,
                                    (catalog->missing_count + 1) * sizeof one);

    if (grown != NULL)
        catalog->missing = grown;
    if (grown != NULL && one.name != NULL)
        grown[catalog->missing_count++] = one;
    else
        free(one.name); /* it is told below, and not shown in `status` */
    if (catalog->config.on_event != NULL)
        catalog->config.on_event(catalog->config.context, DATABASE_EVENT_FAILED,
                                 meta->name, missing_text);
}

static bool take(struct catalog *catalog, const char *name,
                 struct missing *ret_missing)
{
    bool found = false;

    pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < catalog->missing_count && !found; i++) {
        found = strcmp(catalog->missing[i].name, name) == 0;
        if (!found)
            continue;
        *ret_missing = catalog->missing[i];
        catalog->missing[i] = catalog->missing[--catalog->missing_count];
    }
    pthread_mutex_unlock(&catalog->lock);
    return found;
}

/* Not buried: whoever asks again finds it. The list had room for it. */
static void put_back(struct catalog *catalog, const struct missing *missing)
{
    pthread_mutex_lock(&catalog->lock);
    catalog->missing[catalog->missing_count++] = *missing;
    pthread_mutex_unlock(&catalog->lock);
}

/* Its folder becomes a tombstone; its log is kept. */
static int bury(struct database *old)
{
    struct catalog *catalog = old->catalog;
    struct lost_what what = lost_of(old, "log",
                                    "its file was gone, and a new database "
                                    "took its name");
    char path[96];
    int rc;

    meta_free(&old->meta);
    rc = meta_load(&old->meta, catalog->config.data_fd, old->directory);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof path, "%s/log", old->directory);
    rc = lost_move(catalog, &what, path, NULL);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    old->meta.flags |= META_DROPPED;
    rc = meta_save(&old->meta, catalog->config.data_fd, old->directory);
    if (rc < 0)
        return rc;
    remains_remove_files(catalog->config.data_fd, old->directory);
    catalog_bury(catalog, &old->lineage);
    return 0;
}

int missing_end(struct database *database)
{
    struct catalog *catalog = database->catalog;
    struct database *old;
    struct missing missing;
    int rc;

    ASSERT_ON_WORKER();
    if (!take(catalog, database->name, &missing))
        return 0;
    old = catalog_make(catalog, missing.name, &missing.lineage);
    rc = old == NULL ? site_fail(SITE_CATALOG_ADD, database->name, ENOMEM)
                     : bury(old);
    database_unref(old);
    if (rc < 0)
        put_back(catalog, &missing);
    else
        free(missing.name);
    return rc;
}

bool missing_has(struct catalog *catalog, const char *name)
{
    bool found = false;

    pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < catalog->missing_count && !found; i++)
        found = strcmp(catalog->missing[i].name, name) == 0;
    pthread_mutex_unlock(&catalog->lock);
    return found;
}

size_t catalog_each_missing(struct catalog *catalog,
                            void (*visit)(void *context, const char *name,
                                          const char *text),
                            void *context)
{
    size_t count;

    pthread_mutex_lock(&catalog->lock);
    count = catalog->missing_count;
    for (size_t i = 0; i < count && i < CATALOG_MISSING_SHOWN; i++)
        visit(context, catalog->missing[i].name, missing_text);
    pthread_mutex_unlock(&catalog->lock);
    return count;
}

void missing_free(struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->missing_count; i++)
        free(catalog->missing[i].name);
    free(catalog->missing);
}

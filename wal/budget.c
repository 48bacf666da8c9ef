/* SPDX-License-Identifier: Apache-2.0 */
/* wal/budget.c - see budget.h. */
#include "wal/budget.h"

#include "base/clock.h"
#include "wal/notes.h"

#include <stdlib.h>

#define SEGMENTS_LEAST 4                    /* in a log that is at the level */
#define ROOM(total) ((total) - (total) / 8) /* trimmed to, so that it lasts */

static int size_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t budget_level(uint64_t *sizes, size_t count, uint64_t total)
{
    uint64_t left = total;

    qsort(sizes, count, sizeof *sizes, size_compare);
    for (size_t i = 0; i < count; i++) {
        uint64_t share = left / (count - i);

        if (sizes[i] > share)
            return share; /* this one and all larger ones */
        left -= sizes[i];
    }
    return BUDGET_NONE;
}

void budget_count(struct database *database)
{
    uint64_t now = database->log == NULL ? 0 : log_bytes(database->log);
    uint64_t level = atomic_load(&database->catalog->log_level);

    atomic_fetch_add(&database->catalog->log_total,
                     now - database->log_counted);
    database->log_counted = now;
    if (database->log != NULL)
        log_limit_segments(database->log,
                           level == BUDGET_NONE ? 0 : level / SEGMENTS_LEAST);
}

void budget_forget(struct database *database)
{
    atomic_fetch_sub(&database->catalog->log_total, database->log_counted);
    database->log_counted = 0;
}

uint64_t budget_limit(struct catalog *catalog)
{
    uint64_t level = atomic_load(&catalog->log_level);

    return level < catalog->config.log_retain_bytes
               ? level
               : catalog->config.log_retain_bytes;
}

struct sizes {
    uint64_t *of;
    size_t count, capacity;
};

static void size_take(void *context, struct database *database)
{
    struct sizes *sizes = context;

    if (sizes->count == sizes->capacity)
        return; /* one that came just now */
    pthread_mutex_lock(&database->lock);
    sizes->of[sizes->count++] = database->view.log_bytes;
    pthread_mutex_unlock(&database->lock);
}

static void wake_above(void *context, struct database *database)
{
    const uint64_t *level = context;
    bool above;

    pthread_mutex_lock(&database->lock);
    above = database->view.log_bytes > *level;
    pthread_mutex_unlock(&database->lock);
    if (above)
        notes_wake(database);
}

static void one_more(void *context, struct database *database)
{
    (void)database;
    ++*(size_t *)context;
}

static void level_find(struct catalog *catalog)
{
    uint64_t budget = catalog->config.log_total_bytes, level;
    struct sizes sizes = {0};

    catalog_each(catalog, one_more, &sizes.capacity);
    sizes.of = calloc(sizes.capacity + 1, sizeof *sizes.of);
    if (sizes.of == NULL)
        return; /* in a second again */
    catalog_each(catalog, size_take, &sizes);
    level = budget_level(sizes.of, sizes.count, ROOM(budget));
    free(sizes.of);
    atomic_store(&catalog->log_level, level);
    catalog_each(catalog, wake_above, &level);
}

void budget_step(struct catalog *catalog)
{
    uint64_t budget = catalog->config.log_total_bytes;
    uint64_t total = atomic_load(&catalog->log_total), now, due;

    if (budget == 0)
        return;
    if (total <= budget) {
        if (total < ROOM(budget) / 2) /* long below it: no level any more */
            atomic_store(&catalog->log_level, BUDGET_NONE);
        return;
    }
    now = clock_now_ns();
    due = atomic_load(&catalog->log_level_due_ns);
    /* Of several workers one. */
    if (now >= due && atomic_compare_exchange_strong(&catalog->log_level_due_ns,
                                                     &due, now + NS_PER_S))
        level_find(catalog);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/stuck.c - see stuck.h. */
#include "wal/stuck.h"

#include "wal/catalog.h"
#include "wal/notes.h"
#include "wal/primary.h"

#include <errno.h>

/* One database after the other: answers and events are given without the
 * catalog's lock. */
struct search {
    struct worker *worker;
    uint64_t until_ns;      /* who is parked since then at the latest */
    struct database *found; /* with a reference; NULL: no more */
    struct list parked;
};

/* Only for an FSYNC does the kernel hold a lock. */
static void take_syncs(struct search *search, struct list *from)
{
    struct list *link, *safe, *to = &search->parked;

    LIST_EACH(link, safe, from)
    {
        struct parked *parked = LIST_ENTRY(link, struct parked, link);

        if ((parked->what != PARKED_FSYNC_WAL &&
             parked->what != PARKED_FSYNC_MAIN) ||
            parked->since_ns > search->until_ns)
            continue;
        list_remove(link);
        list_push_back(to, link);
    }
}

static void search_one(void *context, struct database *database)
{
    struct search *search = context;

    if (search->found != NULL || database->worker != search->worker)
        return;
    pthread_mutex_lock(&database->lock);
    take_syncs(search, &database->ready);
    take_syncs(search, &database->waiting);
    take_syncs(search, &database->parked);
    pthread_mutex_unlock(&database->lock);
    if (!list_is_empty(&search->parked))
        search->found = database_ref(database);
}

void stuck_answer(struct worker *worker)
{
    struct search search = {.worker = worker,
                            .until_ns = clock_now_ns() - STUCK_NS};
    struct list *link;

    list_init(&search.parked);
    do {
        search.found = NULL;
        catalog_each(worker->catalog, search_one, &search);
        while ((link = list_pop(&search.parked)) != NULL) {
            struct parked *parked = LIST_ENTRY(link, struct parked, link);

            parked->on_done(parked, -EIO);
        }
        if (search.found != NULL)
            notes_event(search.found, DATABASE_EVENT_REFUSED,
                        "a sync failed: the node waited for the mount for "
                        "too long (somebody deletes or renames the file that "
                        "is synced, or the disk stands still)");
        database_unref(search.found);
    } while (search.found != NULL);
}

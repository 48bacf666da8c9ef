/* SPDX-License-Identifier: Apache-2.0 */
/* node/waits.c - see waits.h. */
#include "node/waits.h"

#include "base/clock.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>

#define NEVER UINT64_MAX /* a TXID nobody reaches: until judged anew */

/* Those who wait for one database, known or not. */
struct wait_room {
    struct list link;
    struct wait_queue queue;
    struct list waiters;
    struct lineage lineage; /* what all who are parked were judged by */
    epoch_t epoch;
    char name[];
};

static struct wait_room *room_find(struct waits *waits, const char *name)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &waits->rooms)
    {
        struct wait_room *room = LIST_ENTRY(link, struct wait_room, link);

        if (strcmp(room->name, name) == 0)
            return room;
    }
    return NULL;
}

static struct wait_room *room_make(struct waits *waits, const char *name)
{
    size_t size = strlen(name) + 1;
    struct wait_room *room = calloc(1, sizeof *room + size);

    if (room == NULL)
        return NULL;
    memcpy(room->name, name, size);
    wait_init(&room->queue);
    list_init(&room->waiters);
    list_push_back(&waits->rooms, &room->link);
    return room;
}

/* The last one who waited closes the door. */
static void room_free_if_empty(struct wait_room *room)
{
    if (!list_is_empty(&room->waiters))
        return;
    list_remove(&room->link);
    wait_close(&room->queue);
    free(room);
}

static void done(struct waits *waits, struct waiter *waiter, int rc)
{
    struct wait_room *room = waiter->room;

    if (room != NULL) {
        wait_remove(&room->queue, &waiter->entry);
        list_remove(&waiter->link);
        waiter->room = NULL;
        waits->count--;
    }
    waits->reached += rc == 0;
    waits->timed_out += rc == -ETIMEDOUT;
    waits->lost += rc == -ESTALE;
    waits->unknown += rc == -EINVAL;
    waiter->on_done(waiter, rc);
}

static void on_entry_done(struct wait_entry *entry, int rc)
{
    struct waiter *waiter = CONTAINER_OF(entry, struct waiter, entry);

    done(waiter->waits, waiter, rc);
}

static void on_timer(uv_timer_t *timer);

/* One timer for the earliest deadline of all rooms. */
static void timer_arm(struct waits *waits)
{
    uint64_t earliest = WAIT_FOREVER, now = clock_now_ns();
    struct list *link, *safe;

    LIST_EACH(link, safe, &waits->rooms)
    {
        uint64_t next = wait_next_deadline(
            &LIST_ENTRY(link, struct wait_room, link)->queue);

        if (next < earliest)
            earliest = next;
    }
    if (earliest == WAIT_FOREVER) {
        uv_timer_stop(&waits->timer);
        return;
    }
    /* Up to the next millisecond: never early, or it would spin. */
    uv_timer_start(&waits->timer, on_timer,
                   earliest <= now ? 0 : (earliest - now) / NS_PER_MS + 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct waits *waits = CONTAINER_OF(timer, struct waits, timer);
    uint64_t now = clock_now_ns();
    struct list *link, *safe;

    LIST_EACH(link, safe, &waits->rooms)
    {
        struct wait_room *room = LIST_ENTRY(link, struct wait_room, link);

        wait_expire(&room->queue, now);
        room_free_if_empty(room);
    }
    timer_arm(waits);
}

void waits_open(struct waits *waits, uv_loop_t *loop, struct catalog *catalog)
{
    *waits = (struct waits){.catalog = catalog};
    list_init(&waits->rooms);
    uv_timer_init(loop, &waits->timer);
}

/* Judges a token on the database as it is; parks it when there is hope. */
static void judge(struct waiter *waiter, const struct database_view *view,
                  const struct history *history)
{
    static const struct lineage no_lineage;
    static const struct history no_history;
    struct wait_room *room = waiter->room;
    bool known = view != NULL;
    epoch_t last = known ? history_last(history) : 0;
    txid_t txid = waiter->token.txid;
    int rc = 0;

    switch (token_judge(&waiter->token, known ? &view->lineage : &no_lineage,
                        known ? history : &no_history,
                        known ? view->position.txid : 0)) {
    case TOKEN_REACHED:
        done(waiter->waits, waiter, 0);
        return;
    case TOKEN_LOST:
        done(waiter->waits, waiter, -ESTALE);
        return;
    case TOKEN_UNKNOWN:
        done(waiter->waits, waiter, -EINVAL);
        return;
    case TOKEN_WAIT:
        break;
    }
    /* An epoch we have not heard of: only a new history can tell. */
    if (!known || waiter->token.epoch > last)
        txid = NEVER;
    rc = wait_add(&room->queue, &waiter->entry, txid, waiter->deadline_ns,
                  on_entry_done);
    if (rc < 0)
        done(waiter->waits, waiter, -EBUSY);
}

/* False: what readers see is no beginning of the history that tokens are judged
 * by. After a start, programs of before it may see less than the log has; and a
 * copy on its way brings its history first, what it replaces may be of another
 * branch, with higher TXIDs. */
static bool shows_its_position(const struct database_view *view,
                               const struct history *history)
{
    const struct position *position = &view->position;

    return view->state != DATABASE_HELD_BACK &&
           (position->txid == 0 ||
            history_epoch_of(history, position->txid) == position->epoch);
}

/* The database of a room as it is now; false: not heard of. */
static bool room_look(struct waits *waits, const struct wait_room *room,
                      struct database_view *ret_view,
                      struct history *ret_history)
{
    struct database *database = catalog_find(waits->catalog, room->name);
    bool known = false;

    /* In this order: a history that is older than the position would not know
     * its epoch. */
    if (database != NULL) {
        database_view(database, ret_view);
        known = database_history(database, ret_history) == 0;
    }
    if (known && !shows_its_position(ret_view, ret_history))
        ret_view->position.txid = 0;
    database_unref(database);
    return known;
}

/* With a new history every token is judged anew, by whoever sees it first. */
static bool room_judge(struct wait_room *room, const struct database_view *view,
                       const struct history *history)
{
    struct list *link, *safe;

    if (room->epoch == history_last(history) &&
        lineage_is_equal(&room->lineage, &view->lineage))
        return false;
    room->lineage = view->lineage;
    room->epoch = history_last(history);
    LIST_EACH(link, safe, &room->waiters)
    {
        struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);

        wait_remove(&room->queue, &waiter->entry);
        judge(waiter, view, history);
    }
    return true;
}

void waits_begin(struct waits *waits, struct waiter *waiter,
                 const char *database, const char *token, size_t token_size,
                 uint64_t timeout_ms)
{
    struct wait_room *room = room_find(waits, database);
    struct history history = {0};
    struct database_view view;
    bool known;

    ASSERT_ON_LOOP();
    waiter->waits = waits;
    waiter->room = NULL;
    waiter->entry = (struct wait_entry){0};
    if (token_parse(token, token_size, &waiter->token) < 0) {
        done(waits, waiter, -EINVAL);
        return;
    }
    if (room == NULL && !waits->closing)
        room = room_make(waits, database);
    if (room == NULL) {
        done(waits, waiter, waits->closing ? -ECANCELED : -ENOMEM);
        return;
    }
    waiter->room = room;
    waiter->deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    list_push_back(&room->waiters, &waiter->link);
    waits->count++;
    known = room_look(waits, room, &view, &history);
    if (!known || !room_judge(room, &view, &history))
        judge(waiter, known ? &view : NULL, &history);
    history_free(&history);
    room_free_if_empty(room);
    timer_arm(waits);
}

void waits_cancel(struct waits *waits, struct waiter *waiter)
{
    struct wait_room *room = waiter->room;

    if (room == NULL)
        return;
    done(waits, waiter, -ECANCELED);
    room_free_if_empty(room);
}

void waits_changed(struct waits *waits, struct database *database)
{
    struct wait_room *room = room_find(waits, database_name(database));
    struct history history = {0};
    struct database_view view;

    ASSERT_ON_LOOP();
    if (room == NULL)
        return;
    if (room_look(waits, room, &view, &history)) {
        (void)room_judge(room, &view, &history);
        wait_advance(&room->queue, view.position.txid);
    }
    history_free(&history);
    room_free_if_empty(room);
}

void waits_each(const struct waits *waits,
                void (*visit)(void *context, const char *name, size_t count),
                void *context)
{
    struct list *link;

    ASSERT_ON_LOOP();
    for (link = waits->rooms.next; link != &waits->rooms; link = link->next) {
        const struct wait_room *room = LIST_ENTRY(link, struct wait_room, link);

        visit(context, room->name, wait_count(&room->queue));
    }
}

void waits_close(struct waits *waits)
{
    struct list *link, *safe, *one, *next;

    waits->closing = true;
    LIST_EACH(link, safe, &waits->rooms)
    {
        struct wait_room *room = LIST_ENTRY(link, struct wait_room, link);

        LIST_EACH(one, next, &room->waiters)
        done(waits, LIST_ENTRY(one, struct waiter, link), -ECANCELED);
        room_free_if_empty(room);
    }
    uv_close((uv_handle_t *)&waits->timer, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* node/doorway.c - see doorway.h. */
#include "node/doorway.h"

#include "base/assert.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>

/* One program in open(). */
struct visitor {
    struct list link; /* arrived, then waiting */
    struct waiter waiter;
    struct doorway *doorway;
    struct mount_wait *wait;
    uint64_t id;
    size_t token_size;
    char *token;     /* into text */
    char database[]; /* and the token behind it */
};

struct cancellation {
    struct list link;
    uint64_t id;
};

static void visitor_leave(struct visitor *visitor, int rc)
{
    struct doorway *doorway = visitor->doorway;

    pthread_mutex_lock(&doorway->lock);
    doorway->count--;
    pthread_mutex_unlock(&doorway->lock);
    list_remove(&visitor->link);
    visitor->wait->on_done(visitor->wait, rc);
    free(visitor);
}

static void on_waiter_done(struct waiter *waiter, int rc)
{
    visitor_leave(CONTAINER_OF(waiter, struct visitor, waiter),
                  rc == -ECANCELED ? -EINTR : rc);
}

static void arrived_begin(struct doorway *doorway, struct list *arrived)
{
    struct list *link;

    while ((link = list_pop(arrived)) != NULL) {
        struct visitor *visitor = LIST_ENTRY(link, struct visitor, link);

        list_push_back(&doorway->waiting, &visitor->link);
        visitor->waiter.on_done = on_waiter_done;
        waits_begin(doorway->waits, &visitor->waiter, visitor->database,
                    visitor->token, visitor->token_size, DOORWAY_TIMEOUT_MS);
    }
}

static void cancel_one(struct doorway *doorway, uint64_t id)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &doorway->waiting)
    {
        struct visitor *visitor = LIST_ENTRY(link, struct visitor, link);

        if (visitor->id == id) {
            waits_cancel(doorway->waits, &visitor->waiter);
            return;
        }
    }
}

static void on_async(uv_async_t *async)
{
    struct doorway *doorway = CONTAINER_OF(async, struct doorway, async);
    struct list arrived, canceled, *link;

    list_init(&arrived);
    list_init(&canceled);
    pthread_mutex_lock(&doorway->lock);
    list_splice(&arrived, &doorway->arrived);
    list_splice(&canceled, &doorway->canceled);
    pthread_mutex_unlock(&doorway->lock);
    arrived_begin(doorway, &arrived);
    while ((link = list_pop(&canceled)) != NULL) {
        struct cancellation *one = LIST_ENTRY(link, struct cancellation, link);

        cancel_one(doorway, one->id);
        free(one);
    }
}

int doorway_open(struct doorway *doorway, uv_loop_t *loop, struct waits *waits)
{
    *doorway = (struct doorway){.waits = waits};
    pthread_mutex_init(&doorway->lock, NULL);
    list_init(&doorway->arrived);
    list_init(&doorway->canceled);
    list_init(&doorway->waiting);
    return uv_async_init(loop, &doorway->async, on_async);
}

void doorway_close(struct doorway *doorway)
{
    ASSERT_ON_LOOP();
    pthread_mutex_lock(&doorway->lock);
    doorway->closed = true;
    pthread_mutex_unlock(&doorway->lock);
    on_async(&doorway->async); /* waits_close() ends them all */
    uv_close((uv_handle_t *)&doorway->async, NULL);
}

int doorway_wait(struct doorway *doorway, const char *database,
                 const char *token, size_t token_size, struct mount_wait *wait)
{
    size_t name_size = strlen(database) + 1;
    struct visitor *visitor = malloc(sizeof *visitor + name_size + token_size +
                                     1);
    int rc = 0;

    if (visitor == NULL)
        return -ENOMEM;
    *visitor = (struct visitor){.doorway = doorway,
                                .wait = wait,
                                .id = wait->id,
                                .token_size = token_size};
    memcpy(visitor->database, database, name_size);
    visitor->token = visitor->database + name_size;
    memcpy(visitor->token, token, token_size);
    pthread_mutex_lock(&doorway->lock);
    if (doorway->closed)
        rc = -EIO;
    else if (doorway->count >= DOORWAY_MAX)
        rc = -EBUSY;
    if (rc == 0) {
        doorway->count++;
        list_push_back(&doorway->arrived, &visitor->link);
        uv_async_send(&doorway->async);
    }
    pthread_mutex_unlock(&doorway->lock);
    if (rc < 0)
        free(visitor);
    return rc;
}

void doorway_cancel(struct doorway *doorway, uint64_t wait_id)
{
    struct cancellation *one = malloc(sizeof *one);

    if (one == NULL)
        return; /* it ends by its deadline */
    one->id = wait_id;
    pthread_mutex_lock(&doorway->lock);
    if (doorway->closed) {
        free(one);
    } else {
        list_push_back(&doorway->canceled, &one->link);
        uv_async_send(&doorway->async);
    }
    pthread_mutex_unlock(&doorway->lock);
}

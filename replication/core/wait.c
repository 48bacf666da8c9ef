/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/wait.c - two binary heaps of pointers. Each entry knows
 * its place in both, so it can be taken out of the middle.
 *
 * Those who are done first move from the heaps to the list `due` and are
 * told from there: an on_done that parks again, or that takes a neighbour
 * back, then meets a queue in order and cannot make the loop endless.
 */
#include "replication/core/wait.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>

#define HEAP_FIRST_CAPACITY 16u

/* ---- heap -----------------------------------------------------------------*/

static bool entry_is_before(enum wait_order order, const struct wait_entry *a,
                            const struct wait_entry *b)
{
    uint64_t left = order == WAIT_BY_TXID ? a->txid : a->deadline_ns;
    uint64_t right = order == WAIT_BY_TXID ? b->txid : b->deadline_ns;

    return left < right || (left == right && a->arrival < b->arrival);
}

static void heap_put(struct wait_heap *heap, enum wait_order order,
                     size_t index, struct wait_entry *entry)
{
    heap->entries[index] = entry;
    entry->place[order] = index + 1;
}

static void heap_rise(struct wait_heap *heap, enum wait_order order,
                      size_t index)
{
    struct wait_entry *entry = heap->entries[index];

    while (index > 0) {
        size_t parent = (index - 1) / 2;

        if (!entry_is_before(order, entry, heap->entries[parent]))
            break;
        heap_put(heap, order, index, heap->entries[parent]);
        index = parent;
    }
    heap_put(heap, order, index, entry);
}

static void heap_sink(struct wait_heap *heap, enum wait_order order,
                      size_t index)
{
    struct wait_entry *entry = heap->entries[index];

    for (;;) {
        size_t child = 2 * index + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            entry_is_before(order, heap->entries[child + 1],
                            heap->entries[child]))
            child++;
        if (!entry_is_before(order, heap->entries[child], entry))
            break;
        heap_put(heap, order, index, heap->entries[child]);
        index = child;
    }
    heap_put(heap, order, index, entry);
}

static int heap_reserve(struct wait_heap *heap)
{
    size_t capacity = heap->capacity == 0 ? HEAP_FIRST_CAPACITY
                                          : heap->capacity * 2;
    struct wait_entry **entries;

    if (heap->count < heap->capacity)
        return 0;
    entries = realloc(heap->entries, capacity * sizeof(void *));
    if (entries == NULL)
        return -ENOMEM;
    heap->entries = entries;
    heap->capacity = capacity;
    return 0;
}

static void heap_add(struct wait_heap *heap, enum wait_order order,
                     struct wait_entry *entry)
{
    ASSERT(heap->count < heap->capacity);
    heap->entries[heap->count++] = entry;
    heap_rise(heap, order, heap->count - 1);
}

static void heap_remove(struct wait_heap *heap, enum wait_order order,
                        struct wait_entry *entry)
{
    size_t index = entry->place[order] - 1;
    struct wait_entry *last = heap->entries[heap->count - 1];

    ASSERT(index < heap->count && heap->entries[index] == entry);
    entry->place[order] = 0;
    heap->count--;
    if (last == entry)
        return;
    /* The last one fills the hole; it may belong above it or below. */
    heap_put(heap, order, index, last);
    heap_rise(heap, order, index);
    heap_sink(heap, order, last->place[order] - 1);
}

static struct wait_entry *heap_first(const struct wait_heap *heap)
{
    return heap->count == 0 ? NULL : heap->entries[0];
}

/* ---- queue ----------------------------------------------------------------*/

void wait_init(struct wait_queue *queue)
{
    *queue = (struct wait_queue){0};
    list_init(&queue->due);
}

void wait_close(struct wait_queue *queue)
{
    ASSERT(wait_count(queue) == 0 && list_is_empty(&queue->due));
    for (int order = 0; order < WAIT_ORDERS; order++)
        free(queue->heaps[order].entries);
    *queue = (struct wait_queue){0};
}

int wait_add(struct wait_queue *queue, struct wait_entry *entry, txid_t txid,
             uint64_t deadline_ns, wait_on_done on_done)
{
    ASSERT(on_done != NULL);
    if (wait_count(queue) >= WAIT_MAX)
        return -ENOBUFS;
    for (int order = 0; order < WAIT_ORDERS; order++)
        if (heap_reserve(&queue->heaps[order]) < 0)
            return -ENOMEM;
    *entry = (struct wait_entry){
        .txid = txid,
        .deadline_ns = deadline_ns,
        .arrival = queue->arrivals++,
        .on_done = on_done,
    };
    list_init(&entry->due);
    heap_add(&queue->heaps[WAIT_BY_TXID], WAIT_BY_TXID, entry);
    heap_add(&queue->heaps[WAIT_BY_DEADLINE], WAIT_BY_DEADLINE, entry);
    return 0;
}

void wait_remove(struct wait_queue *queue, struct wait_entry *entry)
{
    for (unsigned order = 0; order < WAIT_ORDERS; order++)
        if (entry->place[order] != 0)
            heap_remove(&queue->heaps[order], (enum wait_order)order, entry);
    list_remove(&entry->due);
}

static void queue_take(struct wait_queue *queue, struct wait_entry *entry,
                       int rc)
{
    wait_remove(queue, entry);
    entry->rc = rc;
    list_push_back(&queue->due, &entry->due);
}

static void queue_tell(struct wait_queue *queue)
{
    struct list *link;

    while ((link = list_pop(&queue->due)) != NULL) {
        struct wait_entry *entry = LIST_ENTRY(link, struct wait_entry, due);

        entry->on_done(entry, entry->rc); /* entry is the caller's again */
    }
}

void wait_advance(struct wait_queue *queue, txid_t txid)
{
    const struct wait_heap *heap = &queue->heaps[WAIT_BY_TXID];
    struct wait_entry *entry;

    while ((entry = heap_first(heap)) != NULL && entry->txid <= txid)
        queue_take(queue, entry, 0);
    queue_tell(queue);
}

void wait_expire(struct wait_queue *queue, uint64_t now_ns)
{
    const struct wait_heap *heap = &queue->heaps[WAIT_BY_DEADLINE];
    struct wait_entry *entry;

    /* At WAIT_FOREVER the clock has run out, not the waiter's patience. */
    while ((entry = heap_first(heap)) != NULL && entry->deadline_ns <= now_ns &&
           entry->deadline_ns != WAIT_FOREVER)
        queue_take(queue, entry, -ETIMEDOUT);
    queue_tell(queue);
}

void wait_cancel_all(struct wait_queue *queue, int rc)
{
    struct wait_entry *entry;

    ASSERT(rc < 0);
    while ((entry = heap_first(&queue->heaps[WAIT_BY_TXID])) != NULL)
        queue_take(queue, entry, rc);
    queue_tell(queue);
}

uint64_t wait_next_deadline(const struct wait_queue *queue)
{
    const struct wait_entry *first = heap_first(
        &queue->heaps[WAIT_BY_DEADLINE]);

    return first == NULL ? WAIT_FOREVER : first->deadline_ns;
}

size_t wait_count(const struct wait_queue *queue)
{
    return queue->heaps[WAIT_BY_TXID].count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/list.h - intrusive doubly linked list.
 *
 * The head is a link of its own; an empty list points at itself. A link that
 * is in no list is zeroed or points at itself: list_remove() leaves it so and
 * may be called again. No locks inside: the list's owner says who may touch it.
 */
#ifndef TIDEMARK_BASE_LIST_H
#define TIDEMARK_BASE_LIST_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list || list->next == NULL;
}

static inline void list_push_back(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_remove(struct list *link)
{
    if (link->next == NULL)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* First link, taken out of the list; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *first = head->next;

    if (list_is_empty(head))
        return NULL;
    list_remove(first);
    return first;
}

/* Moves everything from `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(link, type, member) CONTAINER_OF(link, type, member)

/* Walks a list; the current entry may be removed inside the loop. */
#define LIST_EACH(link, safe, head)                                            \
    for ((link) = (head)->next, (safe) = (link)->next; (link) != (head);       \
         (link) = (safe), (safe) = (link)->next)

#endif

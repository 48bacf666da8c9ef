/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/lookup.c - see lookup.h. */
#include "replication/net/lookup.h"

#include "base/assert.h"
#include "base/os.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LOOKUP_FIRST 16u

/* Where key is, or where it belongs. */
static size_t place_of(const struct lookup *lookup, const void *key)
{
    size_t low = 0, high = lookup->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if ((uintptr_t)lookup->entries[middle].key < (uintptr_t)key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct lookup *lookup, size_t place, const void *key)
{
    return place < lookup->count && lookup->entries[place].key == key;
}

void *lookup_find(const struct lookup *lookup, const void *key)
{
    size_t place = place_of(lookup, key);

    return is_at(lookup, place, key) ? lookup->entries[place].value : NULL;
}

static int lookup_grow(struct lookup *lookup)
{
    size_t capacity = lookup->capacity == 0 ? LOOKUP_FIRST
                                            : lookup->capacity * 2;
    struct lookup_entry *entries;
    int rc;

    if (lookup->count < lookup->capacity)
        return 0;
    rc = os_alloc(&entries, capacity * sizeof *entries, SITE_LOOKUP_ALLOC);
    if (rc < 0)
        return rc;
    if (lookup->count > 0)
        memcpy(entries, lookup->entries, lookup->count * sizeof *entries);
    os_free(&lookup->entries);
    lookup->entries = entries;
    lookup->capacity = capacity;
    return 0;
}

int lookup_add(struct lookup *lookup, const void *key, void *value)
{
    size_t place = place_of(lookup, key);
    int rc = lookup_grow(lookup);

    ASSERT(key != NULL && value != NULL && !is_at(lookup, place, key));
    if (rc < 0)
        return rc;
    memmove(lookup->entries + place + 1, lookup->entries + place,
            (lookup->count - place) * sizeof *lookup->entries);
    lookup->entries[place] = (struct lookup_entry){key, value};
    lookup->count++;
    return 0;
}

void lookup_remove(struct lookup *lookup, const void *key)
{
    size_t place = place_of(lookup, key);

    if (!is_at(lookup, place, key))
        return;
    lookup->count--;
    memmove(lookup->entries + place, lookup->entries + place + 1,
            (lookup->count - place) * sizeof *lookup->entries);
}

void lookup_free(struct lookup *lookup)
{
    os_free(&lookup->entries);
    *lookup = (struct lookup){0};
}

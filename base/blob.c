/* SPDX-License-Identifier: Apache-2.0 */
/* base/blob.c - see blob.h. */
#include "base/blob.h"

#include "base/assert.h"

#include <stdlib.h>

struct blob *blob_new(size_t capacity)
{
    struct blob *blob;

    ASSERT(capacity <= SIZE_MAX - sizeof *blob);
    blob = malloc(sizeof *blob + capacity);
    if (blob == NULL)
        return NULL;
    atomic_init(&blob->references, 1);
    blob->size = 0;
    blob->capacity = capacity;
    return blob;
}

struct blob *blob_shrink(struct blob *blob)
{
    struct blob *smaller;

    ASSERT(atomic_load(&blob->references) == 1);
    smaller = realloc(blob, sizeof *blob + blob->size);
    if (smaller == NULL)
        return blob; /* as large as before is no harm */
    smaller->capacity = smaller->size;
    return smaller;
}

struct blob *blob_ref(struct blob *blob)
{
    int before = atomic_fetch_add_explicit(&blob->references, 1,
                                           memory_order_relaxed);

    ASSERT(before > 0);
    return blob;
}

void blob_unref(struct blob *blob)
{
    int before;

    if (blob == NULL)
        return;
    before = atomic_fetch_sub_explicit(&blob->references, 1,
                                       memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1)
        free(blob);
}

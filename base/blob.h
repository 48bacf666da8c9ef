/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/blob.h - immutable bytes shared between threads by reference count.
 *
 * A record is encoded once, then the log and every sender hold the same blob.
 * Its maker may write `data` until it hands the blob to another thread.
 */
#ifndef TIDEMARK_BASE_BLOB_H
#define TIDEMARK_BASE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
    atomic_int references; /* > 0 */
    size_t size;           /* bytes used; <= capacity */
    size_t capacity;
    uint8_t data[];
};

/* A blob with one reference, the caller's; NULL when memory is out. */
struct blob *blob_new(size_t capacity);

/* Gives back the memory behind blob->size; returns where the blob is now.
 * Only its maker, while it holds the one reference. */
struct blob *blob_shrink(struct blob *blob);

/* One more reference to blob; returns blob. Any thread. */
struct blob *blob_ref(struct blob *blob);

/* One reference less; the last one frees. NULL is fine. Any thread. */
void blob_unref(struct blob *blob);

#endif

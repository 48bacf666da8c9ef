/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_blob.c - bytes with several owners. */
#include "base/blob.h"

#include "tests/harness.h"

#include <pthread.h>

TEST(a_new_blob_is_empty_and_has_one_owner)
{
    struct blob *blob = blob_new(100);

    EXPECT_TRUE(blob != NULL);
    EXPECT_EQ(blob->size, 0);
    EXPECT_EQ(blob->capacity, 100);
    EXPECT_EQ(atomic_load(&blob->references), 1);
    memset(blob->data, 7, 100);
    blob_unref(blob);
}

TEST(a_blob_lives_until_its_last_owner_lets_go)
{
    struct blob *blob = blob_new(1);

    EXPECT_TRUE(blob_ref(blob) == blob);
    blob_unref(blob);
    blob->data[0] = 1; /* still ours; a sanitizer would tell */
    EXPECT_EQ(atomic_load(&blob->references), 1);
    blob_unref(blob);
    blob_unref(NULL);
}

TEST(a_capacity_that_cannot_be_is_our_mistake)
{
    EXPECT_ABORT(blob_new(SIZE_MAX));
}

#define OWNERS 4
#define TURNS 20000

static void *own_and_let_go(void *argument)
{
    struct blob *blob = argument;

    for (int i = 0; i < TURNS; i++)
        blob_unref(blob_ref(blob));
    blob_unref(blob);
    return NULL;
}

TEST(owners_on_many_threads_free_it_once)
{
    struct blob *blob = blob_new(10);
    pthread_t threads[OWNERS];

    for (int i = 0; i < OWNERS; i++)
        EXPECT_EQ(
            pthread_create(&threads[i], NULL, own_and_let_go, blob_ref(blob)),
            0);
    for (int i = 0; i < OWNERS; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(atomic_load(&blob->references), 1);
    blob_unref(blob);
}

TEST(letting_go_once_too_often_is_caught)
{
    struct blob *blob = blob_new(10);

    atomic_store(&blob->references, 0);
    EXPECT_ABORT(blob_unref(blob));
    EXPECT_ABORT(blob_ref(blob));
    atomic_store(&blob->references, 1);
    blob_unref(blob);
}

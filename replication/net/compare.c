/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/compare.c - see compare.h. */
#include "replication/net/compare.h"

#include "base/assert.h"

#include <errno.h>

struct compare *compare_new(void)
{
    struct compare *compare;

    return os_alloc(&compare, sizeof *compare, SITE_SUPPLY_ALLOC) < 0 ? NULL
                                                                      : compare;
}

void compare_free(struct compare *compare)
{
    if (compare == NULL)
        return;
    compare_reset(compare);
    blob_unref(compare->hashes);
    os_free(&compare);
}

void compare_reset(struct compare *compare)
{
    while (compare->count > 0)
        blob_unref(compare->queue[--compare->count]);
}

int compare_hear(struct compare *compare, struct blob *body, bool last)
{
    if (compare->count == BODY_HASHES_AHEAD)
        return -EPROTO;
    compare->last[compare->count] = last;
    compare->queue[compare->count++] = blob_ref(body);
    return 0;
}

int compare_is_ready(const struct compare *compare, pgno_t pgno)
{
    struct body_hashes range;

    if (compare->count == 0)
        return 0;
    if (body_hashes_decode(compare->queue[0], &range) < 0 ||
        range.first != pgno || (range.count == 0 && !compare->last[0]))
        return -EPROTO;
    return 1;
}

void compare_take(struct compare *compare, struct database_request *request)
{
    int rc;

    ASSERT(compare->count > 0);
    blob_unref(compare->hashes);
    compare->hashes = compare->queue[0];
    compare->is_last = compare->last[0];
    compare->count--;
    for (unsigned i = 0; i < compare->count; i++) {
        compare->queue[i] = compare->queue[i + 1];
        compare->last[i] = compare->last[i + 1];
    }
    rc = body_hashes_decode(compare->hashes, &compare->range);
    ASSERT(rc == 0); /* compare_is_ready() did it */
    request->kind = DATABASE_COMPARE;
    request->from_pgno = compare->range.first;
    request->hash_count = compare->range.count;
    request->hashes = body_hashes_bytes(compare->hashes);
    request->same = compare->same;
    request->max_bytes = BODY_SAME_BYTES;
}

void compare_skip(struct compare *compare, struct database_request *request)
{
    request->same = compare->same;
    request->same_pgno = compare->range.first;
    request->hash_count = compare->range.count;
}

int compare_answer(const struct compare *compare, struct blob **ret_body)
{
    struct body_same same = {.first = compare->range.first,
                             .count = compare->range.count,
                             .bits = compare->same};

    return body_same_encode(&same, ret_body);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_compare.c - hashes on their way to the worker that compares
 * them: what a peer may send, and what stays while the worker has it. */
#include "base/bytes.h"
#include "replication/net/compare.h"

#include "tests/harness.h"

#include <errno.h>

static struct compare *compare;
static struct database_request request;

static int hears(pgno_t first, uint32_t count, bool last)
{
    struct blob *body = blob_new(8 + (size_t)count * 8);
    int rc;

    put_le32(body->data, 1);
    put_le32(body->data + 4, first);
    for (uint32_t i = 0; i < count; i++)
        put_le64(body->data + 8 + (size_t)i * 8, first + i);
    body->size = 8 + (size_t)count * 8;
    rc = compare_hear(compare, body, last);
    blob_unref(body);
    return rc;
}

static void begins(void)
{
    compare = compare_new();
    EXPECT_TRUE(compare != NULL);
    request = (struct database_request){0};
}

TEST(ranges_are_compared_in_the_order_they_came)
{
    begins();
    EXPECT_EQ(compare_is_ready(compare, 1), 0);
    EXPECT_OK(hears(1, 100, false));
    EXPECT_OK(hears(101, 10, true));
    EXPECT_EQ(compare_is_ready(compare, 1), 1);
    compare_take(compare, &request);
    EXPECT_EQ(request.kind, DATABASE_COMPARE);
    EXPECT_EQ(request.from_pgno, 1);
    EXPECT_EQ(request.hash_count, 100);
    EXPECT_EQ(get_le64(request.hashes + 8 * 99), 100);
    EXPECT_FALSE(compare->is_last);
    EXPECT_EQ(compare_is_ready(compare, 101), 1);
    compare_take(compare, &request);
    EXPECT_EQ(request.from_pgno, 101);
    EXPECT_TRUE(compare->is_last);
    EXPECT_EQ(compare_is_ready(compare, 111), 0);
    compare_free(compare);
}

TEST(a_range_that_begins_elsewhere_or_is_empty_and_not_the_last_is_refused)
{
    begins();
    EXPECT_OK(hears(2, 100, false));
    EXPECT_EQ(compare_is_ready(compare, 1), -EPROTO);
    compare_reset(compare);
    EXPECT_OK(hears(1, 0, false));
    EXPECT_EQ(compare_is_ready(compare, 1), -EPROTO);
    compare_reset(compare);
    EXPECT_OK(hears(1, 0, true));
    EXPECT_EQ(compare_is_ready(compare, 1), 1);
    compare_free(compare);
}

TEST(more_than_may_be_unanswered_is_refused)
{
    pgno_t first = 1;

    begins();
    for (unsigned i = 0; i < BODY_HASHES_AHEAD; i++, first += 10)
        EXPECT_OK(hears(first, 10, false));
    EXPECT_EQ(hears(first, 10, false), -EPROTO);
    compare_take(compare, &request);
    EXPECT_OK(hears(first, 10, false));
    compare_free(compare);
}

TEST(what_the_worker_has_stays_when_another_delta_begins)
{
    const uint8_t *hashes;

    begins();
    EXPECT_OK(hears(1, 100, false));
    EXPECT_OK(hears(101, 100, true));
    compare_take(compare, &request);
    hashes = request.hashes;
    compare_reset(compare);
    EXPECT_EQ(compare_is_ready(compare, 101), 0);
    EXPECT_OK(hears(1, 5, true));
    EXPECT_EQ(get_le64(hashes), 1); /* the worker reads it now */
    request.same[0] = 1;
    EXPECT_EQ(compare->same[0], 1);
    compare_take(compare, &request);
    EXPECT_EQ(request.hash_count, 5);
    compare_free(compare);
}

TEST(the_answer_is_about_the_range_that_was_compared_last)
{
    struct database_request copy = {0};
    struct body_same same;
    struct blob *body;

    begins();
    EXPECT_OK(hears(101, 10, true));
    compare_take(compare, &request);
    request.same[0] = 0x81;
    request.same[1] = 0x02;
    EXPECT_OK(compare_answer(compare, &body));
    EXPECT_OK(body_same_decode(body, &same));
    EXPECT_EQ(same.first, 101);
    EXPECT_EQ(same.count, 10);
    EXPECT_MEM(same.bits, request.same, 2);
    compare_skip(compare, &copy);
    EXPECT_EQ(copy.same_pgno, 101);
    EXPECT_EQ(copy.hash_count, 10);
    EXPECT_EQ(copy.same, request.same);
    blob_unref(body);
    compare_free(compare);
}

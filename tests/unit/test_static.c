/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_static.c - who is primary when the operator says so. */
#include "lease/static.h"

#include "tests/harness.h"

static bool is_primary(const char *advertise, const char *primary)
{
    struct address a, b;

    EXPECT_OK(address_parse(advertise, 20202, &a));
    EXPECT_OK(address_parse(primary, 20202, &b));
    return static_is_primary(&a, &b);
}

TEST(a_node_is_primary_exactly_when_it_is_the_one_that_is_named)
{
    EXPECT_TRUE(is_primary("10.0.0.1:20202", "10.0.0.1:20202"));
    EXPECT_TRUE(is_primary("10.0.0.1", "10.0.0.1:20202"));
    EXPECT_TRUE(is_primary("DB1:20202", "db1:20202"));
    EXPECT_TRUE(is_primary("[2001:DB8:0::1]:1", "[2001:db8::1]:1"));
    EXPECT_TRUE(is_primary("localhost:20202", "127.0.0.1:20202"));
    EXPECT_FALSE(is_primary("10.0.0.1:20202", "10.0.0.2:20202"));
    EXPECT_FALSE(is_primary("10.0.0.1:20202", "10.0.0.1:20203"));
    EXPECT_FALSE(is_primary("127.0.0.2:20202", "127.0.0.1:20202"));
    EXPECT_FALSE(is_primary("db1:20202", "10.0.0.1:20202"));
}

TEST(each_start_of_a_primary_raises_the_epoch_by_one_number)
{
    epoch_t first, second;

    EXPECT_OK(static_epoch(0, 0xffffffff, &first));
    EXPECT_EQ(epoch_number(first), 1);
    EXPECT_OK(static_epoch(first, 0, &second));
    EXPECT_EQ(epoch_number(second), 2);
    EXPECT_GT(second, first); /* whatever was drawn */
}

TEST(two_raises_to_the_same_number_do_not_look_equal)
{
    epoch_t a, b;

    EXPECT_OK(static_epoch(77, 1, &a));
    EXPECT_OK(static_epoch(77, 2, &b));
    EXPECT_EQ(epoch_number(a), epoch_number(b));
    EXPECT_NE(a, b);
}

TEST(the_last_epoch_there_is_cannot_be_raised)
{
    epoch_t epoch = 4711;

    EXPECT_EQ(static_epoch(UINT64_MAX, 0, &epoch), -EOVERFLOW);
    EXPECT_EQ(epoch, 4711);
}

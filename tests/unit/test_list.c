/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_list.c - the list, and the bytes it is built on. */
#include "base/list.h"

#include "tests/harness.h"

struct item {
    int number;
    struct list link;
};

static struct item items[10];

/* The numbers in a list as text, walked forward; backward must agree. */
static const char *numbers(struct list *head)
{
    static char text[100];
    struct list *link, *safe;
    size_t used = 0, forward = 0, backward = 0;

    text[0] = '\0';
    LIST_EACH(link, safe, head)
    {
        used += (size_t)snprintf(text + used, sizeof text - used, "%d",
                                 LIST_ENTRY(link, struct item, link)->number);
        forward++;
    }
    for (link = head->prev; link != head; link = link->prev)
        backward++;
    EXPECT_EQ(forward, backward);
    return text;
}

static void fill(struct list *head, int from, int to)
{
    list_init(head);
    for (int i = from; i <= to; i++) {
        items[i] = (struct item){.number = i};
        list_push_back(head, &items[i].link);
    }
}

TEST(a_list_keeps_the_order_of_arrival)
{
    struct list head;

    fill(&head, 1, 3);
    EXPECT_STR(numbers(&head), "123");
    EXPECT_FALSE(list_is_empty(&head));
}

TEST(a_new_or_a_zeroed_list_is_empty)
{
    struct list head, zeroed = {0};

    list_init(&head);
    EXPECT_TRUE(list_is_empty(&head));
    EXPECT_TRUE(list_is_empty(&zeroed));
    EXPECT_TRUE(list_pop(&head) == NULL);
    EXPECT_TRUE(list_pop(&zeroed) == NULL);
}

TEST(removing_is_possible_anywhere_and_twice)
{
    struct list head, never_in = {0};

    fill(&head, 1, 5);
    list_remove(&items[1].link);
    list_remove(&items[3].link);
    list_remove(&items[5].link);
    EXPECT_STR(numbers(&head), "24");
    list_remove(&items[3].link);
    list_remove(&never_in);
    EXPECT_STR(numbers(&head), "24");
    list_push_back(&head, &items[3].link);
    EXPECT_STR(numbers(&head), "243");
}

TEST(pop_takes_the_oldest)
{
    struct list head;

    fill(&head, 1, 2);
    EXPECT_TRUE(list_pop(&head) == &items[1].link);
    EXPECT_TRUE(list_pop(&head) == &items[2].link);
    EXPECT_TRUE(list_pop(&head) == NULL);
    EXPECT_TRUE(list_is_empty(&items[1].link));
}

TEST(splice_moves_all_to_the_end)
{
    struct list to, from, empty;

    fill(&to, 1, 3);
    fill(&from, 4, 6);
    list_init(&empty);
    list_splice(&to, &from);
    EXPECT_STR(numbers(&to), "123456");
    EXPECT_TRUE(list_is_empty(&from));
    list_splice(&to, &empty);
    EXPECT_STR(numbers(&to), "123456");
    list_splice(&empty, &to);
    EXPECT_STR(numbers(&empty), "123456");
    EXPECT_STR(numbers(&to), "");
}

TEST(the_entry_in_hand_may_leave_the_list)
{
    struct list head, *link, *safe;

    fill(&head, 1, 6);
    LIST_EACH(link, safe, &head)
    if (LIST_ENTRY(link, struct item, link)->number % 2 == 0)
        list_remove(link);
    EXPECT_STR(numbers(&head), "135");
}

TEST(integers_lie_in_bytes_as_their_name_says)
{
    uint8_t bytes[9] = {0};

    put_le16(bytes + 1, 0x0102);
    EXPECT_MEM(bytes + 1, "\x02\x01", 2);
    EXPECT_EQ(get_le16(bytes + 1), 0x0102);
    put_be16(bytes + 1, 0x0102);
    EXPECT_MEM(bytes + 1, "\x01\x02", 2);
    EXPECT_EQ(get_be16(bytes + 1), 0x0102);
    put_le32(bytes + 1, 0x01020304);
    EXPECT_MEM(bytes + 1, "\x04\x03\x02\x01", 4);
    EXPECT_EQ(get_le32(bytes + 1), 0x01020304);
    put_be32(bytes + 1, 0x01020304);
    EXPECT_MEM(bytes + 1, "\x01\x02\x03\x04", 4);
    EXPECT_EQ(get_be32(bytes + 1), 0x01020304);
    put_le64(bytes + 1, UINT64_C(0x0102030405060708));
    EXPECT_MEM(bytes + 1, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    EXPECT_EQ(get_le64(bytes + 1), UINT64_C(0x0102030405060708));
}

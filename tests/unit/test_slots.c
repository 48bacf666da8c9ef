/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_slots.c - one segment of the wal-index, measured by a list
 * of frames that is searched from end to end. */
#include "tests/harness.h"

#include "wal/slots.h"

#define BYTES 32768u
#define FIRST 4062u

static uint32_t memory[BYTES / 4];
static pgno_t list[4096]; /* page of frame base + i + 1 */

static struct slots a_table(uint32_t segment)
{
    memset(memory, 0, sizeof memory);
    return slots_of_segment((uint8_t *)memory, segment);
}

static uint32_t list_find(uint32_t base, pgno_t pgno, uint32_t minimum,
                          uint32_t maximum)
{
    for (uint32_t frame = maximum; frame > minimum; frame--)
        if (list[frame - base - 1] == pgno)
            return frame;
    return 0;
}

/* Enters frames from..to (places), for pages below pages_end. */
static void enter(struct slots *slots, struct rng *rng, uint32_t from,
                  uint32_t to, uint32_t pages_end)
{
    for (uint32_t place = from; place <= to; place++) {
        list[place - 1] = (pgno_t)rng_between(rng, 1, pages_end);
        EXPECT_OK(slots_enter(slots, slots->base + place, list[place - 1]));
    }
}

/* Asks for many pages in many ranges that end at or before place `last`. */
static void expect_like_list(const struct slots *slots, struct rng *rng,
                             uint32_t last, uint32_t pages_end)
{
    for (int i = 0; i < 2000; i++) {
        uint32_t maximum = slots->base + (uint32_t)rng_below(rng, last + 1);
        uint32_t minimum = slots->base +
                           (uint32_t)rng_below(rng, maximum - slots->base + 1);
        pgno_t pgno = (pgno_t)rng_between(rng, 1, pages_end + 1);
        uint32_t frame;

        EXPECT_OK(slots_find(slots, pgno, minimum, maximum, &frame));
        EXPECT_EQ(frame, list_find(slots->base, pgno, minimum, maximum));
    }
}

/* Places 1..last have a page and one slot each; nothing else is in there. */
static void expect_exactly(const struct slots *slots, uint32_t last)
{
    static uint8_t slots_of[4097];
    uint32_t used = 0;

    memset(slots_of, 0, sizeof slots_of);
    for (size_t i = 0; i < 8192; i++)
        if (slots->places[i] != 0) {
            EXPECT_LE(slots->places[i], last);
            EXPECT_EQ(slots_of[slots->places[i]]++, 0);
            used++;
        }
    EXPECT_EQ(used, last);
    for (uint32_t place = 1; place <= slots->capacity; place++)
        EXPECT_EQ(slots->pages[place - 1] != 0, place <= last);
}

TEST(every_frame_lies_in_the_segment_whose_base_is_below_it)
{
    static const uint32_t frames[] = {
        1,    4061,  4062,  4063,   4064,    8158,           8159,
        8160, 12254, 12255, 100000, 5000000, UINT32_MAX - 1, UINT32_MAX,
    };

    EXPECT_EQ(slots_segment(FIRST), 0);
    EXPECT_EQ(slots_segment(FIRST + 1), 1);
    EXPECT_EQ(slots_segment(FIRST + 4096), 1);
    EXPECT_EQ(slots_segment(FIRST + 4097), 2);
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct slots slots = a_table(slots_segment(frames[i]));

        EXPECT_LT(slots.base, frames[i]);
        EXPECT_LE((uint64_t)frames[i] - slots.base, slots.capacity);
    }
}

TEST(a_full_table_finds_what_a_list_finds)
{
    struct rng rng = test_rng();
    static const uint32_t pages_ends[] = {1, 30, 5000, 100000000};

    for (uint32_t segment = 0; segment < 3; segment++)
        for (size_t i = 0; i < 4; i++) {
            struct slots slots = a_table(segment);

            enter(&slots, &rng, 1, slots.capacity, pages_ends[i]);
            expect_exactly(&slots, slots.capacity);
            expect_like_list(&slots, &rng, slots.capacity, pages_ends[i]);
        }
}

TEST(the_first_frame_of_a_table_clears_it)
{
    struct rng rng = test_rng();
    struct slots slots = a_table(1);
    uint32_t frame;

    memset(memory, 0xa5, sizeof memory);
    EXPECT_OK(slots_enter(&slots, slots.base + 1, 7));
    for (pgno_t pgno = 1; pgno < 3000; pgno++) {
        EXPECT_OK(slots_find(&slots, pgno, 0, UINT32_MAX, &frame));
        EXPECT_EQ(frame, pgno == 7 ? slots.base + 1 : 0);
    }
    list[0] = 7;
    enter(&slots, &rng, 2, 4096, 500);
    expect_like_list(&slots, &rng, 4096, 500);
}

TEST(clearing_segment_0_spares_its_head)
{
    struct slots slots = a_table(0);

    memset(memory, 0xa5, sizeof memory);
    EXPECT_OK(slots_enter(&slots, 1, 7));
    for (size_t i = 0; i < 136 / 4; i++)
        EXPECT_EQ(memory[i], 0xa5a5a5a5);
    EXPECT_EQ(memory[136 / 4], 7);
}

TEST(after_a_cut_the_rest_is_found_and_the_cut_is_not)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 20; round++) {
        struct slots slots = a_table((uint32_t)rng_below(&rng, 3));
        uint32_t last = (uint32_t)rng_below(&rng, slots.capacity);

        enter(&slots, &rng, 1, slots.capacity, 900);
        slots_cut(&slots, slots.base + last);
        expect_exactly(&slots, last);
        for (uint32_t place = last + 1; place <= slots.capacity; place++)
            list[place - 1] = 0;
        expect_like_list(&slots, &rng, slots.capacity, 900);
    }
}

TEST(remnants_of_a_dead_writer_go_when_the_next_frame_comes)
{
    struct rng rng = test_rng();

    for (int round = 0; round < 20; round++) {
        struct slots slots = a_table((uint32_t)rng_below(&rng, 3));
        uint32_t last = (uint32_t)rng_between(&rng, 1, 3000);
        uint32_t dead = last + (uint32_t)rng_between(&rng, 1, 900);
        uint32_t end = last + (uint32_t)rng_between(&rng, 1, 900);

        enter(&slots, &rng, 1, last, 900);
        enter(&slots, &rng, last + 1, dead, 900);
        if (rng_chance(&rng, 50)) /* it died between page and slot */
            slots.pages[dead] = 5;
        enter(&slots, &rng, last + 1, end, 900);
        expect_like_list(&slots, &rng, end, 900);
        expect_exactly(&slots, end);
    }
}

TEST(a_table_without_a_free_slot_is_damage_not_a_hang)
{
    struct slots slots = a_table(1);
    uint32_t frame = 77;

    for (size_t i = 0; i < 8192; i++)
        slots.places[i] = 1;
    slots.pages[0] = 3;
    EXPECT_EQ(slots_find(&slots, 3, 0, UINT32_MAX, &frame), -EIO);
    EXPECT_EQ(frame, 77);
    EXPECT_EQ(slots_enter(&slots, slots.base + 9, 3), -EIO);
}

TEST(a_slot_that_points_outside_the_table_is_damage)
{
    struct slots slots = a_table(0);
    uint32_t frame = 77;

    slots.places[383] = FIRST + 1;
    EXPECT_EQ(slots_find(&slots, 1, 0, UINT32_MAX, &frame), -EIO);
    slots.places[383] = UINT16_MAX;
    EXPECT_EQ(slots_find(&slots, 1, 0, UINT32_MAX, &frame), -EIO);
    EXPECT_EQ(frame, 77);
}

TEST(canary_one_wrong_slot_is_noticed)
{
    struct rng rng = test_rng();
    struct slots slots = a_table(1);
    uint32_t frame, slot = 0;

    enter(&slots, &rng, 1, 1000, 900);
    while (slots.places[slot] != 1000)
        slot++;
    slots.places[slot] = 999;
    EXPECT_OK(slots_find(&slots, list[999], 0, UINT32_MAX, &frame));
    EXPECT_NE(frame,
              list_find(slots.base, list[999], slots.base, slots.base + 1000));
}

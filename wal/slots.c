/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/slots.c - see slots.h, and walindex.h for the byte map.
 *
 * Why searching while a writer enters frames is safe: a frame is stored as
 * its page first, then its slot (release); who sees the slot (acquire) sees
 * the page. A frame beyond the reader's maximum may come, go and come back as
 * another: it is skipped by its number alone. Frames up to the maximum are
 * not touched while a read mark protects them.
 *
 * A writer may die between any two stores. A page without a slot, or slots
 * freed but pages not yet, still show as a page at the next writer's place,
 * who then cuts. Pages are zeroed upward, so what is left lies ahead of it.
 */
#include "wal/slots.h"

#include "base/assert.h"

#include <errno.h>

#define SEGMENT_FRAMES 4096u
#define FIRST_FRAMES 4062u  /* of segment 0: 34 entries are its head */
#define FIRST_PAGES_AT 136u /* in segment 0; 0 in all others */
#define PLACES_AT 16384u
#define SLOTS 8192u

uint32_t slots_segment(uint32_t frame)
{
    return (uint32_t)(((uint64_t)frame + SEGMENT_FRAMES - FIRST_FRAMES - 1) /
                      SEGMENT_FRAMES);
}

struct slots slots_of_segment(uint8_t *at, uint32_t segment)
{
    struct slots slots = {
        .pages = (uint32_t *)(void *)at,
        .places = (uint16_t *)(void *)(at + PLACES_AT),
        .base = FIRST_FRAMES + (segment - 1) * SEGMENT_FRAMES,
        .capacity = SEGMENT_FRAMES,
    };

    if (segment == 0) {
        slots.pages = (uint32_t *)(void *)(at + FIRST_PAGES_AT);
        slots.base = 0;
        slots.capacity = FIRST_FRAMES;
    }
    return slots;
}

static inline pgno_t page_load(const struct slots *slots, uint32_t place)
{
    return __atomic_load_n(&slots->pages[place - 1], __ATOMIC_RELAXED);
}

static inline void page_store(struct slots *slots, uint32_t place, pgno_t pgno)
{
    __atomic_store_n(&slots->pages[place - 1], pgno, __ATOMIC_RELEASE);
}

static inline uint32_t place_load(const struct slots *slots, uint32_t slot)
{
    return __atomic_load_n(&slots->places[slot], __ATOMIC_ACQUIRE);
}

static inline void place_store(struct slots *slots, uint32_t slot,
                               uint32_t place)
{
    __atomic_store_n(&slots->places[slot], (uint16_t)place, __ATOMIC_RELEASE);
}

static inline uint32_t slot_first(pgno_t pgno)
{
    return (pgno * 383u) & (SLOTS - 1);
}

static inline uint32_t slot_next(uint32_t slot)
{
    return (slot + 1) & (SLOTS - 1);
}

int slots_find(const struct slots *slots, pgno_t pgno, uint32_t minimum,
               uint32_t maximum, uint32_t *ret_frame)
{
    uint32_t slot = slot_first(pgno), best = 0;

    for (uint32_t probes = 0; probes < SLOTS; probes++) {
        uint32_t place = place_load(slots, slot), frame = slots->base + place;

        if (place == 0) {
            *ret_frame = best;
            return 0;
        }
        if (place > slots->capacity)
            break;
        if (frame > best && frame > minimum && frame <= maximum &&
            page_load(slots, place) == pgno)
            best = frame;
        slot = slot_next(slot);
    }
    return -EIO;
}

/* Nobody reads a table whose first frame is not published: any order will
 * do. */
static void slots_clear(struct slots *slots)
{
    for (uint32_t place = 1; place <= slots->capacity; place++)
        page_store(slots, place, 0);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        place_store(slots, slot, 0);
}

/*
 * An entry stands behind slots that were all taken before it was made: those
 * that are freed here are younger than all that stay, so every search that
 * found an older one still does.
 */
void slots_cut(struct slots *slots, uint32_t last_frame)
{
    uint32_t last = last_frame - slots->base;

    ASSERT(last <= slots->capacity);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (place_load(slots, slot) > last)
            place_store(slots, slot, 0);
    for (uint32_t place = last + 1; place <= slots->capacity; place++)
        page_store(slots, place, 0);
}

int slots_enter(struct slots *slots, uint32_t frame, pgno_t pgno)
{
    uint32_t place = frame - slots->base, slot = slot_first(pgno);

    ASSERT(place >= 1 && place <= slots->capacity);
    if (place == 1)
        slots_clear(slots);
    else if (page_load(slots, place) != 0)
        slots_cut(slots, frame - 1);
    /* place - 1 entries are there, so `place` probes meet a free slot. */
    for (uint32_t probes = 0; probes < place; probes++) {
        if (place_load(slots, slot) == 0) {
            page_store(slots, place, pgno);
            place_store(slots, slot, place);
            return 0;
        }
        slot = slot_next(slot);
    }
    return -EIO;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/slots.h - which frames hold a page: one segment of the wal-index.
 *
 * The byte map stands in walindex.h, the search rule too. A table says for
 * up to 4096 frames which page each one holds, and finds the frames of a page
 * through a hash table beside it. The memory belongs to the caller's map and
 * is shared with other processes; one of them (the holder of WAL_WRITE)
 * stores. No IO, no allocation. Any thread.
 */
#ifndef TIDEMARK_WAL_SLOTS_H
#define TIDEMARK_WAL_SLOTS_H

#include "wal/page.h"

/* One segment as a table of the frames base + 1 .. base + capacity. */
struct slots {
    uint32_t *pages;  /* page number by place - 1; place = frame - base */
    uint16_t *places; /* by slot; 0: free */
    uint32_t base;
    uint32_t capacity;
};

/* The segment a frame lies in. Frame 0 counts to segment 0. */
uint32_t slots_segment(uint32_t frame);

/* A table over the 32768 bytes of a segment, aligned to 4. */
struct slots slots_of_segment(uint8_t *at, uint32_t segment);

/* The newest frame of pgno in (minimum, maximum] of this table, 0 when there
 * is none. -EIO when the table holds what no writer leaves there. */
int slots_find(const struct slots *slots, pgno_t pgno, uint32_t minimum,
               uint32_t maximum, uint32_t *ret_frame);

/*
 * Enters a frame of this table; all before it that are not in use any more
 * may still be there: the table's first frame clears it, another one removes
 * what stands at its place and beyond. -EIO as above.
 */
int slots_enter(struct slots *slots, uint32_t frame, pgno_t pgno);

/* Removes all frames beyond last_frame, which lies in this table. */
void slots_cut(struct slots *slots, uint32_t last_frame);

#endif

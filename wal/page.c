/* SPDX-License-Identifier: Apache-2.0 */
/* wal/page.c - see page.h. */
#include "wal/page.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>

/*
 * Compiled in, because the state of page 1's hash lies on our stack, and its
 * layout is no promise of the shared library. In this file only: each file
 * that does so gets a whole xxHash. Without the inline hints, which gcc -Og
 * cannot obey and refuses; at -O2 they change nothing (measured).
 */
#define XXH_INLINE_ALL
#define XXH_NO_INLINE_HINTS 1
#include <xxhash.h>

#define MAGIC "SQLite format 3" /* its final 0 is the 16th byte */
#define MAGIC_BYTES 16u
#define VERSION_AT 18u
#define VERSION_WAL 2u
#define HEAD_BYTES 32u /* of page 1, hashed from a corrected copy */

bool page_size_is_valid(uint32_t page_bytes)
{
    return page_bytes >= PAGE_MIN_BYTES && page_bytes <= PAGE_MAX_BYTES &&
           (page_bytes & (page_bytes - 1)) == 0;
}

/* The same hash in two steps: 32 bytes are copied, not a page. */
static uint64_t page1_hash(const uint8_t *page, uint32_t page_bytes)
{
    uint8_t head[HEAD_BYTES];
    XXH3_state_t state;

    memcpy(head, page, sizeof head);
    head[VERSION_AT] = 0;
    head[VERSION_AT + 1] = 0;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, 1);
    XXH3_64bits_update(&state, head, sizeof head);
    XXH3_64bits_update(&state, page + sizeof head, page_bytes - sizeof head);
    return XXH3_64bits_digest(&state);
}

uint64_t page_hash(pgno_t pgno, const uint8_t *page, uint32_t page_bytes)
{
    ASSERT(page != NULL && page_size_is_valid(page_bytes));
    ASSERT(pgno != 0 && pgno != page_lock_byte(page_bytes));
    if (pgno == 1)
        return page1_hash(page, page_bytes);
    return XXH3_64bits_withSeed(page, page_bytes, pgno);
}

static uint32_t size_decode(const uint8_t *bytes)
{
    uint32_t size = get_be16(bytes + 16);

    return size == 1 ? PAGE_MAX_BYTES : size;
}

int page_header_decode(const uint8_t *bytes, size_t size,
                       struct page_header *ret_header)
{
    struct page_header header;

    if (size < PAGE_HEADER_BYTES || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0)
        return -EINVAL;
    header.page_bytes = size_decode(bytes);
    if (!page_size_is_valid(header.page_bytes))
        return -EINVAL;
    header.wal = bytes[VERSION_AT + 1] == VERSION_WAL;
    header.change_counter = get_be32(bytes + 24);
    /* Writers before SQLite 3.7.0 left the size behind when they committed:
     * it then names another change counter than the one that counts. */
    header.size_pages = header.change_counter == get_be32(bytes + 92)
                            ? get_be32(bytes + 28)
                            : 0;
    header.first_trunk = get_be32(bytes + 32);
    header.free_pages = get_be32(bytes + 36);
    *ret_header = header;
    return 0;
}

void page_header_set_wal(uint8_t *page1)
{
    page1[VERSION_AT] = VERSION_WAL;
    page1[VERSION_AT + 1] = VERSION_WAL;
}

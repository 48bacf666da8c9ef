/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_frame.c - a WAL from bytes: header, then frame by frame.
 *
 * Whatever the bytes, the walk stays inside them and every frame it accepts
 * is the one that encoding makes again. As no mutation guesses a checksum,
 * the same bytes are then chained anew and must be accepted to the end.
 */
#include "wal/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
    if (!ok)
        abort();
}

/* Encodes an accepted frame again; chain is the one before it. */
static void expect_round_trip(struct frame_chain chain, const uint8_t *bytes,
                              const struct frame *frame, uint32_t page_bytes)
{
    size_t size = FRAME_HEADER_BYTES + page_bytes;
    uint8_t *copy = malloc(size);

    expect(copy != NULL && frame->pgno != 0);
    memcpy(copy, bytes, size);
    memset(copy, 0xee, FRAME_HEADER_BYTES);
    frame_encode(&chain, copy, frame->pgno, frame->commit_pages, frame->salt,
                 page_bytes);
    expect(memcmp(copy, bytes, size) == 0);
    free(copy);
}

/* Frames accepted from the start of a WAL. */
static uint32_t walk(const uint8_t *wal, size_t size)
{
    struct frame_wal_header header;
    struct frame frame;
    uint32_t count = 0;

    if (size < FRAME_WAL_HEADER_BYTES ||
        frame_wal_header_decode(wal, &header) < 0)
        return 0;
    while (frame_offset(count + 2, header.page_bytes) <= size) {
        const uint8_t *at = wal + frame_offset(count + 1, header.page_bytes);
        struct frame_chain before = header.chain;

        if (!frame_accept(&header.chain, header.salt, at, header.page_bytes,
                          &frame))
            break;
        expect(memcmp(frame.salt, header.salt, FRAME_SALT_BYTES) == 0);
        expect_round_trip(before, at, &frame, header.page_bytes);
        count++;
    }
    return count;
}

/* Makes the bytes a valid WAL of 512-byte pages; the frames in it. */
static uint32_t chain_anew(uint8_t *wal, size_t size)
{
    struct frame_wal_header header = {.page_bytes = PAGE_MIN_BYTES};
    struct frame frame;
    uint32_t count = 0;

    memcpy(header.salt, wal + 16, FRAME_SALT_BYTES);
    frame_wal_header_encode(&header, wal);
    while (frame_offset(count + 2, PAGE_MIN_BYTES) <= size) {
        uint8_t *at = wal + frame_offset(++count, PAGE_MIN_BYTES);

        frame_decode(at, &frame);
        frame_encode(&header.chain, at, frame.pgno == 0 ? 1 : frame.pgno,
                     frame.commit_pages, header.salt, PAGE_MIN_BYTES);
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;
    uint32_t count;

    walk(data, size);
    if (size < FRAME_WAL_HEADER_BYTES)
        return 0;
    copy = malloc(size);
    expect(copy != NULL);
    memcpy(copy, data, size);
    count = chain_anew(copy, size);
    expect(walk(copy, size) == count);
    free(copy);
    return 0;
}

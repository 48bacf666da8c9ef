/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_walindex.c - a wal-index whose bytes are anything.
 *
 * The first byte says how the rest is used: as it is, or with two equal
 * copies of a header whose checksum is good. Reading and searching end with
 * an answer and never touch memory beyond the file.
 */
#include "base/bytes.h"
#include "wal/walindex.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_BYTES 48u
#define FILE_BYTES (2 * WALINDEX_SEGMENT_BYTES)

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void make_plausible(uint8_t *file)
{
    struct frame_chain chain = frame_chain_native();

    frame_chain_extend(&chain, file, 40);
    memcpy(file + 40, chain.word, sizeof chain.word);
    memcpy(file + HEADER_BYTES, file, HEADER_BYTES);
}

static void search(struct walindex *index, const struct walindex_header *header)
{
    uint32_t minimum = walindex_backfilled(index), frame;

    for (pgno_t pgno = 1; pgno < 40; pgno++) {
        int rc = walindex_find(index, pgno, minimum, header->max_frame, &frame);

        expect(rc == 0 || rc == -EIO);
        expect(rc < 0 || frame == 0 ||
               (frame > minimum && frame <= header->max_frame));
    }
}

/* What a peer that holds WRITE may do with tables it did not make. */
static void extend(struct walindex *index, struct walindex_header *header)
{
    uint32_t frame, next = header->max_frame + 1;
    int rc;

    if (header->max_frame >= 4000) /* the file would have to grow */
        return;
    rc = walindex_append(index, next, 7);
    expect(rc == 0 || rc == -EIO);
    if (rc < 0)
        return;
    rc = walindex_find(index, 7, header->max_frame, next, &frame);
    expect(rc == -EIO || (rc == 0 && frame == next));
    if (header->max_frame == 0)
        return; /* nothing to keep: the next first frame clears it all */
    walindex_cleanup(index, header->max_frame);
    rc = walindex_find(index, 7, header->max_frame, next, &frame);
    expect(rc == -EIO || (rc == 0 && frame == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[FILE_BYTES];
    struct os_file shm = {.fd = memfd_create("shm", MFD_CLOEXEC), .open = true};
    struct walindex_header header;
    struct walindex index;
    size_t used;

    expect(shm.fd >= 0);
    if (size > 0) {
        used = size - 1 < sizeof file ? size - 1 : sizeof file;
        memset(file, 0, sizeof file);
        memcpy(file, data + 1, used);
        if (data[0] & 1)
            make_plausible(file);
        if (data[0] & 2)
            used = sizeof file;
        expect(os_pwrite(&shm, file, used, 0, SITE_NONE) == 0);
    }
    expect(walindex_open(&index, shm.fd, true) == 0);
    if (walindex_read(&index, &header) == 0) {
        search(&index, &header);
        extend(&index, &header);
    }
    walindex_close(&index);
    os_close(&shm);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/hashes.c - see hashes.h. Pure but for load and save. */
#include "wal/hashes.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_BYTES 64u
#define MAGIC "TMKHASH1"

void hashes_free(struct hashes *hashes)
{
    free(hashes->of);
    *hashes = (struct hashes){0};
}

int hashes_reserve(struct hashes *hashes, uint32_t size_pages)
{
    uint32_t capacity = hashes->capacity == 0 ? 64 : hashes->capacity;
    uint64_t *grown;

    if (size_pages <= hashes->capacity)
        return 0;
    while (capacity < size_pages)
        capacity = capacity > UINT32_MAX / 2 ? UINT32_MAX : capacity * 2;
    grown = site_fault(SITE_HASHES_GROW) != 0
                ? NULL
                : realloc(hashes->of, (size_t)capacity * sizeof *grown);
    if (grown == NULL)
        return site_fail(SITE_HASHES_GROW, NULL, ENOMEM);
    memset(grown + hashes->capacity, 0,
           (size_t)(capacity - hashes->capacity) * sizeof *grown);
    hashes->of = grown;
    hashes->capacity = capacity;
    return 0;
}

void hashes_set(struct hashes *hashes, pgno_t pgno, uint64_t hash)
{
    ASSERT(pgno >= 1 && pgno <= hashes->capacity);
    hashes->sum ^= hashes->of[pgno - 1] ^ hash;
    hashes->of[pgno - 1] = hash;
    if (pgno > hashes->count)
        hashes->count = pgno;
}

void hashes_resize(struct hashes *hashes, uint32_t size_pages)
{
    ASSERT(size_pages <= hashes->capacity);
    for (uint32_t i = size_pages; i < hashes->count; i++) {
        hashes->sum ^= hashes->of[i];
        hashes->of[i] = 0;
    }
    hashes->count = size_pages;
}

uint64_t hashes_sum_after(const struct hashes *hashes, const pgno_t *pgnos,
                          const uint64_t *values, uint32_t count,
                          uint32_t size_pages)
{
    uint64_t sum = hashes->sum;

    for (uint32_t i = size_pages; i < hashes->count; i++)
        sum ^= hashes->of[i];
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(pgnos[i] <= size_pages);
        sum ^= hashes_get(hashes, pgnos[i]) ^ values[i];
    }
    return sum;
}

static void header_encode(const struct hashes *hashes, uint8_t *bytes,
                          const struct lineage *lineage, uint32_t page_bytes,
                          const struct position *position)
{
    memcpy(bytes, MAGIC, 8);
    put_le32(bytes + 8, page_bytes);
    put_le32(bytes + 12, hashes->count);
    put_le64(bytes + 16, position->epoch);
    put_le64(bytes + 24, position->txid);
    put_le64(bytes + 32, position->sum);
    memcpy(bytes + 40, lineage->bytes, LINEAGE_BYTES);
    put_le64(bytes + 56, XXH3_64bits(bytes, 56));
}

int hashes_save(const struct hashes *hashes, int dirfd, const char *path,
                const struct lineage *lineage, uint32_t page_bytes,
                const struct position *position)
{
    size_t table = (size_t)hashes->count * 8, size = HEADER_BYTES + table + 8;
    uint8_t *bytes;
    int rc;

    rc = os_alloc(&bytes, size, SITE_HASHES_SAVE);
    if (rc < 0)
        return rc;
    header_encode(hashes, bytes, lineage, page_bytes, position);
    for (uint32_t i = 0; i < hashes->count; i++)
        put_le64(bytes + HEADER_BYTES + (size_t)i * 8, hashes->of[i]);
    put_le64(bytes + HEADER_BYTES + table,
             XXH3_64bits(bytes + HEADER_BYTES, table));
    rc = os_replace(dirfd, path, bytes, size, SITE_HASHES_SAVE);
    os_free(&bytes);
    return rc;
}

static int header_decode(const uint8_t *bytes, const struct lineage *lineage,
                         uint64_t file_size, uint32_t *ret_count)
{
    uint32_t count = get_le32(bytes + 12);

    if (memcmp(bytes, MAGIC, 8) != 0 ||
        get_le64(bytes + 56) != XXH3_64bits(bytes, 56) ||
        memcmp(bytes + 40, lineage->bytes, LINEAGE_BYTES) != 0 ||
        file_size != HEADER_BYTES + (uint64_t)count * 8 + 8)
        return -EBADMSG;
    *ret_count = count;
    return 0;
}

static int table_decode(struct hashes *hashes, const uint8_t *bytes,
                        uint32_t count)
{
    int rc;

    if (get_le64(bytes + (size_t)count * 8) !=
        XXH3_64bits(bytes, (size_t)count * 8))
        return -EBADMSG;
    rc = hashes_reserve(hashes, count);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < count; i++)
        hashes_set(hashes, i + 1, get_le64(bytes + (size_t)i * 8));
    hashes->count = count;
    return 0;
}

static int load_open(struct hashes *hashes, const struct os_file *file,
                     const struct lineage *lineage, uint32_t *ret_page_bytes,
                     struct position *ret_position)
{
    uint8_t header[HEADER_BYTES], *bytes = NULL;
    uint32_t count;
    uint64_t size;
    int rc;

    rc = os_size(file, &size, SITE_HASHES_LOAD);
    if (rc == 0)
        rc = os_pread_full(file, header, sizeof header, 0, SITE_HASHES_LOAD);
    if (rc == 0)
        rc = header_decode(header, lineage, size, &count);
    if (rc == 0)
        rc = os_alloc(&bytes, size - HEADER_BYTES, SITE_HASHES_LOAD);
    if (rc == 0)
        rc = os_pread_full(file, bytes, size - HEADER_BYTES, HEADER_BYTES,
                           SITE_HASHES_LOAD);
    if (rc == 0)
        rc = table_decode(hashes, bytes, count);
    os_free(&bytes);
    if (rc < 0)
        return rc == -ENODATA ? -EBADMSG : rc;
    *ret_page_bytes = get_le32(header + 8);
    *ret_position = (struct position){
        get_le64(header + 16), get_le64(header + 24), get_le64(header + 32)};
    return hashes->sum == ret_position->sum ? 0 : -EBADMSG;
}

int hashes_load(struct hashes *hashes, int dirfd, const char *path,
                const struct lineage *lineage, uint32_t *ret_page_bytes,
                struct position *ret_position)
{
    struct os_file file = {0};
    int rc = os_open(&file, dirfd, path, O_RDONLY, 0, SITE_HASHES_LOAD);

    hashes_free(hashes);
    if (rc < 0)
        return rc;
    rc = load_open(hashes, &file, lineage, ret_page_bytes, ret_position);
    os_close(&file);
    if (rc < 0)
        hashes_free(hashes);
    return rc;
}

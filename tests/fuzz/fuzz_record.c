/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_record.c - the record decoder on any bytes.
 *
 * Hashes would stop nearly every input at the door, so each is decoded twice:
 * as it is, and with its hashes made right. What decodes must encode again
 * to something that decodes to the same.
 */
#include "wal/record.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <stdlib.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_again(const struct record *record)
{
    struct record_header header = record->header;
    const uint8_t **images = calloc(header.pages + 1u, sizeof *images);
    struct record again = {0};
    struct blob *blob = NULL;
    int rc;

    for (uint32_t i = 0; i < header.pages; i++)
        images[i] = record->images + (size_t)i * header.page_bytes;
    rc = record_encode(&header, record->pgnos, images, header.pages, &blob);
    ASSERT(rc == 0);
    rc = record_decode(blob->data, blob->size, &again);
    ASSERT(rc == 0 && record_is_same(&again.header, &record->header));
    ASSERT(header.pages == 0 ||
           memcmp(again.images, record->images, (size_t)header.raw_bytes) == 0);
    record_free(&again);
    blob_unref(blob);
    free(images);
}

static void decode(const uint8_t *bytes, size_t size)
{
    struct record_header peeked, checked;
    struct record record = {0};
    size_t total = 0;
    int rc = record_peek(bytes, size, &peeked, &total);

    ASSERT(rc < 0 || total <= RECORD_MAX_BYTES);
    rc = record_decode(bytes, size, &record);
    ASSERT(rc < 0 || record_check(bytes, size, &checked) == 0);
    ASSERT(rc < 0 || total == size);
    if (rc == 0)
        encode_again(&record);
    record_free(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;
    uint64_t hash;

    decode(data, size);
    if (size < RECORD_MIN_BYTES)
        return 0;
    bytes = malloc(size);
    ASSERT(bytes != NULL);
    memcpy(bytes, data, size);
    hash = XXH3_64bits(bytes, RECORD_HEADER_BYTES - 8);
    put_le64(bytes + RECORD_HEADER_BYTES - 8, hash);
    put_le64(bytes + size - 8,
             XXH3_64bits_withSeed(bytes + RECORD_HEADER_BYTES,
                                  size - RECORD_MIN_BYTES, hash));
    decode(bytes, size);
    free(bytes);
    return 0;
}

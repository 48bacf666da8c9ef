/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/segment.c - see segment.h for the format.
 *
 * Reading goes through a window of 64 KiB that grows, up to the largest
 * record, only while one is being looked at. All that is read is bounded by a
 * limit the caller knows to be written, so a window never holds bytes that
 * may still change.
 */
#include "wal/segment.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#define HASH_OFFSET (SEGMENT_HEADER_BYTES - 8)
#define WINDOW_BYTES (64u << 10)

static const uint8_t segment_magic[8] = {'T', 'M', 'K', 'L', 'O', 'G', 13, 10};

void segment_header_encode(const struct segment_header *header,
                           uint8_t bytes[SEGMENT_HEADER_BYTES])
{
    ASSERT(header->sequence > 0 && header->first_txid > 0 &&
           header->first_part > 0);
    memcpy(bytes, segment_magic, sizeof segment_magic);
    put_le32(bytes + 8, SEGMENT_VERSION);
    put_le32(bytes + 12, header->sequence);
    memcpy(bytes + 16, header->lineage.bytes, LINEAGE_BYTES);
    put_le64(bytes + 32, header->first_txid);
    put_le64(bytes + 40, header->before_txid);
    put_le32(bytes + 48, header->first_part);
    put_le32(bytes + 52, 0);
    put_le64(bytes + HASH_OFFSET, XXH3_64bits(bytes, HASH_OFFSET));
}

int segment_header_decode(const uint8_t *bytes, size_t size,
                          struct segment_header *ret_header)
{
    struct segment_header header;

    if (size < SEGMENT_HEADER_BYTES ||
        memcmp(bytes, segment_magic, sizeof segment_magic) != 0 ||
        get_le64(bytes + HASH_OFFSET) != XXH3_64bits(bytes, HASH_OFFSET))
        return -EBADMSG;
    if (get_le32(bytes + 8) > SEGMENT_VERSION)
        return -EPROTONOSUPPORT;
    header.sequence = get_le32(bytes + 12);
    memcpy(header.lineage.bytes, bytes + 16, LINEAGE_BYTES);
    header.first_txid = get_le64(bytes + 32);
    header.before_txid = get_le64(bytes + 40);
    header.first_part = get_le32(bytes + 48);
    if (get_le32(bytes + 8) != SEGMENT_VERSION || get_le32(bytes + 52) != 0 ||
        header.sequence == 0 || header.first_txid == 0 ||
        header.first_part == 0)
        return -EBADMSG;
    *ret_header = header;
    return 0;
}

void segment_name(const struct segment_header *header,
                  char ret_name[SEGMENT_NAME_BYTES])
{
    snprintf(ret_name, SEGMENT_NAME_BYTES, "%016llx-%08x.seg",
             (unsigned long long)header->first_txid, header->sequence);
}

bool segment_name_parse(const char *name, txid_t *ret_first_txid,
                        uint32_t *ret_sequence)
{
    struct segment_header header = {0};
    char again[SEGMENT_NAME_BYTES];
    unsigned long long txid;

    if (sscanf(name, "%16llx-%8x.seg", &txid, &header.sequence) != 2)
        return false;
    header.first_txid = txid;
    segment_name(&header, again); /* scanf takes more than we write */
    if (strcmp(name, again) != 0)
        return false;
    *ret_first_txid = header.first_txid;
    *ret_sequence = header.sequence;
    return true;
}

uint64_t segment_written_ns(int dirfd, const char *name)
{
    struct stat status;
    uint64_t ns;

    if (fstatat(dirfd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        status.st_mtim.tv_sec < 0)
        return UINT64_MAX;
    ns = (uint64_t)status.st_mtim.tv_sec * NS_PER_S +
         (uint64_t)status.st_mtim.tv_nsec;
    return ns > 0 ? ns : 1;
}

uint64_t segment_cap(uint32_t sequence, uint64_t most)
{
    uint64_t cap = SEGMENT_CAP_FIRST_BYTES;

    while (sequence-- > 1 && cap < SEGMENT_CAP_LAST_BYTES &&
           (most == 0 || 2 * cap <= most))
        cap *= 2;
    return cap;
}

/* ---- reading ------------------------------------------------------------- */

void segment_reader_turn(struct segment_reader *reader,
                         const struct os_file *file)
{
    reader->file = file;
    reader->size = 0;
}

void segment_reader_free(struct segment_reader *reader)
{
    free(reader->bytes);
    *reader = (struct segment_reader){0};
}

static int reader_grow(struct segment_reader *reader, size_t size)
{
    size_t capacity = size < WINDOW_BYTES ? WINDOW_BYTES : size;
    uint8_t *bytes;

    if (reader->capacity >= size)
        return 0;
    /* Nothing of the old window is of use: it will be read anew. */
    free(reader->bytes);
    reader->bytes = NULL;
    reader->capacity = reader->size = 0;
    bytes = site_fault(SITE_LOG_ALLOC) != 0 ? NULL : malloc(capacity);
    if (bytes == NULL)
        return site_fail(SITE_LOG_ALLOC, NULL, ENOMEM);
    reader->bytes = bytes;
    reader->capacity = capacity;
    return 0;
}

/* Fills the window from offset on, up to limit. */
static int reader_fill(struct segment_reader *reader, uint64_t offset,
                       uint64_t limit)
{
    uint64_t size = limit - offset;
    ssize_t n;

    if (size > reader->capacity)
        size = reader->capacity;
    reader->size = 0;
    n = os_pread(reader->file, reader->bytes, size, offset, SITE_LOG_READ);
    if (n < 0)
        return (int)n;
    reader->offset = offset;
    reader->size = (size_t)n;
    return 0;
}

int segment_reader_get(struct segment_reader *reader, uint64_t offset,
                       size_t size, uint64_t limit, const uint8_t **ret_bytes,
                       size_t *ret_size)
{
    uint64_t there;
    int rc = 0;

    ASSERT(size <= RECORD_MAX_BYTES && offset <= limit);
    if (size > limit - offset)
        size = limit - offset;
    *ret_bytes = NULL;
    *ret_size = 0;
    if (size == 0)
        return 0;
    if (offset < reader->offset ||
        offset + size > reader->offset + reader->size) {
        rc = reader_grow(reader, size);
        if (rc == 0)
            rc = reader_fill(reader, offset, limit);
    }
    if (rc != 0)
        return rc;
    there = reader->size - (offset - reader->offset);
    *ret_bytes = reader->bytes + (offset - reader->offset);
    *ret_size = there < size ? there : size;
    return 0;
}

int segment_reader_record(struct segment_reader *reader, uint64_t offset,
                          uint64_t limit, struct record_header *ret_header,
                          size_t *ret_total, const uint8_t **ret_bytes)
{
    const uint8_t *bytes;
    size_t size, total = 0;
    int rc;

    *ret_bytes = NULL;
    rc = segment_reader_get(reader, offset, RECORD_HEADER_BYTES, limit, &bytes,
                            &size);
    if (rc == 0)
        rc = record_peek(bytes, size, ret_header, &total);
    if (rc == 0)
        rc = segment_reader_get(reader, offset, total, limit, &bytes, &size);
    if (rc == 0)
        rc = record_check(bytes, size, ret_header);
    if (rc < 0)
        return rc == -EBADMSG ? 0 : rc;
    *ret_total = total;
    *ret_bytes = bytes;
    return 1;
}

int segment_walk(struct segment_reader *reader, uint64_t from, uint64_t limit,
                 const struct lineage *lineage, struct continuity *continuity,
                 uint64_t *ret_part1, uint64_t *ret_end)
{
    struct record_header header;
    const uint8_t *bytes;
    uint64_t at = from;
    size_t total;
    int rc = 0;

    while (at < limit) {
        rc = segment_reader_record(reader, at, limit, &header, &total, &bytes);
        if (rc <= 0 || !lineage_is_equal(&header.lineage, lineage) ||
            !continuity_accepts(continuity, &header))
            break;
        continuity_advance(continuity, &header);
        if (header.part == 1)
            *ret_part1 = at;
        at += total;
    }
    if (rc < 0)
        return rc;
    *ret_end = at;
    return 0;
}

/* Offset of the next place in [from, limit) where a record may begin. */
static int find_magic(struct segment_reader *reader, uint64_t from,
                      uint64_t limit, uint64_t *ret_at)
{
    static const char magic[] = "TMKREC\r\n";

    while (from < limit) {
        const uint8_t *bytes, *found;
        size_t size;
        int rc = segment_reader_get(reader, from, WINDOW_BYTES, limit, &bytes,
                                    &size);

        if (rc < 0)
            return rc;
        if (size < 8)
            break;
        ASSERT(bytes != NULL);
        found = memmem(bytes, size, magic, 8);
        if (found != NULL) {
            *ret_at = from + (uint64_t)(found - bytes);
            return 1;
        }
        from += size - 7; /* it may begin in the last seven */
    }
    return 0;
}

int segment_holds_record(struct segment_reader *reader, uint64_t from,
                         uint64_t limit)
{
    struct record_header header;
    const uint8_t *bytes;
    size_t total;
    uint64_t at;
    int rc = find_magic(reader, from, limit, &at);

    while (rc > 0) {
        rc = segment_reader_record(reader, at, limit, &header, &total, &bytes);
        if (rc > 0 || rc == -EPROTONOSUPPORT)
            return 1;
        if (rc == 0)
            rc = find_magic(reader, at + 1, limit, &at);
    }
    return rc;
}

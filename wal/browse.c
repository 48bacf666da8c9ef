/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/browse.c - see browse.h.
 *
 * The TXIDs at which records end never fall from one record to the next, and
 * each segment's header says how far they had come before it: one segment
 * holds what is looked for, and is walked header by header, from the last
 * place read or appended when that is nearer. Records of a transaction whose
 * last part is missing are not there for a reader.
 */
#include "wal/browse.h"

#include "base/assert.h"

#include <errno.h>

void browse_forget(struct browse *browse)
{
    browse->last_read = (struct browse_hint){0};
    browse->last_append = (struct browse_hint){0};
    shelf_rest(browse->shelf);
}

static int damaged(const struct shelf_segment *segment)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(&segment->header, name);
    return site_fail(SITE_LOG_READ, name, EBADMSG);
}

/* Bytes of a segment up to which whole records lie. */
static uint64_t whole_end(const struct shelf *shelf,
                          const struct shelf_segment *segment)
{
    bool unfinished = shelf->continuity.unfinished.parts != 0;
    uint32_t sequence = segment->header.sequence;

    if (unfinished && sequence == shelf->part1.sequence)
        return shelf->part1.offset;
    if (unfinished && sequence > shelf->part1.sequence)
        return SEGMENT_HEADER_BYTES;
    return segment->end;
}

/* ---- seeking ------------------------------------------------------------- */

/* The segment in which the first record that reaches txid begins. */
static const struct shelf_segment *segment_of(const struct shelf *shelf,
                                              txid_t txid)
{
    size_t low = 0, high = shelf->count - 1;

    while (low < high) { /* before_txid never falls */
        size_t middle = low + (high - low + 1) / 2;

        if (shelf->segments[middle]->header.before_txid < txid)
            low = middle;
        else
            high = middle - 1;
    }
    return shelf->segments[low];
}

static void begin_at(const struct browse_hint *hint, txid_t txid,
                     struct log_cursor *cursor)
{
    if (hint->cursor.sequence == cursor->sequence && hint->txid < txid &&
        hint->cursor.offset > cursor->offset)
        *cursor = hint->cursor;
}

/* The header of the record that begins at offset, and its size. */
static int header_at(struct shelf *shelf, const struct shelf_segment *segment,
                     uint64_t offset, struct record_header *ret_header,
                     size_t *ret_total)
{
    const uint8_t *bytes;
    size_t size;
    int rc = segment_reader_get(&shelf->reader, offset, RECORD_HEADER_BYTES,
                                segment->end, &bytes, &size);

    if (rc == 0)
        rc = record_peek(bytes, size, ret_header, ret_total);
    if (rc == -EBADMSG || rc == -EPROTONOSUPPORT)
        return damaged(segment);
    return rc;
}

int browse_seek(struct browse *browse, txid_t txid,
                struct log_cursor *ret_cursor)
{
    struct shelf *shelf = browse->shelf;
    const struct shelf_segment *segment;
    struct record_header header = {0};
    struct log_cursor cursor;
    size_t total = 0;
    int rc;

    if (shelf->count == 0 || txid > continuity_reach_txid(&shelf->continuity))
        return -ENOENT;
    segment = segment_of(shelf, txid);
    cursor = (struct log_cursor){segment->header.sequence,
                                 SEGMENT_HEADER_BYTES};
    begin_at(&browse->last_read, txid, &cursor);
    begin_at(&browse->last_append, txid, &cursor);
    rc = shelf_turn(shelf, segment);
    while (rc == 0) {
        rc = header_at(shelf, segment, cursor.offset, &header, &total);
        if (rc < 0 || header.last_txid >= txid)
            break;
        cursor.offset += total;
    }
    if (rc == 0)
        *ret_cursor = cursor;
    return rc;
}

/* ---- reading ------------------------------------------------------------- */

/* Where the record after the cursor lies. */
static int next_place(const struct shelf *shelf, struct log_cursor *cursor,
                      const struct shelf_segment **ret_segment)
{
    const struct shelf_segment *segment = shelf_find(shelf, cursor->sequence);

    if (segment == NULL)
        return shelf->count > 0 &&
                       cursor->sequence > shelf->segments[0]->header.sequence
                   ? -ENOENT
                   : -ESTALE;
    while (cursor->offset >= segment->end) {
        segment = shelf_find(shelf, cursor->sequence + 1);
        if (segment == NULL)
            return -ENOENT;
        *cursor = (struct log_cursor){segment->header.sequence,
                                      SEGMENT_HEADER_BYTES};
    }
    if (cursor->offset >= whole_end(shelf, segment))
        return -ENOENT;
    *ret_segment = segment;
    return 0;
}

int browse_skip(struct browse *browse, struct log_cursor *cursor,
                struct record_header *ret_header)
{
    struct shelf *shelf = browse->shelf;
    const struct shelf_segment *segment;
    struct log_cursor place = *cursor;
    size_t total = 0;
    int rc = next_place(shelf, &place, &segment);

    if (rc == 0)
        rc = shelf_turn(shelf, segment);
    if (rc == 0)
        rc = header_at(shelf, segment, place.offset, ret_header, &total);
    if (rc < 0)
        return rc;
    place.offset += total;
    *cursor = place;
    return 0;
}

static int read_record(struct shelf *shelf, const struct log_cursor *cursor,
                       const struct shelf_segment *segment,
                       struct record_header *ret_header, struct blob **ret_blob)
{
    struct blob *blob;
    const uint8_t *bytes = NULL;
    size_t total = 0;
    int rc = shelf_turn(shelf, segment);

    if (rc == 0)
        rc = segment_reader_record(&shelf->reader, cursor->offset, segment->end,
                                   ret_header, &total, &bytes);
    if (rc == 0 || rc == -EPROTONOSUPPORT)
        return damaged(segment);
    if (rc < 0)
        return rc;
    blob = site_fault(SITE_LOG_ALLOC) != 0 ? NULL : blob_new(total);
    if (blob == NULL)
        return site_fail(SITE_LOG_ALLOC, NULL, ENOMEM);
    ASSERT(bytes != NULL);
    memcpy(blob->data, bytes, total);
    blob->size = total;
    *ret_blob = blob;
    return 0;
}

int browse_read(struct browse *browse, struct log_cursor *cursor,
                struct record_header *ret_header, struct blob **ret_blob)
{
    struct shelf *shelf = browse->shelf;
    const struct shelf_segment *segment;
    struct log_cursor place = *cursor;
    struct record_header header;
    int rc = next_place(shelf, &place, &segment);

    if (rc == 0)
        rc = read_record(shelf, &place, segment, &header, ret_blob);
    if (rc == -ENOENT)
        shelf_rest(shelf); /* nobody reads here for a while */
    if (rc != 0)
        return rc;
    place.offset += (*ret_blob)->size;
    browse->last_read = (struct browse_hint){place, header.last_txid};
    *cursor = place;
    *ret_header = header;
    return 0;
}

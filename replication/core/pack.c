/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/pack.c - see pack.h. */
#include "replication/core/pack.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>

/* ---- writing --------------------------------------------------------------*/

void pack_begin(struct pack_writer *writer, enum message_type type,
                unsigned flags, uint32_t stream, size_t body_max)
{
    ASSERT(body_max <= MESSAGE_BODY_MAX_BYTES);
    *writer = (struct pack_writer){
        .blob = blob_new(MESSAGE_HEADER_BYTES + body_max),
        .type = type,
        .flags = flags,
        .stream = stream,
    };
    if (writer->blob != NULL)
        writer->blob->size = MESSAGE_HEADER_BYTES;
}

/* Where the next size bytes go; NULL when there is no blob. */
static uint8_t *writer_room(struct pack_writer *writer, size_t size)
{
    struct blob *blob = writer->blob;
    uint8_t *at;

    if (blob == NULL)
        return NULL;
    ASSERT(blob->capacity - blob->size >= size);
    at = blob->data + blob->size;
    blob->size += size;
    return at;
}

void pack_u8(struct pack_writer *writer, uint8_t value)
{
    uint8_t *at = writer_room(writer, 1);

    if (at != NULL)
        *at = value;
}

void pack_u16(struct pack_writer *writer, uint16_t value)
{
    uint8_t *at = writer_room(writer, 2);

    if (at != NULL)
        put_le16(at, value);
}

void pack_u32(struct pack_writer *writer, uint32_t value)
{
    uint8_t *at = writer_room(writer, 4);

    if (at != NULL)
        put_le32(at, value);
}

void pack_u64(struct pack_writer *writer, uint64_t value)
{
    uint8_t *at = writer_room(writer, 8);

    if (at != NULL)
        put_le64(at, value);
}

void pack_bytes(struct pack_writer *writer, const void *bytes, size_t size)
{
    uint8_t *at = writer_room(writer, size);

    if (at != NULL && size > 0)
        memcpy(at, bytes, size);
}

void pack_text8(struct pack_writer *writer, const char *text)
{
    size_t length = strlen(text);

    ASSERT(length <= UINT8_MAX);
    pack_u8(writer, (uint8_t)length);
    pack_bytes(writer, text, length);
}

void pack_text16(struct pack_writer *writer, const char *text)
{
    size_t length = strlen(text);

    ASSERT(length <= UINT16_MAX);
    pack_u16(writer, (uint16_t)length);
    pack_bytes(writer, text, length);
}

void pack_lineage(struct pack_writer *writer, const struct lineage *lineage)
{
    pack_bytes(writer, lineage->bytes, LINEAGE_BYTES);
}

void pack_position(struct pack_writer *writer, const struct position *position)
{
    pack_u64(writer, position->epoch);
    pack_u64(writer, position->txid);
    pack_u64(writer, position->sum);
}

void pack_history(struct pack_writer *writer, const struct history *history)
{
    uint8_t *at = writer_room(writer, history_encoded_bytes(history));

    if (at != NULL)
        history_encode(history, at);
}

void pack_u32_at(struct pack_writer *writer, size_t offset, uint32_t value)
{
    if (writer->blob == NULL)
        return;
    ASSERT(MESSAGE_HEADER_BYTES + offset + 4 <= writer->blob->size);
    put_le32(writer->blob->data + MESSAGE_HEADER_BYTES + offset, value);
}

int pack_finish(struct pack_writer *writer, struct blob **ret_blob)
{
    struct blob *blob = writer->blob;

    if (blob == NULL)
        return -ENOMEM;
    message_header_encode(blob->data, writer->type, writer->flags,
                          writer->stream, blob->data + MESSAGE_HEADER_BYTES,
                          blob->size - MESSAGE_HEADER_BYTES);
    writer->blob = NULL;
    *ret_blob = blob;
    return 0;
}

/* ---- reading --------------------------------------------------------------*/

struct pack_reader pack_open(const struct blob *body)
{
    if (body == NULL)
        return (struct pack_reader){0};
    return (struct pack_reader){.bytes = body->data, .size = body->size};
}

/* The next size bytes; NULL when they are not all there. */
static const uint8_t *reader_take(struct pack_reader *reader, size_t size)
{
    const uint8_t *at;

    pack_require(reader, reader->size - reader->used >= size);
    if (reader->failed != 0)
        return NULL;
    at = reader->bytes + reader->used;
    reader->used += size;
    return at;
}

uint8_t pack_take_u8(struct pack_reader *reader)
{
    const uint8_t *at = reader_take(reader, 1);

    return at == NULL ? 0 : *at;
}

uint16_t pack_take_u16(struct pack_reader *reader)
{
    const uint8_t *at = reader_take(reader, 2);

    return at == NULL ? 0 : get_le16(at);
}

uint32_t pack_take_u32(struct pack_reader *reader)
{
    const uint8_t *at = reader_take(reader, 4);

    return at == NULL ? 0 : get_le32(at);
}

uint64_t pack_take_u64(struct pack_reader *reader)
{
    const uint8_t *at = reader_take(reader, 8);

    return at == NULL ? 0 : get_le64(at);
}

static bool text_is_clean(const uint8_t *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] == 0x7f)
            return false;
    return true;
}

static void pack_take_text(struct pack_reader *reader, size_t length,
                           char *ret_text, size_t max)
{
    const uint8_t *at = reader_take(reader, length);

    ret_text[0] = '\0';
    if (at == NULL)
        return;
    pack_require(reader, length <= max && text_is_clean(at, length));
    if (reader->failed != 0)
        return;
    memcpy(ret_text, at, length);
    ret_text[length] = '\0';
}

void pack_take_text8(struct pack_reader *reader, char *ret_text, size_t max)
{
    pack_take_text(reader, pack_take_u8(reader), ret_text, max);
}

void pack_take_text16(struct pack_reader *reader, char *ret_text, size_t max)
{
    pack_take_text(reader, pack_take_u16(reader), ret_text, max);
}

struct lineage pack_take_lineage(struct pack_reader *reader)
{
    const uint8_t *at = reader_take(reader, LINEAGE_BYTES);
    struct lineage lineage = {{0}};

    if (at != NULL)
        memcpy(lineage.bytes, at, LINEAGE_BYTES);
    return lineage;
}

struct position pack_take_position(struct pack_reader *reader)
{
    struct position position;

    position.epoch = pack_take_u64(reader);
    position.txid = pack_take_u64(reader);
    position.sum = pack_take_u64(reader);
    return position;
}

void pack_take_history(struct pack_reader *reader, struct history *ret_history)
{
    size_t used = 0;
    int rc;

    *ret_history = (struct history){0};
    if (reader->failed != 0)
        return;
    rc = history_decode(ret_history, reader->bytes + reader->used,
                        reader->size - reader->used, &used);
    if (rc < 0)
        reader->failed = rc == -ENOMEM ? rc : -EBADMSG;
    else
        reader->used += used;
}

void pack_require(struct pack_reader *reader, bool ok)
{
    if (!ok && reader->failed == 0)
        reader->failed = -EBADMSG;
}

int pack_end(const struct pack_reader *reader)
{
    if (reader->failed == 0 && reader->used != reader->size)
        return -EBADMSG;
    return reader->failed;
}

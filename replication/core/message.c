/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/message.c - header first, then a blob of just the size
 * the header announces: never more than one message is held, and a record
 * arrives in the blob that the log and the applier will hold.
 *
 * Failure: the first bad sum ends the decoder for good. There is no way to
 * find the next message after a header that lies, so none is looked for.
 */
#include "replication/core/message.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc.h"

#include <errno.h>
#include <stdbool.h>

#define SUMMED_BYTES (MESSAGE_HEADER_BYTES - 4) /* of a header */

static const char *const type_names[MESSAGE_TYPES] = {
    [MESSAGE_HELLO] = "HELLO",
    [MESSAGE_WELCOME] = "WELCOME",
    [MESSAGE_REFUSE] = "REFUSE",
    [MESSAGE_DATABASE] = "DATABASE",
    [MESSAGE_OPEN] = "OPEN",
    [MESSAGE_RECORD] = "RECORD",
    [MESSAGE_CHUNK] = "CHUNK",
    [MESSAGE_COPIED] = "COPIED",
    [MESSAGE_ACK] = "ACK",
    [MESSAGE_CREDIT] = "CREDIT",
    [MESSAGE_HEARTBEAT] = "HEARTBEAT",
    [MESSAGE_ROSTER] = "ROSTER",
    [MESSAGE_ATTR] = "ATTR",
    [MESSAGE_DROP] = "DROP",
    [MESSAGE_RESYNC] = "RESYNC",
    [MESSAGE_BYE] = "BYE",
    [MESSAGE_HASHES] = "HASHES",
    [MESSAGE_SAME] = "SAME",
};

static bool type_is_known(unsigned type)
{
    return type < MESSAGE_TYPES && type_names[type] != NULL;
}

const char *message_type_name(unsigned type)
{
    return type_is_known(type) ? type_names[type] : "?";
}

static bool type_has_own_hash(unsigned type)
{
    return type == MESSAGE_RECORD || type == MESSAGE_CHUNK;
}

static uint32_t body_sum(unsigned type, const uint8_t *body, size_t length)
{
    return length == 0 || type_has_own_hash(type) ? 0 : crc_of(body, length);
}

void message_header_encode(uint8_t *bytes, enum message_type type,
                           unsigned flags, uint32_t stream, const uint8_t *body,
                           size_t length)
{
    ASSERT(type_is_known(type) && (flags & ~MESSAGE_FLAGS) == 0);
    ASSERT(length <= MESSAGE_BODY_MAX_BYTES);
    put_le32(bytes, (uint32_t)length);
    bytes[4] = (uint8_t)type;
    bytes[5] = (uint8_t)flags;
    put_le16(bytes + 6, 0);
    put_le32(bytes + 8, stream);
    put_le32(bytes + 12, body_sum(type, body, length));
    put_le32(bytes + SUMMED_BYTES, crc_of(bytes, SUMMED_BYTES));
}

void message_decoder_init(struct message_decoder *decoder)
{
    *decoder = (struct message_decoder){
        .max_bytes = MESSAGE_GREETING_MAX_BYTES};
}

void message_decoder_close(struct message_decoder *decoder)
{
    blob_unref(decoder->body);
    *decoder = (struct message_decoder){.failed = -ECANCELED};
}

void message_decoder_open(struct message_decoder *decoder)
{
    decoder->max_bytes = MESSAGE_BODY_MAX_BYTES;
}

/* The header is whole: checks it and makes room for its body. */
static int decoder_begin(struct message_decoder *decoder)
{
    const uint8_t *header = decoder->header;

    decoder->body_bytes = get_le32(header);
    decoder->body_used = 0;
    if (get_le32(header + SUMMED_BYTES) != crc_of(header, SUMMED_BYTES))
        return -EBADMSG;
    if ((header[5] & ~MESSAGE_FLAGS) != 0 || get_le16(header + 6) != 0)
        return -EBADMSG;
    if (!type_is_known(header[4]) && (header[5] & MESSAGE_OPTIONAL) == 0)
        return -EPROTONOSUPPORT;
    if (decoder->body_bytes > decoder->max_bytes)
        return -E2BIG;
    if (decoder->body_bytes == 0 || !type_is_known(header[4]))
        return 0;
    decoder->body = blob_new(decoder->body_bytes);
    return decoder->body == NULL ? -ENOMEM : 0;
}

/* Moves up to size bytes into the header; true when it is whole. */
static bool decoder_take_header(struct message_decoder *decoder,
                                const uint8_t *bytes, size_t size,
                                size_t *ret_used)
{
    size_t want = MESSAGE_HEADER_BYTES - decoder->header_used;
    size_t take = size < want ? size : want;

    memcpy(decoder->header + decoder->header_used, bytes, take);
    decoder->header_used += take;
    *ret_used = take;
    return take == want;
}

static bool decoder_take_body(struct message_decoder *decoder,
                              const uint8_t *bytes, size_t size,
                              size_t *ret_used)
{
    size_t want = decoder->body_bytes - decoder->body_used;
    size_t take = size < want ? size : want;

    if (decoder->body != NULL && take > 0)
        memcpy(decoder->body->data + decoder->body_used, bytes, take);
    decoder->body_used += take;
    *ret_used = take;
    return take == want;
}

/* The message is whole: 1, 0 when it was one to skip, -EBADMSG. */
static int decoder_finish(struct message_decoder *decoder,
                          struct message *ret_message)
{
    const uint8_t *header = decoder->header;

    decoder->header_used = 0;
    if (!type_is_known(header[4]))
        return 0;
    if (get_le32(header + 12) !=
        body_sum(header[4], decoder->body == NULL ? NULL : decoder->body->data,
                 decoder->body_bytes))
        return -EBADMSG;
    if (decoder->body != NULL)
        decoder->body->size = decoder->body_bytes;
    *ret_message = (struct message){
        .type = (enum message_type)header[4],
        .flags = header[5],
        .stream = get_le32(header + 8),
        .body = decoder->body,
    };
    decoder->body = NULL;
    return 1;
}

int message_decode(struct message_decoder *decoder, const uint8_t *bytes,
                   size_t size, size_t *ret_used, struct message *ret_message)
{
    size_t used = 0, took;
    bool whole = true;
    int done = 0;

    while (decoder->failed == 0 && whole && done == 0) {
        if (decoder->header_used < MESSAGE_HEADER_BYTES) {
            whole = decoder_take_header(decoder, bytes + used, size - used,
                                        &took);
            if (whole)
                decoder->failed = decoder_begin(decoder);
        } else {
            whole = decoder_take_body(decoder, bytes + used, size - used,
                                      &took);
            done = whole ? decoder_finish(decoder, ret_message) : 0;
            if (done < 0)
                decoder->failed = done;
        }
        used += took;
    }
    *ret_used = used;
    return done == 1 ? 1 : decoder->failed;
}

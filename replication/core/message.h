/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/message.h - the frame of every message between two nodes,
 * and the decoder that finds messages in bytes cut anywhere.
 *
 * A connection is two streams of bytes, one each way; each is messages back
 * to back and nothing else. Integers are little-endian.
 *
 *   offset  size  field
 *        0     4  length    of the body, at most MESSAGE_BODY_MAX_BYTES
 *        4     1  type      enum message_type
 *        5     1  flags     1 OPTIONAL, 2 LAST; other bits 0
 *        6     2  reserved  0
 *        8     4  stream    0: the connection itself, else a database
 *       12     4  body sum  CRC-32C of the body; 0 for RECORD and CHUNK, which
 *                           bring a hash of their own
 *       16     4  sum       CRC-32C of bytes 0..15
 *       20     -  body      length bytes, laid out as body.h says
 *
 * TCP's own sum is weak, and boxes on the way make it anew over what they
 * broke. A length that lies would have a node wait for megabytes that never
 * come, a changed name or epoch would be believed for good. So a message is
 * taken as it was sent or not at all: the first sum that does not fit ends
 * the connection, and the replica goes on from where it was with a new one.
 *
 * Who speaks when. The replica connects and speaks first:
 *
 *   replica                                primary
 *   HELLO                               -> WELCOME, or REFUSE and close
 *   DATABASE for each it has,
 *   then an empty one with LAST         -> OPEN for each it should follow
 *                                          RECORD*                  resumed
 *                                          CHUNK* COPIED RECORD*    copied
 *   HASHES* of what it has              -> { SAME CHUNK* }*
 *                                          COPIED RECORD*           delta
 *   ACK, CREDIT, as it takes them
 *   RESYNC when it cannot go on         -> OPEN again, same stream
 *                                          ATTR, DROP, when they happen
 *   HEARTBEAT, each second, both ways      ROSTER with it
 *   BYE, then close                        BYE, then close
 *
 * A primary that asks (net/asking.h) opens no streams. After the LAST it says
 * DATABASE, what it has itself, for each of which the replica has more; the
 * replica answers with OPEN, RECORD*, and is told ACK, CREDIT and RESYNC, the
 * numbers of these streams being its own. Then BYE, reason "again".
 *
 * A stream number is chosen by the primary in its first OPEN of a database
 * and means that database until the connection ends. Messages of one stream
 * keep their order; those of different streams owe each other nothing.
 *
 * A RECORD may be a PREPARED (wal/record.h): a commit that its primary holds.
 * It goes out before the primary's position is there, with nothing behind it
 * until its RESOLVE. What DATABASE, RESYNC and ACK say of it: body.h.
 *
 * Flow control. RECORD, CHUNK and SAME cost their body length in credit of
 * their stream, which starts at MESSAGE_CREDIT_BYTES with the connection. One
 * may be sent while credit is above 0, so that one larger than the window
 * still goes; CREDIT gives back what the replica has done with, whether it was
 * applied or thrown away. Of HASHES, BODY_HASHES_AHEAD may be unanswered.
 * Everything else is small and free.
 *
 * Growing. A body may not be longer or shorter than its type says, except
 * HELLO, which is read before versions are agreed: bytes after those known
 * are skipped. A type that is not known is skipped when OPTIONAL is set, and
 * ends the connection when it is not.
 *
 * Pure but for memory. Any thread, one struct message_decoder each.
 */
#ifndef TIDEMARK_REPLICATION_CORE_MESSAGE_H
#define TIDEMARK_REPLICATION_CORE_MESSAGE_H

#include "base/blob.h"

#include <stddef.h>
#include <stdint.h>

#define MESSAGE_VERSION_MIN 1u /* oldest protocol this program speaks */
#define MESSAGE_VERSION_MAX 1u

#define MESSAGE_HEADER_BYTES 20u
#define MESSAGE_BODY_MAX_BYTES (17u << 20)
#define MESSAGE_GREETING_MAX_BYTES 4096u /* body, before WELCOME is sent */
#define MESSAGE_CREDIT_BYTES (4u << 20)

enum message_type {
    MESSAGE_HELLO = 1,
    MESSAGE_WELCOME = 2,
    MESSAGE_REFUSE = 3,
    MESSAGE_DATABASE = 4,
    MESSAGE_OPEN = 5,
    MESSAGE_RECORD = 6, /* body: a record, byte for byte as in the log */
    MESSAGE_CHUNK = 7,  /* body: a record with RECORD_SNAPSHOT, some pages */
    MESSAGE_COPIED = 8,
    MESSAGE_ACK = 9,
    MESSAGE_CREDIT = 10,
    MESSAGE_HEARTBEAT = 11,
    MESSAGE_ROSTER = 12,
    MESSAGE_ATTR = 13,
    MESSAGE_DROP = 14,
    MESSAGE_RESYNC = 15,
    MESSAGE_BYE = 16,
    MESSAGE_HASHES = 17,
    MESSAGE_SAME = 18,
    MESSAGE_TYPES
};

#define MESSAGE_OPTIONAL 1u /* whoever does not know the type skips it */
#define MESSAGE_LAST                                                           \
    2u /* DATABASE: the list is complete, body empty;
                               HASHES: these are the last */
#define MESSAGE_FLAGS (MESSAGE_OPTIONAL | MESSAGE_LAST)

struct message {
    enum message_type type;
    unsigned flags;
    uint32_t stream;
    struct blob *body; /* the body alone; NULL when empty */
};

/* "HELLO"; "?" for a number that is no type. */
const char *message_type_name(unsigned type);

/* Writes the MESSAGE_HEADER_BYTES in front of a body of length bytes, which
 * may follow them; body may be NULL when length is 0. */
void message_header_encode(uint8_t *bytes, enum message_type type,
                           unsigned flags, uint32_t stream, const uint8_t *body,
                           size_t length);

struct message_decoder {
    uint8_t header[MESSAGE_HEADER_BYTES];
    size_t header_used;
    uint32_t max_bytes; /* of a body; raised once the peer is known */
    size_t body_bytes;  /* announced, valid once the header is whole */
    size_t body_used;   /* arrived, also of one that is skipped */
    struct blob *body;  /* being filled; NULL: none, or skipped */
    int failed;         /* first error; nothing is read after it */
};

/* A decoder at the start of a connection: bodies are limited to
 * MESSAGE_GREETING_MAX_BYTES until message_decoder_open(). */
void message_decoder_init(struct message_decoder *decoder);
void message_decoder_close(struct message_decoder *decoder);

/* The peer is who it should be: bodies up to MESSAGE_BODY_MAX_BYTES. */
void message_decoder_open(struct message_decoder *decoder);

/*
 * Takes bytes of the connection until they end or a message is complete.
 * ret_used says how many were taken. Returns 1 with a message, whose body
 * (one reference) is the caller's; 0 when all bytes are used up.
 * -EBADMSG: not our framing, or not as it was sent; -E2BIG: body above the
 * limit; -EPROTONOSUPPORT: unknown type without OPTIONAL; -ENOMEM. An error
 * is final.
 */
int message_decode(struct message_decoder *decoder, const uint8_t *bytes,
                   size_t size, size_t *ret_used, struct message *ret_message);

#endif

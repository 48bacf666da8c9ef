/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/pack.h - puts fields into a message one after the other,
 * and takes them out again without ever reading past the end.
 *
 * A writer owns a blob large enough for all it will hold; its maker says how
 * much that is and asserts keep it honest. A reader remembers that something
 * was wrong, so that a body is taken apart in a straight line and checked
 * once at the end: after a failure every field is 0 or "".
 * Pure but for memory. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_PACK_H
#define TIDEMARK_REPLICATION_CORE_PACK_H

#include "replication/core/message.h"
#include "wal/history.h"
#include "wal/position.h"

#include <stdbool.h>

#define PACK_POSITION_BYTES 24u

struct pack_writer {
    struct blob *blob; /* NULL: no memory; the rest are then no-ops */
    enum message_type type;
    unsigned flags;
    uint32_t stream;
};

/* Room for a body of body_max bytes. */
void pack_begin(struct pack_writer *writer, enum message_type type,
                unsigned flags, uint32_t stream, size_t body_max);

void pack_u8(struct pack_writer *writer, uint8_t value);
void pack_u16(struct pack_writer *writer, uint16_t value);
void pack_u32(struct pack_writer *writer, uint32_t value);
void pack_u64(struct pack_writer *writer, uint64_t value);
void pack_bytes(struct pack_writer *writer, const void *bytes, size_t size);
void pack_text8(struct pack_writer *writer, const char *text);
void pack_text16(struct pack_writer *writer, const char *text);
void pack_lineage(struct pack_writer *writer, const struct lineage *lineage);
void pack_position(struct pack_writer *writer, const struct position *position);
void pack_history(struct pack_writer *writer, const struct history *history);

/* Overwrites a u32 at a place in the body, for counts known at the end. */
void pack_u32_at(struct pack_writer *writer, size_t offset, uint32_t value);

/* Writes the header; the blob is the caller's. 0 or -ENOMEM. */
int pack_finish(struct pack_writer *writer, struct blob **ret_blob);

struct pack_reader {
    const uint8_t *bytes; /* borrowed from the blob */
    size_t size;
    size_t used;
    int failed; /* 0 or -errno */
};

/* body may be NULL: empty. */
struct pack_reader pack_open(const struct blob *body);

uint8_t pack_take_u8(struct pack_reader *reader);
uint16_t pack_take_u16(struct pack_reader *reader);
uint32_t pack_take_u32(struct pack_reader *reader);
uint64_t pack_take_u64(struct pack_reader *reader);
void pack_take_text8(struct pack_reader *reader, char *ret_text, size_t max);
void pack_take_text16(struct pack_reader *reader, char *ret_text, size_t max);
struct lineage pack_take_lineage(struct pack_reader *reader);
struct position pack_take_position(struct pack_reader *reader);

/* Leaves ret_history empty on failure; else the caller owns it. */
void pack_take_history(struct pack_reader *reader, struct history *ret_history);

/* Marks the body as bad unless ok. */
void pack_require(struct pack_reader *reader, bool ok);

/* 0, or the first failure, or -EBADMSG when bytes are left over. */
int pack_end(const struct pack_reader *reader);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/segment.h - one file of a log: a header, then records back to back.
 *
 * Name: "<first TXID, 16 hex digits>-<sequence, 8 hex digits>.seg", so that
 * a listing in order of names is in order of time as well.
 *
 *   offset  size  field        integers are little-endian
 *        0     8  magic        "TMKLOG\r\n"
 *        8     4  version      1
 *       12     4  sequence     of this segment: from 1, +1, never reused
 *       16    16  lineage      raw
 *       32     8  first TXID   of its first record
 *       40     8  TXID before  last TXID of the record before it, be it still
 *                              there or trimmed; 0: the log begins here
 *       48     4  first part   of its first record; > 1: that record began
 *                              in an earlier segment
 *       52     4  zero, checked
 *       56     8  XXH3-64 of bytes 0..55
 *       64     -  records (record.h), no padding, until the end of the file
 *
 * Magic, version and header hash stay where they are in every version, as
 * with records. Header and first record are written by one call: a segment
 * without a record was never finished.
 *
 * Sizes: a new segment is full when the next record would take it past
 * SEGMENT_CAP_FIRST_BYTES << (sequence - 1), at most SEGMENT_CAP_LAST_BYTES;
 * it always takes one record, and a RESOLVE always stays with what it
 * resolves. So small databases keep little and large ones few files. It may
 * end earlier, when the log has little room (log_limit_segments()).
 *
 * Functions return 0 or a negative errno. One thread per reader.
 */
#ifndef TIDEMARK_WAL_SEGMENT_H
#define TIDEMARK_WAL_SEGMENT_H

#include "base/os.h"
#include "wal/continuity.h"

#define SEGMENT_HEADER_BYTES 64u
#define SEGMENT_VERSION 1u
#define SEGMENT_NAME_BYTES 30 /* with the final 0 */
#define SEGMENT_CAP_FIRST_BYTES (64u << 10)
#define SEGMENT_CAP_LAST_BYTES (16u << 20)

struct segment_header {
    struct lineage lineage;
    uint32_t sequence;   /* > 0 */
    txid_t first_txid;   /* > 0 */
    txid_t before_txid;  /* 0: none before */
    uint32_t first_part; /* > 0 */
};

void segment_header_encode(const struct segment_header *header,
                           uint8_t bytes[SEGMENT_HEADER_BYTES]);

/* -EBADMSG: no header, or damaged; -EPROTONOSUPPORT: newer. Pure. */
int segment_header_decode(const uint8_t *bytes, size_t size,
                          struct segment_header *ret_header);

void segment_name(const struct segment_header *header,
                  char ret_name[SEGMENT_NAME_BYTES]);

/* True when name is one segment_name() makes. Other names are not ours. */
bool segment_name_parse(const char *name, txid_t *ret_first_txid,
                        uint32_t *ret_sequence);

/* When the file of that name was last written to, ns since 1970, never 0;
 * UINT64_MAX, as if it were to come, when it does not say. */
uint64_t segment_written_ns(int dirfd, const char *name);

/* Bytes from which on a segment of that sequence is full; not above most, if
 * the first size is not (0: no matter). */
uint64_t segment_cap(uint32_t sequence, uint64_t most);

/*
 * A window on a file, for reading records one after the other with few system
 * calls. Zeroed is a closed one. file is borrowed and must outlive it.
 */
struct segment_reader {
    const struct os_file *file;
    uint8_t *bytes; /* owned */
    size_t capacity;
    uint64_t offset; /* of bytes[0] in the file */
    size_t size;     /* bytes that are there */
};

/* Turns to another file, or the same one changed; keeps the memory. */
void segment_reader_turn(struct segment_reader *reader,
                         const struct os_file *file);
void segment_reader_free(struct segment_reader *reader);

/*
 * Bytes [offset, offset + size) of the file, as far as they lie before limit;
 * ret_size says how many there are. They stay valid until the next call.
 * -ENOMEM, or what reading says. size <= RECORD_MAX_BYTES.
 */
int segment_reader_get(struct segment_reader *reader, uint64_t offset,
                       size_t size, uint64_t limit, const uint8_t **ret_bytes,
                       size_t *ret_size);

/*
 * The whole record at offset: 1 and its bytes and header; 0: there is none,
 * but the end (offset == limit) or bytes that are no record (ret_bytes NULL).
 * -EPROTONOSUPPORT: a newer one; -ENOMEM; what reading says.
 */
int segment_reader_record(struct segment_reader *reader, uint64_t offset,
                          uint64_t limit, struct record_header *ret_header,
                          size_t *ret_total, const uint8_t **ret_bytes);

/*
 * Walks the records of [from, limit), adding each that continuity accepts;
 * ret_end: where it stopped. limit: all is well. Less: what lies there is no
 * whole record, or one that does not come next. ret_part1 (in and out): place
 * of the first part of the record that is unfinished, if any.
 */
int segment_walk(struct segment_reader *reader, uint64_t from, uint64_t limit,
                 const struct lineage *lineage, struct continuity *continuity,
                 uint64_t *ret_part1, uint64_t *ret_end);

/* Is there any whole record in [from, limit), at whatever offset? 1 or 0. */
int segment_holds_record(struct segment_reader *reader, uint64_t from,
                         uint64_t limit);

#endif

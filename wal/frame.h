/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/frame.h - the header and frames of a SQLite WAL.
 *
 * WAL header, 32 bytes, integers big-endian (SQLite file format):
 *   offset  size  field
 *        0     4  magic: 0x377f0682 or ...83: checksums over little- or
 *                 big-endian words; a writer takes its own byte order
 *        4     4  format, 3007000
 *        8     4  page size; 65536 is stored as it is
 *       12     4  checkpoint sequence, of no use to us: each connection
 *                 counts for itself
 *       16     8  salt-1 and salt-2: told apart by them, generations
 *       24     8  checksum of bytes 0..23, seed 0,0
 *
 * Frame k (from 1) starts at 32 + (k-1) * (24 + page size):
 *        0     4  pgno      page this frame replaces; 0 is never valid
 *        4     4  commit    database size in pages; 0 if not a commit
 *        8     8  salt      equals the WAL header's, else it is a leftover
 *       16     8  checksum  bytes 0..7 and the page, chained from before
 *       24     -  page      page_bytes long, as the WAL header says
 *
 * Checksum: two words s1, s2; for each pair of 32-bit words x, y of the
 * summed bytes, modulo 2^32: s1 += x + s2, then s2 += y + s1. The magic says
 * how x and y are read; s1 and s2 are stored big-endian under both magics.
 * Frame 1 starts from the sums stored in the WAL header, frame k from those
 * of frame k-1. Salts are compared, not summed.
 *
 * A frame is valid only if all before it are. The first one that is not ends
 * the log: that is no error, what lies beyond is an older generation. For a
 * live database only frames up to the wal-index's mxFrame are committed: a
 * valid commit frame beyond it may still be overwritten (walindex.h).
 * Pure: no IO, no allocation. Any thread, one struct frame_chain each.
 */
#ifndef TIDEMARK_WAL_FRAME_H
#define TIDEMARK_WAL_FRAME_H

#include "wal/page.h"

#define FRAME_WAL_HEADER_BYTES 32u
#define FRAME_HEADER_BYTES 24u
#define FRAME_SALT_BYTES 8u

/* The running checksum: two words in host order. */
struct frame_chain {
    uint32_t word[2];
    bool big_endian; /* how the summed bytes are read, from the magic */
};

struct frame_wal_header {
    uint32_t page_bytes;
    uint8_t salt[FRAME_SALT_BYTES]; /* raw, as in file and wal-index */
    struct frame_chain chain;       /* seed of frame 1 */
};

struct frame {
    pgno_t pgno;
    uint32_t commit_pages; /* database size after it; 0: not a commit */
    uint8_t salt[FRAME_SALT_BYTES];
    uint32_t checksum[2]; /* host order */
};

/* Byte offset of frame number (from 1) in the file. */
static inline uint64_t frame_offset(uint32_t number, uint32_t page_bytes)
{
    return FRAME_WAL_HEADER_BYTES +
           (uint64_t)(number - 1) * (FRAME_HEADER_BYTES + page_bytes);
}

/* Decodes 32 bytes. 0, or -EINVAL when it is no valid WAL header (an empty
 * WAL to SQLite): magic, format, page size or checksum. */
int frame_wal_header_decode(const uint8_t *bytes,
                            struct frame_wal_header *ret_header);

/* Writes 32 bytes, checksums in host byte order as SQLite does; fills
 * header->chain with the seed of frame 1. page_bytes and salt are read. */
void frame_wal_header_encode(struct frame_wal_header *header, uint8_t *bytes);

/* Fields of 24 header bytes; no check. */
void frame_decode(const uint8_t *bytes, struct frame *ret_frame);

/*
 * Written without salts and checksum: SQLite 3.40 (not 3.53) leaves such frames
 * behind, published, when a transaction that spilled rewrites a page within a
 * savepoint, and rolls that back. They are as good as others until a crash;
 * SQLite's own recovery ends before them.
 */
bool frame_is_unsummed(const struct frame *frame);

/*
 * Extends chain over one frame (24 header bytes and the page behind them) and
 * says whether its stored checksum agrees. chain is advanced either way.
 * Looks at neither salt nor page number: for frames known to be published.
 */
bool frame_check(struct frame_chain *chain, const uint8_t *frame_bytes,
                 uint32_t page_bytes);

/*
 * For who walks a WAL that nobody vouches for: true when the frame is the
 * next valid one, by salt, page number and checksum; chain is then extended
 * and the fields are in ret_frame. False: the log ends here, nothing changed.
 */
bool frame_accept(struct frame_chain *chain, const uint8_t *salt,
                  const uint8_t *frame_bytes, uint32_t page_bytes,
                  struct frame *ret_frame);

/* Writes the 24 header bytes at `bytes` for the page at bytes + 24, which is
 * there already, and extends chain over it. */
void frame_encode(struct frame_chain *chain, uint8_t *bytes, pgno_t pgno,
                  uint32_t commit_pages, const uint8_t *salt,
                  uint32_t page_bytes);

/* A chain from seed 0,0 that reads words as this host does. */
struct frame_chain frame_chain_native(void);

/* The checksum step over size bytes (a multiple of 8), words read as the
 * chain says; also used by the wal-index header, with a zero seed. */
void frame_chain_extend(struct frame_chain *chain, const uint8_t *bytes,
                        size_t size);

#endif

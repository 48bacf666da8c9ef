/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/frame.c - see frame.h for the format.
 *
 * Both sides of the wire live here: whoever reads a WAL trusts a frame only
 * by the chain, whoever writes one makes the chain. Nothing fails but the
 * check itself. Every page that is applied is summed once: the loop counts.
 */
#include "wal/frame.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>

#define MAGIC_LITTLE_ENDIAN 0x377f0682u
#define MAGIC_BIG_ENDIAN 0x377f0683u
#define FORMAT 3007000u

#define CHAINED_BYTES 8u /* of the frame header: pgno and commit */
#define SUM_AT_WAL_HEADER 24u
#define SALT_AT_WAL_HEADER 16u
#define SALT_AT 8u
#define SUM_AT 16u

#define HOST_IS_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

struct frame_chain frame_chain_native(void)
{
    return (struct frame_chain){.big_endian = HOST_IS_BIG_ENDIAN};
}

/*
 * Each word waits for the one before: two additions in a row for 8 bytes,
 * 4 bytes a cycle at best. Four steps a round reach that (measured: twice the
 * plain loop of gcc); more, or regrouping the additions, gains nothing.
 */
static inline void step(uint32_t *sum, uint32_t x, uint32_t y)
{
    sum[0] += x + sum[1];
    sum[1] += y + sum[0];
}

static void extend_little(uint32_t *word, const uint8_t *bytes, size_t size)
{
    uint32_t sum[2] = {word[0], word[1]};
    size_t at = 0;

    for (; at + 32 <= size; at += 32) {
        step(sum, get_le32(bytes + at), get_le32(bytes + at + 4));
        step(sum, get_le32(bytes + at + 8), get_le32(bytes + at + 12));
        step(sum, get_le32(bytes + at + 16), get_le32(bytes + at + 20));
        step(sum, get_le32(bytes + at + 24), get_le32(bytes + at + 28));
    }
    for (; at < size; at += 8)
        step(sum, get_le32(bytes + at), get_le32(bytes + at + 4));
    memcpy(word, sum, sizeof sum);
}

static void extend_big(uint32_t *word, const uint8_t *bytes, size_t size)
{
    uint32_t sum[2] = {word[0], word[1]};
    size_t at = 0;

    for (; at + 32 <= size; at += 32) {
        step(sum, get_be32(bytes + at), get_be32(bytes + at + 4));
        step(sum, get_be32(bytes + at + 8), get_be32(bytes + at + 12));
        step(sum, get_be32(bytes + at + 16), get_be32(bytes + at + 20));
        step(sum, get_be32(bytes + at + 24), get_be32(bytes + at + 28));
    }
    for (; at < size; at += 8)
        step(sum, get_be32(bytes + at), get_be32(bytes + at + 4));
    memcpy(word, sum, sizeof sum);
}

void frame_chain_extend(struct frame_chain *chain, const uint8_t *bytes,
                        size_t size)
{
    ASSERT(size % 8 == 0);
    if (chain->big_endian)
        extend_big(chain->word, bytes, size);
    else
        extend_little(chain->word, bytes, size);
}

/* True when the stored sums at `at` are those of chain. */
static bool chain_agrees(const struct frame_chain *chain, const uint8_t *at)
{
    return get_be32(at) == chain->word[0] && get_be32(at + 4) == chain->word[1];
}

static void chain_store(const struct frame_chain *chain, uint8_t *at)
{
    put_be32(at, chain->word[0]);
    put_be32(at + 4, chain->word[1]);
}

int frame_wal_header_decode(const uint8_t *bytes,
                            struct frame_wal_header *ret_header)
{
    uint32_t magic = get_be32(bytes), page_bytes = get_be32(bytes + 8);
    struct frame_chain chain = {.big_endian = magic == MAGIC_BIG_ENDIAN};

    if (magic != MAGIC_LITTLE_ENDIAN && magic != MAGIC_BIG_ENDIAN)
        return -EINVAL;
    if (get_be32(bytes + 4) != FORMAT || !page_size_is_valid(page_bytes))
        return -EINVAL;
    frame_chain_extend(&chain, bytes, SUM_AT_WAL_HEADER);
    if (!chain_agrees(&chain, bytes + SUM_AT_WAL_HEADER))
        return -EINVAL;
    ret_header->page_bytes = page_bytes;
    memcpy(ret_header->salt, bytes + SALT_AT_WAL_HEADER, FRAME_SALT_BYTES);
    ret_header->chain = chain;
    return 0;
}

void frame_wal_header_encode(struct frame_wal_header *header, uint8_t *bytes)
{
    ASSERT(page_size_is_valid(header->page_bytes));
    put_be32(bytes,
             HOST_IS_BIG_ENDIAN ? MAGIC_BIG_ENDIAN : MAGIC_LITTLE_ENDIAN);
    put_be32(bytes + 4, FORMAT);
    put_be32(bytes + 8, header->page_bytes);
    put_be32(bytes + 12, 0);
    memcpy(bytes + SALT_AT_WAL_HEADER, header->salt, FRAME_SALT_BYTES);
    header->chain = frame_chain_native();
    frame_chain_extend(&header->chain, bytes, SUM_AT_WAL_HEADER);
    chain_store(&header->chain, bytes + SUM_AT_WAL_HEADER);
}

void frame_decode(const uint8_t *bytes, struct frame *ret_frame)
{
    ret_frame->pgno = get_be32(bytes);
    ret_frame->commit_pages = get_be32(bytes + 4);
    memcpy(ret_frame->salt, bytes + SALT_AT, FRAME_SALT_BYTES);
    ret_frame->checksum[0] = get_be32(bytes + SUM_AT);
    ret_frame->checksum[1] = get_be32(bytes + SUM_AT + 4);
}

static void chain_extend_frame(struct frame_chain *chain, const uint8_t *bytes,
                               uint32_t page_bytes)
{
    ASSERT(page_size_is_valid(page_bytes));
    frame_chain_extend(chain, bytes, CHAINED_BYTES);
    frame_chain_extend(chain, bytes + FRAME_HEADER_BYTES, page_bytes);
}

bool frame_is_unsummed(const struct frame *frame)
{
    static const uint8_t none[FRAME_SALT_BYTES];

    return frame->pgno != 0 &&
           memcmp(frame->salt, none, FRAME_SALT_BYTES) == 0 &&
           frame->checksum[0] == 0 && frame->checksum[1] == 0;
}

bool frame_check(struct frame_chain *chain, const uint8_t *frame_bytes,
                 uint32_t page_bytes)
{
    chain_extend_frame(chain, frame_bytes, page_bytes);
    return chain_agrees(chain, frame_bytes + SUM_AT);
}

bool frame_accept(struct frame_chain *chain, const uint8_t *salt,
                  const uint8_t *frame_bytes, uint32_t page_bytes,
                  struct frame *ret_frame)
{
    struct frame_chain longer = *chain;

    /* Cheap checks first: leftovers of older generations end most logs. */
    if (memcmp(frame_bytes + SALT_AT, salt, FRAME_SALT_BYTES) != 0)
        return false;
    if (get_be32(frame_bytes) == 0)
        return false;
    if (!frame_check(&longer, frame_bytes, page_bytes))
        return false;
    *chain = longer;
    frame_decode(frame_bytes, ret_frame);
    return true;
}

void frame_encode(struct frame_chain *chain, uint8_t *bytes, pgno_t pgno,
                  uint32_t commit_pages, const uint8_t *salt,
                  uint32_t page_bytes)
{
    ASSERT(pgno != 0);
    put_be32(bytes, pgno);
    put_be32(bytes + 4, commit_pages);
    memcpy(bytes + SALT_AT, salt, FRAME_SALT_BYTES);
    chain_extend_frame(chain, bytes, page_bytes);
    chain_store(chain, bytes + SUM_AT);
}

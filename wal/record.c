/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/record.c - the record codec; the format is in record.h.
 *
 * Encoding runs once for every commit. It allocates the blob and nothing
 * else: images that lie apart are gathered in scratch memory of the thread,
 * because LZ4 wants its input in one piece; a single page is compressed from
 * where it lies; the result goes straight into the blob. Decoding checks from
 * the outside in (magic, header hash, version, meaning, sizes, hash of all
 * that follows, table) and decompresses last. It fails with -EBADMSG for
 * bytes that are no record and has then changed nothing.
 */
#include "wal/record.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/site.h"

#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

#define HEADER_HASH_OFFSET (RECORD_HEADER_BYTES - RECORD_HASH_BYTES)
#define RESERVED_OFFSET 152u
#define FLAGS_KNOWN                                                            \
    (RECORD_PREPARED | RECORD_RESOLVE | RECORD_ABORT | RECORD_SNAPSHOT |       \
     RECORD_DROP | RECORD_REREAD | RECORD_EPOCH)

static const uint8_t record_magic[8] = {'T', 'M', 'K', 'R', 'E', 'C', 13, 10};

/* ---- scratch memory of a thread ---------------------------------------- */

/*
 * The LZ4 stream is kept because resetting one is nearly free, while a fresh
 * one clears 16 KiB of tables: that alone took 200 of 1400 ns for one page.
 */
struct scratch {
    LZ4_stream_t stream;
    uint8_t bytes[RECORD_SCRATCH_KEEP_BYTES];
};

static _Thread_local struct scratch *my_scratch;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_make_key(void)
{
    int error = pthread_key_create(&scratch_key, free);

    ASSERT(error == 0);
}

/* This thread's scratch, freed as the thread ends; NULL: no memory. */
static struct scratch *scratch_mine(void)
{
    if (my_scratch != NULL)
        return my_scratch;
    pthread_once(&scratch_once, scratch_make_key);
    if (site_fault(SITE_RECORD_ALLOC) != 0)
        return NULL;
    my_scratch = malloc(sizeof *my_scratch); /* pages unused cost nothing */
    if (my_scratch == NULL)
        return NULL;
    LZ4_initStream(&my_scratch->stream, sizeof my_scratch->stream);
    pthread_setspecific(scratch_key, my_scratch);
    return my_scratch;
}

/* ---- what a header may say ---------------------------------------------- */

bool record_is_same(const struct record_header *a,
                    const struct record_header *b)
{
    return a->flags == b->flags && lineage_is_equal(&a->lineage, &b->lineage) &&
           a->epoch == b->epoch && a->first_txid == b->first_txid &&
           a->last_txid == b->last_txid &&
           position_is_equal(&a->previous, &b->previous) &&
           a->sum_after == b->sum_after && a->page_bytes == b->page_bytes &&
           a->size_pages == b->size_pages && a->parts == b->parts;
}

static bool sizes_ok(const struct record_header *h)
{
    uint64_t raw = (uint64_t)h->pages * h->page_bytes;
    uint64_t table = (uint64_t)h->pages * sizeof(pgno_t);

    if (h->part < 1 || h->part > h->parts || h->parts > RECORD_PARTS_MAX)
        return false;
    if (h->page_bytes != 0 && !page_size_is_valid(h->page_bytes))
        return false;
    if (h->page_bytes == 0 && h->size_pages != 0)
        return false;
    if (h->pages == 0)
        return h->parts == 1;
    return h->page_bytes != 0 && h->pages <= h->size_pages &&
           RECORD_MIN_BYTES + table + raw <= RECORD_MAX_BYTES;
}

#define FLAGS_ADDED (RECORD_REREAD | RECORD_SNAPSHOT | RECORD_ABORT)

/* At most one kind; REREAD and SNAPSHOT describe the pages of a plain or a
 * prepared transaction, ABORT the answer of a RESOLVE. */
static bool flags_ok(uint32_t flags)
{
    uint32_t kind = flags & ~(uint32_t)FLAGS_ADDED;
    uint32_t added = flags & FLAGS_ADDED;

    if ((flags & ~(uint32_t)FLAGS_KNOWN) != 0 || (kind & (kind - 1)) != 0)
        return false;
    if ((added & RECORD_ABORT) != 0)
        return flags == (RECORD_RESOLVE | RECORD_ABORT);
    return added == 0 || kind == 0 || kind == RECORD_PREPARED;
}

static bool txids_ok(const struct record_header *h)
{
    bool plain = (h->flags & ~(uint32_t)FLAGS_ADDED) == 0;

    if (h->last_txid < h->first_txid || h->last_txid == UINT64_MAX)
        return false;
    if (!plain && h->first_txid != h->last_txid)
        return false;
    if ((h->flags & RECORD_SNAPSHOT) != 0)
        return true;
    return h->first_txid > 0 && h->previous.txid == h->first_txid - 1;
}

/* No pages where the kind has none, and what then may not have changed. */
static bool content_ok(const struct record_header *h)
{
    if ((h->flags & (RECORD_RESOLVE | RECORD_EPOCH | RECORD_DROP)) == 0)
        return true;
    if (h->pages != 0)
        return false;
    if (h->flags == RECORD_DROP)
        return h->size_pages == 0 && h->sum_after == 0;
    if (h->flags == RECORD_EPOCH && h->epoch == h->previous.epoch)
        return false;
    return h->flags == RECORD_RESOLVE || h->sum_after == h->previous.sum;
}

bool record_header_ok(const struct record_header *h)
{
    return flags_ok(h->flags) && sizes_ok(h) && txids_ok(h) && content_ok(h) &&
           h->epoch > 0 && h->epoch >= h->previous.epoch;
}

void record_copy_place(struct record_header *to,
                       const struct record_header *from)
{
    memcpy(to->wal_salt, from->wal_salt, FRAME_SALT_BYTES);
    to->wal_frame = from->wal_frame;
    to->wal_checksum[0] = from->wal_checksum[0];
    to->wal_checksum[1] = from->wal_checksum[1];
}

struct record_header record_commit(const struct record_header *prepared)
{
    struct record_header header = *prepared;

    ASSERT((prepared->flags & RECORD_PREPARED) != 0);
    header.flags = RECORD_RESOLVE;
    header.part = header.parts = 1;
    return header;
}

struct record_header record_abort(const struct record_header *prepared,
                                  const struct record_header *before)
{
    struct record_header header = record_commit(prepared);

    header.flags |= RECORD_ABORT;
    header.sum_after = prepared->previous.sum;
    header.page_bytes = before->page_bytes;
    header.size_pages = before->size_pages;
    if (record_names_frame(prepared))
        record_copy_place(&header, before);
    return header;
}

/* ---- encoding ------------------------------------------------------------ */

static void header_put(const struct record_header *h, uint8_t *at)
{
    memcpy(at, record_magic, sizeof record_magic);
    put_le32(at + 8, RECORD_VERSION);
    put_le32(at + 12, h->flags);
    memcpy(at + 16, h->lineage.bytes, LINEAGE_BYTES);
    put_le64(at + 32, h->epoch);
    put_le64(at + 40, h->first_txid);
    put_le64(at + 48, h->last_txid);
    put_le64(at + 56, h->previous.epoch);
    put_le64(at + 64, h->previous.txid);
    put_le64(at + 72, h->previous.sum);
    put_le64(at + 80, h->sum_after);
    put_le64(at + 88, h->commit_wall_ns);
    put_le32(at + 96, h->page_bytes);
    put_le32(at + 100, h->size_pages);
    put_le32(at + 104, h->pages);
    put_le32(at + 108, h->part);
    put_le32(at + 112, h->parts);
    put_le32(at + 116, h->wal_frame);
    memcpy(at + 120, h->wal_salt, FRAME_SALT_BYTES);
    put_le32(at + 128, h->wal_checksum[0]);
    put_le32(at + 132, h->wal_checksum[1]);
    put_le64(at + 136, h->raw_bytes);
    put_le64(at + 144, h->stored_bytes);
    memset(at + RESERVED_OFFSET, 0, HEADER_HASH_OFFSET - RESERVED_OFFSET);
    put_le64(at + HEADER_HASH_OFFSET, XXH3_64bits(at, HEADER_HASH_OFFSET));
}

/* Writes the table and asserts what the decoder will demand of it. */
static void table_put(const struct record_header *h, const pgno_t *pgnos,
                      uint8_t *at)
{
    pgno_t lock_byte = h->pages > 0 ? page_lock_byte(h->page_bytes) : 0;
    pgno_t before = 0;

    for (uint32_t i = 0; i < h->pages; i++) {
        ASSERT(pgnos[i] > before && pgnos[i] != lock_byte);
        put_le32(at + (size_t)i * sizeof(pgno_t), pgnos[i]);
        before = pgnos[i];
    }
    ASSERT(before <= h->size_pages);
}

static bool images_are_contiguous(const struct record_header *h,
                                  const uint8_t *const *images)
{
    for (uint32_t i = 1; i < h->pages; i++)
        if (images[i] != images[i - 1] + h->page_bytes)
            return false;
    return true;
}

static void images_gather(const struct record_header *h,
                          const uint8_t *const *images, uint8_t *at)
{
    for (uint32_t i = 0; i < h->pages; i++, at += h->page_bytes)
        memcpy(at, images[i], h->page_bytes);
}

/* LZ4 of raw bytes to `at`; 0 when it would not be smaller. */
static uint64_t body_compress(struct scratch *scratch, const uint8_t *raw,
                              uint64_t raw_bytes, uint8_t *at)
{
    int stored;

    LZ4_resetStream_fast(&scratch->stream);
    stored = LZ4_compress_fast_continue(&scratch->stream, (const char *)raw,
                                        (char *)at, (int)raw_bytes,
                                        (int)raw_bytes - 1, 1);
    if (stored <= 0) /* out of room leaves the stream in no defined state */
        LZ4_initStream(&scratch->stream, sizeof scratch->stream);
    return stored > 0 ? (uint64_t)stored : 0;
}

/* The body at `at`, which has room for raw_bytes; fills in stored_bytes. */
static int body_put(struct record_header *h, const uint8_t *const *images,
                    uint8_t *at)
{
    struct scratch *scratch = scratch_mine();
    const uint8_t *raw = images[0];
    uint8_t *large = NULL, *gathered;

    if (scratch == NULL)
        return site_fail(SITE_RECORD_ALLOC, NULL, ENOMEM);
    if (!images_are_contiguous(h, images)) {
        if (h->raw_bytes > RECORD_SCRATCH_KEEP_BYTES)
            large = malloc(h->raw_bytes);
        if (large == NULL && h->raw_bytes > RECORD_SCRATCH_KEEP_BYTES)
            return site_fail(SITE_RECORD_ALLOC, NULL, ENOMEM);
        gathered = large != NULL ? large : scratch->bytes;
        images_gather(h, images, gathered);
        raw = gathered;
    }
    h->stored_bytes = body_compress(scratch, raw, h->raw_bytes, at);
    if (h->stored_bytes == 0) {
        memcpy(at, raw, h->raw_bytes);
        h->stored_bytes = h->raw_bytes;
    }
    free(large);
    return 0;
}

/* The hash behind everything; the header's own is its seed. */
static uint64_t tail_hash(const uint8_t *bytes, size_t total)
{
    return XXH3_64bits_withSeed(bytes + RECORD_HEADER_BYTES,
                                total - RECORD_MIN_BYTES,
                                get_le64(bytes + HEADER_HASH_OFFSET));
}

int record_encode(struct record_header *header, const pgno_t *pgnos,
                  const uint8_t *const *images, uint32_t count,
                  struct blob **ret_blob)
{
    struct record_header h = *header;
    size_t table_bytes = (size_t)count * sizeof(pgno_t), total;
    struct blob *blob;
    int rc = 0;

    h.pages = count;
    h.raw_bytes = (uint64_t)count * h.page_bytes;
    h.stored_bytes = 0;
    total = RECORD_MIN_BYTES + table_bytes + h.raw_bytes;
    if (total > RECORD_MAX_BYTES)
        return -E2BIG;
    ASSERT(record_header_ok(&h));
    blob = site_fault(SITE_RECORD_ALLOC) != 0 ? NULL : blob_new(total);
    if (blob == NULL)
        return site_fail(SITE_RECORD_ALLOC, NULL, ENOMEM);
    table_put(&h, pgnos, blob->data + RECORD_HEADER_BYTES);
    if (count > 0)
        rc = body_put(&h, images,
                      blob->data + RECORD_HEADER_BYTES + table_bytes);
    if (rc < 0) {
        blob_unref(blob);
        return rc;
    }
    header_put(&h, blob->data);
    blob->size = record_total(&h);
    put_le64(blob->data + blob->size - RECORD_HASH_BYTES,
             tail_hash(blob->data, blob->size));
    *header = h;
    *ret_blob = blob_shrink(blob);
    return 0;
}

/* ---- decoding ------------------------------------------------------------ */

static void header_get(struct record_header *h, const uint8_t *at)
{
    h->flags = get_le32(at + 12);
    memcpy(h->lineage.bytes, at + 16, LINEAGE_BYTES);
    h->epoch = get_le64(at + 32);
    h->first_txid = get_le64(at + 40);
    h->last_txid = get_le64(at + 48);
    h->previous.epoch = get_le64(at + 56);
    h->previous.txid = get_le64(at + 64);
    h->previous.sum = get_le64(at + 72);
    h->sum_after = get_le64(at + 80);
    h->commit_wall_ns = get_le64(at + 88);
    h->page_bytes = get_le32(at + 96);
    h->size_pages = get_le32(at + 100);
    h->pages = get_le32(at + 104);
    h->part = get_le32(at + 108);
    h->parts = get_le32(at + 112);
    h->wal_frame = get_le32(at + 116);
    memcpy(h->wal_salt, at + 120, FRAME_SALT_BYTES);
    h->wal_checksum[0] = get_le32(at + 128);
    h->wal_checksum[1] = get_le32(at + 132);
    h->raw_bytes = get_le64(at + 136);
    h->stored_bytes = get_le64(at + 144);
}

static bool reserved_is_zero(const uint8_t *bytes)
{
    for (size_t i = RESERVED_OFFSET; i < HEADER_HASH_OFFSET; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* A body is there exactly when there are pages, and never longer than raw. */
static bool stored_ok(const struct record_header *h)
{
    return h->raw_bytes == (uint64_t)h->pages * h->page_bytes &&
           h->stored_bytes <= h->raw_bytes &&
           (h->stored_bytes > 0) == (h->pages > 0);
}

int record_peek(const uint8_t *bytes, size_t size,
                struct record_header *ret_header, size_t *ret_total)
{
    struct record_header h;

    if (size < RECORD_HEADER_BYTES ||
        memcmp(bytes, record_magic, sizeof record_magic) != 0)
        return -EBADMSG;
    if (XXH3_64bits(bytes, HEADER_HASH_OFFSET) !=
        get_le64(bytes + HEADER_HASH_OFFSET))
        return -EBADMSG;
    if (get_le32(bytes + 8) > RECORD_VERSION)
        return -EPROTONOSUPPORT;
    if (get_le32(bytes + 8) != RECORD_VERSION || !reserved_is_zero(bytes))
        return -EBADMSG;
    header_get(&h, bytes);
    if (!record_header_ok(&h) || !stored_ok(&h))
        return -EBADMSG;
    *ret_header = h;
    *ret_total = record_total(&h);
    return 0;
}

static bool table_ok(const struct record_header *h, const uint8_t *at)
{
    pgno_t lock_byte = h->pages > 0 ? page_lock_byte(h->page_bytes) : 0;
    pgno_t before = 0;

    for (uint32_t i = 0; i < h->pages; i++) {
        pgno_t pgno = get_le32(at + (size_t)i * sizeof(pgno_t));

        if (pgno <= before || pgno == lock_byte)
            return false;
        before = pgno;
    }
    return before <= h->size_pages;
}

int record_check(const uint8_t *bytes, size_t size,
                 struct record_header *ret_header)
{
    struct record_header h;
    size_t total;
    int rc = record_peek(bytes, size, &h, &total);

    if (rc < 0)
        return rc;
    if (size != total ||
        get_le64(bytes + total - RECORD_HASH_BYTES) != tail_hash(bytes, total))
        return -EBADMSG;
    if (!table_ok(&h, bytes + RECORD_HEADER_BYTES))
        return -EBADMSG;
    *ret_header = h;
    return 0;
}

static int body_get(struct record *record, const uint8_t *at)
{
    const struct record_header *h = &record->header;

    if (h->stored_bytes == h->raw_bytes) {
        memcpy(record->images, at, h->raw_bytes);
        return 0;
    }
    /* Sizes are below RECORD_MAX_BYTES, the casts lose nothing. */
    if (LZ4_decompress_safe((const char *)at, (char *)record->images,
                            (int)h->stored_bytes,
                            (int)h->raw_bytes) != (int)h->raw_bytes)
        return -EBADMSG;
    return 0;
}

static int pages_get(struct record *record, const uint8_t *bytes)
{
    const struct record_header *h = &record->header;
    size_t table_bytes = (size_t)h->pages * sizeof(pgno_t);

    record->pgnos = malloc(table_bytes);
    record->images = malloc(h->raw_bytes);
    if (record->pgnos == NULL || record->images == NULL ||
        site_fault(SITE_RECORD_ALLOC) != 0)
        return site_fail(SITE_RECORD_ALLOC, NULL, ENOMEM);
    for (uint32_t i = 0; i < h->pages; i++)
        record->pgnos[i] = get_le32(bytes + RECORD_HEADER_BYTES +
                                    (size_t)i * sizeof(pgno_t));
    return body_get(record, bytes + RECORD_HEADER_BYTES + table_bytes);
}

int record_decode(const uint8_t *bytes, size_t size, struct record *ret_record)
{
    struct record record = {0};
    int rc = record_check(bytes, size, &record.header);

    if (rc == 0 && record.header.pages > 0)
        rc = pages_get(&record, bytes);
    if (rc < 0) {
        record_free(&record);
        return rc;
    }
    *ret_record = record;
    return 0;
}

void record_free(struct record *record)
{
    free(record->pgnos);
    free(record->images);
    *record = (struct record){0};
}

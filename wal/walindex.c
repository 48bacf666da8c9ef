/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/walindex.c - see walindex.h for the byte map.
 *
 * A peer writer's happy path: WRITE is held; walindex_append for each frame
 * of the WAL, in order; walindex_publish. A reader's: walindex_read, then
 * walindex_find with the max_frame it got.
 *
 * Failure modes: the file is shorter than what is asked for (we look before
 * we map: touching a page beyond the end is SIGBUS), growing it fails (disk
 * full), a table holds what no writer puts there (-EIO). A process may die
 * between any two stores of ours; what that leaves is what SQLite's own
 * writers leave, and readers and the next writer know how to live with it.
 *
 * Why reading without a lock is safe:
 *
 * Header. A writer stores copy 1, then copy 0; a reader loads copy 0, then
 * copy 1; every load and store of a word is sequentially consistent, which
 * is the barrier between the copies and to all that was stored before. Who
 * meets one new word in copy 0 meets nothing older in copy 1: the copies then
 * agree only if copy 0 was all new. Who meets none took the old header, which
 * was true a moment ago. The checksum is for writers that died half-way.
 *
 * Pages and slots. They are stored before the publish that makes them count,
 * and a reader looks at them after it read that header; see slots.c for the
 * ones beyond it. Entries up to max_frame stay until a reset, which the
 * reader's mark holds off.
 *
 * Backfill. It only grows within a generation; an old value sends the reader
 * to a frame in the WAL where the database would do as well.
 */
#include "wal/walindex.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/thread.h"
#include "wal/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FORMAT 3007000u
#define HEADER_BYTES 48u
#define HEADER_WORDS (HEADER_BYTES / 4)
#define CHANGE_AT 8u
#define MAX_FRAME_AT 16u
#define SALT_AT 32u
#define SUM_AT 40u

#define BACKFILL_AT 96u
#define READ_MARKS_AT 100u
#define READ_MARKS 5u
#define READ_MARK_UNUSED 0xffffffffu
#define BACKFILL_ATTEMPTED_AT 128u

#define GROW_STEP_BYTES 4096u
#define READ_TRIES 100
#define SALTS_NONE "\0\0\0\0\0\0\0\0" /* of a wal-index never written to */

/* ---- shared memory ---------------------------------------------------- */

static inline uint32_t load(const uint8_t *at)
{
    return __atomic_load_n((const uint32_t *)(const void *)at,
                           __ATOMIC_SEQ_CST);
}

static inline void store(uint8_t *at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)at, value, __ATOMIC_SEQ_CST);
}

/* ---- mapping ------------------------------------------------------------ */

/* mmap wants offsets at system pages, which may be larger than a segment:
 * segments are mapped in groups that fill at least one such page. */
static uint32_t segments_per_map(void)
{
    uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);

    return page > WALINDEX_SEGMENT_BYTES ? page / WALINDEX_SEGMENT_BYTES : 1;
}

int walindex_open(struct walindex *index, int fd, bool writable)
{
    ASSERT(fd >= 0);
    *index = (struct walindex){.fd = fd, .writable = writable};
    return 0;
}

void walindex_write_back(int fd)
{
    (void)sync_file_range(fd, 0, 0,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                              SYNC_FILE_RANGE_WAIT_AFTER);
}

void walindex_close(struct walindex *index)
{
    uint32_t group = segments_per_map();

    if (index->segments_count > 0)
        walindex_write_back(index->fd);
    for (uint32_t i = 0; i < index->segments_count; i += group)
        if (index->segments[i] != NULL)
            munmap(index->segments[i], group * WALINDEX_SEGMENT_BYTES);
    os_free(&index->segments);
    *index = (struct walindex){0};
}

static struct os_file borrowed_file(const struct walindex *index)
{
    return (struct os_file){.fd = index->fd, .open = true};
}

/* Room for pointers up to that of `segment`, in whole groups. */
static int segments_reserve(struct walindex *index, uint32_t segment)
{
    uint32_t group = segments_per_map(), count = index->segments_count;
    uint8_t **larger = NULL;
    int rc;

    if (segment < count)
        return 0;
    count = 2 * count > segment ? 2 * count : segment + 1;
    count = (count + group - 1) / group * group;
    rc = os_alloc(&larger, count * sizeof *larger, SITE_WALINDEX_ALLOC);
    if (rc < 0)
        return rc;
    if (index->segments != NULL)
        memcpy(larger, index->segments, index->segments_count * sizeof *larger);
    os_free(&index->segments);
    index->segments = larger;
    index->segments_count = count;
    return 0;
}

/* Maps a segment that lies inside the file, with those before it in its
 * group. Those behind it may not be in the file yet: they stay unmapped. */
static int segment_map(struct walindex *index, uint32_t segment)
{
    uint32_t group = segments_per_map(), first = segment / group * group;
    int protection = PROT_READ | (index->writable ? PROT_WRITE : 0);
    int fault = site_fault(SITE_WALINDEX_MAP);
    uint8_t *at = index->segments[first];

    if (fault != 0)
        return site_fail(SITE_WALINDEX_MAP, NULL, fault);
    if (at == NULL)
        at = mmap(NULL, group * WALINDEX_SEGMENT_BYTES, protection, MAP_SHARED,
                  index->fd, (off_t)first * WALINDEX_SEGMENT_BYTES);
    if (at == MAP_FAILED)
        return site_fail(SITE_WALINDEX_MAP, NULL, errno);
    for (uint32_t i = first; i <= segment; i++)
        index->segments[i] = at + (i - first) * WALINDEX_SEGMENT_BYTES;
    return 0;
}

static uint8_t *segment_mapped(const struct walindex *index, uint32_t segment)
{
    return segment < index->segments_count ? index->segments[segment] : NULL;
}

/*
 * The segment's memory, or NULL when the file does not reach so far yet.
 * A mapped segment stays safe to touch: the mount refuses to shorten a -shm,
 * and SQLite does it only when nobody else has the database open.
 */
static int segment_get(struct walindex *index, uint32_t segment,
                       uint8_t **ret_at)
{
    struct os_file file = borrowed_file(index);
    uint64_t size;
    int rc;

    *ret_at = segment_mapped(index, segment);
    if (*ret_at != NULL)
        return 0;
    rc = os_size(&file, &size, SITE_WALINDEX_SIZE);
    if (rc == 0 && size / WALINDEX_SEGMENT_BYTES <= segment)
        return 0;
    if (rc == 0)
        rc = segments_reserve(index, segment);
    if (rc == 0)
        rc = segment_map(index, segment);
    if (rc == 0)
        *ret_at = segment_mapped(index, segment);
    return rc;
}

/*
 * Makes the file reach beyond `segment`. Bytes are written, not a size set:
 * so the blocks are there, and a full disk says so here with an errno and
 * not later with a signal. The file may have a tail of 3 bytes, SQLite's mark
 * of a fresh one.
 */
static int segment_grow(struct walindex *index, uint32_t segment)
{
    struct os_file file = borrowed_file(index);
    uint32_t group = segments_per_map();
    uint64_t wanted = ((uint64_t)segment / group + 1) * group *
                      WALINDEX_SEGMENT_BYTES;
    uint64_t size;
    int rc = os_size(&file, &size, SITE_WALINDEX_SIZE);

    for (uint64_t page = size / GROW_STEP_BYTES;
         rc == 0 && page < wanted / GROW_STEP_BYTES; page++)
        rc = os_pwrite(&file, "", 1, (page + 1) * GROW_STEP_BYTES - 1,
                       SITE_WALINDEX_GROW);
    return rc;
}

/* ---- header ------------------------------------------------------------- */

static void header_load(const uint8_t *at, uint8_t *ret_bytes)
{
    for (uint32_t i = 0; i < HEADER_WORDS; i++) {
        uint32_t word = load(at + 4 * i);

        memcpy(ret_bytes + 4 * i, &word, sizeof word);
    }
}

static void header_store(uint8_t *at, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < HEADER_WORDS; i++) {
        uint32_t word;

        memcpy(&word, bytes + 4 * i, sizeof word);
        store(at + 4 * i, word);
    }
}

/* The 48 bytes as they lie in the file; the struct's layout is the map's. */
struct raw_header {
    uint32_t format;
    uint32_t unused;
    uint32_t change;
    uint8_t initialised;
    uint8_t big_endian;
    uint16_t page_size;
    uint32_t max_frame;
    uint32_t size_pages;
    uint32_t frame_sum[2];
    uint8_t salt[FRAME_SALT_BYTES];
    uint32_t sum[2];
};

_Static_assert(sizeof(struct raw_header) == HEADER_BYTES &&
                   offsetof(struct raw_header, change) == CHANGE_AT &&
                   offsetof(struct raw_header, max_frame) == MAX_FRAME_AT &&
                   offsetof(struct raw_header, salt) == SALT_AT &&
                   offsetof(struct raw_header, sum) == SUM_AT,
               "the wal-index header has no padding");

static struct frame_chain raw_sum(const struct raw_header *raw)
{
    struct frame_chain chain = frame_chain_native();

    frame_chain_extend(&chain, (const uint8_t *)raw, SUM_AT);
    return chain;
}

/* 65536 does not fit in two bytes; SQLite folds its one bit to the bottom. */
static uint16_t page_size_pack(uint32_t page_bytes)
{
    return (uint16_t)((page_bytes & 0xff00) | (page_bytes >> 16));
}

static uint32_t page_size_unpack(uint16_t packed)
{
    return (packed & 0xfe00u) + ((packed & 1u) << 16);
}

/* What holds for every header that we publish, and is asked of those we read:
 * with frames there is a page size and a database that has pages. */
static bool header_ok(const struct walindex_header *header)
{
    if (header->page_bytes != 0 && !page_size_is_valid(header->page_bytes))
        return false;
    return header->max_frame == 0 ||
           (header->page_bytes != 0 && header->size_pages != 0);
}

static int header_decode(const struct raw_header *raw,
                         struct walindex_header *ret_header)
{
    struct walindex_header header = {
        .change = raw->change,
        .page_bytes = page_size_unpack(raw->page_size),
        .max_frame = raw->max_frame,
        .size_pages = raw->size_pages,
        .chain = {{raw->frame_sum[0], raw->frame_sum[1]}, raw->big_endian != 0},
    };

    if (raw->format != FORMAT || !header_ok(&header))
        return -EINVAL;
    memcpy(header.salt, raw->salt, sizeof header.salt);
    *ret_header = header;
    return 0;
}

static void header_encode(const struct walindex_header *header,
                          struct raw_header *ret_raw)
{
    struct frame_chain chain;

    *ret_raw = (struct raw_header){
        .format = FORMAT,
        .change = header->change,
        .initialised = 1,
        .big_endian = header->chain.big_endian,
        .page_size = page_size_pack(header->page_bytes),
        .max_frame = header->max_frame,
        .size_pages = header->size_pages,
        .frame_sum = {header->chain.word[0], header->chain.word[1]},
    };
    memcpy(ret_raw->salt, header->salt, sizeof ret_raw->salt);
    chain = raw_sum(ret_raw);
    memcpy(ret_raw->sum, chain.word, sizeof ret_raw->sum);
}

/* One look; -EAGAIN when it caught the header half-written or empty. */
static int header_try(const uint8_t *segment,
                      struct walindex_header *ret_header)
{
    struct raw_header raw, other;
    struct frame_chain chain;

    header_load(segment, (uint8_t *)&raw);
    header_load(segment + HEADER_BYTES, (uint8_t *)&other);
    if (memcmp(&raw, &other, sizeof raw) != 0 || raw.initialised == 0)
        return -EAGAIN;
    chain = raw_sum(&raw);
    if (memcmp(chain.word, raw.sum, sizeof raw.sum) != 0)
        return -EAGAIN;
    return header_decode(&raw, ret_header);
}

int walindex_read(struct walindex *index, struct walindex_header *ret_header)
{
    uint8_t *segment;
    int rc = segment_get(index, 0, &segment);

    if (rc < 0)
        return rc;
    if (segment == NULL)
        return -EAGAIN;
    for (int i = 0; i < READ_TRIES; i++) {
        rc = header_try(segment, ret_header);
        if (rc != -EAGAIN)
            break;
        thread_relax();
    }
    return rc;
}

bool walindex_header_is_equal(const struct walindex_header *a,
                              const struct walindex_header *b)
{
    return a->change == b->change && a->page_bytes == b->page_bytes &&
           a->max_frame == b->max_frame && a->size_pages == b->size_pages &&
           a->chain.word[0] == b->chain.word[0] &&
           a->chain.word[1] == b->chain.word[1] &&
           a->chain.big_endian == b->chain.big_endian &&
           memcmp(a->salt, b->salt, FRAME_SALT_BYTES) == 0;
}

void walindex_peek(struct walindex *index, uint32_t *ret_max_frame,
                   uint32_t *ret_change)
{
    const uint8_t *segment = segment_mapped(index, 0);

    *ret_max_frame = segment == NULL ? 0 : load(segment + MAX_FRAME_AT);
    *ret_change = segment == NULL ? 0 : load(segment + CHANGE_AT);
}

uint32_t walindex_backfilled(struct walindex *index)
{
    uint8_t *segment;

    if (segment_get(index, 0, &segment) < 0 || segment == NULL)
        return 0;
    return load(segment + BACKFILL_AT);
}

void walindex_publish(struct walindex *index,
                      const struct walindex_header *header)
{
    uint8_t *segment = segment_mapped(index, 0);
    struct raw_header raw;

    ASSERT(index->writable && segment != NULL);
    ASSERT(header_ok(header));
    header_encode(header, &raw);
    /* A reader comes from the other end: it never takes half of this. */
    header_store(segment + HEADER_BYTES, (const uint8_t *)&raw);
    header_store(segment, (const uint8_t *)&raw);
}

static void salts_renew(uint8_t *salt, uint64_t random)
{
    if (memcmp(salt, SALTS_NONE, FRAME_SALT_BYTES) == 0)
        put_be32(salt, (uint32_t)(random >> 32));
    else
        put_be32(salt, get_be32(salt) + 1);
    put_be32(salt + 4, (uint32_t)random);
}

void walindex_reset(struct walindex *index, struct walindex_header *header,
                    uint64_t random)
{
    uint8_t *segment = segment_mapped(index, 0);

    ASSERT(index->writable && segment != NULL);
    ASSERT(load(segment + BACKFILL_AT) == header->max_frame);
    header->max_frame = 0;
    salts_renew(header->salt, random);
    /* First the header: until it says 0 frames the marks still count. */
    walindex_publish(index, header);
    store(segment + BACKFILL_AT, 0);
    store(segment + BACKFILL_ATTEMPTED_AT, 0);
    store(segment + READ_MARKS_AT + 4, 0);
    for (uint32_t i = 2; i < READ_MARKS; i++)
        store(segment + READ_MARKS_AT + 4 * i, READ_MARK_UNUSED);
}

/* ---- frames ------------------------------------------------------------- */

static int damaged(const char *what)
{
    return site_fail(SITE_WALINDEX_HASH, what, EIO);
}

/* The newest frame of pgno in (minimum, maximum] that segment knows of. */
static int segment_find(struct walindex *index, uint32_t segment, pgno_t pgno,
                        uint32_t minimum, uint32_t maximum, uint32_t *ret_frame)
{
    struct slots slots;
    uint8_t *at;
    int rc = segment_get(index, segment, &at);

    if (rc < 0)
        return rc;
    if (at == NULL)
        return damaged("the file is too short");
    slots = slots_of_segment(at, segment);
    rc = slots_find(&slots, pgno, minimum, maximum, ret_frame);
    return rc < 0 ? damaged("the hash table is damaged") : 0;
}

int walindex_find(struct walindex *index, pgno_t pgno, uint32_t minimum,
                  uint32_t maximum, uint32_t *ret_frame)
{
    uint32_t frame = 0, segment = slots_segment(maximum) + 1;

    ASSERT(pgno != 0);
    /* From the newest segment down: the first that knows the page wins. */
    while (frame == 0 && minimum < maximum &&
           segment > slots_segment(minimum + 1)) {
        int rc = segment_find(index, --segment, pgno, minimum, maximum, &frame);

        if (rc < 0)
            return rc;
    }
    *ret_frame = frame;
    return 0;
}

/* As segment_get, but grows the file when it is too short. */
static int segment_need(struct walindex *index, uint32_t segment,
                        uint8_t **ret_at)
{
    int rc = segment_get(index, segment, ret_at);

    if (rc < 0 || *ret_at != NULL)
        return rc;
    rc = segment_grow(index, segment);
    if (rc == 0)
        rc = segment_get(index, segment, ret_at);
    if (rc == 0 && *ret_at == NULL)
        rc = site_fail(SITE_WALINDEX_GROW, "the file did not grow", EIO);
    return rc;
}

int walindex_append(struct walindex *index, uint32_t frame, pgno_t pgno)
{
    uint32_t segment = slots_segment(frame);
    struct slots slots;
    uint8_t *at;
    int rc;

    ASSERT(index->writable && frame != 0 && pgno != 0);
    rc = segment_need(index, segment, &at);
    if (rc < 0)
        return rc;
    slots = slots_of_segment(at, segment);
    rc = slots_enter(&slots, frame, pgno);
    return rc < 0 ? damaged("the hash table is damaged") : 0;
}

void walindex_cleanup(struct walindex *index, uint32_t max_frame)
{
    uint32_t segment = slots_segment(max_frame);
    struct slots slots;
    uint8_t *at;

    ASSERT(index->writable);
    /* With no frame left, the next one is the first of its segment, which
     * clears it; so it is with all segments beyond this one. A segment that
     * cannot be mapped now is cut when its next frame is entered. */
    if (max_frame == 0 || segment_get(index, segment, &at) < 0 || at == NULL)
        return;
    slots = slots_of_segment(at, segment);
    slots_cut(&slots, max_frame);
}

/* ---- locks -------------------------------------------------------------- */

static struct flock lock_range(short type, int first_byte, int count)
{
    return (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = first_byte,
        .l_len = count,
    };
}

int walindex_lock(int fd, int first_byte, int count)
{
    struct flock range = lock_range(F_WRLCK, first_byte, count);
    int fault = site_fault(SITE_WALINDEX_LOCK);

    if (fault != 0)
        return site_fail(SITE_WALINDEX_LOCK, NULL, fault);
    if (fcntl(fd, F_OFD_SETLK, &range) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return -EAGAIN; /* an answer, not a failure */
    return site_fail(SITE_WALINDEX_LOCK, NULL, errno);
}

void walindex_unlock(int fd, int first_byte, int count)
{
    struct flock range = lock_range(F_UNLCK, first_byte, count);
    int rc = fcntl(fd, F_OFD_SETLK, &range);

    ASSERT(rc == 0); /* on an open descriptor there is nothing to refuse */
}

bool walindex_is_locked(int fd, int byte)
{
    struct flock range = lock_range(F_WRLCK, byte, 1);

    if (fcntl(fd, F_OFD_GETLK, &range) != 0)
        return true;
    return range.l_type != F_UNLCK;
}

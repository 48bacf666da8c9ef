/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/journal.c - see journal.h for the layout and the rule.
 *
 * Happy path: first header -> records of every segment, noting their pages and
 * which of them look like free-list trunks -> the old free list says which of
 * those are trunks, their leaves are added -> pages past the old size -> sort.
 *
 * Failure modes: a record that a segment's count promises but that is not
 * there whole leaves the set uncertain (-EBADMSG). A free list that leads
 * nowhere does not: every page that looks like a trunk is then taken for one.
 */
#include "wal/journal.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_BYTES 28u   /* of the sector; the rest is padding */
#define UNSYNCED_BYTES 12u /* magic and count, 0 until the segment is synced */
#define RECORD_EXTRA_BYTES 8u
#define SECTOR_MIN_BYTES 32u
#define SECTOR_MAX_BYTES 65536u
#define RECORDS_UNTIL_END 0xffffffffu
#define CHECKSUM_STRIDE 200u
#define TAIL_FIXED_BYTES 16u /* length, sum, magic */
#define WINDOW_BYTES 65536u
#define CAPACITY_MIN 64u

static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9,
                                 0x20, 0xa1, 0x63, 0xd7};

struct header {
    uint32_t records;
    uint32_t nonce;
    uint32_t old_pages;
    uint32_t sector_bytes;
    uint32_t page_bytes;
};

/* A journaled page that may have been a free-list trunk. */
struct trunk {
    pgno_t pgno; /* first, for page_compare */
    pgno_t next;
    uint64_t offset; /* of the page, in the journal */
    uint32_t leaves;
    bool listed; /* the old free list runs through it */
};

struct reading {
    const struct os_file *journal;
    const struct os_file *database;
    uint64_t journal_bytes;
    struct header first;
    uint32_t new_pages;
    size_t pages_max;

    uint8_t *window; /* a piece of the journal, so that reads are few */
    size_t window_capacity;
    uint64_t window_at;
    size_t window_bytes;

    pgno_t *pages; /* the set, unsorted, at most pages_max */
    size_t count;
    size_t capacity;

    struct trunk *trunks; /* at most pages_max */
    size_t trunks_count;
    size_t trunks_capacity;
    size_t trunks_wanted; /* with leaves, not yet met on the free list */

    pgno_t first_trunk; /* of the old free list */
    bool first_trunk_known;
    uint32_t old_size; /* as the old page 1 has it; 0: it does not tell */
};

static void header_decode(const uint8_t *bytes, struct header *ret_header)
{
    *ret_header = (struct header){
        .records = get_be32(bytes + 8),
        .nonce = get_be32(bytes + 12),
        .old_pages = get_be32(bytes + 16),
        .sector_bytes = get_be32(bytes + 20),
        .page_bytes = get_be32(bytes + 24),
    };
}

static bool header_sizes_are_valid(const struct header *header)
{
    uint32_t sector = header->sector_bytes;

    return page_size_is_valid(header->page_bytes) &&
           sector >= SECTOR_MIN_BYTES && sector <= SECTOR_MAX_BYTES &&
           (sector & (sector - 1)) == 0;
}

/* The first header. -ENOENT: none; -EBADMSG: one that cannot be used. */
static int header_read_first(const struct os_file *journal, uint64_t size,
                             struct header *ret_header)
{
    uint8_t bytes[HEADER_BYTES];
    ssize_t n = os_pread(journal, bytes, sizeof bytes, 0, SITE_JOURNAL_READ);

    if (n < 0)
        return (int)n;
    if ((size_t)n < sizeof bytes || memcmp(bytes, magic, sizeof magic) != 0)
        return -ENOENT;
    header_decode(bytes, ret_header);
    if (!header_sizes_are_valid(ret_header) || size < ret_header->sector_bytes)
        return -EBADMSG;
    return 0;
}

static int window_open(struct reading *r)
{
    size_t record = r->first.page_bytes + RECORD_EXTRA_BYTES;

    r->window_capacity = record > WINDOW_BYTES ? record : WINDOW_BYTES;
    return os_alloc(&r->window, r->window_capacity, SITE_JOURNAL_ALLOC);
}

/* Size bytes of the journal at offset, valid until the next call. -EBADMSG
 * when the file ends before them. */
static int window_get(struct reading *r, uint64_t offset, size_t size,
                      const uint8_t **ret_bytes)
{
    ssize_t n;

    ASSERT(size <= r->window_capacity);
    if (offset < r->window_at ||
        offset + size > r->window_at + r->window_bytes) {
        n = os_pread(r->journal, r->window, r->window_capacity, offset,
                     SITE_JOURNAL_READ);
        r->window_bytes = n < 0 ? 0 : (size_t)n;
        r->window_at = offset;
        if (n < 0)
            return (int)n;
        if ((size_t)n < size)
            return -EBADMSG;
    }
    *ret_bytes = r->window + (offset - r->window_at);
    return 0;
}

/* Doubles an array of count elements when it is full; never past pages_max
 * elements, which is -E2BIG. */
static int array_make_room(void *array, size_t *capacity, size_t count,
                           size_t element_bytes, size_t pages_max)
{
    size_t wanted = *capacity < CAPACITY_MIN ? CAPACITY_MIN : *capacity * 2;
    void *old, *grown;
    int rc;

    if (count < *capacity)
        return 0;
    if (count >= pages_max)
        return -E2BIG;
    if (wanted > pages_max)
        wanted = pages_max;
    rc = os_alloc(&grown, wanted * element_bytes, SITE_JOURNAL_ALLOC);
    if (rc < 0)
        return rc;
    memcpy(&old, array, sizeof old);
    if (count > 0)
        memcpy(grown, old, count * element_bytes);
    os_free(array);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return 0;
}

/* Notes pgno, unless the database has no such page now. */
static int page_add(struct reading *r, pgno_t pgno)
{
    int rc;

    if (pgno == 0 || pgno > r->new_pages ||
        pgno == page_lock_byte(r->first.page_bytes))
        return 0;
    rc = array_make_room(&r->pages, &r->capacity, r->count, sizeof *r->pages,
                         r->pages_max);
    if (rc == 0)
        r->pages[r->count++] = pgno;
    return rc;
}

/* All pages past the old size are new. */
static int pages_add_new(struct reading *r)
{
    bool cut = r->old_size != 0 && r->old_size < r->first.old_pages;
    uint64_t pgno = (uint64_t)(cut ? r->old_size : r->first.old_pages) + 1;
    int rc = 0;

    for (; rc == 0 && pgno <= r->new_pages; pgno++)
        rc = page_add(r, (pgno_t)pgno);
    return rc;
}

/* Orders pages, and structs that begin with one. */
static int page_compare(const void *a, const void *b)
{
    const pgno_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static void pages_sort(struct reading *r)
{
    size_t kept = 0;

    if (r->count == 0)
        return;
    qsort(r->pages, r->count, sizeof *r->pages, page_compare);
    for (size_t i = 1; i < r->count; i++)
        if (r->pages[i] != r->pages[kept])
            r->pages[++kept] = r->pages[i];
    r->count = kept + 1;
}

/*
 * A page of a tree starts with a type and one of overflow with a number, then
 * comes what makes a small leaf count improbable: few pages that are no trunk
 * pass, and the free list has the last word. A trunk always passes: SQLite
 * takes no leaf from one that would not.
 */
static int trunk_note(struct reading *r, pgno_t pgno, const uint8_t *page,
                      uint64_t offset)
{
    struct trunk trunk = {
        .pgno = pgno,
        .next = get_be32(page),
        .offset = offset,
        .leaves = get_be32(page + 4),
    };
    int rc;

    if (pgno == 1 || trunk.next > r->first.old_pages ||
        trunk.leaves > r->first.page_bytes / 4 - 2)
        return 0;
    rc = array_make_room(&r->trunks, &r->trunks_capacity, r->trunks_count,
                         sizeof *r->trunks, r->pages_max);
    if (rc < 0)
        return rc;
    r->trunks[r->trunks_count++] = trunk;
    r->trunks_wanted += trunk.leaves > 0;
    return 0;
}

static int record_note(struct reading *r, pgno_t pgno, const uint8_t *page,
                       uint64_t offset)
{
    struct page_header header = {0};
    int rc;

    if (pgno > r->first.old_pages)
        return 0; /* is new, if it is there at all */
    if (pgno == 1 && !r->first_trunk_known) {
        r->first_trunk = get_be32(page + 32);
        r->first_trunk_known = true;
        (void)page_header_decode(page, r->first.page_bytes, &header);
        r->old_size = header.size_pages;
    }
    rc = page_add(r, pgno);
    return rc < 0 ? rc : trunk_note(r, pgno, page, offset);
}

static uint32_t record_checksum(uint32_t nonce, const uint8_t *page,
                                uint32_t page_bytes)
{
    for (uint32_t i = page_bytes - CHECKSUM_STRIDE;;) {
        nonce += page[i];
        if (i <= CHECKSUM_STRIDE)
            return nonce;
        i -= CHECKSUM_STRIDE;
    }
}

/* 1: noted the record at offset; 0: there is no valid one. */
static int record_read(struct reading *r, uint32_t nonce, uint64_t offset)
{
    uint32_t page_bytes = r->first.page_bytes;
    size_t size = page_bytes + RECORD_EXTRA_BYTES;
    const uint8_t *record;
    pgno_t pgno;
    int rc;

    if (offset + size > r->journal_bytes)
        return 0;
    rc = window_get(r, offset, size, &record);
    if (rc < 0)
        return rc;
    pgno = get_be32(record);
    if (pgno == 0 || pgno == page_lock_byte(page_bytes) ||
        get_be32(record + 4 + page_bytes) !=
            record_checksum(nonce, record + 4, page_bytes))
        return 0;
    rc = record_note(r, pgno, record + 4, offset + 4);
    return rc < 0 ? rc : 1;
}

/* Reads the records behind a header. Moves *offset behind the last one. */
static int segment_read(struct reading *r, const struct header *header,
                        bool counted, uint64_t *offset)
{
    int rc;

    *offset += r->first.sector_bytes;
    for (uint32_t i = 0; !counted || i < header->records; i++) {
        rc = record_read(r, header->nonce, *offset);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return counted ? -EBADMSG : 0;
        *offset += r->first.page_bytes + RECORD_EXTRA_BYTES;
    }
    return 0;
}

/* A header of this transaction that waits for its sync: 12 zero bytes, then
 * what all headers of the transaction say. */
static bool header_is_unsynced(const struct reading *r, const uint8_t *bytes)
{
    static const uint8_t zero[UNSYNCED_BYTES];
    struct header header;

    header_decode(bytes, &header);
    return memcmp(bytes, zero, sizeof zero) == 0 &&
           header.old_pages == r->first.old_pages &&
           header.sector_bytes == r->first.sector_bytes &&
           header.page_bytes == r->first.page_bytes;
}

static uint64_t sector_round_up(const struct reading *r, uint64_t offset)
{
    uint64_t sector = r->first.sector_bytes;

    return (offset + sector - 1) & ~(sector - 1);
}

/* Reads the segment at *offset and moves it to where the next one would be.
 * 1: go on; 0: that was the last one, or there is none. */
static int segment_next(struct reading *r, uint64_t *offset)
{
    const uint8_t *bytes;
    struct header header;
    bool counted;
    int rc;

    if (*offset + r->first.sector_bytes > r->journal_bytes)
        return 0;
    rc = window_get(r, *offset, HEADER_BYTES, &bytes);
    if (rc < 0)
        return rc;
    counted = memcmp(bytes, magic, sizeof magic) == 0;
    if (!counted && !header_is_unsynced(r, bytes))
        return 0;
    header_decode(bytes, &header);
    if (header.records == RECORDS_UNTIL_END)
        counted = false;
    rc = segment_read(r, &header, counted, offset);
    *offset = sector_round_up(r, *offset);
    return rc < 0 ? rc : counted;
}

static int segments_read(struct reading *r)
{
    uint64_t offset = 0;
    int rc;

    do {
        rc = segment_next(r, &offset);
    } while (rc > 0);
    return rc;
}

static struct trunk *trunk_find(const struct reading *r, pgno_t pgno)
{
    struct trunk key = {.pgno = pgno};

    if (r->trunks_count == 0)
        return NULL;
    return bsearch(&key, r->trunks, r->trunks_count, sizeof key, page_compare);
}

/* Four bytes of the database; -EBADMSG when it is shorter. */
static int database_get(const struct reading *r, uint64_t offset,
                        pgno_t *ret_pgno)
{
    uint8_t bytes[4];
    ssize_t n = os_pread(r->database, bytes, sizeof bytes, offset,
                         SITE_JOURNAL_DATABASE);

    if (n < 0)
        return (int)n;
    if ((size_t)n < sizeof bytes)
        return -EBADMSG;
    *ret_pgno = get_be32(bytes);
    return 0;
}

/* The trunk after pgno, as the list was before the transaction. */
static int trunk_next(struct reading *r, pgno_t pgno, pgno_t *ret_next)
{
    struct trunk *trunk = trunk_find(r, pgno);

    if (trunk == NULL)
        return database_get(r, (uint64_t)(pgno - 1) * r->first.page_bytes,
                            ret_next);
    if (!trunk->listed && trunk->leaves > 0)
        r->trunks_wanted--;
    trunk->listed = true;
    *ret_next = trunk->next;
    return 0;
}

/*
 * Walks the old free list until all that looked like trunks are met, or it
 * ends. -EBADMSG: it leads nowhere, or in a circle: a mark is left at every
 * step whose number is a power of two, and coming back to it tells (Brent).
 */
static int free_list_walk(struct reading *r)
{
    pgno_t at = r->first_trunk, mark = 0;
    uint64_t steps = 0, next_mark = 1;
    int rc;

    while (at != 0 && r->trunks_wanted > 0) {
        if (at == mark || at == 1 || at > r->first.old_pages)
            return -EBADMSG;
        if (++steps == next_mark) {
            mark = at;
            next_mark *= 2;
        }
        rc = trunk_next(r, at, &at);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int leaves_add_of(struct reading *r, const struct trunk *trunk)
{
    const uint8_t *page;
    int rc = window_get(r, trunk->offset, r->first.page_bytes, &page);

    for (uint32_t i = 0; rc == 0 && i < trunk->leaves; i++)
        rc = page_add(r, get_be32(page + 8 + (size_t)i * 4));
    return rc;
}

static int leaves_add(struct reading *r)
{
    bool all;
    int rc = 0;

    if (r->trunks_wanted == 0)
        return 0;
    if (!r->first_trunk_known)
        rc = database_get(r, 32, &r->first_trunk);
    qsort(r->trunks, r->trunks_count, sizeof *r->trunks, page_compare);
    if (rc == 0)
        rc = free_list_walk(r);
    all = rc == -EBADMSG;
    if (rc < 0 && !all)
        return rc;
    rc = 0;
    for (size_t i = 0; rc == 0 && i < r->trunks_count; i++)
        if (all || r->trunks[i].listed)
            rc = leaves_add_of(r, &r->trunks[i]);
    return rc;
}

static bool name_sum_is(const uint8_t *name, uint32_t length, uint32_t sum)
{
    int letters = 0;

    for (uint32_t i = 0; i < length; i++)
        letters += (signed char)name[i];
    return (uint32_t)letters == sum;
}

/* Fills ret_name, all 0 so far, with the super-journal's name if there is. */
static int tail_read(struct reading *r, char *ret_name)
{
    uint64_t at = r->journal_bytes - TAIL_FIXED_BYTES;
    const uint8_t *bytes;
    uint32_t length;
    int rc = window_get(r, at, TAIL_FIXED_BYTES, &bytes);

    if (rc < 0)
        return rc;
    length = get_be32(bytes);
    if (memcmp(bytes + 8, magic, sizeof magic) != 0 ||
        length >= JOURNAL_NAME_BYTES || length > at)
        return 0;
    rc = window_get(r, at - length, length + TAIL_FIXED_BYTES, &bytes);
    if (rc == 0 && name_sum_is(bytes, length, get_be32(bytes + length + 4)))
        memcpy(ret_name, bytes, length);
    return rc;
}

/* A VACUUM that changes the page size commits under a journal in pages of the
 * old one: none of its numbers mean anything now. */
static int page_size_compare(struct reading *r)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;
    ssize_t n = os_pread(r->database, bytes, sizeof bytes, 0,
                         SITE_JOURNAL_DATABASE);

    if (n < 0)
        return (int)n;
    if (page_header_decode(bytes, (size_t)n, &header) < 0)
        return 0;
    r->old_size = header.size_pages; /* unless page 1 is in the journal */
    return header.page_bytes == r->first.page_bytes ? 0 : -EBADMSG;
}

static int reading_start(struct reading *r)
{
    int rc = os_size(r->journal, &r->journal_bytes, SITE_JOURNAL_SIZE);

    if (rc == 0)
        rc = header_read_first(r->journal, r->journal_bytes, &r->first);
    if (rc == 0)
        rc = page_size_compare(r);
    if (rc == 0)
        rc = window_open(r);
    return rc;
}

static int reading_run(struct reading *r, char *ret_super_name)
{
    int rc = segments_read(r);

    if (rc == 0)
        rc = tail_read(r, ret_super_name);
    if (rc == 0)
        rc = leaves_add(r);
    if (rc == 0)
        rc = pages_add_new(r);
    if (rc == 0)
        pages_sort(r);
    return rc;
}

static void reading_close(struct reading *r)
{
    os_free(&r->window);
    os_free(&r->pages);
    os_free(&r->trunks);
}

int journal_read(const struct os_file *journal, const struct os_file *database,
                 uint32_t new_pages, size_t pages_max,
                 struct journal_changes *ret_changes)
{
    struct reading r = {
        .journal = journal,
        .database = database,
        .new_pages = new_pages,
        .pages_max = pages_max,
    };
    int rc;

    ASSERT(journal->open && database->open);
    *ret_changes = (struct journal_changes){0};
    rc = reading_start(&r);
    if (rc == 0)
        rc = reading_run(&r, ret_changes->super_name);
    if (rc == 0) {
        ret_changes->page_bytes = r.first.page_bytes;
        ret_changes->pages = r.pages;
        ret_changes->count = r.count;
        r.pages = NULL;
    }
    reading_close(&r);
    return rc;
}

void journal_changes_free(struct journal_changes *changes)
{
    os_free(&changes->pages);
    *changes = (struct journal_changes){0};
}

int journal_is_hot(const struct os_file *journal)
{
    struct header header;
    uint64_t size;
    int rc = os_size(journal, &size, SITE_JOURNAL_SIZE);

    if (rc == 0)
        rc = header_read_first(journal, size, &header);
    if (rc == -ENOENT || rc == -EBADMSG)
        return 0; /* SQLite plays nothing back from such a one */
    return rc < 0 ? rc : 1;
}

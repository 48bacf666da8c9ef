/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/shelf.c - finding segments, judging what a crash left, cutting.
 *
 * Opening goes in one direction and touches nothing before the last step:
 *
 *   list names -> read headers -> scan the last two -> decide -> cut
 *
 * Scanning begins where a record begins, and further back when two segments
 * do not say where the position stands (both full of parts, say). Damage that
 * a crash cannot explain, further back than the last two segments, is refused
 * and left to people. Cutting keeps first (copies and renames, made durable)
 * and removes then, newest first: whenever it is interrupted, what is left is
 * the beginning of the same log, and the next opening comes to the same end.
 */
#include "wal/shelf.h"

#include "base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OPEN_SEGMENTS 2u /* the newest ones, which a crash may have torn */
#define ASIDE_NAME_BYTES (SEGMENT_NAME_BYTES + 20)
#define ASIDE_MAX 9999
#define COPY_BYTES (1u << 20)

static int shelf_fail(const struct shelf_segment *segment, const char *why,
                      int error)
{
    char name[SEGMENT_NAME_BYTES], text[128];

    segment_name(&segment->header, name);
    snprintf(text, sizeof text, "%s: %s", name, why);
    return site_fail(SITE_LOG_SCAN, text, error);
}

static void segment_free(struct shelf_segment *segment)
{
    os_close(&segment->file);
    free(segment);
}

void shelf_rest(struct shelf *shelf)
{
    segment_reader_free(&shelf->reader);
    os_close(&shelf->reading);
    shelf->reading_sequence = 0;
}

void shelf_close(struct shelf *shelf)
{
    shelf_rest(shelf);
    for (size_t i = 0; i < shelf->count; i++)
        segment_free(shelf->segments[i]);
    free(shelf->segments);
    os_close(&shelf->dir);
    *shelf = (struct shelf){0};
}

txid_t shelf_first_txid(const struct shelf *shelf)
{
    size_t i = 0;
    txid_t txid;

    while (i < shelf->count && shelf->segments[i]->header.first_part != 1)
        i++;
    txid = i < shelf->count ? shelf->segments[i]->header.first_txid : 0;
    /* All there is may be parts of a record that is unfinished. */
    return txid <= continuity_end_txid(&shelf->continuity) ? txid : 0;
}

uint64_t shelf_bytes(const struct shelf *shelf)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < shelf->count; i++)
        bytes += shelf->segments[i]->end;
    return bytes;
}

static size_t index_of(const struct shelf *shelf, uint32_t sequence)
{
    return shelf->count == 0 ? 0
                             : sequence - shelf->segments[0]->header.sequence;
}

struct shelf_segment *shelf_find(const struct shelf *shelf, uint32_t sequence)
{
    size_t index = index_of(shelf, sequence);

    return index < shelf->count ? shelf->segments[index] : NULL;
}

int shelf_reserve(struct shelf *shelf)
{
    size_t capacity = shelf->capacity == 0 ? 8 : 2 * shelf->capacity;
    struct shelf_segment **segments;

    if (shelf->count < shelf->capacity)
        return 0;
    segments = realloc(shelf->segments,
                       capacity * sizeof(struct shelf_segment *));
    if (segments == NULL)
        return site_fail(SITE_LOG_ALLOC, NULL, ENOMEM);
    shelf->segments = segments;
    shelf->capacity = capacity;
    return 0;
}

int shelf_open_file(struct shelf *shelf, struct shelf_segment *segment)
{
    char name[SEGMENT_NAME_BYTES];

    if (segment->file.open)
        return 0;
    segment_name(&segment->header, name);
    return os_open(&segment->file, shelf->dir.fd, name, O_RDWR, 0,
                   SITE_LOG_SCAN);
}

int shelf_turn(struct shelf *shelf, const struct shelf_segment *segment)
{
    char name[SEGMENT_NAME_BYTES];
    int rc;

    if (shelf->reading_sequence == segment->header.sequence)
        return 0;
    os_close(&shelf->reading);
    shelf->reading_sequence = 0;
    segment_name(&segment->header, name);
    rc = os_open(&shelf->reading, shelf->dir.fd, name, O_RDONLY, 0,
                 SITE_LOG_SCAN);
    if (rc < 0)
        return rc;
    segment_reader_turn(&shelf->reader, &shelf->reading);
    shelf->reading_sequence = segment->header.sequence;
    return 0;
}

/* ---- finding ------------------------------------------------------------- */

static int shelf_add_named(struct shelf *shelf, const char *name)
{
    struct shelf_segment *segment = NULL;
    txid_t first_txid;
    uint32_t sequence;
    int rc;

    if (!segment_name_parse(name, &first_txid, &sequence))
        return 0;
    rc = shelf_reserve(shelf);
    if (rc == 0)
        rc = os_alloc(&segment, sizeof *segment, SITE_LOG_ALLOC);
    if (rc != 0)
        return rc;
    segment->header.first_txid = first_txid;
    segment->header.sequence = sequence;
    shelf->segments[shelf->count++] = segment;
    return 0;
}

static int compare_sequence(const void *a, const void *b)
{
    const struct shelf_segment *const *left = a, *const *right = b;

    return ((*left)->header.sequence > (*right)->header.sequence) -
           ((*left)->header.sequence < (*right)->header.sequence);
}

static int shelf_list(struct shelf *shelf)
{
    int fd = os_openat(shelf->dir.fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        rc = site_fail(SITE_LOG_OPEN, "list", errno);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    do {
        errno = 0;
        entry = readdir(dir);
        if (entry != NULL)
            rc = shelf_add_named(shelf, entry->d_name);
        else if (errno != 0)
            rc = site_fail(SITE_LOG_OPEN, "list", errno);
    } while (rc == 0 && entry != NULL);
    closedir(dir);
    if (shelf->count > 0)
        qsort(shelf->segments, shelf->count, sizeof(struct shelf_segment *),
              compare_sequence);
    return rc;
}

/* The header as the file has it; first_part 0 says: there is none. */
static int header_load(struct shelf *shelf, struct shelf_segment *segment)
{
    struct segment_header header;
    const uint8_t *bytes;
    size_t size;
    int rc = shelf_turn(shelf, segment);

    if (rc == 0)
        rc = os_size(&shelf->reading, &segment->end, SITE_LOG_SCAN);
    if (rc == 0)
        rc = segment_reader_get(&shelf->reader, 0, SEGMENT_HEADER_BYTES,
                                segment->end, &bytes, &size);
    if (rc != 0)
        return rc;
    rc = segment_header_decode(bytes, size, &header);
    if (rc == -EPROTONOSUPPORT)
        return shelf_fail(segment, "made by a newer version", -rc);
    if (rc < 0)
        return 0;
    if (!lineage_is_equal(&header.lineage, &shelf->lineage))
        return shelf_fail(segment, "belongs to another database", EBADMSG);
    if (header.sequence != segment->header.sequence ||
        header.first_txid != segment->header.first_txid)
        return shelf_fail(segment, "header and name differ", EBADMSG);
    segment->header = header;
    return 0;
}

static int headers_load(struct shelf *shelf)
{
    for (size_t i = 0; i < shelf->count; i++) {
        struct shelf_segment *segment = shelf->segments[i];
        const struct shelf_segment *before = i == 0 ? NULL
                                                    : shelf->segments[i - 1];
        int rc = header_load(shelf, segment);

        if (rc < 0)
            return rc;
        if (before != NULL &&
            segment->header.sequence != before->header.sequence + 1)
            return shelf_fail(segment, "the one before is missing", EBADMSG);
        if (segment->header.first_part == 0 && i + OPEN_SEGMENTS < shelf->count)
            return shelf_fail(segment, "damaged header", EBADMSG);
    }
    return 0;
}

/* ---- scanning ------------------------------------------------------------ */

struct scan {
    struct continuity continuity;
    struct log_cursor part1;
    struct log_cursor stopped; /* behind the last record that is good */
    bool bad;                  /* something lies there that is not */
};

/* Does the segment begin with what its header says? */
static int scan_first(struct shelf *shelf, const struct shelf_segment *segment,
                      uint64_t limit, bool *ret_good)
{
    struct record_header header;
    const uint8_t *bytes;
    size_t total;
    int rc;

    if (limit <= SEGMENT_HEADER_BYTES)
        return 0;
    rc = segment_reader_record(&shelf->reader, SEGMENT_HEADER_BYTES, limit,
                               &header, &total, &bytes);
    if (rc > 0)
        *ret_good = header.first_txid == segment->header.first_txid &&
                    header.part == segment->header.first_part;
    return rc < 0 ? rc : 0;
}

static int scan_records(struct shelf *shelf,
                        const struct shelf_segment *segment, uint64_t limit,
                        struct scan *scan)
{
    uint64_t part1 = 0, end = 0;
    int rc = segment_walk(&shelf->reader, SEGMENT_HEADER_BYTES, limit,
                          &shelf->lineage, &scan->continuity, &part1, &end);

    if (rc < 0)
        return rc;
    if (part1 != 0)
        scan->part1 = (struct log_cursor){segment->header.sequence, part1};
    scan->stopped.offset = end;
    scan->bad = end < limit;
    return 0;
}

/* One segment, up to limit; stop: limit is no end of file, but a place that
 * is good in itself. */
static int scan_segment(struct shelf *shelf,
                        const struct shelf_segment *segment, bool first,
                        uint64_t limit, bool stop, struct scan *scan)
{
    bool good = stop && limit == SEGMENT_HEADER_BYTES;
    int rc;

    scan->stopped = (struct log_cursor){segment->header.sequence, 0};
    scan->bad = true;
    if (segment->header.first_part == 0)
        return 0;
    if (!first &&
        segment->header.before_txid != continuity_reach_txid(&scan->continuity))
        return 0;
    rc = shelf_turn(shelf, segment);
    if (rc == 0)
        rc = scan_first(shelf, segment, limit, &good);
    if (rc == 0 && good)
        rc = scan_records(shelf, segment, limit, scan);
    return rc == -EPROTONOSUPPORT
               ? shelf_fail(segment, "holds a record of a newer version", -rc)
               : rc;
}

/* Scans segments [from, ...] up to the end of the log or `stop`. */
static int scan_range(struct shelf *shelf, size_t from,
                      const struct log_cursor *stop, struct scan *ret_scan)
{
    struct scan scan = {0};
    size_t first = from;
    int rc = 0;

    /* What trimming left of a record in parts is of no use to anybody. */
    while (first + 1 < shelf->count &&
           shelf->segments[first]->header.first_part > 1)
        first++;
    for (size_t i = first; i < shelf->count && rc == 0 && !scan.bad; i++) {
        const struct shelf_segment *segment = shelf->segments[i];
        bool here = stop != NULL && stop->sequence == segment->header.sequence;

        rc = scan_segment(shelf, segment, i == first,
                          here ? stop->offset : segment->end, here, &scan);
        if (here)
            break;
    }
    *ret_scan = scan;
    return rc;
}

/* Scans from `newest` on, or from so far back that the position is known. */
static int scan_back(struct shelf *shelf, size_t newest,
                     const struct log_cursor *stop, struct scan *ret_scan)
{
    size_t from = newest;

    for (;;) {
        int rc;

        while (from > 0 && shelf->segments[from]->header.first_part > 1)
            from--;
        rc = scan_range(shelf, from, stop, ret_scan);
        if (rc < 0 || from == 0 || ret_scan->continuity.last.parts != 0)
            return rc;
        from--;
    }
}

int shelf_continuity(struct shelf *shelf, const struct log_cursor *stop,
                     struct continuity *ret_continuity)
{
    struct shelf_segment *segment = shelf_find(shelf, stop->sequence);
    struct scan scan;
    int rc;

    ASSERT(segment != NULL);
    rc = scan_back(shelf, index_of(shelf, stop->sequence), stop, &scan);
    if (rc < 0)
        return rc;
    if (scan.bad)
        return shelf_fail(segment, "damaged before the cut", EBADMSG);
    *ret_continuity = scan.continuity;
    return 0;
}

/* ---- cutting ------------------------------------------------------------- */

/* Makes an empty file with a name that is free beside the segment. */
static int aside_create(struct shelf *shelf,
                        const struct shelf_segment *segment,
                        struct os_file *file, char name[ASIDE_NAME_BYTES])
{
    char base[SEGMENT_NAME_BYTES];
    int rc = -EEXIST;

    segment_name(&segment->header, base);
    for (int n = 1; n <= ASIDE_MAX && rc == -EEXIST; n++) {
        snprintf(name, ASIDE_NAME_BYTES, "%s.cut-%d", base, n);
        rc = os_open(file, shelf->dir.fd, name, O_WRONLY | O_CREAT | O_EXCL,
                     0600, SITE_LOG_SAVE);
    }
    return rc;
}

static int aside_write(struct shelf *shelf, const struct shelf_segment *segment,
                       uint64_t from, const struct os_file *to)
{
    uint64_t at = from;
    const uint8_t *bytes;
    size_t size;
    int rc = shelf_turn(shelf, segment);

    while (rc == 0 && at < segment->end) {
        rc = segment_reader_get(&shelf->reader, at, COPY_BYTES, segment->end,
                                &bytes, &size);
        if (rc == 0 && size == 0)
            break; /* the file became shorter: that is all there is */
        if (rc == 0)
            rc = os_pwrite(to, bytes, size, at - from, SITE_LOG_SAVE);
        at += size;
    }
    return rc < 0 ? rc : os_fsync(to, SITE_LOG_SAVE);
}

/* Copies what lies behind `from`. */
static int aside_copy(struct shelf *shelf, const struct shelf_segment *segment,
                      uint64_t from)
{
    struct os_file file = {0};
    char name[ASIDE_NAME_BYTES];
    int rc = aside_create(shelf, segment, &file, name);

    if (rc == 0)
        rc = aside_write(shelf, segment, from, &file);
    os_close(&file);
    return rc < 0 ? rc : os_fsync(&shelf->dir, SITE_LOG_SAVE);
}

static int remove_file(struct shelf *shelf, const struct shelf_segment *segment,
                       bool aside)
{
    char name[SEGMENT_NAME_BYTES], kept[ASIDE_NAME_BYTES];
    struct os_file file = {0};
    int rc;

    segment_name(&segment->header, name);
    if (!aside) {
        rc = os_unlink(shelf->dir.fd, name, SITE_LOG_REMOVE);
        return rc == -ENOENT ? 0 : rc;
    }
    rc = aside_create(shelf, segment, &file, kept);
    os_close(&file);
    return rc < 0 ? rc : os_rename(shelf->dir.fd, name, kept, SITE_LOG_REMOVE);
}

static int truncate_file(struct shelf *shelf, struct shelf_segment *segment,
                         uint64_t end)
{
    int rc = shelf_open_file(shelf, segment);

    if (rc == 0)
        rc = os_ftruncate(&segment->file, end, SITE_LOG_TRUNCATE);
    if (rc == 0)
        rc = os_fsync(&segment->file, SITE_LOG_TRUNCATE);
    if (rc < 0)
        return rc;
    segment->end = end;
    if (segment->synced > end)
        segment->synced = end;
    return 0;
}

int shelf_cut(struct shelf *shelf, const struct log_cursor *place, bool aside)
{
    size_t index = index_of(shelf, place->sequence);
    /* A segment without a record would have a name that is not true. */
    bool whole = place->offset <= SEGMENT_HEADER_BYTES;
    struct shelf_segment *segment = shelf->segments[index];
    int rc = 0;

    ASSERT(index < shelf->count && place->offset <= segment->end);
    shelf_rest(shelf);
    if (aside && !whole && place->offset < segment->end)
        rc = aside_copy(shelf, segment, place->offset);
    while (rc == 0 && shelf->count > index + !whole) {
        struct shelf_segment *newest = shelf->segments[shelf->count - 1];

        rc = remove_file(shelf, newest, aside);
        if (rc < 0)
            break;
        segment_free(newest);
        shelf->count--;
    }
    if (rc == 0) /* gone for good before anything new takes their numbers */
        rc = os_fsync(&shelf->dir, SITE_LOG_REMOVE);
    if (rc == 0 && !whole)
        rc = truncate_file(shelf, segment, place->offset);
    shelf_rest(shelf);
    return rc;
}

/* ---- opening ------------------------------------------------------------- */

/* Do whole records lie in or behind the damage at `bad`? 1 or 0. */
static int records_lie_behind(struct shelf *shelf, const struct log_cursor *bad)
{
    uint64_t from = bad->offset;
    int rc = 0;

    for (size_t i = index_of(shelf, bad->sequence); i < shelf->count && rc == 0;
         i++, from = 0) {
        const struct shelf_segment *segment = shelf->segments[i];

        rc = shelf_turn(shelf, segment);
        if (rc == 0)
            rc = segment_holds_record(&shelf->reader, from, segment->end);
    }
    return rc;
}

static uint64_t bytes_behind(const struct shelf *shelf,
                             const struct log_cursor *place)
{
    size_t index = index_of(shelf, place->sequence);
    uint64_t bytes = 0;

    for (size_t i = index; i < shelf->count; i++)
        bytes += shelf->segments[i]->end;
    return bytes - place->offset;
}

/* Cuts off what the scan did not like. */
static int shelf_settle(struct shelf *shelf, struct scan *scan,
                        struct log_found *found)
{
    bool unfinished = scan->continuity.unfinished.parts != 0;
    const struct log_cursor *place = unfinished ? &scan->part1 : &scan->stopped;
    size_t index = index_of(shelf, scan->stopped.sequence);
    int aside = 0;

    if (scan->bad && index + OPEN_SEGMENTS < shelf->count)
        return shelf_fail(shelf->segments[index], "damaged", EBADMSG);
    if (!scan->bad && !unfinished)
        return 0;
    if (scan->bad)
        aside = records_lie_behind(shelf, &scan->stopped);
    if (aside < 0)
        return aside;
    found->cut_bytes = bytes_behind(shelf, place);
    found->saved_bytes = aside > 0 ? found->cut_bytes : 0;
    scan->continuity.unfinished.parts = 0;
    return shelf_cut(shelf, place, aside > 0);
}

static int shelf_load(struct shelf *shelf, struct log_found *found)
{
    struct scan scan = {0};
    int rc = shelf_list(shelf);

    if (rc == 0)
        rc = headers_load(shelf);
    if (rc == 0 && shelf->count > 0)
        rc = scan_back(
            shelf,
            shelf->count > OPEN_SEGMENTS ? shelf->count - OPEN_SEGMENTS : 0,
            NULL, &scan);
    if (rc == 0 && shelf->count > 0)
        rc = shelf_settle(shelf, &scan, found);
    if (rc < 0)
        return rc;
    shelf->continuity = scan.continuity;
    for (size_t i = 0; i + OPEN_SEGMENTS < shelf->count; i++)
        shelf->segments[i]->synced = shelf->segments[i]->end;
    return 0;
}

int shelf_open(struct shelf *shelf, int dirfd, const char *path,
               const struct lineage *lineage, struct log_found *ret_found)
{
    struct log_found found = {0};
    int rc;

    shelf->lineage = *lineage;
    rc = os_open(&shelf->dir, dirfd, path, O_RDONLY | O_DIRECTORY, 0,
                 SITE_LOG_OPEN);
    if (rc == -ENOENT) { /* not at every start: it costs a sync */
        rc = os_mkdir(dirfd, path, 0700, SITE_LOG_OPEN);
        if (rc == 0)
            rc = os_open(&shelf->dir, dirfd, path, O_RDONLY | O_DIRECTORY, 0,
                         SITE_LOG_OPEN);
    }
    if (rc == 0)
        rc = shelf_load(shelf, &found);
    shelf_rest(shelf);
    if (rc < 0)
        return rc;
    found.last = shelf->continuity.last;
    found.prepared = shelf->continuity.prepared;
    found.first_txid = shelf_first_txid(shelf);
    found.bytes = shelf_bytes(shelf);
    *ret_found = found;
    return 0;
}

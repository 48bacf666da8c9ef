/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/log.c - appending to the log of one database, and reading it again.
 *
 * An append is one write to the newest segment, behind its last record; what
 * a failed one left is truncated, at once or before the next. A segment that
 * is full is followed by a new one, whose header goes out with its first
 * record; it begins only when all but the newest are durable, which a sync
 * from elsewhere has nearly always seen to.
 *
 * A plain write is used for log_append(), no ring: it is a copy to the page
 * cache, which a ring would only do later or on another thread. What log.h
 * promises lives next door: shelf.c opens, scans and cuts, browse.c seeks and
 * reads, syncer.c makes durable and has the locks.
 */
#include "wal/log.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/uring.h"
#include "wal/browse.h"
#include "wal/syncer.h"

#include <errno.h>
#include <fcntl.h>

struct log {
    struct shelf shelf; /* the worker's; see syncer.h */
    struct browse browse;
    struct syncer syncer;
    bool ragged;            /* the newest file has bytes behind its end */
    bool broken;            /* a cut stopped half way: no appends */
    uint64_t segment_bytes; /* see segment_cap() */
    char leftover[SEGMENT_NAME_BYTES]; /* to be removed, no segment; "": none */
    /* for any thread, with syncer.lock */
    txid_t first_txid;
    uint64_t bytes;
};

static struct shelf_segment *newest(const struct log *log)
{
    const struct shelf *shelf = &log->shelf;

    return shelf->count == 0 ? NULL : shelf->segments[shelf->count - 1];
}

/* With lock. Sent again after a reconnect, a PREPARED makes the older one void
 * that lies before it: as long as they are equal, what is durable of the one
 * is durable of the other. */
static void prepared_follow(struct log *log)
{
    struct position now = continuity_prepared(&log->shelf.continuity);

    if (!position_is_equal(&now, &log->syncer.prepared))
        log->syncer.prepared_durable = false;
    log->syncer.prepared = now;
}

/* The numbers everybody may read, from the worker's. With lock. */
static void numbers_follow(struct log *log)
{
    prepared_follow(log);
    log->syncer.last_txid = continuity_txid(&log->shelf.continuity);
    log->first_txid = shelf_first_txid(&log->shelf);
    log->bytes = shelf_bytes(&log->shelf);
    if (log->syncer.durable_txid > log->syncer.last_txid)
        log->syncer.durable_txid = log->syncer.last_txid;
}

/* ---- opening ------------------------------------------------------------- */

static int log_start(struct log *log)
{
    struct shelf *shelf = &log->shelf;
    int rc = 0;

    log->syncer.names_changed = shelf->count > 0;
    for (size_t i = 0; i < shelf->count && rc == 0; i++)
        if (shelf->segments[i]->synced < shelf->segments[i]->end)
            rc = shelf_open_file(shelf, shelf->segments[i]);
    numbers_follow(log);
    return rc;
}

int log_open(struct log **ret_log, int dirfd, const char *path,
             const struct lineage *lineage, struct log_found *ret_found)
{
    struct log_found found;
    struct log *log;
    int rc = os_alloc(&log, sizeof *log, SITE_LOG_ALLOC);

    if (rc < 0)
        return rc;
    syncer_init(&log->syncer, &log->shelf);
    log->browse.shelf = &log->shelf;
    rc = shelf_open(&log->shelf, dirfd, path, lineage, &found);
    if (rc == 0)
        rc = log_start(log);
    if (rc < 0) {
        log_close(log);
        return rc;
    }
    *ret_found = found;
    *ret_log = log;
    return 0;
}

void log_close(struct log *log)
{
    if (log == NULL)
        return;
    shelf_close(&log->shelf);
    syncer_close(&log->syncer);
    os_free(&log);
}

int log_sync(struct log *log)
{
    int rc;

    pthread_mutex_lock(&log->syncer.sync_lock);
    rc = syncer_sync(&log->syncer);
    pthread_mutex_unlock(&log->syncer.sync_lock);
    return rc;
}

/* ---- appending ----------------------------------------------------------- */

/* Where an append goes, and how things stood before it. */
struct append {
    struct shelf_segment *segment; /* the newest, or one that is made for it */
    bool is_new;
    uint64_t offset;
    struct continuity before;
};

/* Cuts off the parts of a record that somebody gave up. */
static int drop_unfinished(struct log *log)
{
    struct shelf *shelf = &log->shelf;
    int rc = 0;

    if (shelf->continuity.unfinished.parts == 0)
        return 0;
    pthread_mutex_lock(&log->syncer.sync_lock);
    rc = shelf_cut(shelf, &shelf->part1, false);
    if (rc == 0) {
        shelf->continuity.unfinished.parts = 0;
        browse_forget(&log->browse);
        log->ragged = false;
        pthread_mutex_lock(&log->syncer.lock);
        numbers_follow(log);
        pthread_mutex_unlock(&log->syncer.lock);
    }
    pthread_mutex_unlock(&log->syncer.sync_lock);
    return rc;
}

/* Truncates what a failed append left. */
static int trim_edge(struct log *log)
{
    struct shelf_segment *segment = newest(log);
    int rc;

    if (!log->ragged)
        return 0;
    ASSERT(segment != NULL);
    rc = os_ftruncate(&segment->file, segment->end, SITE_LOG_TRUNCATE);
    log->ragged = rc < 0;
    return rc;
}

static int remove_leftover(struct log *log)
{
    int rc;

    if (log->leftover[0] == '\0')
        return 0;
    rc = os_unlink(log->shelf.dir.fd, log->leftover, SITE_LOG_REMOVE);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    log->leftover[0] = '\0';
    return 0;
}

/* A segment whose first record will be header's; not in segments[] yet. */
static int segment_make(struct log *log, const struct record_header *header,
                        struct shelf_segment **ret_segment)
{
    const struct shelf_segment *before = newest(log);
    struct shelf_segment *segment = NULL;
    int rc = syncer_is_settled(&log->syncer) ? 0 : log_sync(log);

    if (rc == 0)
        rc = remove_leftover(log);
    if (rc == 0) { /* who syncs reads the array meanwhile */
        pthread_mutex_lock(&log->syncer.lock);
        rc = shelf_reserve(&log->shelf);
        pthread_mutex_unlock(&log->syncer.lock);
    }
    if (rc == 0)
        rc = os_alloc(&segment, sizeof *segment, SITE_LOG_ALLOC);
    if (rc != 0)
        return rc;
    segment->header = (struct segment_header){
        .lineage = log->shelf.lineage,
        .sequence = before == NULL ? 1 : before->header.sequence + 1,
        .first_txid = header->first_txid,
        .before_txid = continuity_reach_txid(&log->shelf.continuity),
        .first_part = header->part,
    };
    segment_name(&segment->header, log->leftover); /* until it is one */
    rc = os_open(&segment->file, log->shelf.dir.fd, log->leftover,
                 O_RDWR | O_CREAT | O_TRUNC, 0600, SITE_LOG_CREATE);
    if (rc != 0) {
        os_free(&segment);
        return rc;
    }
    *ret_segment = segment;
    return 0;
}

static bool has_room(const struct log *log, const struct shelf_segment *segment,
                     const struct record_header *header, size_t size)
{
    uint64_t cap = segment_cap(segment->header.sequence, log->segment_bytes);

    return (header->flags & RECORD_RESOLVE) != 0 || segment->end + size <= cap;
}

void log_limit_segments(struct log *log, uint64_t bytes)
{
    log->segment_bytes = bytes;
}

/* All checks, and a segment to write to; changes nothing that counts. */
static int append_begin(struct log *log, const struct record_header *header,
                        size_t size, struct append *append)
{
    struct shelf *shelf = &log->shelf;
    int rc = 0;

    ASSERT(size == record_total(header));
    *append = (struct append){0};
    if (log->broken)
        return site_fail(SITE_LOG_APPEND, "a cut failed, reopen", EIO);
    if (!continuity_accepts(&shelf->continuity, header) && header->part == 1)
        rc = drop_unfinished(log);
    if (rc == 0 && (!lineage_is_equal(&header->lineage, &shelf->lineage) ||
                    !continuity_accepts(&shelf->continuity, header)))
        rc = site_fail(SITE_LOG_APPEND, "record does not come next", EINVAL);
    if (rc == 0)
        rc = trim_edge(log);
    *append = (struct append){newest(log), false, 0, shelf->continuity};
    if (rc == 0 && append->segment != NULL)
        rc = shelf_open_file(shelf, append->segment);
    append->is_new = append->segment == NULL ||
                     !has_room(log, append->segment, header, size);
    if (rc == 0 && append->is_new)
        rc = segment_make(log, header, &append->segment);
    if (rc == 0)
        append->offset = append->is_new ? SEGMENT_HEADER_BYTES
                                        : append->segment->end;
    return rc;
}

/* Takes back what was written; the log is as it was before append_begin(). */
static void append_undo(struct log *log, struct append *append)
{
    struct shelf *shelf = &log->shelf;

    shelf->continuity = append->before;
    browse_forget(&log->browse);
    if (!append->is_new) {
        log->ragged = true;
        (void)trim_edge(log); /* else before the next append */
        return;
    }
    os_close(&append->segment->file);
    os_free(&append->segment);
    (void)remove_leftover(log); /* the same */
}

static int append_write(const struct append *append, const struct blob *blob)
{
    struct shelf_segment *segment = append->segment;
    uint8_t header[SEGMENT_HEADER_BYTES];
    struct iovec parts[2] = {{header, sizeof header}};

    if (!append->is_new)
        return os_pwrite(&segment->file, blob->data, blob->size, append->offset,
                         SITE_LOG_APPEND);
    segment_header_encode(&segment->header, header);
    /* pwritev only reads, but its type does not say so. */
    memcpy(&parts[1].iov_base, &(const void *){blob->data}, sizeof(void *));
    parts[1].iov_len = blob->size;
    return os_pwritev(&segment->file, parts, 2, 0, SITE_LOG_APPEND);
}

/* It is written: from here on it is part of the log. */
static void append_commit(struct log *log, const struct append *append,
                          const struct record_header *header, size_t size)
{
    struct shelf *shelf = &log->shelf;
    struct log_cursor place = {append->segment->header.sequence,
                               append->offset};
    struct shelf_segment *before = newest(log);

    if (header->part == 1) {
        shelf->part1 = place;
        log->browse.last_append.cursor = place;
        log->browse.last_append.txid = continuity_end_txid(&shelf->continuity);
    }
    continuity_advance(&shelf->continuity, header);
    pthread_mutex_lock(&log->syncer.lock);
    append->segment->end = append->offset + size;
    if (append->is_new) {
        if (before != NULL && before->synced >= before->end)
            os_close(&before->file); /* else the sync that is due does */
        shelf->segments[shelf->count++] = append->segment;
        log->leftover[0] = '\0';
        log->syncer.names_changed++;
    }
    log->bytes += size + (append->is_new ? SEGMENT_HEADER_BYTES : 0);
    log->syncer.last_txid = continuity_txid(&shelf->continuity);
    prepared_follow(log);
    if (log->first_txid == 0)
        log->first_txid = shelf_first_txid(shelf);
    pthread_mutex_unlock(&log->syncer.lock);
}

int log_append(struct log *log, const struct record_header *header,
               const struct blob *blob)
{
    struct append append;
    int rc = append_begin(log, header, blob->size, &append);

    if (rc != 0)
        return rc;
    rc = append_write(&append, blob);
    if (rc < 0)
        append_undo(log, &append);
    else
        append_commit(log, &append, header, blob->size);
    return rc;
}

/* True when the newest segment is all that is not durable. With sync_lock. */
static bool one_sync_will_do(struct log *log, const struct append *append)
{
    return !append->is_new && !append->segment->suspect &&
           syncer_is_settled(&log->syncer);
}

static int append_linked(struct log *log, struct append *append,
                         const struct record_header *header,
                         const struct blob *blob)
{
    struct shelf_segment *segment = append->segment;
    int rc = uring_write_sync(&segment->file, blob->data, blob->size,
                              append->offset, SITE_LOG_APPEND, SITE_LOG_SYNC);

    if (rc < 0) {
        segment->suspect = true;
        append_undo(log, append);
        return rc;
    }
    append_commit(log, append, header, blob->size);
    pthread_mutex_lock(&log->syncer.lock);
    segment->synced = segment->end;
    log->syncer.durable_txid = log->syncer.last_txid;
    log->syncer.prepared_durable = log->syncer.prepared.txid != 0;
    pthread_mutex_unlock(&log->syncer.lock);
    return 0;
}

/* The record is in the log, but not durable: it must not stay. */
static void append_revoke(struct log *log, struct append *append)
{
    struct shelf *shelf = &log->shelf;

    pthread_mutex_lock(&log->syncer.lock);
    append->segment->end = append->offset;
    if (append->is_new) {
        segment_name(&append->segment->header, log->leftover);
        shelf->count--;
    }
    pthread_mutex_unlock(&log->syncer.lock);
    append_undo(log, append);
    pthread_mutex_lock(&log->syncer.lock);
    numbers_follow(log);
    pthread_mutex_unlock(&log->syncer.lock);
}

int log_append_sync(struct log *log, const struct record_header *header,
                    const struct blob *blob)
{
    struct append append;
    int rc = append_begin(log, header, blob->size, &append);

    if (rc != 0)
        return rc;
    ASSERT(append.segment != NULL);
    pthread_mutex_lock(&log->syncer.sync_lock);
    if (one_sync_will_do(log, &append)) {
        rc = append_linked(log, &append, header, blob);
    } else {
        rc = append_write(&append, blob);
        if (rc < 0) {
            append_undo(log, &append);
        } else {
            append_commit(log, &append, header, blob->size);
            rc = syncer_sync(&log->syncer);
            if (rc < 0)
                append_revoke(log, &append);
        }
    }
    pthread_mutex_unlock(&log->syncer.sync_lock);
    return rc;
}

/* ---- reading ------------------------------------------------------------- */

int log_seek(struct log *log, txid_t txid, struct log_cursor *ret_cursor)
{
    if (txid < shelf_first_txid(&log->shelf) ||
        txid > continuity_end_txid(&log->shelf.continuity))
        return -ENOENT;
    return browse_seek(&log->browse, txid, ret_cursor);
}

int log_read(struct log *log, struct log_cursor *cursor,
             struct record_header *ret_header, struct blob **ret_blob)
{
    return browse_read(&log->browse, cursor, ret_header, ret_blob);
}

int log_skip(struct log *log, struct log_cursor *cursor,
             struct record_header *ret_header)
{
    return browse_skip(&log->browse, cursor, ret_header);
}

/* ---- shortening ---------------------------------------------------------- */

/* May the oldest segment go? Only with all that began in it: when the next
 * segments begin with later parts of its last record, they must be old, too. */
static bool is_trimmable(const struct log *log, txid_t before)
{
    const struct shelf *shelf = &log->shelf;
    size_t next = 1;

    while (next < shelf->count && shelf->segments[next]->header.first_part > 1)
        next++;
    return next < shelf->count &&
           shelf->segments[next]->header.before_txid < before;
}

/* Takes the oldest segment out of segments[]. */
static void oldest_forget(struct log *log)
{
    struct shelf *shelf = &log->shelf;
    struct shelf_segment *oldest = shelf->segments[0];

    browse_forget(&log->browse);
    pthread_mutex_lock(&log->syncer.lock);
    shelf->count--;
    memmove(shelf->segments, shelf->segments + 1,
            shelf->count * sizeof(struct shelf_segment *));
    log->syncer.names_changed++;
    numbers_follow(log);
    pthread_mutex_unlock(&log->syncer.lock);
    os_close(&oldest->file);
    os_free(&oldest);
}

uint64_t log_trim(struct log *log, uint64_t keep_bytes, uint64_t keep_since_ns,
                  txid_t before)
{
    struct shelf *shelf = &log->shelf;
    char name[SEGMENT_NAME_BYTES];
    uint64_t bytes;
    int rc;

    if (!is_trimmable(log, before) || !syncer_is_settled(&log->syncer))
        return 0;
    bytes = shelf->segments[0]->end;
    segment_name(&shelf->segments[0]->header, name);
    if (shelf_bytes(shelf) <= keep_bytes &&
        segment_written_ns(shelf->dir.fd, name) >= keep_since_ns)
        return 0;
    rc = os_unlink(shelf->dir.fd, name, SITE_LOG_TRIM);
    if (rc < 0 && rc != -ENOENT)
        return 0;
    oldest_forget(log);
    return bytes;
}

/* Where the cut for txid goes, and what the log says up to there. -ENOENT:
 * no record ends at txid. */
static int cut_find(struct log *log, txid_t txid, struct log_cursor *ret_place,
                    struct continuity *ret_continuity)
{
    struct shelf *shelf = &log->shelf;
    int rc;

    if (txid < shelf_first_txid(shelf)) { /* everything goes */
        ret_place->sequence = shelf->segments[0]->header.sequence;
        ret_place->offset = SEGMENT_HEADER_BYTES;
        *ret_continuity = (struct continuity){0};
        return 0;
    }
    rc = browse_seek(&log->browse, txid + 1, ret_place);
    if (rc == 0)
        rc = shelf_continuity(shelf, ret_place, ret_continuity);
    if (rc < 0)
        return rc;
    return continuity_txid(ret_continuity) == txid ? 0 : -ENOENT;
}

int log_cut(struct log *log, txid_t txid)
{
    struct shelf *shelf = &log->shelf;
    struct continuity continuity;
    struct log_cursor place;
    int rc = drop_unfinished(log);

    if (rc < 0 || txid >= continuity_end_txid(&shelf->continuity))
        return rc == 0 && txid > continuity_end_txid(&shelf->continuity)
                   ? -ENOENT
                   : rc;
    rc = cut_find(log, txid, &place, &continuity);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&log->syncer.sync_lock);
    rc = shelf_cut(shelf, &place, true);
    browse_forget(&log->browse);
    log->broken = rc < 0;
    log->ragged = false;
    shelf->continuity = continuity;
    pthread_mutex_lock(&log->syncer.lock);
    numbers_follow(log);
    pthread_mutex_unlock(&log->syncer.lock);
    pthread_mutex_unlock(&log->syncer.sync_lock);
    return rc;
}

/* ---- numbers ------------------------------------------------------------- */

static uint64_t number_read(struct log *log, const uint64_t *number)
{
    uint64_t value;

    pthread_mutex_lock(&log->syncer.lock);
    value = *number;
    pthread_mutex_unlock(&log->syncer.lock);
    return value;
}

txid_t log_durable_txid(struct log *log)
{
    return number_read(log, &log->syncer.durable_txid);
}

txid_t log_last_txid(struct log *log)
{
    return number_read(log, &log->syncer.last_txid);
}

const struct record_header *log_newest(const struct log *log)
{
    return &log->shelf.continuity.last;
}

bool log_prepared(struct log *log, struct position *ret_position)
{
    bool durable;

    pthread_mutex_lock(&log->syncer.lock);
    *ret_position = log->syncer.prepared;
    durable = log->syncer.prepared_durable;
    pthread_mutex_unlock(&log->syncer.lock);
    return durable;
}

txid_t log_first_txid(struct log *log)
{
    return number_read(log, &log->first_txid);
}

uint64_t log_bytes(struct log *log)
{
    return number_read(log, &log->bytes);
}

const char *log_method(const struct log *log)
{
    (void)log; /* all logs of a process go the same way */
    return uring_is_available() ? "io_uring" : "pwrite";
}

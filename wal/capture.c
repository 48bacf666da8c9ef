/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/capture.c - see capture.h.
 *
 * One pass: read the header -> frames after the last captured, up to mxFrame
 * -> newest frame of each page -> header again: same salts, so nothing was
 * overwritten while we read -> one record. Frames up to mxFrame do not change
 * until a reset; whatever lies behind may.
 *
 * A backlog is taken in steps of whole commits that fit the buffer, but first
 * all of it is counted: a step shows what it holds, and behind commits that
 * were missed that is a state which never was. A single transaction that does
 * not fit is read twice, page by page, as a read transaction sees it.
 */
#include "wal/capture.h"

#include "wal/emit.h"
#include "wal/notes.h"
#include "wal/readview.h"

#include <errno.h>
#include <stdlib.h>

#define STEP_BYTES (8u << 20) /* frames read at once */
#define LOOK_FRAMES 64        /* headers looked at in one second look */

/* Frames from..to of the current generation, as one record. */
struct batch {
    struct database *database;
    struct walindex_header end; /* header as of the batch's last commit */
    uint32_t from, to;
    uint32_t commits;      /* as SQLite counts them, psow padding apart */
    uint32_t padded;       /* commit frames that repeat the one before */
    size_t pages;          /* keys left after the dedup */
    struct readview *view; /* that shows the pages; NULL: buffer holds them */
};

void capture_free(struct capture *capture)
{
    os_free(&capture->buffer);
    os_free(&capture->keys);
    *capture = (struct capture){0};
}

void capture_start(struct database *database,
                   const struct walindex_header *header)
{
    struct capture *capture = &database->capture;

    if (memcmp(capture->seen.salt, header->salt, FRAME_SALT_BYTES) != 0)
        memcpy(capture->salt_before, capture->seen.salt, FRAME_SALT_BYTES);
    capture->seen = *header;
    capture->valid = true;
    capture->look_frame = 0;
}

static size_t frame_bytes(const struct walindex_header *header)
{
    return FRAME_HEADER_BYTES + header->page_bytes;
}

static bool salt_is_equal(const struct walindex_header *a,
                          const struct walindex_header *b)
{
    return memcmp(a->salt, b->salt, FRAME_SALT_BYTES) == 0;
}

static int buffer_reserve(struct capture *capture, size_t bytes, size_t keys)
{
    int rc = 0;

    if (capture->buffer_bytes < bytes) {
        os_free(&capture->buffer);
        capture->buffer_bytes = 0;
        rc = os_alloc(&capture->buffer, bytes, SITE_CAPTURE_ALLOC);
        if (rc == 0)
            capture->buffer_bytes = bytes;
    }
    if (rc == 0 && capture->keys_count < keys) {
        os_free(&capture->keys);
        capture->keys_count = 0;
        rc = os_alloc(&capture->keys, keys * sizeof(uint64_t),
                      SITE_CAPTURE_ALLOC);
        if (rc == 0)
            capture->keys_count = keys;
    }
    return rc;
}

static uint64_t key_make(pgno_t pgno, uint32_t frame)
{
    return (uint64_t)pgno << 32 | frame;
}

static int key_compare(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Sorts keys, keeps the newest frame of each page that still exists. */
static size_t keys_dedup(uint64_t *keys, size_t count, uint32_t size_pages)
{
    size_t kept = 0;

    qsort(keys, count, sizeof keys[0], key_compare);
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && keys[i + 1] >> 32 == keys[i] >> 32)
            continue;
        if (keys[i] >> 32 <= size_pages)
            keys[kept++] = keys[i];
    }
    return kept;
}

static uint32_t keys_find(const uint64_t *keys, size_t count, pgno_t pgno)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (keys[middle] >> 32 < pgno)
            low = middle + 1;
        else
            high = middle;
    }
    ASSERT(low < count && keys[low] >> 32 == pgno);
    return (uint32_t)keys[low];
}

static int batch_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                       const uint8_t **ret_image)
{
    struct batch *batch = context;
    struct capture *capture = &batch->database->capture;
    uint32_t frame;

    if (batch->view != NULL) {
        *ret_image = buffer;
        return readview_page(batch->view, pgno, buffer);
    }
    frame = keys_find(capture->keys, batch->pages, pgno);
    *ret_image = capture->buffer +
                 (size_t)(frame - batch->from) * frame_bytes(&batch->end) +
                 FRAME_HEADER_BYTES;
    return 0;
}

/*
 * A published frame belongs to the generation, whatever it says itself: that
 * the generation is still there is checked after reading. All the same its
 * salts must match, unless it has none.
 */
static bool frame_is_of(const struct frame *frame,
                        const struct walindex_header *header)
{
    return (frame->pgno != 0 &&
            memcmp(frame->salt, header->salt, FRAME_SALT_BYTES) == 0) ||
           frame_is_unsummed(frame);
}

/*
 * Notes the frames at bytes (count of them, the first is number `first`) in
 * keys from `at` on. Returns the offset of the last commit frame + 1, 0 when
 * there is none; -ESTALE when a frame is not of this generation.
 */
static int frames_note(struct batch *batch, const uint8_t *bytes,
                       uint32_t first, uint32_t count, size_t at,
                       uint32_t *ret_until)
{
    size_t stride = frame_bytes(&batch->end);
    const uint8_t *before = NULL;
    struct frame frame, last = {0};

    *ret_until = 0;
    for (uint32_t i = 0; i < count; i++, bytes += stride) {
        frame_decode(bytes, &frame);
        if (!frame_is_of(&frame, &batch->end))
            return -ESTALE;
        batch->database->capture.keys[at + i] = key_make(frame.pgno, first + i);
        if (frame.commit_pages != 0) {
            batch->commits++;
            /* Without powersafe overwrite SQLite repeats the commit frame up
             * to the sector's end; iChange counts it once. */
            if (before != NULL && last.pgno == frame.pgno &&
                memcmp(before, bytes + FRAME_HEADER_BYTES,
                       batch->end.page_bytes) == 0)
                batch->padded++;
            *ret_until = i + 1;
        }
        before = frame.commit_pages == 0 ? NULL : bytes + FRAME_HEADER_BYTES;
        last = frame;
    }
    return 0;
}

/* end becomes the header as it was at frame number `to`. */
static void batch_end_at(struct batch *batch, uint32_t to)
{
    struct capture *capture = &batch->database->capture;
    size_t stride = frame_bytes(&batch->end);
    struct frame frame;

    batch->to = to;
    if (to == batch->end.max_frame)
        return;
    frame_decode(capture->buffer + (size_t)(to - batch->from) * stride, &frame);
    batch->end.max_frame = to;
    batch->end.size_pages = frame.commit_pages;
    batch->end.chain.word[0] = frame.checksum[0];
    batch->end.chain.word[1] = frame.checksum[1];
}

static uint32_t step_frames(const struct walindex_header *header)
{
    return (uint32_t)(STEP_BYTES / frame_bytes(header));
}

/* Reads as many whole commits from batch->from on as fit into the buffer.
 * -E2BIG: the next one alone does not. */
static int batch_read(struct batch *batch)
{
    struct database *database = batch->database;
    size_t stride = frame_bytes(&batch->end);
    uint32_t count = batch->end.max_frame - batch->from + 1, until = 0;
    int rc;

    if (count > step_frames(&batch->end))
        count = step_frames(&batch->end);
    rc = buffer_reserve(&database->capture, count * stride, count);
    if (rc == 0)
        rc = os_pread_full(&database->wal_file, database->capture.buffer,
                           count * stride,
                           frame_offset(batch->from, batch->end.page_bytes),
                           SITE_CAPTURE_READ);
    if (rc == -ENODATA)
        return -ESTALE; /* the file was cut: only without a gate */
    if (rc == 0)
        rc = frames_note(batch, database->capture.buffer, batch->from, count, 0,
                         &until);
    if (rc < 0)
        return rc;
    if (until == 0)
        return -E2BIG;
    batch_end_at(batch, batch->from + until - 1);
    batch->pages = keys_dedup(database->capture.keys, until,
                              batch->end.size_pages);
    return 0;
}

/* Looks at all frames up to the end, and keeps only their keys. */
static int batch_scan(struct batch *batch)
{
    struct database *database = batch->database;
    size_t stride = frame_bytes(&batch->end);
    uint32_t all = batch->end.max_frame - batch->from + 1, until = 0, done = 0;
    uint32_t step = step_frames(&batch->end);
    int rc = buffer_reserve(&database->capture, step * stride, all);

    batch->commits = batch->padded = 0;
    while (rc == 0 && done < all) {
        uint32_t count = all - done < step ? all - done : step;

        rc = os_pread_full(
            &database->wal_file, database->capture.buffer, count * stride,
            frame_offset(batch->from + done, batch->end.page_bytes),
            SITE_CAPTURE_READ);
        if (rc == 0)
            rc = frames_note(batch, database->capture.buffer,
                             batch->from + done, count, done, &until);
        done += count;
    }
    batch->to = batch->end.max_frame;
    return rc == -ENODATA ? -ESTALE : rc;
}

/* The generation we read from is still there, so what we read is true. */
static bool batch_still_holds(struct batch *batch)
{
    struct walindex_header now = {0};
    int rc = -EAGAIN;

    for (int i = 0; rc == -EAGAIN && i < 1000; i++)
        rc = walindex_read(&batch->database->index, &now);
    return rc == 0 && salt_is_equal(&now, &batch->end) &&
           now.max_frame >= batch->to;
}

static int batch_emit(struct batch *batch, uint32_t commits)
{
    struct emit_plan plan = {
        .commits = commits,
        .page_bytes = batch->end.page_bytes,
        .size_pages = batch->end.size_pages,
        .wal = &batch->end,
    };
    struct emit_source source = {
        .count = (uint32_t)batch->pages,
        .fetch = batch_fetch,
        .context = batch,
    };
    bool emitted;
    int rc = os_alloc(&source.pgnos, batch->pages * sizeof(pgno_t) + 1,
                      SITE_CAPTURE_ALLOC);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < batch->pages; i++)
        source.pgnos[i] = (pgno_t)(batch->database->capture.keys[i] >> 32);
    rc = emit(batch->database, &plan, &source, &emitted);
    os_free(&source.pgnos);
    return rc;
}

/*
 * How many commits the batch holds, by SQLite's count where the batch reaches
 * the published end. -ESTALE: commits are missing.
 */
static int batch_commits(const struct batch *batch,
                         const struct walindex_header *seen,
                         const struct walindex_header *header,
                         uint32_t *ret_commits)
{
    uint32_t rise = header->change - seen->change;

    *ret_commits = batch->commits;
#ifndef CANARY_IGNORE_ICHANGE
    if (batch->to != header->max_frame)
        return 0; /* steps_prove() counted all of them */
    if (rise == batch->commits - batch->padded)
        *ret_commits = rise;
    else if (rise != batch->commits)
        return -ESTALE;
#else
    (void)rise;
#endif
    return 0;
}

/*
 * All from batch->from on, up to what the view shows. The frames say which
 * pages, the view what is in them: when all of the WAL is in the database file
 * a reader does not keep it from being reset, and looks at the file alone.
 */
static int batch_read_large(struct batch *batch, struct readview *view)
{
    struct capture *capture = &batch->database->capture;
    uint32_t until = batch->end.max_frame;
    int rc;

    if (!salt_is_equal(&view->header, &batch->end) ||
        view->header.max_frame < until)
        return -ESTALE;
    batch->view = view;
    batch->end = view->header;
    rc = batch_scan(batch);
    if (rc == 0)
        batch->pages = keys_dedup(capture->keys, batch->to - batch->from + 1,
                                  batch->end.size_pages);
    return rc;
}

/* Captures what was read, as one record, if it is true and nothing is missing
 * before it. */
static int batch_capture(struct batch *batch,
                         const struct walindex_header *header)
{
    struct capture *capture = &batch->database->capture;
    uint32_t commits;
    int rc = batch_commits(batch, &capture->seen, header, &commits);

    if (rc == 0 && !batch_still_holds(batch))
        rc = -ESTALE;
    if (rc == 0)
        rc = batch_emit(batch, commits);
    if (rc < 0)
        return rc;
    /* Until the end is reached iChange is what we counted. */
    if (batch->to != header->max_frame)
        batch->end.change = capture->seen.change + commits;
    capture_start(batch->database, &batch->end);
    return 0;
}

/* The commit at frame `from`, too large for a step, and all that follow. */
static int large_capture(struct database *database, uint32_t from,
                         const struct walindex_header *header)
{
    struct batch batch = {.database = database, .end = *header, .from = from};
    struct readview view;
    int rc = readview_open(&view, database);

    if (rc < 0)
        return rc;
    rc = batch_read_large(&batch, &view);
    if (rc == 0)
        rc = batch_capture(&batch, &view.header);
    readview_close(&view);
    return rc;
}

/* One step from frame `from` towards header's end, or beyond. */
static int step_capture(struct database *database, uint32_t from,
                        const struct walindex_header *header)
{
    struct batch batch = {.database = database, .end = *header, .from = from};
    int rc = batch_read(&batch);

    if (rc == -E2BIG)
        return large_capture(database, from, header);
    return rc < 0 ? rc : batch_capture(&batch, header);
}

/* Before the first of several steps: no commit is missing. */
static int steps_prove(struct database *database, uint32_t from,
                       const struct walindex_header *header)
{
    struct batch batch = {.database = database, .end = *header, .from = from};
    uint32_t commits;
    int rc = batch_scan(&batch);

    if (rc == 0)
        rc = batch_commits(&batch, &database->capture.seen, header, &commits);
    return rc == 0 && !batch_still_holds(&batch) ? -ESTALE : rc;
}

/* After a recovery iChange restarts at 0: only the chain can say whether the
 * frames that follow continue what we captured. */
static int recovered_check(struct database *database,
                           const struct walindex_header *header)
{
    struct capture *capture = &database->capture;
    struct frame_chain chain = capture->seen.chain;
    size_t stride = frame_bytes(header);
    int rc = buffer_reserve(capture, stride, 1);

    chain.big_endian = header->chain.big_endian;
    for (uint32_t i = capture->seen.max_frame + 1;
         rc == 0 && i <= header->max_frame; i++) {
        rc = os_pread_full(&database->wal_file, capture->buffer, stride,
                           frame_offset(i, header->page_bytes),
                           SITE_CAPTURE_READ);
        if (rc == 0 &&
            !frame_check(&chain, capture->buffer, header->page_bytes))
            rc = -ESTALE;
        if (rc == 0 && get_be32(capture->buffer + 4) != 0)
            capture->seen.change--; /* so that the rise comes out right */
    }
    return rc;
}

static int same_generation(struct database *database,
                           const struct walindex_header *header)
{
    struct walindex_header *seen = &database->capture.seen;

    if (header->max_frame < seen->max_frame)
        return -ESTALE; /* captured frames are gone */
    if ((int32_t)(header->change - seen->change) >= 0)
        return 0;
    seen->change = header->change;
    return recovered_check(database, header);
}

int capture_pass(struct database *database)
{
    struct capture *capture = &database->capture;
    struct walindex_header header = {0};
    uint32_t from = 1;
    int rc = walindex_read(&database->index, &header), progress = 0;

    ASSERT_ON_WORKER();
    if (rc < 0)
        return rc;
    if (!capture->valid)
        return -ESTALE;
    if (salt_is_equal(&header, &capture->seen)) {
        rc = same_generation(database, &header);
        if (rc < 0)
            return rc;
        from = capture->seen.max_frame + 1;
    } else if ((int32_t)(header.change - capture->seen.change) < 0) {
        return -ESTALE; /* a recovery and a reset that we did not see */
    }
    if (header.max_frame >= from &&
        header.max_frame - from >= step_frames(&header))
        rc = steps_prove(database, from, &header);
    while (rc == 0 && from <= header.max_frame) {
        rc = step_capture(database, from, &header);
        progress = 1;
        from = capture->seen.max_frame + 1;
    }
    if (rc < 0 || progress != 0)
        return rc < 0 ? rc : progress;
    if (header.max_frame == 0 && header.change != capture->seen.change)
        return -ESTALE; /* reset, and the generation before had more */
    capture_start(database, &header);
    return 0;
}

bool capture_has_news(struct database *database)
{
    uint32_t max_frame, change;

    walindex_peek(&database->index, &max_frame, &change);
    return max_frame != database->capture.seen.max_frame ||
           change != database->capture.seen.change;
}

/*
 * What frames behind the captured ones look like. Before the first frame of a
 * generation the wal-index may still have other salts than the file: a writer
 * draws them when it writes the WAL header and publishes them with its commit.
 * A file that still shows the generation before has nothing new in it.
 */
static bool look_expects(struct database *database,
                         struct frame_wal_header *ret_header)
{
    const struct walindex_header *seen = &database->capture.seen;
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];

    if (seen->max_frame > 0) {
        ret_header->page_bytes = seen->page_bytes;
        memcpy(ret_header->salt, seen->salt, FRAME_SALT_BYTES);
        return true;
    }
    return os_pread(&database->wal_file, bytes, sizeof bytes, 0,
                    SITE_CAPTURE_READ) == (ssize_t)sizeof bytes &&
           frame_wal_header_decode(bytes, ret_header) == 0 &&
           memcmp(ret_header->salt, database->capture.salt_before,
                  FRAME_SALT_BYTES) != 0;
}

bool capture_is_pending(struct database *database)
{
    struct capture *capture = &database->capture;
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_wal_header expected;
    struct frame frame;

    if (!capture->valid || !look_expects(database, &expected))
        return false;
    if (capture->look_frame <= capture->seen.max_frame)
        capture->look_frame = capture->seen.max_frame + 1;
    for (int i = 0; i < LOOK_FRAMES; i++) {
        ssize_t n = os_pread(
            &database->wal_file, bytes, sizeof bytes,
            frame_offset(capture->look_frame, expected.page_bytes),
            SITE_CAPTURE_READ);

        if (n != (ssize_t)sizeof bytes)
            return false;
        frame_decode(bytes, &frame);
        if (memcmp(frame.salt, expected.salt, FRAME_SALT_BYTES) != 0)
            return false;
        if (frame.commit_pages != 0)
            return true;
        capture->look_frame++;
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/readview.c - see readview.h.
 *
 * The header a read transaction saw is inside SQLite. We read it before and
 * after the transaction began: when both are equal, so is what is between.
 * When all frames were in the database file then, SQLite reads that alone
 * (and a writer may reset the WAL under us): so do we, with minimum = maximum.
 */
#include "wal/readview.h"

#include "wal/attach.h"
#include "wal/primary.h"
#include "wal/replica.h"
#include "wal/worker.h"

#include <errno.h>
#include <stdio.h>

#define BEGIN_TRIES 200

static bool is_primary(const struct database *database)
{
    return database->catalog->config.role == DATABASE_PRIMARY;
}

int readview_ready(struct database *database)
{
    if (is_primary(database))
        return primary_ready(database);
    return database->closing ? -ECANCELED : replica_attach(database);
}

int readview_settle(struct database *database)
{
    return is_primary(database) ? primary_settle(database) : 0;
}

static int wal_begin(struct readview *view, struct database *database)
{
    struct walindex_header before;
    int rc = -EAGAIN;

    for (int i = 0; i < BEGIN_TRIES; i++) {
        rc = walindex_read(&database->index, &before);
        if (rc == 0)
            rc = anchor_begin(&database->anchor);
        if (rc < 0)
            return rc;
        /* Between the two: a reset in between would show in the header. */
        view->minimum = walindex_backfilled(&database->index);
        rc = walindex_read(&database->index, &view->header);
        if (rc == 0 && walindex_header_is_equal(&before, &view->header))
            break;
        anchor_end(&database->anchor);
        rc = -EAGAIN;
    }
    if (rc < 0)
        return rc;
    view->wal = true;
    if (view->minimum > view->header.max_frame)
        view->minimum = view->header.max_frame;
    return 0;
}

/* Size as page 1 tells it, else by the file. */
static int size_from_file(struct readview *view, const struct os_file *file)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;
    uint64_t size;
    ssize_t n = os_pread(file, bytes, sizeof bytes, 0, SITE_READVIEW_READ);
    int rc;

    if (n < 0)
        return (int)n;
    rc = page_header_decode(bytes, (size_t)n, &header);
    if (rc < 0) {
        view->page_bytes = 0; /* an empty file: no content yet */
        view->size_pages = 0;
        return n == 0 ? 0
                      : site_fail(SITE_READVIEW_READ, view->database->name,
                                  EBADMSG);
    }
    rc = os_size(file, &size, SITE_READVIEW_READ);
    if (rc < 0)
        return rc;
    view->page_bytes = header.page_bytes;
    view->size_pages = header.size_pages;
    if (view->size_pages == 0)
        view->size_pages = (uint32_t)(size / header.page_bytes);
    return 0;
}

static int rollback_begin(struct readview *view, struct database *database)
{
    char path[4096 + DATABASE_NAME_MAX];
    int rc;

    snprintf(path, sizeof path, "%s/%s", database->catalog->config.mount_path,
             database->name);
    worker_enter_mount(database->worker);
    rc = anchor_open(&view->own, path);
    if (rc == 0)
        rc = anchor_begin(&view->own);
    worker_leave_mount(database->worker);
    return rc;
}

int readview_open(struct readview *view, struct database *database)
{
    int rc;

    ASSERT_ON_WORKER();
    *view = (struct readview){.database = database};
    if (database->apply.checkpointing)
        return -EAGAIN; /* the anchor is another thread's, see checkpoint.c */
    rc = attach_main(database);
    if (rc < 0)
        return rc;
    if (database->anchor.connection != NULL)
        rc = wal_begin(view, database);
    else
        rc = rollback_begin(view, database);
    if (rc == 0)
        rc = size_from_file(view, &database->main_file);
    if (rc == 0 && view->wal && view->header.max_frame > 0) {
        view->page_bytes = view->header.page_bytes;
        view->size_pages = view->header.size_pages;
    }
    if (rc < 0)
        readview_close(view);
    return rc;
}

void readview_close(struct readview *view)
{
    if (view->wal)
        anchor_end(&view->database->anchor);
    if (view->own.connection != NULL) {
        worker_enter_mount(view->database->worker);
        anchor_end(&view->own);
        anchor_close(&view->own, false);
        worker_leave_mount(view->database->worker);
    }
    *view = (struct readview){0};
}

static int frame_page(struct readview *view, uint32_t frame, uint8_t *page)
{
    return os_pread_full(&view->database->wal_file, page, view->page_bytes,
                         frame_offset(frame, view->page_bytes) +
                             FRAME_HEADER_BYTES,
                         SITE_READVIEW_READ);
}

int readview_wal_page(struct readview *view, pgno_t pgno, uint8_t *page,
                      bool *ret_there)
{
    uint32_t frame = 0;
    int rc = 0;

    if (view->wal)
        rc = walindex_find(&view->database->index, pgno, 0,
                           view->header.max_frame, &frame);
    *ret_there = rc == 0 && frame != 0;
    return *ret_there ? frame_page(view, frame, page) : rc;
}

int readview_page(struct readview *view, pgno_t pgno, uint8_t *page)
{
    struct database *database = view->database;
    uint32_t frame = 0;
    ssize_t n;
    int rc = 0;

    if (view->wal)
        rc = walindex_find(&database->index, pgno, view->minimum,
                           view->header.max_frame, &frame);
    if (rc < 0)
        return rc;
    if (frame != 0)
        return frame_page(view, frame, page);
    n = os_pread(&database->main_file, page, view->page_bytes,
                 (uint64_t)(pgno - 1) * view->page_bytes, SITE_READVIEW_READ);
    if (n < 0)
        return (int)n;
    memset(page + n, 0, view->page_bytes - (size_t)n);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/place.c - a copy that is complete takes its place: by rename when there
 * is no database yet, else as one transaction in its WAL. What it replaces is
 * kept when it was a history of its own. See incoming.h.
 */
#include "wal/incoming.h"

#include "wal/apply.h"
#include "wal/attach.h"
#include "wal/fetching.h"
#include "wal/lost.h"
#include "wal/notes.h"
#include "wal/placing.h"
#include "wal/readview.h"
#include "wal/recover.h"
#include "wal/replica.h"
#include "wal/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Nobody has it open: the file takes its place, prepared before. Renamed below
 * the mount: the mount never caches that a name does not exist. */
static int place_by_rename(struct database *database)
{
    char path[INCOMING_PATH_BYTES];
    int rc = recover_make_parents(database);

    if (rc == 0)
        rc = fetching_counts(database);
    placing_path(database, path);
    if (rc == 0)
        rc = os_rename(database->catalog->config.data_fd, path,
                       database->backing, SITE_INCOMING_PLACE);
    database->incoming.published = rc == 0;
    return rc;
}

/* Read again, perhaps long after it came. */
static int copy_page(struct incoming *incoming, pgno_t pgno, uint8_t *page)
{
    uint64_t hash = hashes_get(&incoming->hashes, pgno);
    int rc = os_pread_full(&incoming->file, page, incoming->page_bytes,
                           (uint64_t)(pgno - 1) * incoming->page_bytes,
                           SITE_INCOMING_WRITE);

    if (rc == 0 && hash != 0 &&
        hash != page_hash(pgno, page, incoming->page_bytes))
        rc = site_fail(SITE_INCOMING_PLACE,
                       "a page of the copy is not what it was when it came",
                       EBADMSG);
    return rc;
}

/* Page 1, of the copy or, when it is the same, of the database. */
static int page_one(struct database *database, uint8_t *page)
{
    struct incoming *incoming = &database->incoming;
    struct readview view;
    int rc;

    if (!incoming->sparse ||
        hashes_get(&incoming->hashes, 1) != hashes_get(&database->hashes, 1))
        return copy_page(incoming, 1, page);
    rc = readview_open(&view, database);
    if (rc < 0)
        return rc;
    rc = readview_page(&view, 1, page);
    readview_close(&view);
    return rc;
}

/* The file has nothing of it that is needed. Of a copy that was not compared
 * it has them all; the table it would be compared with may be why. */
static bool is_left_out(const struct database *database, pgno_t pgno)
{
    const struct incoming *incoming = &database->incoming;
    uint64_t hash = hashes_get(&incoming->hashes, pgno);

    return hash == 0 ||
           (incoming->sparse && hash == hashes_get(&database->hashes, pgno));
}

/* All that differ but page 1, the next of `record` each. */
static int differing_apply(struct database *database, struct record *record,
                           uint8_t *page)
{
    struct incoming *incoming = &database->incoming;
    int rc = 0;

    record->images = page;
    for (pgno_t pgno = 2; pgno <= incoming->size_pages && rc == 0; pgno++) {
        if (is_left_out(database, pgno))
            continue;
        rc = copy_page(incoming, pgno, page);
        record->pgnos = &pgno;
        record->header.size_pages = pgno > database->hashes.count
                                        ? pgno
                                        : database->hashes.count;
        if (rc == 0)
            rc = apply_pages(database, record, false);
        record->pgnos = NULL;
    }
    return rc;
}

/* Of the pages that were left out, because they are the same here, those that
 * the WAL has go into the copy's file after all: recovery throws that away. */
static int same_keep(struct database *database, uint8_t *page)
{
    struct incoming *incoming = &database->incoming;
    struct readview view;
    int rc = readview_open(&view, database);

    if (rc < 0)
        return rc;
    for (pgno_t pgno = 1; pgno <= incoming->size_pages && rc == 0; pgno++) {
        uint64_t hash = hashes_get(&incoming->hashes, pgno);
        bool there = false;

        if (hash != 0 && is_left_out(database, pgno))
            rc = readview_wal_page(&view, pgno, page, &there);
        if (rc < 0 || !there)
            continue;
        if (page_hash(pgno, page, incoming->page_bytes) != hash)
            rc = site_fail(SITE_INCOMING_PLACE,
                           "a page of the database is not what its hash says",
                           EBADMSG);
        else
            rc = os_pwrite(&incoming->file, page, incoming->page_bytes,
                           (uint64_t)(pgno - 1) * incoming->page_bytes,
                           SITE_INCOMING_WRITE);
    }
    readview_close(&view);
    return rc;
}

/* What differs goes in as one transaction. Page 1 comes last: it always goes
 * in, and carries the commit. */
static int place_by_wal(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    uint32_t page_bytes = incoming->page_bytes;
    struct record record = {.header = {.page_bytes = page_bytes, .pages = 1}};
    uint8_t *pages;
    pgno_t one = 1;
    int rc = os_alloc(&pages, 2 * (size_t)page_bytes, SITE_APPLY_ALLOC);

    if (rc == 0 && incoming->sparse)
        rc = same_keep(database, pages);
    if (rc == 0)
        rc = placing_prepare(database);
    if (rc == 0)
        rc = page_one(database, pages);
    if (rc == 0)
        rc = differing_apply(database, &record, pages + page_bytes);
    record.pgnos = &one;
    record.images = pages;
    record.header.size_pages = incoming->size_pages;
    if (rc == 0)
        rc = apply_pages(database, &record, true);
    if (rc == 0)
        rc = apply_publish(database);
    if (rc == 0)
        incoming->published = true;
    os_free(&pages);
    return rc;
}

static int pages_keep(struct readview *view, const struct os_file *file)
{
    uint8_t *page;
    int rc = os_alloc(&page, view->page_bytes, SITE_INCOMING_KEEP);

    for (pgno_t pgno = 1; pgno <= view->size_pages && rc == 0; pgno++) {
        rc = readview_page(view, pgno, page);
        if (rc == 0)
            rc = os_pwrite(file, page, view->page_bytes,
                           (uint64_t)(pgno - 1) * view->page_bytes,
                           SITE_INCOMING_KEEP);
    }
    os_free(&page);
    return rc == 0 ? os_fsync(file, SITE_INCOMING_KEEP) : rc;
}

/* What our readers saw, and the primary never had, stays readable as a file
 * of its own. Nothing is replaced before it is durable there. */
static int keep_aside(struct database *database)
{
    struct lost_what what = lost_of(database, "db",
                                    "its last commits are not the primary's");
    int dirfd = database->catalog->config.data_fd, rc;
    char path[LOST_PATH_BYTES], text[LOST_PATH_BYTES + 96];
    struct readview view = {0};
    struct os_file file = {0};

    rc = lost_begin(database->catalog, &what, path);
    if (rc < 0)
        return rc;
    rc = readview_open(&view, database);
    if (rc == 0)
        rc = os_open(&file, dirfd, path, O_RDWR | O_CREAT | O_EXCL, 0600,
                     SITE_INCOMING_KEEP);
    if (rc == 0)
        rc = pages_keep(&view, &file);
    if (rc == 0)
        rc = os_sync_dir(dirfd, "lost", SITE_INCOMING_KEEP);
    readview_close(&view);
    os_close(&file);
    if (rc < 0) {
        (void)unlinkat(dirfd, path, 0); /* a full disk wants its bytes back */
        lost_undone(database->catalog, path);
        return rc;
    }
    lost_kept(database->catalog, &what, path);
    database->incoming.keep = false; /* once */
    snprintf(text, sizeof text, "%s; what was here is kept as %s", what.why,
             path);
    notes_event(database, DATABASE_EVENT_RECOVERED, text);
    return 0;
}

static int place_instead(struct database *database)
{
    int rc = placing_prepare(database);

    return rc < 0 ? rc : replica_replace(database, place_by_rename);
}

/* The old database cannot be opened as one. Without it a sparse copy is none:
 * the next one is whole. */
static int place_over(struct database *database, int rc)
{
    if (rc == -EAGAIN)
        return rc;
    if (database->incoming.sparse) {
        database->whole = true;
        return site_fail(SITE_INCOMING_PLACE,
                         "the database here cannot be "
                         "opened as one",
                         EBADMSG);
    }
    return place_instead(database);
}

static int place(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    if (incoming->size_pages == 0) /* no content yet: no file either */
        return placing_prepare(database);
    if (!incoming->sparse && database->anchor.connection == NULL &&
        (attach_main(database) < 0 || database->view.page_bytes == 0)) {
        rc = placing_prepare(database);
        return rc < 0 ? rc : place_by_rename(database);
    }
    rc = replica_attach(database);
    if (rc < 0)
        return place_over(database, rc);
    if (incoming->keep)
        rc = keep_aside(database);
    if (rc < 0)
        return rc;
    if (database->view.page_bytes != incoming->page_bytes)
        return place_instead(database);
    return place_by_wal(database);
}

/* Of a copy that was cut off some pages came in earlier, perhaps in another
 * process, and were told by their hashes since: they are what will be read. */
static int file_check(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    uint8_t *page;
    int rc;

    if (!incoming->kept)
        return 0;
    rc = os_alloc(&page, incoming->page_bytes, SITE_INCOMING_PLACE);
    for (pgno_t pgno = 1; pgno <= incoming->size_pages && rc == 0; pgno++)
        if (!is_left_out(database, pgno))
            rc = copy_page(incoming, pgno, page);
    os_free(&page);
    return rc == -ENODATA ? -EBADMSG : rc;
}

/* The copy's hashes and log become the database's. */
static int place_end(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc = placing_take_log(database);

    if (rc < 0)
        return rc;
    hashes_free(&database->hashes);
    database->hashes = incoming->hashes;
    incoming->hashes = (struct hashes){0};
    incoming->placing = incoming->published = false;
    return 0;
}

/* The file holds it now, or from the next checkpoint on when it went into the
 * WAL. Until that is written down, the mark of the copy says it. */
static void place_keep(struct database *database,
                       const struct record_header *header)
{
    struct position position = record_position(header);
    struct meta *meta = &database->meta;

    database->copy_due_ns = 0;
    if (database->anchor.connection != NULL && header->size_pages > 0)
        return;
    replica_save_hashes(database, &position, header->page_bytes);
    meta->base_txid = header->last_txid;
    meta->flags |= META_COPIED;
    meta->flags &= ~META_CLEAN;
    if (notes_save_meta(database) < 0)
        notes_fails(database);
    else
        placing_end(database, header->last_txid);
}

int incoming_place(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    struct record_header header = {
        .epoch = incoming->position.epoch,
        .last_txid = incoming->position.txid,
        .sum_after = incoming->position.sum,
        .page_bytes = incoming->page_bytes,
        .size_pages = incoming->size_pages,
    };
    int rc = 0;

    if (incoming->hashes.sum != incoming->position.sum)
        return site_fail(SITE_INCOMING_PLACE,
                         "the finished copy has another "
                         "sum than its records",
                         EBADMSG);
    if (!incoming->published)
        rc = file_check(database);
    if (rc == 0 && !incoming->published)
        rc = place(database);
    if (rc == 0)
        rc = place_end(database);
    if (rc < 0)
        return rc;
    incoming_abandon(database);
    database->whole = database->doubt = false;
    verify_forget(database);
    os_close(&database->main_file);
    place_keep(database, &header);
    notes_publish(database, &header);
    return 0;
}

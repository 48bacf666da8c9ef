/* SPDX-License-Identifier: Apache-2.0 */
/* wal/delta.c - see delta.h. */
#include "wal/delta.h"

#include "base/bytes.h"
#include "wal/incoming.h"
#include "wal/readview.h"
#include "wal/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int aside_open(struct database *database)
{
    struct delta *delta = &database->incoming.delta;
    char path[INCOMING_PATH_BYTES];

    incoming_path(database, "base", path);
    os_close(&delta->aside);
    return os_open(&delta->aside, database->catalog->config.data_fd, path,
                   O_RDONLY, 0, SITE_DELTA_OPEN);
}

/* How many pages of that size a file has; 0: none, or of another size. */
static uint32_t pages_of(const struct os_file *file, uint32_t page_bytes)
{
    uint64_t size;

    if (!file->open || os_size(file, &size, SITE_DELTA_READ) < 0)
        return 0;
    size /= page_bytes;
    return size > UINT32_MAX - 1 ? 0 : (uint32_t)size;
}

static bool has_database(const struct database *database)
{
    return database->view.page_bytes != 0 &&
           database->view.page_bytes == database->incoming.page_bytes;
}

void delta_begin(struct database *database, bool doubt)
{
    struct incoming *incoming = &database->incoming;
    struct delta *delta = &incoming->delta;

    if (delta->unread != 0) /* left by an earlier process */
        delta->unread = pages_of(&incoming->file, incoming->page_bytes);
    delta->doubt = doubt;
    delta->known = 0;
    delta->aside_pages = 0;
    if (!has_database(database) && aside_open(database) == 0)
        delta->aside_pages = pages_of(&delta->aside, incoming->page_bytes);
    incoming->sparse = has_database(database);
}

/* ---- what is there --------------------------------------------------------*/

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t base_pages(const struct database *database)
{
    const struct delta *delta = &database->incoming.delta;
    uint32_t pages = larger(larger(delta->file.count, delta->unread),
                            delta->aside_pages);

    return has_database(database) ? larger(pages, database->hashes.count)
                                  : pages;
}

static bool is_zero(const uint8_t *page, uint32_t page_bytes)
{
    return page[0] == 0 && memcmp(page, page + 1, page_bytes - 1) == 0;
}

/* The hash of what file holds of page pgno; 0: a hole. */
static int file_hash(const struct database *database,
                     const struct os_file *file, pgno_t pgno, uint8_t *page,
                     uint64_t *ret_hash)
{
    uint32_t page_bytes = database->incoming.page_bytes;
    int rc = os_pread_full(file, page, page_bytes,
                           (uint64_t)(pgno - 1) * page_bytes, SITE_DELTA_READ);

    if (rc == 0)
        *ret_hash = pgno == page_lock_byte(page_bytes) ||
                            is_zero(page, page_bytes)
                        ? 0
                        : page_hash(pgno, page, page_bytes);
    return rc;
}

/* Pages first .. last of the copy's file and of what was put aside. */
static int files_read(struct database *database, pgno_t first, pgno_t last,
                      uint8_t *page)
{
    struct incoming *incoming = &database->incoming;
    struct delta *delta = &incoming->delta;
    uint64_t hash;
    int rc = hashes_reserve(&delta->file, last);

    for (pgno_t pgno = first; pgno <= last && rc == 0; pgno++) {
        hash = hashes_get(&delta->file, pgno);
        if (hash == 0 && pgno <= delta->unread)
            rc = file_hash(database, &incoming->file, pgno, page, &hash);
        if (rc == 0 && hash == 0 && pgno <= delta->aside_pages) {
            rc = file_hash(database, &delta->aside, pgno, page, &hash);
            if (rc == 0 && hash != 0)
                rc = os_pwrite(&incoming->file, page, incoming->page_bytes,
                               (uint64_t)(pgno - 1) * incoming->page_bytes,
                               SITE_INCOMING_WRITE);
        }
        if (rc == 0 && hash != 0)
            hashes_set(&delta->file, pgno, hash);
    }
    return rc;
}

/* The table is made to say what is in the pages. */
static int database_reread(struct database *database, pgno_t first, pgno_t last,
                           uint8_t *page)
{
    struct readview view = {0};
    int rc = replica_attach(database);

    if (rc == 0)
        rc = readview_open(&view, database);
    if (rc < 0)
        return rc;
    if (view.page_bytes != database->incoming.page_bytes)
        rc = -EBADMSG;
    if (last > database->hashes.count)
        last = database->hashes.count;
    for (pgno_t pgno = first; pgno <= last && rc == 0; pgno++) {
        if (pgno == page_lock_byte(view.page_bytes))
            continue; /* no page has content there */
        rc = readview_page(&view, pgno, page);
        if (rc == 0)
            hashes_set(&database->hashes, pgno,
                       page_hash(pgno, page, view.page_bytes));
    }
    readview_close(&view);
    return rc;
}

static int range_read(struct database *database, pgno_t first, pgno_t last)
{
    struct delta *delta = &database->incoming.delta;
    uint8_t *page;
    int rc = os_alloc(&page, database->incoming.page_bytes, SITE_DELTA_READ);

    if (rc == 0 && (delta->unread > 0 || delta->aside_pages > 0))
        rc = files_read(database, first, last, page);
    if (rc == 0 && delta->doubt && has_database(database) &&
        last > delta->known)
        rc = database_reread(database, first, last, page);
    if (rc == 0)
        delta->known = last;
    os_free(&page);
    return rc;
}

static uint64_t base_hash(const struct database *database, pgno_t pgno)
{
    uint64_t hash = hashes_get(&database->incoming.delta.file, pgno);

    if (hash == 0 && has_database(database))
        hash = hashes_get(&database->hashes, pgno);
    return hash;
}

/* ---- telling, and being told ----------------------------------------------*/

int delta_hashes(struct database *database, struct database_request *request)
{
    uint32_t total = base_pages(database), most, count = 0;
    pgno_t first = request->from_pgno;
    struct blob *blob;
    int rc = 0;

    if (!database->incoming.active || database->incoming.ended)
        return -ECANCELED;
    most = (uint32_t)(request->max_bytes / sizeof(uint64_t));
    if (first <= total)
        count = total - first + 1 < most ? total - first + 1 : most;
    if (count > 0)
        rc = range_read(database, first, first + count - 1);
    if (rc < 0)
        return rc;
    blob = blob_new((size_t)count * sizeof(uint64_t));
    if (blob == NULL)
        return site_fail(SITE_DELTA_READ, database->name, ENOMEM);
    for (uint32_t i = 0; i < count; i++)
        put_le64(blob->data + (size_t)i * 8, base_hash(database, first + i));
    blob->size = (size_t)count * sizeof(uint64_t);
    request->blobs[0] = blob;
    request->count = 1;
    request->next_pgno = first + count > total ? 0 : first + count;
    return 0;
}

int delta_same(struct database *database, const struct note *note)
{
    struct incoming *incoming = &database->incoming;
    int rc = hashes_reserve(&incoming->hashes, note->first + note->count - 1);

    for (uint32_t i = 0; i < note->count && rc == 0; i++) {
        pgno_t pgno = note->first + i;
        uint64_t hash;

        if ((note->bits[i / 8] >> (i % 8) & 1) == 0)
            continue;
        hash = base_hash(database, pgno);
        if (hash == 0)
            rc = site_fail(SITE_APPLY_REFUSE,
                           "a page we do not have is the "
                           "same at the primary",
                           EBADMSG);
        else
            hashes_set(&incoming->hashes, pgno, hash);
    }
    return rc;
}

/* ---- between two copies ---------------------------------------------------*/

void delta_overwrite(struct delta *delta, pgno_t pgno)
{
    if (hashes_get(&delta->file, pgno) != 0)
        hashes_set(&delta->file, pgno, 0);
}

void delta_empty(struct delta *delta)
{
    hashes_free(&delta->file);
    delta->unread = 0;
}

/* Of a page that is as in the database nobody knows if the file has it, too;
 * what was there before, and was not written over, is there still. */
void delta_keep(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    struct delta *delta = &incoming->delta;
    struct hashes *came = &incoming->hashes;

    for (uint32_t i = 0; i < came->count; i++) {
        uint64_t hash = came->of[i];

        if (hash == 0 ||
            (incoming->sparse && hash == hashes_get(&database->hashes, i + 1)))
            continue;
        if (hashes_reserve(&delta->file, i + 1) < 0)
            break; /* it comes again */
        hashes_set(&delta->file, i + 1, hash);
    }
    hashes_free(came);
}

void delta_show(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    uint32_t page_bytes = database->view.page_bytes, pages;

    if (page_bytes == 0)
        page_bytes = incoming->page_bytes;
    pages = page_bytes == 0 || database->whole
                ? 0
                : larger(base_pages(database), database->hashes.count);
    pthread_mutex_lock(&database->lock);
    database->view.base_page_bytes = pages == 0 ? 0 : page_bytes;
    database->view.base_pages = pages;
    pthread_mutex_unlock(&database->lock);
}

void delta_put_aside(struct database *database, const char *path)
{
    int dirfd = database->catalog->config.data_fd;
    char aside[INCOMING_PATH_BYTES];

    incoming_path(database, "base", aside);
    (void)unlinkat(dirfd, aside, 0);
    if (linkat(dirfd, path, dirfd, aside, 0) != 0)
        (void)site_fail(SITE_DELTA_OPEN, path, errno);
}

/* Page size as page 1 of a file says it; 0: it says none. */
static uint32_t page_bytes_of(const struct os_file *file)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;

    if (os_pread_full(file, bytes, sizeof bytes, 0, SITE_DELTA_READ) < 0 ||
        page_header_decode(bytes, sizeof bytes, &header) < 0)
        return 0;
    return header.page_bytes;
}

void delta_find(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[INCOMING_PATH_BYTES];

    incoming_path(database, "incoming", path);
    os_close(&incoming->file);
    if (os_open(&incoming->file, database->catalog->config.data_fd, path,
                O_RDWR, 0, SITE_DELTA_OPEN) == 0) {
        incoming->page_bytes = database->view.page_bytes != 0
                                   ? database->view.page_bytes
                                   : page_bytes_of(&incoming->file);
        incoming->kept = incoming->page_bytes != 0;
        if (incoming->kept)
            incoming->delta.unread = pages_of(&incoming->file,
                                              incoming->page_bytes);
    }
    if (aside_open(database) == 0 && incoming->page_bytes == 0)
        incoming->page_bytes = page_bytes_of(&incoming->delta.aside);
    if (incoming->page_bytes != 0)
        incoming->delta.aside_pages = pages_of(&incoming->delta.aside,
                                               incoming->page_bytes);
    delta_show(database);
}

void delta_end(struct database *database)
{
    struct delta *delta = &database->incoming.delta;
    char path[INCOMING_PATH_BYTES];

    if (delta->aside.open) {
        incoming_path(database, "base", path);
        (void)os_unlink(database->catalog->config.data_fd, path,
                        SITE_DELTA_OPEN);
    }
    os_close(&delta->aside);
    hashes_free(&delta->file);
    *delta = (struct delta){0};
}

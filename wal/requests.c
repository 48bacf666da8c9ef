/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/requests.c - see requests.h, and the loop's side of the contract in
 * database.h: submit, tail, pin, dispatch.
 */
#include "wal/requests.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "wal/fetching.h"
#include "wal/graft.h"
#include "wal/notes.h"
#include "wal/readview.h"
#include "wal/verify.h"
#include "wal/worker.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_BUSY_NS (2 * NS_PER_MS)

/* What the feeds may see: whole transactions up to the position, and a
 * prepared one that is complete. */
static bool is_for_feeds(struct database *database,
                         const struct record_header *header)
{
    return header->last_txid <= database->view.position.txid ||
           (header->flags & RECORD_PREPARED && database->prepared.present);
}

/* Does the asker have this record of its transaction already? */
static bool is_before(const struct database_request *request,
                      const struct record_header *header)
{
    if (header->first_txid > request->txid)
        return false;
    if (request->after_prepared)
        return (header->flags & RECORD_RESOLVE) == 0;
    return header->part < request->part;
}

/* To the record asked for: a large transaction has a part for each answer,
 * and beginning with the first one again would never get past it. */
static int seek(struct database *database,
                const struct database_request *request,
                struct log_cursor *ret_cursor)
{
    struct log_cursor cursor, at;
    struct record_header header;
    int rc = log_seek(database->log, request->txid, &cursor);

    if (rc < 0)
        return rc;
    do {
        at = cursor;
        rc = log_skip(database->log, &cursor, &header);
    } while (rc == 0 && is_before(request, &header));
    if (rc == 0)
        *ret_cursor = at;
    return rc;
}

static int read_log(struct database *database, struct database_request *request)
{
    struct log_cursor cursor;
    struct record_header header;
    struct blob *blob;
    size_t bytes = 0;
    int rc = seek(database, request, &cursor);

    while (rc == 0 && request->count < DATABASE_REQUEST_BLOBS &&
           (bytes == 0 || bytes < request->max_bytes)) {
        rc = log_read(database->log, &cursor, &header, &blob);
        if (rc == -ENOENT && request->count > 0)
            return 0;
        if (rc < 0)
            return rc;
        if (!is_for_feeds(database, &header)) {
            blob_unref(blob);
            return 0;
        }
        request->blobs[request->count++] = blob;
        bytes += blob->size;
    }
    return rc;
}

/* One chunk: pages from from_pgno on that were ever written, as a record. */
struct chunk {
    pgno_t *pgnos;
    const uint8_t **images;
    uint64_t *hashes; /* what the table said before they were read */
    uint8_t *pages;
    uint32_t count;
};

static void chunk_free(struct chunk *chunk)
{
    os_free(&chunk->pgnos);
    os_free(&chunk->images);
    os_free(&chunk->hashes);
    os_free(&chunk->pages);
}

static int chunk_alloc(struct chunk *chunk, uint32_t most, uint32_t page_bytes)
{
    int rc = os_alloc(&chunk->pgnos, most * sizeof(pgno_t), SITE_COPY_READ);

    if (rc == 0)
        rc = os_alloc(&chunk->images, most * sizeof(uint8_t *), SITE_COPY_READ);
    if (rc == 0)
        rc = os_alloc(&chunk->hashes, most * sizeof(uint64_t), SITE_COPY_READ);
    if (rc == 0)
        rc = os_alloc(&chunk->pages, (size_t)most * page_bytes, SITE_COPY_READ);
    return rc;
}

/* The replica has that page of a range that it asked about. */
static bool is_there(const struct database_request *request, pgno_t pgno)
{
    uint32_t i = pgno - request->same_pgno;

    return request->same != NULL && pgno >= request->same_pgno &&
           i < request->hash_count &&
           (request->same[i / 8] >> (i % 8) & 1) != 0;
}

static int chunk_read(struct chunk *chunk, struct readview *view,
                      struct database_request *request, uint32_t most)
{
    struct hashes *hashes = &view->database->hashes;
    pgno_t pgno = request->from_pgno, end = view->size_pages + 1;

    if (request->end_pgno != 0 && request->end_pgno < end)
        end = request->end_pgno;
    for (; pgno < end && chunk->count < most; pgno++) {
        uint8_t *page = chunk->pages + (size_t)chunk->count * view->page_bytes;
        int rc;

        /* Never written as far as we know: nothing to send, and a page that
         * came since is in a record that follows. */
        if (hashes_get(hashes, pgno) == 0 || is_there(request, pgno))
            continue;
        rc = readview_page(view, pgno, page);
        if (rc < 0)
            return rc;
        chunk->hashes[chunk->count] = hashes_get(hashes, pgno);
        chunk->pgnos[chunk->count] = pgno;
        chunk->images[chunk->count++] = page;
    }
    request->next_pgno = pgno < end ? pgno : 0;
    return 0;
}

static int chunk_encode(struct chunk *chunk, const struct readview *view,
                        struct database_request *request)
{
    struct database *database = view->database;
    struct position position = database->view.position;
    struct record_header header = {
        .flags = RECORD_SNAPSHOT,
        .lineage = database->lineage,
        .epoch = position.epoch,
        .first_txid = position.txid,
        .last_txid = position.txid,
        .previous = {.epoch = position.epoch, .txid = position.txid - 1},
        .sum_after = position.sum,
        .page_bytes = view->page_bytes,
        .size_pages = view->size_pages,
        .commit_wall_ns = clock_wall_ns(),
        .part = 1,
        .parts = 1,
    };
    int rc = record_encode(&header, chunk->pgnos, chunk->images, chunk->count,
                           &request->blobs[0]);

    if (rc == 0)
        request->count = 1;
    return rc;
}

static int copy_view(struct readview *view, struct database_request *request,
                     struct chunk *chunk)
{
    uint32_t most;
    int rc;

    if (view->page_bytes == 0)
        return -EAGAIN; /* a file that lost its header: wait for the re-read */
    most = (uint32_t)(request->max_bytes / view->page_bytes);

    most = most == 0 ? 1 : most;
    request->page_bytes = view->page_bytes;
    request->size_pages = view->size_pages;
    rc = chunk_alloc(chunk, most, view->page_bytes);
    if (rc == 0)
        rc = chunk_read(chunk, view, request, most);
    if (rc == 0 && chunk->count > 0)
        rc = chunk_encode(chunk, view, request);
    return rc;
}

/* A damaged page is nobody's copy. The table says what a page was before the
 * chunk was read, or is now; else it was on its way, or it is damaged. */
static int chunk_check(const struct chunk *chunk, struct database *database,
                       uint32_t page_bytes)
{
    int rc = 0;

    for (uint32_t i = 0; i < chunk->count && rc == 0; i++) {
        pgno_t pgno = chunk->pgnos[i];
        uint64_t hash = page_hash(pgno, chunk->images[i], page_bytes);

        if (hash != chunk->hashes[i] &&
            hash != hashes_get(&database->hashes, pgno))
            rc = verify_suspect(database, pgno, hash);
    }
    return rc;
}

/* -EAGAIN: a writer is in the way; the request waits for the next step. */
static int copy(struct database *database, struct database_request *request)
{
    struct readview view = {0};
    struct chunk chunk = {0};
    int rc;

    if (database->view.position.txid == 0) {
        request->next_pgno = 0; /* nothing there yet */
        request->position = database->view.position;
        return 0;
    }
    rc = readview_ready(database);
    if (rc == 0)
        rc = readview_open(&view, database);
    if (rc < 0)
        return rc;
    rc = copy_view(&view, request, &chunk);
    readview_close(&view);
    /* The pages may show more than was captured before they were read. */
    if (rc == 0)
        rc = readview_settle(database);
    if (rc == 0)
        rc = chunk_check(&chunk, database, request->page_bytes);
    chunk_free(&chunk);
    request->position = database->view.position;
    if (database->view.state == DATABASE_CLOSED)
        os_close(&database->main_file);
    return rc;
}

/* What capture knows of the pages is a position that the redo covers. */
static int compare(struct database *database, struct database_request *request)
{
    memset(request->same, 0, (request->hash_count + 7) / 8);
    request->differs = false;
    for (uint32_t i = 0; i < request->hash_count; i++) {
        pgno_t pgno = request->from_pgno + i;
        uint64_t ours = hashes_get(&database->hashes, pgno);

        if (ours == 0)
            continue;
        if (get_le64(request->hashes + (size_t)i * 8) == ours)
            request->same[i / 8] |= (uint8_t)(1u << (i % 8));
        else
            request->differs = true;
    }
    return 0;
}

static void request_forget(struct database_request *request)
{
    while (request->count > 0)
        blob_unref(request->blobs[--request->count]);
}

static void requeue(struct database *database, struct database_request *request)
{
    pthread_mutex_lock(&database->lock);
    list_push_back(&database->requests, &request->link);
    pthread_mutex_unlock(&database->lock);
    worker_at(database, clock_now_ns() + RETRY_BUSY_NS);
}

void requests_run(struct database *database, struct database_request *request)
{
    int rc;

    if (database->view.state == DATABASE_DROPPED)
        rc = -ENOENT; /* nothing runs for it later: no -EAGAIN */
    else if (request->kind == DATABASE_GRAFT && fetching_is(database))
        rc = fetching_end(database, request->txid);
    else if (request->kind == DATABASE_GRAFT)
        rc = graft_end(database);
    else if (log_of(database) == NULL)
        rc = -EAGAIN; /* new, and its files could not be made yet */
    else if (request->kind == DATABASE_READ_LOG)
        rc = read_log(database, request);
    else if (request->kind == DATABASE_COMPARE)
        rc = compare(database, request);
    else if (request->kind == DATABASE_VERIFY)
        rc = verify_range(database, request);
    else
        rc = copy(database, request);
    if (rc < 0)
        request_forget(request);
    if (rc == -EAGAIN) {
        requeue(database, request);
        return;
    }
    request->rc = rc;
    notes_done(database->catalog, request);
}

void database_submit(struct database *database,
                     struct database_request *request)
{
    request->database = database_ref(database);
    request->rc = 0;
    request->count = 0;
    request->next_pgno = 0;
    pthread_mutex_lock(&database->lock);
    list_push_back(&database->requests, &request->link);
    pthread_mutex_unlock(&database->lock);
    notes_wake(database);
}

struct blob *database_tail(struct database *database, txid_t txid,
                           bool after_prepared, uint32_t part)
{
    struct blob *found = NULL;
    struct list *link;

    pthread_mutex_lock(&database->lock);
    /* From the newest back: a feed at the tail wants one of the last. */
    for (link = database->tail.prev; link != &database->tail && found == NULL;
         link = link->prev) {
        struct tail_entry *entry = LIST_ENTRY(link, struct tail_entry, link);
        bool resolve = (entry->flags & RECORD_RESOLVE) != 0;

        if (entry->last_txid < txid)
            break;
        if (entry->first_txid <= txid && entry->part == part &&
            resolve == after_prepared &&
            (entry->last_txid <= database->view.position.txid ||
             entry->flags & RECORD_PREPARED))
            found = blob_ref(entry->blob);
    }
    pthread_mutex_unlock(&database->lock);
    return found;
}

/* txid 0: owner's goes. */
static void pin_set(struct pin pins[PINS_MAX], const void *owner, txid_t txid)
{
    struct pin *free_pin = NULL, *pin = NULL;

    for (size_t i = 0; i < PINS_MAX && pin == NULL; i++) {
        if (pins[i].owner == owner)
            pin = &pins[i];
        else if (pins[i].owner == NULL && free_pin == NULL)
            free_pin = &pins[i];
    }
    if (pin == NULL)
        pin = free_pin;
    if (pin != NULL)
        *pin = txid == 0 ? (struct pin){0} : (struct pin){owner, txid};
}

void database_pin(struct database *database, const void *owner, txid_t txid)
{
    pthread_mutex_lock(&database->lock);
    pin_set(database->pins, owner, txid);
    pthread_mutex_unlock(&database->lock);
}

void database_need(struct database *database, const void *owner, txid_t txid)
{
    pthread_mutex_lock(&database->lock);
    pin_set(database->needs, owner, txid);
    pthread_mutex_unlock(&database->lock);
}

void catalog_replicas(struct catalog *catalog, unsigned count)
{
    atomic_store(&catalog->replicas, count);
}

static struct database *changed_pop(struct catalog *catalog,
                                    struct database_request **ret_request)
{
    struct database *database = NULL;
    struct list *link;

    *ret_request = NULL;
    pthread_mutex_lock(&catalog->lock);
    link = list_pop(&catalog->done);
    if (link != NULL) {
        *ret_request = LIST_ENTRY(link, struct database_request, link);
    } else {
        link = list_pop(&catalog->changed);
        if (link != NULL)
            database = LIST_ENTRY(link, struct database, changed_link);
        else
            catalog->woken = false; /* from now on a change wakes us again */
    }
    pthread_mutex_unlock(&catalog->lock);
    return database;
}

void catalog_dispatch(struct catalog *catalog)
{
    struct database_request *request;
    struct database *database;

    do {
        database = changed_pop(catalog, &request);
        if (request != NULL) {
            struct database *of = request->database;

            request->on_done(request);
            database_unref(of);
        } else if (database != NULL) {
            if (catalog->config.on_changed != NULL)
                catalog->config.on_changed(catalog->config.context, database);
            database_unref(database);
        }
    } while (request != NULL || database != NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/fake_worker.h - what the workers of the engine in memory do when
 * a test lets them: engine_turn(). Include it once.
 */
#ifndef TESTS_UNIT_FAKE_WORKER_H
#define TESTS_UNIT_FAKE_WORKER_H

#include "tests/unit/fake_engine.h"

/* ---- a replica's --------------------------------------------------------- */

static void engine_write(struct database *database, const struct blob *blob,
                         struct record_header *ret_header)
{
    struct record record;

    if (record_decode(blob->data, blob->size, &record) < 0)
        abort();
    for (uint32_t i = 0; i < record.header.pages; i++)
        memcpy(database->pages[record.pgnos[i] - 1],
               record.images + (size_t)i * ENGINE_PAGE_BYTES,
               ENGINE_PAGE_BYTES);
    *ret_header = record.header;
    record_free(&record);
}

static void engine_place(struct database *database)
{
    if (!database->view.copying || !database->ended ||
        database->view.position.txid < database->end.txid)
        return;
    EXPECT_EQ(engine_sum(database), database->view.position.sum);
    database->view.copying = false;
    database->copies++;
    engine_has(database);
}

static void engine_apply(struct database *database, struct blob *blob)
{
    struct record_header header;

    engine_write(database, blob, &header);
    if (header.part < header.parts)
        return; /* its pages show too early, but nobody reads here */
    if (!database->view.copying && engine_sum(database) != header.sum_after)
        abort();
    engine_moved(database, &(struct position){header.epoch, header.last_txid,
                                              header.sum_after});
    engine_place(database);
}

static void engine_begin(struct database *database,
                         const struct database_copy *copy)
{
    memcpy(database->base, database->pages, sizeof database->base);
    memset(database->pages, 0, sizeof database->pages);
    if (!copy->delta)
        memset(database->base, 0, sizeof database->base);
    database->view.copying = true;
    database->copies_begun++;
    database->ended = false;
    engine_moved(database, &copy->start);
}

/* Whatever came of a copy is a base for the next. */
static void engine_abandon(struct database *database)
{
    for (pgno_t pgno = 1; pgno <= ENGINE_PAGES; pgno++)
        if (database->view.copying && engine_hash(database->pages, pgno) == 0)
            memcpy(database->pages[pgno - 1], database->base[pgno - 1],
                   ENGINE_PAGE_BYTES);
    database->view.copying = false;
    database->view.position = (struct position){0};
    database->view.received_txid = database->view.durable_txid = 0;
    engine_has(database);
}

static void engine_hashes(struct database *database,
                          struct database_request *request)
{
    pgno_t pgno = request->from_pgno;
    size_t most = request->max_bytes / sizeof(uint64_t);
    struct blob *blob = blob_new(ENGINE_RANGE_PAGES * sizeof(uint64_t));

    EXPECT_GE(most, ENGINE_RANGE_PAGES);
    for (; pgno <= ENGINE_PAGES && blob->size < blob->capacity; pgno++) {
        put_le64(blob->data + blob->size, engine_hash(database->base, pgno));
        blob->size += sizeof(uint64_t);
    }
    if (database->view.copying && !database->ended) {
        request->rc = 0;
        request->blobs[request->count++] = blob;
        request->next_pgno = pgno <= ENGINE_PAGES ? pgno : 0;
        database->ranges_told++;
    } else {
        blob_unref(blob);
    }
    request->on_done(request);
    database_unref(database);
}

static void engine_same(struct database *database, const struct body_same *same)
{
    for (uint32_t i = 0; i < same->count; i++) {
        pgno_t pgno = same->first + i;

        if ((same->bits[i / 8] >> (i % 8) & 1) == 0)
            continue;
        EXPECT_NE(engine_hash(database->base, pgno), 0);
        memcpy(database->pages[pgno - 1], database->base[pgno - 1],
               ENGINE_PAGE_BYTES);
    }
}

static void engine_take(struct database *database, struct engine_item *item)
{
    struct record_header header;

    if (item->note == ENGINE_BEGIN) {
        engine_begin(database, &item->copy);
    } else if (item->note == ENGINE_CHUNK) {
        engine_write(database, item->blob, &header);
        database->copied_pages += header.pages;
    } else if (item->note == ENGINE_HASHES) {
        engine_hashes(database, item->request);
    } else if (item->note == ENGINE_SAME) {
        engine_same(database, &item->same);
    } else if (item->note == ENGINE_END) {
        database->end = item->position;
        database->ended = true;
        engine_place(database);
    } else if (item->note == ENGINE_ABANDON) {
        engine_abandon(database);
    } else {
        engine_apply(database, item->blob);
    }
    if (item->blob != NULL)
        database->view.consumed_bytes += item->blob->size;
    blob_unref(item->blob);
    database->changed = true;
}

/* ---- a primary's --------------------------------------------------------- */

static void engine_read_log(struct database *database,
                            struct database_request *request)
{
    size_t i = engine_find(database, request->txid, request->part), bytes = 0;

    if (i == database->records_count ||
        database->headers[i].first_txid > request->txid) {
        request->rc = -ENOENT;
        return;
    }
    for (; i < database->records_count && bytes < request->max_bytes &&
           request->count < DATABASE_REQUEST_BLOBS;
         i++) {
        request->blobs[request->count++] = blob_ref(database->records[i]);
        bytes += database->records[i]->size;
    }
}

static bool engine_is_same(const struct database_request *request, pgno_t pgno)
{
    uint32_t i = pgno - request->same_pgno;

    return request->same != NULL && pgno >= request->same_pgno &&
           i < request->hash_count && (request->same[i / 8] >> (i % 8) & 1);
}

/* One page of a database; of a bulky one a chunk as large as real ones. */
static void engine_copy(struct database *database,
                        struct database_request *request)
{
    static uint8_t noise[ENGINE_BULK_PAGE_BYTES];
    struct record_header header = {
        .flags = RECORD_SNAPSHOT,
        .lineage = database->view.lineage,
        .epoch = database->catalog->epoch,
        .first_txid = database->view.position.txid,
        .last_txid = database->view.position.txid,
        .previous = {.txid = database->view.position.txid - 1},
        .page_bytes = database->view.page_bytes,
        .size_pages = database->view.size_pages,
        .part = 1,
        .parts = 1,
    };
    uint32_t most = database->bulky ? ENGINE_BULK_PAGES : 1, count = 0;
    pgno_t pgno = request->from_pgno, end = header.size_pages + 1;
    const uint8_t *images[ENGINE_BULK_PAGES];
    pgno_t pgnos[ENGINE_BULK_PAGES];

    if (database->bulky)
        rng_bytes(&(struct rng){1}, noise, sizeof noise);
    if (request->end_pgno != 0 && request->end_pgno < end)
        end = request->end_pgno;
    for (; pgno < end && count < most; pgno++) {
        if (engine_is_same(request, pgno))
            continue;
        pgnos[count] = pgno;
        images[count++] = database->bulky ? noise : database->pages[pgno - 1];
    }
    if (count > 0 && record_encode(&header, pgnos, images, count,
                                   &request->blobs[request->count++]) < 0)
        abort();
    request->next_pgno = pgno < end ? pgno : 0;
    request->position = database->view.position;
}

static void engine_compare(struct database *database,
                           struct database_request *request)
{
    memset(request->same, 0, (request->hash_count + 7) / 8);
    request->differs = false;
    for (uint32_t i = 0; i < request->hash_count; i++) {
        pgno_t pgno = request->from_pgno + i;
        uint64_t ours = pgno > ENGINE_PAGES
                            ? 0
                            : engine_hash(database->pages, pgno);

        if (ours != 0 && get_le64(request->hashes + (size_t)i * 8) == ours)
            request->same[i / 8] |= (uint8_t)(1u << (i % 8));
        else
            request->differs = request->differs || ours != 0;
    }
    database->ranges_told++;
}

/* ---- both ---------------------------------------------------------------- */

/* What is asked while it works has to wait for its next turn. */
static void engine_work(struct database *database)
{
    size_t count = database->queue_count;
    struct list todo, *link;

    for (size_t i = 0; i < count; i++)
        engine_take(database, &database->queue[i]);
    database->queue_count -= count;
    memmove(database->queue, database->queue + count,
            database->queue_count * sizeof database->queue[0]);
    list_init(&todo);
    while ((link = list_pop(&database->requests)) != NULL)
        list_push_back(&todo, link);
    while ((link = list_pop(&todo)) != NULL) {
        struct database_request *request = LIST_ENTRY(
            link, struct database_request, link);

        if (request->kind == DATABASE_COPY)
            engine_copy(database, request);
        else if (request->kind == DATABASE_COMPARE)
            engine_compare(database, request);
        else
            engine_read_log(database, request);
        request->on_done(request);
        database_unref(database);
    }
    if (database->changed && database->catalog->on_changed != NULL) {
        database->changed = false;
        database->catalog->on_changed(database->catalog->context, database);
    }
}

static void engine_turn(struct catalog *catalog)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &catalog->databases)
    engine_work(LIST_ENTRY(link, struct database, link));
}

#endif

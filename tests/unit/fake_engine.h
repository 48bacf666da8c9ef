/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/fake_engine.h - an engine in memory for tests of replication/net,
 * included once, by fake_worker.h. It defines what that room calls of
 * wal/database.h, so that the real engine is not linked, and keeps its
 * promises: a queue between the loop and the work, answers that come later,
 * records that are checked.
 *
 * A database is a few pages and the records that made them. engine_turn()
 * does what workers would do; a test calls it between turns of the loop.
 */
#ifndef TESTS_UNIT_FAKE_ENGINE_H
#define TESTS_UNIT_FAKE_ENGINE_H

#include "base/bytes.h"
#include "replication/core/body.h"
#include "wal/database.h"
#include "wal/page.h"

#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENGINE_PAGES 8u
#define ENGINE_PAGE_BYTES 4096u
#define ENGINE_RECORDS_MAX 4096u
#define ENGINE_QUEUE_MAX 8192u
#define ENGINE_BULK_PAGES 16u /* of a bulky database, in one chunk */
#define ENGINE_BULK_PAGE_BYTES 65536u
#define ENGINE_BULK_CHUNKS 2u
#define ENGINE_RANGE_PAGES 3u /* hashes told at once, where one may tell more */

enum engine_note {
    ENGINE_OFFER,
    ENGINE_BEGIN,
    ENGINE_CHUNK,
    ENGINE_HASHES,
    ENGINE_SAME,
    ENGINE_END,
    ENGINE_ABANDON,
};

struct engine_item {
    enum engine_note note;
    struct blob *blob;
    struct position position;
    struct database_copy copy;
    struct database_request *request;
    struct body_same same; /* bits in blob */
};

struct database {
    struct list link;
    struct catalog *catalog;
    int references;
    bool changed;
    char name[DATABASE_NAME_MAX + 1];
    struct database_view view;
    struct history history;
    uint8_t pages[ENGINE_PAGES][ENGINE_PAGE_BYTES];
    uint8_t base[ENGINE_PAGES][ENGINE_PAGE_BYTES]; /* before the copy */
    struct blob *records[ENGINE_RECORDS_MAX];
    struct record_header headers[ENGINE_RECORDS_MAX];
    size_t records_first, records_count;
    struct engine_item queue[ENGINE_QUEUE_MAX];
    size_t queue_count;
    struct list requests;
    txid_t pinned;
    size_t pins; /* how often it was */
    txid_t needed;
    struct position end;
    bool ended;
    size_t copies;       /* how often one came into place */
    size_t copies_begun; /* in place or not */
    size_t copied_pages; /* that were sent for them */
    size_t ranges_told;  /* of hashes, or compared */
    size_t tail_hits;
    bool bulky; /* its copies are MiBs that say nothing */
};

struct catalog {
    struct list databases;
    epoch_t epoch;
    bool primary;
    size_t tail_records; /* how many records the memory holds */
    uint32_t parts;      /* of a record, where it has as many pages */
    unsigned replicas;   /* that may be away */
    void *context;
    void (*on_changed)(void *context, struct database *database);
};

/* ---- the contract ------------------------------------------------------ */

epoch_t catalog_epoch(struct catalog *catalog)
{
    return catalog->epoch;
}

struct database *database_ref(struct database *database)
{
    database->references++;
    return database;
}

void database_unref(struct database *database)
{
    if (database != NULL)
        database->references--; /* freed by engine_close() */
}

struct database *catalog_find(struct catalog *catalog, const char *name)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &catalog->databases)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (database->view.state != DATABASE_DROPPED &&
            strcmp(database->name, name) == 0)
            return database_ref(database);
    }
    return NULL;
}

struct database *catalog_find_lineage(struct catalog *catalog,
                                      const struct lineage *lineage)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &catalog->databases)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (database->view.state != DATABASE_DROPPED &&
            lineage_is_equal(&database->view.lineage, lineage))
            return database_ref(database);
    }
    return NULL;
}

bool catalog_is_dropped(struct catalog *catalog, const struct lineage *lineage)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &catalog->databases)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (database->view.state == DATABASE_DROPPED &&
            lineage_is_equal(&database->view.lineage, lineage))
            return true;
    }
    return false;
}

void catalog_each(struct catalog *catalog,
                  void (*visit)(void *context, struct database *database),
                  void *context)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &catalog->databases)
    {
        struct database *database = LIST_ENTRY(link, struct database, link);

        if (database->view.state != DATABASE_DROPPED)
            visit(context, database);
    }
}

void database_view(struct database *database, struct database_view *ret_view)
{
    *ret_view = database->view;
}

const char *database_name(const struct database *database)
{
    return database->name;
}

int database_history(struct database *database, struct history *ret_history)
{
    return history_copy(ret_history, &database->history);
}

int database_history_to_tell(struct database *database,
                             struct history *ret_history)
{
    return database_history(database, ret_history);
}

/* What a primary that asks needs; none does in these tests. */
bool database_is_explained(struct database *database)
{
    return database->view.page_bytes != 0;
}

bool catalog_may_fetch(struct catalog *catalog, const char *name,
                       const struct lineage *lineage)
{
    (void)catalog;
    (void)name;
    (void)lineage;
    return false;
}

int catalog_fetch(struct catalog *catalog, const char *name,
                  const struct lineage *lineage, struct database **ret_database)
{
    (void)catalog;
    (void)name;
    (void)lineage;
    (void)ret_database;
    return -EEXIST;
}

void catalog_hear_epoch(struct catalog *catalog, epoch_t epoch)
{
    if (epoch > catalog->epoch)
        catalog->epoch = epoch;
}

void database_submit(struct database *database,
                     struct database_request *request)
{
    request->database = database_ref(database);
    list_push_back(&database->requests, &request->link);
}

static size_t engine_find(const struct database *database, txid_t txid,
                          uint32_t part)
{
    for (size_t i = database->records_first; i < database->records_count; i++)
        if (database->headers[i].last_txid >= txid &&
            database->headers[i].part >= part)
            return i;
    return database->records_count;
}

struct blob *database_tail(struct database *database, txid_t txid,
                           bool after_prepared, uint32_t part)
{
    size_t i = engine_find(database, txid, part);

    (void)after_prepared;
    if (i == database->records_count ||
        i + database->catalog->tail_records < database->records_count)
        return NULL;
    database->tail_hits++;
    return blob_ref(database->records[i]);
}

void database_pin(struct database *database, const void *owner, txid_t txid)
{
    (void)owner;
    database->pinned = txid;
    database->pins += txid != 0;
}

void database_need(struct database *database, const void *owner, txid_t txid)
{
    (void)owner;
    database->needed = txid;
}

void catalog_replicas(struct catalog *catalog, unsigned count)
{
    catalog->replicas = count;
}

static struct database *engine_database(struct catalog *catalog,
                                        const char *name,
                                        const struct lineage *lineage)
{
    struct database *database = calloc(1, sizeof *database);

    if (database == NULL)
        abort();
    database->catalog = catalog;
    database->references = 1;
    database->view.lineage = *lineage;
    database->view.owner_mode = 0644;
    snprintf(database->name, sizeof database->name, "%s", name);
    list_init(&database->requests);
    list_push_back(&catalog->databases, &database->link);
    return database;
}

int catalog_follow(struct catalog *catalog, const char *name,
                   const struct lineage *lineage,
                   struct database **ret_database)
{
    struct database *database = catalog_find(catalog, name);

    if (database != NULL &&
        !lineage_is_equal(&database->view.lineage, lineage)) {
        database->view.state = DATABASE_DROPPED;
        database->changed = true;
        database_unref(database);
        database = NULL;
    }
    if (database == NULL)
        database = database_ref(engine_database(catalog, name, lineage));
    *ret_database = database;
    return 0;
}

int database_set_history(struct database *database,
                         const struct history *history)
{
    history_free(&database->history);
    return history_copy(&database->history, history);
}

static struct engine_item *engine_queue(struct database *database,
                                        enum engine_note note,
                                        struct blob *blob)
{
    struct engine_item *item = &database->queue[database->queue_count++];

    if (database->queue_count == ENGINE_QUEUE_MAX)
        abort();
    *item = (struct engine_item){.note = note, .blob = blob};
    return item;
}

void database_offer(struct database *database, struct blob *blob)
{
    engine_queue(database, ENGINE_OFFER, blob);
}

void database_copy_begin(struct database *database,
                         const struct database_copy *copy)
{
    engine_queue(database, ENGINE_BEGIN, NULL)->copy = *copy;
}

void database_copy_chunk(struct database *database, struct blob *blob)
{
    engine_queue(database, ENGINE_CHUNK, blob);
}

void database_copy_hashes(struct database *database,
                          struct database_request *request)
{
    request->kind = DATABASE_HASHES;
    request->database = database_ref(database);
    request->rc = -ECANCELED;
    request->count = 0;
    request->next_pgno = 0;
    engine_queue(database, ENGINE_HASHES, NULL)->request = request;
}

void database_copy_same(struct database *database, struct blob *blob,
                        pgno_t first, uint32_t count, const uint8_t *bits)
{
    engine_queue(database, ENGINE_SAME, blob)->same = (struct body_same){
        .first = first, .count = count, .bits = bits};
}

void database_copy_end(struct database *database, const struct position *end)
{
    engine_queue(database, ENGINE_END, NULL)->position = *end;
}

void database_copy_abandon(struct database *database)
{
    engine_queue(database, ENGINE_ABANDON, NULL);
}

void database_drop(struct database *database)
{
    database->view.state = DATABASE_DROPPED;
    database->changed = true;
}

void database_set_owner(struct database *database, uint32_t uid, uint32_t gid,
                        uint32_t mode)
{
    database->view.owner_uid = uid;
    database->view.owner_gid = gid;
    database->view.owner_mode = mode;
}

void database_restart(struct database *database)
{
    database->view.state = DATABASE_CLOSED;
}

/* ---- content ----------------------------------------------------------- */

/* 0: never written. */
static uint64_t engine_hash(uint8_t pages[][ENGINE_PAGE_BYTES], pgno_t pgno)
{
    const uint8_t *page = pages[pgno - 1];

    return page[0] == 0 && memcmp(page, page + 1, ENGINE_PAGE_BYTES - 1) == 0
               ? 0
               : page_hash(pgno, page, ENGINE_PAGE_BYTES);
}

static uint64_t engine_sum(const struct database *database)
{
    uint64_t sum = 0;

    for (pgno_t pgno = 1; pgno <= ENGINE_PAGES; pgno++)
        sum ^= page_hash(pgno, database->pages[pgno - 1], ENGINE_PAGE_BYTES);
    return sum;
}

/* What a copy may be compared with. */
static void engine_has(struct database *database)
{
    uint32_t pages = ENGINE_PAGES;

    if (database->catalog->primary || database->view.copying)
        return;
    while (pages > 0 && engine_hash(database->pages, pages) == 0)
        pages--;
    database->view.base_pages = pages;
    database->view.base_page_bytes = pages == 0 ? 0 : ENGINE_PAGE_BYTES;
}

static void engine_moved(struct database *database,
                         const struct position *position)
{
    struct database_view *view = &database->view;

    view->position = *position;
    view->received_txid = view->durable_txid = position->txid;
    view->page_bytes = ENGINE_PAGE_BYTES;
    view->size_pages = ENGINE_PAGES;
    view->first_log_txid =
        database->records_first < database->records_count
            ? database->headers[database->records_first].first_txid
            : 0;
    engine_has(database);
    database->changed = true;
}

/* The primary commits: `random` fills each page that is written. */
static inline void engine_commit(struct database *database, struct rng *rng)
{
    struct record_header header = {
        .lineage = database->view.lineage,
        .epoch = database->catalog->epoch,
        .first_txid = database->view.position.txid + 1,
        .last_txid = database->view.position.txid + 1,
        .previous = database->view.position,
        .page_bytes = ENGINE_PAGE_BYTES,
        .size_pages = ENGINE_PAGES,
        .part = 1,
        .parts = 1,
    };
    const uint8_t *images[ENGINE_PAGES];
    pgno_t pgnos[ENGINE_PAGES];
    uint32_t count = 0;

    for (pgno_t pgno = 1; pgno <= ENGINE_PAGES; pgno++) {
        if (pgno > 1 && rng_chance(rng, 70))
            continue;
        rng_bytes(rng, database->pages[pgno - 1], ENGINE_PAGE_BYTES);
        pgnos[count] = pgno;
        images[count++] = database->pages[pgno - 1];
    }
    header.sum_after = engine_sum(database);
    header.parts = database->catalog->parts < count ? database->catalog->parts
                                                    : 1;
    for (uint32_t part = 1; part <= header.parts; part++) {
        uint32_t from = (part - 1) * (count / header.parts);
        uint32_t most = part == header.parts ? count - from
                                             : count / header.parts;

        header.part = part;
        if (record_encode(&header, pgnos + from, images + from, most,
                          &database->records[database->records_count]) < 0)
            abort();
        database->headers[database->records_count++] = header;
    }
    engine_moved(database, &(struct position){header.epoch, header.last_txid,
                                              header.sum_after});
}

/* A database of MiBs, of which only the primary's side is of interest. */
static inline void engine_bulk(struct database *database)
{
    database->bulky = true;
    engine_moved(database, &(struct position){database->catalog->epoch, 1, 1});
    database->view.page_bytes = ENGINE_BULK_PAGE_BYTES;
    database->view.size_pages = ENGINE_BULK_CHUNKS * ENGINE_BULK_PAGES;
}

/* The log forgets all but the last `keep` records. */
static inline void engine_trim(struct database *database, size_t keep)
{
    database->records_first = database->records_count - keep;
    engine_moved(database, &database->view.position);
}

/* ---- its life ----------------------------------------------------------- */

static void engine_open(struct catalog *catalog, bool primary, epoch_t epoch)
{
    *catalog = (struct catalog){
        .primary = primary, .epoch = epoch, .tail_records = 4, .parts = 1};
    list_init(&catalog->databases);
}

/* Every reference but the engine's own must be back. */
static void engine_close(struct catalog *catalog)
{
    struct list *link;

    while ((link = list_pop(&catalog->databases)) != NULL) {
        struct database *database = LIST_ENTRY(link, struct database, link);

        for (size_t i = 0; i < database->queue_count; i++)
            if (database->queue[i].request != NULL) {
                database->queue[i].request->on_done(database->queue[i].request);
                database_unref(database);
            }
        EXPECT_EQ(database->references, 1);
        for (size_t i = 0; i < database->records_count; i++)
            blob_unref(database->records[i]);
        for (size_t i = 0; i < database->queue_count; i++)
            blob_unref(database->queue[i].blob);
        history_free(&database->history);
        free(database);
    }
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/emit.c - see emit.h.
 *
 * Happy path: fetch and hash every page (twice when they do not fit in one
 * part: the sum after must be in each part) -> encode -> append -> hashes ->
 * position -> tail -> wake. After a failing append the log drops the parts it
 * has, and the caller tries again later.
 */
#include "wal/emit.h"

#include "base/clock.h"
#include "wal/notes.h"

#include <errno.h>
#include <stdlib.h>

#define STEP_PAGES 256 /* between looks at the clock */

/* One record on its way: arrays over the pages that really changed. */
struct emission {
    struct database *database;
    const struct emit_plan *plan;
    struct emit_source *source;
    uint64_t *values;       /* page hashes, source order */
    const uint8_t **images; /* of one part */
    uint8_t *buffers;       /* of one part: a page each, and one to spare */
    uint32_t part_pages;    /* pages in one part */
    struct record_header header;
    struct progress progress;
};

static void emission_free(struct emission *emission)
{
    os_free(&emission->values);
    os_free(&emission->images);
    os_free(&emission->buffers);
}

static int emission_alloc(struct emission *emission)
{
    uint32_t page_bytes = emission->plan->page_bytes;
    uint32_t count = emission->source->count, part;
    int rc;

    part = RECORD_PART_RAW_BYTES / page_bytes;
    part = part > count ? count : part;
    emission->part_pages = part;
    if (count == 0)
        return 0;
    rc = os_alloc(&emission->values, (size_t)count * 8, SITE_EMIT_ALLOC);
    if (rc == 0)
        rc = os_alloc(&emission->images, (part + 1) * sizeof(uint8_t *),
                      SITE_EMIT_ALLOC);
    if (rc == 0)
        rc = os_alloc(&emission->buffers, (size_t)(part + 1) * page_bytes,
                      SITE_EMIT_ALLOC);
    return rc;
}

static int emission_fetch(struct emission *emission, uint32_t i, uint32_t slot)
{
    struct emit_source *source = emission->source;

    return source->fetch(source->context, source->pgnos[i],
                         emission->buffers +
                             (size_t)slot * emission->plan->page_bytes,
                         &emission->images[slot]);
}

/* Hashes all pages; those that did not change are taken out if so planned.
 * What stays in images is of use only when there is one part. */
static int emission_hash(struct emission *emission)
{
    const struct emit_plan *plan = emission->plan;
    struct emit_source *source = emission->source;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < source->count; i++) {
        if (i % STEP_PAGES == STEP_PAGES - 1)
            progress_step(&emission->progress, emission->database, i,
                          source->count);
        uint32_t slot = kept < emission->part_pages ? kept
                                                    : emission->part_pages;
        pgno_t pgno = source->pgnos[i];
        uint64_t value;
        int rc = emission_fetch(emission, i, slot);

        if (rc < 0)
            return rc;
        value = page_hash(pgno, emission->images[slot], plan->page_bytes);
        if (plan->drop_unchanged &&
            value == hashes_get(&emission->database->hashes, pgno))
            continue;
        source->pgnos[kept] = pgno;
        emission->values[kept++] = value;
    }
    source->count = kept;
    return 0;
}

/* A snapshot replaces everything: what was there before, perhaps pages of
 * another size, counts no more. */
static uint64_t emission_sum(const struct emission *emission)
{
    const struct emit_source *source = emission->source;
    uint64_t sum = 0;

    if (!(emission->plan->flags & RECORD_SNAPSHOT))
        return hashes_sum_after(&emission->database->hashes, source->pgnos,
                                emission->values, source->count,
                                emission->plan->size_pages);
    for (uint32_t i = 0; i < source->count; i++)
        sum ^= emission->values[i];
    return sum;
}

/* Where the primary stands in its WAL: at the end of wal. */
static void place_set(struct record_header *header,
                      const struct walindex_header *wal)
{
    memcpy(header->wal_salt, wal->salt, FRAME_SALT_BYTES);
    header->wal_frame = wal->max_frame;
    header->wal_checksum[0] = wal->chain.word[0];
    header->wal_checksum[1] = wal->chain.word[1];
}

static void emission_header(struct emission *emission)
{
    struct database *database = emission->database;
    const struct emit_plan *plan = emission->plan;
    const struct emit_source *source = emission->source;
    struct position before = database->view.position; /* ours: we move it */
    uint32_t parts = 1;

    if (source->count > 0)
        parts = (source->count - 1) / emission->part_pages + 1;
    emission->header = (struct record_header){
        .flags = plan->flags,
        .lineage = database->lineage,
        .epoch = database->catalog->epoch,
        .first_txid = before.txid + 1,
        .last_txid = before.txid + plan->commits,
        .previous = before,
        .sum_after = emission_sum(emission),
        .page_bytes = plan->page_bytes,
        .size_pages = plan->size_pages,
        .commit_wall_ns = clock_wall_ns(),
        .parts = parts,
    };
    if (plan->wal != NULL)
        place_set(&emission->header, plan->wal);
}

static int emission_part(struct emission *emission, uint32_t part)
{
    struct record_header *header = &emission->header;
    struct database *database = emission->database;
    uint32_t from = (part - 1) * emission->part_pages;
    uint32_t count = emission->source->count - from;
    struct blob *blob;
    int rc = 0;

    if (count > emission->part_pages)
        count = emission->part_pages;
    for (uint32_t i = 0; i < count && header->parts > 1 && rc == 0; i++)
        rc = emission_fetch(emission, from + i, i);
    if (rc < 0)
        return rc;
    header->part = part;
    rc = record_encode(header, emission->source->pgnos + from, emission->images,
                       count, &blob);
    if (rc < 0)
        return rc;
    rc = header->flags & RECORD_PREPARED
             ? log_append_sync(database->log, header, blob)
             : log_append(database->log, header, blob);
    if (rc == 0)
        emit_tail(database, header, blob);
    blob_unref(blob);
    return rc;
}

static int emission_write(struct emission *emission)
{
    struct database *database = emission->database;
    int rc = 0;

    for (uint32_t part = 1; part <= emission->header.parts && rc == 0; part++) {
        if (part > 1)
            progress_step(&emission->progress, database, part - 1,
                          emission->header.parts);
        rc = emission_part(emission, part);
    }
    if (rc < 0)
        emit_tail_clear(database); /* parts of it; the log drops its own */
    return rc;
}

/* The hashes and the position follow what the log now holds. */
static void position_follow(struct database *database,
                            const struct record_header *header,
                            const pgno_t *pgnos, const uint64_t *values,
                            uint32_t count)
{
    if (header->flags & RECORD_SNAPSHOT)
        hashes_resize(&database->hashes, 0);
    /* A database that shrinks and grows in one batch: cut first. */
    if (header->size_pages < database->hashes.count)
        hashes_resize(&database->hashes, header->size_pages);
    for (uint32_t i = 0; i < count; i++)
        hashes_set(&database->hashes, pgnos[i], values[i]);
    hashes_resize(&database->hashes, header->size_pages);
    ASSERT(database->hashes.sum == header->sum_after);
    notes_publish(database, header);
}

static int emission_prepare(struct emission *emission)
{
    struct database *database = emission->database;
    struct prepared *prepared = &database->prepared;
    uint32_t count = emission->source->count;
    pgno_t *pgnos;
    int rc = os_alloc(&pgnos, (size_t)(count + 1) * sizeof *pgnos,
                      SITE_EMIT_ALLOC);

    if (rc < 0)
        return rc;
    if (count > 0)
        memcpy(pgnos, emission->source->pgnos, (size_t)count * sizeof *pgnos);
    rc = emission_write(emission);
    if (rc < 0) {
        os_free(&pgnos);
        return rc;
    }
    pthread_mutex_lock(&database->lock);
    *prepared = (struct prepared){
        .present = true,
        .header = emission->header,
        .count = count,
        .pgnos = pgnos,
        .values = emission->values,
    };
    database->view.prepared = record_position(&emission->header);
    database->view.prepared_durable = true;
    pthread_mutex_unlock(&database->lock);
    emission->values = NULL; /* prepared owns it now */
    notes_changed(database);
    return 0;
}

static int emission_commit(struct emission *emission)
{
    struct database *database = emission->database;
    int rc = emission_write(emission);

    if (rc < 0)
        return rc;
    position_follow(database, &emission->header, emission->source->pgnos,
                    emission->values, emission->source->count);
    return 0;
}

/* The first record of an epoch begins it in the history. */
static int epoch_begin(struct database *database)
{
    epoch_t epoch = database->catalog->epoch;
    int rc;

    if (history_last(&database->history) == epoch)
        return notes_keep_meta(database);
    pthread_mutex_lock(&database->lock);
    rc = history_begin(&database->history, epoch,
                       database->view.position.txid + 1);
    pthread_mutex_unlock(&database->lock);
    return rc < 0 ? rc : notes_save_meta(database);
}

int emit(struct database *database, const struct emit_plan *plan,
         struct emit_source *source, bool *ret_emitted)
{
    struct emission emission = {
        .database = database, .plan = plan, .source = source};
    int rc;

    ASSERT_ON_WORKER();
    ASSERT(!database->prepared.present);
    *ret_emitted = false;
    progress_begin(&emission.progress, "reading pages", "pages",
                   clock_now_ns());
#ifdef CANARY_SKIP_PAGE /* before it is hashed: sums agree, contents do not */
    if (source->count > 1 && database->view.position.txid % 16 == 7)
        source->count--;
#endif
    rc = hashes_reserve(&database->hashes, plan->size_pages);
    if (rc == 0)
        rc = emission_alloc(&emission);
    if (rc == 0)
        rc = emission_hash(&emission);
    progress_end(&emission.progress, database, rc);
    if (rc == 0 && plan->drop_unchanged && source->count == 0 &&
        plan->size_pages == database->hashes.count) {
        emission_free(&emission);
        return 0;
    }
    if (rc == 0)
        rc = epoch_begin(database);
    if (rc == 0) {
        emission_header(&emission);
        progress_begin(&emission.progress, "writing pages to the log", "parts",
                       clock_now_ns());
        rc = plan->flags & RECORD_PREPARED ? emission_prepare(&emission)
                                           : emission_commit(&emission);
        progress_end(&emission.progress, database, rc);
    }
    emission_free(&emission);
    *ret_emitted = rc == 0;
    return rc;
}

/* A RESOLVE stands for its PREPARED: same TXIDs, no pages. */
static struct record_header resolve_header(struct database *database,
                                           bool commit,
                                           const struct walindex_header *wal)
{
    const struct record_header *prepared = &database->prepared.header;
    struct record_header header, before = *log_newest(database->log);

    ASSERT((wal != NULL) == (commit && record_names_frame(prepared)));
    before.page_bytes = database->view.page_bytes;
    before.size_pages = database->hashes.count;
    header = commit ? record_commit(prepared) : record_abort(prepared, &before);
    header.commit_wall_ns = clock_wall_ns();
    if (wal != NULL)
        place_set(&header, wal);
    return header;
}

static int resolve_write(struct database *database,
                         struct record_header *header)
{
    struct blob *blob;
    int rc = record_encode(header, NULL, NULL, 0, &blob);

    if (rc < 0)
        return rc;
    /* An abort must be durable before its successor is sent; a commit is
     * found again by the journal that is gone. */
    rc = header->flags & RECORD_ABORT
             ? log_append_sync(database->log, header, blob)
             : log_append(database->log, header, blob);
    if (rc == 0)
        emit_tail(database, header, blob);
    blob_unref(blob);
    return rc;
}

int emit_resolve(struct database *database, bool commit,
                 const struct walindex_header *wal)
{
    struct prepared prepared = database->prepared;
    struct record_header header;
    int rc;

    ASSERT_ON_WORKER();
    ASSERT(prepared.present);
    header = resolve_header(database, commit, wal);
    rc = resolve_write(database, &header);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&database->lock);
    database->prepared = (struct prepared){0};
    database->view.prepared = (struct position){0};
    database->view.prepared_durable = false;
    pthread_mutex_unlock(&database->lock);
    if (commit) /* its pages are the PREPARED's */
        header.flags |= prepared.header.flags & RECORD_SNAPSHOT;
    position_follow(database, &header, prepared.pgnos, prepared.values,
                    commit ? prepared.count : 0);
    os_free(&prepared.pgnos);
    os_free(&prepared.values);
    return 0;
}

/* Oldest entry, taken out under the lock; NULL: the tail is empty. */
static struct tail_entry *tail_take_first(struct database *database)
{
    struct list *first = list_pop(&database->tail);
    struct tail_entry *entry;

    if (first == NULL)
        return NULL;
    entry = LIST_ENTRY(first, struct tail_entry, link);
    database->tail_bytes -= entry->blob->size;
    return entry;
}

static void tail_free(struct tail_entry *entry)
{
    if (entry == NULL)
        return;
    blob_unref(entry->blob);
    free(entry);
}

void emit_tail(struct database *database, const struct record_header *header,
               struct blob *blob)
{
    struct tail_entry *entry = malloc(sizeof *entry);

    if (entry == NULL)
        return; /* the feeds read it from the log */
    *entry = (struct tail_entry){
        .blob = blob_ref(blob),
        .first_txid = header->first_txid,
        .last_txid = header->last_txid,
        .flags = header->flags,
        .part = header->part,
    };
    pthread_mutex_lock(&database->lock);
    list_push_back(&database->tail, &entry->link);
    database->tail_bytes += blob->size;
    while (database->tail_bytes > TAIL_MAX_BYTES &&
           database->tail.next != database->tail.prev)
        tail_free(tail_take_first(database));
    pthread_mutex_unlock(&database->lock);
}

void emit_tail_clear(struct database *database)
{
    struct tail_entry *entry;

    do {
        pthread_mutex_lock(&database->lock);
        entry = tail_take_first(database);
        pthread_mutex_unlock(&database->lock);
        tail_free(entry);
    } while (entry != NULL);
}

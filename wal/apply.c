/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/apply.c - see apply.h, and the peer writer's order of work: frames to
 * the file (through the mount, so that sizes stay true), then the hash
 * tables, then both copies of the header. Between the copies nothing may
 * stop us: a reader that finds them different asks for WAL_WRITE, which we
 * hold, and gives up after ten seconds.
 */
#include "wal/apply.h"

#include "wal/notes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define BUFFER_BYTES (1u << 20)
#define WAL_KEEP_BYTES (64u << 20) /* of its file, when it starts over */

void apply_free(struct apply *apply)
{
    os_free(&apply->buffer);
    free(apply->undo);
    *apply = (struct apply){0};
}

int apply_start(struct database *database)
{
    struct apply *apply = &database->apply;
    int rc = walindex_read(&database->index, &apply->header);

    if (rc < 0)
        return rc;
    apply->written = apply->header.max_frame;
    apply->size_pages = apply->header.size_pages;
    apply->used = 0;
    apply->checkpoint_next = 0;
    return 0;
}

/* Frame 1 needs a WAL header before it. Salts come from the wal-index; a
 * fresh one has none yet. Not synced: a replica discards its WAL when it
 * recovers, the log knows all that is in it. */
static int wal_header_write(struct database *database, uint32_t page_bytes)
{
    struct walindex_header *header = &database->apply.header;
    struct frame_wal_header wal = {.page_bytes = page_bytes};
    static const uint8_t none[FRAME_SALT_BYTES];
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];

    if (memcmp(header->salt, none, sizeof none) == 0 &&
        getrandom(header->salt, sizeof header->salt, 0) !=
            (ssize_t)sizeof header->salt)
        return site_fail(SITE_APPLY_WRITE, "getrandom", EIO);
    memcpy(wal.salt, header->salt, FRAME_SALT_BYTES);
    frame_wal_header_encode(&wal, bytes);
    header->chain = wal.chain;
    header->page_bytes = page_bytes;
    return os_pwrite(&database->wal_file, bytes, sizeof bytes, 0,
                     SITE_APPLY_WRITE);
}

static int buffer_flush(struct database *database)
{
    struct apply *apply = &database->apply;
    int rc;

    if (apply->used == 0)
        return 0;
    rc = os_pwrite(&database->wal_file, apply->buffer, apply->used,
                   frame_offset(apply->buffer_first, apply->header.page_bytes),
                   SITE_APPLY_WRITE);
    if (rc == 0)
        apply->used = 0;
    return rc;
}

static int buffer_ready(struct database *database, size_t stride)
{
    struct apply *apply = &database->apply;

    if (apply->buffer == NULL) {
        int rc = os_alloc(&apply->buffer, BUFFER_BYTES, SITE_APPLY_ALLOC);

        if (rc < 0)
            return rc;
        apply->buffer_bytes = BUFFER_BYTES;
    }
    if (apply->used + stride > apply->buffer_bytes) {
        int rc = buffer_flush(database);

        if (rc < 0)
            return rc;
    }
    if (apply->used == 0)
        apply->buffer_first = apply->written + 1;
    return 0;
}

int apply_page(struct database *database, pgno_t pgno, const uint8_t *image,
               uint32_t commit_pages)
{
    struct apply *apply = &database->apply;
    uint32_t page_bytes = apply->header.page_bytes;
    uint8_t *at;
    int rc;

    rc = buffer_ready(database, FRAME_HEADER_BYTES + page_bytes);
    if (rc == 0)
        rc = walindex_append(&database->index, apply->written + 1, pgno);
    if (rc < 0)
        return rc;
    at = apply->buffer + apply->used;
    memcpy(at + FRAME_HEADER_BYTES, image, page_bytes);
    if (pgno == 1)
        page_header_set_wal(at + FRAME_HEADER_BYTES);
    frame_encode(&apply->header.chain, at, pgno, commit_pages,
                 apply->header.salt, page_bytes);
    apply->used += FRAME_HEADER_BYTES + page_bytes;
    apply->written++;
    if (commit_pages != 0)
        apply->size_pages = commit_pages;
    return 0;
}

/* Room to remember what the record is about to change. */
static int undo_reserve(struct database *database,
                        const struct record_header *header)
{
    struct apply *apply = &database->apply;
    uint32_t size = database->hashes.count;
    size_t wanted = apply->undo_count + header->pages + 1, capacity;
    struct hash_before *grown;

    if (header->size_pages < size)
        wanted += size - header->size_pages;
    if (wanted <= apply->undo_capacity)
        return 0;
    capacity = wanted + wanted / 2;
    grown = site_fault(SITE_APPLY_ALLOC) != 0
                ? NULL
                : realloc(apply->undo, capacity * sizeof *grown);
    if (grown == NULL)
        return site_fail(SITE_APPLY_ALLOC, database->name, ENOMEM);
    apply->undo = grown;
    apply->undo_capacity = capacity;
    return 0;
}

static void undo_note(struct database *database, pgno_t pgno)
{
    struct apply *apply = &database->apply;

    ASSERT(apply->undo_count < apply->undo_capacity);
    apply->undo[apply->undo_count++] = (struct hash_before){
        pgno, hashes_get(&database->hashes, pgno)};
}

static void hashes_cut(struct database *database, uint32_t size_pages)
{
    for (uint32_t i = size_pages; i < database->hashes.count; i++)
        undo_note(database, i + 1);
    hashes_resize(&database->hashes, size_pages);
}

/* The page hashes are again those of what is published. */
static void undo_hashes(struct database *database)
{
    struct apply *apply = &database->apply;

    if (apply->undo_count == 0)
        return;
    while (apply->undo_count > 0) {
        struct hash_before *before = &apply->undo[--apply->undo_count];

        hashes_set(&database->hashes, before->pgno, before->value);
    }
    hashes_resize(&database->hashes, apply->undo_pages);
}

int apply_pages(struct database *database, const struct record *record,
                bool commit)
{
    const struct record_header *header = &record->header;
    struct hashes *hashes = &database->hashes;
    int rc = 0;

    if (database->apply.written == 0 && header->pages > 0)
        rc = wal_header_write(database, header->page_bytes);
    if (rc == 0)
        rc = hashes_reserve(hashes, header->size_pages);
    if (rc == 0)
        rc = undo_reserve(database, header);
    if (rc < 0)
        return rc;
    if (database->apply.undo_count == 0 &&
        (header->pages > 0 || header->size_pages != hashes->count)) {
        database->apply.undo_pages = hashes->count;
        undo_note(database, 1); /* so that a mere change of size counts */
    }
    if (header->size_pages < hashes->count)
        hashes_cut(database, header->size_pages);
    for (uint32_t i = 0; i < header->pages && rc == 0; i++) {
        const uint8_t *image = record->images + (size_t)i * header->page_bytes;
        bool last = commit && i + 1 == header->pages;

        undo_note(database, record->pgnos[i]);
        hashes_set(hashes, record->pgnos[i],
                   page_hash(record->pgnos[i], image, header->page_bytes));
        rc = apply_page(database, record->pgnos[i], image,
                        last ? header->size_pages : 0);
    }
    if (rc == 0)
        hashes_resize(hashes, header->size_pages);
    return rc;
}

int apply_publish(struct database *database)
{
    struct apply *apply = &database->apply;
    int rc = buffer_flush(database);

    if (rc < 0)
        return rc;
    apply->undo_count = 0;
    if (apply->written == apply->header.max_frame)
        return 0; /* only empty transactions */
    apply->header.max_frame = apply->written;
    apply->header.size_pages = apply->size_pages;
    apply->header.change++;
    walindex_publish(&database->index, &apply->header);
    pthread_mutex_lock(&database->lock);
    database->view.wal_frames = apply->header.max_frame;
    pthread_mutex_unlock(&database->lock);
    return 0;
}

void apply_abandon(struct database *database)
{
    struct apply *apply = &database->apply;

    undo_hashes(database);
    database->applied = database->view.position;
    if (database->anchor.connection == NULL)
        return;
    apply->used = 0;
    walindex_cleanup(&database->index, apply->header.max_frame);
    /* The chain ran ahead: take the published one again. */
    (void)walindex_read(&database->index, &apply->header);
    apply->written = apply->header.max_frame;
    apply->size_pages = apply->header.size_pages;
}

/* A reader of hours kept all of it; nobody reads it any more. Under the locks
 * of the reset: nobody looks for a frame meanwhile. */
static void wal_shrink(struct database *database)
{
    uint64_t bytes;

    if (os_size(&database->wal_file, &bytes, SITE_APPLY_WRITE) == 0 &&
        bytes > WAL_KEEP_BYTES)
        (void)os_ftruncate(&database->wal_file, 0, SITE_APPLY_WRITE);
}

bool apply_reset(struct database *database)
{
    struct apply *apply = &database->apply;
    int fd = database->shm_file.fd;
    uint64_t random;
    bool done = false;

    ASSERT(apply->written == apply->header.max_frame);
    if (apply->header.max_frame == 0 ||
        walindex_lock(fd, WALINDEX_LOCK_CHECKPOINT, 1) < 0)
        return false;
    if (walindex_lock(fd, WALINDEX_LOCK_READ0 + 1, 4) == 0) {
        if (walindex_backfilled(&database->index) == apply->header.max_frame &&
            getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random) {
            walindex_reset(&database->index, &apply->header, random);
            apply->written = 0;
            wal_shrink(database);
            done = true;
        }
        walindex_unlock(fd, WALINDEX_LOCK_READ0 + 1, 4);
    }
    walindex_unlock(fd, WALINDEX_LOCK_CHECKPOINT, 1);
    return done;
}

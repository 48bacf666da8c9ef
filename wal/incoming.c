/* SPDX-License-Identifier: Apache-2.0 */
/* wal/incoming.c - see incoming.h. */
#include "wal/incoming.h"

#include "wal/delta.h"
#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/placing.h"
#include "wal/redo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

void incoming_path(const struct database *database, const char *what,
                   char path[INCOMING_PATH_BYTES])
{
    snprintf(path, INCOMING_PATH_BYTES, "%s/%s", database->directory, what);
}

/* Its records are void: the next copy starts later. */
static void log_drop(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[INCOMING_PATH_BYTES];

    if (incoming->log == NULL)
        return;
    log_close(incoming->log);
    incoming->log = NULL;
    incoming_path(database, "log-incoming", path);
    logdir_remove(database, path);
}

static void tell_end(struct database *database)
{
    progress_end(&database->incoming.progress, database,
                 incoming_is_complete(database) ? 0 : -ECANCELED);
}

void incoming_abandon(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[INCOMING_PATH_BYTES];

    placing_undo(database);
    tell_end(database);
    if (incoming->active || incoming->kept) {
        incoming_path(database, "incoming", path);
        (void)os_unlink(database->catalog->config.data_fd, path,
                        SITE_INCOMING_OPEN);
    }
    log_drop(database);
    os_close(&incoming->file);
    hashes_free(&incoming->hashes);
    delta_end(database);
    *incoming = (struct incoming){0};
}

void incoming_suspend(struct database *database)
{
    struct incoming *incoming = &database->incoming;

    if (!incoming->active)
        return;
    placing_undo(database);
    if (incoming->log == NULL) { /* no copy: a first file, from our own log */
        incoming_abandon(database);
        return;
    }
    tell_end(database);
    log_drop(database);
    delta_keep(database);
    incoming->active = incoming->ended = false;
    incoming->kept = true;
    delta_show(database);
}

/* fresh: whatever is there goes. */
static int incoming_file(struct database *database, bool fresh)
{
    char path[INCOMING_PATH_BYTES];

    if (!fresh && database->incoming.file.open)
        return 0;
    incoming_path(database, "incoming", path);
    return os_open(&database->incoming.file, database->catalog->config.data_fd,
                   path, O_RDWR | O_CREAT | (fresh ? O_TRUNC : 0), 0600,
                   SITE_INCOMING_OPEN);
}

/* What came before is of use only to a delta, of pages of that size. */
static void make_room(struct database *database,
                      const struct database_copy *copy)
{
    struct incoming *incoming = &database->incoming;

    incoming_suspend(database);
    if (!copy->delta ||
        (incoming->page_bytes != copy->page_bytes && incoming->page_bytes != 0))
        incoming_abandon(database);
}

int incoming_begin(struct database *database, const struct database_copy *copy)
{
    struct incoming *incoming = &database->incoming;
    struct log_found found;
    char path[INCOMING_PATH_BYTES];
    int rc;

    make_room(database, copy);
    incoming_path(database, "log-incoming", path);
    logdir_remove(database, path);
    rc = log_open(&incoming->log, database->catalog->config.data_fd, path,
                  &database->lineage, &found);
    if (rc == 0)
        rc = incoming_file(database, !copy->delta);
    incoming->active = rc == 0;
    incoming->position = copy->start;
    incoming->page_bytes = copy->page_bytes;
    incoming->size_pages = copy->size_pages;
    incoming->copied_pages = 0;
    incoming->keep = copy->keep;
    progress_begin(&incoming->progress, copy->delta ? "comparison" : "copy",
                   "pages", clock_now_ns());
    if (rc < 0)
        incoming_abandon(database);
    else if (copy->delta)
        delta_begin(database, copy->doubt);
    return rc;
}

int incoming_begin_file(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    incoming_abandon(database);
    rc = incoming_file(database, true);
    if (rc < 0)
        return rc;
    incoming->active = incoming->ended = true;
    incoming->position = incoming->end = database->view.position;
    incoming->page_bytes = database->view.page_bytes;
    return 0;
}

static int pages_write(struct incoming *incoming, const struct record *record)
{
    const struct record_header *header = &record->header;
    int rc = hashes_reserve(&incoming->hashes, header->size_pages);

    for (uint32_t i = 0; i < header->pages && rc == 0; i++) {
        const uint8_t *image = record->images + (size_t)i * header->page_bytes;
        pgno_t pgno = record->pgnos[i];

        if (pgno > header->size_pages)
            continue; /* cut while the copy was under way */
        /* Until it is written whole it is nothing: should this fail, the copy
         * is told to the primary as far as it came. */
        delta_overwrite(&incoming->delta, pgno);
        hashes_set(&incoming->hashes, pgno, 0);
        rc = os_pwrite(&incoming->file, image, header->page_bytes,
                       (uint64_t)(pgno - 1) * header->page_bytes,
                       SITE_INCOMING_WRITE);
        if (rc == 0)
            hashes_set(&incoming->hashes, pgno,
                       page_hash(pgno, image, header->page_bytes));
    }
    return rc;
}

int incoming_chunk(struct database *database, const struct record *record)
{
    struct incoming *incoming = &database->incoming;

    incoming->page_bytes = record->header.page_bytes;
    incoming->size_pages = record->header.size_pages;
    if (record->header.pages > 0)
        incoming->copied_pages = record->pgnos[record->header.pages - 1];
    progress_step(&incoming->progress, database, incoming->copied_pages,
                  incoming->size_pages);
    return pages_write(incoming, record);
}

int incoming_record(struct database *database, const struct record *record)
{
    struct incoming *incoming = &database->incoming;
    const struct record_header *header = &record->header;
    int rc;

    if (header->last_txid <= incoming->position.txid)
        return 0;
    /* Everything, perhaps of another page size: start from nothing. */
    if (header->flags & RECORD_SNAPSHOT && header->part == 1) {
        hashes_free(&incoming->hashes);
        delta_empty(&incoming->delta);
        incoming->sparse = false;
        rc = os_ftruncate(&incoming->file, 0, SITE_INCOMING_WRITE);
        if (rc < 0)
            return rc;
    }
    rc = hashes_reserve(&incoming->hashes, header->size_pages);
    if (rc == 0 && header->size_pages < incoming->hashes.count)
        hashes_resize(&incoming->hashes, header->size_pages);
    if (rc == 0)
        rc = pages_write(incoming, record);
    if (rc < 0)
        return rc;
    if (header->part == header->parts) {
        hashes_resize(&incoming->hashes, header->size_pages);
        incoming->position = record_position(header);
        incoming->size_pages = header->size_pages;
        if (header->page_bytes != 0)
            incoming->page_bytes = header->page_bytes;
    }
    return 0;
}

int incoming_end(struct database *database, const struct position *end)
{
    struct incoming *incoming = &database->incoming;

    incoming->end = *end;
    incoming->ended = true;
    return redo_log(database, incoming->position.txid + 1, incoming_record);
}

bool incoming_is_complete(const struct database *database)
{
    const struct incoming *incoming = &database->incoming;

    return incoming->active && incoming->ended &&
           incoming->position.txid >= incoming->end.txid;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/incoming.c - see incoming.h. */
#include "wal/incoming.h"

#include "wal/apply.h"
#include "wal/attach.h"
#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/redo.h"
#include "wal/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void incoming_path(const struct database *database, char *path,
                          size_t size)
{
    snprintf(path, size, "%s/incoming", database->directory);
}

static void incoming_log_path(const struct database *database, char *path,
                              size_t size)
{
    snprintf(path, size, "%s/log-incoming", database->directory);
}

void incoming_abandon(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[96];

    progress_end(&incoming->progress, database,
                 incoming_is_complete(database) ? 0 : -ECANCELED);
    if (incoming->active) {
        incoming_path(database, path, sizeof path);
        (void)os_unlink(database->catalog->config.data_fd, path,
                        SITE_INCOMING_OPEN);
    }
    if (incoming->log != NULL) {
        log_close(incoming->log);
        incoming_log_path(database, path, sizeof path);
        logdir_remove(database, path);
    }
    os_close(&incoming->file);
    hashes_free(&incoming->hashes);
    *incoming = (struct incoming){0};
}

static int incoming_file(struct database *database)
{
    char path[96];

    incoming_path(database, path, sizeof path);
    return os_open(&database->incoming.file, database->catalog->config.data_fd,
                   path, O_RDWR | O_CREAT | O_TRUNC, 0600, SITE_INCOMING_OPEN);
}

int incoming_begin(struct database *database, const struct position *start,
                   uint32_t page_bytes)
{
    struct incoming *incoming = &database->incoming;
    struct log_found found;
    char path[96];
    int rc;

    incoming_abandon(database);
    incoming_log_path(database, path, sizeof path);
    logdir_remove(database, path);
    rc = log_open(&incoming->log, database->catalog->config.data_fd, path,
                  &database->lineage, &found);
    if (rc == 0)
        rc = incoming_file(database);
    incoming->active = rc == 0;
    incoming->position = *start;
    incoming->page_bytes = page_bytes;
    progress_begin(&incoming->progress, "copy", "pages", clock_now_ns());
    if (rc < 0)
        incoming_abandon(database);
    return rc;
}

int incoming_begin_file(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    incoming_abandon(database);
    rc = incoming_file(database);
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
        hashes_set(&incoming->hashes, pgno,
                   page_hash(pgno, image, header->page_bytes));
        rc = os_pwrite(&incoming->file, image, header->page_bytes,
                       (uint64_t)(pgno - 1) * header->page_bytes,
                       SITE_INCOMING_WRITE);
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

/* Makes the directories above a database. */
static int parents_make(struct database *database)
{
    char path[DATABASE_NAME_MAX + 16];
    int rc = 0;

    snprintf(path, sizeof path, "%s", database->backing);
    for (char *at = strchr(path + 6, '/'); at != NULL && rc == 0;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        rc = os_mkdir(database->catalog->config.data_fd, path, 0755,
                      SITE_INCOMING_PLACE);
        *at = '/';
    }
    return rc;
}

/* After a failed sync the kernel may call pages clean that it could not write:
 * only what is written again is synced by the next one. */
static int file_write_again(struct incoming *incoming)
{
    uint64_t size = (uint64_t)incoming->size_pages * incoming->page_bytes;
    uint8_t *page;
    int rc = os_alloc(&page, incoming->page_bytes, SITE_INCOMING_WRITE);

    for (uint64_t at = 0; rc == 0 && at < size; at += incoming->page_bytes) {
        rc = os_pread_full(&incoming->file, page, incoming->page_bytes, at,
                           SITE_INCOMING_WRITE);
        if (rc == 0)
            rc = os_pwrite(&incoming->file, page, incoming->page_bytes, at,
                           SITE_INCOMING_WRITE);
    }
    os_free(&page);
    return rc;
}

/* The finished file, ready for its place: size, WAL mode, owner, durable. */
static int file_finish(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    struct meta *meta = &database->meta;
    uint8_t page[PAGE_HEADER_BYTES];
    int rc;

    rc = os_ftruncate(&incoming->file,
                      (uint64_t)incoming->size_pages * incoming->page_bytes,
                      SITE_INCOMING_WRITE);
    if (rc == 0)
        rc = os_pread_full(&incoming->file, page, sizeof page, 0,
                           SITE_INCOMING_WRITE);
    if (rc == 0) {
        page_header_set_wal(page);
        rc = os_pwrite(&incoming->file, page, sizeof page, 0,
                       SITE_INCOMING_WRITE);
    }
    if (rc == 0 && incoming->suspect)
        rc = file_write_again(incoming);
    if (rc < 0)
        return rc;
    if (fchown(incoming->file.fd, meta->uid, meta->gid) != 0 ||
        fchmod(incoming->file.fd, meta->mode & 07777) != 0)
        return site_fail(SITE_INCOMING_PLACE, database->name, errno);
    rc = os_fsync(&incoming->file, SITE_INCOMING_SYNC);
    incoming->suspect = rc < 0;
    return rc;
}

/* Nobody has it open: the file takes its place. Renamed below the mount: the
 * mount never caches that a name does not exist. */
static int place_by_rename(struct database *database)
{
    int dirfd = database->catalog->config.data_fd;
    char path[96], parent[DATABASE_NAME_MAX + 16];
    int rc;

    incoming_path(database, path, sizeof path);
    rc = parents_make(database);
    if (rc == 0)
        rc = file_finish(database);
    if (rc == 0)
        rc = os_rename(dirfd, path, database->backing, SITE_INCOMING_PLACE);
    if (rc < 0)
        return rc;
    snprintf(parent, sizeof parent, "%s", database->backing);
    *strrchr(parent, '/') = '\0';
    return os_sync_dir(dirfd, parent, SITE_INCOMING_PLACE);
}

/* Somebody reads it: what differs goes in as one transaction. */
static int place_by_wal(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    struct record record = {.header = {.page_bytes = incoming->page_bytes,
                                       .size_pages = incoming->size_pages,
                                       .pages = 1}};
    uint8_t *page;
    pgno_t pgno;
    int rc = os_alloc(&page, incoming->page_bytes, SITE_APPLY_ALLOC);

    record.images = page;
    record.pgnos = &pgno;
    for (pgno = 2; pgno <= incoming->size_pages && rc == 0; pgno++) {
        uint64_t hash = hashes_get(&incoming->hashes, pgno);

        if (hash == 0 || hash == hashes_get(&database->hashes, pgno))
            continue;
        rc = os_pread_full(&incoming->file, page, incoming->page_bytes,
                           (uint64_t)(pgno - 1) * incoming->page_bytes,
                           SITE_INCOMING_WRITE);
        record.header.size_pages = pgno > database->hashes.count
                                       ? pgno
                                       : database->hashes.count;
        if (rc == 0)
            rc = apply_pages(database, &record, false);
    }
    /* Page 1 comes last: it always goes in, and carries the commit. */
    pgno = 1;
    record.header.size_pages = incoming->size_pages;
    if (rc == 0)
        rc = os_pread_full(&incoming->file, page, incoming->page_bytes, 0,
                           SITE_INCOMING_WRITE);
    if (rc == 0)
        rc = apply_pages(database, &record, true);
    if (rc == 0)
        rc = apply_publish(database);
    os_free(&page);
    return rc;
}

static int place(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    if (incoming->size_pages == 0)
        return 0; /* no content yet: no file either */
    if (database->anchor.connection == NULL &&
        (attach_main(database) < 0 || database->view.page_bytes == 0))
        return place_by_rename(database);
    if (database->view.page_bytes != incoming->page_bytes)
        return replica_replace(database, place_by_rename);
    rc = replica_attach(database);
    if (rc == -EBADMSG) /* what is in its place is no database any more */
        return replica_replace(database, place_by_rename);
    return rc < 0 ? rc : place_by_wal(database);
}

/* Recovery cannot rely on file and log while one of them is replaced. */
static int place_begin(struct database *database)
{
    if (!(database->meta.flags & META_COPIED))
        return notes_keep_meta(database);
    database->meta.flags &= ~META_COPIED;
    return notes_save_meta(database);
}

/* The copy's hashes and log become the database's. */
static int place_end(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[96];
    int rc = 0;

    if (incoming->log != NULL) {
        incoming_log_path(database, path, sizeof path);
        rc = logdir_replace(database, incoming->log, path);
        if (rc < 0)
            return rc;
        incoming->log = NULL;
    }
    hashes_free(&database->hashes);
    database->hashes = incoming->hashes;
    incoming->hashes = (struct hashes){0};
    return 0;
}

/* Complete now, or by the first checkpoint when it went into the WAL. */
static int place_keep(struct database *database,
                      const struct record_header *header)
{
    struct position position = record_position(header);

    if (database->anchor.connection != NULL && header->size_pages > 0)
        return 0;
    replica_save_hashes(database, &position, header->page_bytes);
    database->meta.base_txid = header->last_txid;
    database->meta.flags |= META_COPIED;
    return notes_save_meta(database);
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
    int rc;

    if (incoming->hashes.sum != incoming->position.sum)
        return -EBADMSG;
    rc = place_begin(database);
    if (rc == 0)
        rc = place(database);
    if (rc == 0)
        rc = place_end(database);
    if (rc < 0)
        return rc;
    incoming_abandon(database);
    os_close(&database->main_file);
    rc = place_keep(database, &header);
    if (rc == 0)
        notes_publish(database, &header);
    return rc;
}

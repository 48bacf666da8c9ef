/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/redo.c - see redo.h. A prepared transaction is passed over where it
 * stands and redone at the place of its RESOLVE, read again from the cursor
 * remembered for it; when it happened, and where the primary stood in its WAL
 * then, is what the RESOLVE says.
 */
#include "wal/redo.h"

#include <errno.h>

static int redo_one(struct database *database, const struct blob *blob,
                    const struct record_header *resolve, redo_fn redo)
{
    struct record record;
    int rc = record_decode(blob->data, blob->size, &record);

    if (rc < 0)
        return rc;
    if (resolve != NULL) {
        record.header.commit_wall_ns = resolve->commit_wall_ns;
        record_copy_place(&record.header, resolve);
    }
    rc = redo(database, &record);
    record_free(&record);
    return rc;
}

/* The records of a copy under way have a log of their own. */
static struct log *log_to_read(const struct database *database)
{
    return database->incoming.log != NULL ? database->incoming.log
                                          : database->log;
}

/* The parts of the PREPARED that starts at cursor. */
static int redo_prepared(struct database *database, struct log_cursor cursor,
                         const struct record_header *resolve, redo_fn redo)
{
    struct record_header header = {0};
    struct blob *blob;
    int rc = 0;

    do {
        rc = log_read(log_to_read(database), &cursor, &header, &blob);
        if (rc < 0)
            return rc;
        rc = redo_one(database, blob, resolve, redo);
        blob_unref(blob);
    } while (rc == 0 && header.part < header.parts);
    return rc;
}

int redo_log(struct database *database, txid_t txid, redo_fn redo)
{
    struct log_cursor cursor, at, prepared = {0};
    txid_t last = log_last_txid(log_to_read(database));
    uint64_t total = last < txid ? 0 : last - txid + 1;
    struct record_header header = {.last_txid = txid};
    struct progress progress;
    struct blob *blob;
    int rc = log_seek(log_to_read(database), txid, &cursor);

    progress_begin(&progress, "redo of the log", "transactions",
                   clock_now_ns());
    while (rc == 0) {
        progress_step(&progress, database, header.last_txid - txid, total);
        at = cursor;
        rc = log_read(log_to_read(database), &cursor, &header, &blob);
        if (rc < 0)
            break;
        if (header.flags & RECORD_PREPARED) {
            if (header.part == 1)
                prepared = at;
        } else if (header.flags & RECORD_RESOLVE &&
                   !(header.flags & RECORD_ABORT)) {
            rc = redo_prepared(database, prepared, &header, redo);
        } else {
            rc = redo_one(database, blob, NULL, redo);
        }
        blob_unref(blob);
    }
    rc = rc == -ENOENT ? 0 : rc;
    progress_end(&progress, database, rc);
    return rc;
}

static int redo_record(struct database *database, const struct record *record)
{
    bool replica = database->catalog->config.role == DATABASE_REPLICA;
    const struct record_header *header = &record->header;
    int rc = 0;

    for (uint32_t i = 0; i < header->pages && rc == 0; i++) {
        uint8_t *image = record->images + (size_t)i * header->page_bytes;

        if (record->pgnos[i] == 1 && replica)
            page_header_set_wal(image);
        rc = os_pwrite(&database->main_file, image, header->page_bytes,
                       (uint64_t)(record->pgnos[i] - 1) * header->page_bytes,
                       SITE_RECOVER_WRITE);
    }
    if (rc == 0 && header->part == header->parts && header->page_bytes != 0)
        rc = os_ftruncate(&database->main_file,
                          (uint64_t)header->size_pages * header->page_bytes,
                          SITE_RECOVER_WRITE);
    return rc;
}

int redo_into_file(struct database *database, txid_t txid)
{
    int rc = redo_log(database, txid, redo_record);

    return rc < 0 ? rc : os_fsync(&database->main_file, SITE_RECOVER_WRITE);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/placing.c - see placing.h. */
#include "wal/placing.h"

#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/owner.h"
#include "wal/progress.h"
#include "wal/recover.h"
#include "wal/redo.h"
#include "wal/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 2u

/* What the parts of a copy are called, by slot; what it was before. */
static const char *const pages_names[SLOTS] = {"placing-0", "placing-1"};
static const char *const log_names[SLOTS] = {"log-placing-0", "log-placing-1"};
static const char *const mark_names[SLOTS] = {"placing-hashes-0",
                                              "placing-hashes-1"};
#define PAGES_BEFORE "incoming"
#define LOG_BEFORE "log-incoming"

static int data_fd(const struct database *database)
{
    return database->catalog->config.data_fd;
}

static bool file_is_there(const struct database *database, const char *name)
{
    char path[INCOMING_PATH_BYTES];
    struct stat status;

    incoming_path(database, name, path);
    return fstatat(data_fd(database), path, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* -ENOENT: it is not there. */
static int file_rename(struct database *database, const char *from,
                       const char *to)
{
    char old[INCOMING_PATH_BYTES], new[INCOMING_PATH_BYTES];

    incoming_path(database, from, old);
    incoming_path(database, to, new);
    return os_rename(data_fd(database), old, new, SITE_INCOMING_PLACE);
}

static int file_unlink(struct database *database, const char *name)
{
    char path[INCOMING_PATH_BYTES];
    int rc;

    incoming_path(database, name, path);
    rc = os_unlink(data_fd(database), path, SITE_INCOMING_PLACE);
    return rc == -ENOENT ? 0 : rc;
}

static int mark_remove(struct database *database, unsigned slot)
{
    int rc = file_unlink(database, mark_names[slot]);

    return rc < 0 ? rc : logdir_sync(database);
}

static void log_remove(struct database *database, unsigned slot)
{
    char path[INCOMING_PATH_BYTES];

    incoming_path(database, log_names[slot], path);
    logdir_remove(database, path);
}

/* ---- before it is placed ------------------------------------------------- */

/* Page 1, if the copy's file has it. */
static int page_one_finish(const struct os_file *file)
{
    uint8_t page[PAGE_HEADER_BYTES];
    struct page_header header;
    int rc = os_pread_full(file, page, sizeof page, 0, SITE_INCOMING_WRITE);

    if (rc < 0 || page_header_decode(page, sizeof page, &header) < 0)
        return rc;
    page_header_set_wal(page);
    return os_pwrite(file, page, sizeof page, 0, SITE_INCOMING_WRITE);
}

/* On a replica every database is in WAL mode; a primary's is in its own. */
static bool is_replica(const struct database *database)
{
    return database->catalog->config.role == DATABASE_REPLICA;
}

/* Ready for its place, should it become the database's file: size, owner, and
 * in WAL mode. */
static int pages_finish(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    int rc;

    rc = os_ftruncate(&incoming->file,
                      (uint64_t)incoming->size_pages * incoming->page_bytes,
                      SITE_INCOMING_WRITE);
    if (rc == 0 && incoming->size_pages > 0 && is_replica(database))
        rc = page_one_finish(&incoming->file);
    if (rc == 0 && incoming->suspect)
        rc = os_write_again(&incoming->file, SITE_INCOMING_WRITE);
    if (rc < 0)
        return rc;
    rc = owner_give_new(database, &incoming->file);
    if (rc < 0)
        return rc;
    rc = os_fsync(&incoming->file, SITE_INCOMING_SYNC);
    incoming->suspect = rc < 0;
    return rc;
}

/* The log goes first: when the pages have their new name both are done. */
static int names_take(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    const char *log_name;
    int rc = 0;

    if (incoming->placing)
        return 0;
    incoming->slot = database->placed ? 1 - database->placed_slot : 0;
    log_name = log_names[incoming->slot];
    if (incoming->log != NULL) {
        rc = file_rename(database, LOG_BEFORE, log_name);
        if (rc == -ENOTEMPTY || rc == -EEXIST) { /* of one that is over */
            log_remove(database, incoming->slot);
            rc = file_rename(database, LOG_BEFORE, log_name);
        }
        if (rc == -ENOENT) /* the last try came so far */
            rc = 0;
    }
    if (rc == 0)
        rc = file_rename(database, PAGES_BEFORE, pages_names[incoming->slot]);
    incoming->placing = rc == 0;
    return rc;
}

int placing_prepare(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[INCOMING_PATH_BYTES];
    int rc = pages_finish(database);

    if (rc == 0)
        rc = log_sync(incoming->log != NULL ? incoming->log : database->log);
    if (rc == 0)
        rc = names_take(database);
    if (rc == 0)
        rc = logdir_sync(database);
    if (rc < 0)
        return rc;
    incoming_path(database, mark_names[incoming->slot], path);
    return hashes_save(&incoming->hashes, data_fd(database), path,
                       &database->lineage, incoming->page_bytes,
                       &incoming->position);
}

void placing_path(const struct database *database,
                  char ret_path[INCOMING_PATH_BYTES])
{
    incoming_path(database, pages_names[database->incoming.slot], ret_path);
}

/* Readers see what no log here explains. */
static void distrust(struct database *database)
{
    database->doubt = true;
    database->meta.flags &= ~(META_COPIED | META_CLEAN);
    if (notes_save_meta(database) < 0)
        notes_fails(database);
}

void placing_undo(struct database *database)
{
    struct incoming *incoming = &database->incoming;

    if (!incoming->placing)
        return;
    if (incoming->published)
        distrust(database);
    if (mark_remove(database, incoming->slot) < 0)
        notes_fails(database);
    (void)file_rename(database, pages_names[incoming->slot], PAGES_BEFORE);
    if (incoming->log != NULL)
        (void)file_rename(database, log_names[incoming->slot], LOG_BEFORE);
    incoming->placing = incoming->published = false;
}

/* ---- placed -------------------------------------------------------------- */

/* The copy before, whose mark is still there, is replaced, too. */
static int earlier_remove(struct database *database)
{
    int rc;

    if (!database->placed || database->placed_slot == database->incoming.slot)
        return 0;
    rc = mark_remove(database, database->placed_slot);
    if (rc == 0)
        (void)file_unlink(database, pages_names[database->placed_slot]);
    return rc;
}

int placing_take_log(struct database *database)
{
    struct incoming *incoming = &database->incoming;
    char path[INCOMING_PATH_BYTES];
    int rc = earlier_remove(database);

    if (rc == 0 && incoming->log != NULL) {
        incoming_path(database, log_names[incoming->slot], path);
        rc = logdir_replace(database, incoming->log, path);
    }
    if (rc < 0)
        return rc;
    incoming->log = NULL;
    pthread_mutex_lock(&database->lock);
    database->placed = true;
    database->placed_txid = incoming->position.txid;
    pthread_mutex_unlock(&database->lock);
    database->placed_slot = incoming->slot;
    database->hashes_saved_txid = 0; /* those of what was there before */
    return 0;
}

void placing_end(struct database *database, txid_t base)
{
    int rc;

    if (!database->placed || database->hashes_saved_txid != base)
        return;
    /* File and log have their names without the mark. */
    rc = os_sync_parent(data_fd(database), database->backing,
                        SITE_INCOMING_PLACE);
    if (rc == 0 || rc == -ENOENT) /* without content there is no file */
        rc = logdir_sync(database);
    if (rc == 0)
        rc = mark_remove(database, database->placed_slot);
    if (rc < 0) {
        notes_fails(database);
        return;
    }
    (void)file_unlink(database, pages_names[database->placed_slot]);
    pthread_mutex_lock(&database->lock);
    database->placed = false;
    pthread_mutex_unlock(&database->lock);
}

/* ---- recovery ----------------------------------------------------------- */

bool placing_waits(int data_fd, const char *directory)
{
    char mark[INCOMING_PATH_BYTES], pages[INCOMING_PATH_BYTES];
    struct stat status;

    for (unsigned slot = 0; slot < SLOTS; slot++) {
        snprintf(mark, sizeof mark, "%s/%s", directory, mark_names[slot]);
        snprintf(pages, sizeof pages, "%s/%s", directory, pages_names[slot]);
        if (fstatat(data_fd, mark, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            fstatat(data_fd, pages, &status, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    }
    return false;
}

static int mark_load(struct database *database, unsigned slot,
                     struct hashes *ret_hashes, uint32_t *ret_page_bytes,
                     struct position *ret_position)
{
    char path[INCOMING_PATH_BYTES];

    incoming_path(database, mark_names[slot], path);
    return hashes_load(ret_hashes, data_fd(database), path, &database->lineage,
                       ret_page_bytes, ret_position);
}

int placing_load(struct database *database, struct hashes *ret_hashes,
                 uint32_t *ret_page_bytes, struct position *ret_position)
{
    return mark_load(database, database->placed_slot, ret_hashes,
                     ret_page_bytes, ret_position);
}

/* Of one whose log is in its place the file has all: it was just done with. */
static void slot_forget(struct database *database, unsigned slot)
{
    bool done = !file_is_there(database, log_names[slot]);
    const char *pages = pages_names[slot];

    if (file_is_there(database, mark_names[slot]) &&
        mark_remove(database, slot) < 0)
        notes_fails(database);
    log_remove(database, slot);
    if (!file_is_there(database, pages))
        return;
    if (done || file_is_there(database, PAGES_BEFORE))
        (void)file_unlink(database, pages);
    else
        (void)file_rename(database, pages, PAGES_BEFORE);
}

void placing_forget(struct database *database)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        slot_forget(database, slot);
    database->placed = false;
}

void placing_no_delta(struct database *database)
{
    if (file_is_there(database, PAGES_BEFORE))
        (void)file_unlink(database, PAGES_BEFORE);
}

/* Is the mark of this slot the one that counts? Of two the later one, whose
 * log is not in its place yet: before it is, the earlier mark goes. */
static int slot_look(struct database *database, unsigned slot)
{
    struct position position;
    struct hashes hashes = {0};
    uint32_t page_bytes;
    int rc = mark_load(database, slot, &hashes, &page_bytes, &position);

    hashes_free(&hashes);
    if (rc == -ENOENT || rc == -EBADMSG)
        return 0;
    if (rc < 0)
        return rc;
    if (database->placed && !file_is_there(database, log_names[slot]))
        return 0;
    database->placed = true;
    database->placed_slot = slot;
    database->placed_txid = position.txid;
    return 0;
}

/* The log that counts is the copy's. */
static int log_find(struct database *database)
{
    const char *name = log_names[database->placed_slot];
    int rc;

    if (!file_is_there(database, name))
        return 0; /* it is in its place, or is the database's own */
    rc = logdir_put_aside(database);
    if (rc == 0)
        rc = file_rename(database, name, "log");
    return rc < 0 ? rc : logdir_sync(database);
}

int placing_find(struct database *database)
{
    int rc = 0;

    for (unsigned slot = 0; slot < SLOTS && rc == 0; slot++)
        rc = slot_look(database, slot);
    if (rc < 0)
        return rc;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (!database->placed || slot != database->placed_slot)
            slot_forget(database, slot);
    return database->placed ? log_find(database) : 0;
}

/* One placement that is done again. */
struct again {
    struct hashes table; /* of the copy's pages */
    struct position position;
    uint32_t page_bytes;
    struct os_file pages;
    struct hashes missing; /* 1: must be one of those that the log redoes */
    uint8_t *page;
};

/* The page as file has it, into again->page; false: it is not the copy's. */
static int page_read(struct again *again, const struct os_file *file,
                     pgno_t pgno, bool *ret_equal)
{
    int rc = os_pread_full(file, again->page, again->page_bytes,
                           (uint64_t)(pgno - 1) * again->page_bytes,
                           SITE_RECOVER_READ);

    *ret_equal = rc == 0 && page_hash(pgno, again->page, again->page_bytes) ==
                                hashes_get(&again->table, pgno);
    return rc == -ENODATA ? 0 : rc; /* ends before it */
}

/* In the file or in the copy, else the log must have it. */
static int page_redo(struct database *database, struct again *again,
                     pgno_t pgno)
{
    bool equal = false;
    int rc = page_read(again, &database->main_file, pgno, &equal);

    if (rc < 0 || equal)
        return rc;
    if (again->pages.open)
        rc = page_read(again, &again->pages, pgno, &equal);
    if (rc == 0 && !equal) {
        hashes_set(&again->missing, pgno, 1);
        return 0;
    }
    if (pgno == 1 && is_replica(database))
        page_header_set_wal(again->page);
    return rc < 0
               ? rc
               : os_pwrite(&database->main_file, again->page, again->page_bytes,
                           (uint64_t)(pgno - 1) * again->page_bytes,
                           SITE_RECOVER_WRITE);
}

static int pages_redo(struct database *database, struct again *again)
{
    uint32_t count = again->table.count;
    struct progress progress;
    int rc = 0;

    progress_begin(&progress, "copy put in its place", "pages", clock_now_ns());
    for (pgno_t pgno = 1; pgno <= count && rc == 0; pgno++) {
        progress_step(&progress, database, pgno, count);
        if (hashes_get(&again->table, pgno) != 0)
            rc = page_redo(database, again, pgno);
    }
    progress_end(&progress, database, rc);
    return rc < 0 ? rc
                  : os_ftruncate(&database->main_file,
                                 (uint64_t)count * again->page_bytes,
                                 SITE_RECOVER_WRITE);
}

/* The log has been redone: those that were not found are there now? */
static int missing_check(struct database *database, struct again *again)
{
    uint32_t page_bytes = database->view.page_bytes;
    int rc = 0;

    if (page_bytes != again->page_bytes)
        return 0; /* all of it was replaced */
    for (pgno_t pgno = 1; pgno <= again->missing.count && rc == 0; pgno++) {
        uint64_t hash = hashes_get(&database->hashes, pgno);

        if (hashes_get(&again->missing, pgno) == 0 || hash == 0)
            continue;
        rc = os_pread_full(&database->main_file, again->page, page_bytes,
                           (uint64_t)(pgno - 1) * page_bytes,
                           SITE_RECOVER_READ);
        if (rc == -ENODATA ||
            (rc == 0 && page_hash(pgno, again->page, page_bytes) != hash))
            rc = -EBADMSG;
    }
    return rc;
}

static int again_open(struct database *database, struct again *again, bool live)
{
    char path[INCOMING_PATH_BYTES];
    int rc = placing_load(database, &again->table, &again->page_bytes,
                          &again->position);

    incoming_path(database, pages_names[database->placed_slot], path);
    if (rc == 0 && again->table.count == 0) /* its content is the log's */
        again->page_bytes = database->view.page_bytes;
    if (rc == 0)
        rc = os_alloc(&again->page, again->page_bytes, SITE_RECOVER_READ);
    if (rc == 0)
        rc = hashes_reserve(&again->missing, again->table.count);
    if (rc == 0)
        rc = os_open(&again->pages, data_fd(database), path, O_RDONLY, 0,
                     SITE_RECOVER_OPEN);
    if (rc == -ENOENT) /* it was renamed, and is the file */
        rc = 0;
    return rc < 0 ? rc : recover_open_file(database, live, true);
}

/* What the file holds is written down before the mark goes. */
static int redo_end(struct database *database)
{
    struct position *position = &database->view.position;
    int rc;

    replica_save_hashes(database, position, database->view.page_bytes);
    if (database->hashes_saved_txid != position->txid)
        return -EIO;
    database->meta.base_txid = position->txid;
    database->meta.flags |= META_COPIED;
    rc = notes_save_meta(database);
    if (rc == 0)
        placing_end(database, position->txid);
    return rc;
}

int placing_redo(struct database *database, bool live)
{
    struct again again = {0};
    int rc;

    if (database->view.page_bytes == 0)
        return redo_end(database); /* no content: no file */
    rc = again_open(database, &again, live);
    if (rc == 0)
        rc = pages_redo(database, &again);
    if (rc == 0)
        rc = redo_into_file(database, again.position.txid + 1);
    if (rc == 0)
        rc = missing_check(database, &again);
    if (rc == 0 && !live)
        rc = os_sync_parent(data_fd(database), database->backing,
                            SITE_RECOVER_SYNC);
    os_close(&database->main_file);
    os_close(&again.pages);
    os_free(&again.page);
    hashes_free(&again.table);
    hashes_free(&again.missing);
    return rc < 0 ? rc : redo_end(database);
}

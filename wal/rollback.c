/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/rollback.c - see rollback.h.
 *
 * Not every commit operation is a commit: a rollback after a spill and the
 * playback of a hot journal end in the same call. A playback with an FSYNC
 * shows as a prepared record that is followed by another FSYNC(db) or whose
 * pages are not in the file; one without shows as pages that did not change.
 *
 * Connections may differ in journal mode and level, and then each commit may
 * be told in another way, or not at all (MEMORY and OFF without a sync). So
 * `explained` follows the file: how it looked when the commit that the
 * position has was done. SQLite counts commits in page 1: a commit that finds
 * more than its own there has a predecessor that nobody told of, and all pages
 * are read in its place. What is known is as it was at the commit operation,
 * not as the worker finds it later: by then there may have been others.
 */
#include "wal/rollback.h"

#include "wal/emit.h"
#include "wal/journal.h"
#include "wal/notes.h"
#include "wal/reread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define INLINE_MAX_BYTES (64u << 20) /* pages collected at a commit op */
#define VERIFY_PAGES 16u             /* of a prepared commit */

static void journal_path(const struct database *database, char *path,
                         size_t size)
{
    snprintf(path, size, "%s-journal", database->backing);
}

/* Page size and count as the database file itself says now. */
static int main_header(const struct os_file *file, uint32_t *ret_page_bytes,
                       uint32_t *ret_size_pages, bool *ret_wal)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;
    uint64_t size;
    ssize_t n = os_pread(file, bytes, sizeof bytes, 0, SITE_ROLLBACK_READ);
    int rc;

    if (n < 0)
        return (int)n;
    if (page_header_decode(bytes, (size_t)n, &header) < 0)
        return -ENODATA; /* empty, or no database yet */
    rc = os_size(file, &size, SITE_ROLLBACK_READ);
    if (rc < 0)
        return rc;
    *ret_page_bytes = header.page_bytes;
    *ret_wal = header.wal;
    /* The header may say less than the file has (VACUUM cuts after the
     * commit), never more. */
    size /= header.page_bytes;
    *ret_size_pages = header.size_pages != 0 && header.size_pages < size
                          ? header.size_pages
                          : (uint32_t)size;
    return 0;
}

struct file_source {
    const struct os_file *file;
    uint32_t page_bytes;
};

static int file_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                      const uint8_t **ret_image)
{
    struct file_source *source = context;
    ssize_t n = os_pread(source->file, buffer, source->page_bytes,
                         (uint64_t)(pgno - 1) * source->page_bytes,
                         SITE_ROLLBACK_READ);

    if (n < 0)
        return (int)n;
    memset(buffer + n, 0, source->page_bytes - (size_t)n);
    *ret_image = buffer;
    return 0;
}

/* The pages to look at: the journal's set, or all of them. ret_all: no commit
 * operation will follow, it is a commit already. */
static int changed_pages(struct database *database, uint32_t page_bytes,
                         uint32_t size_pages, pgno_t **ret_pgnos,
                         uint32_t *ret_count, bool *ret_all)
{
    struct journal_changes changes = {0};
    struct os_file journal = {0};
    char path[DATABASE_NAME_MAX + 32];
    int rc = -ENOENT;

    *ret_all = false;
    journal_path(database, path, sizeof path);
    /* Without hashes of what was there before, every page is news. */
    if (database->hashes.count > 0 || database->view.position.txid == 0)
        rc = os_open(&journal, database->catalog->config.data_fd, path,
                     O_RDONLY, 0, SITE_ROLLBACK_OPEN);
    if (rc == 0 && !database->needs_reread)
        rc = journal_read(&journal, &database->main_file, size_pages,
                          UINT32_MAX, &changes);
    else if (rc == 0 && journal_is_hot(&journal) != 1)
        rc = -ENOENT; /* an old one; this transaction has none */
    os_close(&journal);
    if (rc == 0 && !database->needs_reread &&
        changes.page_bytes == page_bytes) {
        *ret_pgnos = changes.pages;
        *ret_count = (uint32_t)changes.count;
        return 0;
    }
    journal_changes_free(&changes);
    *ret_all = rc == -ENOENT;
    return reread_all_pages(size_pages, page_bytes, ret_pgnos, ret_count);
}

static int prepare_emit(struct database *database, uint32_t page_bytes,
                        uint32_t size_pages)
{
    struct file_source file = {&database->main_file, page_bytes};
    struct emit_source source = {.fetch = file_fetch, .context = &file};
    struct emit_plan plan = {
        .flags = RECORD_PREPARED,
        .commits = 1,
        .page_bytes = page_bytes,
        .size_pages = size_pages,
        .drop_unchanged = true,
    };
    bool all, emitted;
    int rc = changed_pages(database, page_bytes, size_pages, &source.pgnos,
                           &source.count, &all);

    if (rc < 0)
        return rc;
    if (database->view.page_bytes != 0 &&
        database->view.page_bytes != page_bytes) {
        plan.flags |= RECORD_SNAPSHOT;
        plan.drop_unchanged = false;
    }
    if (all) /* no journal: there will be no commit operation either */
        plan.flags = (plan.flags & ~(uint32_t)RECORD_PREPARED) | RECORD_REREAD;
    rc = emit(database, &plan, &source, &emitted);
    os_free(&source.pgnos);
    if (rc == 0 && all)
        rollback_explained(database);
    if (rc == 0 && all && emitted && !database->told_no_journal) {
        database->told_no_journal = true;
        notes_event(database, DATABASE_EVENT_CHANGED,
                    "commits without a journal (journal_mode=MEMORY or OFF): "
                    "each compares every page; WAL is faster and safer");
    }
    return rc;
}

/* Is there at most one commit between the two? */
static bool follows(const struct meta_fingerprint *before,
                    const struct meta_fingerprint *after)
{
    return before->inode == after->inode &&
           after->change_counter - before->change_counter <= 1;
}

static void prepared_undecide(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    database->prepared.decided = false;
    pthread_mutex_unlock(&database->lock);
}

/* A prepared commit that nobody decided was played back. From here on nobody
 * decides on it: who ends a transaction meanwhile leaves its pages. */
static int prepared_give_up(struct database *database)
{
    bool decided, covered;
    int rc;

    if (!database->prepared.present)
        return 0;
    pthread_mutex_lock(&database->lock);
    decided = database->prepared.decided;
    database->prepared.decided = true;
    pthread_mutex_unlock(&database->lock);
    if (decided)
        return -EAGAIN;
    covered = database->prepared.covers_reread;
    rc = emit_resolve(database, false, NULL);
    if (rc < 0)
        prepared_undecide(database);
    else
        database->needs_reread |= covered;
    return rc;
}

/* A commit is done, or about to be, whose note was not handled yet. */
static bool is_noted(struct database *database)
{
    bool noted;

    pthread_mutex_lock(&database->lock);
    noted = database->committing > 0 || !list_is_empty(&database->notes);
    pthread_mutex_unlock(&database->lock);
    return noted;
}

int rollback_prepare(struct database *database)
{
    struct meta_fingerprint now;
    uint32_t page_bytes, size_pages;
    bool wal;
    int rc;

    ASSERT_ON_WORKER();
    if (is_noted(database))
        return -EAGAIN; /* the one before comes first */
    rc = main_header(&database->main_file, &page_bytes, &size_pages, &wal);
    if (rc == -ENODATA)
        return 0;
    if (rc == 0)
        rc = meta_fingerprint_of(&database->main_file, &now);
    if (rc == 0 && !follows(&database->explained, &now))
        database->needs_reread = true;
    if (rc == 0)
        rc = prepared_give_up(database);
    if (rc == 0)
        rc = prepare_emit(database, page_bytes, size_pages);
    if (rc < 0)
        return rc;
    database->prepared.file = now;
    database->prepared.covers_reread = database->needs_reread;
    database->needs_reread = false;
    return 0;
}

/* True when the pages of the prepared commit are what the file holds: it is a
 * commit, not a playback that nobody synced. */
static bool prepared_is_in_file(struct database *database,
                                const struct os_file *file)
{
    uint64_t values[VERIFY_PAGES];
    pgno_t pgnos[VERIFY_PAGES];
    uint32_t count, page_bytes;
    uint8_t *page;
    bool same = true;

    pthread_mutex_lock(&database->lock);
    page_bytes = database->prepared.header.page_bytes;
    count = database->prepared.count;
    count = count > VERIFY_PAGES ? VERIFY_PAGES : count;
    for (uint32_t i = 0; i < count; i++) {
        pgnos[i] = database->prepared.pgnos[i];
        values[i] = database->prepared.values[i];
    }
    pthread_mutex_unlock(&database->lock);
    page = malloc(page_bytes);
    for (uint32_t i = 0; page != NULL && same && i < count; i++) {
        struct file_source source = {file, page_bytes};
        const uint8_t *image = page;

        if (file_fetch(&source, pgnos[i], page, &image) == 0)
            same = page_hash(pgnos[i], image, page_bytes) == values[i];
    }
    free(page);
    return same;
}

static int changes_read(struct changes *changes, const struct os_file *file,
                        const pgno_t *pgnos, size_t count)
{
    struct file_source source = {file, changes->page_bytes};
    const uint8_t *image;
    int rc = 0;

    changes->pgnos = calloc(count + 1, sizeof *changes->pgnos);
    changes->images = malloc(count * changes->page_bytes + 1);
    if (changes->pgnos == NULL || changes->images == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++) {
        changes->pgnos[i] = pgnos[i];
        rc = file_fetch(&source, pgnos[i],
                        changes->images + i * changes->page_bytes, &image);
    }
    changes->count = (uint32_t)count;
    return rc;
}

/* synchronous=OFF: everything is read here and now, while the application
 * still holds EXCLUSIVE. Failing that, the database is re-read later. */
static struct note *changes_collect(const struct os_file *journal,
                                    const struct os_file *file)
{
    struct note *note = note_new(NOTE_CHANGES);
    struct journal_changes set = {0};
    struct changes *changes = calloc(1, sizeof *changes);
    bool wal;
    int rc;

    if (note == NULL || changes == NULL) {
        free(changes);
        note_free(note);
        return NULL;
    }
    note->changes = changes;
    rc = main_header(file, &changes->page_bytes, &changes->size_pages, &wal);
    if (rc == 0)
        rc = journal_read(journal, file, changes->size_pages,
                          INLINE_MAX_BYTES / changes->page_bytes, &set);
    if (rc == 0)
        rc = changes_read(changes, file, set.pages, set.count);
    journal_changes_free(&set);
    if (rc < 0)
        note->kind = NOTE_REREAD;
    return note;
}

struct note *rollback_collect(struct database *database,
                              const struct os_file *journal)
{
    struct os_file file = {0};
    struct note *note = NULL;
    bool prepared, attached;
    int hot;

    pthread_mutex_lock(&database->lock);
    prepared = database->prepared.present && !database->prepared.decided;
    attached = database->view.state == DATABASE_ATTACHED;
    pthread_mutex_unlock(&database->lock);
    if (attached)
        return NULL;
    hot = journal->open ? journal_is_hot(journal) : -EBADF;
    if (os_open(&file, database->catalog->config.data_fd, database->backing,
                O_RDONLY, 0, SITE_ROLLBACK_OPEN) < 0 ||
        (hot < 0 && !prepared)) {
        note = note_new(NOTE_REREAD); /* what it does nobody can tell */
    } else if (prepared) {
        note = note_new(NOTE_RESOLVE);
        if (note != NULL && !prepared_is_in_file(database, &file))
            note->rc = -ECANCELED;
    } else if (hot == 1) {
        note = changes_collect(journal, &file);
    }
    if (note == NULL && (prepared || hot != 0))
        notes_post(database, NULL); /* no memory for it: a re-read, too */
    if (note != NULL && file.open &&
        meta_fingerprint_of(&file, &note->after) < 0)
        note->after = (struct meta_fingerprint){0};
    os_close(&file);
    pthread_mutex_lock(&database->lock);
    database->committing += note != NULL;
    if (note != NULL && note->kind == NOTE_RESOLVE)
        database->prepared.decided = true;
    pthread_mutex_unlock(&database->lock);
    return note;
}

void rollback_collected(struct database *database, struct note *note, int rc)
{
    pthread_mutex_lock(&database->lock);
    database->committing -= note != NULL;
    if (note != NULL && rc >= 0)
        list_push_back(&database->notes, &note->link);
    else if (note != NULL && note->kind == NOTE_RESOLVE)
        database->prepared.decided = false; /* not done: it is as before */
    database->modified = true; /* a check that was put off is due */
    pthread_mutex_unlock(&database->lock);
    if (rc < 0)
        note_free(note);
    notes_wake(database);
}

bool rollback_is_pending(struct database *database)
{
    return is_noted(database) || database->prepared.present;
}

int rollback_overtake(struct database *database)
{
    struct list *link, *safe, covered;

    list_init(&covered);
    pthread_mutex_lock(&database->lock);
    LIST_EACH(link, safe, &database->notes)
    {
        if (LIST_ENTRY(link, struct note, link)->kind == NOTE_CHANGES) {
            list_remove(link);
            list_push_back(&covered, link);
        }
    }
    pthread_mutex_unlock(&database->lock);
    while ((link = list_pop(&covered)) != NULL)
        note_free(LIST_ENTRY(link, struct note, link));
    return prepared_give_up(database);
}

/* Nobody writes between the FSYNC of a commit and its end: another FSYNC (sync
 * FILE) made the PREPARED of one that was still being written. */
static bool is_all_prepared(const struct database *database,
                            const struct note *note)
{
    return database->prepared.present &&
           meta_fingerprint_is_equal(&database->prepared.file, &note->after);
}

int rollback_resolve(struct database *database, const struct note *note)
{
    bool whole = is_all_prepared(database, note), commit = note->rc == 0;
    bool covered = database->prepared.covers_reread;
    int rc = 0;

    if (database->prepared.present)
        rc = emit_resolve(database, commit && whole, NULL);
    if (rc == 0 && (commit ? !whole : covered))
        database->needs_reread = true;
    if (rc < 0) {
        /* Nobody will decide again: the re-read that is due gives it up. */
        prepared_undecide(database);
        return rc;
    }
    /* Played back or rolled back: it must be as it was. */
    if (note->rc < 0 &&
        note->after.change_counter != database->explained.change_counter)
        database->needs_reread = true;
    database->explained = note->after;
    return 0;
}

static int changes_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                         const uint8_t **ret_image)
{
    const struct changes *changes = context;
    size_t low = 0, high = changes->count;

    (void)buffer;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (changes->pgnos[middle] < pgno)
            low = middle + 1;
        else
            high = middle;
    }
    ASSERT(low < changes->count && changes->pgnos[low] == pgno);
    *ret_image = changes->images + low * changes->page_bytes;
    return 0;
}

int rollback_changes(struct database *database, const struct note *note)
{
    struct changes *changes = note->changes;
    struct emit_plan plan = {
        .commits = 1,
        .page_bytes = changes->page_bytes,
        .size_pages = changes->size_pages,
        .drop_unchanged = true,
    };
    struct emit_source source = {
        .count = changes->count, .fetch = changes_fetch, .context = changes};
    bool emitted;
    int rc;

    /* Prepared: by a sync that was no commit's, while this one ended. */
    if (database->needs_reread || database->prepared.present ||
        !follows(&database->explained, &note->after) ||
        (database->view.page_bytes != 0 &&
         database->view.page_bytes != changes->page_bytes)) {
        database->needs_reread = true; /* the re-read covers this one too */
        return 0;
    }
    rc = os_alloc(&source.pgnos, (changes->count + 1) * sizeof(pgno_t),
                  SITE_ROLLBACK_ALLOC);
    if (rc < 0)
        return rc;
    memcpy(source.pgnos, changes->pgnos, changes->count * sizeof(pgno_t));
    rc = emit(database, &plan, &source, &emitted);
    os_free(&source.pgnos);
    if (rc == 0)
        database->explained = note->after;
    return rc;
}

/* Of the request under way on this FUSE worker. */
static _Thread_local struct meta_fingerprint before_cut;

static void fingerprint_now(struct database *database,
                            struct meta_fingerprint *ret_fingerprint)
{
    *ret_fingerprint = (struct meta_fingerprint){0};
    (void)meta_take_fingerprint(database->catalog->config.data_fd,
                                database->backing, ret_fingerprint);
}

void rollback_cutting(struct database *database)
{
    fingerprint_now(database, &before_cut);
}

void rollback_was_cut(struct database *database)
{
    struct note *note = note_new(NOTE_CUT);

    if (note != NULL) {
        note->before = before_cut;
        fingerprint_now(database, &note->after);
    }
    notes_post(database, note);
}

void rollback_cut(struct database *database, const struct note *note)
{
    if (meta_fingerprint_is_equal(&database->explained, &note->before))
        database->explained = note->after;
}

void rollback_explained(struct database *database)
{
    fingerprint_now(database, &database->explained);
}

bool rollback_is_open(struct database *database)
{
    struct os_file journal = {0};
    char path[DATABASE_NAME_MAX + 32];
    uint64_t size = 0;
    bool open;

    journal_path(database, path, sizeof path);
    open = os_open(&journal, database->catalog->config.data_fd, path, O_RDONLY,
                   0, SITE_ROLLBACK_OPEN) == 0 &&
           os_size(&journal, &size, SITE_ROLLBACK_OPEN) == 0 && size > 0;
    if (open) {
        uint8_t first[8] = {0}, zero[8] = {0};

        /* PERSIST leaves a zeroed header behind. While a transaction runs it
         * is zero, too, until the first sync; then the database is not yet
         * written, and the check below finds nothing. */
        (void)os_pread(&journal, first, sizeof first, 0, SITE_ROLLBACK_OPEN);
        open = memcmp(first, zero, sizeof zero) != 0;
    }
    os_close(&journal);
    return open;
}

void rollback_check(struct database *database)
{
    struct meta_fingerprint now;

    if (database->needs_reread ||
        meta_take_fingerprint(database->catalog->config.data_fd,
                              database->backing, &now) < 0 ||
        now.size_bytes == 0)
        return;
    /* Each of these ends in a commit operation, which asks for a check. Looked
     * for afterwards: what the file shows of one that began is under way. */
    if (rollback_is_open(database) || rollback_is_pending(database))
        return;
    if (!meta_fingerprint_is_equal(&now, &database->explained))
        database->needs_reread = true;
}

int rollback_pass(struct database *database)
{
    struct meta_fingerprint now;
    int rc = meta_take_fingerprint(database->catalog->config.data_fd,
                                   database->backing, &now);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    if (database->prepared.present && follows(&database->prepared.file, &now) &&
        now.change_counter == database->prepared.file.change_counter)
        return 0; /* its commit is not done, or just now */
    if (rollback_is_open(database) || rollback_is_pending(database))
        return now.change_counter == database->explained.change_counter
                   ? 0 /* nothing but what is under way */
                   : -EAGAIN;
    rollback_check(database);
    return 0;
}

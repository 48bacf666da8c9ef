/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/recover_wal.c - see recover_wal.h. Walks the WAL's checksum chain as
 * SQLite's own recovery does; what it would commit is what we capture.
 *
 * One thing it would not commit although it was: SQLite 3.40 leaves published
 * frames without salts and checksum behind (frame.h), and ends its recovery
 * before them. Where the log has what they committed, the log goes on from
 * the checksum that it holds, and the generation is redone from it.
 */
#include "wal/recover_wal.h"

#include "wal/attach.h"
#include "wal/emit.h"
#include "wal/generation.h"
#include "wal/notes.h"
#include "wal/rollback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/* What the chain of a WAL file says. */
struct wal_walk {
    struct database *database;
    struct os_file file;
    struct frame_wal_header header;
    bool missing;           /* there is no such file */
    bool valid;             /* header is good */
    uint32_t after;         /* captured up to this frame */
    bool after_seen;        /* frame `after` has the logged checksum */
    bool unsummed;          /* the chain ends before a frame without one */
    uint32_t last_commit;   /* last valid commit frame */
    uint32_t commits;       /* after `after` */
    uint32_t size_pages;    /* as of last_commit */
    struct frame_chain end; /* chain at last_commit */
    uint32_t *newest;       /* newest[pgno - 1]: frame after `after`; 0 */
    uint32_t newest_count;
};

static int newest_set(struct wal_walk *walk, pgno_t pgno, uint32_t frame)
{
    if (pgno > walk->newest_count) {
        uint32_t count = pgno + pgno / 2 + 64;
        uint32_t *grown = realloc(walk->newest, (size_t)count * sizeof *grown);

        if (grown == NULL)
            return site_fail(SITE_RECOVER_READ, NULL, ENOMEM);
        memset(grown + walk->newest_count, 0,
               (size_t)(count - walk->newest_count) * sizeof *grown);
        walk->newest = grown;
        walk->newest_count = count;
    }
    walk->newest[pgno - 1] = frame;
    return 0;
}

/* Second walk, over what is committed: which frame has each page. */
static int walk_collect(struct wal_walk *walk)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame frame;

    for (uint32_t i = walk->after + 1; i <= walk->last_commit; i++) {
        int rc = os_pread_full(&walk->file, bytes, sizeof bytes,
                               frame_offset(i, walk->header.page_bytes),
                               SITE_RECOVER_READ);

        if (rc == 0) {
            frame_decode(bytes, &frame);
            rc = newest_set(walk, frame.pgno, i);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* First walk: from frame `i` on, how far is it valid, and does it agree with
 * the log? */
static int walk_chain(struct wal_walk *walk, struct frame_chain chain,
                      uint32_t i, const struct record_header *last)
{
    uint32_t page_bytes = walk->header.page_bytes;
    size_t stride = FRAME_HEADER_BYTES + page_bytes;
    struct frame frame;
    uint8_t *bytes;
    int rc = os_alloc(&bytes, stride, SITE_RECOVER_READ);

    walk->after_seen = walk->after < i;
    for (; rc == 0; i++) {
        ssize_t n = os_pread(&walk->file, bytes, stride,
                             frame_offset(i, page_bytes), SITE_RECOVER_READ);

        if (n < (ssize_t)stride)
            break;
        frame_decode(bytes, &frame);
        walk->unsummed = frame_is_unsummed(&frame);
        if (memcmp(frame.salt, walk->header.salt, FRAME_SALT_BYTES) != 0 ||
            frame.pgno == 0 || !frame_check(&chain, bytes, page_bytes))
            break;
        if (i == walk->after)
            walk->after_seen = frame.checksum[0] == last->wal_checksum[0] &&
                               frame.checksum[1] == last->wal_checksum[1];
        if (frame.commit_pages == 0)
            continue;
        walk->last_commit = i;
        walk->size_pages = frame.commit_pages;
        walk->end = chain;
        walk->commits += i > walk->after;
    }
    os_free(&bytes);
    return rc;
}

static int walk_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                      const uint8_t **ret_image)
{
    struct wal_walk *walk = context;
    uint32_t page_bytes = walk->header.page_bytes;

    *ret_image = buffer;
    return os_pread_full(&walk->file, buffer, page_bytes,
                         frame_offset(walk->newest[pgno - 1], page_bytes) +
                             FRAME_HEADER_BYTES,
                         SITE_RECOVER_READ);
}

static struct walindex_header walk_end(const struct wal_walk *walk)
{
    struct walindex_header end = {
        .page_bytes = walk->header.page_bytes,
        .max_frame = walk->last_commit,
        .size_pages = walk->size_pages,
        .chain = walk->end,
    };

    memcpy(end.salt, walk->header.salt, FRAME_SALT_BYTES);
    return end;
}

static int tail_emit(struct wal_walk *walk)
{
    struct walindex_header end = walk_end(walk);
    struct emit_plan plan = {
        .commits = walk->commits,
        .page_bytes = walk->header.page_bytes,
        .size_pages = walk->size_pages,
        .wal = &end,
    };
    struct emit_source source = {.fetch = walk_fetch, .context = walk};
    bool emitted;
    int rc = os_alloc(&source.pgnos,
                      ((size_t)walk->newest_count + 1) * sizeof(pgno_t),
                      SITE_RECOVER_READ);

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < walk->newest_count && i < walk->size_pages; i++)
        if (walk->newest[i] != 0)
            source.pgnos[source.count++] = i + 1;
    rc = emit(walk->database, &plan, &source, &emitted);
    os_free(&source.pgnos);
    return rc;
}

static int tail_capture(struct wal_walk *walk)
{
    struct database *database = walk->database;
    char text[80];
    int rc = 0;

    if (walk->commits > 0) {
        rc = walk_collect(walk);
        if (rc == 0)
            rc = tail_emit(walk);
        if (rc < 0)
            return rc;
        snprintf(text, sizeof text, "%u commits captured from the WAL",
                 walk->commits);
        notes_event(database, DATABASE_EVENT_RECOVERED, text);
    }
    database->attach_at = walk_end(walk);
    database->attach_at_valid = walk->last_commit > 0;
    return 0;
}

/* Where the log's last WAL record left off in this WAL; false: elsewhere. */
static bool walk_place(struct wal_walk *walk, const struct record_header *last)
{
    walk->after = last->wal_frame;
    return memcmp(last->wal_salt, walk->header.salt, FRAME_SALT_BYTES) == 0;
}

static int walk_open(struct wal_walk *walk)
{
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];
    struct database *database = walk->database;
    char path[DATABASE_NAME_MAX + 32];
    ssize_t n;
    int rc;

    snprintf(path, sizeof path, "%s-wal", database->backing);
    rc = os_open(&walk->file, database->catalog->config.data_fd, path, O_RDONLY,
                 0, SITE_RECOVER_OPEN);
    walk->missing = rc == -ENOENT;
    if (walk->missing)
        return 0;
    if (rc < 0)
        return rc;
    n = os_pread(&walk->file, bytes, sizeof bytes, 0, SITE_RECOVER_READ);
    if (n < 0)
        return (int)n;
    walk->valid = n == (ssize_t)sizeof bytes &&
                  frame_wal_header_decode(bytes, &walk->header) == 0;
    return 0;
}

/*
 * No WAL to go by. Page 1 changes with every commit of a rollback mode (but
 * in EXCLUSIVE locking mode): as we know it, nothing happened. In WAL mode it
 * says nothing: an empty WAL is one whose content we captured, but one that
 * is gone was copied back by somebody else, with what he wrote.
 */
static int check_page_one(struct database *database, bool wal_missing)
{
    uint32_t page_bytes = database->view.page_bytes;
    struct page_header header = {0};
    uint8_t *page = NULL;
    ssize_t n = 0;
    int rc;

    if (page_bytes == 0) {
        database->needs_reread = true;
        return 0;
    }
    rc = attach_main(database);
    if (rc == 0)
        rc = os_alloc(&page, page_bytes, SITE_RECOVER_READ);
    if (rc < 0)
        return rc;
    n = os_pread(&database->main_file, page, page_bytes, 0, SITE_RECOVER_READ);
    if (n != (ssize_t)page_bytes ||
        page_header_decode(page, (size_t)n, &header) < 0 ||
        (header.wal && wal_missing) ||
        page_hash(1, page, page_bytes) != hashes_get(&database->hashes, 1))
        database->needs_reread = true;
    os_free(&page);
    os_close(&database->main_file);
    return 0;
}

/* Is each page of the database file what the log's end says? */
static int file_is_at_log_end(struct database *database, bool *ret_is)
{
    const struct hashes *hashes = &database->hashes;
    uint32_t page_bytes = database->view.page_bytes;
    uint8_t *page = NULL;
    bool is = true;
    int rc = attach_main(database);

    if (rc == 0)
        rc = os_alloc(&page, page_bytes, SITE_RECOVER_READ);
    for (pgno_t pgno = 1; rc == 0 && is && pgno <= hashes->count; pgno++) {
        ssize_t n;

        if (hashes_get(hashes, pgno) == 0)
            continue; /* never written */
        n = os_pread(&database->main_file, page, page_bytes,
                     (uint64_t)(pgno - 1) * page_bytes, SITE_RECOVER_READ);
        rc = n < 0 ? (int)n : 0;
        is = n == (ssize_t)page_bytes &&
             page_hash(pgno, page, page_bytes) == hashes_get(hashes, pgno);
    }
    os_free(&page);
    os_close(&database->main_file);
    *ret_is = is;
    return rc;
}

/*
 * Another generation than the log's last record was in: after a power cut that
 * is the rule, the log was synced by the last checkpoint. A generation begins
 * when all before it is in the file, and nothing of it gets there before the
 * log has it: so if the file is at the log's end, this is what came next, and
 * keeps the names that replicas know it by. Salts prove nothing, they often
 * begin at random; and a checkpointer with synchronous=OFF waits for nobody.
 */
static int next_generation(struct wal_walk *walk,
                           const struct record_header *last)
{
    struct database *database = walk->database;
    bool is_next = false;
    int rc = 0;

    if (!database->needs_reread && database->hashes.count > 0 &&
        walk->header.page_bytes == database->view.page_bytes)
        rc = file_is_at_log_end(database, &is_next);
    if (rc < 0 || !is_next) {
        database->needs_reread = true;
        return rc;
    }
    walk->after = 0;
    rc = walk_chain(walk, walk->header.chain, 1, last);
    return rc < 0 ? rc : tail_capture(walk);
}

/* Behind the frames without a checksum: what follows the log is captured,
 * then the generation redone from it. All pages are compared in the end. */
static int log_knows_better(struct wal_walk *walk,
                            const struct record_header *last, bool live)
{
    struct database *database = walk->database;
    struct frame_chain chain = walk->header.chain;
    int rc;

    chain.word[0] = last->wal_checksum[0];
    chain.word[1] = last->wal_checksum[1];
    walk->last_commit = walk->after;
    walk->commits = 0;
    rc = walk_chain(walk, chain, walk->after + 1, last);
    if (rc == 0)
        rc = tail_capture(walk);
    if (rc == 0)
        rc = generation_redo(database, walk->header.salt, live);
    database->attach_at_valid = false;
    database->needs_reread = true;
    if (rc == 0)
        notes_event(database, DATABASE_EVENT_RECOVERED,
                    "SQLite left commits in the WAL that its recovery does "
                    "not see; redone from the log, the WAL is kept in lost/");
    return rc == -ENOENT ? 0 : rc;
}

/*
 * The WAL ends before the log does, and is what the log says as far as it
 * goes: a power cut took frames that nobody had synced, and not the records of
 * them. What the log has was committed, and replicas may have it.
 */
static int log_goes_on(struct wal_walk *walk, bool *ret_redone)
{
    struct database *database = walk->database;
    struct record_header place;
    int rc = generation_place(database, walk->header.salt, walk->last_commit,
                              &place);

    *ret_redone = false;
    walk->after = place.wal_frame;
    walk->commits = 0;
    if (rc == 0)
        rc = walk_chain(walk, walk->header.chain, 1, &place);
    if (rc < 0 || !walk->after_seen)
        return rc;
    rc = generation_redo(database, walk->header.salt, false);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc; /* its beginning was trimmed */
    *ret_redone = true;
    notes_event(database, DATABASE_EVENT_RECOVERED,
                "the WAL ends before the log does; redone from the log, the "
                "WAL is kept in lost/");
    return 0;
}

/* Log and WAL part. */
static int log_and_wal_part(struct wal_walk *walk,
                            const struct record_header *last)
{
    struct database *database = walk->database;
    bool redone = false;
    int rc = 0;

    if (walk->unsummed && !database->needs_reread)
        return log_knows_better(walk, last, false);
    if (walk->last_commit < walk->after && !database->needs_reread)
        rc = log_goes_on(walk, &redone);
    if (rc == 0 && !redone)
        database->needs_reread = true;
    return rc;
}

int recover_wal(struct database *database)
{
    struct record_header *last = &database->applied_header;
    struct wal_walk walk = {.database = database};
    int rc = walk_open(&walk);

    if (rc == 0 && !walk.valid) {
        rc = check_page_one(database, walk.missing);
    } else if (rc == 0 && !walk_place(&walk, last)) {
        rc = next_generation(&walk, last);
    } else if (rc == 0) {
        rc = walk_chain(&walk, walk.header.chain, 1, last);
        if (rc == 0 && !walk.after_seen)
            rc = log_and_wal_part(&walk, last);
        else if (rc == 0 && !database->needs_reread)
            rc = tail_capture(&walk);
    }
    os_close(&walk.file);
    free(walk.newest);
    if (rc == 0 && database->needs_reread)
        notes_event(database, DATABASE_EVENT_RECOVERED,
                    "the log does not explain what is in the files; "
                    "re-reading");
    else if (rc == 0)
        rollback_explained(database);
    return rc;
}

int recover_unsummed(struct database *database)
{
    struct record_header *last = &database->applied_header;
    struct wal_walk walk = {.database = database};
    int rc = walk_open(&walk);

    if (rc == 0 && walk.valid && database->hashes.count > 0 &&
        walk_place(&walk, last)) {
        rc = walk_chain(&walk, walk.header.chain, 1, last);
        if (rc == 0 && !walk.after_seen && walk.unsummed)
            rc = log_knows_better(&walk, last, true);
    }
    os_close(&walk.file);
    free(walk.newest);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/verify.c - see verify.h. */
#include "wal/verify.h"

#include "base/clock.h"
#include "wal/notes.h"
#include "wal/readview.h"
#include "wal/replica.h"

#include <errno.h>
#include <stdio.h>

#define LOOKS_MAX 8

static bool is_primary(const struct database *database)
{
    return database->catalog->config.role == DATABASE_PRIMARY;
}

static void damage_show(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    database->view.damaged_pages = database->damage_count;
    database->view.damaged_pgno = database->damage_count > 0
                                      ? database->damage[0].pgno
                                      : 0;
    pthread_mutex_unlock(&database->lock);
    notes_changed(database);
}

/* False: it was known. */
static bool damage_add(struct database *database, pgno_t pgno)
{
    for (unsigned i = 0; i < database->damage_count; i++)
        if (database->damage[i].pgno == pgno) {
            database->damage[i].seen = true;
            return false;
        }
    if (database->damage_count == DAMAGE_MAX)
        return false; /* enough to see how bad it is */
    database->damage[database->damage_count++] = (struct damage){pgno, true};
    damage_show(database);
    return true;
}

/* Until a copy is in place a start must not believe the side file either: what
 * it says is not what lies in the pages. Nor the file: a log that reaches back
 * to the first transaction gives the same hashes again. */
static void distrust(struct database *database)
{
    struct meta *meta = &database->meta;
    bool known = (meta->flags & (META_CLEAN | META_COPIED)) == 0;
    char path[96];

    snprintf(path, sizeof path, "%s/hashes", database->directory);
    (void)os_unlink(database->catalog->config.data_fd, path, SITE_VERIFY_PAGE);
    meta->flags &= ~(META_CLEAN | META_COPIED);
    if ((known ? notes_keep_meta(database) : notes_save_meta(database)) < 0)
        notes_fails(database);
}

static void tell_damaged(struct database *database, pgno_t pgno)
{
    char text[128];

    snprintf(text, sizeof text, "page %u of %u is not what was written", pgno,
             database->hashes.count);
    (void)site_fail(SITE_VERIFY_PAGE, text, EBADMSG);
    if (damage_add(database, pgno))
        notes_event(database, DATABASE_EVENT_DAMAGED, text);
    if (is_primary(database))
        return;
    distrust(database);
    replica_stop(database, text); /* the primary sends it again */
}

static int look(struct database *database, pgno_t pgno, uint64_t *ret_hash)
{
    struct readview view;
    uint8_t *page = NULL;
    int rc = readview_open(&view, database);

    if (rc < 0)
        return rc;
    if (view.page_bytes == 0)
        rc = -EAGAIN; /* emptied: wait for what becomes of it */
    if (rc == 0)
        rc = os_alloc(&page, view.page_bytes, SITE_VERIFY_PAGE);
    if (rc == 0)
        rc = readview_page(&view, pgno, page);
    if (rc == 0)
        *ret_hash = page_hash(pgno, page, view.page_bytes);
    os_free(&page);
    readview_close(&view);
    return rc < 0 ? rc : readview_settle(database);
}

int verify_suspect(struct database *database, pgno_t pgno, uint64_t hash)
{
    uint64_t table = hashes_get(&database->hashes, pgno);

    for (int i = 0; i < LOOKS_MAX; i++) {
        uint64_t now = 0, table_before = table;
        int rc = look(database, pgno, &now);

        if (rc < 0)
            return rc;
        table = hashes_get(&database->hashes, pgno);
        if (table == 0 || now == table || now == table_before)
            return 0; /* gone, or as it should be */
        if (now == hash && table == table_before) {
            tell_damaged(database, pgno);
            return -EBADMSG;
        }
        hash = now;
    }
    return 0; /* never the same twice: it is being written */
}

/* ---- a range --------------------------------------------------------------*/

struct suspect {
    pgno_t pgno;
    uint64_t hash;
};

#define SUSPECTS_MAX 1024u

struct look_over {
    struct database_request *request;
    struct suspect suspects[SUSPECTS_MAX];
    uint32_t count;
};

static int pages_look(struct look_over *over, struct readview *view)
{
    struct hashes *hashes = &view->database->hashes;
    struct database_request *request = over->request;
    uint32_t most = (uint32_t)(request->max_bytes / view->page_bytes) + 1;
    pgno_t pgno = request->from_pgno;
    uint8_t *page = NULL;
    int rc = os_alloc(&page, view->page_bytes, SITE_VERIFY_PAGE);

    for (; rc == 0 && pgno <= hashes->count && most > 0 &&
           over->count < SUSPECTS_MAX;
         pgno++, most--) {
        uint64_t table = hashes_get(hashes, pgno), hash;

        if (table == 0)
            continue; /* never written */
        rc = readview_page(view, pgno, page);
        if (rc < 0)
            break;
        hash = page_hash(pgno, page, view->page_bytes);
        if (hash != table)
            over->suspects[over->count++] = (struct suspect){pgno, hash};
    }
    request->next_pgno = pgno <= hashes->count ? pgno : 0;
    os_free(&page);
    return rc;
}

static int suspects_look(struct database *database, struct look_over *over)
{
    int rc = readview_settle(database);

    for (uint32_t i = 0; i < over->count && rc == 0; i++) {
        const struct suspect *one = &over->suspects[i];

        if (one->hash == hashes_get(&database->hashes, one->pgno))
            continue; /* committed just now */
        rc = verify_suspect(database, one->pgno, one->hash);
        if (rc == -EBADMSG) {
            over->request->damaged_pages++;
            if (over->request->damaged_pgno == 0)
                over->request->damaged_pgno = one->pgno;
            rc = 0;
        }
    }
    return rc;
}

/* A pass begins: what it does not find again is not damaged any more. */
static void pass_begin(struct database *database)
{
    for (unsigned i = 0; i < database->damage_count; i++)
        database->damage[i].seen = false;
}

static void pass_end(struct database *database)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < database->damage_count; i++)
        if (database->damage[i].seen)
            database->damage[kept++] = database->damage[i];
    database->damage_count = kept;
    pthread_mutex_lock(&database->lock);
    database->view.verified_wall_ns = clock_wall_ns();
    pthread_mutex_unlock(&database->lock);
    damage_show(database);
}

static int range_open(struct database *database, struct look_over *over)
{
    struct readview view = {0};
    int rc = readview_ready(database);

    if (rc == 0)
        rc = readview_open(&view, database);
    if (rc < 0)
        return rc;
    rc = view.page_bytes == 0 ? -EBUSY /* emptied, and left so */
                              : pages_look(over, &view);
    over->request->size_pages = database->hashes.count;
    over->request->page_bytes = view.page_bytes;
    readview_close(&view);
    return rc;
}

int verify_range(struct database *database, struct database_request *request)
{
    struct look_over *over;
    int rc;

    request->damaged_pages = 0;
    request->damaged_pgno = 0;
    request->next_pgno = 0;
    if (database->closing)
        return -ECANCELED;
    if (database->view.copying || database->stopped ||
        database->view.state == DATABASE_HELD_BACK)
        return -EBUSY; /* content is on its way, or nobody knows it yet */
    if (atomic_load(&database->catalog->asking))
        return -EBUSY; /* we would wait for the mount, which waits for us */
    if (request->from_pgno == 1)
        pass_begin(database);
    rc = os_alloc(&over, sizeof *over, SITE_VERIFY_PAGE);
    if (rc < 0)
        return rc;
    over->request = request;
    if (database->hashes.count > 0)
        rc = range_open(database, over);
    if (rc == 0)
        rc = suspects_look(database, over);
    if (rc == 0 && request->next_pgno == 0)
        pass_end(database);
    if (database->view.state == DATABASE_CLOSED)
        os_close(&database->main_file);
    os_free(&over);
    return rc;
}

void verify_forget(struct database *database)
{
    if (database->damage_count == 0)
        return;
    database->damage_count = 0;
    damage_show(database);
}

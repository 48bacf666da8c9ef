/* SPDX-License-Identifier: Apache-2.0 */
/* wal/reread.c - see reread.h. */
#include "wal/reread.h"

#include "base/clock.h"
#include "wal/capture.h"
#include "wal/emit.h"
#include "wal/notes.h"
#include "wal/readview.h"
#include "wal/rollback.h"

#include <errno.h>

#define PREPARED_OLD_NS (100 * NS_PER_MS) /* for that long, without an end */

int reread_all_pages(uint32_t size_pages, uint32_t page_bytes,
                     pgno_t **ret_pgnos, uint32_t *ret_count)
{
    pgno_t lock_byte = page_bytes == 0 ? 0 : page_lock_byte(page_bytes);
    pgno_t *pgnos;
    uint32_t count = 0;
    int rc = os_alloc(&pgnos, ((size_t)size_pages + 1) * sizeof *pgnos,
                      SITE_REREAD_ALLOC);

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < size_pages; i++)
        if (i + 1 != lock_byte)
            pgnos[count++] = i + 1;
    *ret_pgnos = pgnos;
    *ret_count = count;
    return 0;
}

static int fetch_page(void *context, pgno_t pgno, uint8_t *buffer,
                      const uint8_t **ret_image)
{
    struct readview *view = context;

    *ret_image = buffer;
    return readview_page(view, pgno, buffer);
}

static int reread_emit(struct database *database, struct readview *view)
{
    bool fresh = database->hashes.count == 0, emitted;
    struct emit_plan plan = {
        .flags = RECORD_REREAD | (fresh ? RECORD_SNAPSHOT : 0),
        .commits = 1,
        .page_bytes = view->page_bytes,
        .size_pages = view->size_pages,
        .drop_unchanged = true,
        .wal = view->wal ? &view->header : NULL,
    };
    struct emit_source source = {.fetch = fetch_page, .context = view};
    int rc;

    /* Another page size is another database file altogether. */
    if (database->view.page_bytes != 0 &&
        database->view.page_bytes != view->page_bytes) {
        plan.flags |= RECORD_SNAPSHOT;
        plan.drop_unchanged = false;
    }
    rc = reread_all_pages(view->size_pages, view->page_bytes, &source.pgnos,
                          &source.count);
    if (rc < 0)
        return rc;
    rc = emit(database, &plan, &source, &emitted);
    os_free(&source.pgnos);
    return rc;
}

int reread(struct database *database)
{
    struct readview view;
    int rc = readview_open(&view, database);

    if (rc < 0)
        return rc;
    if (!view.wal)
        rc = rollback_overtake(database);
    if (rc == 0 && view.page_bytes != 0)
        rc = reread_emit(database, &view);
    if (rc == 0 && view.wal)
        capture_start(database, &view.header);
    else if (rc == 0)
        rollback_explained(database);
    readview_close(&view);
    if (rc < 0)
        return rc;
    database->needs_reread = false;
    pthread_mutex_lock(&database->lock);
    database->view.rereads++;
    pthread_mutex_unlock(&database->lock);
    return 0;
}

void reread_if_abandoned(struct database *database)
{
    const struct prepared *prepared = &database->prepared;
    int rc = 0;

    if (!database->needs_reread && prepared->present &&
        clock_wall_ns() - prepared->header.commit_wall_ns > PREPARED_OLD_NS)
        rc = reread(database);
    if (rc < 0 && rc != -EAGAIN)
        database->needs_reread = true;
}

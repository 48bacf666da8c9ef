/* SPDX-License-Identifier: Apache-2.0 */
/* node/node_verify.c - see node_verify.h. */
#include "node/node_verify.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/os.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_BYTES (4u << 20) /* a writer in a rollback mode waits for one */

/* ---- asked for ------------------------------------------------------------*/

struct look {
    struct control_call *call; /* NULL: canceled */
    struct database_request request;
};

static void look_answer(const struct look *look)
{
    const struct database_request *request = &look->request;
    const char *name = database_name(request->database);

    if (request->rc == 0)
        control_reply(look->call,
                      json_pack("{s:I, s:I, s:I, s:I, s:I}", "next",
                                (json_int_t)request->next_pgno, "of_pages",
                                (json_int_t)request->size_pages, "page_bytes",
                                (json_int_t)request->page_bytes, "damaged",
                                (json_int_t)request->damaged_pages,
                                "damaged_page",
                                (json_int_t)request->damaged_pgno));
    else if (request->rc == -EBUSY)
        control_fail(look->call, CONTROL_BUSY,
                     "verify: %s: there is nothing to compare now: it is "
                     "being copied from the primary, held back, or emptied, or "
                     "this primary asks its replicas first; try again when "
                     "`tidemark status` says it is ok",
                     name);
    else
        control_fail(look->call, CONTROL_UNAVAILABLE,
                     "verify: %s: it cannot be read: %s; see the log", name,
                     strerror(-request->rc));
}

static void look_on_done(struct database_request *request)
{
    struct look *look = CONTAINER_OF(request, struct look, request);

    if (look->call != NULL)
        look_answer(look);
    free(look);
}

void node_verify(struct catalog *catalog, struct control_call *call,
                 const char *name, pgno_t from_pgno)
{
    struct database *database = catalog_find(catalog, name);
    struct look *look = database == NULL ? NULL : calloc(1, sizeof *look);

    ASSERT_ON_LOOP();
    call->data = look;
    if (database == NULL) {
        control_fail(call, CONTROL_NOT_FOUND,
                     "verify: no database %s on this node; `tidemark status` "
                     "lists them",
                     name);
        return;
    }
    if (look == NULL) {
        control_fail(call, CONTROL_UNAVAILABLE, "verify: out of memory");
    } else {
        look->call = call;
        look->request = (struct database_request){.kind = DATABASE_VERIFY,
                                                  .on_done = look_on_done,
                                                  .from_pgno = from_pgno,
                                                  .max_bytes = RANGE_BYTES};
        database_submit(database, &look->request);
    }
    database_unref(database);
}

void node_verify_cancel(struct control_call *call)
{
    struct look *look = call->data;

    look->call = NULL;
    control_fail(call, CONTROL_STOPPING, "verify: the node is stopping");
}

/* ---- the scrub ------------------------------------------------------------*/

static void scrub_on_done(struct database_request *request);

static void names_drop(struct scrub *scrub)
{
    struct list *link;

    while ((link = list_pop(&scrub->names)) != NULL)
        free(LIST_ENTRY(link, struct scrub_name, link));
}

static void name_take(void *context, struct database *database)
{
    struct scrub *scrub = context;
    size_t size = strlen(database_name(database)) + 1;
    struct scrub_name *name = malloc(sizeof *name + size);

    if (name == NULL)
        return; /* the next pass has it */
    list_init(&name->link);
    memcpy(name->text, database_name(database), size);
    list_push_back(&scrub->names, &name->link);
}

/* The next database that is still there; false: that was the pass. */
static bool database_next(struct scrub *scrub)
{
    struct list *link;

    database_unref(scrub->database);
    scrub->database = NULL;
    while (scrub->database == NULL &&
           (link = list_pop(&scrub->names)) != NULL) {
        struct scrub_name *name = LIST_ENTRY(link, struct scrub_name, link);

        scrub->database = catalog_find(scrub->catalog, name->text);
        free(name);
    }
    scrub->next_pgno = 1;
    return scrub->database != NULL;
}

static void range_submit(struct scrub *scrub)
{
    scrub->request = (struct database_request){.kind = DATABASE_VERIFY,
                                               .on_done = scrub_on_done,
                                               .from_pgno = scrub->next_pgno,
                                               .max_bytes = RANGE_BYTES};
    scrub->submitted = true;
    database_submit(scrub->database, &scrub->request);
}

static void scrub_on_timer(uv_timer_t *timer)
{
    struct scrub *scrub = CONTAINER_OF(timer, struct scrub, timer);

    if (scrub->submitted)
        return;
    if (scrub->database == NULL) { /* a pass begins */
        catalog_each(scrub->catalog, name_take, scrub);
        if (!database_next(scrub)) {
            uv_timer_start(timer, scrub_on_timer, scrub->every_ms, 0);
            return;
        }
    }
    range_submit(scrub);
}

/* The next range when the rate allows it, the next pass when it is time. */
static void scrub_on_done(struct database_request *request)
{
    struct scrub *scrub = CONTAINER_OF(request, struct scrub, request);
    bool more = request->rc == 0 && request->next_pgno != 0;
    uint64_t bytes, wait_ms;

    scrub->submitted = false;
    if (scrub->closing) {
        database_unref(scrub->database);
        scrub->database = NULL;
        return;
    }
    bytes = more ? (uint64_t)(request->next_pgno - request->from_pgno) *
                       request->page_bytes
                 : 0;
    scrub->next_pgno = request->next_pgno;
    wait_ms = bytes * 1000 / scrub->rate_bytes;
    if (!more && !database_next(scrub))
        wait_ms = scrub->every_ms;
    uv_timer_start(&scrub->timer, scrub_on_timer, wait_ms, 0);
}

void scrub_open(struct scrub *scrub, uv_loop_t *loop, struct catalog *catalog,
                uint64_t every_ms, uint64_t rate_bytes)
{
    uint64_t first_ms = every_ms < SCRUB_FIRST_MS ? every_ms : SCRUB_FIRST_MS;

    *scrub = (struct scrub){.open = true,
                            .catalog = catalog,
                            .every_ms = every_ms,
                            .rate_bytes = rate_bytes};
    list_init(&scrub->names);
    uv_timer_init(loop, &scrub->timer);
    if (every_ms > 0)
        uv_timer_start(&scrub->timer, scrub_on_timer, first_ms, 0);
}

void scrub_close(struct scrub *scrub)
{
    if (!scrub->open)
        return;
    scrub->closing = true;
    names_drop(scrub);
    if (!scrub->submitted) {
        database_unref(scrub->database);
        scrub->database = NULL;
    }
    uv_close((uv_handle_t *)&scrub->timer, NULL);
}

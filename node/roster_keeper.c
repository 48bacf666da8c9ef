/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/roster_keeper.c - see roster_keeper.h.
 *
 *   changed -> encoded on the loop -> written by the pool -> changed again?
 *
 * A write that fails is told once and tried again at each tick. A stop waits
 * for the write under way, because the loop does.
 */
#include "node/roster_keeper.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/logger.h"
#include "base/os.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* On a thread of the pool. */
static void keeper_write(uv_work_t *work)
{
    struct roster_keeper *keeper = CONTAINER_OF(work, struct roster_keeper,
                                                work);

    keeper->rc = os_replace(keeper->data_fd, ROSTER_FILE_NAME, keeper->text,
                            strlen(keeper->text), SITE_ROSTER_WRITE);
    if (keeper->rc < 0)
        snprintf(keeper->failure, sizeof keeper->failure, "%s", site_failure());
}

static void failed(struct roster_keeper *keeper, const char *reason)
{
    keeper->changed = true;
    if (!keeper->failing)
        log_error("node.roster", "file=%s reason=%s text=%s", ROSTER_FILE_NAME,
                  logger_quote(reason),
                  logger_quote("it is tried again each second; nodes that "
                               "are new would be forgotten by a restart"));
    keeper->failing = true;
}

static void keeper_save(struct roster_keeper *keeper);

static void keeper_written(uv_work_t *work, int status)
{
    struct roster_keeper *keeper = CONTAINER_OF(work, struct roster_keeper,
                                                work);

    ASSERT_ON_LOOP();
    keeper->writing = false;
    free(keeper->text);
    keeper->text = NULL;
    if (status != 0 || keeper->rc < 0) {
        failed(keeper, status != 0 ? uv_strerror(status) : keeper->failure);
        return;
    }
    if (keeper->failing)
        log_info("node.roster", "file=%s text=written", ROSTER_FILE_NAME);
    keeper->failing = false;
    keeper_save(keeper);
}

static void keeper_save(struct roster_keeper *keeper)
{
    int rc;

    if (keeper->writing || !keeper->changed)
        return;
    keeper->text = roster_file_encode(&keeper->roster);
    if (keeper->text == NULL) {
        failed(keeper, strerror(ENOMEM));
        return;
    }
    rc = uv_queue_work(keeper->loop, &keeper->work, keeper_write,
                       keeper_written);
    ASSERT(rc == 0); /* it only refuses to have no callback */
    keeper->changed = false;
    keeper->writing = true;
}

static void keeper_on_changed(void *context)
{
    struct roster_keeper *keeper = context;

    ASSERT_ON_LOOP();
    keeper->changed = true;
    if (!keeper->failing) /* then the tick's pace is fast enough */
        keeper_save(keeper);
}

int roster_keeper_open(struct roster_keeper *keeper, uv_loop_t *loop,
                       int data_fd, const char *own)
{
    int rc;

    *keeper = (struct roster_keeper){.loop = loop, .data_fd = data_fd};
    roster_init(&keeper->roster, keeper, NULL);
    rc = roster_file_load(data_fd, own, &keeper->roster);
    keeper->roster.on_changed = keeper_on_changed;
    return rc;
}

void roster_keeper_tick(struct roster_keeper *keeper)
{
    keeper_save(keeper);
}

void roster_keeper_close(struct roster_keeper *keeper)
{
    ASSERT(!keeper->writing);
    roster_close(&keeper->roster);
}

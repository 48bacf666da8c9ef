/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/pace.c - see pace.h.
 *
 *   EVENTS --PACE_BEGIN commits in one look--> PACED
 *      ^                                         |
 *      +------PACE_RARE looks with few commits---+
 */
#include "wal/pace.h"

#include "base/clock.h"
#include "wal/attach.h"
#include "wal/notes.h"
#include "wal/worker.h"

#define PACE_BEGIN 4              /* commits in one look: this is load */
#define PACE_NS (200 * NS_PER_US) /* between two looks */
#define PACE_FEW 2                /* fewer per look are rare */
#define PACE_RARE 10              /* so many such looks: back to events */

static void paced_begin(struct database *database)
{
    attach_unwatch(database);
    database->capture.paced = true;
    database->capture.rare_looks = 0;
}

/* False when events cannot be had: then we go on looking by ourselves. */
static bool paced_end(struct database *database)
{
    if (attach_watch(database, true) < 0) {
        notes_fails(database);
        return false;
    }
    database->capture.paced = false;
    return true;
}

bool pace_step(struct database *database, uint64_t commits)
{
    struct capture *capture = &database->capture;
    uint64_t now = clock_now_ns();

    ASSERT_ON_WORKER();
    if (!capture->paced) {
        /* Where synchronous=OFF lets a WAL start over unseen, late is lost. */
        if (commits < PACE_BEGIN || database->capture.had_gap)
            return false;
        paced_begin(database);
    } else if (now < capture->pace_ns) {
        worker_at(database, capture->pace_ns);
        return false; /* somebody else had a reason to step */
    } else if (commits >= PACE_FEW) {
        capture->rare_looks = 0;
    } else if (++capture->rare_looks >= PACE_RARE && paced_end(database)) {
        return true;
    }
    capture->pace_ns = now + PACE_NS;
    worker_at(database, capture->pace_ns);
    return false;
}

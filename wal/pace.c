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
#include "wal/capture.h"
#include "wal/notes.h"
#include "wal/worker.h"

#define PACE_BEGIN 4              /* commits in one look: this is load */
#define PACE_NS (200 * NS_PER_US) /* between two looks */
#define PACE_FEW 2                /* fewer per look are rare */
#define PACE_RARE 10              /* so many such looks: back to events */
#define SPIN_NS (40 * NS_PER_US)  /* second look, without sleeping */
#define SPIN_SKIP 7 /* writes not worth a spin after one that was in vain */
#define LOOK_FIRST_NS (50 * NS_PER_US) /* second look, then doubling ... */
#define LOOK_LAST_NS (1 * NS_PER_MS)   /* ... up to this pause, */
#define LOOK_GIVE_UP_NS (2 * NS_PER_S) /* a dead writer: until next event */

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

/*
 * With NORMAL the publish follows the write within microseconds, with FULL
 * only after the FSYNC: whoever spins on the write then burns a core for
 * nothing, each time. One in vain says which kind of writer this is.
 */
static bool spin_pays(struct capture *capture, bool modified, bool synced)
{
    if (synced)
        return true;
    if (!modified)
        return false;
    if (capture->spin_skip == 0)
        return true;
    capture->spin_skip--;
    return false;
}

static bool spin(struct database *database)
{
    uint64_t until = clock_now_ns() + SPIN_NS;

    do {
        if (capture_has_news(database))
            return true;
        thread_relax();
    } while (clock_now_ns() < until);
    return false;
}

static void look_later(struct database *database)
{
    struct capture *capture = &database->capture;
    uint64_t now = clock_now_ns();

    if (capture->look_until_ns == 0) {
        capture->look_until_ns = now + LOOK_GIVE_UP_NS;
        capture->look_pause_ns = LOOK_FIRST_NS;
    }
    if (now >= capture->look_until_ns)
        return;
    worker_at(database, now + capture->look_pause_ns);
    capture->look_pause_ns *= 2;
    if (capture->look_pause_ns > LOOK_LAST_NS)
        capture->look_pause_ns = LOOK_LAST_NS;
}

bool pace_look(struct database *database, bool modified, bool synced)
{
    struct capture *capture = &database->capture;
    bool published;

    ASSERT_ON_WORKER();
    if (capture->paced || (!modified && !synced && capture->look_until_ns == 0))
        return false;
    if (modified || synced)
        capture->look_until_ns = 0; /* somebody lives: all our patience anew */
    if (!capture_is_pending(database)) {
        capture->look_until_ns = 0;
        return false;
    }
    if (spin_pays(capture, modified, synced)) {
        published = spin(database);
        if (!synced)
            capture->spin_skip = published ? 0 : SPIN_SKIP;
    } else {
        published = capture_has_news(database);
    }
    if (published)
        capture->look_until_ns = 0;
    else
        look_later(database);
    return published;
}

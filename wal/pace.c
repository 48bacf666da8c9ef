/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/pace.c - see pace.h.
 *
 *   EVENTS --PACE_BEGIN commits in RATE_NS--> PACED
 *      ^                                        |
 *      +-----fewer than PACE_END in RATE_NS-----+
 */
#include "wal/pace.h"

#include "base/clock.h"
#include "wal/attach.h"
#include "wal/capture.h"
#include "wal/notes.h"
#include "wal/worker.h"

#define PACE_FIRST_NS (200 * NS_PER_US) /* between two looks, and at least */
#define PACE_LAST_NS (1 * NS_PER_MS)    /* at most, */
#define PACE_GROW_NS (100 * NS_PER_US)  /* longer after each look that found */
#define PACE_FEW 4                      /* no more commits than this */
#define RATE_NS (2 * NS_PER_MS)         /* commits are counted for so long */
#define PACE_BEGIN 5                    /* so many in that time: this is load */
#define PACE_END 3                      /* fewer: it is over */
#define SPIN_NS (40 * NS_PER_US)        /* second look, without sleeping */
#define SPIN_SKIP 7 /* writes not worth a spin after one that was in vain */
#define LOOK_FIRST_NS (50 * NS_PER_US) /* second look, then doubling ... */
#define LOOK_LAST_NS (1 * NS_PER_MS)   /* ... up to this pause, */
#define LOOK_GIVE_UP_NS (2 * NS_PER_S) /* a dead writer: until next event */

static void set_paced(struct database *database, bool paced)
{
    pthread_mutex_lock(&database->lock);
    database->paced = paced;
    pthread_mutex_unlock(&database->lock);
}

static void paced_begin(struct database *database)
{
    struct capture *capture = &database->capture;

    attach_unwatch(database);
    capture->pace_pause_ns = PACE_FIRST_NS;
    capture->pace_txid = database->view.position.txid;
    set_paced(database, true);
}

/* A batch costs each node some wake-ups, however small it is. Many commits are
 * a large batch soon; few, slow ones (FULL) are waited for a little longer. */
static void pause_adapt(struct database *database)
{
    struct capture *capture = &database->capture;
    txid_t txid = database->view.position.txid;

    if (txid - capture->pace_txid > 2 * PACE_FEW)
        capture->pace_pause_ns /= 2;
    else if (txid - capture->pace_txid <= PACE_FEW)
        capture->pace_pause_ns += PACE_GROW_NS;
    if (capture->pace_pause_ns < PACE_FIRST_NS)
        capture->pace_pause_ns = PACE_FIRST_NS;
    if (capture->pace_pause_ns > PACE_LAST_NS)
        capture->pace_pause_ns = PACE_LAST_NS;
    capture->pace_txid = txid;
}

/* False when events cannot be had: then we go on looking by ourselves. */
static bool paced_end(struct database *database)
{
    if (attach_watch(database, true) < 0) {
        notes_fails(database);
        return false;
    }
    set_paced(database, false);
    return true;
}

/* Counts what was captured since the last call. True when RATE_NS are over:
 * ret_count is how many there were in that time. */
static bool rate_count(struct database *database, uint64_t now,
                       uint64_t *ret_count)
{
    struct capture *capture = &database->capture;
    txid_t txid = database->view.position.txid;
    uint64_t commits = capture->rate_txid == 0 ? 0 : txid - capture->rate_txid;

    capture->rate_txid = txid;
    *ret_count = capture->rate_count;
    if (now - capture->rate_ns < RATE_NS) {
        capture->rate_count += commits;
        return false;
    }
    capture->rate_ns = now;
    capture->rate_count = commits;
    return true;
}

bool pace_step(struct database *database)
{
    struct capture *capture = &database->capture;
    uint64_t now = clock_now_ns(), count;
    bool over = rate_count(database, now, &count);

    ASSERT_ON_WORKER();
    if (!database->paced) {
        /* Where synchronous=OFF lets a WAL start over unseen, late is lost. */
        if (capture->rate_count < PACE_BEGIN || capture->had_gap)
            return false;
        paced_begin(database);
    } else if (over && count < PACE_END && paced_end(database)) {
        return true;
    } else if (now < capture->pace_ns) {
        worker_at(database, capture->pace_ns);
        return false; /* somebody else had a reason to step */
    } else {
        pause_adapt(database);
    }
    capture->pace_ns = now + capture->pace_pause_ns;
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
    if (database->paced ||
        (!modified && !synced && capture->look_until_ns == 0))
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

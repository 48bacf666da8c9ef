/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/feed.c - see feed.h for states and decision.
 *
 * A step works on a copy and puts it back when nothing was wrong, so "on
 * error nothing changes" needs no care anywhere below. Handlers end in
 * send_on() or copy_on(), the places that look at what there is and whether
 * credit allows it.
 *
 * What can go wrong, and where it ends up:
 *   the log was trimmed under a slow replica   a new OPEN, a copy
 *   a read failed (disk, memory, lock)         OPEN NOTHING; a new decision
 *                                              at the next TICK
 *   the page size changed under a copy         the copy starts over
 *   replica's sum differs at our TXID          a new OPEN, a copy
 *   hashes that are not those of the pages     link ended by the driver
 *   expected next
 *   an ack for what was never sent             -EPROTO
 */
#include "replication/core/feed.h"

#include "base/assert.h"
#include "replication/core/decide.h"

#include <errno.h>

#define BIT(state) (1u << (state))

static const unsigned feed_next[FEED_STATES] = {
    [FEED_WAITING] = BIT(FEED_READING) | BIT(FEED_TAIL) | BIT(FEED_STARVED) |
                     BIT(FEED_COPYING) | BIT(FEED_COMPARING) |
                     BIT(FEED_COPY_STARVED) | BIT(FEED_CLOSED),
    [FEED_READING] = BIT(FEED_READING) | BIT(FEED_TAIL) | BIT(FEED_STARVED) |
                     BIT(FEED_WAITING) | BIT(FEED_CLOSED),
    [FEED_TAIL] = BIT(FEED_TAIL) | BIT(FEED_READING) | BIT(FEED_STARVED) |
                  BIT(FEED_WAITING) | BIT(FEED_CLOSED),
    [FEED_STARVED] = BIT(FEED_STARVED) | BIT(FEED_READING) | BIT(FEED_WAITING) |
                     BIT(FEED_CLOSED),
    [FEED_COPYING] = BIT(FEED_COPYING) | BIT(FEED_COPY_STARVED) |
                     BIT(FEED_COMPARING) | BIT(FEED_READING) | BIT(FEED_TAIL) |
                     BIT(FEED_STARVED) | BIT(FEED_WAITING) | BIT(FEED_CLOSED),
    [FEED_COMPARING] = BIT(FEED_COMPARING) | BIT(FEED_COPYING) |
                       BIT(FEED_COPY_STARVED) | BIT(FEED_WAITING) |
                       BIT(FEED_CLOSED),
    [FEED_COPY_STARVED] = BIT(FEED_COPY_STARVED) | BIT(FEED_COPYING) |
                          BIT(FEED_COMPARING) | BIT(FEED_WAITING) |
                          BIT(FEED_CLOSED),
    [FEED_CLOSED] = 0,
};

static const char *const state_names[FEED_STATES] = {
    [FEED_WAITING] = "waiting",
    [FEED_READING] = "reading",
    [FEED_TAIL] = "tail",
    [FEED_STARVED] = "starved",
    [FEED_COPYING] = "copying",
    [FEED_COMPARING] = "comparing",
    [FEED_COPY_STARVED] = "copy-starved",
    [FEED_CLOSED] = "closed",
};

/* One step under way. */
struct step {
    struct feed *feed; /* the copy */
    const struct feed_event *event;
    struct feed_actions *actions;
};

const char *feed_state_name(enum feed_state state)
{
    ASSERT((unsigned)state < FEED_STATES);
    return state_names[state];
}

void feed_init(struct feed *feed, int64_t credit)
{
    *feed = (struct feed){.credit = credit, .next = cursor_after(0)};
}

static bool feed_is_copying(const struct feed *feed)
{
    return feed->state == FEED_COPYING || feed->state == FEED_COMPARING ||
           feed->state == FEED_COPY_STARVED;
}

bool feed_ok(const struct feed *feed)
{
    bool sends = feed->state != FEED_WAITING && feed->state != FEED_CLOSED;

    if ((unsigned)feed->state >= FEED_STATES || feed->next.part == 0)
        return false;
    if (sends && (!feed->heard || feed->serial == 0 || feed->failed))
        return false;
    if (sends && feed->mode == BODY_NOTHING)
        return false;
    if (feed_is_copying(feed) && !(feed->pinned && feed->copy_next > 0))
        return false;
    if (feed->pinned && !body_mode_copies(feed->mode))
        return false;
    if (feed->state == FEED_COMPARING && feed->mode != BODY_DELTA)
        return false;
    /* READING and COPYING may be below 0: what they wait for was asked for
     * when there was credit. A starved one never has any. */
    if (feed->state == FEED_STARVED || feed->state == FEED_COPY_STARVED)
        return feed->credit <= 0;
    return true;
}

static void move(struct feed *feed, enum feed_state state)
{
    ASSERT((feed_next[feed->state] & BIT(state)) != 0);
    feed->state = state;
}

static struct feed_action *act(struct step *step, enum feed_action_kind kind)
{
    struct feed_actions *actions = step->actions;
    struct feed_action *action = &actions->items[actions->count++];

    ASSERT(actions->count <= FEED_ACTIONS_MAX);
    *action = (struct feed_action){.kind = kind};
    return action;
}

/* ---- sending --------------------------------------------------------------*/

static bool next_exists(const struct feed *feed,
                        const struct feed_source *source)
{
    if (feed->next.part > 1 || feed->next.txid <= source->position.txid)
        return true;
    return !feed->next.prepared && feed->next.txid == source->prepared_txid;
}

/* What is sent includes all the copy needs: its log may be trimmed again. */
static void unpin_when_sent(struct step *step)
{
    struct feed *feed = step->feed;

    if (!feed->pinned || feed->copy_next != 0 ||
        feed->next.txid <= feed->copy_end.txid)
        return;
    feed->pinned = false;
    act(step, FEED_DO_PIN);
}

static void send_on(struct step *step)
{
    struct feed *feed = step->feed;
    struct feed_action *action;

    unpin_when_sent(step);
    if (!next_exists(feed, &step->event->source)) {
        move(feed, FEED_TAIL);
        return;
    }
    if (feed->credit <= 0) {
        move(feed, FEED_STARVED);
        return;
    }
    move(feed, FEED_READING);
    action = act(step, FEED_DO_FETCH);
    action->ask = ++feed->ask;
    action->cursor = feed->next;
}

static void copy_on(struct step *step)
{
    struct feed *feed = step->feed;
    struct feed_action *action;

    if (feed->credit <= 0) {
        move(feed, FEED_COPY_STARVED);
        return;
    }
    if (feed->mode == BODY_DELTA && feed->copy_next == feed->range_end) {
        move(feed, FEED_COMPARING);
        action = act(step, FEED_DO_COMPARE);
    } else {
        move(feed, FEED_COPYING);
        action = act(step, FEED_DO_COPY);
        action->end_pgno = feed->range_end;
    }
    action->ask = ++feed->ask;
    action->pgno = feed->copy_next;
}

/* ---- opening --------------------------------------------------------------*/

static struct feed_action *open(struct step *step, enum body_mode mode,
                                enum body_reason reason)
{
    struct feed *feed = step->feed;
    struct feed_action *action = act(step, FEED_DO_OPEN);

    feed->mode = mode;
    feed->reason = reason;
    feed->acked = (struct body_ack){.serial = ++feed->serial};
    action->mode = mode;
    action->reason = reason;
    action->serial = feed->serial;
    return action;
}

/* Back to WAITING: an answer on its way is of no use any more, nor a pin. */
static void stop(struct step *step)
{
    struct feed *feed = step->feed;

    feed->ask++;
    if (feed->pinned)
        act(step, FEED_DO_PIN);
    feed->pinned = false;
    feed->copy_next = 0;
    if (feed->state != FEED_WAITING)
        move(feed, FEED_WAITING);
}

static void open_nothing(struct step *step, enum body_reason reason)
{
    /* Once is enough, however often it is decided again. */
    if (step->feed->mode != BODY_NOTHING)
        open(step, BODY_NOTHING, reason);
}

static void open_resume(struct step *step)
{
    const struct body_database *replica = step->event->replica;
    const struct feed_source *source = &step->event->source;
    struct feed_action *action = open(step, BODY_RESUME, BODY_NONE);

    if (replica != NULL && replica->received_txid == replica->position.txid)
        action->position = replica->position;
    else if (replica != NULL) /* its sum there is not known to anybody yet */
        action->position = (struct position){
            .epoch = history_epoch_of(source->history, replica->received_txid),
            .txid = replica->received_txid,
        };
    step->feed->next = cursor_after(action->position.txid);
    send_on(step);
}

static void open_copy(struct step *step, enum body_mode mode,
                      enum body_reason reason, bool diverged)
{
    const struct feed_source *source = &step->event->source;
    struct feed *feed = step->feed;
    struct feed_action *action;

    /* Pinned before OPEN says where it starts: never promise what the log
     * could lose in between. */
    act(step, FEED_DO_PIN)->txid = source->position.txid + 1;
    action = open(step, mode, reason);
    action->position = source->position;
    action->diverged = diverged;
    feed->pinned = true;
    feed->next = cursor_after(source->position.txid);
    feed->copy_page_bytes = source->page_bytes;
    feed->copy_next = 1;
    feed->range_end = mode == BODY_DELTA ? 1 : 0;
    feed->copy_end = (struct position){0};
    copy_on(step);
}

static void decide(struct step *step)
{
    enum body_reason reason;
    bool diverged;
    enum body_mode mode = decide_open(&step->event->source,
                                      step->event->replica, &reason, &diverged);

    if (mode == BODY_NOTHING)
        open_nothing(step, reason);
    else if (mode == BODY_RESUME)
        open_resume(step);
    else
        open_copy(step, mode, reason, diverged);
}

/* A copy, whatever the histories say; on the same history, so that what it
 * replaces is nobody's lost commit. */
static void copy_as(struct step *step, enum body_mode mode,
                    enum body_reason reason)
{
    const struct feed_source *source = &step->event->source;

    stop(step);
    if (source->ready && decide_may_copy(source, step->event->replica))
        open_copy(step, mode, reason, false);
    else
        open_nothing(step, BODY_BUSY);
}

/* What the replica said when it came is old: it has pages to compare with, too,
 * when it applied something that we sent. */
static void copy_anew(struct step *step, enum body_reason reason)
{
    const struct feed_source *source = &step->event->source;
    enum body_mode mode = step->feed->acked.position.txid > 0
                              ? BODY_DELTA
                              : decide_copy(source, step->event->replica);

    copy_as(step, mode, reason);
}

/* ---- events ---------------------------------------------------------------*/

static int on_heard(struct step *step)
{
    if (step->feed->heard)
        return -EPROTO;
    step->feed->heard = true;
    decide(step);
    return 0;
}

static int on_resync(struct step *step)
{
    struct feed *feed = step->feed;
    enum body_reason reason = step->event->reason;

    if (!feed->heard || step->event->serial > feed->serial)
        return -EPROTO;
    if (reason == BODY_UNWANTED) {
        stop(step);
        move(feed, FEED_CLOSED);
        return 0;
    }
    if (step->event->serial < feed->serial)
        return 0; /* about an OPEN that we have replaced already */
    /* Its content disagrees with records that fit its history: histories
     * cannot tell what is wrong, so they are not asked. */
    if (reason == BODY_SUM || reason == BODY_STOPPED) {
        copy_as(step, decide_copy(&step->event->source, step->event->replica),
                reason);
        return 0;
    }
    stop(step);
    decide(step);
    return 0;
}

static int on_source(struct step *step)
{
    struct feed *feed = step->feed;

    if (feed->state == FEED_WAITING && feed->heard && !feed->failed)
        decide(step);
    else if (feed->state == FEED_TAIL)
        send_on(step);
    return 0;
}

static int on_tick(struct step *step)
{
    step->feed->failed = false;
    return on_source(step);
}

static bool is_awaited(const struct step *step, enum feed_state state)
{
    return step->feed->state == state && step->feed->ask == step->event->ask;
}

static int on_record(struct step *step)
{
    struct feed *feed = step->feed;

    if (!is_awaited(step, FEED_READING))
        return 0;
    switch (cursor_judge(&feed->next, step->event->header)) {
    case CURSOR_GAP:
        copy_anew(step, BODY_TRIMMED);
        return 0;
    case CURSOR_NEXT:
        act(step, FEED_DO_SEND);
        feed->credit -= (int64_t)step->event->bytes;
        cursor_advance(&feed->next, step->event->header);
        break;
    case CURSOR_OLD:
        break;
    }
    send_on(step);
    return 0;
}

static int on_trimmed(struct step *step)
{
    if (is_awaited(step, FEED_READING))
        copy_anew(step, BODY_TRIMMED);
    return 0;
}

static int on_compared(struct step *step)
{
    const struct feed_event *event = step->event;
    struct feed *feed = step->feed;

    if (!is_awaited(step, FEED_COMPARING))
        return 0;
    if (event->next_pgno < feed->copy_next)
        return -EPROTO;
    act(step, FEED_DO_SEND);
    feed->credit -= (int64_t)event->bytes;
    feed->range_end = event->last ? 0 : event->next_pgno;
    if (!event->differs) /* past the last range: pages it has never seen */
        feed->copy_next = event->next_pgno;
    copy_on(step);
    return 0;
}

static int on_chunk(struct step *step)
{
    const struct feed_event *event = step->event;
    struct feed *feed = step->feed;

    if (!is_awaited(step, FEED_COPYING))
        return 0;
    if (event->header != NULL &&
        event->header->page_bytes != feed->copy_page_bytes) {
        copy_anew(step, feed->reason);
        return 0;
    }
    if (event->header != NULL) {
        act(step, FEED_DO_SEND);
        feed->credit -= (int64_t)event->bytes;
    }
    feed->copy_next = event->next_pgno != 0 ? event->next_pgno
                                            : feed->range_end;
    if (feed->copy_next != 0) {
        copy_on(step);
        return 0;
    }
    feed->copy_end = event->position;
    act(step, FEED_DO_COPIED)->position = event->position;
#ifdef CANARY_LATE_START /* records since the end of a copy, not its start */
    feed->next = cursor_after(event->position.txid);
#endif
    send_on(step);
    return 0;
}

static int on_failed(struct step *step)
{
    struct feed *feed = step->feed;

    if (feed->ask != step->event->ask ||
        (feed->state != FEED_READING && feed->state != FEED_COPYING &&
         feed->state != FEED_COMPARING))
        return 0;
    stop(step);
    open_nothing(step, BODY_BUSY);
    feed->failed = true;
    return 0;
}

/* The last TXID that the replica can have heard of under this OPEN. */
static txid_t sent_txid(const struct feed *feed)
{
    return feed->next.prepared ? feed->next.txid : feed->next.txid - 1;
}

static int on_ack(struct step *step)
{
    const struct body_ack *ack = step->event->ack;
    const struct position *ours = &step->event->source.position;
    struct feed *feed = step->feed;

    if (ack->serial > feed->serial)
        return -EPROTO;
    if (ack->serial < feed->serial || feed->state == FEED_WAITING)
        return 0;
    if (ack->received_txid > sent_txid(feed) ||
        ack->durable_txid > ack->received_txid ||
        ack->position.txid > ack->received_txid ||
        ack->position.txid >= feed->next.txid || /* a PREPARED moves nothing */
        ack->position.txid < feed->acked.position.txid)
        return -EPROTO;
    feed->acked = *ack;
    if (ack->position.txid == ours->txid && ours->txid != 0 &&
        ack->position.sum != ours->sum)
        copy_anew(step, BODY_SUM);
    return 0;
}

static int on_credit(struct step *step)
{
    struct feed *feed = step->feed;

    /* More than was ever spent: the window is a promise of both sides. */
    if (step->event->bytes > INT32_MAX ||
        feed->credit > INT32_MAX - (int64_t)step->event->bytes)
        return -EPROTO;
    feed->credit += (int64_t)step->event->bytes;
    if (feed->state == FEED_STARVED)
        send_on(step);
    else if (feed->state == FEED_COPY_STARVED)
        copy_on(step);
    return 0;
}

static int on_dropped(struct step *step)
{
    if (step->feed->heard) {
        stop(step);
        act(step, FEED_DO_DROP);
    }
    move(step->feed, FEED_CLOSED);
    return 0;
}

static int (*const handlers[FEED_EVENTS])(struct step *) = {
    [FEED_HEARD] = on_heard,       [FEED_RESYNC] = on_resync,
    [FEED_SOURCE] = on_source,     [FEED_RECORD] = on_record,
    [FEED_TRIMMED] = on_trimmed,   [FEED_CHUNK] = on_chunk,
    [FEED_COMPARED] = on_compared, [FEED_FAILED] = on_failed,
    [FEED_ACK] = on_ack,           [FEED_CREDIT] = on_credit,
    [FEED_DROPPED] = on_dropped,   [FEED_TICK] = on_tick,
};

int feed_step(struct feed *feed, const struct feed_event *event,
              struct feed_actions *ret_actions)
{
    struct feed_actions actions = {0};
    struct feed next = *feed;
    struct step step = {&next, event, &actions};
    int rc = 0;

    ASSERT((unsigned)event->kind < FEED_EVENTS);
    if (feed->state != FEED_CLOSED)
        rc = handlers[event->kind](&step);
    if (rc < 0)
        return rc;
    ASSERT(feed_ok(&next));
    *feed = next;
    *ret_actions = actions;
    return 0;
}

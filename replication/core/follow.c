/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/follow.c - see follow.h for the states.
 *
 * What can go wrong, and where it ends up:
 *   record missing, of other content, damaged   RESYNC, ASKING; again: RESTING
 *   the engine refused it                       RESTART, RESYNC as above
 *   connection lost in a copy                   ABANDON; the next goes on by
 *                                               comparing what is there
 *   epoch older than one heard of               REFUSE: the connection ends
 *
 * Bytes that arrive while no OPEN is followed (the primary has not read our
 * RESYNC yet) are thrown away and credited like all others, or the stream
 * would starve for ever once the primary answers.
 */
#include "replication/core/follow.h"

#include "base/assert.h"
#include "replication/core/report.h"

#define BIT(state) (1u << (state))

static const unsigned follow_next[FOLLOW_STATES] = {
    [FOLLOW_ASKING] = BIT(FOLLOW_ASKING) | BIT(FOLLOW_STREAMING) |
                      BIT(FOLLOW_COPYING) | BIT(FOLLOW_RESTING) |
                      BIT(FOLLOW_DROPPED),
    [FOLLOW_STREAMING] = BIT(FOLLOW_ASKING) | BIT(FOLLOW_RESTING) |
                         BIT(FOLLOW_DROPPED),
    [FOLLOW_COPYING] = BIT(FOLLOW_REDOING) | BIT(FOLLOW_ASKING) |
                       BIT(FOLLOW_RESTING) | BIT(FOLLOW_DROPPED),
    [FOLLOW_REDOING] = BIT(FOLLOW_STREAMING) | BIT(FOLLOW_ASKING) |
                       BIT(FOLLOW_RESTING) | BIT(FOLLOW_DROPPED),
    [FOLLOW_RESTING] = BIT(FOLLOW_ASKING) | BIT(FOLLOW_DROPPED),
    [FOLLOW_DROPPED] = 0,
};

static const char *const state_names[FOLLOW_STATES] = {
    [FOLLOW_ASKING] = "asking",   [FOLLOW_STREAMING] = "streaming",
    [FOLLOW_COPYING] = "copying", [FOLLOW_REDOING] = "redoing",
    [FOLLOW_RESTING] = "resting", [FOLLOW_DROPPED] = "dropped",
};

/* One step under way. */
struct step {
    struct follow *follow;
    const struct follow_event *event;
    struct follow_actions *actions;
};

const char *follow_state_name(enum follow_state state)
{
    ASSERT((unsigned)state < FOLLOW_STATES);
    return state_names[state];
}

/* The PREPARED in the log of an engine to which nothing was offered yet. */
static struct position prepared_after(const struct follow_view *view)
{
    if (view->prepared.txid != view->received_txid + 1)
        return (struct position){0};
    return view->prepared;
}

void follow_init(struct follow *follow, const struct lineage *lineage,
                 const struct follow_view *view)
{
    *follow = (struct follow){
        .lineage = *lineage,
        .epoch = view->epoch,
        .next = cursor_after(view->received_txid),
        .prepared = prepared_after(view),
        .sum = view->position.sum,
        .sum_known = view->received_txid == view->position.txid,
        .offered = view->consumed_bytes,
        .offered_before = view->consumed_bytes,
    };
}

bool follow_ok(const struct follow *follow)
{
    if ((unsigned)follow->state >= FOLLOW_STATES || follow->next.part == 0)
        return false;
    if (follow_is_open(follow) && follow->serial == 0)
        return false;
    if (follow_is_copying(follow) && follow->page_bytes == 0)
        return false;
    if (follow->prepared.txid != 0 ? follow->prepared.txid != follow->next.txid
                                   : follow->next.prepared)
        return false;
    if (follow->state == FOLLOW_RESTING && follow->rest_until_ns == 0)
        return false;
    if (follow->offered < follow->offered_before ||
        follow->offered < follow->begun_at)
        return false;
    /* Never more given back than arrived. */
    return follow->credited <=
           follow->offered - follow->offered_before + follow->dropped;
}

static void move(struct follow *follow, enum follow_state state)
{
    ASSERT((follow_next[follow->state] & BIT(state)) != 0);
    follow->state = state;
}

static struct follow_action *act(struct step *step,
                                 enum follow_action_kind kind)
{
    struct follow_actions *actions = step->actions;
    struct follow_action *action = &actions->items[actions->count++];

    ASSERT(actions->count <= FOLLOW_ACTIONS_MAX);
    *action = (struct follow_action){.kind = kind};
    return action;
}

/* ---- what the primary is told ---------------------------------------------*/

static void ack_on(struct step *step)
{
    struct follow *follow = step->follow;
    struct body_ack ack;

    if (!report_ack(follow, &step->event->view, &ack))
        return;
    follow->acked = ack;
    act(step, FOLLOW_DO_ACK)->ack = ack;
}

static void credit_on(struct step *step)
{
    struct follow *follow = step->follow;
    uint32_t due = report_credit(follow, &step->event->view);

    if (due == 0)
        return;
    follow->credited += due;
    act(step, FOLLOW_DO_CREDIT)->bytes = due;
}

/* ---- when it does not work out --------------------------------------------*/

static uint64_t rest_ns(uint32_t failures)
{
    unsigned doubled = failures > 7 ? 6 : failures - 1;
    uint64_t rest = FOLLOW_REST_MIN_NS << doubled;

    return rest < FOLLOW_REST_MAX_NS ? rest : FOLLOW_REST_MAX_NS;
}

static void resync(struct step *step)
{
    struct follow_action *action = act(step, FOLLOW_DO_RESYNC);

    action->reason = step->follow->reason;
    action->serial = step->follow->serial;
    if (step->follow->state != FOLLOW_ASKING)
        move(step->follow, FOLLOW_ASKING);
}

static void abandon_copy(struct step *step)
{
    if (!follow_is_copying(step->follow))
        return;
    act(step, FOLLOW_DO_ABANDON);
    step->follow->astray = true;
}

/* What is here is not what we take it for. */
static bool is_about_content(enum body_reason reason)
{
    return reason == BODY_SUM || reason == BODY_STOPPED;
}

static void wrong(struct step *step, enum body_reason reason)
{
    struct follow *follow = step->follow;
    uint64_t now = step->event->now_ns;

    abandon_copy(step);
    if (is_about_content(reason))
        follow->astray = follow->doubt = true;
    if (now - follow->failed_ns > 2 * FOLLOW_REST_MAX_NS)
        follow->failures = 0;
    follow->failed_ns = now;
    follow->reason = reason;
    if (follow->failures++ == 0) {
        resync(step);
        return;
    }
    if (follow->state != FOLLOW_ASKING)
        move(follow, FOLLOW_ASKING);
    move(follow, FOLLOW_RESTING);
    follow->rest_until_ns = now + rest_ns(follow->failures - 1);
}

static void refuse(struct step *step, enum body_reason reason)
{
    struct follow_action *action;

    abandon_copy(step);
    if (step->follow->state != FOLLOW_ASKING)
        move(step->follow, FOLLOW_ASKING);
    action = act(step, FOLLOW_DO_REFUSE);
    action->reason = reason;
}

static void restart(struct step *step)
{
    act(step, FOLLOW_DO_RESTART);
    step->follow->restarting = true;
    step->follow->restarted_at = step->follow->offered;
}

/* ---- opening --------------------------------------------------------------*/

static void open_resume(struct step *step)
{
    const struct position *from = &step->event->open->position;
    struct follow *follow = step->follow;

    if (follow->astray || from->txid != follow->next.txid - 1) {
        wrong(step, BODY_GAP);
        return;
    }
    /* A record of which we have some parts, or the PREPARED, comes again. */
    follow->next = cursor_after(from->txid);
    follow->record_epoch = from->epoch;
    act(step, FOLLOW_DO_HISTORY);
    move(follow, FOLLOW_STREAMING);
}

/* Asks for more hashes while the primary may be sent more. */
static void hash_on(struct step *step)
{
    struct follow *follow = step->follow;

    if (follow->state != FOLLOW_COPYING || !follow->delta || follow->hashing ||
        follow->hashed_all || follow->unanswered >= BODY_HASHES_AHEAD)
        return;
    follow->hashing = true;
    act(step, FOLLOW_DO_HASH)->pgno = follow->hashed;
}

/*
 * BEGIN before HISTORY: should we die in between, we hold content without a
 * history, which is copied anew. The other way round we would hold old
 * content under a history that never was its own.
 */
static void open_copy(struct step *step)
{
    const struct body_open *open = step->event->open;
    struct follow *follow = step->follow;

    follow->next = cursor_after(open->position.txid);
    follow->record_epoch = open->position.epoch;
    follow->prepared = (struct position){0};
    follow->sum_known = true;
    follow->sum = open->position.sum;
    follow->page_bytes = open->page_bytes;
    follow->astray = false;
    follow->begun_at = follow->offered;
    follow->delta = open->mode == BODY_DELTA;
    follow->hashing = false;
    follow->hashed = follow->compared = 1;
    follow->hashed_all = false;
    follow->unanswered = 0;
    follow->doubt |= is_about_content(open->reason);
    act(step, FOLLOW_DO_BEGIN)->doubt = follow->doubt;
    act(step, FOLLOW_DO_HISTORY);
    move(follow, FOLLOW_COPYING);
    hash_on(step);
}

static void on_open(struct step *step)
{
    const struct body_open *open = step->event->open;
    struct follow *follow = step->follow;
    epoch_t epoch = history_last(&open->history);

    if (epoch < follow->epoch) {
        refuse(step, BODY_FENCED);
        return;
    }
    abandon_copy(step);
    if (follow->state != FOLLOW_ASKING)
        move(follow, FOLLOW_ASKING);
    follow->epoch = epoch;
    follow->serial = open->serial;
    follow->acked = (struct body_ack){0}; /* of no serial: the next one goes */
    if (!lineage_is_equal(&open->lineage, &follow->lineage)) {
        wrong(step, BODY_LINEAGE);
        return;
    }
    if (open->mode == BODY_NOTHING)
        return;
    if (report_is_stopped(follow, &step->event->view)) {
        restart(step);
        follow->astray = follow->doubt = true;
    }
    if (open->mode == BODY_RESUME)
        open_resume(step);
    else
        open_copy(step);
    ack_on(step);
}

/* ---- what arrives ---------------------------------------------------------*/

/*
 * The window is a promise: what is queued here never grows past it by more
 * than one message. A primary that does not keep it is not one of ours.
 */
static bool overruns(struct step *step)
{
    const struct follow *follow = step->follow;
    uint64_t arrived = follow->offered - follow->offered_before +
                       follow->dropped + step->event->bytes;

    if (arrived - follow->credited <=
        MESSAGE_CREDIT_BYTES + MESSAGE_BODY_MAX_BYTES)
        return false;
    step->follow->dropped += step->event->bytes;
    refuse(step, BODY_LIMIT);
    return true;
}

static void take(struct step *step, enum follow_action_kind kind)
{
    act(step, kind);
    step->follow->offered += step->event->bytes;
}

static void throw_away(struct step *step)
{
    step->follow->dropped += step->event->bytes;
}

/* BODY_NONE: may be handed on. */
static enum body_reason record_judge(const struct follow *follow,
                                     const struct record_header *header)
{
    if (cursor_judge(&follow->next, header) == CURSOR_GAP)
        return BODY_GAP;
    if (header->epoch < follow->record_epoch)
        return BODY_FENCED;
    if (header->part == 1 && header->first_txid == follow->next.txid &&
        follow->sum_known && header->previous.sum != follow->sum)
        return BODY_SUM;
    return BODY_NONE;
}

static void record_take(struct step *step)
{
    const struct record_header *header = step->event->header;
    struct follow *follow = step->follow;

    take(step, FOLLOW_DO_OFFER);
    cursor_advance(&follow->next, header);
    follow->record_epoch = header->epoch;
    if (header->epoch > follow->epoch)
        follow->epoch = header->epoch;
    if (follow->next.prepared)
        follow->prepared = record_position(header);
    if (!cursor_is_between(&follow->next))
        return; /* the sum moves with the position, not before */
    follow->prepared = (struct position){0};
    follow->sum = header->sum_after;
    follow->sum_known = true;
}

static void on_record(struct step *step)
{
    const struct record_header *header = step->event->header;
    struct follow *follow = step->follow;
    enum body_reason reason = BODY_NONE;
    bool old = false;

    if (overruns(step))
        return;
    if (follow_is_open(follow)) {
        if (header == NULL)
            reason = BODY_DAMAGED;
        else if (!lineage_is_equal(&header->lineage, &follow->lineage))
            reason = BODY_LINEAGE;
        else if (cursor_judge(&follow->next, header) == CURSOR_OLD)
            old = true;
        else
            reason = record_judge(follow, header);
    }
    if (!follow_is_open(follow) || old || reason != BODY_NONE)
        throw_away(step);
    else
        record_take(step);
    if (reason == BODY_FENCED)
        refuse(step, reason);
    else if (reason != BODY_NONE)
        wrong(step, reason);
    credit_on(step);
}

static bool chunk_fits(const struct step *step)
{
    const struct record_header *header = step->event->header;

    return header != NULL && (header->flags & RECORD_SNAPSHOT) != 0 &&
           header->page_bytes == step->follow->page_bytes &&
           lineage_is_equal(&header->lineage, &step->follow->lineage);
}

static void on_chunk(struct step *step)
{
    struct follow *follow = step->follow;

    if (overruns(step))
        return;
    if (follow->state == FOLLOW_COPYING && chunk_fits(step)) {
        take(step, FOLLOW_DO_CHUNK);
    } else {
        throw_away(step);
        if (follow_is_open(follow))
            wrong(step, BODY_DAMAGED);
    }
    credit_on(step);
}

/* Answers come in the order of what was sent, and about no more. */
static bool same_fits(const struct step *step)
{
    const struct body_same *same = step->event->same;
    const struct follow *follow = step->follow;

    return same != NULL && follow->delta && follow->unanswered > 0 &&
           same->first == follow->compared &&
           same->count <= follow->hashed - same->first;
}

static void on_same(struct step *step)
{
    const struct body_same *same = step->event->same;
    struct follow *follow = step->follow;

    if (overruns(step))
        return;
    if (follow->state == FOLLOW_COPYING && same_fits(step)) {
        take(step, FOLLOW_DO_SAME);
        follow->compared += same->count;
        follow->unanswered--;
    } else {
        throw_away(step);
        if (follow_is_open(follow))
            wrong(step, BODY_DAMAGED);
    }
    hash_on(step);
    credit_on(step);
}

static void on_hashes(struct step *step)
{
    const struct follow_event *event = step->event;
    struct follow *follow = step->follow;

    if (follow->state != FOLLOW_COPYING || !follow->delta)
        return; /* given up meanwhile */
    follow->hashing = false;
    if (event->failed)
        return;
    follow->hashed = event->next_pgno;
    follow->hashed_all = event->last;
    follow->unanswered++;
    act(step, FOLLOW_DO_HASHES);
    hash_on(step);
}

/* Nothing that has to be known for the copy to be whole is open. */
static bool is_compared(const struct follow *follow)
{
    return !follow->delta || (follow->hashed_all && follow->unanswered == 0 &&
                              follow->compared == follow->hashed);
}

static void on_copied(struct step *step)
{
    struct follow *follow = step->follow;

    if (follow->state == FOLLOW_COPYING && is_compared(follow)) {
        follow->end = step->event->position;
        act(step, FOLLOW_DO_END);
        move(follow, FOLLOW_REDOING);
    } else if (follow_is_open(follow)) {
        wrong(step, BODY_DAMAGED);
    }
}

/* ---- what the engine shows ------------------------------------------------*/

static bool copy_is_placed(const struct follow *follow,
                           const struct follow_view *view)
{
    return view->consumed_bytes > follow->begun_at && !view->copying &&
           view->position.txid >= follow->end.txid;
}

static void on_progress(struct step *step)
{
    const struct follow_view *view = &step->event->view;
    struct follow *follow = step->follow;

    if (!view->stopped)
        follow->restarting = false;
    if (report_is_stopped(follow, view) && follow_is_open(follow)) {
        restart(step);
        wrong(step, BODY_STOPPED);
    } else if (follow->state == FOLLOW_REDOING &&
               copy_is_placed(follow, view)) {
        follow->doubt = false;
        move(follow, FOLLOW_STREAMING);
    }
    ack_on(step);
    credit_on(step);
}

static void on_drop(struct step *step)
{
    abandon_copy(step);
    act(step, FOLLOW_DO_DROP);
    move(step->follow, FOLLOW_DROPPED);
}

static void on_lost(struct step *step)
{
    struct follow *follow = step->follow;

    abandon_copy(step);
    if (follow->state != FOLLOW_ASKING)
        move(follow, FOLLOW_ASKING);
    follow->serial = 0;
    follow->offered_before = follow->offered;
    follow->dropped = 0;
    follow->credited = 0;
}

static void on_tick(struct step *step)
{
    struct follow *follow = step->follow;

    if (follow->state == FOLLOW_RESTING &&
        step->event->now_ns >= follow->rest_until_ns)
        resync(step);
    hash_on(step);
}

static void (*const handlers[FOLLOW_EVENTS])(struct step *) = {
    [FOLLOW_OPEN] = on_open,         [FOLLOW_RECORD] = on_record,
    [FOLLOW_CHUNK] = on_chunk,       [FOLLOW_COPIED] = on_copied,
    [FOLLOW_SAME] = on_same,         [FOLLOW_HASHES] = on_hashes,
    [FOLLOW_PROGRESS] = on_progress, [FOLLOW_DROP] = on_drop,
    [FOLLOW_LOST] = on_lost,         [FOLLOW_TICK] = on_tick,
};

void follow_step(struct follow *follow, const struct follow_event *event,
                 struct follow_actions *ret_actions)
{
    struct step step = {follow, event, ret_actions};

    ASSERT((unsigned)event->kind < FOLLOW_EVENTS);
    ret_actions->count = 0;
    if (follow->state == FOLLOW_DROPPED) {
        /* Credit belongs to the stream, which lives as long as the
         * connection; the database's stream is not used any more. */
        return;
    }
    handlers[event->kind](&step);
    ASSERT(follow_ok(follow));
}

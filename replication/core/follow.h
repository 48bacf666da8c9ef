/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/follow.h - the replica's half of one database: what of
 * that which arrives may be handed to the engine, and what the primary is
 * told in return.
 *
 * Pure: follow_step(follow, event) -> actions. The driver (replication/net)
 * holds bytes, socket and database.
 *
 *   ASKING --OPEN resume--> STREAMING --gap, sum, refused--> ASKING
 *      |                        ^      (RESYNC sent)            |
 *      |                        '--placed---.                   | too often
 *      '--OPEN snapshot,-> COPYING --COPIED--> REDOING          v
 *              delta            |
 *                             '------- wrong, refused -----> RESTING
 *   any --connection lost--> ASKING             RESTING --later--> ASKING
 *   any --DROP--> DROPPED
 *
 * Of a delta the replica sends the hashes of its pages, range after range, as
 * far ahead of the answers as BODY_HASHES_AHEAD allows.
 *
 * The engine works behind a queue, so its view is always a little old. The
 * bytes it has taken from that queue (`consumed`) are the only clock both
 * sides share: a view is about what was offered iff it was consumed.
 *
 * A record is handed on only if lineage, epoch and continuity agree; the
 * engine checks hashes and sums again, and its word counts. What does not
 * fit is never applied: the primary is asked for a new decision (RESYNC), at
 * once the first time, then after a pause that doubles, until a while went
 * well. An epoch older than one heard of ends the connection (REFUSE): its
 * sender is no longer the primary, whatever it believes.
 */
#ifndef TIDEMARK_REPLICATION_CORE_FOLLOW_H
#define TIDEMARK_REPLICATION_CORE_FOLLOW_H

#include "replication/core/body.h"
#include "replication/core/cursor.h"

#define FOLLOW_REST_MIN_NS UINT64_C(1000000000)
#define FOLLOW_REST_MAX_NS UINT64_C(60000000000)

enum follow_state {
    FOLLOW_ASKING,    /* told what we have; waits for OPEN */
    FOLLOW_STREAMING, /* records continue our content */
    FOLLOW_COPYING,   /* chunks arrive */
    FOLLOW_REDOING,   /* all chunks are here; records make them exact */
    FOLLOW_RESTING,   /* went wrong again; asks anew later */
    FOLLOW_DROPPED,
    FOLLOW_STATES
};

/* What the engine shows (wal/database.h), as it is when the event happens. */
struct follow_view {
    struct position position; /* applied */
    txid_t received_txid;
    txid_t durable_txid;
    struct position prepared; /* in the log, not resolved, not counted above;
                                 TXID 0: none */
    bool prepared_durable;
    uint64_t consumed_bytes;  /* of all ever offered, taken from the queue */
    epoch_t epoch;            /* newest of the history heard from a primary */
    bool copying;             /* a copy is being built, not placed */
    bool stopped;             /* refuses records until restarted */
    uint32_t base_page_bytes; /* what a copy may be compared with; 0: nothing */
    uint32_t base_pages;
};

enum follow_event_kind {
    FOLLOW_OPEN,     /* the primary's decision */
    FOLLOW_RECORD,   /* a record arrived */
    FOLLOW_CHUNK,    /* pages of a copy arrived */
    FOLLOW_SAME,     /* pages of a range need not be sent */
    FOLLOW_COPIED,   /* that were all of them; position: end of the copy */
    FOLLOW_HASHES,   /* engine: the hashes asked for; last */
    FOLLOW_PROGRESS, /* the view changed */
    FOLLOW_DROP,     /* the primary dropped it */
    FOLLOW_LOST,     /* the connection ended */
    FOLLOW_TICK,     /* time passes; each second or so */
    FOLLOW_EVENTS
};

struct follow_event {
    enum follow_event_kind kind;
    uint64_t now_ns;
    struct follow_view view;            /* always */
    const struct body_open *open;       /* OPEN */
    const struct record_header *header; /* RECORD, CHUNK; NULL: unreadable */
    const struct body_same *same;       /* SAME; NULL: unreadable */
    size_t bytes;                       /* RECORD, CHUNK, SAME: of its body */
    pgno_t next_pgno;                   /* HASHES: behind their pages */
    bool last;                          /* HASHES: there are no more */
    bool failed;                        /* HASHES: not now; at the next TICK */
    struct position position;           /* COPIED */
};

enum follow_action_kind {
    FOLLOW_DO_HISTORY, /* engine: take the history of this event's OPEN */
    FOLLOW_DO_OFFER,   /* engine: take this event's record */
    FOLLOW_DO_BEGIN,   /* engine: a copy begins at the OPEN's position; doubt:
                          what is there may not be what its hashes say */
    FOLLOW_DO_CHUNK,   /* engine: take this event's chunk */
    FOLLOW_DO_SAME,    /* engine: take this event's SAME */
    FOLLOW_DO_HASH,    /* engine: the hashes from pgno on, as HASHES */
    FOLLOW_DO_HASHES,  /* send HASHES: those of this event */
    FOLLOW_DO_END,     /* engine: the copy ends at the event's position */
    FOLLOW_DO_ABANDON, /* engine: the copy will not be finished */
    FOLLOW_DO_RESTART, /* engine: forget that you stopped */
    FOLLOW_DO_DROP,    /* engine: the database goes */
    FOLLOW_DO_ACK,     /* send ACK: ack */
    FOLLOW_DO_CREDIT,  /* send CREDIT: bytes */
    FOLLOW_DO_RESYNC,  /* send RESYNC: reason, serial, and what we have */
    FOLLOW_DO_REFUSE,  /* end the connection: reason */
};

struct follow_action {
    enum follow_action_kind kind;
    enum body_reason reason;
    uint32_t serial;
    uint32_t bytes;
    pgno_t pgno;
    bool doubt;
    struct body_ack ack;
};

#define FOLLOW_ACTIONS_MAX 8

struct follow_actions {
    size_t count;
    struct follow_action items[FOLLOW_ACTIONS_MAX];
};

/* Plain data: a copy is a copy. It lives as long as this process follows the
 * database, over many connections. */
struct follow {
    enum follow_state state;
    struct lineage lineage;
    uint32_t serial; /* of the OPEN we follow; 0: none on this connection */
    epoch_t epoch;   /* newest heard of, in OPENs and records */
    epoch_t record_epoch;     /* of the newest record taken: never goes back */
    struct cursor next;       /* record to come; all before it was offered */
    struct position prepared; /* whole, offered, nothing later decided it: its
                                 TXID is next.txid; TXID 0: none */
    uint64_t sum;             /* after the record before it ... */
    bool sum_known;           /* ... if we know it */
    bool astray;           /* refused, or a copy abandoned: only a copy helps */
    bool doubt;            /* content was found wrong, and no copy came into
                              place since: hashes are not to be believed */
    uint32_t page_bytes;   /* of the copy under way */
    bool delta;            /* it is one */
    bool hashing;          /* DELTA: the engine was asked for hashes */
    pgno_t hashed;         /* DELTA: hashes before it were sent ... */
    bool hashed_all;       /* ... and there are no more */
    pgno_t compared;       /* DELTA: pages before it were answered */
    uint32_t unanswered;   /* DELTA: HASHES, at most BODY_HASHES_AHEAD */
    struct position end;   /* REDOING: the copy is exact from here on */
    struct body_ack acked; /* last ACK sent under this serial */
    /* bytes, since follow_init() */
    uint64_t offered;  /* handed to the engine */
    uint64_t begun_at; /* `offered` at the last BEGIN: a view that consumed
                          more has seen it */
    bool restarting;   /* RESTART was sent, "stopped" in a view may be old */
    uint64_t restarted_at; /* `offered` then */
    /* bytes, of this connection */
    uint64_t offered_before; /* `offered` when it began */
    uint64_t dropped;        /* arrived and thrown away */
    uint64_t credited;       /* given back to the primary */
    /* trying again */
    uint32_t failures; /* in a row, none a minute after the other */
    uint64_t failed_ns;
    uint64_t rest_until_ns;  /* RESTING */
    enum body_reason reason; /* of the last failure */
};

static inline bool follow_is_copying(const struct follow *follow)
{
    return follow->state == FOLLOW_COPYING || follow->state == FOLLOW_REDOING;
}

/* What arrives is about the OPEN that we follow. */
static inline bool follow_is_open(const struct follow *follow)
{
    return follow->state == FOLLOW_STREAMING || follow_is_copying(follow);
}

/* view: before anything is offered. */
void follow_init(struct follow *follow, const struct lineage *lineage,
                 const struct follow_view *view);

/* Takes one event; ret_actions are to be done in order. A record or chunk for
 * which no action says OFFER or CHUNK is to be thrown away. */
void follow_step(struct follow *follow, const struct follow_event *event,
                 struct follow_actions *ret_actions);

/* What must hold in each state. */
bool follow_ok(const struct follow *follow);

const char *follow_state_name(enum follow_state state);

#endif

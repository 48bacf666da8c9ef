/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/feed.h - the primary's half of one replica and one
 * database: what to send next, and whether it may be sent yet.
 *
 * Pure: feed_step(feed, event) -> actions. The driver (replication/net) holds
 * the bytes, the socket and the database; the feed only says FETCH and is
 * told RECORD, says COPY and is told CHUNK, says COMPARE and is told COMPARED.
 * At the tail as far behind it asks for one record at a time; where that comes
 * from, memory or disk, is the driver's business.
 *
 *   WAITING --resume--> READING <--published, credit-- TAIL, STARVED
 *      |                   |  ^---one more----.  ^
 *      |                   '--sent------------+--'  TAIL: that was all
 *      |                   ^                        STARVED: no credit
 *      |                   '---last page---.
 *      '--snapshot--> COPYING <--credit-- COPY_STARVED
 *      |               ^  | '---no credit---^  ^
 *      |      not same |  | end of the range   | credit, or none
 *      '--delta-----> COMPARING ---------------'
 *   any --resync, trimmed, failed--> WAITING       any --dropped--> CLOSED
 *
 * What is decided on HEARD and RESYNC says decide.h. A delta goes through
 * ranges: the replica sends the hashes it has of some pages, we say which of
 * them are ours and send the rest as chunks; after its last range follow the
 * pages that it never had.
 */
#ifndef TIDEMARK_REPLICATION_CORE_FEED_H
#define TIDEMARK_REPLICATION_CORE_FEED_H

#include "replication/core/body.h"
#include "replication/core/cursor.h"

enum feed_state {
    FEED_WAITING,   /* no OPEN that promises anything is out */
    FEED_READING,   /* a FETCH is out, its answer will be sent */
    FEED_TAIL,      /* the replica was sent all there is */
    FEED_STARVED,   /* there is more; credit is used up */
    FEED_COPYING,   /* a COPY is out */
    FEED_COMPARING, /* a COMPARE is out: waits for the replica's hashes */
    FEED_COPY_STARVED,
    FEED_CLOSED, /* dropped, or not wanted; nothing more will happen */
    FEED_STATES
};

/* What the primary has, as it is when the event happens. */
struct feed_source {
    bool ready; /* may be read now: neither held back nor dropped */
    bool lends; /* a replica's, for its primary that asks (net/lending.h) */
    struct lineage lineage;
    struct position position;
    txid_t prepared_txid;  /* a PREPARED in the log not yet resolved; 0 */
    txid_t first_log_txid; /* oldest in the log; 0: log is empty */
    uint32_t page_bytes;   /* 0: no content yet */
    const struct history *history; /* borrowed for the step */
};

enum feed_event_kind {
    FEED_HEARD,    /* replica told what it has: decide */
    FEED_RESYNC,   /* replica cannot go on: decide again */
    FEED_SOURCE,   /* something about the source changed */
    FEED_RECORD,   /* answer to FETCH */
    FEED_TRIMMED,  /* answer to FETCH: the log no longer has it */
    FEED_CHUNK,    /* answer to COPY */
    FEED_COMPARED, /* answer to COMPARE: a SAME, ready to be sent */
    FEED_FAILED,   /* answer to either: cannot be read now */
    FEED_ACK,      /* replica: received, durable, applied */
    FEED_CREDIT,   /* replica is done with so many bytes */
    FEED_DROPPED,  /* the database is gone */
    FEED_TICK,     /* a second or so has passed: try again what FAILED */
    FEED_EVENTS
};

struct feed_event {
    enum feed_event_kind kind;
    struct feed_source source; /* always */
    /* HEARD, RESYNC, SOURCE, TICK: what the replica said last about it. NULL:
     * it has nothing of this name. Borrowed. */
    const struct body_database *replica;
    enum body_reason reason; /* RESYNC */
    uint32_t serial;         /* RESYNC: of the OPEN it is about */
    uint32_t ask;            /* RECORD, TRIMMED, CHUNK, COMPARED, FAILED: as
                                asked */
    const struct record_header *header; /* RECORD, CHUNK */
    size_t bytes;                       /* RECORD, CHUNK, COMPARED, CREDIT */
    pgno_t next_pgno;                   /* CHUNK: 0 when it was the last one;
                                           COMPARED: behind the range */
    bool differs;             /* COMPARED: pages of the range are to be sent */
    bool last;                /* COMPARED: the replica has no more hashes */
    struct position position; /* CHUNK: of the source after the pages were read
                                 (captured, so at or past what they show) */
    const struct body_ack *ack; /* ACK */
};

enum feed_action_kind {
    FEED_DO_OPEN,    /* send OPEN: mode, reason, diverged, serial, position */
    FEED_DO_FETCH,   /* get the record at cursor, answer with ask */
    FEED_DO_SEND,    /* send the record, chunk or SAME of this event */
    FEED_DO_COPY,    /* read pages from pgno on, before end_pgno (0: to the end)
                       but those of the last SAME, answer with ask */
    FEED_DO_COMPARE, /* the replica's hashes from pgno on with ours, when they
                        are here; answer with ask */
    FEED_DO_COPIED,  /* send COPIED: position */
    FEED_DO_PIN,     /* keep the log from txid on; 0: no longer */
    FEED_DO_DROP,    /* send DROP */
};

struct feed_action {
    enum feed_action_kind kind;
    enum body_mode mode;
    enum body_reason reason;
    bool diverged;
    uint32_t serial;
    uint32_t ask;
    struct position position;
    struct cursor cursor;
    pgno_t pgno, end_pgno;
    txid_t txid;
};

#define FEED_ACTIONS_MAX 8

struct feed_actions {
    size_t count;
    struct feed_action items[FEED_ACTIONS_MAX];
};

/* Plain data: a copy is a copy. Fields are for feed.c, tests and status. */
struct feed {
    enum feed_state state;
    uint32_t serial;          /* of the last OPEN; 0: none */
    uint32_t ask;             /* of the last FETCH or COPY */
    bool heard;               /* the replica told what it has */
    bool failed;              /* a read did: wait for TICK */
    int64_t credit;           /* bytes; one send may take it below 0 */
    enum body_mode mode;      /* of the last OPEN; 0: none */
    enum body_reason reason;  /* of the last OPEN */
    struct cursor next;       /* record to send; in a copy: after it */
    bool pinned;              /* the log is kept for this copy */
    uint32_t copy_page_bytes; /* what it began with */
    pgno_t copy_next;         /* 0: no page is missing */
    pgno_t range_end;         /* DELTA: compared up to here, not included; 0:
                                 all that the replica has */
    struct position copy_end; /* valid when copy_next is 0 */
    struct body_ack acked;    /* newest under this serial */
};

/* A feed of a connection that begins; credit: MESSAGE_CREDIT_BYTES. */
void feed_init(struct feed *feed, int64_t credit);

/*
 * Takes one event. 0: feed has moved on, ret_actions are to be done in order.
 * -EPROTO: the replica said what it cannot know; nothing changed, the
 * connection should end. Answers to an older ask, and messages about an older
 * OPEN, are no error: they do nothing.
 */
int feed_step(struct feed *feed, const struct feed_event *event,
              struct feed_actions *ret_actions);

/* What must hold in each state. */
bool feed_ok(const struct feed *feed);

const char *feed_state_name(enum feed_state state);

#endif

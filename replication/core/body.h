/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/body.h - what is inside each message.
 *
 * Little-endian, no padding. A text is { u8 or u16 length, bytes }, without
 * a final 0, and may not hold control bytes; `history` is as history.h says
 * and, being the only part of open length, always comes last.
 *
 * HELLO     0  8 magic "TIDEMARK"    8  2 oldest, 10  2 newest protocol
 *          12  8 highest epoch heard of
 *          20  1 flags: 1 candidate, 2 takes itself for the primary
 *          21  - text8 cluster, text8 node, text8 region, text16 advertise
 * WELCOME   0  2 protocol chosen      2  8 epoch of the primary
 *          10  - text8 node, text8 region, text16 advertise
 * REFUSE    0  2 enum body_reason     2  - text16: what, on what, what to do
 * BYE       as REFUSE
 * DATABASE  0 16 lineage             16 24 applied position (epoch, TXID,
 *          sum)  40  8 received TXID  48  8 durable TXID
 *          56 24 position (epoch, TXID, sum after) of the PREPARED that the
 *             node holds whole and nothing has resolved yet; all 0: none
 *          80  4 page size and  84  4 pages of what a copy may be compared
 *             with; both 0: nothing
 *          88  - text16 name, history
 * OPEN      0  1 enum body_mode       1  1 flags: 1 diverged
 *           2  2 enum body_reason     4  4 serial
 *           8 16 lineage             24 24 position
 *          48  4 page size           52  4 size in pages
 *          56  4 uid  60  4 gid      64  4 mode (permission bits)
 *          68  - text16 name, history
 * COPIED    0 24 position of the source when its last page had been read
 * ACK       0  4 serial               4  8 received TXID
 *          12  8 durable TXID        20 24 applied position
 * CREDIT    0  4 bytes
 * HASHES    0  4 serial               4  4 first page
 *           8  8 hash of each page from there on (page.h; 0: has none) to
 *             the end of the body: at most BODY_RANGE_PAGES; none when LAST
 * SAME      0  4 first page           4  4 pages
 *           8  - one bit a page, the first one lowest:
 *             1 when the primary has the hash that it was sent, not 0
 * ATTR      0  4 uid   4  4 gid   8  4 mode
 * DROP      0 16 lineage             16  - text16 name
 * RESYNC    0  2 enum body_reason     2  4 serial
 *           6  - the rest as DATABASE
 * RECORD, CHUNK: a record, wal/record.h. HEARTBEAT, ROSTER: pulse.h.
 *
 * Received, durable and applied say how far a replica is: in its log, synced
 * there, visible to its readers. What a PREPARED, whole but not resolved, is
 * to them:
 *   DATABASE, RESYNC  received and durable do not count it. They are where a
 *                     RESUME goes on, and it comes again then. It is named
 *                     on its own: its TXID is past the received one. Epoch
 *                     and TXID tell it from any other; who chooses a new
 *                     primary, or finds one that lost it, needs them.
 *   ACK               received and durable count it, the position never does:
 *                     it moves at the RESOLVE. So "durable TXID n" is what a
 *                     commit held in FSYNC waits for. Only what was sent
 *                     under this OPEN is counted.
 * A replica whose copy is not complete has nothing: all three are 0, and no
 * PREPARED.
 *
 * Decoders check every length, text, name and enumeration before they use
 * it and refuse bytes left over: -EBADMSG, with results untouched. Encoders
 * return the whole message, its header included, as a blob of which the
 * caller owns one reference: 0 or -ENOMEM. Pure but for memory. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_BODY_H
#define TIDEMARK_REPLICATION_CORE_BODY_H

#include "replication/core/message.h"
#include "wal/history.h"
#include "wal/page.h"
#include "wal/position.h"

#include <stdbool.h>

#define BODY_ID_MAX 64         /* cluster, node, region */
#define BODY_ADVERTISE_MAX 280 /* host:port */
#define BODY_TEXT_MAX 500      /* reasons in words */
#define BODY_NAME_MAX 1024     /* a database's */

/* Why: in REFUSE, BYE, OPEN and RESYNC. Numbers are forever. */
enum body_reason {
    BODY_NONE = 0,
    /* the connection */
    BODY_VERSION = 1,     /* no protocol in common */
    BODY_CLUSTER = 2,     /* another cluster's name */
    BODY_NOT_PRIMARY = 3, /* asked a node that is no primary */
    BODY_SAME_NODE = 4,   /* two nodes with one id */
    BODY_FENCED = 5,      /* an older epoch than one heard of */
    BODY_LIMIT = 6,       /* too many of something */
    BODY_PROTOCOL = 7,    /* a message that makes no sense here */
    BODY_STOPPING = 8,    /* the node is being stopped */
    BODY_NOT_LOCAL = 9,   /* not a loopback address, and no secret */
    BODY_AGAIN = 10,      /* it has asked, and serves now: connect again */
    /* a database */
    BODY_NEW = 32,     /* the replica has nothing */
    BODY_TRIMMED = 33, /* the log no longer goes back that far */
    BODY_DIVERGED = 34,
    BODY_AHEAD = 35,    /* the replica has what the primary has lost */
    BODY_LINEAGE = 36,  /* another database under the same name */
    BODY_GAP = 37,      /* records do not continue each other */
    BODY_SUM = 38,      /* content differs at the same position */
    BODY_DAMAGED = 39,  /* a hash does not fit */
    BODY_STOPPED = 40,  /* the replica's engine refused; text says why */
    BODY_BUSY = 41,     /* the primary cannot read it now, will OPEN again */
    BODY_UNWANTED = 42, /* this replica does not follow it */
};

/* "diverged"; "?" for a number that is none. */
const char *body_reason_name(unsigned reason);

enum body_mode {
    BODY_RESUME = 1,   /* records after `position`, the replica's own */
    BODY_SNAPSHOT = 2, /* chunks, COPIED, records after `position` */
    BODY_NOTHING = 3,  /* not now; another OPEN follows when it can be */
    BODY_DELTA = 4,    /* as SNAPSHOT, but for pages that are the same */
};

/* "delta"; "?" for a number that is none. */
const char *body_mode_name(unsigned mode);

/* Chunks come, then COPIED. */
static inline bool body_mode_copies(enum body_mode mode)
{
    return mode == BODY_SNAPSHOT || mode == BODY_DELTA;
}

struct body_hello {
    uint16_t version_min, version_max;
    epoch_t epoch;
    bool candidate;
    bool primary;
    char cluster[BODY_ID_MAX + 1];
    char node[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char advertise[BODY_ADVERTISE_MAX + 1];
};

struct body_welcome {
    uint16_t version;
    epoch_t epoch;
    char node[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char advertise[BODY_ADVERTISE_MAX + 1];
};

struct body_refuse {
    enum body_reason reason;
    char text[BODY_TEXT_MAX + 1];
};

struct body_database {
    struct lineage lineage;
    struct position position; /* applied */
    txid_t received_txid;     /* in its log; >= position.txid */
    txid_t durable_txid;      /* <= received_txid */
    struct position prepared; /* of no RESOLVE yet, txid > received_txid, not
                                 of an older epoch; all 0: none */
    uint32_t base_page_bytes; /* what a copy may be compared with; 0: nothing */
    uint32_t base_pages;
    char name[BODY_NAME_MAX + 1];
    struct history history; /* owned; free with history_free() */
};

struct body_open {
    enum body_mode mode;
    enum body_reason reason;
    bool diverged;   /* keep the files that are there aside */
    uint32_t serial; /* counts the OPENs of a stream, from 1 */
    struct lineage lineage;
    struct position position;
    uint32_t page_bytes, size_pages;
    uint32_t uid, gid, mode_bits;
    char name[BODY_NAME_MAX + 1];
    struct history history; /* owned; free with history_free() */
};

struct body_ack {
    uint32_t serial;      /* of the OPEN this is about */
    txid_t received_txid; /* this and the next count a whole PREPARED */
    txid_t durable_txid;
    struct position position; /* applied; a PREPARED does not move it */
};

struct body_resync {
    enum body_reason reason;
    uint32_t serial; /* of the OPEN that did not work out */
    struct body_database database;
};

#define BODY_RANGE_PAGES 8192u /* in one HASHES or SAME */
#define BODY_SAME_BYTES (BODY_RANGE_PAGES / 8)
#define BODY_HASHES_AHEAD 8u /* that no SAME answers yet */

/* HASHES, but for the hashes: body_hashes_bytes(). */
struct body_hashes {
    uint32_t serial;
    pgno_t first; /* >= 1 */
    uint32_t count;
};

struct body_same {
    pgno_t first;
    uint32_t count;      /* 0: no page was asked about */
    const uint8_t *bits; /* borrowed from the body or of the caller */
};

struct body_attr {
    uint32_t uid, gid, mode_bits;
};

struct body_drop {
    struct lineage lineage;
    char name[BODY_NAME_MAX + 1];
};

/*
 * Relative, at most BODY_NAME_MAX bytes, no control bytes, no empty, "." or
 * ".." component: what a peer names can only lie below the mount.
 */
bool body_name_is_valid(const char *name, size_t length);

/* ---- greeting and parting ------------------------------------------------ */

int body_hello_encode(const struct body_hello *hello, struct blob **ret_blob);
int body_hello_decode(const struct blob *body, struct body_hello *ret_hello);

int body_welcome_encode(const struct body_welcome *welcome,
                        struct blob **ret_blob);
int body_welcome_decode(const struct blob *body,
                        struct body_welcome *ret_welcome);

/* type: MESSAGE_REFUSE or MESSAGE_BYE. text is cut at BODY_TEXT_MAX. */
int body_refuse_encode(enum message_type type, enum body_reason reason,
                       const char *text, struct blob **ret_blob);
int body_refuse_decode(const struct blob *body, struct body_refuse *ret_refuse);

/* ---- one database -------------------------------------------------------- */

int body_database_encode(const struct body_database *database,
                         struct blob **ret_blob);
int body_database_decode(const struct blob *body,
                         struct body_database *ret_database);

int body_open_encode(uint32_t stream, const struct body_open *open,
                     struct blob **ret_blob);
int body_open_decode(const struct blob *body, struct body_open *ret_open);

int body_copied_encode(uint32_t stream, const struct position *position,
                       struct blob **ret_blob);
int body_copied_decode(const struct blob *body, struct position *ret_position);

/* bytes: hashes->count of them, little-endian. last: sets MESSAGE_LAST. */
int body_hashes_encode(uint32_t stream, const struct body_hashes *hashes,
                       const uint8_t *bytes, bool last, struct blob **ret_blob);
int body_hashes_decode(const struct blob *body, struct body_hashes *ret_hashes);

/* Where the hashes of a body that was decoded begin. */
static inline const uint8_t *body_hashes_bytes(const struct blob *body)
{
    return body->data + 8;
}

/* The body alone: it is sent like a record. bits: (count + 7) / 8 bytes, those
 * past count are 0. */
int body_same_encode(const struct body_same *same, struct blob **ret_body);
int body_same_decode(const struct blob *body, struct body_same *ret_same);

int body_ack_encode(uint32_t stream, const struct body_ack *ack,
                    struct blob **ret_blob);
int body_ack_decode(const struct blob *body, struct body_ack *ret_ack);

int body_credit_encode(uint32_t stream, uint32_t bytes, struct blob **ret_blob);
int body_credit_decode(const struct blob *body, uint32_t *ret_bytes);

int body_attr_encode(uint32_t stream, const struct body_attr *attr,
                     struct blob **ret_blob);
int body_attr_decode(const struct blob *body, struct body_attr *ret_attr);

int body_drop_encode(uint32_t stream, const struct body_drop *drop,
                     struct blob **ret_blob);
int body_drop_decode(const struct blob *body, struct body_drop *ret_drop);

int body_resync_encode(uint32_t stream, const struct body_resync *resync,
                       struct blob **ret_blob);
int body_resync_decode(const struct blob *body, struct body_resync *ret_resync);

#endif

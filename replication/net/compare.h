/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/compare.h - the hashes that a replica sends for a delta, on
 * their way to the worker that compares them, and what came of the last.
 *
 * Bounded: BODY_HASHES_AHEAD messages, then the replica has to wait. Memory
 * that a request of the worker points at stays as it is until compare_take().
 * Loop.
 */
#ifndef TIDEMARK_REPLICATION_NET_COMPARE_H
#define TIDEMARK_REPLICATION_NET_COMPARE_H

#include "replication/core/body.h"
#include "wal/database.h"

struct compare {
    struct blob *queue[BODY_HASHES_AHEAD]; /* HASHES, oldest first */
    bool last[BODY_HASHES_AHEAD];
    unsigned count;
    /* the range that is compared, or was compared last */
    struct blob *hashes;
    struct body_hashes range;
    bool is_last;
    uint8_t same[BODY_SAME_BYTES];
};

/* NULL: no memory. */
struct compare *compare_new(void);

/* NULL is fine. No request may point into it any more. */
void compare_free(struct compare *compare);

/* A new delta: what was sent for an older one goes. */
void compare_reset(struct compare *compare);

/* A HASHES of the delta under way; takes a reference. -EPROTO: more than may be
 * unanswered. */
int compare_hear(struct compare *compare, struct blob *body, bool last);

/* Is the next range here? 1; 0: not yet; -EPROTO: it does not begin at pgno. */
int compare_is_ready(const struct compare *compare, pgno_t pgno);

/* The next range into a request, DATABASE_COMPARE. */
void compare_take(struct compare *compare, struct database_request *request);

/* Of the last range: what the replica has need not be read. */
void compare_skip(struct compare *compare, struct database_request *request);

/* The answer, as the body of a SAME. 0 or -ENOMEM. */
int compare_answer(const struct compare *compare, struct blob **ret_body);

#endif

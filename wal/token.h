/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/token.h - a position as an application carries it.
 *
 * Text: 8 hex digits of the lineage '.' epoch '.' TXID [ '.' MAC ], epoch and
 * TXID in lower-case hex without leading zeros; at most 48 bytes, safe in
 * cookies, URLs and file names. Opaque to applications. Pure. Any thread.
 */
#ifndef TIDEMARK_WAL_TOKEN_H
#define TIDEMARK_WAL_TOKEN_H

#include "wal/history.h"
#include "wal/position.h"

#define TOKEN_TEXT_BYTES 49 /* with the final 0 */

struct token {
    uint32_t lineage_prefix; /* first 4 bytes of the lineage, big-endian */
    epoch_t epoch;
    txid_t txid;
};

enum token_verdict {
    TOKEN_REACHED, /* this node has it */
    TOKEN_WAIT,    /* not yet; or a failover not learned of yet */
    TOKEN_LOST,    /* its epoch ended before it, or was never ours */
    TOKEN_UNKNOWN, /* another database's, or not a token */
};

void token_make(const struct lineage *lineage, const struct position *position,
                struct token *ret_token);
void token_format(const struct token *token, char text[TOKEN_TEXT_BYTES]);

/* 0, or -EINVAL. Bounded; text need not end in 0. */
int token_parse(const char *text, size_t length, struct token *ret_token);

/*
 * Judges token on a node that has applied up to applied_txid of a database
 * with this lineage and history (newest history received from a primary):
 * architecture.md 6. lineage all 0 or history empty: not heard of yet, WAIT.
 */
enum token_verdict token_judge(const struct token *token,
                               const struct lineage *lineage,
                               const struct history *history,
                               txid_t applied_txid);

/* "reached", "wait", "lost", "unknown". */
const char *token_verdict_name(enum token_verdict verdict);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/token.h - a position as an application carries it.
 *
 * Text, at most 42 bytes, safe in cookies, URLs and file names:
 *
 *   6c2f9a01.4a3f2c9.3e8      lineage '.' epoch '.' TXID
 *
 * Lineage: its first 4 bytes, always 8 hex digits. Epoch and TXID: hex without
 * leading zeros, "0" for 0. Digits in lower case only: one token has one text.
 * Opaque to applications. Not signed: a forged token can make its bearer wait
 * or read stale data, no one else. Pure. Any thread.
 */
#ifndef TIDEMARK_WAL_TOKEN_H
#define TIDEMARK_WAL_TOKEN_H

#include "wal/history.h"
#include "wal/position.h"

#define TOKEN_TEXT_BYTES 49 /* room for 48 bytes and the final 0 */

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

/* The token of a position. */
void token_make(const struct lineage *lineage, const struct position *position,
                struct token *ret_token);
/* Writes the text, with a final 0. */
void token_format(const struct token *token, char text[TOKEN_TEXT_BYTES]);

/* 0, or -EINVAL for anything token_format() does not write. Reads at most
 * length bytes; text need not end in 0. */
int token_parse(const char *text, size_t length, struct token *ret_token);

/*
 * Judges token on a node that has applied up to applied_txid of a database
 * with this lineage and history, the newest one received from a primary;
 * H is its last epoch. The first line that fits decides:
 *
 *   lineage all 0: not heard of yet                     WAIT
 *   this lineage, epoch 0 and TXID 0: taken before the
 *     first commit                                      REACHED
 *   history empty: not heard of yet                     WAIT
 *   another lineage                                     UNKNOWN
 *   epoch not in the history, below H                   LOST
 *   epoch not in the history, above H: a failover that
 *     this node has not learned of                      WAIT
 *   TXID past the end of its epoch                      LOST
 *   TXID applied                                        REACHED
 *   else                                                WAIT
 */
enum token_verdict token_judge(const struct token *token,
                               const struct lineage *lineage,
                               const struct history *history,
                               txid_t applied_txid);

/* "reached", "wait", "lost", "unknown". */
const char *token_verdict_name(enum token_verdict verdict);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/history.h - which epoch each TXID of a database belongs to.
 *
 * A list (epoch, first TXID), strictly rising in both; the newest epoch is
 * open, each older one ends where the next begins. Two nodes whose histories
 * name the same epoch for a TXID hold the same transactions up to there:
 * histories, not TXIDs alone, decide what may be resumed and what was lost.
 * An epoch without transactions is dropped when the next one begins at the
 * same TXID: no position and no token can name it.
 *
 *   offset  size  encoded, little-endian
 *        0     4  count, at most HISTORY_MAX
 *        4     8  epoch       } count times
 *       12     8  first TXID  }
 *
 * A zeroed struct history is an empty one. Pure but for memory. Any thread,
 * one owner each.
 */
#ifndef TIDEMARK_WAL_HISTORY_H
#define TIDEMARK_WAL_HISTORY_H

#include "wal/position.h"

#include <stddef.h>

#define HISTORY_MAX 4096 /* entries; past that the oldest are forgotten */
#define HISTORY_ENTRY_BYTES 16u

struct history_entry {
    epoch_t epoch;
    txid_t first_txid; /* >= 1 */
};

struct history {
    struct history_entry *entries; /* owned */
    size_t count;
    size_t capacity;
};

/* Frees the entries; what is left is an empty history. */
void history_free(struct history *history);

/* ret_to is only written, never freed first. -ENOMEM. */
int history_copy(struct history *ret_to, const struct history *from);

/* Begins epoch at first_txid. -EINVAL unless epoch is above the last one and
 * first_txid at least 1 and not below the last entry's. -ENOMEM. On error
 * the history still holds what it held. */
int history_begin(struct history *history, epoch_t epoch, txid_t first_txid);

/* What comes after txid is gone: so are epochs that have nothing before it. */
void history_cut(struct history *history, txid_t txid);

/* Newest epoch; 0: none. */
epoch_t history_last(const struct history *history);

/* The epoch txid belongs to; 0 when it is before all entries. */
epoch_t history_epoch_of(const struct history *history, txid_t txid);

/* True when epoch is named; ret_end: last TXID of that epoch, or
 * UINT64_MAX when it is the newest. Untouched when false. */
bool history_has(const struct history *history, epoch_t epoch, txid_t *ret_end);

/*
 * The last TXID up to which a node at (their history, their txid) and we
 * (ours, our txid) hold the same transactions; 0: none. A history may run
 * ahead of its TXID.
 */
txid_t history_common(const struct history *ours, txid_t our_txid,
                      const struct history *theirs, txid_t their_txid);

/* Bytes history_encode() writes. */
size_t history_encoded_bytes(const struct history *history);
void history_encode(const struct history *history, uint8_t *bytes);

/* Reads what history_encode() wrote from the front of bytes; ret_used: how
 * many bytes that were. -EBADMSG: too short, too many, not rising. -ENOMEM. */
int history_decode(struct history *ret_history, const uint8_t *bytes,
                   size_t size, size_t *ret_used);

#endif

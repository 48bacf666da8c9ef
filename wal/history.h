/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/history.h - which epoch each TXID of a database belongs to.
 *
 * A list (epoch, first TXID), ascending in both. Two nodes whose histories
 * name the same epoch for a TXID hold the same transaction there: histories,
 * not TXIDs alone, decide what may be resumed and what was lost. An epoch
 * without transactions (first TXID past the last one) is dropped when the
 * next one begins at the same TXID. Pure. Any thread, one owner each.
 */
#ifndef TIDEMARK_WAL_HISTORY_H
#define TIDEMARK_WAL_HISTORY_H

#include "wal/position.h"

#include <stddef.h>

#define HISTORY_MAX 4096 /* entries; the oldest are folded past that */
#define HISTORY_ENTRY_BYTES 16u

struct history_entry {
    epoch_t epoch;
    txid_t first_txid;
};

struct history {
    struct history_entry *entries; /* owned */
    size_t count;
    size_t capacity;
};

void history_free(struct history *history);
int history_copy(struct history *ret_to, const struct history *from);

/* Begins epoch at first_txid. -EINVAL unless epoch is above the last one and
 * first_txid not below the last entry's. -ENOMEM. */
int history_begin(struct history *history, epoch_t epoch, txid_t first_txid);

/* Newest epoch; 0: none. */
epoch_t history_last(const struct history *history);

/* The epoch txid belongs to; 0 when it is before all entries. */
epoch_t history_epoch_of(const struct history *history, txid_t txid);

/* True when epoch is named; ret_end: last TXID of that epoch, or
 * UINT64_MAX when it is the newest. */
bool history_has(const struct history *history, epoch_t epoch,
                 txid_t *ret_end);

/*
 * The last TXID up to which a node at (their history, their txid) and we
 * (ours, our txid) hold the same transactions; 0: none.
 */
txid_t history_common(const struct history *ours, txid_t our_txid,
                      const struct history *theirs, txid_t their_txid);

/* Little-endian: u32 count, then count x (u64 epoch, u64 first TXID). */
size_t history_encoded_bytes(const struct history *history);
void history_encode(const struct history *history, uint8_t *bytes);
int history_decode(struct history *ret_history, const uint8_t *bytes,
                   size_t size, size_t *ret_used);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/history.c - see history.h.
 *
 * What holds of every history here (history_ok): epochs and first TXIDs rise
 * strictly, the first TXID is at least 1, at most HISTORY_MAX entries. The
 * decoder lets nothing else in, so the rest may rely on it.
 */
#include "wal/history.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/os.h"

#include <errno.h>

#define COUNT_BYTES 4u
#define CAPACITY_MIN 8u

static bool entry_follows(const struct history_entry *before,
                          const struct history_entry *entry)
{
    return entry->epoch > before->epoch &&
           entry->first_txid > before->first_txid;
}

static bool history_ok(const struct history *history)
{
    static const struct history_entry none = {0};
    const struct history_entry *before = &none;

    if (history->count > HISTORY_MAX || history->count > history->capacity)
        return false;
    for (size_t i = 0; i < history->count; i++) {
        if (!entry_follows(before, &history->entries[i]))
            return false;
        before = &history->entries[i];
    }
    return true;
}

void history_free(struct history *history)
{
    os_free(&history->entries);
    *history = (struct history){0};
}

/* Gives history, which may be empty, room for capacity entries. */
static int history_grow(struct history *history, size_t capacity)
{
    struct history_entry *entries;
    int rc = os_alloc(&entries, capacity * sizeof *entries, SITE_HISTORY_ALLOC);

    if (rc < 0)
        return rc;
    if (history->count > 0)
        memcpy(entries, history->entries, history->count * sizeof *entries);
    os_free(&history->entries);
    history->entries = entries;
    history->capacity = capacity;
    return 0;
}

int history_copy(struct history *ret_to, const struct history *from)
{
    struct history copy = {0};
    int rc;

    ASSERT(history_ok(from));
    if (from->count > 0) {
        rc = history_grow(&copy, from->count);
        if (rc < 0)
            return rc;
        memcpy(copy.entries, from->entries,
               from->count * sizeof *from->entries);
        copy.count = from->count;
    }
    *ret_to = copy;
    return 0;
}

/* The oldest entry goes: who still asks about it has been away for thousands
 * of failovers and is brought back page by page anyway. */
static void history_forget_oldest(struct history *history)
{
    history->count--;
    memmove(history->entries, history->entries + 1,
            history->count * sizeof *history->entries);
}

static int history_make_room(struct history *history)
{
    if (history->count == HISTORY_MAX)
        history_forget_oldest(history);
    if (history->count < history->capacity)
        return 0;
    return history_grow(history, history->capacity < CAPACITY_MIN
                                     ? CAPACITY_MIN
                                     : history->capacity * 2);
}

int history_begin(struct history *history, epoch_t epoch, txid_t first_txid)
{
    struct history_entry entry = {epoch, first_txid};
    struct history_entry *last;
    int rc;

    if (epoch <= history_last(history) || first_txid == 0)
        return -EINVAL;
    if (history->count > 0) {
        last = &history->entries[history->count - 1];
        if (first_txid < last->first_txid)
            return -EINVAL;
        if (first_txid == last->first_txid) {
            *last = entry; /* the one before it has no transactions */
            return 0;
        }
    }
    rc = history_make_room(history);
    if (rc < 0)
        return rc;
    history->entries[history->count++] = entry;
    return 0;
}

void history_cut(struct history *history, txid_t txid)
{
    while (history->count > 0 &&
           history->entries[history->count - 1].first_txid > txid)
        history->count--;
}

epoch_t history_last(const struct history *history)
{
    return history->count == 0 ? 0 : history->entries[history->count - 1].epoch;
}

/* Last TXID of entry i; the newest is open. */
static txid_t entry_end(const struct history *history, size_t i)
{
    return i + 1 == history->count ? UINT64_MAX
                                   : history->entries[i + 1].first_txid - 1;
}

epoch_t history_epoch_of(const struct history *history, txid_t txid)
{
    for (size_t i = history->count; i-- > 0;)
        if (history->entries[i].first_txid <= txid)
            return history->entries[i].epoch;
    return 0;
}

bool history_has(const struct history *history, epoch_t epoch, txid_t *ret_end)
{
    for (size_t i = history->count; i-- > 0;) {
        if (history->entries[i].epoch != epoch)
            continue;
        *ret_end = entry_end(history, i);
        return true;
    }
    return false;
}

static txid_t smaller(txid_t a, txid_t b)
{
    return a < b ? a : b;
}

/*
 * Both lists are walked from the newest end, stepping back the one with the
 * higher epoch. The first epoch in both of which both hold a transaction
 * answers: an epoch is begun once, by one primary, on one prefix, so what two
 * nodes hold below a transaction of the same epoch is the same.
 */
txid_t history_common(const struct history *ours, txid_t our_txid,
                      const struct history *theirs, txid_t their_txid)
{
    size_t i = ours->count, j = theirs->count;

    while (i > 0 && j > 0) {
        const struct history_entry *a = &ours->entries[i - 1];
        const struct history_entry *b = &theirs->entries[j - 1];
        txid_t end;

        if (a->epoch != b->epoch) {
            if (a->epoch > b->epoch)
                i--;
            else
                j--;
            continue;
        }
        end = smaller(smaller(our_txid, entry_end(ours, i - 1)),
                      smaller(their_txid, entry_end(theirs, j - 1)));
        if (end >= a->first_txid && end >= b->first_txid)
            return end;
        i--;
        j--;
    }
    return 0;
}

size_t history_encoded_bytes(const struct history *history)
{
    return COUNT_BYTES + history->count * HISTORY_ENTRY_BYTES;
}

void history_encode(const struct history *history, uint8_t *bytes)
{
    ASSERT(history_ok(history));
    put_le32(bytes, (uint32_t)history->count);
    bytes += COUNT_BYTES;
    for (size_t i = 0; i < history->count; i++) {
        put_le64(bytes, history->entries[i].epoch);
        put_le64(bytes + 8, history->entries[i].first_txid);
        bytes += HISTORY_ENTRY_BYTES;
    }
}

static void entries_decode(struct history *history, const uint8_t *bytes,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        history->entries[i].epoch = get_le64(bytes);
        history->entries[i].first_txid = get_le64(bytes + 8);
        bytes += HISTORY_ENTRY_BYTES;
    }
    history->count = count;
}

int history_decode(struct history *ret_history, const uint8_t *bytes,
                   size_t size, size_t *ret_used)
{
    struct history history = {0};
    size_t count;
    int rc = 0;

    if (size < COUNT_BYTES)
        return -EBADMSG;
    count = get_le32(bytes);
    if (count > HISTORY_MAX || count * HISTORY_ENTRY_BYTES > size - COUNT_BYTES)
        return -EBADMSG;
    if (count > 0)
        rc = history_grow(&history, count);
    if (rc < 0)
        return rc;
    entries_decode(&history, bytes + COUNT_BYTES, count);
    if (!history_ok(&history)) {
        history_free(&history);
        return -EBADMSG;
    }
    *ret_history = history;
    *ret_used = history_encoded_bytes(ret_history);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/retention.c - see retention.h. A log lets go of one segment between two
 * syncs, of its directory each: not of too many in one step, because capture
 * and apply wait meanwhile; the rest goes soon after.
 */
#include "wal/retention.h"

#include "base/clock.h"
#include "wal/budget.h"
#include "wal/notes.h"

#include <stdio.h>

#define HASHES_SAVE_BYTES (64u << 20) /* of log, between two side files ... */
#define HASHES_LEAST_BYTES (1u << 20) /* ... also when there is little room */
#define STEP_SEGMENTS 8u              /* twice what comes between them */
#define LOOKS_PER_AGE 8u              /* so it is kept to an eighth */
#define LOOK_FIRST_NS (60 * NS_PER_S)
#define LOOK_LEAST_NS (1 * NS_PER_S)
#define OVER_PAUSE_NS (5 * NS_PER_S) /* what is left is needed, for a while */

bool retention_is_due(struct database *database)
{
    if (database->catalog->config.log_max_age_ns == 0)
        return false;
    if (database->retention_due_ns == 0)
        database->retention_due_ns = clock_now_ns() + LOOK_FIRST_NS;
    return clock_now_ns() >= database->retention_due_ns;
}

bool retention_is_over(struct database *database)
{
    return database->log != NULL &&
           log_bytes(database->log) >
               atomic_load(&database->catalog->log_level) &&
           clock_now_ns() >= database->over_due_ns;
}

txid_t retention_base(const struct database *database)
{
    if (database->placed) /* a start redoes all after the copy */
        return 0;
    /* A side file that could not be written is further behind. */
    return database->hashes_saved_txid < database->meta.base_txid
               ? database->hashes_saved_txid
               : database->meta.base_txid;
}

/* What was not written to since then is too old; 0: nothing is. */
static uint64_t keep_since_ns(const struct catalog_config *config)
{
    uint64_t now = clock_wall_ns();

    if (config->log_max_age_ns == 0 || now < config->log_max_age_ns)
        return 0;
    return now - config->log_max_age_ns;
}

static void show(struct database *database)
{
    uint64_t bytes = log_bytes(database->log);
    txid_t first = log_first_txid(database->log);

    pthread_mutex_lock(&database->lock);
    database->view.log_bytes = bytes;
    database->view.first_log_txid = first;
    pthread_mutex_unlock(&database->lock);
    budget_count(database);
    notes_changed(database);
}

/* What every replica has durable; 0: not all of them have told. */
static txid_t needed_by_none(struct database *database)
{
    unsigned replicas = atomic_load(&database->catalog->replicas), told = 0;
    txid_t least = UINT64_MAX;

    pthread_mutex_lock(&database->lock);
    for (size_t i = 0; i < PINS_MAX; i++) {
        const struct pin *need = &database->needs[i];

        if (need->owner == NULL)
            continue;
        told++;
        least = need->txid < least ? need->txid : least;
    }
    pthread_mutex_unlock(&database->lock);
    return told == 0 || told < replicas ? 0 : least;
}

static unsigned trim(struct database *database, unsigned most,
                     uint64_t keep_bytes, uint64_t since, txid_t before)
{
    unsigned trimmed = 0;

    while (trimmed < most &&
           log_trim(database->log, keep_bytes, since, before) > 0) {
        trimmed++;
        if (log_sync(database->log) < 0)
            break; /* whoever needs it synced says so */
    }
    return trimmed;
}

void retention_apply(struct database *database, txid_t base)
{
    const struct catalog_config *config = &database->catalog->config;
    txid_t before = notes_pinned(database, base);
    txid_t needless = needed_by_none(database);
    uint64_t limit = budget_limit(database->catalog);
    uint64_t since = keep_since_ns(config);
    uint64_t pause = config->log_max_age_ns / LOOKS_PER_AGE;
    unsigned trimmed = trim(database, STEP_SEGMENTS, limit, since, before);

    if (needless < before)
        before = needless;
    if (limit > RETAIN_LEAST_BYTES && before > 0)
        trimmed += trim(database, STEP_SEGMENTS - trimmed, RETAIN_LEAST_BYTES,
                        0, before);
    if (trimmed > 0)
        show(database);
    if (trimmed < STEP_SEGMENTS)
        database->over_due_ns = clock_now_ns() + OVER_PAUSE_NS;
    if (trimmed == STEP_SEGMENTS || pause < LOOK_LEAST_NS)
        pause = LOOK_LEAST_NS;
    database->retention_due_ns = clock_now_ns() + pause;
}

void retention_look(struct database *database)
{
    if (database->log == NULL)
        return;
    budget_count(database);
    budget_step(database->catalog);
    if (retention_is_over(database) && !database->apply.checkpointing)
        retention_apply(database, retention_base(database));
}

/* Recovery need not redo what comes before. */
static int hashes_follow(struct database *database)
{
    char path[96];
    int rc = log_sync(database->log);

    snprintf(path, sizeof path, "%s/hashes", database->directory);
    if (rc == 0)
        rc = hashes_save(&database->hashes, database->catalog->config.data_fd,
                         path, &database->lineage, database->view.page_bytes,
                         &database->view.position);
    if (rc == 0)
        database->hashes_saved_txid = database->view.position.txid;
    return rc;
}

/* Enough log since the last side file for another. */
static bool has_grown(struct database *database)
{
    uint64_t grown = log_bytes(database->log) - database->hashes_saved_bytes;
    uint64_t step = budget_limit(database->catalog) / 4;

    if (step > HASHES_SAVE_BYTES)
        step = HASHES_SAVE_BYTES;
    return grown >= (step < HASHES_LEAST_BYTES ? HASHES_LEAST_BYTES : step);
}

void retention_step(struct database *database, bool now)
{
    bool saved = database->hashes_saved_txid == database->view.position.txid;
    bool due;

    if (database->log == NULL)
        return;
    budget_count(database);
    budget_step(database->catalog);
    due = retention_is_due(database) || retention_is_over(database);
    if (!due && (saved || (!now && !has_grown(database))))
        return;
    if (!saved && hashes_follow(database) < 0) {
        notes_fails(database);
        return;
    }
    retention_apply(database, database->hashes_saved_txid);
    database->hashes_saved_bytes = log_bytes(database->log);
}

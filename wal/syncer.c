/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/syncer.c - see syncer.h.
 *
 * Plan (with lock), let the disk work (without), note what became durable
 * (with lock). After a failed sync nobody knows which bytes reached the disk,
 * and the kernel may have dropped them as if they had: the segments become
 * suspect, and the next sync reads all that is not known durable from the
 * page cache, checks it and writes it again. Only then is fsync trusted.
 */
#include "wal/syncer.h"

#include "base/assert.h"
#include "base/uring.h"

#include <errno.h>

#define DIRTY_MAX 2 /* segments that are not durable; log.h says why */

void syncer_init(struct syncer *syncer, struct shelf *shelf)
{
    *syncer = (struct syncer){.shelf = shelf};
    pthread_mutex_init(&syncer->sync_lock, NULL);
    pthread_mutex_init(&syncer->lock, NULL);
}

void syncer_close(struct syncer *syncer)
{
    pthread_mutex_destroy(&syncer->lock);
    pthread_mutex_destroy(&syncer->sync_lock);
}

bool syncer_is_settled(struct syncer *syncer)
{
    const struct shelf *shelf = syncer->shelf;
    bool settled;

    pthread_mutex_lock(&syncer->lock);
    settled = syncer->names_synced == syncer->names_changed;
    for (size_t i = 0; i + 1 < shelf->count; i++)
        settled = settled &&
                  shelf->segments[i]->synced >= shelf->segments[i]->end;
    pthread_mutex_unlock(&syncer->lock);
    return settled;
}

/* What one sync will make durable. */
struct plan {
    struct shelf_segment *segments[DIRTY_MAX];
    uint64_t ends[DIRTY_MAX];
    int count;
    bool names;
    uint64_t names_changed;
    txid_t txid;
    struct position prepared;
};

static void plan_make(struct syncer *syncer, struct plan *plan)
{
    *plan = (struct plan){0};
    pthread_mutex_lock(&syncer->lock);
    plan->names_changed = syncer->names_changed;
    plan->names = syncer->names_synced != syncer->names_changed;
    plan->txid = syncer->last_txid;
    plan->prepared = syncer->prepared;
    for (size_t i = 0; i < syncer->shelf->count; i++) {
        struct shelf_segment *segment = syncer->shelf->segments[i];

        if (segment->synced >= segment->end)
            continue;
        ASSERT(plan->count < DIRTY_MAX);
        plan->segments[plan->count] = segment;
        plan->ends[plan->count++] = segment->end;
    }
    pthread_mutex_unlock(&syncer->lock);
}

static void plan_done(struct syncer *syncer, const struct plan *plan)
{
    const struct shelf *shelf = syncer->shelf;

    pthread_mutex_lock(&syncer->lock);
    for (int i = 0; i < plan->count; i++) {
        struct shelf_segment *segment = plan->segments[i];

        segment->suspect = false;
        segment->synced = plan->ends[i];
        /* It may have grown meanwhile, then been full: not done with it. */
        if (segment->synced >= segment->end &&
            segment != shelf->segments[shelf->count - 1])
            os_close(&segment->file);
    }
    syncer->names_synced = plan->names_changed;
    if (plan->txid > syncer->durable_txid)
        syncer->durable_txid = plan->txid;
    /* Another one may have come meanwhile, which was not in the plan. */
    if (plan->prepared.txid != 0 &&
        position_is_equal(&plan->prepared, &syncer->prepared))
        syncer->prepared_durable = true;
    pthread_mutex_unlock(&syncer->lock);
}

static void plan_failed(const struct plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        plan->segments[i]->suspect = true;
}

/* Writes the records of [from, end) again; they must all be readable. */
static int rewrite_records(struct segment_reader *reader,
                           const struct shelf_segment *segment, uint64_t from,
                           uint64_t end)
{
    struct record_header header;
    const uint8_t *bytes;
    size_t total;

    for (uint64_t at = from; at < end; at += total) {
        int rc = segment_reader_record(reader, at, end, &header, &total,
                                       &bytes);

        if (rc == 0)
            rc = site_fail(SITE_LOG_REWRITE,
                           "what a failed sync left is damaged", EIO);
        else if (rc > 0)
            rc = os_pwrite(&segment->file, bytes, total, at, SITE_LOG_REWRITE);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* After a failed sync: makes what is not known durable dirty again. */
static int rewrite(const struct shelf_segment *segment, uint64_t end)
{
    struct segment_reader reader = {0};
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    uint64_t from = segment->synced < sizeof bytes ? sizeof bytes
                                                   : segment->synced;
    int rc;

    segment_header_encode(&segment->header, bytes);
    rc = os_pwrite(&segment->file, bytes, sizeof bytes, 0, SITE_LOG_REWRITE);
    if (rc < 0)
        return rc;
    segment_reader_turn(&reader, &segment->file);
    rc = rewrite_records(&reader, segment, from, end);
    segment_reader_free(&reader);
    return rc;
}

int syncer_sync(struct syncer *syncer)
{
    struct uring_sync syncs[DIRTY_MAX + 1];
    struct plan plan;
    int count = 0, rc = 0;

    plan_make(syncer, &plan);
    for (int i = 0; i < plan.count && rc == 0; i++) {
        if (plan.segments[i]->suspect)
            rc = rewrite(plan.segments[i], plan.ends[i]);
        syncs[count++] = (struct uring_sync){&plan.segments[i]->file, false};
    }
    if (plan.names)
        syncs[count++] = (struct uring_sync){&syncer->shelf->dir, true};
    if (rc == 0)
        rc = uring_sync_group(syncs, count, SITE_LOG_SYNC);
    if (rc == 0)
        plan_done(syncer, &plan);
    else
        plan_failed(&plan);
    return rc;
}

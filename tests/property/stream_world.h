/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/stream_world.h - what the world of test_stream_world.c is
 * made of: a database that is PAGES numbers and their sum, records of it, and
 * pipes that carry them. Included once, by that test.
 */
#ifndef TESTS_PROPERTY_STREAM_WORLD_H
#define TESTS_PROPERTY_STREAM_WORLD_H

#include "base/bytes.h"
#include "replication/core/feed.h"
#include "replication/core/report.h"

#include "tests/harness.h"

#define PAGES 12
#define CHUNK_PAGES 3
#define RANGE_PAGES 5 /* in one HASHES */
#define TXIDS_MAX 4000
#define RECORDS_MAX 8000
#define PIPE_MAX 4096
#define WINDOW_BYTES (MESSAGE_CREDIT_BYTES) /* records here are that large */
#define BYTES_OF_RECORD (MESSAGE_CREDIT_BYTES / 3)

/* Its owner believes the hashes, until it reads the pages. */
struct content {
    uint64_t pages[PAGES]; /* 0: never written */
    uint64_t hashes[PAGES];
    struct position position;
};

struct sim_record {
    struct record_header header;
    size_t count;
    pgno_t pgnos[PAGES];
    uint64_t values[PAGES];
};

enum cargo {
    CARGO_OPEN,
    CARGO_RECORD,
    CARGO_CHUNK,
    CARGO_SAME,
    CARGO_COPIED,
    CARGO_ACK,
    CARGO_CREDIT,
    CARGO_HASHES, /* to the primary; in the engine's queue asks for them */
    CARGO_STATE,  /* DATABASE or RESYNC */
    CARGO_BEGIN,  /* from here on only in the engine's queue */
    CARGO_END,
    CARGO_ABANDON,
    CARGO_RESTART,
    CARGO_HISTORY,
};

struct parcel {
    enum cargo cargo;
    struct body_open open;
    struct sim_record record;
    struct position position;
    struct body_ack ack;
    uint32_t bytes;
    pgno_t first; /* HASHES, SAME */
    uint32_t count;
    uint64_t hashes[RANGE_PAGES];
    bool same[RANGE_PAGES];
    bool last, failed, doubt;
    bool resync;
    enum body_reason reason;
    uint32_t serial;
    struct body_database database;
};

struct pipe {
    struct parcel *parcels[PIPE_MAX];
    size_t first, count;
};

static struct rng rng;
static bool calm;  /* no more bad weather */
static bool noisy; /* bytes change on the way */
static epoch_t epoch;

/* ---- pipes ------------------------------------------------- */

static struct parcel *put(struct pipe *pipe, enum cargo cargo)
{
    struct parcel *parcel = calloc(1, sizeof *parcel);

    EXPECT_LT(pipe->count, PIPE_MAX);
    parcel->cargo = cargo;
    pipe->parcels[(pipe->first + pipe->count++) % PIPE_MAX] = parcel;
    return parcel;
}

static struct parcel *get(struct pipe *pipe)
{
    struct parcel *parcel = pipe->parcels[pipe->first];

    if (pipe->count == 0)
        return NULL;
    pipe->first = (pipe->first + 1) % PIPE_MAX;
    pipe->count--;
    return parcel;
}

static void parcel_free(struct parcel *parcel)
{
    history_free(&parcel->open.history);
    history_free(&parcel->database.history);
    free(parcel);
}

static void empty(struct pipe *pipe)
{
    struct parcel *parcel;

    while ((parcel = get(pipe)) != NULL)
        parcel_free(parcel);
}

/* ---- contents ------------------------------------------------- */

static uint64_t hash_of(pgno_t pgno, uint64_t value)
{
    struct rng one = {value * 31 + pgno};

    return value == 0 ? 0 : rng_u64(&one);
}

static uint64_t sum_of(const struct content *content)
{
    uint64_t sum = 0;

    for (pgno_t pgno = 1; pgno <= PAGES; pgno++)
        sum ^= content->hashes[pgno - 1];
    return sum;
}

/* Are its pages what its hashes say? */
static bool is_sound(const struct content *content)
{
    for (pgno_t pgno = 1; pgno <= PAGES; pgno++)
        if (content->hashes[pgno - 1] !=
            hash_of(pgno, content->pages[pgno - 1]))
            return false;
    return true;
}

static void write_pages(struct content *content,
                        const struct sim_record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        pgno_t pgno = record->pgnos[i];

        content->pages[pgno - 1] = record->values[i];
        content->hashes[pgno - 1] = hash_of(pgno, record->values[i]);
    }
}

#endif

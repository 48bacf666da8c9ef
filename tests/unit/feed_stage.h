/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/feed_stage.h - a feed of a primary at TXID 100, and what may
 * happen to it. Include it once per program; it brings the harness.
 */
#ifndef TESTS_UNIT_FEED_STAGE_H
#define TESTS_UNIT_FEED_STAGE_H

#include "replication/core/feed.h"

#include "tests/harness.h"

#define OURS 11
#define OLDER 5

static struct feed feed;
static struct feed_source source;
static struct history history;
static struct body_database replica;
static struct feed_actions actions;
static struct record_header header;

/* A primary at TXID 100 whose log begins at 50; its epoch began at 41. */
static void a_primary(void)
{
    history_free(&history);
    EXPECT_OK(history_begin(&history, OLDER, 1));
    EXPECT_OK(history_begin(&history, OURS, 41));
    source = (struct feed_source){
        .ready = true,
        .lineage = {{7}},
        .position = {OURS, 100, 0xaaaa},
        .first_log_txid = 50,
        .page_bytes = 4096,
        .history = &history,
    };
    feed_init(&feed, 1000);
}

static void a_replica_at(epoch_t epoch, txid_t txid, uint64_t sum)
{
    history_free(&replica.history);
    replica = (struct body_database){
        .lineage = {{7}},
        .position = {epoch, txid, sum},
        .received_txid = txid,
        .durable_txid = txid,
        .name = "app.db",
    };
    EXPECT_OK(history_begin(&replica.history, OLDER, 1));
    if (epoch > OLDER)
        EXPECT_OK(history_begin(&replica.history, epoch, 41));
}

static struct feed_event event(enum feed_event_kind kind)
{
    return (struct feed_event){
        .kind = kind, .source = source, .replica = &replica};
}

static int steps(struct feed_event one)
{
    actions.count = 0;
    return feed_step(&feed, &one, &actions);
}

__attribute__((unused)) static void hears(void)
{
    EXPECT_OK(steps(event(FEED_HEARD)));
}

__attribute__((unused)) static void publishes(txid_t txid)
{
    source.position.txid = txid;
    EXPECT_OK(steps(event(FEED_SOURCE)));
}

/* The driver answers the last FETCH with first .. last. */
static int reads_as(txid_t first, txid_t last, unsigned flags, uint32_t part,
                    uint32_t parts, size_t bytes)
{
    struct feed_event one = event(FEED_RECORD);

    header = (struct record_header){.flags = flags,
                                    .first_txid = first,
                                    .last_txid = last,
                                    .part = part,
                                    .parts = parts};
    one.ask = feed.ask;
    one.header = &header;
    one.bytes = bytes;
    return steps(one);
}

__attribute__((unused)) static void reads(txid_t first, txid_t last,
                                          size_t bytes)
{
    EXPECT_OK(reads_as(first, last, 0, 1, 1, bytes));
}

__attribute__((unused)) static void reads_pages(pgno_t next_pgno, size_t bytes)
{
    struct feed_event one = event(FEED_CHUNK);

    header = (struct record_header){.flags = RECORD_SNAPSHOT,
                                    .page_bytes = source.page_bytes};
    one.ask = feed.ask;
    one.header = &header;
    one.bytes = bytes;
    one.next_pgno = next_pgno;
    one.position = source.position;
    EXPECT_OK(steps(one));
}

__attribute__((unused)) static void gets_credit(size_t bytes)
{
    struct feed_event one = event(FEED_CREDIT);

    one.bytes = bytes;
    EXPECT_OK(steps(one));
}

__attribute__((unused)) static int acks(txid_t received, txid_t durable,
                                        txid_t applied, uint64_t sum)
{
    struct body_ack ack = {
        feed.serial, received, durable, {OURS, applied, sum}};
    struct feed_event one = event(FEED_ACK);

    one.ack = &ack;
    return steps(one);
}

__attribute__((unused)) static int asks_again(enum body_reason reason,
                                              uint32_t serial)
{
    struct feed_event one = event(FEED_RESYNC);

    one.reason = reason;
    one.serial = serial;
    return steps(one);
}

__attribute__((unused)) static const struct feed_action *does(
    size_t index, enum feed_action_kind kind)
{
    EXPECT_GT(actions.count, index);
    EXPECT_EQ(actions.items[index].kind, kind);
    return &actions.items[index];
}

#endif

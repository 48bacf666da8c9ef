/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/follow_stage.h - a follower at TXID 100, and what may happen to
 * it. Include it once per program; it brings the harness.
 */
#ifndef TESTS_UNIT_FOLLOW_STAGE_H
#define TESTS_UNIT_FOLLOW_STAGE_H

#include "base/clock.h"
#include "replication/core/report.h"

#include "tests/harness.h"

#define EPOCH 11
#define NEXT_EPOCH 12
#define QUARTER (MESSAGE_CREDIT_BYTES / 4)

static const struct lineage lineage = {{7}};
static struct follow follow;
static struct follow_view view;
static struct body_open open_message;
static struct history history;
static struct record_header header;
static struct follow_actions actions;
static uint64_t now_ns;

/* A replica that has applied up to 100. */
static void a_replica(void)
{
    history_free(&history);
    EXPECT_OK(history_begin(&history, EPOCH, 1));
    view = (struct follow_view){
        .position = {EPOCH, 100, 0xaaaa},
        .received_txid = 100,
        .durable_txid = 90,
        .epoch = EPOCH,
    };
    now_ns = 1000 * NS_PER_S;
    follow_init(&follow, &lineage, &view);
}

static void steps(struct follow_event event)
{
    event.view = view;
    event.now_ns = now_ns;
    follow_step(&follow, &event, &actions);
}

static void happens(enum follow_event_kind kind)
{
    steps((struct follow_event){.kind = kind});
}

static void is_opened(enum body_mode mode, struct position position)
{
    open_message = (struct body_open){
        .mode = mode,
        .serial = follow.serial + 1,
        .lineage = lineage,
        .position = position,
        .page_bytes = 4096,
        .history = history,
    };
    steps((struct follow_event){.kind = FOLLOW_OPEN, .open = &open_message});
}

static void resumes(void)
{
    is_opened(BODY_RESUME, view.position);
}

static void gets(struct record_header one, size_t bytes)
{
    header = one;
    header.lineage = lineage;
    if (header.parts == 0)
        header.part = header.parts = 1;
    if (header.epoch == 0)
        header.epoch = EPOCH;
    steps((struct follow_event){
        .kind = FOLLOW_RECORD, .header = &header, .bytes = bytes});
}

/* Record txid of a history in which the sum at a TXID is its number. */
__attribute__((unused)) static void gets_txid(txid_t txid)
{
    gets((struct record_header){.first_txid = txid,
                                .last_txid = txid,
                                .previous = {EPOCH, txid - 1,
                                             txid == 101 ? 0xaaaa : txid - 1},
                                .sum_after = txid},
         10);
}

__attribute__((unused)) static void gets_pages(size_t bytes)
{
    header = (struct record_header){
        .flags = RECORD_SNAPSHOT, .lineage = lineage, .page_bytes = 4096};
    steps((struct follow_event){
        .kind = FOLLOW_CHUNK, .header = &header, .bytes = bytes});
}

__attribute__((unused)) static void copy_ends(txid_t txid)
{
    steps((struct follow_event){.kind = FOLLOW_COPIED,
                                .position = {EPOCH, txid, txid}});
}

static const struct follow_action *does(size_t index,
                                        enum follow_action_kind kind)
{
    EXPECT_GT(actions.count, index);
    EXPECT_EQ(actions.items[index].kind, kind);
    return &actions.items[index];
}

__attribute__((unused)) static void does_nothing(void)
{
    EXPECT_EQ(actions.count, 0);
}

static struct body_database tells(void)
{
    struct body_database told;

    report_tell(&follow, &view, &told);
    return told;
}

#endif

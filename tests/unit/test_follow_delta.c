/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_follow_delta.c - the replica's half, of a copy that is
 * compared range by range: how far ahead it asks, what answers it takes, and
 * when it does not believe its own hashes. */
#include "tests/unit/follow_stage.h"

#define RANGE BODY_RANGE_PAGES
#define SAME_BYTES 10

static void is_opened_because(enum body_mode mode, enum body_reason reason)
{
    open_message = (struct body_open){
        .mode = mode,
        .reason = reason,
        .serial = follow.serial + 1,
        .lineage = lineage,
        .position = {EPOCH, 500, 500},
        .page_bytes = 4096,
        .history = history,
    };
    steps((struct follow_event){.kind = FOLLOW_OPEN, .open = &open_message});
}

static void a_delta(void)
{
    a_replica();
    is_opened_because(BODY_DELTA, BODY_TRIMMED);
}

/* The engine has the hashes of the pages up to next_pgno, not included. */
static void has_hashes(pgno_t next_pgno, bool last)
{
    steps((struct follow_event){
        .kind = FOLLOW_HASHES, .next_pgno = next_pgno, .last = last});
}

static void has_no_hashes(void)
{
    steps((struct follow_event){.kind = FOLLOW_HASHES, .failed = true});
}

static void gets_same(pgno_t first, uint32_t count)
{
    struct body_same same = {.first = first, .count = count};

    steps((struct follow_event){
        .kind = FOLLOW_SAME, .same = &same, .bytes = SAME_BYTES});
}

static void is_damaged(void)
{
    does(0, FOLLOW_DO_ABANDON);
    EXPECT_EQ(does(1, FOLLOW_DO_RESYNC)->reason, BODY_DAMAGED);
    EXPECT_EQ(actions.count, 2);
    EXPECT_EQ(follow.state, FOLLOW_ASKING);
}

/* ---- hashes -------------------------------------------------------------- */

TEST(a_delta_asks_for_hashes_as_soon_as_it_has_begun)
{
    a_delta();
    EXPECT_FALSE(does(0, FOLLOW_DO_BEGIN)->doubt);
    does(1, FOLLOW_DO_HISTORY);
    EXPECT_EQ(does(2, FOLLOW_DO_HASH)->pgno, 1);
    does(3, FOLLOW_DO_ACK);
    is_opened_because(BODY_SNAPSHOT, BODY_TRIMMED); /* which asks for none */
    does(3, FOLLOW_DO_ACK);
    EXPECT_EQ(actions.count, 4);
}

TEST(hashes_go_out_as_far_ahead_of_the_answers_as_is_allowed_and_no_further)
{
    pgno_t next = 1;

    a_delta();
    for (unsigned sent = 1; sent <= BODY_HASHES_AHEAD; sent++) {
        next += RANGE;
        has_hashes(next, false);
        does(0, FOLLOW_DO_HASHES);
        if (sent < BODY_HASHES_AHEAD)
            EXPECT_EQ(does(1, FOLLOW_DO_HASH)->pgno, next);
    }
    EXPECT_EQ(actions.count, 1);
    happens(FOLLOW_TICK);
    does_nothing();
    gets_same(1, RANGE);
    does(0, FOLLOW_DO_SAME);
    EXPECT_EQ(does(1, FOLLOW_DO_HASH)->pgno, next);
    gets_same(1 + RANGE, RANGE); /* while the engine is asked */
    does(0, FOLLOW_DO_SAME);
    EXPECT_EQ(actions.count, 1);
}

TEST(hashes_that_fail_are_asked_for_again_in_a_second)
{
    a_delta();
    has_hashes(1 + RANGE, false);
    has_no_hashes();
    does_nothing();
    happens(FOLLOW_TICK);
    EXPECT_EQ(does(0, FOLLOW_DO_HASH)->pgno, 1 + RANGE);
    happens(FOLLOW_TICK);
    does_nothing();
}

TEST(hashes_that_come_when_the_copy_was_given_up_are_not_sent)
{
    a_delta();
    happens(FOLLOW_LOST);
    has_hashes(1 + RANGE, false);
    does_nothing();
    a_delta();
    is_opened_because(BODY_SNAPSHOT, BODY_STOPPED);
    has_hashes(1 + RANGE, false);
    does_nothing();
}

TEST(another_open_starts_the_hashes_over)
{
    a_delta();
    has_hashes(1 + RANGE, false);
    is_opened_because(BODY_DELTA, BODY_TRIMMED);
    does(0, FOLLOW_DO_ABANDON);
    does(1, FOLLOW_DO_BEGIN);
    EXPECT_EQ(does(3, FOLLOW_DO_HASH)->pgno, 1);
    gets_same(1, RANGE); /* of the OPEN before: nothing was sent for this */
    is_damaged();
}

/* ---- answers ------------------------------------------------------------- */

TEST(a_delta_ends_when_every_range_was_answered)
{
    a_delta();
    has_hashes(1 + RANGE, false);
    has_hashes(5 + RANGE, true);
    EXPECT_EQ(actions.count, 1); /* there are no more */
    gets_same(1, RANGE);
    gets_pages(10);
    does(0, FOLLOW_DO_CHUNK);
    gets_same(1 + RANGE, 4);
    gets_pages(10);
    copy_ends(501);
    does(0, FOLLOW_DO_END);
    EXPECT_EQ(follow.state, FOLLOW_REDOING);
    EXPECT_EQ(follow.offered, 2 * SAME_BYTES + 20);
}

TEST(a_replica_without_a_page_is_answered_all_the_same)
{
    a_delta();
    has_hashes(1, true);
    does(0, FOLLOW_DO_HASHES);
    gets_same(1, 0);
    does(0, FOLLOW_DO_SAME);
    copy_ends(501);
    does(0, FOLLOW_DO_END);
}

TEST(a_copy_that_ends_before_all_was_compared_is_none)
{
    a_delta();
    copy_ends(501); /* nothing was sent yet */
    is_damaged();
    a_delta();
    has_hashes(1 + RANGE, true);
    copy_ends(501); /* sent, not answered */
    is_damaged();
    a_delta();
    has_hashes(1 + RANGE, false);
    gets_same(1, RANGE);
    copy_ends(501); /* answered, and there is more */
    is_damaged();
    a_delta();
    has_hashes(1 + RANGE, true);
    gets_same(1, RANGE - 1); /* of one nothing was said */
    copy_ends(501);
    is_damaged();
}

TEST(answers_out_of_order_or_unasked_or_of_too_many_pages_are_refused)
{
    a_delta();
    gets_same(1, RANGE);
    is_damaged();
    a_delta();
    has_hashes(1 + RANGE, false);
    has_hashes(1 + 2 * RANGE, false);
    gets_same(1 + RANGE, RANGE);
    is_damaged();
    a_delta();
    has_hashes(101, false);
    gets_same(1, 101);
    is_damaged();
    a_delta();
    has_hashes(101, true); /* also when all hashes were sent */
    gets_same(1, 101);
    is_damaged();
    a_delta();
    has_hashes(101, true);
    gets_same(1, 100);
    gets_same(101, 0);
    is_damaged();
    a_delta();
    has_hashes(101, true);
    steps((struct follow_event){.kind = FOLLOW_SAME, .bytes = SAME_BYTES});
    is_damaged(); /* unreadable */
    EXPECT_EQ(follow.offered, 0);
}

TEST(an_answer_in_a_snapshot_or_to_a_resumed_replica_is_refused)
{
    a_replica();
    is_opened_because(BODY_SNAPSHOT, BODY_TRIMMED);
    gets_same(1, 0);
    is_damaged();
    a_replica();
    resumes();
    gets_same(1, 0);
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_DAMAGED);
}

TEST(an_answer_after_the_copy_was_given_up_is_thrown_away_and_credited)
{
    struct body_same same = {.first = 1, .count = RANGE};

    a_delta();
    has_hashes(1 + RANGE, true);
    copy_ends(501);
    is_damaged();
    steps((struct follow_event){
        .kind = FOLLOW_SAME, .same = &same, .bytes = QUARTER});
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(does(0, FOLLOW_DO_CREDIT)->bytes, QUARTER);
}

TEST(an_answer_costs_credit_until_the_engine_took_it)
{
    struct body_same same = {.first = 1, .count = RANGE};

    a_delta();
    has_hashes(1 + RANGE, true);
    steps((struct follow_event){
        .kind = FOLLOW_SAME, .same = &same, .bytes = QUARTER});
    EXPECT_EQ(actions.count, 1);
    view.copying = true;
    view.consumed_bytes = QUARTER;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(does(0, FOLLOW_DO_CREDIT)->bytes, QUARTER);
}

/* ---- what is told -------------------------------------------------------- */

TEST(what_there_is_to_compare_with_is_told_however_little_the_rest_is_worth)
{
    a_replica();
    view.base_page_bytes = 4096;
    view.base_pages = 7;
    EXPECT_EQ(tells().base_pages, 7);
    is_opened_because(BODY_SNAPSHOT, BODY_TRIMMED);
    gets_pages(10);
    EXPECT_EQ(tells().received_txid, 0);
    EXPECT_EQ(tells().base_page_bytes, 4096);
    EXPECT_EQ(tells().base_pages, 7);
}

/* ---- doubt --------------------------------------------------------------- */

static void is_placed(void)
{
    copy_ends(500);
    view.copying = view.stopped = false;
    view.consumed_bytes = follow.offered;
    view.position = (struct position){EPOCH, 500, 500};
    view.received_txid = view.durable_txid = 500;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(follow.state, FOLLOW_STREAMING);
}

static void engine_refuses(void)
{
    view.stopped = true;
    view.consumed_bytes = follow.offered;
    happens(FOLLOW_PROGRESS);
    does(0, FOLLOW_DO_RESTART);
    EXPECT_EQ(does(1, FOLLOW_DO_RESYNC)->reason, BODY_STOPPED);
}

TEST(content_that_was_refused_is_not_believed_until_a_copy_is_in_place)
{
    a_replica();
    resumes();
    gets_txid(101);
    engine_refuses();
    is_opened_because(BODY_DELTA, BODY_STOPPED);
    EXPECT_TRUE(does(0, FOLLOW_DO_BEGIN)->doubt);
    happens(FOLLOW_LOST); /* the next primary hears nothing of why */
    is_opened_because(BODY_DELTA, BODY_NEW);
    EXPECT_TRUE(does(0, FOLLOW_DO_BEGIN)->doubt);
    has_hashes(1, true);
    gets_same(1, 0);
    gets_pages(10);
    is_placed();
    is_opened_because(BODY_DELTA, BODY_TRIMMED);
    EXPECT_FALSE(does(0, FOLLOW_DO_BEGIN)->doubt);
}

TEST(content_that_the_primary_finds_wrong_is_not_believed)
{
    a_replica();
    resumes();
    is_opened_because(BODY_DELTA, BODY_SUM);
    EXPECT_TRUE(does(0, FOLLOW_DO_BEGIN)->doubt);
}

TEST(content_that_was_refused_while_nobody_was_connected_is_not_believed)
{
    a_replica();
    view.stopped = true;
    is_opened_because(BODY_DELTA, BODY_TRIMMED);
    does(0, FOLLOW_DO_RESTART);
    EXPECT_TRUE(does(1, FOLLOW_DO_BEGIN)->doubt);
}

TEST(a_copy_that_was_cut_off_is_no_reason_for_doubt)
{
    a_delta();
    has_hashes(1 + RANGE, false);
    happens(FOLLOW_LOST);
    is_opened_because(BODY_DELTA, BODY_NEW);
    EXPECT_FALSE(does(0, FOLLOW_DO_BEGIN)->doubt);
}

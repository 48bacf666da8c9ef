/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_follow.c - the replica's half: what is let in, what is
 * told back, and how it gets out of trouble. */
#include "tests/unit/follow_stage.h"

/* ---- records ----------------------------------------------------------- */

TEST(records_that_continue_us_are_handed_on)
{
    a_replica();
    resumes();
    does(0, FOLLOW_DO_HISTORY);
    does(1, FOLLOW_DO_ACK);
    gets_txid(101);
    does(0, FOLLOW_DO_OFFER);
    gets_txid(102);
    does(0, FOLLOW_DO_OFFER);
    EXPECT_EQ(follow.offered, 20);
}

TEST(a_hole_between_records_is_never_handed_on)
{
    a_replica();
    resumes();
    gets_txid(102);
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_GAP);
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->serial, 1);
    gets_txid(101); /* was on its way before the primary heard of it */
    does_nothing();
}

TEST(a_record_that_continues_another_content_is_never_handed_on)
{
    a_replica();
    resumes();
    gets((struct record_header){.first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 1}},
         10);
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_SUM);
}

TEST(an_overlap_is_harmless_and_its_previous_sum_is_not_ours)
{
    a_replica();
    resumes();
    gets((struct record_header){.first_txid = 99,
                                .last_txid = 103,
                                .previous = {EPOCH, 98, 77},
                                .sum_after = 103},
         10);
    does(0, FOLLOW_DO_OFFER);
    gets_txid(104);
    does(0, FOLLOW_DO_OFFER);
}

TEST(what_we_have_already_is_thrown_away_and_not_complained_about)
{
    a_replica();
    resumes();
    gets_txid(100);
    does_nothing();
    gets_txid(101);
    does(0, FOLLOW_DO_OFFER);
    gets_txid(101);
    does_nothing();
}

TEST(parts_and_resolve_come_in_their_order_or_not_at_all)
{
    struct record_header part = {.first_txid = 101,
                                 .last_txid = 101,
                                 .previous = {EPOCH, 100, 0xaaaa},
                                 .part = 1,
                                 .parts = 2,
                                 .flags = RECORD_PREPARED};

    a_replica();
    resumes();
    gets(part, 10);
    does(0, FOLLOW_DO_OFFER);
    part.part = 2;
    gets(part, 10);
    does(0, FOLLOW_DO_OFFER);
    part.flags = RECORD_RESOLVE;
    part.part = part.parts = 1;
    gets(part, 10);
    does(0, FOLLOW_DO_OFFER);
    part.flags = RECORD_RESOLVE;
    part.first_txid = part.last_txid = 102; /* of no PREPARED we saw */
    gets(part, 10);
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_GAP);
}

TEST(a_record_nobody_can_read_or_of_another_lineage_is_not_handed_on)
{
    a_replica();
    resumes();
    steps((struct follow_event){.kind = FOLLOW_RECORD, .bytes = 10});
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_DAMAGED);
    resumes();
    header.lineage.bytes[3] = 1;
    header.first_txid = header.last_txid = 101;
    steps((struct follow_event){
        .kind = FOLLOW_RECORD, .header = &header, .bytes = 10});
    EXPECT_EQ(follow.reason, BODY_LINEAGE);
    EXPECT_EQ(follow.offered, 0);
}

/* ---- epochs ------------------------------------------------------------ */

TEST(a_primary_of_an_older_epoch_is_refused_not_argued_with)
{
    a_replica();
    view.epoch = NEXT_EPOCH;
    follow_init(&follow, &lineage, &view);
    resumes();
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(does(0, FOLLOW_DO_REFUSE)->reason, BODY_FENCED);
    gets_txid(101);
    does_nothing();
}

TEST(older_epochs_are_fine_while_catching_up_but_never_go_back)
{
    a_replica();
    EXPECT_OK(history_begin(&history, NEXT_EPOCH, 102));
    resumes();
    gets_txid(101); /* of the epoch that ended there */
    does(0, FOLLOW_DO_OFFER);
    gets((struct record_header){.first_txid = 102,
                                .last_txid = 102,
                                .epoch = NEXT_EPOCH,
                                .previous = {EPOCH, 101, 101},
                                .sum_after = 102},
         10);
    does(0, FOLLOW_DO_OFFER);
    gets_txid(103); /* of EPOCH again */
    EXPECT_EQ(does(0, FOLLOW_DO_REFUSE)->reason, BODY_FENCED);
}

/* ---- copies ------------------------------------------------------------ */

TEST(a_copy_begins_before_its_history_is_taken)
{
    a_replica();
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 500, 500});
    does(0, FOLLOW_DO_BEGIN);
    does(1, FOLLOW_DO_HISTORY);
    EXPECT_EQ(does(2, FOLLOW_DO_ACK)->ack.received_txid, 0);
    gets_pages(10);
    does(0, FOLLOW_DO_CHUNK);
    copy_ends(501);
    does(0, FOLLOW_DO_END);
    gets_txid(501);
    does(0, FOLLOW_DO_OFFER);
}

TEST(a_copy_counts_from_the_moment_it_is_in_place_and_not_before)
{
    struct body_database told;

    a_replica(); /* at 100, on another branch, and told to copy from 50 */
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 50, 50});
    gets_pages(10);
    copy_ends(50);
    happens(FOLLOW_PROGRESS); /* the engine has not even begun */
    EXPECT_EQ(follow.state, FOLLOW_REDOING);
    report_tell(&follow, &view, &told);
    EXPECT_EQ(told.received_txid, 0);
    view.copying = true;
    view.consumed_bytes = 10;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(follow.state, FOLLOW_REDOING);
    view.copying = false;
    view.position = (struct position){EPOCH, 50, 50};
    view.received_txid = view.durable_txid = 50;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(follow.state, FOLLOW_STREAMING);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.position.txid, 50);
}

TEST(pages_that_do_not_belong_to_the_copy_end_it)
{
    a_replica();
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 500, 500});
    header.page_bytes = 512;
    steps((struct follow_event){
        .kind = FOLLOW_CHUNK, .header = &header, .bytes = 10});
    does(0, FOLLOW_DO_ABANDON);
    does(1, FOLLOW_DO_RESYNC);
    gets_pages(10);
    does_nothing();
}

TEST(a_connection_lost_in_a_copy_abandons_it)
{
    a_replica();
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 500, 500});
    gets_pages(10);
    happens(FOLLOW_LOST);
    does(0, FOLLOW_DO_ABANDON);
    EXPECT_EQ(follow.state, FOLLOW_ASKING);
}

TEST(an_open_in_the_middle_of_anything_starts_over)
{
    a_replica();
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 500, 500});
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 600, 600});
    does(0, FOLLOW_DO_ABANDON);
    does(1, FOLLOW_DO_BEGIN);
    is_opened(BODY_NOTHING, (struct position){0});
    does(0, FOLLOW_DO_ABANDON);
    EXPECT_EQ(follow.state, FOLLOW_ASKING);
    gets_txid(101);
    does_nothing();
}

/* ---- acks and credit --------------------------------------------------- */

TEST(an_ack_says_received_durable_and_applied_and_is_not_repeated)
{
    a_replica();
    resumes();
    gets_txid(101);
    view.received_txid = 101;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.received_txid, 101);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.durable_txid, 90);
    EXPECT_EQ(does(0, FOLLOW_DO_ACK)->ack.position.txid, 100);
    happens(FOLLOW_PROGRESS);
    does_nothing();
}

TEST(what_was_offered_is_ours_even_if_the_engine_has_not_taken_it_yet)
{
    struct body_database told;

    a_replica();
    resumes();
    gets_txid(101);
    gets_txid(102);
    happens(FOLLOW_LOST);
    report_tell(&follow, &view, &told);
    EXPECT_EQ(told.position.txid, 100);
    EXPECT_EQ(told.received_txid, 102);
    is_opened(BODY_RESUME, (struct position){EPOCH, 102, 0});
    gets_txid(103); /* its previous sum is checked against 102's */
    does(0, FOLLOW_DO_OFFER);
}

TEST(a_resume_from_anywhere_but_where_we_are_is_not_followed)
{
    a_replica();
    is_opened(BODY_RESUME, (struct position){EPOCH, 98, 98});
    EXPECT_EQ(does(0, FOLLOW_DO_RESYNC)->reason, BODY_GAP);
}

TEST(parts_of_a_record_that_was_cut_off_come_again)
{
    struct record_header part = {.first_txid = 101,
                                 .last_txid = 101,
                                 .previous = {EPOCH, 100, 0xaaaa},
                                 .part = 1,
                                 .parts = 2};

    a_replica();
    resumes();
    gets(part, 10);
    happens(FOLLOW_LOST);
    resumes();
    gets(part, 10);
    does(0, FOLLOW_DO_OFFER);
}

TEST(credit_is_given_back_when_consumed_in_quarters_of_the_window)
{
    a_replica();
    resumes();
    gets((struct record_header){.first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 0xaaaa}},
         2 * QUARTER);
    EXPECT_EQ(actions.count, 1);
    view.consumed_bytes = QUARTER - 1;
    happens(FOLLOW_PROGRESS);
    does_nothing();
    view.consumed_bytes = QUARTER;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(does(0, FOLLOW_DO_CREDIT)->bytes, QUARTER);
}

TEST(what_is_thrown_away_is_credited_too)
{
    a_replica();
    resumes();
    gets_txid(105);
    gets((struct record_header){.first_txid = 106, .last_txid = 106}, QUARTER);
    EXPECT_EQ(does(0, FOLLOW_DO_CREDIT)->bytes, QUARTER + 10);
}

TEST(a_primary_that_sends_far_beyond_its_credit_is_refused)
{
    a_replica();
    resumes();
    gets((struct record_header){.first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 0xaaaa}},
         MESSAGE_CREDIT_BYTES + MESSAGE_BODY_MAX_BYTES);
    does(0, FOLLOW_DO_OFFER);
    gets_txid(102);
    EXPECT_EQ(actions.count, 1);
    EXPECT_EQ(does(0, FOLLOW_DO_REFUSE)->reason, BODY_LIMIT);
}

TEST(a_new_connection_is_not_credited_for_what_the_old_one_brought)
{
    a_replica();
    resumes();
    gets((struct record_header){.first_txid = 101,
                                .last_txid = 101,
                                .previous = {EPOCH, 100, 0xaaaa}},
         2 * QUARTER);
    happens(FOLLOW_LOST);
    view.consumed_bytes = 2 * QUARTER;
    happens(FOLLOW_PROGRESS);
    does_nothing();
}

/* ---- trouble ----------------------------------------------------------- */

TEST(when_the_engine_stops_it_is_restarted_and_only_a_copy_helps)
{
    struct body_database told;

    a_replica();
    resumes();
    gets_txid(101);
    view.stopped = true;
    view.consumed_bytes = 10;
    happens(FOLLOW_PROGRESS);
    does(0, FOLLOW_DO_RESTART);
    EXPECT_EQ(does(1, FOLLOW_DO_RESYNC)->reason, BODY_STOPPED);
    report_tell(&follow, &view, &told);
    EXPECT_EQ(told.position.txid, 0);
    resumes(); /* whatever the primary thinks */
    EXPECT_EQ(follow.state, FOLLOW_RESTING);
}

TEST(what_the_engine_refused_while_nobody_was_connected_is_not_told)
{
    a_replica();
    resumes();
    gets_txid(101);
    gets_txid(102);
    happens(FOLLOW_LOST);
    EXPECT_EQ(tells().received_txid, 102);
    view.consumed_bytes = 10;
    view.stopped = true; /* at 101; 102 is dropped when its turn comes */
    EXPECT_EQ(tells().received_txid, 0);
    resumes(); /* decided before the primary heard of it */
    does(0, FOLLOW_DO_RESTART);
    does(1, FOLLOW_DO_RESYNC);
    view.stopped = false;
    view.consumed_bytes = 20;
    happens(FOLLOW_PROGRESS);
    EXPECT_EQ(tells().received_txid, 0);
    EXPECT_EQ(tells().position.txid, 0); /* only a copy helps */
}

TEST(a_view_from_before_the_restart_does_not_stop_it_again)
{
    a_replica();
    resumes();
    view.stopped = true;
    happens(FOLLOW_PROGRESS);
    is_opened(BODY_SNAPSHOT, (struct position){EPOCH, 100, 100});
    gets_pages(10);
    happens(FOLLOW_PROGRESS); /* RESTART is in the queue yet */
    does_nothing();
    EXPECT_EQ(follow.state, FOLLOW_COPYING);
    view.consumed_bytes = 10; /* consumed after the restart, and stopped */
    happens(FOLLOW_PROGRESS);
    does(0, FOLLOW_DO_RESTART);
    does(1, FOLLOW_DO_ABANDON);
    EXPECT_EQ(follow.state, FOLLOW_RESTING);
}

TEST(the_second_failure_waits_and_each_one_after_it_twice_as_long)
{
    a_replica();
    resumes();
    gets_txid(105);
    does(0, FOLLOW_DO_RESYNC);
    for (uint64_t rest_s = 1; rest_s <= 32; rest_s *= 2) {
        resumes();
        gets_txid(105);
        does_nothing();
        now_ns += rest_s * NS_PER_S - 1;
        happens(FOLLOW_TICK);
        does_nothing();
        now_ns += 1;
        happens(FOLLOW_TICK);
        does(0, FOLLOW_DO_RESYNC);
    }
    resumes();
    now_ns += 3 * FOLLOW_REST_MAX_NS; /* all went well for a while */
    gets_txid(105);
    does(0, FOLLOW_DO_RESYNC);
}

TEST(a_dropped_database_hears_nothing_more)
{
    a_replica();
    resumes();
    happens(FOLLOW_DROP);
    does(0, FOLLOW_DO_DROP);
    gets_txid(101);
    does_nothing();
    happens(FOLLOW_LOST);
    does_nothing();
}

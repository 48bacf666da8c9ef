/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_token.c - tokens as text, and the verdict on them. */
#include "wal/token.h"

#include "tests/harness.h"

static const struct lineage lineage = {{0x6c, 0x2f, 0x9a, 0x01, 5, 6, 7}};

static struct token token_at(epoch_t epoch, txid_t txid)
{
    struct token token;

    token_make(&lineage, &(struct position){epoch, txid, 77}, &token);
    return token;
}

static int parse(const char *text)
{
    struct token token = {0};
    int rc = token_parse(text, strlen(text), &token);

    if (rc < 0)
        EXPECT_EQ(token.epoch, 0);
    return rc;
}

TEST(a_token_is_three_hex_numbers_with_points_between)
{
    struct token token = token_at(0x4a3f2c9, 1000);
    char text[TOKEN_TEXT_BYTES];

    token_format(&token, text);
    EXPECT_STR(text, "6c2f9a01.4a3f2c9.3e8");
}

TEST(the_longest_token_fits_and_reads_back)
{
    struct token token = {UINT32_MAX, UINT64_MAX, UINT64_MAX}, back;
    char text[TOKEN_TEXT_BYTES];

    token_format(&token, text);
    EXPECT_EQ(strlen(text), 42);
    EXPECT_OK(token_parse(text, strlen(text), &back));
    EXPECT_EQ(back.lineage_prefix, UINT32_MAX);
    EXPECT_EQ(back.epoch, UINT64_MAX);
    EXPECT_EQ(back.txid, UINT64_MAX);
}

TEST(every_token_reads_back_as_it_was)
{
    struct rng rng = test_rng();

    for (int i = 0; i < 20000; i++) {
        struct token token = {(uint32_t)rng_u64(&rng),
                              rng_u64(&rng) >> rng_below(&rng, 64),
                              rng_u64(&rng) >> rng_below(&rng, 64)};
        char text[TOKEN_TEXT_BYTES];
        struct token back;

        token_format(&token, text);
        EXPECT_OK(token_parse(text, strlen(text), &back));
        EXPECT_EQ(back.lineage_prefix, token.lineage_prefix);
        EXPECT_EQ(back.epoch, token.epoch);
        EXPECT_EQ(back.txid, token.txid);
    }
}

TEST(text_that_token_format_does_not_write_is_refused)
{
    EXPECT_EQ(parse("6c2f9a01.0.0"), 0);
    EXPECT_EQ(parse(""), -EINVAL);
    EXPECT_EQ(parse("."), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01."), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1."), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01..1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a0.1.1"), -EINVAL);
    EXPECT_EQ(parse("06c2f9a01.1.1"), -EINVAL);
    EXPECT_EQ(parse("6C2F9A01.1.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1.1."), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1.1.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1.1 "), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.01.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1.00"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.-1.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.0x1.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.10000000000000000.1"), -EINVAL);
    EXPECT_EQ(parse("6c2f9a01.1.10000000000000000"), -EINVAL);
}

TEST(parsing_stops_at_the_given_length)
{
    struct token token;

    EXPECT_OK(token_parse("6c2f9a01.1.123", 13, &token));
    EXPECT_EQ(token.txid, 0x12);
    EXPECT_EQ(token_parse("6c2f9a01.1.123", 11, &token), -EINVAL);
    EXPECT_EQ(token_parse("6c2f9a01.1.1\0", 13, &token), -EINVAL);
}

/* The node of these stories: epoch 10 from TXID 1, epoch 20 from 8 on. */
static const char *verdict(epoch_t epoch, txid_t txid, txid_t applied)
{
    static struct history_entry entries[] = {{10, 1}, {20, 8}};
    const struct history history = {entries, 2, 2};
    struct token token = token_at(epoch, txid);

    return token_verdict_name(token_judge(&token, &lineage, &history, applied));
}

TEST(a_position_at_or_before_what_is_applied_is_reached)
{
    EXPECT_STR(verdict(20, 9, 9), "reached");
    EXPECT_STR(verdict(20, 9, 500), "reached");
    EXPECT_STR(verdict(10, 7, 7), "reached");
    EXPECT_STR(verdict(10, 7, 500), "reached");
}

TEST(a_position_not_applied_yet_is_waited_for)
{
    EXPECT_STR(verdict(20, 9, 8), "wait");
    EXPECT_STR(verdict(10, 7, 6), "wait");
    EXPECT_STR(verdict(20, UINT64_MAX, 8), "wait");
}

TEST(a_position_past_the_end_of_its_epoch_is_lost_however_far_we_are)
{
    EXPECT_STR(verdict(10, 8, 6), "lost");
    EXPECT_STR(verdict(10, 8, 8), "lost");
    EXPECT_STR(verdict(10, 9, 500), "lost");
}

TEST(an_older_epoch_that_was_never_ours_is_lost)
{
    EXPECT_STR(verdict(15, 3, 500), "lost");
    EXPECT_STR(verdict(5, 1, 0), "lost");
}

TEST(a_newer_epoch_is_a_failover_not_learned_of_yet)
{
    EXPECT_STR(verdict(21, 3, 500), "wait");
    EXPECT_STR(verdict(UINT64_MAX, 1, 500), "wait");
}

TEST(before_the_first_commit_is_always_reached)
{
    EXPECT_STR(verdict(0, 0, 0), "reached");
    EXPECT_STR(verdict(0, 1, 500), "lost");
}

TEST(nothing_is_waited_for_where_nothing_was_ever_committed)
{
    struct history empty = {0};
    struct token token = token_at(0, 0);

    EXPECT_EQ(token_judge(&token, &lineage, &empty, 0), TOKEN_REACHED);
    token.lineage_prefix ^= 1;
    EXPECT_EQ(token_judge(&token, &lineage, &empty, 0), TOKEN_WAIT);
}

TEST(a_token_of_another_database_is_unknown)
{
    struct history_entry entry = {10, 1};
    struct history history = {&entry, 1, 1};
    struct token token = token_at(10, 1);

    token.lineage_prefix ^= 1;
    EXPECT_EQ(token_judge(&token, &lineage, &history, 5), TOKEN_UNKNOWN);
}

TEST(a_database_not_heard_of_yet_makes_every_token_wait)
{
    struct history_entry entry = {10, 1};
    struct history history = {&entry, 1, 1}, empty = {0};
    struct lineage none = {{0}};
    struct token token = token_at(10, 1);

    EXPECT_EQ(token_judge(&token, &none, &history, 5), TOKEN_WAIT);
    EXPECT_EQ(token_judge(&token, &lineage, &empty, 5), TOKEN_WAIT);
    token.lineage_prefix ^= 1;
    EXPECT_EQ(token_judge(&token, &lineage, &empty, 0), TOKEN_WAIT);
}

TEST(every_verdict_has_its_word)
{
    EXPECT_STR(token_verdict_name(TOKEN_REACHED), "reached");
    EXPECT_STR(token_verdict_name(TOKEN_WAIT), "wait");
    EXPECT_STR(token_verdict_name(TOKEN_LOST), "lost");
    EXPECT_STR(token_verdict_name(TOKEN_UNKNOWN), "unknown");
}

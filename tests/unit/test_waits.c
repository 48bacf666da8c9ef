/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_waits.c - who waits for a token hears of it, whatever
 * happens to the database and whoever comes and goes meanwhile. */
#include "base/clock.h"
#include "base/thread.h"
#include "node/waits.h"

#include "tests/harness.h"

#define PENDING 1
#define LONG_MS 600000u

/* The engine, as far as waits.c looks at it: one database. */
struct database {
    struct database_view view;
    struct history history;
};

static struct database engine, *database = &engine;

struct database *catalog_find(struct catalog *catalog, const char *name)
{
    (void)catalog;
    return strcmp(name, "app.db") == 0 ? database : NULL;
}

void database_unref(struct database *one)
{
    (void)one;
}

void database_view(struct database *one, struct database_view *ret_view)
{
    *ret_view = one->view;
}

const char *database_name(const struct database *one)
{
    (void)one;
    return "app.db";
}

int database_history(struct database *one, struct history *ret_history)
{
    return history_copy(ret_history, &one->history);
}

static uv_loop_t loop;
static struct waits waits;
static int verdicts[4];
static struct waiter waiters[4];

static void heard(struct waiter *waiter, int rc)
{
    verdicts[waiter - waiters] = rc;
}

/* A replica that has heard of epoch 5 and applied up to 10. */
static void a_node(void)
{
    thread_register(THREAD_LOOP, "tests");
    database->view = (struct database_view){
        .lineage = {{7}},
        .position = {.epoch = 5, .txid = 10},
    };
    EXPECT_OK(history_begin(&database->history, 5, 1));
    EXPECT_OK(uv_loop_init(&loop));
    waits_open(&waits, &loop, NULL);
}

static void the_node_ends(void)
{
    waits_close(&waits);
    uv_run(&loop, UV_RUN_DEFAULT);
    EXPECT_OK(uv_loop_close(&loop));
    history_free(&database->history);
    thread_unregister();
}

static int waits_for(size_t who, epoch_t epoch, txid_t txid)
{
    struct position position = {.epoch = epoch, .txid = txid};
    char text[TOKEN_TEXT_BYTES];
    struct token token;

    token_make(&database->view.lineage, &position, &token);
    token_format(&token, text);
    verdicts[who] = PENDING;
    waiters[who].on_done = heard;
    waits_begin(&waits, &waiters[who], "app.db", text, strlen(text), LONG_MS);
    return verdicts[who];
}

static void applies(txid_t txid)
{
    database->view.position.epoch = history_last(&database->history);
    database->view.position.txid = txid;
    waits_changed(&waits, database);
}

TEST(a_token_is_reached_when_the_database_gets_there)
{
    a_node();
    EXPECT_EQ(waits_for(0, 5, 10), 0);
    EXPECT_EQ(waits_for(1, 5, 12), PENDING);
    applies(11);
    EXPECT_EQ(verdicts[1], PENDING);
    applies(12);
    EXPECT_EQ(verdicts[1], 0);
    EXPECT_EQ(waits.count, 0);
    the_node_ends();
}

TEST(a_token_of_an_epoch_not_heard_of_waits_for_the_history)
{
    a_node();
    EXPECT_EQ(waits_for(0, 6, 12), PENDING);
    applies(12);
    EXPECT_EQ(verdicts[0], PENDING);
    EXPECT_OK(history_begin(&database->history, 6, 11));
    applies(12);
    EXPECT_EQ(verdicts[0], 0);
    the_node_ends();
}

/* The second sees the new history before the news of it are dispatched. */
TEST(who_comes_while_the_history_changes_keeps_nobody_waiting)
{
    a_node();
    EXPECT_EQ(waits_for(0, 6, 12), PENDING);
    EXPECT_EQ(waits_for(1, 6, 20), PENDING);
    EXPECT_OK(history_begin(&database->history, 6, 11));
    EXPECT_EQ(waits_for(2, 6, 13), PENDING);
    applies(12);
    EXPECT_EQ(verdicts[0], 0);
    EXPECT_EQ(verdicts[1], PENDING);
    applies(13);
    EXPECT_EQ(verdicts[2], 0);
    the_node_ends();
    EXPECT_EQ(verdicts[1], -ECANCELED);
}

TEST(content_of_another_branch_reaches_nothing_of_the_new_history)
{
    a_node();
    /* A new primary never had 9 and 10; its own 9 is under way in a copy. */
    history_free(&database->history);
    EXPECT_OK(history_begin(&database->history, 5, 1));
    EXPECT_OK(history_begin(&database->history, 6, 9));
    waits_changed(&waits, database);
    EXPECT_EQ(waits_for(0, 6, 9), PENDING);
    EXPECT_EQ(waits_for(1, 5, 10), -ESTALE);
    database->view.position = (struct position){.epoch = 6, .txid = 9};
    waits_changed(&waits, database);
    EXPECT_EQ(verdicts[0], 0);
    the_node_ends();
}

TEST(what_a_new_history_cut_off_is_lost_whoever_saw_it_first)
{
    a_node();
    EXPECT_EQ(waits_for(0, 5, 15), PENDING);
    EXPECT_OK(history_begin(&database->history, 6, 11));
    EXPECT_EQ(waits_for(1, 6, 11), PENDING);
    applies(11);
    EXPECT_EQ(verdicts[0], -ESTALE);
    EXPECT_EQ(verdicts[1], 0);
    the_node_ends();
}

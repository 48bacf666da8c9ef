/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "node/quantity.h"
#include "node/status.h"
#include "node/status_text.h"
#include "node/table.h"

static struct status_node a_primary(void)
{
    return (struct status_node){
        .id = "fra-1",
        .region = "fra",
        .cluster = "app",
        .version = "0.1.0",
        .advertise = "10.0.0.1:20202",
        .mount = "/data",
        .data = "/var/lib/tidemark",
        .mode = "passthrough",
        .mode_reason = "",
        .log_method = "io_uring",
        .is_primary = true,
        .candidate = true,
        .epoch = (UINT64_C(17) << EPOCH_RANDOM_BITS) | 0xabcdef,
        .uptime_ms = 7500,
        .pid = 42,
        .primary_address = "",
        .primary_id = "",
        .primary_failure = "",
        .primary_rtt_us = STATUS_NONE,
    };
}

static struct status_node a_replica(bool connected)
{
    struct status_node node = a_primary();

    node.id = "ams-1";
    node.is_primary = false;
    node.primary_address = "10.0.0.1:20202";
    node.primary_id = connected ? "fra-1" : "";
    node.primary_connected = connected;
    node.primary_rtt_us = connected ? 12000 : STATUS_NONE;
    return node;
}

static struct status_database a_database(const char *name)
{
    return (struct status_database){
        .name = name,
        .view = {.state = DATABASE_ATTACHED,
                 .lineage = {{0xde, 0xad}},
                 .position = {(UINT64_C(17) << EPOCH_RANDOM_BITS) | 1, 4711,
                              UINT64_MAX},
                 .received_txid = 4711,
                 .durable_txid = 4700,
                 .first_log_txid = 4000,
                 .log_bytes = 1536,
                 .page_bytes = 4096,
                 .size_pages = 256,
                 .applications = 3,
                 .commit_wall_ns = UINT64_C(1769860800123000000)},
        .lag_us = STATUS_NONE,
        .behind_txids = STATUS_NONE,
    };
}

/* The value at a path of names and indices: "databases.0.name". */
static const json_t *at(const json_t *json, const char *path)
{
    char copy[100], *rest = copy, *name;

    snprintf(copy, sizeof copy, "%s", path);
    while ((name = strsep(&rest, ".")) != NULL)
        json = json_is_array(json)
                   ? json_array_get(json, strtoul(name, NULL, 10))
                   : json_object_get(json, name);
    if (json == NULL)
        fprintf(stderr, "nothing at %s\n", path);
    EXPECT_TRUE(json != NULL);
    return json;
}

#define TEXT_AT(json, path) json_string_value(at(json, path))
#define NUMBER_AT(json, path) json_integer_value(at(json, path))

/* The text form, without colours; valid until the next call. */
static const char *printed(const json_t *status)
{
    static char text[8192];
    FILE *to = fmemopen(text, sizeof text, "w");

    EXPECT_OK(status_text_print(status, to, false));
    fclose(to);
    return text;
}

static void expect_printed(const json_t *status, const char *expected)
{
    const char *text = printed(status);

    if (strstr(text, expected) == NULL)
        fprintf(stderr, "%s\n", text);
    EXPECT_TRUE(strstr(text, expected) != NULL);
}

TEST(a_node_and_its_databases_have_every_member_of_the_schema)
{
    struct status_node node = a_primary();
    struct status_database database = a_database("app.db");
    json_t *status = status_make(&node);

    EXPECT_OK(status_add_database(status, &database));
    EXPECT_STR(TEXT_AT(status, "node.id"), "fra-1");
    EXPECT_STR(TEXT_AT(status, "node.role"), "primary");
    EXPECT_EQ(NUMBER_AT(status, "node.epoch"), 17);
    EXPECT_STR(TEXT_AT(status, "node.epoch_id"), "0000000011abcdef");
    EXPECT_TRUE(json_is_null(at(status, "node.primary")));
    EXPECT_TRUE(json_is_null(at(status, "node.mode_reason")));
    EXPECT_STR(TEXT_AT(status, "node.health"), "ok");
    EXPECT_EQ(json_array_size(at(status, "node.problems")), 0);
    EXPECT_EQ(json_array_size(at(status, "replicas")), 0);
    EXPECT_STR(TEXT_AT(status, "databases.0.name"), "app.db");
    EXPECT_STR(TEXT_AT(status, "databases.0.state"), "attached");
    EXPECT_STR(TEXT_AT(status, "databases.0.lineage"),
               "dead0000000000000000000000000000");
    EXPECT_EQ(NUMBER_AT(status, "databases.0.position.txid"), 4711);
    EXPECT_EQ(NUMBER_AT(status, "databases.0.position.epoch"), 17);
    EXPECT_STR(TEXT_AT(status, "databases.0.position.sum"), "ffffffffffffffff");
    EXPECT_EQ(NUMBER_AT(status, "databases.0.position.durable_txid"), 4700);
    EXPECT_TRUE(json_is_null(at(status, "databases.0.lag_us")));
    EXPECT_STR(TEXT_AT(status, "databases.0.commit_time"),
               "2026-01-31T12:00:00.123Z");
    EXPECT_EQ(NUMBER_AT(status, "databases.0.log.first_txid"), 4000);
    EXPECT_EQ(NUMBER_AT(status, "databases.0.waiters"), 0);
    EXPECT_EQ(NUMBER_AT(status, "databases.0.counters.gaps"), 0);
    EXPECT_TRUE(json_is_null(at(status, "databases.0.problem")));
    json_decref(status);
}

TEST(a_replica_names_the_primary_it_follows_or_misses)
{
    struct status_node node = a_replica(true);
    json_t *status = status_make(&node);

    EXPECT_STR(TEXT_AT(status, "node.primary.id"), "fra-1");
    EXPECT_STR(TEXT_AT(status, "node.health"), "ok");
    expect_printed(status, "12 ms  -            connected\n");
    json_decref(status);
    node = a_replica(false);
    status = status_make(&node);
    EXPECT_STR(TEXT_AT(status, "node.health"), "degraded");
    EXPECT_TRUE(json_is_null(at(status, "node.primary.rtt_us")));
    expect_printed(status, "10.0.0.1:20202  primary");
    expect_printed(status, "not connected\n");
    expect_printed(status, "ams-1: not connected to the primary; reads");
    EXPECT_TRUE(json_is_null(at(status, "node.primary.failure")));
    json_decref(status);
    node.primary_failure = "10.0.0.1:20202: it said no";
    status = status_make(&node);
    EXPECT_STR(TEXT_AT(status, "node.primary.failure"), node.primary_failure);
    expect_printed(status, "the primary (10.0.0.1:20202: it said no); reads");
    json_decref(status);
}

TEST(the_worst_database_decides_how_the_node_is)
{
    struct status_node node = a_primary();
    struct status_database good = a_database("a.db"), bad = a_database("b.db");
    json_t *status = status_make(&node);

    bad.view.state = DATABASE_STOPPED;
    snprintf(bad.view.stopped, sizeof bad.view.stopped, "sum differs at 9");
    EXPECT_OK(status_add_database(status, &good));
    EXPECT_STR(TEXT_AT(status, "node.health"), "ok");
    EXPECT_OK(status_add_database(status, &bad));
    EXPECT_STR(TEXT_AT(status, "node.health"), "failed");
    EXPECT_OK(status_add_database(status, &good));
    EXPECT_STR(TEXT_AT(status, "node.health"), "failed");
    EXPECT_STR(TEXT_AT(status, "databases.0.health"), "ok");
    expect_printed(status, "\nb.db: sum differs at 9\n");
    json_decref(status);
}

TEST(whatever_is_not_green_has_a_sentence)
{
    static const enum database_state states[] = {
        DATABASE_STOPPED, DATABASE_HELD_BACK, DATABASE_COPYING};
    struct status_node node = a_primary();
    struct status_database database = a_database("a.db");

    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        json_t *status = status_make(&node);

        database.view.state = states[i];
        EXPECT_OK(status_add_database(status, &database));
        EXPECT_NE(strcmp(TEXT_AT(status, "databases.0.health"), "ok"), 0);
        EXPECT_TRUE(TEXT_AT(status, "databases.0.problem") != NULL);
        json_decref(status);
    }
}

TEST(on_the_primary_a_database_is_as_late_as_its_slowest_replica)
{
    const struct status_stream near[] = {
        {"a.db", "live", 9, 9, 9, 90, 0, 0, 0},
        {"b.db", "live", 5, 5, 5, 100, 0, 0, 0},
    };
    const struct status_stream far[] = {
        {"a.db", "log", 9, 7, 2, 3200000, 7, 0, 0},
    };
    const struct status_replica replicas[] = {
        {"ams-1", "ams", "10.0.0.2:20202", true, true, 5000, 12000, near, 2},
        {"syd-1", "syd", "10.0.0.3:20202", false, true, 5000, 280000, far, 1},
        {"old-1", "fra", "10.0.0.4:20202", true, false, 60000, STATUS_NONE,
         NULL, 0},
    };
    struct status_node node = a_primary();
    struct status_database a = a_database("a.db"), b = a_database("b.db");
    json_t *status = status_make(&node);

    a.waiters = 12;
    EXPECT_OK(status_add_database(status, &a));
    EXPECT_OK(status_add_database(status, &b));
    for (size_t i = 0; i < ARRAY_LENGTH(replicas); i++)
        EXPECT_OK(status_add_replica(status, &replicas[i]));
    EXPECT_STR(TEXT_AT(status, "replicas.2.health"), "degraded");
    EXPECT_EQ(NUMBER_AT(status, "replicas.1.databases.0.applied_txid"), 2);
    EXPECT_STR(printed(status),
               "NODE   ROLE     REGION  EPOCH      LAG  BEHIND     RTT  MODE"
               "         HEALTH\n"
               "fra-1  primary  fra        17        -       -       -  "
               "passthrough  degraded\n"
               "ams-1  replica  ams         -  0.10 ms       0   12 ms  -"
               "            ok\n"
               "syd-1  replica  syd         -    3.2 s       7  280 ms  -"
               "            ok\n"
               "old-1  replica  fra         -        -       -       -  -"
               "            away\n"
               "\n"
               "DATABASE  STATE     POSITION      LAG  BEHIND     SIZE      "
               "LOG  OPEN  WAITING  HEALTH\n"
               "a.db      attached   17/4711    3.2 s       7  1.0 MiB  1.5 "
               "KiB     3       12  ok\n"
               "b.db      attached   17/4711  0.10 ms       0  1.0 MiB  1.5 "
               "KiB     3        0  ok\n");
    json_decref(status);
}

TEST(names_of_any_bytes_neither_break_the_json_nor_the_terminal)
{
    struct status_node node = a_primary();
    struct status_database odd = a_database("\xff\xfe.db"),
                           escape = a_database("\033[2J.db"),
                           umlaut = a_database("\xc3\xa4.db");
    json_t *status = status_make(&node);

    EXPECT_OK(status_add_database(status, &odd));
    EXPECT_OK(status_add_database(status, &escape));
    EXPECT_OK(status_add_database(status, &umlaut));
    EXPECT_STR(TEXT_AT(status, "databases.0.name"), "??.db");
    EXPECT_TRUE(strchr(printed(status), '\033') == NULL);
    expect_printed(status, "?[2J.db   attached");
    expect_printed(status, "\xc3\xa4.db      attached");
    json_decref(status);
}

TEST(the_text_of_a_node_of_another_version_is_printed_as_far_as_it_goes)
{
    json_t *status = json_object();

    expect_printed(status, "no databases yet; create one in -\n");
    json_decref(status);
}

TEST(a_problem_of_the_node_is_told)
{
    struct status_node node = a_primary();
    json_t *status = status_make(&node);

    EXPECT_OK(status_add_problem(status, STATUS_DEGRADED, "the disk is full"));
    EXPECT_STR(TEXT_AT(status, "node.health"), "degraded");
    expect_printed(status, "fra-1: the disk is full\n");
    json_decref(status);
}

static const char *us(uint64_t us_value)
{
    static char text[QUANTITY_TEXT_BYTES];

    quantity_format_us(us_value, text);
    return text;
}

TEST(times_have_the_precision_that_matters)
{
    EXPECT_STR(us(0), "0.00 ms");
    EXPECT_STR(us(92), "0.09 ms");
    EXPECT_STR(us(12345), "12 ms");
    EXPECT_STR(us(59999999), "60.0 s");
    EXPECT_STR(us(61000000), "1m 1s");
    EXPECT_STR(us(UINT64_C(7260) * 1000000), "2h 1m");
    EXPECT_STR(us(UINT64_C(90000) * 1000000), "1d 1h");
}

TEST(a_copy_says_how_far_it_is)
{
    struct status_node node = a_replica(true);
    struct status_database none = a_database("a.db"), first = none;
    json_t *status = status_make(&node);

    first.view.state = DATABASE_COPYING;
    first.view.copying = true;
    EXPECT_OK(status_add_database(status, &none));
    EXPECT_OK(status_add_database(status, &first));
    first.view.copy_pages = 3000000000;
    first.view.copied_pages = 1400000000;
    EXPECT_OK(status_add_database(status, &first));
    EXPECT_TRUE(json_is_null(at(status, "databases.0.copy")));
    EXPECT_TRUE(json_is_null(at(status, "databases.1.copy")));
    EXPECT_STR(TEXT_AT(status, "databases.1.problem"),
               "the first copy is about to begin");
    EXPECT_EQ(NUMBER_AT(status, "databases.2.copy.percent"), 46);
    EXPECT_EQ(NUMBER_AT(status, "databases.2.copy.pages"), 1400000000);
    EXPECT_STR(TEXT_AT(status, "databases.2.problem"),
               "the first copy is under way: 46 %");
    json_decref(status);
}

TEST(a_replica_that_is_not_up_to_date_yet_is_not_ok)
{
    static const char *const states[] = {"live", "log", "copy", "waiting"};
    static const char *const healths[] = {"ok", "ok", "degraded", "degraded"};

    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        const struct status_stream stream = {"a.db", states[i], 9, 9, 9,
                                             0,      0,         0, 0};
        const struct status_replica replica = {
            "ams-1", "ams", "10.0.0.2:20202", true, true, 1, 1, &stream, 1};
        struct status_node node = a_primary();
        json_t *status = status_make(&node);

        EXPECT_OK(status_add_replica(status, &replica));
        EXPECT_STR(TEXT_AT(status, "replicas.0.databases.0.state"), states[i]);
        EXPECT_STR(TEXT_AT(status, "replicas.0.health"), healths[i]);
        EXPECT_STR(TEXT_AT(status, "node.health"), healths[i]);
        json_decref(status);
    }
}

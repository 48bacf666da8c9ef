/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/status_text.c - two tables and the problems below them. On the primary
 * the lag of a database is that of its slowest replica.
 */
#include "node/status_text.h"

#include "base/bytes.h"
#include "node/quantity.h"
#include "node/status.h"
#include "node/table.h"

#include <string.h>

/* ---- members ------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "-" : text;
}

/* STATUS_NONE when it is null or not there. */
static uint64_t number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    json_int_t number = json_integer_value(value);

    return json_is_integer(value) && number >= 0 ? (uint64_t)number
                                                 : STATUS_NONE;
}

/* ---- cells -------------------------------------------------------------- */

static void add_number(struct table *table, uint64_t number)
{
    if (number == STATUS_NONE)
        table_add(table, TABLE_PLAIN, "-");
    else
        table_add(table, TABLE_PLAIN, "%llu", (unsigned long long)number);
}

static void add_us(struct table *table, uint64_t us)
{
    char text[QUANTITY_TEXT_BYTES] = "-";

    if (us != STATUS_NONE)
        quantity_format_us(us, text);
    table_add(table, TABLE_PLAIN, "%s", text);
}

static void add_bytes(struct table *table, uint64_t bytes)
{
    char text[QUANTITY_TEXT_BYTES] = "-";

    if (bytes != STATUS_NONE)
        quantity_format_size(bytes, text);
    table_add(table, TABLE_PLAIN, "%s", text);
}

static enum table_paint paint_of(const char *health)
{
    static const enum table_paint paints[] = {
        [STATUS_OK] = TABLE_GOOD,
        [STATUS_DEGRADED] = TABLE_WARN,
        [STATUS_FAILED] = TABLE_BAD,
    };

    if (strcmp(health, "-") == 0)
        return TABLE_PLAIN;
    return paints[status_health_from(health)];
}

static void add_health(struct table *table, const json_t *object)
{
    const char *health = text_of(object, "health");

    table_add(table, paint_of(health), "%s", health);
}

/* Lag and distance in transactions, of one thing or of several. */
struct distance {
    uint64_t lag_us;
    uint64_t behind_txids;
};

static const struct distance no_distance = {STATUS_NONE, STATUS_NONE};

static uint64_t larger(uint64_t a, uint64_t b)
{
    if (a == STATUS_NONE || b == STATUS_NONE)
        return a == STATUS_NONE ? b : a;
    return a > b ? a : b;
}

/* The worst of both: what somebody who reads there has to expect. */
static void distance_include(struct distance *distance, const json_t *object)
{
    distance->lag_us = larger(distance->lag_us, number_of(object, "lag_us"));
    distance->behind_txids = larger(distance->behind_txids,
                                    number_of(object, "behind_txids"));
}

static void add_distance(struct table *table, const struct distance *distance)
{
    add_us(table, distance->lag_us);
    add_number(table, distance->behind_txids);
}

/* ---- nodes -------------------------------------------------------------- */

static const struct table_column node_columns[] = {
    {"NODE", false}, {"ROLE", false}, {"REGION", false},
    {"EPOCH", true}, {"LAG", true},   {"BEHIND", true},
    {"RTT", true},   {"MODE", false}, {"HEALTH", false},
};

static void add_this_node(struct table *table, const json_t *status)
{
    const json_t *node = json_object_get(status, "node"), *database;
    struct distance worst = no_distance;
    size_t i;

    json_array_foreach(json_object_get(status, "databases"), i, database)
        distance_include(&worst, database);
    table_add(table, TABLE_PLAIN, "%s", text_of(node, "id"));
    table_add(table, TABLE_PLAIN, "%s", text_of(node, "role"));
    table_add(table, TABLE_PLAIN, "%s", text_of(node, "region"));
    add_number(table, number_of(node, "epoch"));
    add_distance(table, &worst);
    table_add(table, TABLE_PLAIN, "-"); /* to itself */
    table_add(table, TABLE_PLAIN, "%s", text_of(node, "mode"));
    add_health(table, node);
}

/* On a replica: the primary, as far as it is known. */
static void add_primary(struct table *table, const json_t *status)
{
    const json_t *node = json_object_get(status, "node");
    const json_t *primary = json_object_get(node, "primary");
    const char *id = text_of(primary, "id");
    bool connected = json_is_true(json_object_get(primary, "connected"));

    if (!json_is_object(primary))
        return;
    if (strcmp(id, "-") == 0)
        id = text_of(primary, "address");
    table_add(table, TABLE_PLAIN, "%s", id);
    table_add(table, TABLE_PLAIN, "primary");
    for (int i = 0; i < 4; i++)
        table_add(table, TABLE_PLAIN, "-");
    add_us(table, connected ? number_of(primary, "rtt_us") : STATUS_NONE);
    table_add(table, TABLE_PLAIN, "-");
    table_add(table, connected ? TABLE_GOOD : TABLE_WARN, "%s",
              connected ? "connected" : "not connected");
}

static void add_replica(struct table *table, const json_t *replica)
{
    struct distance worst = no_distance;
    bool connected = json_is_true(json_object_get(replica, "connected"));
    const json_t *stream;
    size_t i;

    json_array_foreach(json_object_get(replica, "databases"), i, stream)
        distance_include(&worst, stream);
    table_add(table, TABLE_PLAIN, "%s", text_of(replica, "id"));
    table_add(table, TABLE_PLAIN, "replica");
    table_add(table, TABLE_PLAIN, "%s", text_of(replica, "region"));
    table_add(table, TABLE_PLAIN, "-");
    add_distance(table, &worst);
    add_us(table, connected ? number_of(replica, "rtt_us") : STATUS_NONE);
    table_add(table, TABLE_PLAIN, "-");
    if (connected)
        add_health(table, replica);
    else
        table_add(table, TABLE_WARN, "away");
}

static int print_nodes(const json_t *status, FILE *to, bool colour)
{
    struct table table;
    const json_t *replica;
    size_t i;
    int rc;

    table_init(&table, node_columns, ARRAY_LENGTH(node_columns));
    add_this_node(&table, status);
    add_primary(&table, status);
    json_array_foreach(json_object_get(status, "replicas"), i, replica)
        add_replica(&table, replica);
    rc = table_print(&table, to, colour);
    table_free(&table);
    return rc;
}

/* ---- databases ---------------------------------------------------------- */

static const struct table_column database_columns[] = {
    {"DATABASE", false}, {"STATE", false},  {"POSITION", true}, {"LAG", true},
    {"BEHIND", true},    {"SIZE", true},    {"LOG", true},      {"OPEN", true},
    {"WAITING", true},   {"HEALTH", false},
};

/* The streams of all replicas by the name of their database, an array each: a
 * table of a thousand databases is no search of a million. */
static json_t *streams_by_name(const json_t *status)
{
    json_t *streams = json_object(), *same, *stream;
    const json_t *replica;
    size_t i, j;

    json_array_foreach(json_object_get(status, "replicas"), i, replica)
    {
        json_array_foreach(json_object_get(replica, "databases"), j, stream)
        {
            const char *name = text_of(stream, "database");

            same = json_object_get(streams, name);
            if (same == NULL) {
                same = json_array();
                (void)json_object_set_new(streams, name, same);
            }
            (void)json_array_append(same, stream);
        }
    }
    return streams;
}

/* Its own distance from the primary, or of its slowest replica from here. */
static struct distance database_distance(const json_t *database,
                                         const json_t *streams)
{
    struct distance worst = no_distance;
    const json_t *stream;
    size_t i;

    distance_include(&worst, database);
    json_array_foreach(json_object_get(streams, text_of(database, "name")), i,
                       stream) distance_include(&worst, stream);
    return worst;
}

static void add_position(struct table *table, const json_t *database)
{
    const json_t *position = json_object_get(database, "position");
    uint64_t epoch = number_of(position, "epoch");
    uint64_t txid = number_of(position, "txid");

    if (epoch == STATUS_NONE || txid == STATUS_NONE)
        table_add(table, TABLE_PLAIN, "-");
    else
        table_add(table, TABLE_PLAIN, "%llu/%llu", (unsigned long long)epoch,
                  (unsigned long long)txid);
}

static void add_size(struct table *table, const json_t *database)
{
    uint64_t pages = number_of(database, "size_pages");
    uint64_t bytes = number_of(database, "page_bytes");

    if (pages != STATUS_NONE && bytes != STATUS_NONE)
        bytes *= pages;
    add_bytes(table, bytes);
}

static void add_database(struct table *table, const json_t *database,
                         const json_t *streams)
{
    struct distance distance = database_distance(database, streams);

    table_add(table, TABLE_PLAIN, "%s", text_of(database, "name"));
    table_add(table, TABLE_PLAIN, "%s", text_of(database, "state"));
    add_position(table, database);
    add_distance(table, &distance);
    add_size(table, database);
    add_bytes(table, number_of(json_object_get(database, "log"), "bytes"));
    add_number(table, number_of(database, "applications"));
    add_number(table, number_of(database, "waiters"));
    add_health(table, database);
}

static int print_databases(const json_t *status, FILE *to, bool colour)
{
    const json_t *databases = json_object_get(status, "databases"), *database;
    struct table table;
    json_t *streams;
    size_t i;
    int rc;

    if (json_array_size(databases) == 0) {
        fprintf(to, "no databases yet; create one in %s\n",
                text_of(json_object_get(status, "node"), "mount"));
        return 0;
    }
    table_init(&table, database_columns, ARRAY_LENGTH(database_columns));
    streams = streams_by_name(status);
    json_array_foreach(databases, i, database)
        add_database(&table, database, streams);
    json_decref(streams);
    rc = table_print(&table, to, colour);
    table_free(&table);
    return rc;
}

/* ---- problems ----------------------------------------------------------- */

static void print_problem(FILE *to, bool colour, const json_t *object,
                          const char *name, const char *problem)
{
    table_paint_text(to, paint_of(text_of(object, "health")), colour, name);
    fputs(": ", to);
    table_paint_text(to, TABLE_PLAIN, false, problem);
    fputc('\n', to);
}

static void print_problems(const json_t *status, FILE *to, bool colour)
{
    const json_t *node = json_object_get(status, "node"), *entry;
    bool first = true;
    size_t i;

    json_array_foreach(json_object_get(node, "problems"), i, entry)
    {
        if (first)
            fputc('\n', to);
        first = false;
        print_problem(to, colour, node, text_of(node, "id"),
                      json_is_string(entry) ? json_string_value(entry) : "-");
    }
    json_array_foreach(json_object_get(status, "databases"), i, entry)
    {
        if (!json_is_string(json_object_get(entry, "problem")))
            continue;
        if (first)
            fputc('\n', to);
        first = false;
        print_problem(to, colour, entry, text_of(entry, "name"),
                      text_of(entry, "problem"));
    }
}

/* Not a matter of health: it may lie there for as long as people like. */
static void print_lost(const json_t *status, FILE *to)
{
    const json_t *lost = json_object_get(status, "lost");
    const json_t *newest = json_array_get(json_object_get(lost, "newest"), 0);
    uint64_t count = number_of(lost, "count");

    if (newest == NULL || count == STATUS_NONE)
        return;
    fprintf(to,
            "\n%llu put aside in lost/ of the data directory, last %s%s%s; the "
            "text beside each says what it is\n",
            (unsigned long long)count, text_of(newest, "file"),
            json_is_string(json_object_get(newest, "database")) ? " of " : "",
            json_is_string(json_object_get(newest, "database"))
                ? text_of(newest, "database")
                : "");
}

int status_text_print(const json_t *status, FILE *to, bool colour)
{
    int rc = print_nodes(status, to, colour);

    fputc('\n', to);
    if (rc == 0)
        rc = print_databases(status, to, colour);
    if (rc == 0)
        print_problems(status, to, colour);
    if (rc == 0)
        print_lost(status, to);
    return rc;
}

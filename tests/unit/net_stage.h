/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/net_stage.h - a server and a client of replication/net over real
 * sockets on loopback, each with an engine in memory; include it once.
 */
#ifndef TESTS_UNIT_NET_STAGE_H
#define TESTS_UNIT_NET_STAGE_H

#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/net/client.h"
#include "replication/net/server.h"

#include <signal.h>

#include "tests/harness.h"

#include "tests/unit/fake_worker.h"

#define PATIENCE_NS (20 * NS_PER_S)

static uv_loop_t loop;
static struct catalog primary, replica;
static struct server *server;
static struct client *client;
static struct roster roster;
static uint16_t port;
static bool wanted; /* what the replica's configuration says */
static int closed;
static void (*also_turns)(void); /* what else goes on beside; or NULL */

static inline struct identity identity_of(const char *node)
{
    return (struct identity){
        .cluster = "app", .node = node, .region = "here", .advertise = node};
}

static inline bool follows(void *context, const char *name)
{
    (void)context;
    (void)name;
    return wanted;
}

static inline void primary_changed(void *context, struct database *database)
{
    (void)context;
    if (server != NULL)
        server_changed(server, database);
}

static inline void replica_changed(void *context, struct database *database)
{
    (void)context;
    if (client != NULL)
        client_changed(client, database);
}

static inline void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    engine_turn(&primary);
    engine_turn(&replica);
    if (also_turns != NULL)
        also_turns();
}

#define UNTIL(condition)                                                       \
    do {                                                                       \
        uint64_t until_ns = clock_now_ns() + PATIENCE_NS;                      \
        bool came = false;                                                     \
        while (!(came = (condition)) && clock_now_ns() < until_ns)             \
            turn();                                                            \
        EXPECT_TRUE(came);                                                     \
    } while (0)

static inline void on_closed(void *context)
{
    (void)context;
    closed++;
}

static inline void server_starts(void)
{
    struct server_config config = {
        .loop = &loop,
        .catalog = &primary,
        .roster = &roster,
        .identity = identity_of("p"),
        .listen = {.host = "127.0.0.1", .port = port},
    };

    EXPECT_OK(server_open(&server, &config));
    port = server_port(server);
}

static inline void server_stops(void)
{
    closed = 0;
    server_close(server, on_closed, NULL);
    server = NULL;
    UNTIL(closed == 1);
}

static inline void client_starts_as(struct identity identity, const char *host)
{
    struct client_config config = {
        .loop = &loop,
        .catalog = &replica,
        .identity = identity,
        .primary = {.port = port},
        .follows = follows,
    };

    snprintf(config.primary.host, sizeof config.primary.host, "%s", host);
    EXPECT_OK(client_open(&client, &config));
}

static inline void client_starts(void)
{
    client_starts_as(identity_of("r"), "127.0.0.1");
}

static inline void client_stops(void)
{
    closed = 0;
    client_close(client, on_closed, NULL);
    client = NULL;
    UNTIL(closed == 1);
}

static inline void a_cluster(void)
{
    signal(SIGPIPE, SIG_IGN);
    thread_register(THREAD_LOOP, "loop");
    logger_set_level(LOGGER_ERROR);
    EXPECT_OK(uv_loop_init(&loop));
    roster_init(&roster, NULL, NULL);
    engine_open(&primary, true, epoch_raise(0, 1));
    engine_open(&replica, false, 0);
    primary.on_changed = primary_changed;
    replica.on_changed = replica_changed;
    wanted = true;
    port = 0;
    server_starts();
}

static inline void the_cluster_ends(void)
{
    if (client != NULL)
        client_stops();
    if (server != NULL)
        server_stops();
    UNTIL(uv_loop_close(&loop) == 0); /* no handle was left behind */
    engine_close(&primary);
    engine_close(&replica);
    roster_close(&roster);
}

static inline struct database *a_database(const char *name, uint8_t lineage)
{
    struct database *database = engine_database(&primary, name,
                                                &(struct lineage){{lineage}});

    EXPECT_OK(history_begin(&database->history, primary.epoch, 1));
    return database;
}

/* The replica's copy; NULL as long as it has none. */
static inline struct database *copy_of(const struct database *database)
{
    struct database *copy = catalog_find(&replica, database->name);

    database_unref(copy);
    return copy;
}

static inline struct database *the_copy_of(const struct database *database)
{
    struct database *copy = copy_of(database);

    ASSERT(copy != NULL);
    return copy;
}

static inline bool is_equal(const struct database *database)
{
    const struct database *copy = copy_of(database);

    return copy != NULL && !copy->view.copying &&
           position_is_equal(&copy->view.position, &database->view.position) &&
           memcmp(copy->pages, database->pages, sizeof copy->pages) == 0;
}

static inline void commits(struct database *database, struct rng *rng,
                           int count)
{
    for (int i = 0; i < count; i++)
        engine_commit(database, rng);
}

#endif

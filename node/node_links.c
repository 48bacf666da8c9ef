/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_links.c - connections to other nodes: a server on the primary, a
 * client on a replica, and a copy of what they know for `status`.
 *
 * Server and client belong to the loop; status is also asked for by FUSE
 * workers, which never wait. So once a second, while there is somebody to
 * tell of, the loop leaves a copy under a lock.
 */
#include "node/node_links.h"
#include "node/node_state.h"

#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FACTS_MS 1000u

/* ---- the copy for status ---- */

static void facts_free(struct links_facts *facts)
{
    for (size_t i = 0; i < facts->replica_count; i++) {
        struct links_replica *replica = &facts->replicas[i];

        for (size_t j = 0; j < replica->stream_count; j++)
            free(replica->names[j]);
        free(replica->names);
        free(replica->streams);
    }
    free(facts->replicas);
    free(facts->databases);
    *facts = (struct links_facts){0};
}

struct copy {
    struct node *node;
    struct links_facts *facts;
    struct database *database; /* whose streams are copied */
    uint64_t now_ns;
};

static void copy_replica(void *context, const struct server_replica *from)
{
    struct copy *copy = context;
    struct links_facts *facts = copy->facts;
    struct links_replica *grown, *to;

    grown = realloc(facts->replicas,
                    (facts->replica_count + 1) * sizeof *grown);
    if (grown == NULL)
        return;
    facts->replicas = grown;
    to = &grown[facts->replica_count++];
    *to = (struct links_replica){
        .candidate = from->candidate,
        .since_ms = (copy->now_ns - from->since_ns) / NS_PER_MS,
        .rtt_us = from->round_trip_ns / NS_PER_US,
    };
    snprintf(to->id, sizeof to->id, "%s", from->node);
    snprintf(to->region, sizeof to->region, "%s", from->region);
    snprintf(to->address, sizeof to->address, "%s", from->advertise);
}

static struct links_replica *facts_find(struct links_facts *facts,
                                        const char *id)
{
    for (size_t i = 0; i < facts->replica_count; i++)
        if (strcmp(facts->replicas[i].id, id) == 0)
            return &facts->replicas[i];
    return NULL;
}

static int stream_reserve(struct links_replica *replica)
{
    size_t count = replica->stream_count + 1;
    struct status_stream *streams;
    char **names;

    names = realloc(replica->names, count * sizeof *names);
    if (names == NULL)
        return -ENOMEM;
    replica->names = names;
    streams = realloc(replica->streams, count * sizeof *streams);
    if (streams == NULL)
        return -ENOMEM;
    replica->streams = streams;
    return 0;
}

static void copy_stream(void *context, const struct server_stream *from)
{
    struct copy *copy = context;
    struct links_replica *to = facts_find(copy->facts, from->node);
    char *name;

    if (to == NULL || stream_reserve(to) < 0)
        return;
    name = strdup(database_name(copy->database));
    if (name == NULL)
        return;
    to->names[to->stream_count] = name;
    to->streams[to->stream_count++] = (struct status_stream){
        .database = name,
        .state = from->state,
        .received_txid = from->received_txid,
        .durable_txid = from->durable_txid,
        .applied_txid = from->applied_txid,
        .lag_us = from->lag_ns / NS_PER_US,
        .behind_txids = from->behind_txids,
        .backlog_bytes = STATUS_NONE,
    };
}

static void copy_streams(void *context, struct database *database)
{
    struct copy *copy = context;

    copy->database = database;
    server_streams(copy->node->links.server, database, copy_stream, copy);
}

static void copy_database(void *context, struct database *database)
{
    struct copy *copy = context;
    struct links_facts *facts = copy->facts;
    struct links_database *grown;
    struct client_stream stream;
    struct database_view view;

    if (client_stream(copy->node->links.client, database, &stream) < 0)
        return;
    grown = realloc(facts->databases,
                    (facts->database_count + 1) * sizeof *grown);
    if (grown == NULL)
        return;
    facts->databases = grown;
    database_view(database, &view);
    grown[facts->database_count++] = (struct links_database){
        .lineage = view.lineage,
        .lag_us = stream.age_ns == UINT64_MAX ? STATUS_NONE
                                              : stream.age_ns / NS_PER_US,
        .behind_txids = stream.behind_txids,
    };
    if (stream.age_ns != UINT64_MAX &&
        stream.age_ns / NS_PER_US > facts->lag_us)
        facts->lag_us = stream.age_ns / NS_PER_US;
}

static void copy_client(struct node *node, struct links_facts *facts)
{
    struct copy copy = {.node = node, .facts = facts};
    struct client_facts client;

    client_facts(node->links.client, &client);
    facts->connected = strcmp(client.state, "following") == 0;
    facts->rtt_us = client.round_trip_ns == 0
                        ? STATUS_NONE
                        : client.round_trip_ns / NS_PER_US;
    snprintf(facts->primary_id, sizeof facts->primary_id, "%s", client.node);
    catalog_each(node->catalog, copy_database, &copy);
}

static void facts_take(struct node *node, struct links_facts *facts)
{
    struct copy copy = {.node = node, .facts = facts, .now_ns = clock_now_ns()};

    *facts = (struct links_facts){0};
    if (node->links.server != NULL) {
        server_replicas(node->links.server, copy_replica, &copy);
        catalog_each(node->catalog, copy_streams, &copy);
    }
    if (node->links.client != NULL)
        copy_client(node, facts);
}

void node_links_refresh(struct node *node)
{
    struct links_facts fresh, old;

    ASSERT_ON_LOOP();
    facts_take(node, &fresh);
    pthread_mutex_lock(&node->links.lock);
    old = node->links.facts;
    node->links.facts = fresh;
    pthread_mutex_unlock(&node->links.lock);
    facts_free(&old);
}

static void on_timer(uv_timer_t *timer)
{
    node_links_refresh(CONTAINER_OF(timer, struct node, links.timer));
}

/* ---- life ---- */

static void identity_make(struct node *node, struct identity *identity)
{
    const struct config *config = node->config;

    address_format(&config->node.advertise, node->links.advertise);
    *identity = (struct identity){
        .cluster = config->cluster.name,
        .node = config->node.id,
        .region = config->node.region,
        .advertise = node->links.advertise,
        .candidate = config->node.candidate,
        .insecure = config->insecure,
    };
}

static int server_up(struct node *node, const struct identity *identity)
{
    struct server_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .roster = &node->links.roster,
        .identity = *identity,
        .listen = node->config->listen.replication,
    };
    int rc;

    roster_init(&node->links.roster, node, NULL);
    rc = server_open(&node->links.server, &config);
    if (rc < 0)
        log_error("node.listen", "reason=%s", logger_quote(site_failure()));
    return rc;
}

static bool follows(void *context, const char *name)
{
    struct node *node = context;

    return config_follows(node->config, name);
}

static int client_up(struct node *node, const struct identity *identity)
{
    struct client_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .identity = *identity,
        .primary = node->config->lease.primary,
        .context = node,
        .follows = follows,
    };
    int rc = client_open(&node->links.client, &config);

    if (rc < 0)
        log_error("node.connect", "reason=%s", logger_quote(site_failure()));
    return rc;
}

int node_links_open(struct node *node)
{
    struct identity identity;
    int rc;

    node->links.open = true;
    uv_timer_init(&node->loop, &node->links.timer);
    identity_make(node, &identity);
    rc = node->is_primary ? server_up(node, &identity)
                          : client_up(node, &identity);
    if (rc == 0)
        rc = uv_timer_start(&node->links.timer, on_timer, FACTS_MS, FACTS_MS);
    return rc;
}

static void on_closed(void *context)
{
    struct node *node = context;

    node->links.server = NULL;
    node->links.client = NULL;
    uv_close((uv_handle_t *)&node->links.timer, NULL);
    node->on_links_closed(node);
}

void node_links_close(struct node *node, void (*closed)(struct node *node))
{
    node->on_links_closed = closed;
    if (node->links.server != NULL)
        server_close(node->links.server, on_closed, node);
    else if (node->links.client != NULL)
        client_close(node->links.client, on_closed, node);
    else
        on_closed(node);
}

void node_links_free(struct node *node)
{
    if (!node->links.open)
        return;
    if (node->is_primary)
        roster_close(&node->links.roster);
    facts_free(&node->links.facts);
}

void node_links_changed(struct node *node, struct database *database)
{
    if (node->links.server != NULL)
        server_changed(node->links.server, database);
    if (node->links.client != NULL)
        client_changed(node->links.client, database);
}

/* ---- status: any thread ---- */

void node_links_facts(struct node *node, struct status_node *facts)
{
    struct links_facts *known = &node->links.facts;

    pthread_mutex_lock(&node->links.lock);
    facts->primary_connected = known->connected;
    facts->primary_rtt_us = known->connected ? known->rtt_us : STATUS_NONE;
    snprintf(node->links.primary_id, sizeof node->links.primary_id, "%s",
             known->primary_id);
    facts->primary_id = node->links.primary_id;
    pthread_mutex_unlock(&node->links.lock);
}

int node_links_replicas(struct node *node, json_t *status)
{
    struct links_facts *known = &node->links.facts;
    int rc = 0;

    pthread_mutex_lock(&node->links.lock);
    for (size_t i = 0; i < known->replica_count && rc == 0; i++) {
        const struct links_replica *from = &known->replicas[i];
        struct status_replica facts = {
            .id = from->id,
            .region = from->region,
            .address = from->address,
            .candidate = from->candidate,
            .connected = true,
            .since_ms = from->since_ms,
            .rtt_us = from->rtt_us,
            .streams = from->streams,
            .stream_count = from->stream_count,
        };

        rc = status_add_replica(status, &facts);
    }
    pthread_mutex_unlock(&node->links.lock);
    return rc;
}

void node_links_database(struct node *node, const struct database_view *view,
                         struct status_database *facts)
{
    struct links_facts *known = &node->links.facts;

    pthread_mutex_lock(&node->links.lock);
    for (size_t i = 0; i < known->database_count; i++) {
        if (!lineage_is_equal(&known->databases[i].lineage, &view->lineage))
            continue;
        facts->lag_us = known->databases[i].lag_us;
        facts->behind_txids = known->databases[i].behind_txids;
    }
    pthread_mutex_unlock(&node->links.lock);
}

int64_t node_lag_ms(struct node *node)
{
    uint64_t lag_us;

    pthread_mutex_lock(&node->links.lock);
    lag_us = node->links.facts.lag_us;
    pthread_mutex_unlock(&node->links.lock);
    return (int64_t)((lag_us + 500) / 1000);
}

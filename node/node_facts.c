/* SPDX-License-Identifier: Apache-2.0 */
/* node/node_facts.c - see node_facts.h. */
#include "node/node_facts.h"
#include "node/node_state.h"

#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct facts_replica {
    char id[BODY_ID_MAX + 1];
    char region[BODY_ID_MAX + 1];
    char address[BODY_ADVERTISE_MAX + 1];
    bool candidate;
    bool connected;
    uint64_t since_ms;
    uint64_t rtt_us;
    struct status_stream *streams; /* owned, as are the names they borrow */
    size_t stream_count;
};

/* One database of a replica, against the primary. */
struct facts_database {
    struct lineage lineage;
    uint64_t lag_us;
    uint64_t behind_txids;
};

/* How many wait for a token of one database. */
struct facts_room {
    char *name;
    size_t count;
};

struct node_facts {
    unsigned references;            /* under the place's lock */
    struct facts_replica *replicas; /* on the primary */
    size_t replica_count;
    struct facts_database *databases; /* on a replica, by lineage */
    size_t database_count;
    struct facts_room *rooms; /* by name */
    size_t room_count;
    bool connected; /* replica: to the primary */
    uint64_t rtt_us;
    uint64_t lag_us; /* replica: of its worst database */
    char primary_id[BODY_ID_MAX + 1];
    char failure[STATUS_FAILURE_BYTES]; /* why not connected */
    char advertise[ADDRESS_TEXT_BYTES];
};

static void facts_free(struct node_facts *facts)
{
    if (facts == NULL)
        return;
    for (size_t i = 0; i < facts->replica_count; i++) {
        struct facts_replica *replica = &facts->replicas[i];

        for (size_t j = 0; j < replica->stream_count; j++)
            os_free(&replica->streams[j].database);
        free(replica->streams);
    }
    for (size_t i = 0; i < facts->room_count; i++)
        free(facts->rooms[i].name);
    free(facts->replicas);
    free(facts->databases);
    free(facts->rooms);
    free(facts);
}

/* ---- taking a picture: loop ---------------------------------------------- */

struct copy {
    struct node *node;
    struct node_facts *facts;
    struct database *database; /* whose streams are copied */
    uint64_t now_ns;
    bool failed; /* out of memory: the picture would lack something */
};

/* Room for one more in an array that has count. Grows at powers of 2. */
static void *grown(struct copy *copy, void *array, size_t count, size_t size)
{
    void *larger = array;

    if ((count & (count - 1)) == 0)
        larger = realloc(array, (count == 0 ? 1 : count * 2) * size);
    copy->failed = copy->failed || larger == NULL;
    return larger;
}

static struct facts_replica *replica_add(struct copy *copy)
{
    struct node_facts *facts = copy->facts;
    struct facts_replica *replicas = grown(
        copy, facts->replicas, facts->replica_count, sizeof *replicas);

    if (replicas == NULL)
        return NULL;
    facts->replicas = replicas;
    replicas += facts->replica_count++;
    *replicas = (struct facts_replica){0};
    return replicas;
}

static void copy_replica(void *context, const struct server_replica *from)
{
    struct copy *copy = context;
    struct facts_replica *to = replica_add(copy);

    if (to == NULL)
        return;
    to->candidate = from->candidate;
    to->connected = true;
    to->since_ms = (copy->now_ns - from->since_ns) / NS_PER_MS;
    to->rtt_us = from->round_trip_ns == 0 ? STATUS_NONE
                                          : from->round_trip_ns / NS_PER_US;
    snprintf(to->id, sizeof to->id, "%s", from->node);
    snprintf(to->region, sizeof to->region, "%s", from->region);
    snprintf(to->address, sizeof to->address, "%s", from->advertise);
}

static struct facts_replica *replica_find(struct node_facts *facts,
                                          const char *id)
{
    for (size_t i = 0; i < facts->replica_count; i++)
        if (strcmp(facts->replicas[i].id, id) == 0)
            return &facts->replicas[i];
    return NULL;
}

/* Those who were here and are not connected now. */
static void copy_away(struct copy *copy, const struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_entry *from = &roster->entries[i];
        struct facts_replica *to;

        if (replica_find(copy->facts, from->node) != NULL)
            continue;
        to = replica_add(copy);
        if (to == NULL)
            return;
        to->candidate = from->candidate;
        to->since_ms = from->seen_ns == 0
                           ? STATUS_NONE
                           : (copy->now_ns - from->seen_ns) / NS_PER_MS;
        to->rtt_us = STATUS_NONE;
        snprintf(to->id, sizeof to->id, "%s", from->node);
        snprintf(to->region, sizeof to->region, "%s", from->region);
        snprintf(to->address, sizeof to->address, "%s", from->advertise);
    }
}

static void copy_stream(void *context, const struct server_stream *from)
{
    struct copy *copy = context;
    struct facts_replica *to = replica_find(copy->facts, from->node);
    struct status_stream *streams;
    char *name;

    if (to == NULL)
        return;
    streams = grown(copy, to->streams, to->stream_count, sizeof *streams);
    if (streams == NULL)
        return;
    to->streams = streams;
    name = strdup(database_name(copy->database));
    if (name == NULL) {
        copy->failed = true;
        return;
    }
    streams[to->stream_count++] = (struct status_stream){
        .database = name,
        .state = from->state,
        .received_txid = from->received_txid,
        .durable_txid = from->durable_txid,
        .applied_txid = from->applied_txid,
        .lag_us = from->lag_ns / NS_PER_US,
        .behind_txids = from->behind_txids,
        .copied_pages = from->copied_pages,
        .copy_pages = from->copy_pages,
    };
}

static void copy_streams(void *context, struct database *database)
{
    struct copy *copy = context;

    copy->database = database;
    server_streams(copy->node->links.server, database, copy_stream, copy);
}

/* Not followed: what is here is not what the primary has, however old. */
static bool is_followed(const struct copy *copy, const struct database *one)
{
    return config_follows(copy->node->config, database_name(one));
}

static void copy_database(void *context, struct database *database)
{
    struct copy *copy = context;
    struct node_facts *facts = copy->facts;
    struct client_stream stream = {.age_ns = UINT64_MAX};
    struct facts_database *to;
    struct database_view view;
    bool known = client_stream(copy->node->links.client, database, &stream) ==
                 0;

    if (!is_followed(copy, database))
        return;
    to = grown(copy, facts->databases, facts->database_count, sizeof *to);
    if (to == NULL)
        return;
    facts->databases = to;
    to += facts->database_count++;
    database_view(database, &view);
    *to = (struct facts_database){
        .lineage = view.lineage,
        .lag_us = stream.age_ns == UINT64_MAX ? STATUS_NONE
                                              : stream.age_ns / NS_PER_US,
        .behind_txids = known ? stream.behind_txids : STATUS_NONE,
    };
    if (to->lag_us > facts->lag_us) /* STATUS_NONE is the largest */
        facts->lag_us = to->lag_us;
}

static int by_lineage(const void *a, const void *b)
{
    const struct facts_database *left = a, *right = b;

    return memcmp(&left->lineage, &right->lineage, sizeof left->lineage);
}

static void copy_client(struct copy *copy)
{
    struct node_facts *facts = copy->facts;
    struct client_facts client;

    client_facts(copy->node->links.client, &client);
    facts->connected = strcmp(client.state, "following") == 0;
    facts->rtt_us = client.round_trip_ns == 0
                        ? STATUS_NONE
                        : client.round_trip_ns / NS_PER_US;
    snprintf(facts->primary_id, sizeof facts->primary_id, "%s", client.node);
    snprintf(facts->failure, sizeof facts->failure, "%s", client.failure);
    catalog_each(copy->node->catalog, copy_database, copy);
    /* Nothing here and nobody to ask: there may be anything. */
    if (facts->database_count == 0 && !facts->connected)
        facts->lag_us = STATUS_NONE;
    if (facts->database_count > 0)
        qsort(facts->databases, facts->database_count, sizeof *facts->databases,
              by_lineage);
}

static void copy_room(void *context, const char *name, size_t count)
{
    struct copy *copy = context;
    struct node_facts *facts = copy->facts;
    struct facts_room *rooms = grown(copy, facts->rooms, facts->room_count,
                                     sizeof *rooms);

    if (rooms == NULL)
        return;
    facts->rooms = rooms;
    rooms += facts->room_count;
    *rooms = (struct facts_room){.name = strdup(name), .count = count};
    copy->failed = copy->failed || rooms->name == NULL;
    facts->room_count += rooms->name != NULL;
}

static int room_by_name(const void *a, const void *b)
{
    const struct facts_room *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static struct node_facts *facts_take(struct node *node)
{
    struct copy copy = {.node = node, .now_ns = clock_now_ns()};
    struct node_facts *facts = calloc(1, sizeof *facts);

    if (facts == NULL)
        return NULL;
    facts->references = 1;
    copy.facts = facts;
    snprintf(facts->advertise, sizeof facts->advertise, "%s",
             node->links.advertise);
    if (node->links.server != NULL) {
        server_replicas(node->links.server, copy_replica, &copy);
        copy_away(&copy, &node->links.keeper.roster);
        catalog_each(node->catalog, copy_streams, &copy);
    }
    if (node->links.client != NULL)
        copy_client(&copy);
    waits_each(&node->waits, copy_room, &copy);
    if (facts->room_count > 0)
        qsort(facts->rooms, facts->room_count, sizeof *facts->rooms,
              room_by_name);
    if (!copy.failed)
        return facts;
    facts_free(facts);
    return NULL;
}

void node_facts_refresh(struct node *node)
{
    struct node_facts *fresh, *old;

    ASSERT_ON_LOOP();
    fresh = facts_take(node);
    if (fresh == NULL)
        return;
    pthread_mutex_lock(&node->facts.lock);
    old = node->facts.facts;
    node->facts.facts = fresh;
    pthread_mutex_unlock(&node->facts.lock);
    node_facts_put(node, old);
}

/* ---- life ---------------------------------------------------------------- */

void node_facts_init(struct facts_place *place)
{
    pthread_mutex_init(&place->lock, NULL);
    place->facts = NULL;
}

void node_facts_close(struct facts_place *place)
{
    ASSERT(place->facts == NULL || place->facts->references == 1);
    facts_free(place->facts);
    pthread_mutex_destroy(&place->lock);
}

struct node_facts *node_facts_get(struct node *node)
{
    struct node_facts *facts;

    pthread_mutex_lock(&node->facts.lock);
    facts = node->facts.facts;
    if (facts != NULL)
        facts->references++;
    pthread_mutex_unlock(&node->facts.lock);
    return facts;
}

void node_facts_put(struct node *node, struct node_facts *facts)
{
    bool last;

    if (facts == NULL)
        return;
    pthread_mutex_lock(&node->facts.lock);
    ASSERT(facts->references > 0);
    last = --facts->references == 0;
    pthread_mutex_unlock(&node->facts.lock);
    if (last)
        facts_free(facts);
}

/* ---- reading: any thread ------------------------------------------------- */

void node_facts_of_node(const struct node_facts *facts,
                        struct status_node *ret_node)
{
    if (facts == NULL)
        return;
    ret_node->primary_connected = facts->connected;
    ret_node->primary_rtt_us = facts->connected ? facts->rtt_us : STATUS_NONE;
    ret_node->primary_id = facts->primary_id;
    ret_node->primary_failure = facts->failure;
    ret_node->advertise = facts->advertise;
}

static void find_room(const struct node_facts *facts,
                      struct status_database *database)
{
    struct facts_room key = {.count = 0}, *found;
    char name[DATABASE_NAME_MAX + 1];

    if (facts->room_count == 0)
        return;
    snprintf(name, sizeof name, "%s", database->name);
    key.name = name;
    found = bsearch(&key, facts->rooms, facts->room_count, sizeof *facts->rooms,
                    room_by_name);
    if (found != NULL)
        database->waiters = found->count;
}

void node_facts_of_database(const struct node_facts *facts,
                            struct status_database *ret_database)
{
    struct facts_database key = {.lineage = ret_database->view.lineage};
    const struct facts_database *found = NULL;

    if (facts == NULL)
        return;
    find_room(facts, ret_database);
    if (facts->database_count > 0)
        found = bsearch(&key, facts->databases, facts->database_count,
                        sizeof *facts->databases, by_lineage);
    if (found == NULL)
        return;
    ret_database->lag_us = found->lag_us;
    ret_database->behind_txids = found->behind_txids;
}

int node_facts_of_replicas(const struct node_facts *facts, json_t *status)
{
    int rc = 0;

    for (size_t i = 0; facts != NULL && i < facts->replica_count && rc == 0;
         i++) {
        const struct facts_replica *from = &facts->replicas[i];
        struct status_replica replica = {
            .id = from->id,
            .region = from->region,
            .address = from->address,
            .candidate = from->candidate,
            .connected = from->connected,
            .since_ms = from->since_ms,
            .rtt_us = from->rtt_us,
            .streams = from->streams,
            .stream_count = from->stream_count,
        };

        rc = status_add_replica(status, &replica);
    }
    return rc;
}

uint64_t node_facts_lag_us(const struct node_facts *facts)
{
    return facts == NULL ? STATUS_NONE : facts->lag_us;
}

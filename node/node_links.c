/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_links.c - connections to other nodes: a server on the primary, a
 * client on a replica; and each second a picture of what they know, for
 * `status` (node_facts.h).
 */
#include "node/advertise.h"
#include "node/node_links.h"
#include "node/node_state.h"

#include "base/thread.h"

#include <string.h>

#define FACTS_MS 1000u

static void on_timer(uv_timer_t *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, links.timer);

    node_facts_refresh(node);
    roster_keeper_tick(&node->links.keeper);
}

/* ---- life ---- */

static void identity_make(struct node *node, struct identity *identity)
{
    const struct config *config = node->config;

    if (!config_needs_advertise(config))
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

/*
 * An empty directory is that of a new cluster, or of one that was lost: who has
 * databases of which this node never heard tells which. As long as nobody has
 * made one here, it goes back and asks; once, or it would do nothing else when
 * they cannot be fetched.
 */
static bool on_lacking(void *context)
{
    struct node *node = context;

    if (!node->was_empty)
        return false; /* older than its replicas: a backup, if that is meant */
    node->lacks = true;
    if (node->links.lacking)
        return true;
    if (node->links.asked || node->config->lease.fetch_timeout_ms == 0 ||
        !catalog_is_empty(node->catalog))
        return false;
    node->links.lacking = true;
    uv_async_send(&node->async);
    return true;
}

static int server_up(struct node *node)
{
    struct server_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .roster = &node->links.keeper.roster,
        .identity = node->links.identity,
        .listen = node->config->listen.replication,
        .asking = node->links.asking,
        .context = node,
        .on_lacking = on_lacking,
    };
    int rc;

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

/* What the start could not find out, see role.h. */
static void on_resolved(void *context, const struct addrinfo *found)
{
    struct node *node = context;
    struct address own;

    if (node->links.advertise[0] != '\0' ||
        advertise_from(node->config, found, &own) < 0)
        return;
    if (address_is_same(&own, &node->config->lease.primary)) {
        node_end(node, "by its configuration this node is the primary, which "
                       "could not be told when it started; start it again");
        return;
    }
    address_format(&own, node->links.advertise);
    log_info("node.advertise", "advertise=%s", node->links.advertise);
}

static bool is_among(const struct client_facts *facts, const char *id)
{
    for (uint32_t i = 0; i < facts->roster_count; i++)
        if (strcmp(facts->roster[i].node, id) == 0)
            return true;
    return false;
}

/* The primary says who there is; should this node be the primary one day, it
 * knows them. */
static void on_client_changed(void *context)
{
    struct node *node = context;
    struct roster *roster = &node->links.keeper.roster;
    struct client_facts facts;

    if (node->links.client == NULL)
        return; /* it is being opened */
    client_facts(node->links.client, &facts);
    if (facts.roster_count == 0)
        return;
    for (size_t i = roster->count; i-- > 0;)
        if (!is_among(&facts, roster->entries[i].node))
            (void)roster_forget(roster, roster->entries[i].node);
    for (uint32_t i = 0; i < facts.roster_count; i++) {
        const struct pulse_node *other = &facts.roster[i];

        /* Without memory for it: the next second has another chance. */
        if (strcmp(other->node, node->config->node.id) != 0)
            (void)roster_add(roster, other->node, other->region,
                             other->advertise, other->candidate);
    }
}

static int client_up(struct node *node)
{
    struct client_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .identity = node->links.identity,
        .primary = node->config->lease.primary,
        .context = node,
        .follows = follows,
        .on_resolved = on_resolved,
        .on_changed = on_client_changed,
    };
    int rc = client_open(&node->links.client, &config);

    if (rc < 0)
        log_error("node.connect", "reason=%s", logger_quote(site_failure()));
    return rc;
}

int node_links_prepare(struct node *node)
{
    node->links.open = true;
    uv_timer_init(&node->loop, &node->links.timer);
    identity_make(node, &node->links.identity);
    return roster_keeper_open(&node->links.keeper, &node->loop, node->data.fd,
                              node->config->node.id);
}

/* ---- a primary asks its replicas ------------------------------------------*/

/* A directory that was lost knows no replica either. A new one is as empty, so
 * somebody has to say which it is: data/running does, also when nothing else
 * is there. */
bool node_links_asks(const struct node *node)
{
    bool lost = node->was_empty && node->may_lack;

    return node->is_primary && node->config->lease.fetch_timeout_ms > 0 &&
           (node->was_empty || node->may_lack) &&
           (lost || node->links.keeper.roster.count > 0);
}

static void on_over(void *context)
{
    struct node *node = context;

    if (!node->serving) {
        uv_stop(&node->loop);
        return;
    }
    node->links.over = true;
    uv_async_send(&node->async);
}

static int asking_up(struct node *node)
{
    struct asking_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .roster = &node->links.keeper.roster,
        .timeout_ms = node->config->lease.fetch_timeout_ms,
        .anybody = node->serving || node->links.keeper.roster.count == 0,
        .context = node,
        .on_over = on_over,
    };

    node->links.asked = true;
    return asking_open(&node->links.asking, &config);
}

static void asking_down(struct node *node)
{
    asking_close(node->links.asking);
    node->links.asking = NULL;
}

static void asking_say(struct node *node)
{
    char names[ASKING_NAMES_BYTES];
    uint64_t seconds = asking_waits_for(node->links.asking, names);

    log_warn("node.asking", "nodes=%s seconds=%llu text=%s",
             logger_quote(names), (unsigned long long)seconds,
             logger_quote(node->was_empty
                              ? "no database is here: asking replicas for "
                                "what they have; calls in the mount wait "
                                "(lease.fetch_timeout)"
                              : "the last run did not end in order, or as a "
                                "replica: asking replicas for what they have "
                                "more; calls in the mount wait "
                                "(lease.fetch_timeout)"));
}

int node_links_ask(struct node *node)
{
    int rc = asking_up(node);

    if (rc == 0)
        rc = server_up(node);
    if (rc == 0)
        rc = catalog_ask(node->catalog);
    if (rc < 0)
        return rc;
    node->may_lack = true; /* until it has served */
    asking_say(node);
    uv_run(&node->loop, UV_RUN_DEFAULT);
    if (node->stopping)
        return -ECANCELED;
    asking_down(node);
    server_serve(node->links.server);
    return 0;
}

/* The mount answers, and goes on; what needs a database's worker waits. */
static void ask_again(struct node *node)
{
    int rc = asking_up(node);

    if (rc < 0)
        return; /* it is told when the replica comes again */
    rc = catalog_ask(node->catalog);
    if (rc < 0) { /* somebody was faster */
        asking_down(node);
        return;
    }
    server_ask(node->links.server, node->links.asking);
    asking_say(node);
}

static void serve_again(struct node *node)
{
    asking_down(node);
    if (catalog_start(node->catalog, mount_is_passthrough(node->mount)) < 0) {
        node_end(node, site_failure());
        return;
    }
    node->lacks = false; /* unless a replica says so again */
    server_serve(node->links.server);
    log_info("node.asked", "epoch=%llu",
             (unsigned long long)epoch_number(catalog_epoch(node->catalog)));
}

void node_links_turn(struct node *node)
{
    struct links *links = &node->links;

    if (links->lacking && !node->stopping)
        ask_again(node);
    links->lacking = false;
    if (links->over && !node->stopping)
        serve_again(node);
    links->over = false;
}

/* ---- life, again ---------------------------------------------------------*/

int node_links_open(struct node *node)
{
    int rc = 0;

    if (!node->is_primary)
        rc = client_up(node);
    else if (node->links.server == NULL)
        rc = server_up(node);
    if (rc == 0)
        node_facts_refresh(node);
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
    if (node->links.asking != NULL)
        asking_close(node->links.asking);
    node->links.asking = NULL;
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
    roster_keeper_close(&node->links.keeper);
}

void node_links_changed(struct node *node, struct database *database)
{
    if (node->links.asking != NULL)
        asking_changed(node->links.asking, database);
    if (node->links.server != NULL)
        server_changed(node->links.server, database);
    if (node->links.client != NULL)
        client_changed(node->links.client, database);
}

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
    node_facts_refresh(CONTAINER_OF(timer, struct node, links.timer));
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

static int client_up(struct node *node, const struct identity *identity)
{
    struct client_config config = {
        .loop = &node->loop,
        .catalog = node->catalog,
        .identity = *identity,
        .primary = node->config->lease.primary,
        .context = node,
        .follows = follows,
        .on_resolved = on_resolved,
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
}

void node_links_changed(struct node *node, struct database *database)
{
    if (node->links.server != NULL)
        server_changed(node->links.server, database);
    if (node->links.client != NULL)
        client_changed(node->links.client, database);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_status.c - the node's facts for docs/status.md. Any thread: the
 * catalog's views are consistent copies, what the links know was left under
 * a lock by the loop (node_links.c).
 */
#include "node/node_state.h"

#include "base/uring.h"
#include "node/status.h"
#include "node/version.h"

#include <unistd.h>

struct gather {
    struct node *node;
    json_t *status;
    int rc;
};

static void add_database(void *context, struct database *database)
{
    struct gather *gather = context;
    struct status_database facts = {
        .name = database_name(database),
        .lag_us = STATUS_NONE,
        .behind_txids = STATUS_NONE,
        .backlog_bytes = STATUS_NONE,
        .oldest_wait_ms = STATUS_NONE,
        .oldest_reader_ms = STATUS_NONE,
        .oldest_fsync_ms = STATUS_NONE,
    };

    database_view(database, &facts.view);
    if (!gather->node->is_primary)
        node_links_database(gather->node, database, &facts);
    if (gather->rc == 0)
        gather->rc = status_add_database(gather->status, &facts);
}

json_t *node_status(struct node *node)
{
    const struct config *config = node->config;
    char advertise[ADDRESS_TEXT_BYTES], primary[ADDRESS_TEXT_BYTES];
    struct status_node facts = {
        .id = config->node.id,
        .region = config->node.region,
        .cluster = config->cluster.name,
        .version = VERSION_TEXT,
        .advertise = advertise,
        .mount = config->mount,
        .data = config->data,
        .mode = mount_is_passthrough(node->mount) ? "passthrough" : "classic",
        .mode_reason = mount_mode_reason(node->mount),
        .log_method = uring_is_available() ? "io_uring" : "pwrite",
        .is_primary = node->is_primary,
        .candidate = config->node.candidate,
        .epoch = catalog_epoch(node->catalog),
        .uptime_ms = (clock_now_ns() - node->started_ns) / NS_PER_MS,
        .pid = (int)getpid(),
        .primary_address = node->is_primary ? "" : primary,
        .primary_id = "",
        .primary_rtt_us = STATUS_NONE,
    };
    struct gather gather = {.node = node};

    address_format(&config->node.advertise, advertise);
    address_format(&config->lease.primary, primary);
    node_links_facts(node, &facts);
    gather.status = status_make(&facts);
    if (gather.status == NULL)
        return NULL;
    catalog_each(node->catalog, add_database, &gather);
    if (gather.rc == 0)
        gather.rc = node_links_replicas(node, gather.status);
    if (gather.rc < 0) {
        json_decref(gather.status);
        return NULL;
    }
    return gather.status;
}

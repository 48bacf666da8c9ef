/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_status.c - the node's facts for docs/status.md. Any thread: the
 * catalog's views are consistent copies, what the links know is in a picture
 * that the loop took (node_facts.h).
 */
#include "node/node_state.h"

#include "base/uring.h"
#include "node/status.h"
#include "node/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every database, by reference, to be sorted by name. */
struct gather {
    struct database **databases;
    size_t count, capacity;
    bool failed;
};

static void gather_one(void *context, struct database *database)
{
    struct gather *gather = context;

    if (gather->count == gather->capacity) {
        size_t capacity = gather->capacity * 2 + 64;
        struct database **grown = realloc(gather->databases,
                                          capacity * sizeof(struct database *));

        if (grown == NULL) {
            gather->failed = true;
            return;
        }
        gather->databases = grown;
        gather->capacity = capacity;
    }
    gather->databases[gather->count++] = database_ref(database);
}

static int by_name(const void *a, const void *b)
{
    struct database *const *left = a, *const *right = b;

    return strcmp(database_name(*left), database_name(*right));
}

static int add_database(const struct node_facts *known, json_t *status,
                        struct database *database)
{
    struct status_database facts = {
        .name = database_name(database),
        .lag_us = STATUS_NONE,
        .behind_txids = STATUS_NONE,
    };

    database_view(database, &facts.view);
    node_facts_of_database(known, &facts);
    return status_add_database(status, &facts);
}

static int add_databases(struct node *node, const struct node_facts *known,
                         json_t *status)
{
    struct gather gather = {0};
    int rc = 0;

    catalog_each(node->catalog, gather_one, &gather);
    if (gather.count > 0)
        qsort(gather.databases, gather.count, sizeof(struct database *),
              by_name);
    for (size_t i = 0; i < gather.count; i++) {
        if (rc == 0)
            rc = add_database(known, status, gather.databases[i]);
        database_unref(gather.databases[i]);
    }
    free(gather.databases);
    return gather.failed ? -ENOMEM : rc;
}

/* What a walk adds to, and whether it could. */
struct adding {
    json_t *status;
    int rc;
};

static void add_lost(void *context, const struct catalog_lost *lost)
{
    struct adding *adding = context;

    if (adding->rc == 0)
        adding->rc = status_add_lost(adding->status, lost);
}

static void add_missing(void *context, const char *name, const char *text)
{
    char problem[DATABASE_NAME_MAX + 300];
    struct adding *adding = context;

    snprintf(problem, sizeof problem, "%s: %s", name, text);
    if (adding->rc == 0)
        adding->rc = status_add_problem(adding->status, STATUS_DEGRADED,
                                        problem);
}

static int add_asking(struct node *node, json_t *status)
{
    char names[ASKING_NAMES_BYTES], text[ASKING_NAMES_BYTES + 200];
    uint64_t seconds;

    if (node->links.asking == NULL)
        return 0;
    seconds = asking_waits_for(node->links.asking, names);
    snprintf(text, sizeof text,
             "asking replicas for what this node may have lost; %llu s left to "
             "hear from %s. Calls in the mount wait; start those nodes, or see "
             "lease.fetch_timeout",
             (unsigned long long)seconds, names[0] == '\0' ? "nobody" : names);
    return status_add_problem(status, STATUS_DEGRADED, text);
}

/* What is not where it was. */
static int add_gone(struct node *node, json_t *status)
{
    struct adding adding = {.status = status};
    size_t count = catalog_each_lost(node->catalog, add_lost, &adding);

    if (adding.rc == 0)
        adding.rc = status_set_lost_count(status, count);
    (void)catalog_each_missing(node->catalog, add_missing, &adding);
    return adding.rc;
}

json_t *node_status(struct node *node)
{
    const struct config *config = node->config;
    char primary[ADDRESS_TEXT_BYTES];
    struct status_node facts = {
        .id = config->node.id,
        .region = config->node.region,
        .cluster = config->cluster.name,
        .version = VERSION_TEXT,
        .advertise = "",
        .mount = config->mount,
        .data = config->data,
        .mode = mount_is_passthrough(node->mount) ? "passthrough" : "classic",
        .mode_reason = mount_mode_reason(node->mount),
        .log_method = uring_is_available() ? "io_uring" : "pwrite",
        .is_primary = node->is_primary,
        .asking = node->links.asking != NULL,
        .candidate = config->node.candidate,
        .epoch = catalog_epoch(node->catalog),
        .uptime_ms = (clock_now_ns() - node->started_ns) / NS_PER_MS,
        .pid = (int)getpid(),
        .primary_address = node->is_primary ? "" : primary,
        .primary_id = "",
        .primary_failure = "",
        .primary_rtt_us = STATUS_NONE,
    };
    struct node_facts *known = node_facts_get(node);
    json_t *status;
    int rc = -ENOMEM;

    address_format(&config->lease.primary, primary);
    node_facts_of_node(known, &facts);
    status = status_make(&facts);
    if (status != NULL)
        rc = add_databases(node, known, status);
    if (rc == 0)
        rc = node_facts_of_replicas(known, status);
    if (rc == 0)
        rc = add_gone(node, status);
    if (rc == 0)
        rc = add_asking(node, status);
    node_facts_put(node, known);
    if (rc < 0) {
        json_decref(status);
        return NULL;
    }
    return status;
}

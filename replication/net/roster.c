/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/roster.c - see roster.h. */
#include "replication/net/roster.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"

#include <errno.h>
#include <stdio.h>

#define ROSTER_MAX (PULSE_NODES_MAX - 1) /* the primary adds itself */
#define ROSTER_FIRST 8u

void roster_init(struct roster *roster, void *context,
                 void (*on_changed)(void *context))
{
    *roster = (struct roster){.context = context, .on_changed = on_changed};
}

void roster_close(struct roster *roster)
{
    os_free(&roster->entries);
    *roster = (struct roster){0};
}

static struct roster_entry *find(const struct roster *roster, const char *node)
{
    for (size_t i = 0; i < roster->count; i++)
        if (strcmp(roster->entries[i].node, node) == 0)
            return &roster->entries[i];
    return NULL;
}

const struct roster_entry *roster_find(const struct roster *roster,
                                       const char *node)
{
    return find(roster, node);
}

static int roster_grow(struct roster *roster)
{
    size_t capacity = roster->capacity == 0 ? ROSTER_FIRST
                                            : roster->capacity * 2;
    struct roster_entry *entries;
    int rc;

    if (roster->count == ROSTER_MAX)
        return -ENOBUFS;
    if (roster->count < roster->capacity)
        return 0;
    rc = os_alloc(&entries, capacity * sizeof *entries, SITE_ROSTER_ALLOC);
    if (rc < 0)
        return rc;
    if (roster->count > 0)
        memcpy(entries, roster->entries, roster->count * sizeof *entries);
    os_free(&roster->entries);
    roster->entries = entries;
    roster->capacity = capacity;
    return 0;
}

static void roster_tell(const struct roster *roster)
{
    if (roster->on_changed != NULL)
        roster->on_changed(roster->context);
}

int roster_add(struct roster *roster, const char *node, const char *region,
               const char *advertise, bool candidate)
{
    struct roster_entry *entry = find(roster, node);
    int rc;

    ASSERT(node[0] != '\0' && strlen(node) <= BODY_ID_MAX);
    if (entry != NULL && entry->candidate == candidate &&
        strcmp(entry->region, region) == 0 &&
        strcmp(entry->advertise, advertise) == 0)
        return 0;
    if (entry == NULL) {
        rc = roster_grow(roster);
        if (rc < 0)
            return rc;
        entry = &roster->entries[roster->count++];
        *entry = (struct roster_entry){0};
        snprintf(entry->node, sizeof entry->node, "%s", node);
    }
    snprintf(entry->region, sizeof entry->region, "%s", region);
    snprintf(entry->advertise, sizeof entry->advertise, "%s", advertise);
    entry->candidate = candidate;
    roster_tell(roster);
    return 0;
}

void roster_connected(struct roster *roster, const char *node, int change,
                      uint64_t now_ns)
{
    struct roster_entry *entry = find(roster, node);

    if (entry == NULL)
        return; /* the roster was full when it came */
    ASSERT(change == 1 || entry->connections > 0);
    entry->connections += (unsigned)change;
    entry->seen_ns = now_ns;
}

void roster_heard(struct roster *roster, const char *node, uint64_t now_ns,
                  uint64_t lag_ns, uint64_t behind_txids)
{
    struct roster_entry *entry = find(roster, node);

    if (entry == NULL)
        return;
    entry->seen_ns = now_ns;
    entry->lag_ns = lag_ns;
    entry->behind_txids = behind_txids;
}

int roster_forget(struct roster *roster, const char *node)
{
    struct roster_entry *entry = find(roster, node);
    size_t after;

    if (entry == NULL)
        return -ENOENT;
    if (entry->connections > 0)
        return -EBUSY;
    after = (size_t)(roster->entries + roster->count - (entry + 1));
    memmove(entry, entry + 1, after * sizeof *entry);
    roster->count--;
    roster_tell(roster);
    return 0;
}

static uint32_t seen_ms(const struct roster_entry *entry, uint64_t now_ns)
{
    uint64_t ms;

    if (entry->seen_ns == 0)
        return UINT32_MAX;
    ms = (now_ns - entry->seen_ns) / NS_PER_MS;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

uint32_t roster_fill(const struct roster *roster, uint64_t now_ns,
                     struct pulse_node *ret_nodes)
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_entry *entry = &roster->entries[i];
        struct pulse_node *node = &ret_nodes[i];

        *node = (struct pulse_node){
            .candidate = entry->candidate,
            .connected = entry->connections > 0,
            .seen_ms = seen_ms(entry, now_ns),
            .lag_ms = entry->lag_ns / NS_PER_MS,
            .behind_txids = entry->behind_txids,
        };
        memcpy(node->node, entry->node, sizeof node->node);
        memcpy(node->region, entry->region, sizeof node->region);
        memcpy(node->advertise, entry->advertise, sizeof node->advertise);
    }
    return (uint32_t)roster->count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/herald.c - see herald.h. */
#include "replication/net/herald.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>

static void send_heartbeat(struct guest *guest)
{
    struct pack_writer writer;
    struct pulse pulse;
    struct blob *blob;
    uint32_t told = 0;

    link_pulse(&guest->link, &pulse);
    pulse_begin(&writer, &pulse,
                guest->streams_count < PULSE_STREAMS_MAX ? guest->streams_count
                                                         : PULSE_STREAMS_MAX);
    for (uint32_t i = 0; i < guest->streams_count && told < PULSE_STREAMS_MAX;
         i++) {
        struct supply *supply = guest->streams[i];

        if (supply == NULL || !supply->opened ||
            supply->feed.state == FEED_CLOSED ||
            supply->told_txid == supply->view.position.txid)
            continue;
        supply->told_txid = supply->view.position.txid;
        pulse_add(&writer, supply->stream, supply->told_txid);
        told++;
    }
    if (pack_finish(&writer, &blob) < 0)
        link_close(&guest->link, -ENOMEM);
    else
        link_send(&guest->link, blob);
}

static void send_roster(struct guest *guest)
{
    const struct guest_host *host = guest->host;
    struct pulse_node *nodes;
    struct blob *blob;
    uint32_t count;
    int rc = os_alloc(&nodes, PULSE_NODES_MAX * sizeof *nodes,
                      SITE_GUEST_ALLOC);

    if (rc < 0)
        return; /* the next second has another chance */
    count = roster_fill(host->roster, clock_now_ns(), nodes);
    nodes[count] = (struct pulse_node){.primary = true,
                                       .connected = true,
                                       .candidate = host->identity->candidate};
    snprintf(nodes[count].node, sizeof nodes[0].node, "%s",
             host->identity->node);
    snprintf(nodes[count].region, sizeof nodes[0].region, "%s",
             host->identity->region);
    snprintf(nodes[count].advertise, sizeof nodes[0].advertise, "%s",
             host->identity->advertise);
    rc = pulse_roster_encode(nodes, count + 1, &blob);
    os_free(&nodes);
    if (rc == 0)
        link_send(&guest->link, blob);
}

void herald_say(struct guest *guest)
{
    send_heartbeat(guest);
    send_roster(guest);
}

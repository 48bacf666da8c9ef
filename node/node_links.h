/* SPDX-License-Identifier: Apache-2.0 */
/* node/node_links.h - inside one node: its connections to other nodes. */
#ifndef TIDEMARK_NODE_NODE_LINKS_H
#define TIDEMARK_NODE_NODE_LINKS_H

#include "base/address.h"
#include "node/roster_keeper.h"
#include "replication/net/asking.h"
#include "replication/net/client.h"
#include "replication/net/server.h"

#include <uv.h>

struct links {
    bool open;
    struct server *server; /* on the primary */
    struct client *client; /* on a replica */
    struct asking *asking; /* on a primary that asks; else NULL */
    bool asked;            /* this process did, or does */
    bool lacking;          /* it is going to ask */
    bool over;             /* it has asked, while the mount answered */
    struct identity identity;
    struct roster_keeper
        keeper; /* and its roster: a primary's own, on a replica
                                    the primary's, less itself */
    uv_timer_t timer;
    char advertise[ADDRESS_TEXT_BYTES]; /* ""; not found out yet */
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/identity.h - who this node is, as it tells others.
 * Texts are borrowed for as long as server or client live. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_NET_IDENTITY_H
#define TIDEMARK_REPLICATION_NET_IDENTITY_H

#include <stdbool.h>

struct identity {
    const char *cluster; /* at most BODY_ID_MAX bytes, as the next two */
    const char *node;    /* not "" */
    const char *region;
    const char *advertise; /* host:port, at most BODY_ADVERTISE_MAX */
    bool candidate;
    bool insecure; /* peers beyond loopback are allowed without a secret */
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/herald.h - what a primary says to each replica every second:
 * that it is there, how far its databases are, and who else there is.
 */
#ifndef TIDEMARK_REPLICATION_NET_HERALD_H
#define TIDEMARK_REPLICATION_NET_HERALD_H

#include "replication/net/guest.h"

/* A heartbeat, and the roster. Loop thread. */
void herald_say(struct guest *guest);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/advertise.h - which of this machine's addresses the primary would see.
 *
 * Asks the resolver for lease.primary and the kernel for the route to it;
 * sends nothing. Blocks while names are resolved: only before the node runs,
 * or in a command. Any thread.
 */
#ifndef TIDEMARK_NODE_ADVERTISE_H
#define TIDEMARK_NODE_ADVERTISE_H

#include "node/config.h"

/*
 * Sets node.advertise when config_needs_advertise(), else does nothing. On the
 * machine that lease.primary names, the host becomes the one written there,
 * so that config_is_primary() holds. -EHOSTUNREACH or the errno of the
 * socket; ret_error says what to do.
 */
int advertise_find(struct config *config, struct config_error *ret_error);

/* The same when the addresses of lease.primary are known; does not block.
 * -EHOSTUNREACH or the errno of the socket; ret_found is untouched then. */
struct addrinfo;
int advertise_from(const struct config *config, const struct addrinfo *list,
                   struct address *ret_found);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease/static.h - the lease that an operator writes into the configuration.
 *
 * A node is primary exactly when its own advertised address is the address in
 * lease.primary. Nobody else is asked, so nothing can run out and nothing
 * fences a node that cannot be reached: whoever promotes another one must see
 * to it that the old one does not come back as primary. What is guaranteed is
 * that its epoch is then an older one, and refused wherever a newer is known.
 *
 * Pure. Any thread.
 */
#ifndef TIDEMARK_LEASE_STATIC_H
#define TIDEMARK_LEASE_STATIC_H

#include "base/address.h"
#include "wal/position.h"

/* True when node.advertise names the node that lease.primary names. Two names
 * of one machine are two nodes: only addresses that surely lead to the same
 * socket are the same (base/address.h). */
bool static_is_primary(const struct address *advertise,
                       const struct address *primary);

/*
 * The epoch of a primary that starts: above `highest`, the highest it knows
 * of, its own and all it heard. random: 24 bits, drawn anew at each start, so
 * that two nodes that raise to the same number are still told apart.
 * -EOVERFLOW: `highest` is the last there is; no peer raised it honestly.
 */
int static_epoch(epoch_t highest, uint32_t random, epoch_t *ret_epoch);

#endif

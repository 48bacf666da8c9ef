/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/notice.h - what a supply tells its replica beside content:
 * OPEN, COPIED, ATTR, DROP. All is as the supply's view says. A message that
 * cannot be made ends the connection, or comes with the next chance. Loop.
 */
#ifndef TIDEMARK_REPLICATION_NET_NOTICE_H
#define TIDEMARK_REPLICATION_NET_NOTICE_H

#include "replication/net/supply.h"

/* OPEN, as the feed decided. 0, or the link closes with what is returned. */
int notice_open(struct supply *supply, const struct feed_action *action);

void notice_copied(struct supply *supply, const struct position *position);
void notice_drop(struct supply *supply);

/* ATTR, when owner or mode are not what the replica was told last. */
void notice_owner(struct supply *supply);

#endif

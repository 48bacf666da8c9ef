/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/report.h - what a follower tells its primary: what it has,
 * how far it is, and which bytes it is done with. Made of what was offered to
 * the engine and of what the engine shows, which is always a little older.
 *
 * Pure, changes nothing. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_REPORT_H
#define TIDEMARK_REPLICATION_CORE_REPORT_H

#include "replication/core/follow.h"

/* The engine refused something, and what was offered after that is lost, too.
 * A view from before our last RESTART says nothing new. */
bool report_is_stopped(const struct follow *follow,
                       const struct follow_view *view);

/*
 * What to tell the primary that we have, in DATABASE and RESYNC: position,
 * received and durable TXID and the PREPARED of ret_database, the rest is
 * left alone. And what a copy may be compared with, which counts however
 * little the rest is worth.
 *
 * Received is what was offered, also if the engine has not taken it yet: it
 * will, before anything that is offered later. Telling less would be unsafe:
 * should a new primary go on from there differently, the rest of the queue
 * would be applied all the same. A PREPARED of an earlier connection is told
 * until something later is offered: sent again, the older one is void. A copy
 * that is not in place, or content that was found wrong, counts as nothing.
 */
void report_tell(const struct follow *follow, const struct follow_view *view,
                 struct body_database *ret_database);

/* True when there is an ACK to send: ret_ack, which is not the last one. */
bool report_ack(const struct follow *follow, const struct follow_view *view,
                struct body_ack *ret_ack);

/* Bytes of credit to give back now; 0: not enough yet. */
uint32_t report_credit(const struct follow *follow,
                       const struct follow_view *view);

#endif

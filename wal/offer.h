/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/offer.h - what becomes of a record that the primary sent, on a replica.
 * Worker only.
 */
#ifndef TIDEMARK_WAL_OFFER_H
#define TIDEMARK_WAL_OFFER_H

#include "wal/engine.h"

/* Takes one record: into the log, then into the WAL or the copy. What cannot
 * be done now is done by offer_catch_up(). */
void offer_record(struct database *database, struct blob *blob);

/* What could not be applied when it came, from the log. */
void offer_catch_up(struct database *database);

/* Makes visible what was applied since the last call. */
void offer_publish(struct database *database);

#endif

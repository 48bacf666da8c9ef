/* SPDX-License-Identifier: Apache-2.0 */
/* node/events.h - what the engine reports, as lines of the log. */
#ifndef TIDEMARK_NODE_EVENTS_H
#define TIDEMARK_NODE_EVENTS_H

#include "wal/database.h"

/* catalog_config.on_event. Any thread. */
void events_log(void *context, enum database_event event, const char *name,
                const char *text);

#endif

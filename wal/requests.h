/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/requests.h - the loop's errands at a database's worker: records from
 * the log, pages for a copy.
 */
#ifndef TIDEMARK_WAL_REQUESTS_H
#define TIDEMARK_WAL_REQUESTS_H

#include "wal/engine.h"

/* Does what the request asks and gives it back. Worker only. */
void requests_run(struct database *database, struct database_request *request);

#endif

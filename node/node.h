/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node.h - the running node: wires mount, engine, replication and the
 * control socket together, and takes them apart again.
 */
#ifndef TIDEMARK_NODE_NODE_H
#define TIDEMARK_NODE_NODE_H

#include "node/config.h"

/*
 * Runs the node until SIGINT or SIGTERM, then stops it cleanly. config is
 * borrowed, complete (advertise_find() was called) and lives until this
 * returns. Without node.advertise it is a replica that looks for its address.
 * SIGPIPE is ignored already. 0 after a clean stop, else a negative errno, and
 * the reason was logged. Main thread, once per process.
 */
int node_run(const struct config *config);

#endif

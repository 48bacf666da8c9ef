/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/role.h - what the node of a data directory was when it ran last, and
 * how that ended.
 *
 * Only the configuration decides who is the primary. But a replica has to
 * serve its readers without a network or a name server, too, and what it
 * then must not do is to take a primary's data for a replica's: commits that
 * were not captured yet would be put aside as changes that nobody may make.
 */
#ifndef TIDEMARK_NODE_ROLE_H
#define TIDEMARK_NODE_ROLE_H

#include <stdbool.h>

/* True when the last node on data, a path, was a replica. */
bool role_was_replica(const char *data);

/* A run begins: ret_unclean, the one before did not end in order. 0 or a
 * negative errno, told to site_fail(). */
int role_run_begin(int data_fd, bool *ret_unclean);

/* It ended in order, and all is durable. */
void role_run_end(int data_fd);

/* Keeps it for the next start. 0 or a negative errno, told to site_fail(). */
int role_keep(int data_fd, bool is_primary);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/roster_file.h - the nodes that this one knows of, between two runs:
 * roster.json in the data directory.
 *
 *   { "version": 1,
 *     "nodes": [ { "id": "fra-1",                not "", at most 64 bytes
 *                  "region": "fra",              at most 64 bytes
 *                  "advertise": "fra-1:20202",   at most 280 bytes
 *                  "candidate": true }, ... ] }  at most 255 nodes
 *
 * Members that are not known are passed over, missing ones and texts with
 * control bytes refused, as are two nodes of one id. People may take a node
 * out, while the daemon does not run (docs/decisions/0010). Any thread.
 */
#ifndef TIDEMARK_NODE_ROSTER_FILE_H
#define TIDEMARK_NODE_ROSTER_FILE_H

#include "replication/net/roster.h"

#define ROSTER_FILE_NAME "roster.json"
#define ROSTER_FILE_VERSION 1
#define ROSTER_FILE_MAX_BYTES (1u << 20)
#define ROSTER_FILE_REASON_BYTES 200u

/* The text of the file; free() it. NULL: out of memory. Pure. */
char *roster_file_encode(const struct roster *roster);

/*
 * Puts the nodes of such a text into roster, but `own`, this node's id. Errors
 * leave it as it was, and say why in ret_reason: -EBADMSG, no such text;
 * -EPROTONOSUPPORT, of a newer version; -ENOMEM. Pure.
 */
int roster_file_decode(const char *text, size_t size, const char *own,
                       struct roster *roster,
                       char ret_reason[ROSTER_FILE_REASON_BYTES]);

/*
 * Reads the file. None is no error. A damaged one is moved to lost/ and told,
 * and counts as none. -EPROTONOSUPPORT (told), -ENOMEM, and what the system
 * says: the file is as it was, and must not be written over.
 */
int roster_file_load(int data_fd, const char *own, struct roster *roster);

#endif

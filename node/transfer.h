/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/transfer.h - a whole database from one file to another by SQLite's own
 * backup, as any stock application could do it: it takes SQLite's locks,
 * makes one transaction, and leaves open connections alive.
 *
 * Runs in the process of a command, never in the node. One transfer at a
 * time. Every failure is written to text: what, on what, what to do.
 */
#ifndef TIDEMARK_NODE_TRANSFER_H
#define TIDEMARK_NODE_TRANSFER_H

#include "node/control_client.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define TRANSFER_TEXT_BYTES 1500

struct transfer {
    sqlite3 *from;         /* owned */
    sqlite3 *to;           /* owned */
    const char *from_name; /* for messages; borrowed */
    const char *to_name;
    int64_t pages; /* copied */
    uint32_t page_bytes;
    char text[TRANSFER_TEXT_BYTES];
};

/*
 * Opens from for reading, and to for writing; to is made when it is not there
 * and from is a database. -EIO with text. Close it in any case.
 */
int transfer_open(struct transfer *transfer, const char *from, const char *to);

/*
 * Keeps a read transaction open on `from` until the end: the copy is of this
 * moment, whatever is committed meanwhile. -EIO with text.
 */
int transfer_hold(struct transfer *transfer);

/*
 * Refuses what backup cannot do: `to` is in WAL mode and has another page
 * size. -EINVAL with text, which names the way out; -EIO.
 */
int transfer_check(struct transfer *transfer);

/*
 * Copies all pages as one transaction of `to`. Prints its progress, headed by
 * label, when standard error is a terminal. -EINTR: SIGINT or SIGTERM came
 * and nothing was changed; -EIO; both with text.
 */
int transfer_run(struct transfer *transfer, const char *label);

/* Takes zeroed, half-open and closed alike. */
void transfer_close(struct transfer *transfer);

/*
 * Where the database `name` lies in the mount of the running node, from the
 * node's status. need_primary: refuse on a replica. -EINVAL with text.
 */
int transfer_path(const json_t *status, const char *name, bool need_primary,
                  char *ret_path, size_t size, char text[TRANSFER_TEXT_BYTES]);

#endif

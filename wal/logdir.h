/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/logdir.h - the folder that a database's log lies in: removed, put aside,
 * taken by another log. Worker, or the start.
 */
#ifndef TIDEMARK_WAL_LOGDIR_H
#define TIDEMARK_WAL_LOGDIR_H

#include "wal/engine.h"

/* Removes a log directory below data and what is in it. */
void logdir_remove(struct database *database, const char *path);

/* Renames the log's directory, so that people can look at it; one that was put
 * aside before goes. */
int logdir_put_aside(struct database *database);

/* log, in directory path, becomes the database's; the old one moves aside. A
 * failure leaves the old one the database's. */
int logdir_replace(struct database *database, struct log *log,
                   const char *path);

/* After it, and before anybody is told that something in the log is durable:
 * a power cut leaves it the database's. May be tried again. */
int logdir_sync(struct database *database);

#endif

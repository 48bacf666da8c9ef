/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/progress.h - says how far work is that lasts.
 *
 * Most work is done before anybody could read a line about it, and is silent.
 * What lasts longer than two seconds says so, then again every five, then
 * that it is done: DATABASE_EVENT_PROGRESS. Zeroed: no work. One thread.
 */
#ifndef TIDEMARK_WAL_PROGRESS_H
#define TIDEMARK_WAL_PROGRESS_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_FIRST_NS (2 * NS_PER_S)
#define PROGRESS_NEXT_NS (5 * NS_PER_S)
#define PROGRESS_TEXT_BYTES 128

struct database;

struct progress {
    const char *what; /* "first copy"; static */
    const char *unit; /* "pages"; static */
    uint64_t began_ns, next_ns;
    bool told;
};

void progress_begin(struct progress *progress, const char *what,
                    const char *unit, uint64_t now_ns);

/* Is it time to say something? Then not again for a while. */
bool progress_is_due(struct progress *progress, uint64_t now_ns);

/* done of total, at most 100: never rounded up to what is not so. */
unsigned progress_percent(uint64_t done, uint64_t total);

/* "first copy: 45 %, 540 of 1200 pages" */
void progress_format(const struct progress *progress, uint64_t done,
                     uint64_t total, char text[PROGRESS_TEXT_BYTES]);

/* Says it about database, when it is due. Cheap enough for every page. */
void progress_step(struct progress *progress, struct database *database,
                   uint64_t done, uint64_t total);

/* The work is done, or ended early (rc < 0): said only if it was before. */
void progress_end(struct progress *progress, struct database *database, int rc);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/progress.c - see progress.h. */
#include "wal/progress.h"

#include "wal/notes.h"

#include <inttypes.h>
#include <stdio.h>

void progress_begin(struct progress *progress, const char *what,
                    const char *unit, uint64_t now_ns)
{
    *progress = (struct progress){
        .what = what,
        .unit = unit,
        .began_ns = now_ns,
        .next_ns = now_ns + PROGRESS_FIRST_NS,
    };
}

bool progress_is_due(struct progress *progress, uint64_t now_ns)
{
    if (progress->what == NULL || now_ns < progress->next_ns)
        return false;
    progress->next_ns = now_ns + PROGRESS_NEXT_NS;
    progress->told = true;
    return true;
}

unsigned progress_percent(uint64_t done, uint64_t total)
{
    if (done >= total)
        return 100;
    return (unsigned)((double)done * 100 / (double)total);
}

void progress_format(const struct progress *progress, uint64_t done,
                     uint64_t total, char text[PROGRESS_TEXT_BYTES])
{
    snprintf(text, PROGRESS_TEXT_BYTES,
             "%s: %u %%, %" PRIu64 " of %" PRIu64 " %s", progress->what,
             progress_percent(done, total), done, total, progress->unit);
}

void progress_step(struct progress *progress, struct database *database,
                   uint64_t done, uint64_t total)
{
    char text[PROGRESS_TEXT_BYTES];

    if (!progress_is_due(progress, clock_now_ns()))
        return;
    progress_format(progress, done, total, text);
    notes_event(database, DATABASE_EVENT_PROGRESS, text);
}

void progress_end(struct progress *progress, struct database *database, int rc)
{
    char text[PROGRESS_TEXT_BYTES];

    if (progress->told) {
        snprintf(text, sizeof text, "%s: %s after %" PRIu64 " s",
                 progress->what, rc < 0 ? "ended" : "done",
                 (clock_now_ns() - progress->began_ns) / NS_PER_S);
        notes_event(database, DATABASE_EVENT_PROGRESS, text);
    }
    *progress = (struct progress){0};
}

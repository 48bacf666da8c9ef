/* SPDX-License-Identifier: Apache-2.0 */
/* node/events.c - see events.h. How loud an event is, is decided here. */
#include "node/events.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/logger.h"

#include <stdio.h>

void events_log(void *context, enum database_event event, const char *name,
                const char *text)
{
    static const enum logger_level levels[] = {
        [DATABASE_EVENT_ADOPTED] = LOGGER_INFO,
        [DATABASE_EVENT_RECOVERED] = LOGGER_INFO,
        [DATABASE_EVENT_GAP] = LOGGER_WARN,
        [DATABASE_EVENT_CHANGED] = LOGGER_WARN,
        [DATABASE_EVENT_DROPPED] = LOGGER_INFO,
        [DATABASE_EVENT_HELD_BACK] = LOGGER_ERROR,
        [DATABASE_EVENT_STOPPED] = LOGGER_ERROR,
        [DATABASE_EVENT_FAILED] = LOGGER_ERROR,
        [DATABASE_EVENT_RESUMED] = LOGGER_INFO,
        [DATABASE_EVENT_REFUSED] = LOGGER_WARN,
        [DATABASE_EVENT_DAMAGED] = LOGGER_ERROR,
        [DATABASE_EVENT_PROGRESS] = LOGGER_INFO,
        [DATABASE_EVENT_STRANGE] = LOGGER_WARN,
    };
    char key[48];

    (void)context;
    ASSERT((size_t)event < ARRAY_LENGTH(levels));
    snprintf(key, sizeof key, "database.%s", database_event_name(event));
    if (*text == '\0')
        logger_write(levels[event], key, "db=%s", logger_quote(name));
    else
        logger_write(levels[event], key, "db=%s text=%s", logger_quote(name),
                     logger_quote(text));
}

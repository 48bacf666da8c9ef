/* SPDX-License-Identifier: Apache-2.0 */
/* node/control_code.c - the names of the codes. */
#include "node/control_code.h"

#include "base/assert.h"

#include <string.h>

static const char *const names[CONTROL_CODES] = {
    [CONTROL_BAD_REQUEST] = "bad_request",
    [CONTROL_BUSY] = "busy",
    [CONTROL_NOT_FOUND] = "not_found",
    [CONTROL_TIMEOUT] = "timeout",
    [CONTROL_LOST] = "lost",
    [CONTROL_UNKNOWN] = "unknown",
    [CONTROL_UNAVAILABLE] = "unavailable",
    [CONTROL_STOPPING] = "stopping",
};

const char *control_code_name(enum control_code code)
{
    ASSERT((unsigned)code < CONTROL_CODES);
    return names[code];
}

enum control_code control_code_from(const char *name)
{
    for (unsigned i = 0; i < CONTROL_CODES; i++)
        if (strcmp(names[i], name) == 0)
            return (enum control_code)i;
    return CONTROL_UNAVAILABLE;
}

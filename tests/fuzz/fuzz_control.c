/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_control.c - any bytes as a line of the control socket: a
 * request with all its members in bounds, or a refusal with a reason.
 */
#include "base/assert.h"
#include "node/control_request.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request request = {0};
    char reason[CONTROL_REASON_BYTES] = "";

    if (control_request_parse((const char *)data, size, &request, reason) < 0) {
        ASSERT(reason[0] != '\0');
        ASSERT(request.json == NULL);
        return 0;
    }
    if (request.what != CONTROL_STATUS)
        ASSERT(strlen(request.database) > 0);
    if (request.what == CONTROL_WAIT)
        ASSERT(strlen(request.token) > 0 && request.timeout_ms < UINT64_MAX);
    control_request_free(&request);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_roster.c - any bytes as the file of a roster: refused with
 * a reason, or a roster that is the same when written and read again.
 */
#include "base/assert.h"
#include "node/roster_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_same(const struct roster *a, const struct roster *b)
{
    ASSERT(a->count == b->count && a->count < PULSE_NODES_MAX);
    for (size_t i = 0; i < a->count; i++) {
        const struct roster_entry *left = &a->entries[i];
        const struct roster_entry *right = &b->entries[i];

        ASSERT(strcmp(left->node, right->node) == 0);
        ASSERT(strcmp(left->region, right->region) == 0);
        ASSERT(strcmp(left->advertise, right->advertise) == 0);
        ASSERT(left->candidate == right->candidate);
        ASSERT(left->node[0] != '\0' && left->connections == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reason[ROSTER_FILE_REASON_BYTES] = "", *text;
    struct roster first, again;

    roster_init(&first, NULL, NULL);
    roster_init(&again, NULL, NULL);
    if (roster_file_decode((const char *)data, size, "us", &first, reason) <
        0) {
        ASSERT(reason[0] != '\0' && first.count == 0);
    } else {
        text = roster_file_encode(&first);
        ASSERT(text != NULL);
        ASSERT(roster_file_decode(text, strlen(text), "us", &again, reason) ==
               0);
        is_same(&first, &again);
        free(text);
    }
    roster_close(&first);
    roster_close(&again);
    return 0;
}

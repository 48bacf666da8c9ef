/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_token.c - any text as a token: what parses is written back
 * as the same text, and gets a verdict that time only improves. The same bytes
 * as an encoded history: what decodes encodes to the same bytes.
 */
#include "base/assert.h"
#include "wal/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct token *token)
{
    static struct history_entry entries[] = {{0x100, 1}, {0x200, 0x1000}};
    const struct history history = {entries, 2, 2};
    const struct lineage lineage = {{0x6c, 0x2f, 0x9a, 0x01}};
    enum token_verdict before = token_judge(token, &lineage, &history, 0);
    enum token_verdict after = token_judge(token, &lineage, &history,
                                           UINT64_MAX);

    if (before == TOKEN_WAIT)
        ASSERT(after == TOKEN_WAIT || after == TOKEN_REACHED);
    else
        ASSERT(after == before);
}

static void try_token(const uint8_t *data, size_t size)
{
    char text[TOKEN_TEXT_BYTES], *copy = malloc(size > 0 ? size : 1);
    struct token token;

    ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size); /* as chars, and not a byte to spare */
    if (token_parse(copy, size, &token) == 0) {
        token_format(&token, text);
        ASSERT(strlen(text) == size && memcmp(text, copy, size) == 0);
        judge(&token);
    }
    free(copy);
}

static void try_history(const uint8_t *data, size_t size)
{
    struct history history;
    uint8_t *again;
    size_t used;

    if (history_decode(&history, data, size, &used) < 0)
        return;
    ASSERT(used <= size && used == history_encoded_bytes(&history));
    again = malloc(used);
    ASSERT(again != NULL);
    history_encode(&history, again);
    ASSERT(memcmp(again, data, used) == 0);
    free(again);
    history_free(&history);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_token(data, size);
    try_history(data, size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/token.c - see token.h. */
#include "wal/token.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>

#define PREFIX_DIGITS 8u
#define NUMBER_DIGITS_MAX 16u

static uint32_t lineage_prefix(const struct lineage *lineage)
{
    return get_be32(lineage->bytes);
}

void token_make(const struct lineage *lineage, const struct position *position,
                struct token *ret_token)
{
    *ret_token = (struct token){
        .lineage_prefix = lineage_prefix(lineage),
        .epoch = position->epoch,
        .txid = position->txid,
    };
}

void token_format(const struct token *token, char text[TOKEN_TEXT_BYTES])
{
    int length = snprintf(
        text, TOKEN_TEXT_BYTES, "%08x.%llx.%llx", token->lineage_prefix,
        (unsigned long long)token->epoch, (unsigned long long)token->txid);

    ASSERT(length > 0 && length < TOKEN_TEXT_BYTES);
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* The hex digits before `end` or a '.'; returns how many, 0 for none or more
 * than a number can have. */
static size_t digits_parse(const char *at, const char *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t count = 0;

    while (at + count < end && digit_value(at[count]) >= 0) {
        if (count == NUMBER_DIGITS_MAX)
            return 0;
        value = value << 4 | (uint64_t)digit_value(at[count++]);
    }
    *ret_value = value;
    return count;
}

/* A '.' and a number without leading zeros: one token, one text. */
static const char *number_parse(const char *at, const char *end,
                                uint64_t *ret_value)
{
    size_t count;

    if (at == end || *at++ != '.')
        return NULL;
    count = digits_parse(at, end, ret_value);
    if (count == 0 || (count > 1 && *at == '0'))
        return NULL;
    return at + count;
}

int token_parse(const char *text, size_t length, struct token *ret_token)
{
    const char *end = text + length, *at = text;
    uint64_t prefix, epoch, txid;

    if (length >= TOKEN_TEXT_BYTES)
        return -EINVAL;
    if (digits_parse(at, end, &prefix) != PREFIX_DIGITS)
        return -EINVAL;
    at = number_parse(at + PREFIX_DIGITS, end, &epoch);
    if (at != NULL)
        at = number_parse(at, end, &txid);
    if (at == NULL || at != end)
        return -EINVAL;
    *ret_token = (struct token){(uint32_t)prefix, epoch, txid};
    return 0;
}

static bool lineage_is_none(const struct lineage *lineage)
{
    static const struct lineage none = {{0}};

    return lineage_is_equal(lineage, &none);
}

enum token_verdict token_judge(const struct token *token,
                               const struct lineage *lineage,
                               const struct history *history,
                               txid_t applied_txid)
{
    bool is_ours = token->lineage_prefix == lineage_prefix(lineage);
    txid_t end;

    if (lineage_is_none(lineage))
        return TOKEN_WAIT;
    if (is_ours && token->epoch == 0 && token->txid == 0)
        return TOKEN_REACHED; /* taken before the first commit */
    if (history->count == 0)
        return TOKEN_WAIT;
    if (!is_ours)
        return TOKEN_UNKNOWN;
    if (!history_has(history, token->epoch, &end))
        return token->epoch < history_last(history) ? TOKEN_LOST : TOKEN_WAIT;
    /* Before "reached": another transaction may have taken this TXID since. */
    if (token->txid > end)
        return TOKEN_LOST;
    return token->txid <= applied_txid ? TOKEN_REACHED : TOKEN_WAIT;
}

const char *token_verdict_name(enum token_verdict verdict)
{
    static const char *const names[] = {
        [TOKEN_REACHED] = "reached",
        [TOKEN_WAIT] = "wait",
        [TOKEN_LOST] = "lost",
        [TOKEN_UNKNOWN] = "unknown",
    };

    ASSERT((size_t)verdict < ARRAY_LENGTH(names));
    return names[verdict];
}

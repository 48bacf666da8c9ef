/* SPDX-License-Identifier: Apache-2.0 */
/* node/control_request.c - a table of requests and the members of each. */
#include "node/control_request.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "node/control_code.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DATABASE_MAX 1024u /* bytes, as in the mount */
#define TOKEN_MAX 64u
#define TIMEOUT_MAX_MS (UINT64_C(36525) * 86400000) /* a century */

/* "db" and "token" have to be there, a number may. */
static const struct {
    const char *name;
    enum control_do what;
    size_t texts;       /* how many of text_members it has */
    const char *number; /* NULL: it has none */
} requests[] = {
    {"status", CONTROL_STATUS, 0, NULL},
    {"token", CONTROL_TOKEN, 1, NULL},
    {"wait", CONTROL_WAIT, 2, "timeout_ms"},
    {"verify", CONTROL_VERIFY, 1, "from"},
};

static const struct {
    const char *name;
    size_t max;
} text_members[] = {{"db", DATABASE_MAX}, {"token", TOKEN_MAX}};

static int fail(char reason[CONTROL_REASON_BYTES], const char *what,
                const char *object)
{
    snprintf(reason, CONTROL_REASON_BYTES, "%s%.80s", what, object);
    return -EINVAL;
}

/* The row of the request's "do", or -EINVAL. */
static int find(const json_t *json, char reason[CONTROL_REASON_BYTES])
{
    const char *name = json_string_value(json_object_get(json, "do"));

    for (size_t i = 0; name != NULL && i < ARRAY_LENGTH(requests); i++)
        if (strcmp(requests[i].name, name) == 0)
            return (int)i;
    return fail(reason, "\"do\" must be status, token, wait or verify", "");
}

static int take_text(const json_t *json, size_t member, const char **ret_text,
                     char reason[CONTROL_REASON_BYTES])
{
    const json_t *value = json_object_get(json, text_members[member].name);
    size_t length = json_string_length(value);

    if (length == 0 || length > text_members[member].max)
        return fail(reason, "a text is needed, not empty and not too long: ",
                    text_members[member].name);
    *ret_text = json_string_value(value);
    return 0;
}

static int take_number(const json_t *json, const char *name, uint64_t min,
                       uint64_t max, uint64_t *ret_number,
                       char reason[CONTROL_REASON_BYTES])
{
    const json_t *value = json_object_get(json, name);
    json_int_t number = json_integer_value(value);

    if (value == NULL)
        return 0;
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < min ||
        (uint64_t)number > max)
        return fail(reason, "not a whole number in its range: ", name);
    *ret_number = (uint64_t)number;
    return 0;
}

static int take_numbers(struct control_request *request,
                        char reason[CONTROL_REASON_BYTES])
{
    uint64_t from = 1;
    int rc = take_number(request->json, "timeout_ms", 0, TIMEOUT_MAX_MS,
                         &request->timeout_ms, reason);

    if (rc == 0)
        rc = take_number(request->json, "from", 1, UINT32_MAX, &from, reason);
    request->from = (uint32_t)from;
    return rc;
}

/* Every member must be one that this request has. */
static int check_members(json_t *json, size_t row,
                         char reason[CONTROL_REASON_BYTES])
{
    const char *name;
    json_t *value;

    json_object_foreach(json, name, value)
    {
        bool known = strcmp(name, "do") == 0 ||
                     (requests[row].number != NULL &&
                      strcmp(name, requests[row].number) == 0);

        for (size_t i = 0; i < requests[row].texts; i++)
            known = known || strcmp(name, text_members[i].name) == 0;
        if (!known)
            return fail(reason, "unknown member: ", name);
    }
    return 0;
}

static int take_members(struct control_request *request,
                        char reason[CONTROL_REASON_BYTES])
{
    const char **texts[] = {&request->database, &request->token};
    int row = find(request->json, reason);
    int rc = row < 0 ? row : check_members(request->json, (size_t)row, reason);

    if (rc < 0)
        return rc;
    request->what = requests[row].what;
    ASSERT(requests[row].texts <= ARRAY_LENGTH(texts));
    for (size_t i = 0; rc == 0 && i < requests[row].texts; i++)
        rc = take_text(request->json, i, texts[i], reason);
    if (rc == 0)
        rc = take_numbers(request, reason);
    return rc;
}

int control_request_parse(const char *line, size_t size,
                          struct control_request *ret_request,
                          char ret_reason[CONTROL_REASON_BYTES])
{
    struct control_request request = {.timeout_ms = CONTROL_TIMEOUT_MS};
    json_error_t error;
    int rc;

    request.json = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (request.json == NULL)
        return fail(ret_reason, "not JSON: ", error.text);
    rc = take_members(&request, ret_reason);
    if (rc < 0)
        control_request_free(&request);
    else
        *ret_request = request;
    return rc;
}

void control_request_free(struct control_request *request)
{
    json_decref(request->json);
    *request = (struct control_request){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* node/quantity.c - numbers with units, both ways. */
#include "node/quantity.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

#define KIB UINT64_C(1024)
#define KB UINT64_C(1000)

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", KIB},
    {"MiB", KIB *KIB},
    {"GiB", KIB *KIB *KIB},
    {"TiB", KIB *KIB *KIB *KIB},
    {"kB", KB},
    {"MB", KB *KB},
    {"GB", KB *KB *KB},
    {"TB", KB *KB *KB *KB},
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

#define CENTURY_MS (UINT64_C(36525) * 86400000)

/* Takes one "number unit" off the start of *text. */
static int take(const char **text, const struct unit *units, size_t count,
                uint64_t *ret_value)
{
    uint64_t number = 0;
    size_t length = 0;
    const char *at = *text;

    if (*at < '0' || *at > '9')
        return -EINVAL;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return -ERANGE;
    while ((at[length] | 0x20) >= 'a' && (at[length] | 0x20) <= 'z')
        length++;
    for (size_t i = 0; i < count; i++) {
        if (strlen(units[i].name) != length ||
            strncmp(units[i].name, at, length) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, &number))
            return -ERANGE;
        *ret_value = number;
        *text = at + length;
        return 0;
    }
    return -EINVAL;
}

int quantity_parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t value;
    int rc = take(&text, size_units, ARRAY_LENGTH(size_units), &value);

    if (rc == 0 && *text != '\0')
        rc = -EINVAL;
    if (rc == 0)
        *ret_bytes = value;
    return rc;
}

int quantity_parse_duration(const char *text, uint64_t *ret_ms)
{
    uint64_t sum = 0, part;
    int rc;

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do {
        rc = take(&text, duration_units, ARRAY_LENGTH(duration_units), &part);
        if (rc < 0)
            return rc;
        if (__builtin_add_overflow(sum, part, &sum) || sum > CENTURY_MS)
            return -ERANGE;
    } while (*text != '\0');
    *ret_ms = sum;
    return 0;
}

void quantity_format_size(uint64_t bytes, char text[QUANTITY_TEXT_BYTES])
{
    static const char *const names[] = {"KiB", "MiB", "GiB",
                                        "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(text, QUANTITY_TEXT_BYTES, "%u B", (unsigned)bytes);
        return;
    }
    for (; value >= 1023.95 && i + 1 < ARRAY_LENGTH(names); i++)
        value /= 1024;
    snprintf(text, QUANTITY_TEXT_BYTES, "%.1f %s", value, names[i]);
}

void quantity_format_us(uint64_t us, char text[QUANTITY_TEXT_BYTES])
{
    unsigned long long s = us / 1000000;

    if (us < 10000)
        snprintf(text, QUANTITY_TEXT_BYTES, "%.2f ms", (double)us / 1000);
    else if (us < 1000000)
        snprintf(text, QUANTITY_TEXT_BYTES, "%.0f ms", (double)us / 1000);
    else if (s < 60)
        snprintf(text, QUANTITY_TEXT_BYTES, "%.1f s", (double)us / 1000000);
    else if (s < 3600)
        snprintf(text, QUANTITY_TEXT_BYTES, "%llum %llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, QUANTITY_TEXT_BYTES, "%lluh %llum", s / 3600,
                 s / 60 % 60);
    else
        snprintf(text, QUANTITY_TEXT_BYTES, "%llud %lluh", s / 86400,
                 s / 3600 % 24);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* bench/weather.c - see weather.h. */
#include "bench/weather.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct setting {
    const char *name;
    size_t offset;
    int64_t most;
    bool is_fault; /* healed; negative means never */
} settings[] = {
    {"delay", offsetof(struct weather, delay_ms), WEATHER_DELAY_MAX_MS, false},
    {"jitter", offsetof(struct weather, jitter_ms), WEATHER_DELAY_MAX_MS,
     false},
    {"rate", offsetof(struct weather, rate), INT64_MAX, false},
    {"cut", offsetof(struct weather, cut), INT64_MAX, true},
    {"reset", offsetof(struct weather, reset), INT64_MAX, true},
    {"flip", offsetof(struct weather, flip), INT64_MAX, true},
    {"stall", offsetof(struct weather, stall), INT64_MAX, true},
};

#define SETTINGS (sizeof settings / sizeof settings[0])

struct weather weather[2];
static bool refusing;
static uint64_t chance = 1; /* never 0 */

bool weather_refuses(void)
{
    return refusing;
}

uint64_t weather_chance(uint64_t limit)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance % limit;
}

static int64_t *setting_of(int way, const struct setting *setting)
{
    return (int64_t *)(void *)((char *)&weather[way] + setting->offset);
}

static void weather_heal(void)
{
    refusing = false;
    for (int way = 0; way < 2; way++)
        for (size_t i = 0; i < SETTINGS; i++)
            if (settings[i].is_fault)
                *setting_of(way, &settings[i]) = WEATHER_NEVER;
}

void weather_begin(int64_t delay_ms)
{
    weather_heal();
    for (int way = 0; way < 2; way++)
        weather[way].delay_ms = delay_ms;
}

/* What a word asks for: of which ways, and counted from where. */
struct wish {
    int first, last;
    int64_t number;
    const uint64_t *passed; /* NULL: from the start of a connection */
};

static void wish_obey(const struct wish *wish, const struct setting *setting)
{
    bool is_bit = setting->offset == offsetof(struct weather, flip);

    for (int way = wish->first; way <= wish->last; way++) {
        int64_t number = wish->number < 0 ? WEATHER_NEVER : wish->number;

        if (wish->passed != NULL && setting->is_fault && wish->number >= 0)
            number += (int64_t)wish->passed[way] * (is_bit ? 8 : 1);
        *setting_of(way, setting) = number;
    }
}

static bool setting_obey(const char *name, const struct wish *wish)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];

        if (strcmp(name, setting->name) != 0)
            continue;
        if (wish->number > setting->most ||
            (wish->number < 0 && !setting->is_fault))
            return false;
        wish_obey(wish, setting);
        return true;
    }
    return false;
}

bool weather_obey(char *word, const uint64_t passed[2])
{
    char *value = strchr(word, '='), *end;
    struct wish wish = {.last = 1};

    if (strcmp(word, "heal") == 0) {
        weather_heal();
        return true;
    }
    if (value == NULL)
        return false;
    *value++ = '\0';
    errno = 0;
    wish.number = strtoll(value, &end, 10);
    wish.passed = *value == '+' ? passed : NULL;
    if (errno != 0 || end == value || *end != '\0')
        return false;
    if (strcmp(word, "refuse") == 0)
        refusing = wish.number != 0;
    else if (strcmp(word, "seed") == 0)
        chance = (uint64_t)wish.number * 2 + 1;
    else if (strncmp(word, "up.", 3) == 0)
        return wish.last = 0, setting_obey(word + 3, &wish);
    else if (strncmp(word, "down.", 5) == 0)
        return wish.first = 1, setting_obey(word + 5, &wish);
    else
        return setting_obey(word, &wish);
    return true;
}

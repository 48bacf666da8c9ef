/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/weather.h - what happens to bytes on the way between two places; said
 * in words, by the command line of `distance` and on its standard input.
 *
 * up.NAME=N is for bytes from who connected to the target, down.NAME=N for
 * the way back, NAME=N for both:
 *
 *   delay=MS   jitter=MS  up to so much more, by chance; the order is kept
 *   rate=N     bytes per second of a connection; 0: no limit
 *   cut=N      once: a connection ends after N bytes in this direction
 *   reset=N    once: ... with a RST
 *   flip=N     once: bit N of a connection, counted from its first byte's
 *              lowest, arrives as the other one
 *   stall=N    nothing passes beyond byte N of a connection, nor does its
 *              end; both sides keep their sockets. Later than N already: at
 *              once. -1 for this and the three above: not
 *
 * +N for one of these four counts from now, for the newest connection. And
 * refuse=1: nobody listens; seed=N, of the jitter; heal: ends refuse, stall and
 * what has not happened yet. What was held back then goes on.
 */
#ifndef TIDEMARK_BENCH_WEATHER_H
#define TIDEMARK_BENCH_WEATHER_H

#include <stdbool.h>
#include <stdint.h>

#define WEATHER_DELAY_MAX_MS 60000
#define WEATHER_NEVER INT64_MAX

struct weather {
    int64_t delay_ms, jitter_ms, rate;
    int64_t cut, reset, flip, stall; /* WEATHER_NEVER: not */
};

extern struct weather weather[2]; /* up, down */

/* Nothing but a delay both ways. */
void weather_begin(int64_t delay_ms);

/* Changes what a word says, and word; false when it says nothing we know.
 * passed: bytes of the newest connection, up and down. */
bool weather_obey(char *word, const uint64_t passed[2]);

bool weather_refuses(void);

/* A number below limit, by chance. */
uint64_t weather_chance(uint64_t limit);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/quantity.h - sizes and durations as people write and read them.
 *
 *   sizes      0, 4096, 512KiB, 64MiB, 1GiB, 2TiB, 10kB, 5MB, 1GB, 1TB
 *   durations  0, 250ms, 5s, 10m, 24h, 7d, 1h30m
 *
 * A duration needs a unit: "5" may be anything. Pure. Any thread.
 */
#ifndef TIDEMARK_NODE_QUANTITY_H
#define TIDEMARK_NODE_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#define QUANTITY_TEXT_BYTES 32

/* 0, -EINVAL, or -ERANGE: more than the type or a century can hold. */
int quantity_parse_size(const char *text, uint64_t *ret_bytes);
int quantity_parse_duration(const char *text, uint64_t *ret_ms);

/* "1.5 GiB", "512 B". */
void quantity_format_size(uint64_t bytes, char text[QUANTITY_TEXT_BYTES]);

/* Short, with the precision that matters: "0.09 ms", "12 ms", "3.2 s",
 * "5m 10s", "3h 5m", "2d 4h". */
void quantity_format_us(uint64_t us, char text[QUANTITY_TEXT_BYTES]);

#endif

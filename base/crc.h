/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/crc.h - CRC-32C (Castagnoli), as iSCSI and ext4 have it: reflected
 * polynomial 0x82f63b78, begun with and at the end inverted by all ones.
 *
 * What a hash makes improbable, this makes impossible: no one, two or three
 * bits of a short message, and no burst of up to 32, change without the sum.
 * Against chance alone, not against malice. Pure; any thread.
 */
#ifndef TIDEMARK_BASE_CRC_H
#define TIDEMARK_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* 0 for no bytes; "123456789" gives 0xe3069283. */
uint32_t crc_of(const uint8_t *bytes, size_t size);

#endif

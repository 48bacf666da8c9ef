/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_crc.c - CRC-32C against what others say it is. */
#include "base/crc.h"

#include "tests/harness.h"

TEST(the_check_value_is_that_of_crc_32c)
{
    static const uint8_t zeros[32];

    EXPECT_EQ(crc_of((const uint8_t *)"123456789", 9), 0xe3069283);
    EXPECT_EQ(crc_of(zeros, sizeof zeros), 0x8a9136aa); /* RFC 3720, B.4 */
    EXPECT_EQ(crc_of(zeros, 0), 0);
}

TEST(no_one_or_two_bits_of_a_message_change_without_the_sum)
{
    uint8_t bytes[64];
    struct rng rng = test_rng();
    uint32_t sum;

    rng_bytes(&rng, bytes, sizeof bytes);
    sum = crc_of(bytes, sizeof bytes);
    for (size_t i = 0; i < 8 * sizeof bytes; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        EXPECT_NE(crc_of(bytes, sizeof bytes), sum);
        for (size_t j = 0; j < i; j++) {
            bytes[j / 8] ^= (uint8_t)(1u << j % 8);
            EXPECT_NE(crc_of(bytes, sizeof bytes), sum);
            bytes[j / 8] ^= (uint8_t)(1u << j % 8);
        }
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

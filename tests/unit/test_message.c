/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_message.c - framing, and the golden file of all bodies. */
#include "base/bytes.h"
#include "base/crc.h"
#include "replication/core/pulse.h"

#include "tests/unit/message_stage.h"

#define GOLDEN "tests/golden/message-v1.bin"

/* ---- framing ----------------------------------------------------------- */

/* Any header at all, with the sum that it should have. */
static void a_header(uint8_t *bytes, unsigned type, unsigned flags,
                     uint32_t length)
{
    put_le32(bytes, length);
    bytes[4] = (uint8_t)type;
    bytes[5] = (uint8_t)flags;
    put_le16(bytes + 6, 0);
    put_le32(bytes + 8, 7);
    put_le32(bytes + 12, 0);
    sum_header(bytes);
}

TEST(a_header_says_length_type_flags_stream_and_two_sums_in_twenty_bytes)
{
    static const uint8_t expected[] = {
        9, 0, 0, 0, 4, 2, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 0x83, 0x92, 0x06, 0xe3};
    static const uint8_t body[] = "123456789";
    uint8_t bytes[MESSAGE_HEADER_BYTES];

    message_header_encode(bytes, MESSAGE_DATABASE, MESSAGE_LAST, 0x0a0b0c0d,
                          body, 9);
    EXPECT_MEM(bytes, expected, sizeof expected);
    EXPECT_EQ(get_le32(bytes + 16), crc_of(expected, sizeof expected));
    message_header_encode(bytes, MESSAGE_RECORD, 0, 1, body, 9);
    EXPECT_EQ(get_le32(bytes + 12), 0); /* it brings its own */
}

TEST(a_message_without_a_body_is_complete_with_its_header)
{
    uint8_t bytes[MESSAGE_HEADER_BYTES];

    message_header_encode(bytes, MESSAGE_DATABASE, MESSAGE_LAST, 0, NULL, 0);
    EXPECT_EQ(hears(bytes, sizeof bytes), 1);
    EXPECT_EQ(message.type, MESSAGE_DATABASE);
    EXPECT_EQ(message.flags, MESSAGE_LAST);
    EXPECT_EQ(message.body, NULL);
}

TEST(a_stranger_may_not_make_us_reserve_megabytes)
{
    uint8_t bytes[MESSAGE_HEADER_BYTES];
    size_t used;

    message_decoder_init(&decoder); /* not opened: nobody was welcomed */
    a_header(bytes, MESSAGE_HELLO, 0, MESSAGE_GREETING_MAX_BYTES + 1);
    EXPECT_EQ(message_decode(&decoder, bytes, sizeof bytes, &used, &message),
              -E2BIG);
    message_decoder_close(&decoder);
}

TEST(a_body_above_seventeen_mebibytes_is_refused_from_anybody)
{
    uint8_t bytes[MESSAGE_HEADER_BYTES];

    a_header(bytes, MESSAGE_RECORD, 0, MESSAGE_BODY_MAX_BYTES + 1);
    EXPECT_EQ(hears(bytes, sizeof bytes), -E2BIG);
    a_header(bytes, MESSAGE_RECORD, 0, MESSAGE_BODY_MAX_BYTES);
    EXPECT_EQ(hears(bytes, sizeof bytes), 0);
    message_decoder_close(&decoder);
}

TEST(an_unknown_type_is_skipped_when_optional_and_fatal_when_not)
{
    uint8_t bytes[2 * MESSAGE_HEADER_BYTES + 5] = {0};

    a_header(bytes, 99, MESSAGE_OPTIONAL, 5);
    message_header_encode(bytes + MESSAGE_HEADER_BYTES + 5, MESSAGE_DATABASE,
                          MESSAGE_LAST, 0, NULL, 0);
    EXPECT_EQ(hears(bytes, sizeof bytes), 1);
    EXPECT_EQ(message.type, MESSAGE_DATABASE);
    a_header(bytes, 99, 0, 5);
    EXPECT_EQ(hears(bytes, sizeof bytes), -EPROTONOSUPPORT);
    a_header(bytes, 0, 0, 0);
    EXPECT_EQ(hears(bytes, sizeof bytes), -EPROTONOSUPPORT);
}

TEST(flags_and_reserved_bits_nobody_defined_are_refused)
{
    uint8_t bytes[MESSAGE_HEADER_BYTES];

    a_header(bytes, MESSAGE_ACK, 4, 0);
    EXPECT_EQ(hears(bytes, sizeof bytes), -EBADMSG);
    a_header(bytes, MESSAGE_ACK, 0, 0);
    bytes[6] = 1;
    sum_header(bytes);
    EXPECT_EQ(hears(bytes, sizeof bytes), -EBADMSG);
}

TEST(after_an_error_a_decoder_reads_nothing_more)
{
    uint8_t bad[MESSAGE_HEADER_BYTES], good[MESSAGE_HEADER_BYTES];
    size_t used;

    a_header(bad, MESSAGE_ACK, 4, 0);
    message_header_encode(good, MESSAGE_DATABASE, MESSAGE_LAST, 0, NULL, 0);
    EXPECT_EQ(hears(bad, sizeof bad), -EBADMSG);
    EXPECT_EQ(message_decode(&decoder, good, sizeof good, &used, &message),
              -EBADMSG);
    EXPECT_EQ(used, 0);
}

/* ---- what was once said -------------------------------------------------- */

/* One message of each body, as version 1 wrote it. */
static struct blob *whole; /* the message that was encoded last */

static void golden_say(FILE *file, int rc)
{
    EXPECT_OK(rc);
    EXPECT_EQ(fwrite(whole->data, 1, whole->size, file), whole->size);
    blob_unref(whole);
}

static void golden_write_pulses(FILE *file)
{
    struct pulse pulse = {.sequence = 3, .heard = 2, .held_ns = 500};
    struct pulse_node node = {true, false, true, 70, 80, 90, "b", "ams", "b:2"};
    struct pack_writer writer;

    pulse_begin(&writer, &pulse, 1);
    pulse_add(&writer, 6, 600);
    golden_say(file, pack_finish(&writer, &whole));
    golden_say(file, pulse_roster_encode(&node, 1, &whole));
}

/* A SAME is sent as records are: its header is put before it. */
static void golden_write_delta(FILE *file)
{
    static const uint8_t hashes[3 * 8] = {1, 2, 3, 4, 5, 6, 7, 8, 9},
                                    bits[] = {5};
    struct body_hashes range = {.serial = 2, .first = 8193, .count = 3};
    struct body_same same = {.first = 8193, .count = 3, .bits = bits};
    uint8_t header[MESSAGE_HEADER_BYTES];

    golden_say(file, body_hashes_encode(3, &range, hashes, true, &whole));
    EXPECT_OK(body_same_encode(&same, &whole));
    message_header_encode(header, MESSAGE_SAME, 0, 3, whole->data, whole->size);
    EXPECT_EQ(fwrite(header, 1, sizeof header, file), sizeof header);
    golden_say(file, 0);
}

static void golden_write(FILE *file)
{
    struct body_hello hello = a_hello();
    struct body_welcome welcome = {1, 9, "a", "fra", "h:1"};
    struct body_resync resync = {BODY_SUM, 4, a_database()};
    struct body_ack ack = {5, 30, 20, {1, 10, 99}};
    struct body_attr attr = {1, 2, 0600};
    struct body_drop drop = {{{1}}, "a.db"};
    struct position copied = {4, 5, 6};
    struct body_open open;

    golden_say(file, body_hello_encode(&hello, &whole));
    golden_say(file, body_welcome_encode(&welcome, &whole));
    golden_say(file,
               body_refuse_encode(MESSAGE_REFUSE, BODY_CLUSTER, "no", &whole));
    golden_say(file, body_database_encode(&resync.database, &whole));
    whole = an_open(&open);
    golden_say(file, 0);
    golden_say(file, body_copied_encode(8, &copied, &whole));
    golden_say(file, body_ack_encode(8, &ack, &whole));
    golden_say(file, body_credit_encode(8, 12345, &whole));
    golden_say(file, body_attr_encode(8, &attr, &whole));
    golden_say(file, body_drop_encode(8, &drop, &whole));
    golden_say(file, body_resync_encode(9, &resync, &whole));
    golden_write_delta(file);
    golden_write_pulses(file);
    history_free(&resync.database.history);
    history_free(&open.history);
}

static size_t golden_read(const char *path, uint8_t *ret_bytes, size_t most)
{
    FILE *file = fopen(path, "rb");
    size_t size;

    EXPECT_TRUE(file != NULL);
    size = fread(ret_bytes, 1, most, file);
    fclose(file);
    return size;
}

/* Says it all again: the bytes may not have changed, so each end of version 1
 * is understood by the other for ever. */
TEST(version_1_is_spoken_byte_for_byte_as_it_was)
{
    static uint8_t before[8192], now[8192];
    char path[] = "/tmp/tidemark-golden-XXXXXX";
    size_t before_size, now_size;
    FILE *file;

    if (getenv("TIDEMARK_GOLDEN_WRITE") != NULL) { /* for a new version */
        file = fopen(GOLDEN, "wb");
        golden_write(file);
        fclose(file);
    }
    file = fdopen(mkstemp(path), "wb");
    golden_write(file);
    fclose(file);
    before_size = golden_read(GOLDEN, before, sizeof before);
    now_size = golden_read(path, now, sizeof now);
    unlink(path);
    EXPECT_EQ(now_size, before_size);
    EXPECT_MEM(now, before, before_size);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_message.c - framing, bodies, names. */
#include "base/bytes.h"
#include "base/crc.h"
#include "replication/core/body.h"
#include "replication/core/pulse.h"

#include "tests/harness.h"

#define GOLDEN "tests/golden/message-v1.bin"

/* ---- framing ----------------------------------------------------------- */

static struct message_decoder decoder;
static struct message message;

static int hears(const uint8_t *bytes, size_t size)
{
    size_t used;

    message_decoder_init(&decoder);
    message_decoder_open(&decoder);
    message = (struct message){0};
    return message_decode(&decoder, bytes, size, &used, &message);
}

/* What the peer would be handed of a whole encoded message. */
static struct blob *body_of(struct blob *whole)
{
    EXPECT_EQ(hears(whole->data, whole->size), 1);
    blob_unref(whole);
    return message.body;
}

static void sum_header(uint8_t *bytes)
{
    put_le32(bytes + 16, crc_of(bytes, 16));
}

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

/* A message that was bent by hand says again what it is. */
static void sum_again(struct blob *blob)
{
    size_t length = blob->size - MESSAGE_HEADER_BYTES;

    put_le32(blob->data, (uint32_t)length);
    put_le32(blob->data + 12,
             crc_of(blob->data + MESSAGE_HEADER_BYTES, length));
    sum_header(blob->data);
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

/* ---- names ------------------------------------------------------------- */

static bool name_ok(const char *name)
{
    return body_name_is_valid(name, strlen(name));
}

TEST(a_name_from_a_peer_can_only_lie_below_the_mount)
{
    char longest[BODY_NAME_MAX + 2];

    EXPECT_TRUE(name_ok("app.db"));
    EXPECT_TRUE(name_ok("tenants/42/app.db"));
    EXPECT_TRUE(name_ok("..a/b..c/..."));
    EXPECT_FALSE(name_ok(""));
    EXPECT_FALSE(name_ok("/etc/passwd"));
    EXPECT_FALSE(name_ok("../x"));
    EXPECT_FALSE(name_ok("a/../../x"));
    EXPECT_FALSE(name_ok("a/.."));
    EXPECT_FALSE(name_ok("./a"));
    EXPECT_FALSE(name_ok("a//b"));
    EXPECT_FALSE(name_ok("a/"));
    EXPECT_FALSE(name_ok("a\nb"));
    EXPECT_FALSE(name_ok("a\x7f"));
    EXPECT_FALSE(body_name_is_valid("a\0b", 3));
    memset(longest, 'x', sizeof longest);
    EXPECT_TRUE(body_name_is_valid(longest, BODY_NAME_MAX));
    EXPECT_FALSE(body_name_is_valid(longest, BODY_NAME_MAX + 1));
}

/* ---- bodies ------------------------------------------------------------ */

static struct body_hello a_hello(void)
{
    return (struct body_hello){
        .version_min = 1,
        .version_max = 3,
        .epoch = 77,
        .candidate = true,
        .cluster = "app",
        .node = "fra-1",
        .region = "fra",
        .advertise = "[2001:db8::1]:20202",
    };
}

TEST(hello_arrives_as_it_was_said)
{
    struct body_hello said = a_hello(), heard;
    struct blob *whole, *body;

    EXPECT_OK(body_hello_encode(&said, &whole));
    body = body_of(whole);
    EXPECT_OK(body_hello_decode(body, &heard));
    EXPECT_EQ(heard.version_max, 3);
    EXPECT_EQ(heard.epoch, 77);
    EXPECT_TRUE(heard.candidate);
    EXPECT_FALSE(heard.primary);
    EXPECT_STR(heard.cluster, "app");
    EXPECT_STR(heard.node, "fra-1");
    EXPECT_STR(heard.region, "fra");
    EXPECT_STR(heard.advertise, "[2001:db8::1]:20202");
    blob_unref(body);
}

TEST(hello_from_a_newer_program_may_say_more_than_we_know)
{
    struct body_hello said = a_hello(), heard;
    struct blob *whole, *body;

    EXPECT_OK(body_hello_encode(&said, &whole));
    memcpy(whole->data + whole->size, "more", 4);
    whole->size += 4;
    sum_again(whole);
    body = body_of(whole);
    EXPECT_OK(body_hello_decode(body, &heard));
    blob_unref(body);
}

TEST(hello_of_another_program_is_refused)
{
    struct body_hello said = a_hello(), heard;
    struct blob *whole, *body;

    EXPECT_OK(body_hello_encode(&said, &whole));
    whole->data[MESSAGE_HEADER_BYTES] ^= 1;
    sum_again(whole);
    body = body_of(whole);
    EXPECT_EQ(body_hello_decode(body, &heard), -EBADMSG);
    blob_unref(body);
}

TEST(welcome_and_refuse_arrive_as_they_were_said)
{
    struct body_welcome welcome = {1, 9, "a", "fra", "h:1"}, heard;
    struct body_refuse refuse;
    struct blob *whole, *body;

    EXPECT_OK(body_welcome_encode(&welcome, &whole));
    body = body_of(whole);
    EXPECT_OK(body_welcome_decode(body, &heard));
    EXPECT_EQ(heard.epoch, 9);
    EXPECT_STR(heard.region, "fra");
    blob_unref(body);
    EXPECT_OK(body_refuse_encode(MESSAGE_REFUSE, BODY_CLUSTER,
                                 "this is another cluster", &whole));
    body = body_of(whole);
    EXPECT_OK(body_refuse_decode(body, &refuse));
    EXPECT_EQ(refuse.reason, BODY_CLUSTER);
    EXPECT_STR(refuse.text, "this is another cluster");
    EXPECT_STR(body_reason_name(refuse.reason), "cluster");
    EXPECT_STR(body_reason_name(9999), "?");
    blob_unref(body);
}

TEST(a_reason_in_words_is_cut_not_refused_when_it_is_too_long)
{
    char words[2000];
    struct body_refuse refuse;
    struct blob *whole, *body;

    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    EXPECT_OK(body_refuse_encode(MESSAGE_BYE, BODY_STOPPING, words, &whole));
    body = body_of(whole);
    EXPECT_OK(body_refuse_decode(body, &refuse));
    EXPECT_EQ(strlen(refuse.text), BODY_TEXT_MAX);
    blob_unref(body);
}

static struct body_database a_database(void)
{
    struct body_database database = {
        .lineage = {{1, 2, 3}},
        .position = {11, 20, 33},
        .received_txid = 25,
        .durable_txid = 24,
        .prepared = {11, 26, 44},
        .name = "a/b.db",
    };

    EXPECT_OK(history_begin(&database.history, 5, 1));
    EXPECT_OK(history_begin(&database.history, 11, 12));
    return database;
}

static void database_is_as_said(const struct body_database *heard)
{
    EXPECT_EQ(heard->lineage.bytes[2], 3);
    EXPECT_EQ(heard->position.sum, 33);
    EXPECT_EQ(heard->received_txid, 25);
    EXPECT_EQ(heard->durable_txid, 24);
    EXPECT_EQ(heard->prepared.epoch, 11);
    EXPECT_EQ(heard->prepared.txid, 26);
    EXPECT_EQ(heard->prepared.sum, 44);
    EXPECT_STR(heard->name, "a/b.db");
    EXPECT_EQ(heard->history.count, 2);
    EXPECT_EQ(history_epoch_of(&heard->history, 12), 11);
}

TEST(what_a_replica_has_arrives_with_its_history)
{
    struct body_database said = a_database(), heard;
    struct blob *whole, *body;

    EXPECT_OK(body_database_encode(&said, &whole));
    body = body_of(whole);
    EXPECT_OK(body_database_decode(body, &heard));
    database_is_as_said(&heard);
    history_free(&heard.history);
    history_free(&said.history);
    blob_unref(body);
}

/* Says it with one thing changed; what a decoder makes of that. */
static int said_with(struct position prepared, txid_t durable)
{
    struct body_database said = a_database(), heard = {.durable_txid = 4711};
    struct blob *whole, *body;
    int rc;

    said.prepared = prepared;
    said.durable_txid = durable;
    EXPECT_OK(body_database_encode(&said, &whole));
    history_free(&said.history);
    body = body_of(whole);
    rc = body_database_decode(body, &heard);
    if (rc == 0)
        history_free(&heard.history);
    else
        EXPECT_EQ(heard.durable_txid, 4711);
    blob_unref(body);
    return rc;
}

TEST(a_prepared_is_of_no_older_epoch_and_past_what_was_received_or_none)
{
    EXPECT_OK(said_with((struct position){0}, 24));
    EXPECT_OK(said_with((struct position){12, 26, 0}, 25));
    EXPECT_EQ(said_with((struct position){11, 25, 44}, 24), -EBADMSG);
    EXPECT_EQ(said_with((struct position){10, 26, 44}, 24), -EBADMSG);
    EXPECT_EQ(said_with((struct position){0, 26, 44}, 24), -EBADMSG);
    EXPECT_EQ(said_with((struct position){11, 0, 0}, 24), -EBADMSG);
    EXPECT_EQ(said_with((struct position){0, 0, 44}, 24), -EBADMSG);
    EXPECT_EQ(said_with((struct position){0}, 26), -EBADMSG); /* not received */
}

TEST(what_a_replica_has_lies_where_the_byte_map_says)
{
    struct body_database said = a_database();
    struct blob *whole, *body;

    EXPECT_OK(body_database_encode(&said, &whole));
    body = body_of(whole);
    EXPECT_EQ(get_le64(body->data + 48), 24);
    EXPECT_EQ(get_le64(body->data + 56), 11);
    EXPECT_EQ(get_le64(body->data + 64), 26);
    EXPECT_EQ(get_le64(body->data + 72), 44);
    EXPECT_EQ(get_le16(body->data + 80), strlen(said.name));
    history_free(&said.history);
    blob_unref(body);
}

TEST(a_resync_carries_reason_serial_and_what_the_replica_has)
{
    struct body_resync said = {BODY_SUM, 4, a_database()}, heard;
    struct blob *whole, *body;

    EXPECT_OK(body_resync_encode(9, &said, &whole));
    body = body_of(whole);
    EXPECT_EQ(message.stream, 9);
    EXPECT_OK(body_resync_decode(body, &heard));
    EXPECT_EQ(heard.reason, BODY_SUM);
    EXPECT_EQ(heard.serial, 4);
    database_is_as_said(&heard.database);
    history_free(&heard.database.history);
    history_free(&said.database.history);
    blob_unref(body);
}

static struct blob *an_open(struct body_open *open)
{
    struct body_database database = a_database();
    struct blob *whole;

    *open = (struct body_open){
        .mode = BODY_SNAPSHOT,
        .reason = BODY_DIVERGED,
        .diverged = true,
        .serial = 2,
        .lineage = {{9}},
        .position = {1, 2, 3},
        .page_bytes = 4096,
        .size_pages = 100,
        .uid = 1000,
        .gid = 100,
        .mode_bits = 0640,
        .name = "app.db",
        .history = database.history,
    };
    EXPECT_OK(body_open_encode(3, open, &whole));
    return whole;
}

TEST(an_open_arrives_as_it_was_said)
{
    struct body_open said, heard;
    struct blob *body = body_of(an_open(&said));

    EXPECT_EQ(message.stream, 3);
    EXPECT_OK(body_open_decode(body, &heard));
    EXPECT_EQ(heard.mode, BODY_SNAPSHOT);
    EXPECT_EQ(heard.reason, BODY_DIVERGED);
    EXPECT_TRUE(heard.diverged);
    EXPECT_EQ(heard.serial, 2);
    EXPECT_EQ(heard.position.sum, 3);
    EXPECT_EQ(heard.page_bytes, 4096);
    EXPECT_EQ(heard.mode_bits, 0640);
    EXPECT_STR(heard.name, "app.db");
    EXPECT_EQ(heard.history.count, 2);
    history_free(&heard.history);
    history_free(&said.history);
    blob_unref(body);
}

TEST(an_open_with_a_mode_or_page_size_that_is_none_is_refused)
{
    struct body_open said, heard;
    struct blob *body = body_of(an_open(&said));

    body->data[0] = BODY_DELTA;
    EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    body->data[0] = BODY_SNAPSHOT;
    put_le32(body->data + 48, 4095);
    EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    put_le32(body->data + 48, 4096);
    put_le32(body->data + 4, 0); /* serial */
    EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    history_free(&said.history);
    blob_unref(body);
}

TEST(a_name_that_climbs_out_is_refused_wherever_it_comes_in)
{
    struct body_drop drop = {{{1}}, "../../etc/passwd"};
    struct blob *whole, *body;

    EXPECT_OK(body_drop_encode(1, &drop, &whole));
    body = body_of(whole);
    EXPECT_EQ(body_drop_decode(body, &drop), -EBADMSG);
    blob_unref(body);
}

TEST(small_messages_of_a_stream_arrive_as_they_were_said)
{
    struct body_ack ack = {5, 30, 20, {1, 10, 99}}, ack_heard;
    struct body_attr attr = {1, 2, 0600}, attr_heard;
    struct position copied = {4, 5, 6}, copied_heard;
    uint32_t credit;
    struct blob *whole, *body;

    EXPECT_OK(body_ack_encode(8, &ack, &whole));
    body = body_of(whole);
    EXPECT_OK(body_ack_decode(body, &ack_heard));
    EXPECT_EQ(ack_heard.serial, 5);
    EXPECT_EQ(ack_heard.position.sum, 99);
    blob_unref(body);
    EXPECT_OK(body_attr_encode(8, &attr, &whole));
    body = body_of(whole);
    EXPECT_OK(body_attr_decode(body, &attr_heard));
    EXPECT_EQ(attr_heard.mode_bits, 0600);
    blob_unref(body);
    EXPECT_OK(body_copied_encode(8, &copied, &whole));
    body = body_of(whole);
    EXPECT_OK(body_copied_decode(body, &copied_heard));
    EXPECT_TRUE(position_is_equal(&copied, &copied_heard));
    blob_unref(body);
    EXPECT_OK(body_credit_encode(8, 12345, &whole));
    body = body_of(whole);
    EXPECT_OK(body_credit_decode(body, &credit));
    EXPECT_EQ(credit, 12345);
    blob_unref(body);
}

TEST(a_body_that_is_cut_or_too_long_is_refused_and_nothing_leaks_out)
{
    struct body_open said, heard = {.serial = 4711};
    struct blob *body = body_of(an_open(&said));
    size_t size = body->size;

    for (body->size = 0; body->size < size; body->size++)
        EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    EXPECT_EQ(heard.serial, 4711);
    EXPECT_EQ(body_open_decode(NULL, &heard), -EBADMSG);
    history_free(&said.history);
    blob_unref(body);
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

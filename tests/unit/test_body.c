/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_body.c - what is inside each message, and names. */
#include "base/bytes.h"

#include "tests/unit/message_stage.h"

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

static void database_is_as_said(const struct body_database *heard)
{
    EXPECT_EQ(heard->lineage.bytes[2], 3);
    EXPECT_EQ(heard->position.sum, 33);
    EXPECT_EQ(heard->received_txid, 25);
    EXPECT_EQ(heard->durable_txid, 24);
    EXPECT_EQ(heard->prepared.epoch, 11);
    EXPECT_EQ(heard->prepared.txid, 26);
    EXPECT_EQ(heard->prepared.sum, 44);
    EXPECT_EQ(heard->base_page_bytes, 4096);
    EXPECT_EQ(heard->base_pages, 77);
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

/* What a decoder makes of what was said with something changed. */
static int hears_database(struct body_database said)
{
    struct body_database heard = {.durable_txid = 4711};
    struct blob *whole, *body;
    int rc;

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

static int said_with(struct position prepared, txid_t durable)
{
    struct body_database said = a_database();

    said.prepared = prepared;
    said.durable_txid = durable;
    return hears_database(said);
}

static int said_of(uint32_t page_bytes, uint32_t pages)
{
    struct body_database said = a_database();

    said.base_page_bytes = page_bytes;
    said.base_pages = pages;
    return hears_database(said);
}

TEST(pages_to_compare_with_are_of_a_size_that_pages_have)
{
    EXPECT_OK(said_of(0, 0));
    EXPECT_OK(said_of(512, UINT32_MAX));
    EXPECT_OK(said_of(65536, 1));
    EXPECT_EQ(said_of(0, 1), -EBADMSG);
    EXPECT_EQ(said_of(4095, 1), -EBADMSG);
    EXPECT_EQ(said_of(131072, 1), -EBADMSG);
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
    EXPECT_EQ(get_le32(body->data + 80), 4096);
    EXPECT_EQ(get_le32(body->data + 84), 77);
    EXPECT_EQ(get_le16(body->data + 88), strlen(said.name));
    EXPECT_MEM(body->data + 90, said.name, strlen(said.name));
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

    body->data[0] = BODY_DELTA + 1;
    EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    body->data[0] = 0;
    EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    put_le32(body->data + 48, 4095);
    for (int mode = BODY_SNAPSHOT; mode <= BODY_DELTA;
         mode += BODY_DELTA - BODY_SNAPSHOT) {
        body->data[0] = (uint8_t)mode;
        EXPECT_EQ(body_open_decode(body, &heard), -EBADMSG);
    }
    put_le32(body->data + 48, 4096);
    EXPECT_OK(body_open_decode(body, &heard));
    EXPECT_EQ(heard.mode, BODY_DELTA);
    history_free(&heard.history);
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

/* ---- hashes, and what is the same ---------------------------------------- */

static uint8_t many_hashes[(BODY_RANGE_PAGES + 1) * 8];

/* HASHES of the stream 6, as they are received. */
static struct blob *the_hashes(pgno_t first, uint32_t count, bool last)
{
    struct body_hashes said = {.serial = 5, .first = first, .count = count};
    struct blob *whole;

    for (uint32_t i = 0; i < count; i++)
        put_le64(many_hashes + (size_t)i * 8, 1000 + i);
    EXPECT_OK(body_hashes_encode(6, &said, many_hashes, last, &whole));
    return body_of(whole);
}

TEST(hashes_arrive_as_they_were_sent_and_say_which_are_the_last)
{
    struct blob *body = the_hashes(8193, 3, false);
    struct body_hashes heard;

    EXPECT_EQ(message.type, MESSAGE_HASHES);
    EXPECT_EQ(message.stream, 6);
    EXPECT_EQ(message.flags, 0);
    EXPECT_EQ(body->size, 8 + 3 * 8);
    EXPECT_EQ(get_le32(body->data), 5);
    EXPECT_EQ(get_le32(body->data + 4), 8193);
    EXPECT_OK(body_hashes_decode(body, &heard));
    EXPECT_EQ(heard.serial, 5);
    EXPECT_EQ(heard.first, 8193);
    EXPECT_EQ(heard.count, 3);
    EXPECT_EQ(get_le64(body_hashes_bytes(body) + 16), 1002);
    blob_unref(body);
    body = the_hashes(1, 0, true);
    EXPECT_EQ(message.flags, MESSAGE_LAST);
    EXPECT_OK(body_hashes_decode(body, &heard));
    EXPECT_EQ(heard.count, 0);
    blob_unref(body);
}

TEST(hashes_of_pages_that_cannot_be_are_refused)
{
    struct blob *body = the_hashes(1, BODY_RANGE_PAGES, false);
    struct body_hashes heard = {.serial = 4711};
    struct blob *large = blob_new(8 + sizeof many_hashes);

    EXPECT_OK(body_hashes_decode(body, &heard));
    heard.serial = 4711;
    put_le32(body->data + 4, 0); /* no page */
    EXPECT_EQ(body_hashes_decode(body, &heard), -EBADMSG);
    put_le32(body->data + 4, UINT32_MAX - BODY_RANGE_PAGES + 1);
    EXPECT_EQ(body_hashes_decode(body, &heard), -EBADMSG);
    memcpy(large->data, body->data, 4);
    put_le32(large->data + 4, 1);
    memcpy(large->data + 8, many_hashes, sizeof many_hashes);
    large->size = 8 + sizeof many_hashes;
    EXPECT_EQ(body_hashes_decode(large, &heard), -EBADMSG); /* one too many */
    blob_unref(large);
    put_le32(body->data + 4, 1);
    for (body->size = 8 + 3 * 8 - 1; body->size > 0; body->size--)
        if (body->size < 8 || body->size % 8 != 0)
            EXPECT_EQ(body_hashes_decode(body, &heard), -EBADMSG);
    EXPECT_EQ(body_hashes_decode(NULL, &heard), -EBADMSG);
    EXPECT_EQ(heard.serial, 4711);
    put_le32(body->data + 4, UINT32_MAX - 1); /* the last page there is */
    body->size = 16;
    EXPECT_OK(body_hashes_decode(body, &heard));
    blob_unref(body);
}

TEST(what_is_the_same_arrives_as_it_was_said)
{
    static const uint8_t bits[] = {0x81, 0x02};
    struct body_same said = {.first = 8193, .count = 10, .bits = bits}, heard;
    struct blob *body;

    EXPECT_OK(body_same_encode(&said, &body));
    EXPECT_EQ(body->size, 10);
    EXPECT_EQ(get_le32(body->data), 8193);
    EXPECT_EQ(get_le32(body->data + 4), 10);
    EXPECT_OK(body_same_decode(body, &heard));
    EXPECT_EQ(heard.first, 8193);
    EXPECT_EQ(heard.count, 10);
    EXPECT_MEM(heard.bits, bits, sizeof bits);
    blob_unref(body);
    said.count = 0;
    EXPECT_OK(body_same_encode(&said, &body));
    EXPECT_OK(body_same_decode(body, &heard));
    EXPECT_EQ(heard.count, 0);
    blob_unref(body);
}

TEST(what_is_the_same_of_pages_that_cannot_be_is_refused)
{
    static uint8_t bits[BODY_SAME_BYTES + 1];
    struct body_same said = {.first = 1, .count = 10, .bits = bits}, heard;
    struct blob *body;
    size_t size;

    EXPECT_OK(body_same_encode(&said, &body));
    size = body->size;
    for (body->size = 0; body->size < size; body->size++)
        EXPECT_EQ(body_same_decode(body, &heard), -EBADMSG);
    put_le32(body->data + 4, 8); /* a byte too long */
    EXPECT_EQ(body_same_decode(body, &heard), -EBADMSG);
    put_le32(body->data + 4, 10);
    put_le32(body->data, 0);
    EXPECT_EQ(body_same_decode(body, &heard), -EBADMSG);
    put_le32(body->data, UINT32_MAX - 9);
    EXPECT_EQ(body_same_decode(body, &heard), -EBADMSG);
    EXPECT_EQ(body_same_decode(NULL, &heard), -EBADMSG);
    blob_unref(body);
    said.count = BODY_RANGE_PAGES + 1;
    EXPECT_OK(body_same_encode(&said, &body));
    EXPECT_EQ(body_same_decode(body, &heard), -EBADMSG);
    blob_unref(body);
}

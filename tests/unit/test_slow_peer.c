/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_slow_peer.c - what either end does with peers that are slow
 * or silent: a socket of the test's own is the other end. */
#include "tests/unit/net_stage.h"

#include "replication/net/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATABASES 100u
#define READ_BYTES (128u << 10) /* in each turn: a slow reader */
#define PULSE_TURNS 32u
#define TRICKLE_NS (100 * NS_PER_MS)
#define CALLERS 8 /* more than the kernel keeps for a listener of 0 */

static int peer = -1;
static size_t trickled;

static void peer_connects(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

    peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_GE(peer, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(peer, (struct sockaddr *)&to, sizeof to), 0);
}

static void peer_leaves(void)
{
    close(peer);
    peer = -1;
    trickled = 0;
}

static void peer_says(struct blob *message)
{
    EXPECT_EQ(write(peer, message->data, message->size),
              (ssize_t)message->size);
    blob_unref(message);
}

static void peer_says_last(void)
{
    uint8_t last[MESSAGE_HEADER_BYTES];

    message_header_encode(last, MESSAGE_DATABASE, MESSAGE_LAST, 0, NULL, 0);
    EXPECT_EQ(write(peer, last, sizeof last), sizeof last);
}

static void peer_says_hello(void)
{
    struct body_hello hello = {.version_min = MESSAGE_VERSION_MIN,
                               .version_max = MESSAGE_VERSION_MAX,
                               .cluster = "app",
                               .node = "slow",
                               .region = "here",
                               .advertise = "slow"};
    struct blob *blob;

    EXPECT_OK(body_hello_encode(&hello, &blob));
    peer_says(blob);
}

static void peer_pulses(void)
{
    static uint64_t sequence;
    struct pulse pulse = {.sequence = ++sequence};
    struct pack_writer writer;
    struct blob *blob;

    pulse_begin(&writer, &pulse, 0);
    EXPECT_OK(pack_finish(&writer, &blob));
    peer_says(blob);
}

static void note_queue(void *context, const struct server_replica *one)
{
    size_t *most = context;

    if (one->queued_bytes > *most)
        *most = one->queued_bytes;
}

/* Takes a little from the socket; what it got. */
static size_t peer_reads(void)
{
    static uint8_t bytes[READ_BYTES];
    ssize_t got = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT);

    EXPECT_TRUE(got > 0 || (got < 0 && errno == EAGAIN)); /* 0: cut off */
    return got < 0 ? 0 : (size_t)got;
}

static const size_t all_bytes = DATABASES * ENGINE_BULK_CHUNKS *
                                ENGINE_BULK_PAGES *
                                (size_t)ENGINE_BULK_PAGE_BYTES;

static void many_large_databases(void)
{
    char name[16];

    a_cluster();
    for (unsigned i = 0; i < DATABASES; i++) {
        snprintf(name, sizeof name, "%u.db", i);
        engine_bulk(a_database(name, (uint8_t)(i + 1)));
    }
}

/* So many bytes, a little in each turn. */
static size_t peer_reads_all(size_t bytes)
{
    size_t most = 0, got = 0;

    for (unsigned turns = 0; got < bytes; turns++) {
        if (turns % PULSE_TURNS == 0)
            peer_pulses();
        turn();
        got += peer_reads();
        server_replicas(server, note_queue, &most);
    }
    return most;
}

TEST(a_slow_replica_of_many_databases_is_sent_no_more_than_it_takes)
{
    size_t most;

    many_large_databases();
    peer_connects();
    peer_says_hello();
    peer_says_last();
    most = peer_reads_all(all_bytes);
    EXPECT_GE(most, 1u << 20); /* it was slow */
    EXPECT_LE(most, LINK_FULL_BYTES + (2u << 20));
    peer_leaves();
    the_cluster_ends();
}

/* ---- a delta, while nothing is read -------------------------------------- */

/* What the peer has of "0.db": one page, and no content. */
static struct body_database a_page(void)
{
    return (struct body_database){.lineage = {{1}},
                                  .base_page_bytes = ENGINE_BULK_PAGE_BYTES,
                                  .base_pages = 1,
                                  .name = "0.db"};
}

/* After all, it has none. */
static void peer_says_no_hashes(uint32_t serial)
{
    struct body_hashes none = {.serial = serial, .first = 1};
    static const uint8_t nothing[1];
    struct blob *blob;

    EXPECT_OK(body_hashes_encode(1, &none, nothing, true, &blob));
    peer_says(blob);
}

static struct database *the_database(const char *name)
{
    struct database *database = catalog_find(&primary, name);

    database_unref(database);
    if (database == NULL)
        abort();
    return database;
}

/* What workers were asked is not answered for now, and is all that the link
 * will take. */
static bool opens(size_t times)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    return the_database("0.db")->pins == times;
}

/* Its first question waits for room when the second takes its place. */
TEST(a_replica_that_asks_again_while_its_delta_waits_for_room_is_compared_anew)
{
    struct body_resync resync = {.reason = BODY_DAMAGED, .serial = 1};
    struct blob *blob;

    many_large_databases();
    peer_connects();
    peer_says_hello();
    resync.database = a_page();
    EXPECT_OK(body_database_encode(&resync.database, &blob));
    peer_says(blob);
    peer_says_last();
    while (!opens(1))
        ;
    peer_says_no_hashes(1);
    EXPECT_OK(body_resync_encode(1, &resync, &blob));
    peer_says(blob);
    while (!opens(2))
        ;
    peer_reads_all(all_bytes / 2);
    EXPECT_EQ(the_database("0.db")->ranges_told, 0);
    peer_says_no_hashes(2);
    UNTIL((peer_reads(), the_database("0.db")->ranges_told == 1));
    peer_leaves();
    the_cluster_ends();
}

/* ---- deadlines ----------------------------------------------------------- */

/* One byte of a long HELLO or WELCOME now and then: never silent, never done.
 * False when the other end has closed. */
static bool peer_trickles(enum message_type type)
{
    static const uint8_t zeros[250];
    static uint64_t next_ns;
    uint8_t header[MESSAGE_HEADER_BYTES];
    uint8_t byte = 0;

    if (recv(peer, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
        return false;
    if (clock_now_ns() < next_ns)
        return true;
    message_header_encode(header, type, 0, 0, zeros, sizeof zeros);
    next_ns = clock_now_ns() + TRICKLE_NS;
    byte = trickled < sizeof header ? header[trickled] : 0;
    trickled++;
    return send(peer, &byte, 1, MSG_NOSIGNAL) == 1;
}

TEST(a_replica_that_does_not_get_to_its_name_is_hung_up_on)
{
    a_cluster();
    peer_connects();
    UNTIL(!peer_trickles(MESSAGE_HELLO));
    peer_leaves();
    the_cluster_ends();
}

/* A listener on a port of its own, which the client is sent to. */
static int listener_opens(int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    EXPECT_EQ(listen(listener, backlog), 0);
    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    port = ntohs(at.sin_port);
    return listener;
}

static bool client_says(const char *words)
{
    struct client_facts facts;

    client_facts(client, &facts);
    return strstr(facts.failure, words) != NULL;
}

TEST(a_primary_that_does_not_answer_a_connect_is_given_up_in_time)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int callers[CALLERS], listener;

    a_cluster();
    listener = listener_opens(0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    for (int i = 0; i < CALLERS; i++) { /* nobody accepts them */
        callers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            0);
        (void)connect(callers[i], (struct sockaddr *)&at, sizeof at);
    }
    client_starts();
    UNTIL(client_says("timed out"));
    for (int i = 0; i < CALLERS; i++)
        close(callers[i]);
    close(listener);
    the_cluster_ends();
}

TEST(a_primary_that_does_not_get_to_its_welcome_is_given_up_in_time)
{
    int listener;

    a_cluster();
    listener = listener_opens(1);
    client_starts();
    UNTIL((peer = accept4(listener, NULL, NULL,
                          SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
    UNTIL((peer_trickles(MESSAGE_WELCOME), client_says("timed out")));
    peer_leaves();
    close(listener);
    the_cluster_ends();
}

/* ---- a primary of other ideas -------------------------------------------- */

static void peer_welcomes(void)
{
    struct body_welcome welcome = {.version = MESSAGE_VERSION_MAX,
                                   .epoch = epoch_raise(0, 1),
                                   .node = "p",
                                   .region = "here",
                                   .advertise = "p"};
    struct blob *blob;

    EXPECT_OK(body_welcome_encode(&welcome, &blob));
    peer_says(blob);
}

static void peer_opens(uint32_t stream, const char *name)
{
    struct body_open open = {.mode = BODY_RESUME,
                             .serial = 1,
                             .lineage = {{(uint8_t)stream}},
                             .mode_bits = 0644};
    struct blob *blob;

    snprintf(open.name, sizeof open.name, "%s", name);
    EXPECT_OK(history_begin(&open.history, epoch_raise(0, 1), 1));
    EXPECT_OK(body_open_encode(stream, &open, &blob));
    history_free(&open.history);
    peer_says(blob);
}

static bool replica_has(const char *name)
{
    struct database *database = catalog_find(&replica, name);

    database_unref(database);
    return database != NULL;
}

TEST(a_database_whose_name_a_replica_does_not_take_costs_only_itself)
{
    struct client_facts facts;
    int listener;

    a_cluster();
    listener = listener_opens(1);
    client_starts();
    UNTIL((peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    peer_welcomes();
    peer_opens(1, "a\tb.db");
    peer_opens(2, "../c.db");
    peer_opens(3, "good.db");
    UNTIL(replica_has("good.db"));
    EXPECT_FALSE(replica_has("a\tb.db"));
    EXPECT_FALSE(replica_has("../c.db"));
    client_facts(client, &facts);
    EXPECT_STR(facts.state, "following");
    peer_leaves();
    close(listener);
    the_cluster_ends();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_exchange.c - what a primary and a replica really say to each
 * other, taken down on the way: cut at every byte and with every bit changed,
 * each is heard as it was said or not at all. Then the same to a connection
 * that lives, at places drawn from the seed, and it ends equal.
 *
 * The way is a pump between two sockets, turned with the loop.
 */
#include "tests/unit/net_stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAID_MAX_BYTES (1u << 20)
#define MESSAGES_MAX 256
#define NEVER SIZE_MAX
#define ROUNDS 60 /* of faults in a live connection; ROUNDS=n */

enum way { UP, DOWN, WAYS }; /* to the primary, to the replica */

static int listener = -1, ends[WAYS] = {-1, -1}; /* read from [way] */
static uint16_t primary_port;
static uint8_t said[WAYS][SAID_MAX_BYTES];
static size_t said_bytes[WAYS];            /* of this connection */
static size_t cut_at[WAYS], flip_at[WAYS]; /* a byte, a bit; once */
static unsigned cuts, flips;

/* ---- the way ------------------------------------------------------------- */

static int socket_to(uint16_t to_port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(to_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void way_opens(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    EXPECT_EQ(listen(listener, 8), 0);
    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    primary_port = port;
    port = ntohs(at.sin_port);
}

static void way_breaks(void)
{
    for (int way = 0; way < WAYS && ends[way] >= 0; way++) {
        close(ends[way]);
        ends[way] = -1;
    }
}

static void way_is_taken(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    way_breaks();
    ends[UP] = fd;
    ends[DOWN] = socket_to(primary_port);
    said_bytes[UP] = said_bytes[DOWN] = 0;
}

static void one_bit_changes(enum way way, uint8_t *bytes, size_t size)
{
    size_t at = flip_at[way] / 8;

    if (flip_at[way] == NEVER || at < said_bytes[way] ||
        at >= said_bytes[way] + size)
        return;
    bytes[at - said_bytes[way]] ^= (uint8_t)(1u << flip_at[way] % 8);
    flip_at[way] = NEVER;
    flips++;
}

/* False when the connection is over. */
static bool bytes_go(enum way way)
{
    size_t room = SAID_MAX_BYTES - said_bytes[way];
    uint8_t *at = said[way] + said_bytes[way];
    bool is_cut = false;
    ssize_t size;

    if (cut_at[way] != NEVER && cut_at[way] - said_bytes[way] < room)
        room = cut_at[way] - said_bytes[way];
    size = room == 0 ? 0 : recv(ends[way], at, room, MSG_DONTWAIT);
    if (size < 0)
        return errno == EAGAIN;
    if (size == 0 && room > 0)
        return false;
    one_bit_changes(way, at, (size_t)size);
    said_bytes[way] += (size_t)size;
    is_cut = said_bytes[way] == cut_at[way];
    if (size > 0 && send(ends[1 - way], at, (size_t)size, MSG_NOSIGNAL) != size)
        return false;
    if (!is_cut)
        return true;
    cut_at[way] = NEVER;
    cuts++;
    return false;
}

static void way_turns(void)
{
    way_is_taken();
    for (enum way way = UP; way < WAYS && ends[way] >= 0; way++)
        if (!bytes_go(way))
            way_breaks();
}

static void a_cluster_with_a_way_between(void)
{
    a_cluster();
    for (enum way way = UP; way < WAYS; way++)
        cut_at[way] = flip_at[way] = NEVER;
    way_opens();
    also_turns = way_turns;
}

static void the_way_ends(void)
{
    also_turns = NULL;
    way_breaks();
    close(listener);
    port = primary_port;
    the_cluster_ends();
}

/* ---- what was said ------------------------------------------------------- */

static size_t starts[WAYS][MESSAGES_MAX + 1]; /* of each message, and the end */
static size_t counts[WAYS];
static unsigned types_said;

static void messages_found(enum way way)
{
    size_t at = 0;

    counts[way] = 0;
    while (at + MESSAGE_HEADER_BYTES <= said_bytes[way]) {
        EXPECT_LT(counts[way], MESSAGES_MAX);
        starts[way][counts[way]++] = at;
        types_said |= 1u << said[way][at + 4];
        at += MESSAGE_HEADER_BYTES + get_le32(said[way] + at);
    }
    EXPECT_EQ(at, said_bytes[way]);
    starts[way][counts[way]] = at;
}

/* A copy, three transactions, another owner, a database that comes and goes,
 * and the parting. */
static void an_exchange(void)
{
    struct database *database, *other;
    struct rng rng = test_rng();

    a_cluster_with_a_way_between();
    database = a_database("app.db", 1);
    commits(database, &rng, 2);
    engine_trim(database, 1);
    client_starts();
    UNTIL(is_equal(database));
    for (int i = 0; i < 3; i++) {
        commits(database, &rng, 1);
        UNTIL(is_equal(database));
    }
    other = a_database("other.db", 2);
    commits(other, &rng, 1);
    UNTIL(is_equal(other));
    database->view.owner_mode = 0600;
    database->changed = true;
    UNTIL(the_copy_of(database)->view.owner_mode == 0600);
    other->view.state = DATABASE_DROPPED;
    other->changed = true;
    UNTIL(copy_of(other) == NULL);
    types_said = 0;
    client_stops();
    UNTIL(ends[UP] < 0);
    messages_found(UP);
    messages_found(DOWN);
    the_way_ends();
    EXPECT_EQ(types_said,
              1u << MESSAGE_HELLO | 1u << MESSAGE_WELCOME |
                  1u << MESSAGE_DATABASE | 1u << MESSAGE_OPEN |
                  1u << MESSAGE_RECORD | 1u << MESSAGE_CHUNK |
                  1u << MESSAGE_COPIED | 1u << MESSAGE_ACK |
                  1u << MESSAGE_ATTR | 1u << MESSAGE_DROP | 1u << MESSAGE_BYE |
                  (types_said & (1u << MESSAGE_HEARTBEAT |
                                 1u << MESSAGE_ROSTER | 1u << MESSAGE_CREDIT)));
}

/* What a node would make of these bytes: 1, when it goes on with a message
 * that it heard; 0, when it waits for more; -errno, when it hangs up or, of a
 * record, asks for it again. */
static int is_heard(const uint8_t *bytes, size_t size)
{
    struct message_decoder decoder;
    struct record_header header;
    struct message message;
    size_t used;
    int rc;

    message_decoder_init(&decoder);
    message_decoder_open(&decoder);
    rc = message_decode(&decoder, bytes, size, &used, &message);
    message_decoder_close(&decoder);
    if (rc <= 0)
        return rc;
    if (message.type == MESSAGE_RECORD || message.type == MESSAGE_CHUNK)
        rc = record_check(message.body->data, message.body->size, &header);
    blob_unref(message.body);
    return rc < 0 ? rc : 1;
}

TEST(an_exchange_cut_at_any_byte_is_heard_up_to_the_last_whole_message)
{
    an_exchange();
    for (enum way way = UP; way < WAYS; way++) {
        for (size_t i = 0; i < counts[way]; i++) {
            const uint8_t *at = said[way] + starts[way][i];
            size_t size = starts[way][i + 1] - starts[way][i];

            for (size_t cut = 0; cut < size; cut++)
                EXPECT_EQ(is_heard(at, cut), 0);
            EXPECT_EQ(is_heard(at, size), 1);
        }
    }
}

TEST(an_exchange_with_any_bit_changed_is_refused_there)
{
    an_exchange();
    for (enum way way = UP; way < WAYS; way++) {
        for (size_t i = 0; i < counts[way]; i++) {
            uint8_t *at = said[way] + starts[way][i];
            size_t size = starts[way][i + 1] - starts[way][i];

            for (size_t bit = 0; bit < 8 * size; bit++) {
                at[bit / 8] ^= (uint8_t)(1u << bit % 8);
                EXPECT_LT(is_heard(at, size), 0);
                at[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
        }
    }
}

/* ---- a connection that lives --------------------------------------------- */

static unsigned rounds(void)
{
    const char *text = getenv("ROUNDS");

    return text == NULL ? ROUNDS : (unsigned)atoi(text);
}

/* Somewhere in what is said while a copy and some records go over. */
static void something_happens(struct rng *rng)
{
    enum way way = rng_chance(rng, 30) ? UP : DOWN;
    size_t most = way == UP ? 800 : 60000, at = rng_below(rng, most);

    if (rng_chance(rng, 50))
        cut_at[way] = said_bytes[way] + at + 1;
    else
        flip_at[way] = 8 * (said_bytes[way] + at) + rng_below(rng, 8);
}

TEST(a_connection_cut_or_changed_anywhere_ends_with_equal_databases)
{
    struct rng rng = test_rng();

    cuts = flips = 0;
    for (unsigned round = 0; round < rounds(); round++) {
        struct database *database;

        a_cluster_with_a_way_between();
        logger_set_level(LOGGER_ERROR);
        database = a_database("app.db", 1);
        database->view.owner_mode = 0640;
        commits(database, &rng, 6);
        if (rng_chance(&rng, 50))
            engine_trim(database, 1);
        something_happens(&rng);
        client_starts();
        for (int i = 0; i < 8; i++) {
            commits(database, &rng, 1);
            UNTIL(is_equal(database));
            if (rng_chance(&rng, 20))
                something_happens(&rng);
        }
        EXPECT_EQ(the_copy_of(database)->view.owner_mode, 0640);
        the_way_ends();
    }
    EXPECT_GT(cuts, rounds() / 8);
    EXPECT_GT(flips, rounds() / 8);
}

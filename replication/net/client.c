/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/client.c - see client.h. This file finds and keeps a
 * connection; what is said on it is in following.c.
 *
 * Failures: every one ends in client_rest() with a text that says where it
 * happened; it is logged when it is another one than before, so that a
 * primary that is away for an hour is one line and not a thousand.
 */
#include "replication/net/client.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/net/following.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/random.h>

enum client_state {
    CLIENT_RESTING,
    CLIENT_RESOLVING,
    CLIENT_CONNECTING,
    CLIENT_GREETING,
    CLIENT_FOLLOWING,
    CLIENT_STATES
};

#define BIT(state) (1u << (state))

static const unsigned client_next[CLIENT_STATES] = {
    [CLIENT_RESTING] = BIT(CLIENT_RESTING) | BIT(CLIENT_RESOLVING),
    [CLIENT_RESOLVING] = BIT(CLIENT_RESTING) | BIT(CLIENT_CONNECTING),
    [CLIENT_CONNECTING] = BIT(CLIENT_RESTING) | BIT(CLIENT_CONNECTING) |
                          BIT(CLIENT_GREETING),
    [CLIENT_GREETING] = BIT(CLIENT_RESTING) | BIT(CLIENT_FOLLOWING),
    [CLIENT_FOLLOWING] = BIT(CLIENT_RESTING),
};

static const char *const state_names[CLIENT_STATES] = {
    [CLIENT_RESTING] = "resting",       [CLIENT_RESOLVING] = "resolving",
    [CLIENT_CONNECTING] = "connecting", [CLIENT_GREETING] = "greeting",
    [CLIENT_FOLLOWING] = "following",
};

struct client {
    struct client_config config;
    uint64_t since_ns;       /* in this state */
    epoch_t epoch;           /* as told in HELLO */
    struct addrinfo *found;  /* owned; addresses to try */
    struct addrinfo *trying; /* the next of them; NULL: none left */
    uv_timer_t timer;        /* the end of a rest, or of patience */
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct link link;
    struct following following;
    void (*on_closed)(void *context);
    void *context;
    enum client_state state;
    unsigned attempts; /* since one lasted */
    bool resolving;    /* resolve is out */
    bool link_open;    /* the memory of link is libuv's */
    bool timer_closed;
    bool closing;
    char failure[FOLLOWING_TEXT_BYTES];
};

static void attempt_next(struct client *client);

/* ---- states ---------------------------------------------------------------*/

static void client_move(struct client *client, enum client_state state)
{
    ASSERT((client_next[client->state] & BIT(state)) != 0);
    client->state = state;
    client->since_ns = clock_now_ns();
    if (client->config.on_changed != NULL && !client->closing)
        client->config.on_changed(client->config.context);
}

static void client_finish(struct client *client)
{
    void (*on_closed)(void *context) = client->on_closed;
    void *context = client->context;

    if (!client->closing || !client->timer_closed || client->resolving ||
        client->link_open)
        return;
    following_close(&client->following);
    uv_freeaddrinfo(client->found);
    os_free(&client);
    if (on_closed != NULL)
        on_closed(context);
}

/* Half of it for sure, the rest by chance. */
static uint64_t rest_ms(const struct client *client)
{
    unsigned doubled = client->attempts < 7 ? client->attempts : 7;
    uint64_t most = (uint64_t)CLIENT_REST_MIN_MS << doubled;
    uint32_t chance = 0;

    if (most > CLIENT_REST_MAX_MS)
        most = CLIENT_REST_MAX_MS;
    if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) < 0)
        chance = (uint32_t)clock_now_ns();
    return most / 2 + chance % (most / 2 + 1);
}

static void attempt_begin(uv_timer_t *timer);

static void client_rest(struct client *client, const char *failure)
{
    bool lasted = client->state == CLIENT_FOLLOWING &&
                  clock_now_ns() - client->since_ns >
                      CLIENT_LASTED_MS * NS_PER_MS;
    int rc;

    if (client->closing) {
        client_finish(client);
        return;
    }
    if (client->state == CLIENT_FOLLOWING ||
        strcmp(client->failure, failure) != 0)
        log_warn("replication.no_primary", "reason=%s", logger_quote(failure));
    if (client->failure != failure)
        snprintf(client->failure, sizeof client->failure, "%s", failure);
    if (lasted)
        client->attempts = 0;
    client_move(client, CLIENT_RESTING);
    rc = uv_timer_start(&client->timer, attempt_begin, rest_ms(client), 0);
    ASSERT(rc == 0);
    client->attempts++;
}

static void client_rest_site(struct client *client, enum site site, int error)
{
    char text[ADDRESS_TEXT_BYTES];

    address_format(&client->config.primary, text);
    (void)site_fail(site, text, error);
    client_rest(client, site_failure());
}

/* ---- the link -------------------------------------------------------------*/

static struct client *client_of(struct link *link)
{
    return CONTAINER_OF(link, struct client, link);
}

static int hear_welcome(struct client *client, const struct message *message)
{
    struct following *following = &client->following;
    int rc = body_welcome_decode(message->body, &following->welcome);

    if (rc < 0)
        return rc;
    if (following->welcome.version < MESSAGE_VERSION_MIN ||
        following->welcome.version > MESSAGE_VERSION_MAX)
        return -EPROTO;
    if (following->welcome.epoch < client->epoch) {
        following_part(following, BODY_FENCED,
                       "this replica has heard of a newer epoch");
        return 0;
    }
    uv_timer_stop(&client->timer);
    client->failure[0] = '\0';
    client_move(client, CLIENT_FOLLOWING);
    link_open(&client->link);
    log_info("replication.primary", "node=%s region=%s peer=%s epoch=%llu",
             logger_quote(following->welcome.node),
             logger_quote(following->welcome.region), client->link.peer,
             (unsigned long long)epoch_number(following->welcome.epoch));
    return following_begin(following);
}

static int hear_refusal(struct client *client, const struct message *message)
{
    struct body_refuse refuse;
    int rc = body_refuse_decode(message->body, &refuse);

    if (rc < 0)
        return rc;
    /* Kept for status, and logged by client_rest() when the link is gone. */
    snprintf(client->following.parting, sizeof client->following.parting,
             "%s: %s", body_reason_name(refuse.reason), refuse.text);
    if (refuse.reason == BODY_AGAIN)
        client->attempts = 0;
    link_close(&client->link, 0);
    return 0;
}

static void client_on_message(struct link *link, struct message *message)
{
    struct client *client = client_of(link);
    int rc;

    if (message->type == MESSAGE_REFUSE || message->type == MESSAGE_BYE)
        rc = hear_refusal(client, message);
    else if (client->state == CLIENT_FOLLOWING)
        rc = following_hear(&client->following, message);
    else if (message->type == MESSAGE_WELCOME)
        rc = hear_welcome(client, message);
    else
        rc = -EPROTO;
    blob_unref(message->body);
    if (rc < 0)
        link_close(link, rc);
}

static void client_on_tick(struct link *link)
{
    struct client *client = client_of(link);

    if (client->state == CLIENT_FOLLOWING)
        following_tick(&client->following);
}

/* Acks and credit are small; what is lent may wait for room. */
static void client_on_room(struct link *link)
{
    following_room(&client_of(link)->following);
}

static void client_on_link_closed(struct link *link, int error)
{
    struct client *client = client_of(link);
    const char *parting = client->following.parting;

    client->link_open = false;
    if (!client->closing)
        uv_timer_stop(&client->timer);
    following_lost(&client->following);
    if (client->state == CLIENT_CONNECTING && !client->closing &&
        client->trying != NULL) {
        attempt_next(client);
        return;
    }
    if (parting[0] != '\0')
        client_rest(client, parting);
    else
        client_rest_site(client, SITE_CLIENT_CONNECT,
                         error == 0 ? ECONNRESET : -error);
}

static const struct link_hooks client_hooks = {
    .on_message = client_on_message,
    .on_room = client_on_room,
    .on_tick = client_on_tick,
    .on_closed = client_on_link_closed,
};

/* ---- attempts -------------------------------------------------------------*/

static int send_hello(struct client *client)
{
    const struct identity *us = &client->config.identity;
    struct body_hello hello = {
        .version_min = MESSAGE_VERSION_MIN,
        .version_max = MESSAGE_VERSION_MAX,
        .candidate = us->candidate,
    };
    struct blob *blob;
    int rc;

    snprintf(hello.cluster, sizeof hello.cluster, "%s", us->cluster);
    snprintf(hello.node, sizeof hello.node, "%s", us->node);
    snprintf(hello.region, sizeof hello.region, "%s", us->region);
    snprintf(hello.advertise, sizeof hello.advertise, "%s", us->advertise);
    rc = following_prepare(&client->following, &hello.epoch);
    if (rc == 0)
        rc = body_hello_encode(&hello, &blob);
    client->epoch = hello.epoch;
    if (rc == 0)
        link_send(&client->link, blob);
    return rc;
}

/* The kernel would try for minutes; and now and then a byte keeps a link
 * alive that never gets to its WELCOME. */
static void client_on_late(uv_timer_t *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, timer);

    link_close(&client->link, -ETIMEDOUT); /* goes on in on_link_closed */
}

static void patience_begin(struct client *client)
{
    int rc = uv_timer_start(&client->timer, client_on_late, CLIENT_ANSWER_MS,
                            0);

    ASSERT(rc == 0);
}

static void client_on_connected(uv_connect_t *connect, int status)
{
    struct client *client = CONTAINER_OF(connect, struct client, connect);
    int rc = status;

    if (rc == 0)
        rc = link_start(&client->link);
    if (rc < 0) {
        link_close(&client->link, rc); /* on_closed tries the next address */
        return;
    }
    client_move(client, CLIENT_GREETING);
    patience_begin(client);
    rc = send_hello(client);
    if (rc < 0)
        link_close(&client->link, rc);
}

/* Connects to the next address; with none left, the attempt has failed. */
static void attempt_next(struct client *client)
{
    const struct sockaddr *address = client->trying->ai_addr;
    int rc = link_init(&client->link, client->config.loop, &client_hooks);

    client->trying = client->trying->ai_next;
    if (rc < 0) {
        client_rest(client, site_failure());
        return;
    }
    client->link_open = true;
    client->following.parting[0] = '\0';
    client_move(client, CLIENT_CONNECTING);
    patience_begin(client);
    rc = -site_fault(SITE_CLIENT_CONNECT);
    if (rc == 0)
        rc = uv_tcp_connect(&client->connect, &client->link.tcp, address,
                            client_on_connected);
    if (rc < 0)
        link_close(&client->link, rc);
}

static void client_on_resolved(uv_getaddrinfo_t *resolve, int status,
                               struct addrinfo *found)
{
    struct client *client = CONTAINER_OF(resolve, struct client, resolve);
    char failure[ADDRESS_TEXT_BYTES + 80], text[ADDRESS_TEXT_BYTES];

    client->resolving = false;
    uv_freeaddrinfo(client->found);
    client->found = found;
    client->trying = found;
    if (client->closing) {
        client_finish(client);
    } else if (status < 0 || found == NULL) {
        address_format(&client->config.primary, text);
        snprintf(failure, sizeof failure, "%s: %s: %s",
                 site_name(SITE_CLIENT_RESOLVE), text,
                 status < 0 ? uv_strerror(status) : "no address");
        client_rest(client, failure);
    } else {
        if (client->config.on_resolved != NULL)
            client->config.on_resolved(client->config.context, found);
        attempt_next(client);
    }
}

static void attempt_begin(uv_timer_t *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, timer);
    const struct address *primary = &client->config.primary;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];
    int rc = -site_fault(SITE_CLIENT_RESOLVE);

    snprintf(port, sizeof port, "%u", primary->port);
    client_move(client, CLIENT_RESOLVING);
    if (rc == 0)
        rc = uv_getaddrinfo(client->config.loop, &client->resolve,
                            client_on_resolved, primary->host, port, &hints);
    if (rc < 0)
        client_rest_site(client, SITE_CLIENT_RESOLVE, -rc);
    else
        client->resolving = true;
}

/* ---- life -----------------------------------------------------------------*/

int client_open(struct client **ret_client, const struct client_config *config)
{
    struct client *client;
    int rc = os_alloc(&client, sizeof *client, SITE_CLIENT_ALLOC);

    ASSERT_ON_LOOP();
    if (rc < 0)
        return rc;
    client->config = *config;
    client->since_ns = clock_now_ns();
    following_init(&client->following, &client->config, &client->link);
    rc = uv_timer_init(config->loop, &client->timer);
    ASSERT(rc == 0);
    rc = uv_timer_start(&client->timer, attempt_begin, 0, 0);
    ASSERT(rc == 0);
    *ret_client = client;
    return 0;
}

static void client_on_timer_closed(uv_handle_t *handle)
{
    struct client *client = CONTAINER_OF((uv_timer_t *)(void *)handle,
                                         struct client, timer);

    client->timer_closed = true;
    client_finish(client);
}

void client_close(struct client *client, void (*on_closed)(void *context),
                  void *context)
{
    ASSERT_ON_LOOP();
    ASSERT(!client->closing);
    client->closing = true;
    client->on_closed = on_closed;
    client->context = context;
    uv_close((uv_handle_t *)&client->timer, client_on_timer_closed);
    if (client->resolving)
        uv_cancel((uv_req_t *)&client->resolve); /* calls back either way */
    if (client->link_open && client->state == CLIENT_FOLLOWING)
        following_part(&client->following, BODY_STOPPING,
                       "this node is being stopped");
    else if (client->link_open)
        link_close(&client->link, 0);
}

void client_changed(struct client *client, struct database *database)
{
    ASSERT_ON_LOOP();
    following_changed(&client->following, database);
}

/* ---- what people want to know ---------------------------------------------*/

void client_facts(const struct client *client, struct client_facts *ret_facts)
{
    const struct following *following = &client->following;

    ASSERT_ON_LOOP();
    *ret_facts = (struct client_facts){
        .state = state_names[client->state],
        .peer = client->link.peer,
        .node = following->welcome.node,
        .region = following->welcome.region,
        .advertise = following->welcome.advertise,
        .epoch = following->welcome.epoch,
        .since_ns = client->since_ns,
        .round_trip_ns = client->state == CLIENT_FOLLOWING
                             ? client->link.round_trip_ns
                             : 0,
        .failure = client->failure,
        .roster = following->roster,
        .roster_count = following->roster_count,
    };
}

int client_stream(const struct client *client, const struct database *database,
                  struct client_stream *ret_stream)
{
    const struct channel *channel = following_channel(&client->following,
                                                      database);

    ASSERT_ON_LOOP();
    if (channel == NULL)
        return -ENOENT;
    *ret_stream = (struct client_stream){
        .state = follow_state_name(channel->follow.state),
        .reason = body_reason_name(channel->follow.reason),
        .primary_txid = channel->primary_txid,
        .behind_txids = channel->primary_txid > channel->view.position.txid
                            ? channel->primary_txid -
                                  channel->view.position.txid
                            : 0,
        .age_ns = channel_age_ns(channel, clock_now_ns(),
                                 client->link.round_trip_ns),
    };
    return 0;
}

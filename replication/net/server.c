/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/server.c - see server.h.
 *
 * Who is refused, in this order: an address beyond this machine without
 * `insecure`, one too many, no protocol in common, another cluster, our own
 * id, one that has heard of a newer epoch. The last is not the replica's
 * fault: somebody else is the primary by now, and it is this node that should
 * be stopped. That is said loudly.
 */
#include "replication/net/server.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/net/guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>

#define LISTEN_BACKLOG 64

struct server {
    struct server_config config;
    struct guest_host host;
    uv_tcp_t listener;
    struct list guests;
    size_t guests_count;
    bool closing, listener_closed;
    void (*on_closed)(void *context);
    void *context;
};

/* ---- greeting -------------------------------------------------------------*/

static bool peer_is_loopback(const uv_tcp_t *tcp)
{
    struct sockaddr_storage address;
    int size = sizeof address;

    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &size) < 0)
        return false;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address.ss_family == AF_INET6) {
        const struct in6_addr *in =
            &((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(in) ||
               (IN6_IS_ADDR_V4MAPPED(in) && in->s6_addr[12] == 127);
    }
    return false;
}

static struct guest *guest_of_node(struct server *server, const char *node,
                                   const struct guest *but)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &server->guests)
    {
        struct guest *guest = LIST_ENTRY(link, struct guest, among);

        if (guest != but && guest->registered &&
            strcmp(guest->hello.node, node) == 0)
            return guest;
    }
    return NULL;
}

/* The same node again, or another one under its id? */
static bool is_same_node(const struct body_hello *a, const struct body_hello *b)
{
    return strcmp(a->advertise, b->advertise) == 0 &&
           strcmp(a->region, b->region) == 0;
}

static enum body_reason judge(const struct server *server,
                              const struct body_hello *hello, char *text)
{
    const struct identity *us = &server->config.identity;
    epoch_t epoch = catalog_epoch(server->config.catalog);

    if (hello->version_min > MESSAGE_VERSION_MAX ||
        hello->version_max < MESSAGE_VERSION_MIN) {
        snprintf(text, BODY_TEXT_MAX + 1,
                 "%s speaks protocol %u to %u, %s speaks %u to %u; upgrade the "
                 "older one",
                 hello->node, hello->version_min, hello->version_max, us->node,
                 MESSAGE_VERSION_MIN, MESSAGE_VERSION_MAX);
        return BODY_VERSION;
    }
    if (strcmp(hello->cluster, us->cluster) != 0) {
        snprintf(text, BODY_TEXT_MAX + 1,
                 "%s is in cluster \"%s\", %s in \"%s\"; check cluster.name "
                 "and lease.primary",
                 hello->node, hello->cluster, us->node, us->cluster);
        return BODY_CLUSTER;
    }
    if (strcmp(hello->node, us->node) == 0) {
        snprintf(text, BODY_TEXT_MAX + 1,
                 "the primary's id is \"%s\" too; give each node its own "
                 "node.id",
                 us->node);
        return BODY_SAME_NODE;
    }
    /* One that asks begins its epoch after it has heard of theirs. */
    if (hello->epoch > epoch &&
        (server->host.asking == NULL ||
         epoch_number(hello->epoch) >= EPOCH_NUMBER_MAX - 1)) {
        snprintf(text, BODY_TEXT_MAX + 1,
                 "%s has heard of epoch %llu, %s is primary of an older one, "
                 "%llu: if another node took over, stop this one or let it "
                 "follow; if it was restored from a backup, start it again, "
                 "each start raises its epoch",
                 hello->node, (unsigned long long)epoch_number(hello->epoch),
                 us->node, (unsigned long long)epoch_number(epoch));
        return BODY_FENCED;
    }
    return BODY_NONE;
}

static bool server_on_lacking(void *context)
{
    struct server_config *config = &((struct server *)context)->config;

    return config->on_lacking != NULL && config->on_lacking(config->context);
}

static int roster_note(struct server *server, const struct body_hello *hello)
{
    return roster_add(server->config.roster, hello->node, hello->region,
                      hello->advertise, hello->candidate);
}

/* It has what we have not, and is asked: now, or by the next start, which has
 * to know that it is there. */
static enum body_reason fenced(struct server *server,
                               const struct body_hello *hello, char *ret_text)
{
    if (server->host.asking == NULL && server->config.on_lacking != NULL) {
        (void)roster_note(server, hello);
        if (server_on_lacking(server)) {
            snprintf(ret_text, BODY_TEXT_MAX + 1,
                     "this primary has nothing, and asks its replicas first");
            return BODY_AGAIN;
        }
    }
    log_error("replication.fenced", "node=%s text=%s",
              logger_quote(hello->node), logger_quote(ret_text));
    return BODY_FENCED;
}

static enum body_reason server_on_hello(void *context, struct guest *guest,
                                        const struct body_hello *hello,
                                        char *ret_text)
{
    struct server *server = context;
    struct guest *before;
    enum body_reason reason = judge(server, hello, ret_text);
    int rc;

    if (reason == BODY_FENCED)
        reason = fenced(server, hello, ret_text);
    if (reason != BODY_NONE)
        return reason;
    before = guest_of_node(server, hello->node, guest);
    if (before != NULL && !before->link.closing &&
        !is_same_node(hello, &before->hello)) {
        snprintf(ret_text, BODY_TEXT_MAX + 1,
                 "a node with id \"%s\" is connected from %s; give each node "
                 "its own node.id",
                 hello->node, before->link.peer);
        return BODY_SAME_NODE;
    }
    rc = roster_note(server, hello);
    if (rc == -ENOBUFS)
        snprintf(ret_text, BODY_TEXT_MAX + 1,
                 "this primary has met as many nodes as it remembers, %u; does "
                 "node.id change from start to start? give lasting ids",
                 PULSE_NODES_MAX - 1);
    else if (rc < 0)
        snprintf(ret_text, BODY_TEXT_MAX + 1,
                 "the primary is out of memory; try again");
    if (rc < 0)
        return BODY_LIMIT;
    if (before != NULL)
        link_close(&before->link, -ECONNRESET);
    return BODY_NONE;
}

/* ---- accepting ------------------------------------------------------------*/

static void server_finish(struct server *server)
{
    void (*on_closed)(void *context) = server->on_closed;
    void *context = server->context;

    if (!server->closing || !server->listener_closed ||
        server->guests_count > 0)
        return;
    os_free(&server);
    if (on_closed != NULL)
        on_closed(context);
}

static void server_on_guest_closed(void *context, struct guest *guest)
{
    struct server *server = context;

    list_remove(&guest->among);
    server->guests_count--;
    server_finish(server);
}

static void greet_or_refuse(struct server *server, struct guest *guest)
{
    guest_start(guest);
    if (!server->config.identity.insecure &&
        !peer_is_loopback(&guest->link.tcp))
        guest_refuse(guest, BODY_NOT_LOCAL,
                     "only nodes on this machine may connect; set `insecure: "
                     "true` to allow others without encryption");
    else if (server->guests_count > SERVER_SESSIONS_MAX)
        guest_refuse(guest, BODY_LIMIT,
                     "too many replicas are connected to this primary");
}

static void server_on_connection(uv_stream_t *stream, int status)
{
    struct server *server = CONTAINER_OF((uv_tcp_t *)(void *)stream,
                                         struct server, listener);
    struct guest *guest;
    int rc = status;

    if (rc == 0 && (rc = -site_fault(SITE_SERVER_ACCEPT)) == 0) {
        guest = guest_new(&server->host);
        if (guest == NULL)
            return; /* told by site_fail(); the peer comes again */
        list_push_back(&server->guests, &guest->among);
        server->guests_count++;
        rc = uv_accept(stream, (uv_stream_t *)&guest->link.tcp);
        if (rc == 0)
            greet_or_refuse(server, guest);
        else
            link_close(&guest->link, rc);
    }
    if (rc < 0)
        log_warn("replication.accept", "error=%s", logger_quote(strerror(-rc)));
}

/* ---- life -----------------------------------------------------------------*/

static int resolve_host(const struct address *address,
                        struct sockaddr_storage *ret_address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%u", address->port);
    rc = getaddrinfo(address->host, port, &hints, &found);
    if (rc == EAI_SYSTEM)
        return -errno;
    if (rc != 0)
        return -EADDRNOTAVAIL;
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int bind_and_listen(struct server *server,
                           const struct sockaddr_storage *address)
{
    int rc = uv_tcp_bind(&server->listener, (const struct sockaddr *)address,
                         0);

    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->listener, LISTEN_BACKLOG,
                       server_on_connection);
    return rc;
}

/* "" means both families: :: takes IPv4 too, unless this machine has no
 * IPv6 at all. */
static int server_listen(struct server *server)
{
    const struct address *listen = &server->config.listen;
    struct sockaddr_storage address = {0};
    char text[ADDRESS_TEXT_BYTES];
    int rc = -site_fault(SITE_SERVER_LISTEN);

    address_format(listen, text);
    if (rc == 0 && listen->host[0] != '\0') {
        rc = resolve_host(listen, &address);
    } else if (rc == 0) {
        rc = uv_ip6_addr("::", listen->port, (struct sockaddr_in6 *)&address);
    }
    if (rc == 0)
        rc = bind_and_listen(server, &address);
    if (rc == -EAFNOSUPPORT && listen->host[0] == '\0') {
        uv_ip4_addr("0.0.0.0", listen->port, (struct sockaddr_in *)&address);
        rc = bind_and_listen(server, &address);
    }
    return rc == 0 ? 0 : site_fail(SITE_SERVER_LISTEN, text, -rc);
}

static void server_on_listener_closed(uv_handle_t *handle)
{
    struct server *server = CONTAINER_OF((uv_tcp_t *)(void *)handle,
                                         struct server, listener);

    server->listener_closed = true;
    server_finish(server);
}

int server_open(struct server **ret_server, const struct server_config *config)
{
    struct server *server;
    int rc = os_alloc(&server, sizeof *server, SITE_SERVER_ALLOC);

    ASSERT_ON_LOOP();
    if (rc < 0)
        return rc;
    server->config = *config;
    server->host = (struct guest_host){
        .loop = config->loop,
        .catalog = config->catalog,
        .identity = &server->config.identity,
        .roster = config->roster,
        .asking = config->asking,
        .context = server,
        .on_hello = server_on_hello,
        .on_lacking = server_on_lacking,
        .on_closed = server_on_guest_closed,
    };
    list_init(&server->guests);
    rc = uv_tcp_init(config->loop, &server->listener);
    ASSERT(rc == 0);
    rc = server_listen(server);
    if (rc < 0) {
        server_close(server, NULL, NULL);
        return rc;
    }
    *ret_server = server;
    return 0;
}

void server_close(struct server *server, void (*on_closed)(void *context),
                  void *context)
{
    struct list *link, *safe;

    ASSERT_ON_LOOP();
    ASSERT(!server->closing);
    server->closing = true;
    server->on_closed = on_closed;
    server->context = context;
    uv_close((uv_handle_t *)&server->listener, server_on_listener_closed);
    LIST_EACH(link, safe, &server->guests)
    {
        guest_end(LIST_ENTRY(link, struct guest, among), BODY_STOPPING,
                  "this node is being stopped");
    }
}

/* Everybody comes again, and is heard as it says from now on. */
static void server_turn(struct server *server, struct asking *asking,
                        const char *text)
{
    struct list *link, *safe;

    ASSERT_ON_LOOP();
    server->host.asking = asking;
    LIST_EACH(link, safe, &server->guests)
    {
        guest_end(LIST_ENTRY(link, struct guest, among), BODY_AGAIN, text);
    }
}

void server_serve(struct server *server)
{
    server_turn(server, NULL, "this primary has asked, and serves now");
}

void server_ask(struct server *server, struct asking *asking)
{
    server_turn(server, asking, "this primary asks its replicas first");
}

uint16_t server_port(const struct server *server)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;

    uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &size);
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

void server_changed(struct server *server, struct database *database)
{
    struct list *link, *safe;

    ASSERT_ON_LOOP();
    LIST_EACH(link, safe, &server->guests)
    {
        guest_changed(LIST_ENTRY(link, struct guest, among), database);
    }
}

/* ---- what people want to know ---------------------------------------------*/

void server_replicas(const struct server *server,
                     void (*visit)(void *context,
                                   const struct server_replica *replica),
                     void *context)
{
    uint64_t now = clock_now_ns();
    struct list *link;

    ASSERT_ON_LOOP();
    for (link = server->guests.next; link != &server->guests;
         link = link->next) {
        const struct guest *guest = LIST_ENTRY(link, struct guest, among);
        struct server_replica replica = {
            .node = guest->hello.node,
            .region = guest->hello.region,
            .advertise = guest->hello.advertise,
            .peer = guest->link.peer,
            .candidate = guest->hello.candidate,
            .since_ns = guest->since_ns,
            .round_trip_ns = guest->link.round_trip_ns,
            .queued_bytes = guest->link.queued_bytes,
        };

        if (!guest->registered || guest->link.closing)
            continue;
        guest_lag(guest, now, &replica.lag_ns, &replica.behind_txids);
        visit(context, &replica);
    }
}

/* How many pages of a copy are on their way or there. */
static uint32_t copied_pages(const struct supply *supply, uint32_t pages)
{
    pgno_t next = supply->feed.copy_next;

    return next == 0 || next > pages ? pages : next - 1;
}

/* In the words of docs/status.md; NULL: there is nothing to tell of. */
static const char *stream_state(const struct supply *supply)
{
    switch (supply->feed.state) {
    case FEED_WAITING:
        return "waiting";
    case FEED_READING: /* from memory is as it is committed */
        return supply->submitted || supply->batch_count > 0 ? "log" : "live";
    case FEED_TAIL:
        return "live";
    case FEED_STARVED:
        return "log";
    case FEED_COPYING:
    case FEED_COMPARING:
    case FEED_COPY_STARVED:
        return "copy";
    case FEED_CLOSED: /* dropped, or the replica does not follow it */
    case FEED_STATES:
        break;
    }
    return NULL;
}

void server_streams(const struct server *server,
                    const struct database *database,
                    void (*visit)(void *context,
                                  const struct server_stream *stream),
                    void *context)
{
    uint64_t now = clock_now_ns();
    struct list *link;

    ASSERT_ON_LOOP();
    for (link = server->guests.next; link != &server->guests;
         link = link->next) {
        const struct guest *guest = LIST_ENTRY(link, struct guest, among);
        const struct supply *supply = guest_stream(guest, database);
        const char *state = supply == NULL ? NULL : stream_state(supply);
        uint32_t pages;

        if (state == NULL || guest->link.closing)
            continue;
        pages = strcmp(state, "copy") == 0 ? supply->view.size_pages : 0;
        visit(context, &(struct server_stream){
                           .node = guest->hello.node,
                           .state = state,
                           .reason = body_reason_name(supply->feed.reason),
                           .received_txid = supply->feed.acked.received_txid,
                           .durable_txid = supply->feed.acked.durable_txid,
                           .applied_txid = supply->feed.acked.position.txid,
                           .lag_ns = lag_ns(&supply->lag, now),
                           .behind_txids = lag_txids(&supply->lag),
                           .copied_pages = copied_pages(supply, pages),
                           .copy_pages = pages,
                           .credit_bytes = supply->feed.credit,
                       });
    }
}

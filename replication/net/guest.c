/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/guest.c - see guest.h.
 *
 * What a replica says wrongly (a body that does not decode, a stream it was
 * never told of, an ack for what was not sent) ends the connection with
 * -EPROTO or -EBADMSG. That is logged once, in on_closed; the replica comes
 * back, and if it is wrong again it waits longer each time.
 */
#include "replication/net/guest.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/net/asking.h"
#include "replication/net/herald.h"

#include <errno.h>
#include <stdio.h>

#define STREAMS_FIRST 16u

static struct guest *guest_of(struct link *link)
{
    return CONTAINER_OF(link, struct guest, link);
}

/* ---- streams --------------------------------------------------------------*/

static struct supply *stream_of(const struct guest *guest,
                                const struct database *database)
{
    return lookup_find(&guest->by_database, database);
}

const struct supply *guest_stream(const struct guest *guest,
                                  const struct database *database)
{
    return stream_of(guest, database);
}

static int streams_grow(struct guest *guest)
{
    uint32_t capacity = guest->streams_capacity == 0
                            ? STREAMS_FIRST
                            : guest->streams_capacity * 2;
    struct supply **grown;
    int rc;

    if (guest->streams_count == GUEST_STREAMS_MAX)
        return -ENOBUFS;
    if (guest->streams_count < guest->streams_capacity)
        return 0;
    rc = os_alloc(&grown, capacity * sizeof(void *), SITE_GUEST_ALLOC);
    if (rc < 0)
        return rc;
    if (guest->streams_count > 0)
        memcpy(grown, guest->streams, guest->streams_count * sizeof(void *));
    os_free(&guest->streams);
    guest->streams = grown;
    guest->streams_capacity = capacity;
    return 0;
}

static struct supply *stream_add(struct guest *guest, struct database *database)
{
    struct supply *supply = NULL;
    int rc = streams_grow(guest);

    if (rc == 0)
        supply = supply_new(database, &guest->link, guest->streams_count + 1,
                            &guest->room);
    if (supply != NULL &&
        lookup_add(&guest->by_database, database, supply) < 0) {
        supply_close(supply);
        supply = NULL;
    }
    if (supply == NULL) /* out of numbers: the next connection has them all */
        link_close(&guest->link, rc < 0 ? rc : -ENOMEM);
    else
        guest->streams[guest->streams_count++] = supply;
    return supply;
}

/* Its database is no more. The number stays taken, for what the replica may
 * have said on it by now. */
static void stream_end(struct guest *guest, struct supply *supply)
{
    guest->streams[supply->stream - 1] = NULL;
    lookup_remove(&guest->by_database, supply->database);
    supply_close(supply);
}

/* ---- databases ------------------------------------------------------------*/

static bool is_dropped(struct database *database)
{
    struct database_view view;

    database_view(database, &view);
    return view.state == DATABASE_DROPPED;
}

static void tell_dropped(struct guest *guest,
                         const struct body_database *replica)
{
    struct body_drop drop = {.lineage = replica->lineage};
    struct blob *blob;

    memcpy(drop.name, replica->name, sizeof drop.name);
    if (body_drop_encode(0, &drop, &blob) < 0)
        link_close(&guest->link, -ENOMEM);
    else
        link_send(&guest->link, blob);
}

/* By lineage it is the same one, wherever it lies; by name it is what the
 * replica should have there instead of its own: that is told even when its
 * own was dropped, for then the replica lets go of the old one first. */
static struct database *database_for(struct guest *guest,
                                     const struct body_database *replica)
{
    struct catalog *catalog = guest->host->catalog;
    struct database *database = catalog_find_lineage(catalog,
                                                     &replica->lineage);

    if (database == NULL ||
        strcmp(database_name(database), replica->name) != 0) {
        if (database != NULL && is_dropped(database))
            return database;
        database_unref(database);
        database = catalog_find(catalog, replica->name);
    }
    return database;
}

static void tell_unknown(struct guest *guest,
                         const struct body_database *replica)
{
    const struct guest_host *host = guest->host;

    if (host->on_lacking(host->context))
        return; /* it is fetched, or told again */
    log_warn("replication.unknown", "database=%s node=%s text=%s",
             logger_quote(replica->name), logger_quote(guest->hello.node),
             logger_quote("this primary has no such database; the replica "
                          "keeps it: start this node again, and it is fetched "
                          "if nothing has its name; or tidemark export it "
                          "there, import it here"));
}

static void hear_database(struct guest *guest, struct body_database *replica)
{
    struct database *database = database_for(guest, replica);
    struct supply *supply;

    if (database == NULL &&
        catalog_is_dropped(guest->host->catalog, &replica->lineage)) {
        tell_dropped(guest, replica); /* while it was away */
        return;
    }
    if (database == NULL) {
        tell_unknown(guest, replica);
        return; /* the replica keeps what it has */
    }
    if (is_dropped(database)) {
        tell_dropped(guest, replica);
    } else {
        supply = stream_of(guest, database);
        if (supply == NULL)
            supply = stream_add(guest, database);
        if (supply != NULL)
            supply_hear(supply, replica);
    }
    database_unref(database);
}

/* A name that OPEN cannot carry; the engine makes none, but finds what is in
 * its folder. */
static bool is_nameable(const struct database *database)
{
    const char *name = database_name(database);

    return body_name_is_valid(name, strlen(name));
}

static void open_unnamed(struct guest *guest, struct database *database)
{
    struct supply *supply;

    if (guest->link.closing || stream_of(guest, database) != NULL ||
        !is_nameable(database))
        return;
    supply = stream_add(guest, database);
    if (supply != NULL)
        supply_hear(supply, NULL);
}

struct gathered {
    struct database **databases; /* a reference each */
    size_t count, capacity;
    bool failed;
};

static void gather(void *context, struct database *database)
{
    struct gathered *all = context;
    size_t capacity = all->capacity == 0 ? STREAMS_FIRST : 2 * all->capacity;
    struct database **grown;

    if (all->count == all->capacity) {
        if (os_alloc(&grown, capacity * sizeof(void *), SITE_GUEST_ALLOC) < 0) {
            all->failed = true;
            return;
        }
        if (all->count > 0)
            memcpy(grown, all->databases, all->count * sizeof(void *));
        os_free(&all->databases);
        all->databases = grown;
        all->capacity = capacity;
    }
    all->databases[all->count++] = database_ref(database);
}

/* Those it did not name. The catalog may not be called from its own walk, so
 * they are gathered first. */
static void hear_last(struct guest *guest)
{
    struct gathered all = {0};

    guest->state = GUEST_SERVING;
    catalog_each(guest->host->catalog, gather, &all);
    for (size_t i = 0; i < all.count; i++) {
        if (!is_nameable(all.databases[i]))
            log_error("replication.unnameable",
                      "database=%s node=%s text=\"rename it, with this node "
                      "stopped\"",
                      logger_quote(database_name(all.databases[i])),
                      logger_quote(guest->hello.node));
        open_unnamed(guest, all.databases[i]);
        database_unref(all.databases[i]);
    }
    os_free(&all.databases);
    if (all.failed)
        link_close(&guest->link, -ENOMEM);
}

void guest_changed(struct guest *guest, struct database *database)
{
    struct supply *supply = stream_of(guest, database);

    ASSERT_ON_LOOP();
    if (guest->link.closing || guest->link.flushing)
        return;
    if (supply != NULL) {
        supply_changed(supply);
        if (supply->feed.state == FEED_CLOSED && is_dropped(database))
            stream_end(guest, supply);
    } else if (guest->state == GUEST_SERVING && !is_dropped(database)) {
        open_unnamed(guest, database);
    }
}

/* ---- messages -------------------------------------------------------------*/

/* A primary that asks: what follows is heard by asking.c. The epoch that it
 * begins then is above all that it hears of, so it knows the replica's. */
static int peer_make(struct guest *guest, struct body_welcome *welcome)
{
    const struct guest_host *host = guest->host;

    if (host->asking == NULL)
        return 0;
    catalog_hear_epoch(host->catalog, guest->hello.epoch);
    welcome->epoch = catalog_epoch(host->catalog);
    guest->peer = asking_peer_new(host->asking, &guest->link,
                                  guest->hello.node);
    return guest->peer == NULL ? -ENOMEM : 0;
}

static int hear_hello(struct guest *guest, const struct message *message)
{
    const struct guest_host *host = guest->host;
    struct body_welcome welcome = {.epoch = catalog_epoch(host->catalog)};
    char text[BODY_TEXT_MAX + 1] = "";
    enum body_reason reason;
    struct blob *blob;
    int rc = body_hello_decode(message->body, &guest->hello);

    if (rc < 0)
        return rc;
    reason = host->on_hello(host->context, guest, &guest->hello, text);
    if (reason != BODY_NONE) {
        guest_refuse(guest, reason, text);
        return 0;
    }
    rc = peer_make(guest, &welcome);
    if (rc < 0)
        return rc;
    welcome.version = guest->hello.version_max < MESSAGE_VERSION_MAX
                          ? guest->hello.version_max
                          : MESSAGE_VERSION_MAX;
    snprintf(welcome.node, sizeof welcome.node, "%s", host->identity->node);
    snprintf(welcome.region, sizeof welcome.region, "%s",
             host->identity->region);
    snprintf(welcome.advertise, sizeof welcome.advertise, "%s",
             host->identity->advertise);
    rc = body_welcome_encode(&welcome, &blob);
    if (rc < 0)
        return rc;
    guest->state = GUEST_HEARING;
    guest->registered = true;
    roster_connected(host->roster, guest->hello.node, 1, clock_now_ns());
    link_open(&guest->link);
    link_send(&guest->link, blob);
    log_info("replication.replica", "node=%s region=%s peer=%s",
             logger_quote(guest->hello.node), logger_quote(guest->hello.region),
             guest->link.peer);
    return 0;
}

static int hear_databases(struct guest *guest, const struct message *message)
{
    struct body_database replica;
    int rc;

    if (guest->state != GUEST_HEARING)
        return -EPROTO;
    if ((message->flags & MESSAGE_LAST) != 0) {
        hear_last(guest);
        return 0;
    }
    rc = body_database_decode(message->body, &replica);
    if (rc < 0)
        return rc;
    hear_database(guest, &replica);
    history_free(&replica.history); /* empty when it was taken over */
    return 0;
}

static int hear_ack(struct supply *supply, const struct message *message)
{
    struct body_ack ack;
    int rc = body_ack_decode(message->body, &ack);

    if (rc == 0)
        supply_ack(supply, &ack);
    return rc;
}

static int hear_credit(struct supply *supply, const struct message *message)
{
    uint32_t bytes;
    int rc = body_credit_decode(message->body, &bytes);

    if (rc == 0)
        supply_credit(supply, bytes);
    return rc;
}

static int hear_resync(struct supply *supply, const struct message *message)
{
    struct body_resync resync;
    int rc = body_resync_decode(message->body, &resync);

    if (rc < 0)
        return rc;
    log_warn("replication.resync", "database=%s peer=%s reason=%s",
             logger_quote(database_name(supply->database)), supply->link->peer,
             body_reason_name(resync.reason));
    supply_resync(supply, &resync);
    history_free(&resync.database.history);
    return 0;
}

static int hear_pulse(struct guest *guest, const struct message *message)
{
    struct pulse pulse;
    int rc = pulse_decode(message->body, &pulse);

    if (rc == 0)
        link_pulsed(&guest->link, &pulse);
    return rc;
}

static int hear_bye(struct guest *guest, const struct message *message)
{
    struct body_refuse bye;
    int rc = body_refuse_decode(message->body, &bye);

    if (rc == 0)
        link_close(&guest->link, 0);
    return rc;
}

/* Messages about a stream. */
static int hear_stream(struct guest *guest, const struct message *message)
{
    struct supply *supply;

    if (message->stream == 0 || message->stream > guest->streams_count)
        return -EPROTO;
    supply = guest->streams[message->stream - 1];
    if (supply == NULL)
        return 0; /* said before it heard of the DROP */
    if (message->type == MESSAGE_ACK)
        return hear_ack(supply, message);
    if (message->type == MESSAGE_CREDIT)
        return hear_credit(supply, message);
    if (message->type == MESSAGE_HASHES)
        return supply_hashes(supply, message->body,
                             (message->flags & MESSAGE_LAST) != 0);
    return hear_resync(supply, message);
}

static int guest_hear(struct guest *guest, const struct message *message)
{
    if (guest->state == GUEST_GREETING)
        return message->type == MESSAGE_HELLO ? hear_hello(guest, message)
                                              : -EPROTO;
    if (guest->peer != NULL && message->type != MESSAGE_HEARTBEAT &&
        message->type != MESSAGE_BYE)
        return asking_peer_hear(guest->peer, message);
    switch ((int)message->type) {
    case MESSAGE_DATABASE:
        return hear_databases(guest, message);
    case MESSAGE_ACK:
    case MESSAGE_CREDIT:
    case MESSAGE_HASHES:
    case MESSAGE_RESYNC:
        return hear_stream(guest, message);
    case MESSAGE_HEARTBEAT:
        return hear_pulse(guest, message);
    case MESSAGE_BYE:
        return hear_bye(guest, message);
    default:
        return -EPROTO; /* what only a primary says */
    }
}

static void guest_on_message(struct link *link, struct message *message)
{
    int rc = guest_hear(guest_of(link), message);

    blob_unref(message->body);
    if (rc < 0)
        link_close(link, rc);
}

/* ---- each second ----------------------------------------------------------*/

void guest_lag(const struct guest *guest, uint64_t now_ns, uint64_t *ret_lag_ns,
               uint64_t *ret_behind_txids)
{
    *ret_lag_ns = 0;
    *ret_behind_txids = 0;
    for (uint32_t i = 0; i < guest->streams_count; i++) {
        const struct supply *supply = guest->streams[i];
        uint64_t ns;

        if (supply == NULL || supply->feed.state == FEED_CLOSED)
            continue; /* dropped, or it does not follow that one */
        ns = lag_ns(&supply->lag, now_ns);
        *ret_lag_ns = ns > *ret_lag_ns ? ns : *ret_lag_ns;
        *ret_behind_txids += lag_txids(&supply->lag);
    }
}

static void guest_on_tick(struct link *link)
{
    struct guest *guest = guest_of(link);
    uint64_t now = clock_now_ns(), lag, behind;

    if (guest->state == GUEST_GREETING) {
        if (now - guest->since_ns < GUEST_HELLO_MS * NS_PER_MS)
            return;
        /* Now and then a byte keeps a link alive, and a session taken. */
        log_warn("replication.no_hello", "peer=%s", link->peer);
        link_close(link, -ETIMEDOUT);
        return;
    }
    /* First: one that tells what it has is never all of them by mistake. */
    catalog_replicas(guest->host->catalog,
                     (unsigned)guest->host->roster->count);
    for (uint32_t i = 0; i < guest->streams_count && !link->closing; i++)
        if (guest->streams[i] != NULL)
            supply_tick(guest->streams[i]);
    guest_lag(guest, now, &lag, &behind);
    roster_heard(guest->host->roster, guest->hello.node, link->heard_ns, lag,
                 behind);
    herald_say(guest);
}

static void guest_on_room(struct link *link)
{
    supply_room_share(&guest_of(link)->room, link);
}

/* ---- life -----------------------------------------------------------------*/

static void guest_on_closed(struct link *link, int error)
{
    struct guest *guest = guest_of(link);
    const struct guest_host *host = guest->host;

    for (uint32_t i = 0; i < guest->streams_count; i++)
        if (guest->streams[i] != NULL)
            supply_close(guest->streams[i]);
    if (guest->peer != NULL)
        asking_peer_lost(guest->peer);
    if (guest->registered) {
        roster_connected(host->roster, guest->hello.node, -1, clock_now_ns());
        log_info("replication.replica_gone", "node=%s peer=%s reason=%s",
                 logger_quote(guest->hello.node), link->peer,
                 logger_quote(error == 0 ? "closed" : strerror(-error)));
    }
    host->on_closed(host->context, guest);
    os_free(&guest->streams);
    lookup_free(&guest->by_database);
    os_free(&guest);
}

static const struct link_hooks guest_hooks = {
    .on_message = guest_on_message,
    .on_room = guest_on_room,
    .on_tick = guest_on_tick,
    .on_closed = guest_on_closed,
};

struct guest *guest_new(const struct guest_host *host)
{
    struct guest *guest;

    ASSERT_ON_LOOP();
    if (os_alloc(&guest, sizeof *guest, SITE_GUEST_ALLOC) < 0)
        return NULL;
    if (link_init(&guest->link, host->loop, &guest_hooks) < 0) {
        os_free(&guest);
        return NULL;
    }
    guest->host = host;
    guest->since_ns = clock_now_ns();
    list_init(&guest->among);
    supply_room_init(&guest->room);
    return guest;
}

void guest_start(struct guest *guest)
{
    int rc = link_start(&guest->link);

    if (rc < 0)
        link_close(&guest->link, rc);
}

static void say_and_close(struct guest *guest, enum message_type type,
                          enum body_reason reason, const char *text)
{
    struct blob *blob;

    if (body_refuse_encode(type, reason, text, &blob) == 0)
        link_send(&guest->link, blob);
    link_flush_and_close(&guest->link, 0);
}

void guest_refuse(struct guest *guest, enum body_reason reason,
                  const char *text)
{
    ASSERT_ON_LOOP();
    log_warn("replication.refused", "peer=%s reason=%s text=%s",
             guest->link.peer, body_reason_name(reason), logger_quote(text));
    say_and_close(guest, MESSAGE_REFUSE, reason, text);
}

void guest_end(struct guest *guest, enum body_reason reason, const char *text)
{
    ASSERT_ON_LOOP();
    say_and_close(guest, MESSAGE_BYE, reason, text);
}

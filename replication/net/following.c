/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/following.c - see following.h.
 *
 * A stream we do not want, or whose database was replaced meanwhile, keeps
 * its number with no channel behind it: what still arrives on it is thrown
 * away. So does one whose first OPEN cannot be read, or has a name that we
 * would not give to a file: one odd database stops none of the others. A
 * number never heard of in an OPEN ends the connection.
 */
#include "replication/net/following.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>

#define STREAMS_FIRST 16u

void following_init(struct following *following,
                    const struct client_config *config, struct link *link)
{
    *following = (struct following){.config = config, .link = link};
    lending_init(&following->lending, config->catalog, link);
}

void following_close(struct following *following)
{
    for (size_t i = 0; i < following->channels.count; i++)
        channel_free(following->channels.entries[i].value);
    lookup_free(&following->channels);
    os_free(&following->streams);
    os_free(&following->roster);
}

struct channel *following_channel(const struct following *following,
                                  const struct database *database)
{
    return lookup_find(&following->channels, database);
}

static struct channel *channel_at(const struct following *following, size_t i)
{
    return following->channels.entries[i].value;
}

/* ---- channels -------------------------------------------------------------*/

/* The channel of database, made when there is none; NULL: no memory. */
static struct channel *channel_for(struct following *following,
                                   struct database *database)
{
    struct channel *channel = following_channel(following, database);

    if (channel != NULL)
        return channel;
    channel = channel_new(database);
    if (channel != NULL &&
        lookup_add(&following->channels, database, channel) < 0) {
        channel_free(channel);
        channel = NULL;
    }
    return channel;
}

static void channel_forget(struct following *following, struct channel *channel)
{
    if (channel->stream != 0)
        following->streams[channel->stream - 1] = NULL;
    lookup_remove(&following->channels, channel->database);
    channel_free(channel);
}

static bool is_followed(const struct following *following,
                        struct database *database)
{
    struct database_view view;

    database_view(database, &view);
    return view.state != DATABASE_DROPPED &&
           following->config->follows(following->config->context,
                                      database_name(database));
}

/* A database that this node follows gets a channel; run by the catalog's
 * walk, which may not be left early: what fails shows in the count. */
struct roll {
    struct following *following;
    size_t missed;
};

static void roll_call(void *context, struct database *database)
{
    struct roll *roll = context;

    if (is_followed(roll->following, database) &&
        channel_for(roll->following, database) == NULL)
        roll->missed++;
}

int following_prepare(struct following *following, epoch_t *ret_epoch)
{
    struct catalog *catalog = following->config->catalog;
    struct roll roll = {.following = following};
    epoch_t epoch = catalog_epoch(catalog);

    catalog_each(catalog, roll_call, &roll);
    if (roll.missed > 0)
        return -ENOMEM;
    for (size_t i = 0; i < following->channels.count; i++)
        if (channel_at(following, i)->follow.epoch > epoch)
            epoch = channel_at(following, i)->follow.epoch;
    *ret_epoch = epoch;
    return 0;
}

int following_begin(struct following *following)
{
    struct blob *blob;
    int rc;

    following->up = true;
    for (size_t i = 0; i < following->channels.count; i++) {
        rc = channel_tell(channel_at(following, i), &blob);
        if (rc < 0)
            return rc;
        link_send(following->link, blob);
    }
    link_send_empty(following->link, MESSAGE_DATABASE, MESSAGE_LAST);
    return 0;
}

/* ---- streams --------------------------------------------------------------*/

static int streams_reach(struct following *following, uint32_t stream)
{
    uint32_t capacity = following->streams_capacity == 0
                            ? STREAMS_FIRST
                            : following->streams_capacity;
    struct channel **grown;
    int rc;

    if (stream == 0 || stream > FOLLOWING_STREAMS_MAX)
        return -EPROTO;
    while (capacity < stream)
        capacity *= 2;
    if (capacity > following->streams_capacity) {
        rc = os_alloc(&grown, capacity * sizeof(void *), SITE_CHANNEL_ALLOC);
        if (rc < 0)
            return rc;
        if (following->streams_count > 0)
            memcpy(grown, following->streams,
                   following->streams_count * sizeof(void *));
        os_free(&following->streams);
        following->streams = grown;
        following->streams_capacity = capacity;
    }
    while (following->streams_count < stream)
        following->streams[following->streams_count++] = NULL;
    return 0;
}

/* Tells the primary to spare itself the bytes. */
static int decline(struct following *following, uint32_t stream,
                   const struct body_open *open)
{
    struct body_resync resync = {.reason = BODY_UNWANTED,
                                 .serial = open->serial};
    struct blob *blob;
    int rc;

    resync.database.lineage = open->lineage;
    memcpy(resync.database.name, open->name, sizeof open->name);
    rc = body_resync_encode(stream, &resync, &blob);
    if (rc == 0)
        link_send(following->link, blob);
    return rc;
}

/* The first OPEN of a stream: which database is it? */
static int stream_bind(struct following *following, uint32_t stream,
                       const struct body_open *open)
{
    const struct client_config *config = following->config;
    struct database *database;
    struct channel *channel;
    int rc = catalog_follow(config->catalog, open->name, &open->lineage,
                            &database);

    if (rc < 0) {
        log_error("replication.follow", "database=%s error=%s",
                  logger_quote(open->name), logger_quote(strerror(-rc)));
        return rc;
    }
    channel = channel_for(following, database);
    database_unref(database);
    if (channel == NULL)
        return -ENOMEM;
    if (channel->stream != 0)
        return -EPROTO; /* one database, two streams */
    following->streams[stream - 1] = channel;
    return 0;
}

static int open_stream(struct following *following, uint32_t stream,
                       const struct body_open *open)
{
    const struct client_config *config = following->config;
    struct channel *channel;
    int rc = streams_reach(following, stream);

    if (rc < 0)
        return rc;
    if (!config->follows(config->context, open->name))
        return decline(following, stream, open);
    if (following->streams[stream - 1] == NULL)
        rc = stream_bind(following, stream, open);
    if (rc < 0)
        return rc;
    channel = following->streams[stream - 1];
    if (!lineage_is_equal(&channel->view.lineage, &open->lineage))
        return -EPROTO; /* a stream is one database, as long as it lasts */
    channel_open(channel, following->link, stream, open);
    return 0;
}

/* A stream that we take no part in, unless we do already. */
static int open_unreadable(struct following *following, uint32_t stream)
{
    int rc = streams_reach(following, stream);

    if (rc < 0)
        return rc;
    if (following->streams[stream - 1] != NULL)
        return -EBADMSG;
    log_error("replication.unreadable",
              "stream=%u peer=%s text=\"a database of the primary is not "
              "followed: its OPEN cannot be read, or names no file\"",
              stream, following->link->peer);
    return 0;
}

static int hear_open(struct following *following, const struct message *message)
{
    struct body_open open;
    int rc = body_open_decode(message->body, &open);

    if (rc == -EBADMSG)
        return open_unreadable(following, message->stream);
    if (rc < 0)
        return rc;
    rc = open_stream(following, message->stream, &open);
    history_free(&open.history);
    return rc;
}

static int hear_copied(struct channel *channel, const struct message *message)
{
    struct position position;
    int rc = body_copied_decode(message->body, &position);

    if (rc == 0)
        channel_copied(channel, &position);
    return rc;
}

static int hear_attr(struct channel *channel, const struct message *message)
{
    struct body_attr attr;
    int rc = body_attr_decode(message->body, &attr);

    if (rc == 0)
        channel_attr(channel, &attr);
    return rc;
}

static int hear_stream(struct following *following,
                       const struct message *message)
{
    struct channel *channel;

    if (message->stream == 0 || message->stream > following->streams_count)
        return -EPROTO;
    channel = following->streams[message->stream - 1];
    if (channel == NULL)
        return 0;
    if (message->type == MESSAGE_COPIED)
        return hear_copied(channel, message);
    if (message->type == MESSAGE_ATTR)
        return hear_attr(channel, message);
    if (message->body == NULL)
        return -EBADMSG;
    if (message->type == MESSAGE_SAME)
        channel_same(channel, blob_ref(message->body));
    else
        channel_record(channel, blob_ref(message->body),
                       message->type == MESSAGE_CHUNK);
    return 0;
}

/* By lineage alone: a database of the same name may be another one by now. */
static int hear_drop(struct following *following, const struct message *message)
{
    struct database *database;
    struct channel *channel;
    struct body_drop drop;
    int rc = body_drop_decode(message->body, &drop);

    if (rc < 0)
        return rc;
    database = catalog_find_lineage(following->config->catalog, &drop.lineage);
    if (database == NULL)
        return 0;
    channel = following_channel(following, database);
    if (channel != NULL)
        channel_drop(channel);
    database_unref(database);
    return 0;
}

/* ---- heartbeats -----------------------------------------------------------*/

static int hear_pulse(struct following *following,
                      const struct message *message)
{
    uint64_t now = clock_now_ns();
    struct pulse pulse;
    uint32_t stream;
    txid_t txid;
    int rc = pulse_decode(message->body, &pulse);

    if (rc < 0)
        return rc;
    link_pulsed(following->link, &pulse);
    for (uint32_t i = 0; i < pulse.count; i++) {
        pulse_stream(&pulse, i, &stream, &txid);
        if (stream > following->streams_count)
            return -EPROTO;
        if (following->streams[stream - 1] != NULL)
            channel_pulse(following->streams[stream - 1], txid, now);
    }
    if (pulse.count == PULSE_STREAMS_MAX)
        return 0; /* there may be more that moved and were not told yet */
    for (uint32_t i = 0; i < following->streams_count; i++)
        if (following->streams[i] != NULL)
            channel_pulse(following->streams[i], 0, now);
    return 0;
}

static int hear_roster(struct following *following,
                       const struct message *message)
{
    const struct client_config *config = following->config;
    int rc = 0;

    if (following->roster == NULL)
        rc = os_alloc(&following->roster,
                      PULSE_NODES_MAX * sizeof *following->roster,
                      SITE_CHANNEL_ALLOC);
    if (rc < 0)
        return rc;
    rc = pulse_roster_decode(message->body, following->roster,
                             &following->roster_count);
    if (rc < 0)
        following->roster_count = 0;
    else if (config->on_changed != NULL)
        config->on_changed(config->context);
    return rc;
}

void following_tick(struct following *following)
{
    struct pack_writer writer;
    struct pulse pulse;
    struct blob *blob;

    for (size_t i = 0; i < following->channels.count; i++)
        channel_tick(channel_at(following, i));
    lending_tick(&following->lending);
    link_pulse(following->link, &pulse);
    pulse_begin(&writer, &pulse, 0);
    if (pack_finish(&writer, &blob) < 0)
        link_close(following->link, -ENOMEM);
    else
        link_send(following->link, blob);
}

/* ---- what happens ---------------------------------------------------------*/

int following_hear(struct following *following, const struct message *message)
{
    switch ((int)message->type) {
    case MESSAGE_OPEN:
        return hear_open(following, message);
    case MESSAGE_RECORD:
    case MESSAGE_CHUNK:
    case MESSAGE_SAME:
    case MESSAGE_COPIED:
    case MESSAGE_ATTR:
        return hear_stream(following, message);
    case MESSAGE_HEARTBEAT:
        return hear_pulse(following, message);
    case MESSAGE_ROSTER:
        return hear_roster(following, message);
    case MESSAGE_DROP:
        return hear_drop(following, message);
    case MESSAGE_DATABASE: /* it asks */
    case MESSAGE_ACK:
    case MESSAGE_CREDIT:
    case MESSAGE_RESYNC:
        return lending_hear(&following->lending, message);
    default:
        return -EPROTO; /* what only a replica says */
    }
}

void following_room(struct following *following)
{
    lending_room(&following->lending);
}

void following_changed(struct following *following, struct database *database)
{
    struct channel *channel = following_channel(following, database);

    lending_changed(&following->lending, database);
    if (channel == NULL)
        return;
    channel_changed(channel);
    if (channel->view.state == DATABASE_DROPPED)
        channel_forget(following, channel);
}

void following_part(struct following *following, enum body_reason reason,
                    const char *text)
{
    struct blob *blob;

    snprintf(following->parting, sizeof following->parting, "%s: %s",
             body_reason_name(reason), text);
    if (body_refuse_encode(MESSAGE_BYE, reason, text, &blob) == 0)
        link_send(following->link, blob);
    link_flush_and_close(following->link, 0);
}

void following_lost(struct following *following)
{
    if (!following->up)
        return;
    following->up = false;
    lending_close(&following->lending);
    for (size_t i = 0; i < following->channels.count; i++)
        channel_lost(channel_at(following, i));
    following->streams_count = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/lending.c - see lending.h. A database that is not here, or
 * is another one, is not lent: the primary goes on without after a while.
 */
#include "replication/net/lending.h"

#include "base/assert.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>

#define STREAMS_FIRST 16u

void lending_init(struct lending *lending, struct catalog *catalog,
                  struct link *link)
{
    *lending = (struct lending){.catalog = catalog, .link = link};
    supply_room_init(&lending->room);
}

void lending_close(struct lending *lending)
{
    for (uint32_t i = 0; i < lending->count; i++)
        supply_close(lending->streams[i]);
    os_free(&lending->streams);
    lending_init(lending, lending->catalog, lending->link);
}

static int streams_grow(struct lending *lending)
{
    uint32_t capacity = lending->capacity == 0 ? STREAMS_FIRST
                                               : lending->capacity * 2;
    struct supply **grown;
    int rc;

    if (lending->count == LENDING_STREAMS_MAX)
        return -ENOBUFS;
    if (lending->count < lending->capacity)
        return 0;
    rc = os_alloc(&grown, capacity * sizeof(void *), SITE_LENDING_ALLOC);
    if (rc < 0)
        return rc;
    if (lending->count > 0)
        memcpy(grown, lending->streams, lending->count * sizeof(void *));
    os_free(&lending->streams);
    lending->streams = grown;
    lending->capacity = capacity;
    return 0;
}

static int lend(struct lending *lending, struct database *database,
                struct body_database *primary)
{
    struct supply *supply;
    int rc = streams_grow(lending);

    if (rc < 0)
        return rc;
    supply = supply_new(database, lending->link, lending->count + 1,
                        &lending->room);
    if (supply == NULL)
        return -ENOMEM;
    supply->lends = true;
    lending->streams[lending->count++] = supply;
    log_info("replication.asked", "database=%s peer=%s txid=%llu",
             logger_quote(primary->name), lending->link->peer,
             (unsigned long long)primary->received_txid);
    supply_hear(supply, primary);
    return 0;
}

static int hear_database(struct lending *lending, const struct message *message)
{
    struct body_database primary;
    struct database *database;
    int rc = message->body == NULL
                 ? -EPROTO
                 : body_database_decode(message->body, &primary);

    if (rc < 0)
        return rc;
    database = catalog_find_lineage(lending->catalog, &primary.lineage);
    if (database != NULL)
        rc = lend(lending, database, &primary);
    database_unref(database);
    history_free(&primary.history); /* empty when it was taken over */
    return rc;
}

static int hear_stream(struct supply *supply, const struct message *message)
{
    struct body_resync resync;
    struct body_ack ack;
    uint32_t bytes;
    int rc;

    if (message->type == MESSAGE_ACK) {
        rc = body_ack_decode(message->body, &ack);
        if (rc == 0)
            supply_ack(supply, &ack);
    } else if (message->type == MESSAGE_CREDIT) {
        rc = body_credit_decode(message->body, &bytes);
        if (rc == 0)
            supply_credit(supply, bytes);
    } else {
        rc = body_resync_decode(message->body, &resync);
        if (rc < 0)
            return rc;
        supply_resync(supply, &resync);
        history_free(&resync.database.history);
    }
    return rc;
}

int lending_hear(struct lending *lending, const struct message *message)
{
    ASSERT_ON_LOOP();
    if (message->type == MESSAGE_DATABASE)
        return hear_database(lending, message);
    if (message->stream == 0 || message->stream > lending->count)
        return -EPROTO;
    return hear_stream(lending->streams[message->stream - 1], message);
}

void lending_changed(struct lending *lending, struct database *database)
{
    for (uint32_t i = 0; i < lending->count; i++)
        if (lending->streams[i]->database == database)
            supply_changed(lending->streams[i]);
}

void lending_tick(struct lending *lending)
{
    for (uint32_t i = 0; i < lending->count; i++)
        supply_tick(lending->streams[i]);
}

void lending_room(struct lending *lending)
{
    supply_room_share(&lending->room, lending->link);
}

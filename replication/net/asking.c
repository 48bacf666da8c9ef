/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/asking.c - see asking.h.
 *
 *   told (a replica has more) -> fetch.h -> position moved -> told again?
 *
 * A replica that says nothing for as long as the timeout is done with. The
 * same replica is not asked for that database again.
 */
#include "replication/net/asking.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/core/ask.h"
#include "replication/net/fetch.h"
#include "replication/net/lookup.h"

#include <errno.h>
#include <stdio.h>

#define TICK_MS 1000u

/* A replica has more of one database, or one that is not here. */
struct told {
    struct list link;          /* in peer->told */
    struct database *database; /* a reference; NULL: we have none of it */
    struct body_database has;  /* history owned */
};

struct asking_peer {
    struct list link; /* in asking->peers */
    struct asking *asking;
    struct link *connection;
    char node[BODY_ID_MAX + 1];
    bool listed; /* it has said LAST */
    struct list told;
};

struct asking {
    struct asking_config config;
    uv_timer_t timer;
    uint64_t until_ns;
    struct list peers, fetches;
    char (*heard)[BODY_ID_MAX + 1]; /* nodes that said all they have */
    size_t heard_count;
    bool all_told; /* whoever is going to be heard was: what is not here at all
                      is made as the one has it who knows best */
    bool over, closing, timer_closed;
};

static void asking_step(struct asking *asking);
static void consider_name(struct asking *asking, const char *name);
static void asking_finish(struct asking *asking);

/* ---- who has been heard ---------------------------------------------------*/

static bool was_heard(const struct asking *asking, const char *node)
{
    for (size_t i = 0; i < asking->heard_count; i++)
        if (strcmp(asking->heard[i], node) == 0)
            return true;
    return false;
}

static void hear_node(struct asking *asking, const char *node)
{
    if (was_heard(asking, node) || asking->heard_count == PULSE_NODES_MAX)
        return;
    snprintf(asking->heard[asking->heard_count++], sizeof *asking->heard, "%s",
             node);
}

uint64_t asking_waits_for(const struct asking *asking,
                          char ret_names[ASKING_NAMES_BYTES])
{
    const struct roster *roster = asking->config.roster;
    uint64_t now = clock_now_ns();
    size_t used = 0;

    ret_names[0] = '\0';
    if (asking->config.anybody && now < asking->until_ns)
        snprintf(ret_names, ASKING_NAMES_BYTES, "any replica");
    for (size_t i = 0; !asking->config.anybody && i < roster->count &&
                       used < ASKING_NAMES_BYTES;
         i++)
        if (!was_heard(asking, roster->entries[i].node))
            used += (size_t)snprintf(
                ret_names + used, ASKING_NAMES_BYTES - used, "%s%s",
                used == 0 ? "" : ", ", roster->entries[i].node);
    return now >= asking->until_ns ? 0 : (asking->until_ns - now) / NS_PER_S;
}

static bool all_heard(const struct asking *asking)
{
    char names[ASKING_NAMES_BYTES];

    (void)asking_waits_for(asking, names);
    return names[0] == '\0'; /* of anybody: when time is up */
}

/* ---- what replicas have ---------------------------------------------------*/

static void told_free(struct told *told)
{
    list_remove(&told->link);
    database_unref(told->database);
    history_free(&told->has.history);
    os_free(&told);
}

static enum ask_answer judge(struct database *database,
                             const struct body_database *has)
{
    struct history history = {0};
    struct database_view view;
    enum ask_answer answer = ASK_NOTHING;

    database_view(database, &view);
    if (database_history(database, &history) == 0)
        answer = ask_judge(&view.lineage, &view.position, &history, has);
    history_free(&history);
    return answer;
}

static void tell_unfetched(const struct asking_peer *peer,
                           const struct body_database *has, const char *why)
{
    log_error("replication.not_fetched",
              "database=%s node=%s txid=%llu reason=%s",
              logger_quote(has->name), logger_quote(peer->node),
              (unsigned long long)has->received_txid, logger_quote(why));
}

static bool has_told(struct asking_peer *peer, const struct lineage *lineage)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &peer->told)
    if (lineage_is_equal(&LIST_ENTRY(link, struct told, link)->has.lineage,
                         lineage))
        return true;
    return false;
}

/* Do we want what a replica has of database (NULL: it is not here)? */
static bool is_wanted(struct asking *asking, struct database *database,
                      const struct body_database *has)
{
    if (database != NULL)
        return judge(database, has) == ASK_MORE;
    return has->received_txid > 0 &&
           catalog_may_fetch(asking->config.catalog, has->name, &has->lineage);
}

/* Takes over has->history, when it keeps it. */
static int told_keep(struct asking_peer *peer, struct database *database,
                     struct body_database *has)
{
    struct told *told;
    int rc;

    if (has_told(peer, &has->lineage))
        return -EPROTO; /* once is enough for a list */
    rc = os_alloc(&told, sizeof *told, SITE_ASKING_ALLOC);
    if (rc < 0)
        return rc;
    told->database = database == NULL ? NULL : database_ref(database);
    told->has = *has;
    has->history = (struct history){0};
    list_push_back(&peer->told, &told->link);
    return 0;
}

static int hear_database(struct asking_peer *peer,
                         const struct message *message)
{
    struct asking *asking = peer->asking;
    struct body_database has;
    struct database *database;
    int rc = body_database_decode(message->body, &has);

    if (rc < 0)
        return rc;
    database = catalog_find_lineage(asking->config.catalog, &has.lineage);
    if (!is_wanted(asking, database, &has)) {
        /* Nothing we lack. */
    } else if (database != NULL && !database_is_explained(database)) {
        tell_unfetched(peer, &has,
                       "the replica has more, but here its log or its page "
                       "hashes are damaged, or programs have it open");
    } else {
        rc = told_keep(peer, database, &has);
    }
    database_unref(database);
    history_free(&has.history);
    return rc;
}

/* ---- fetching -------------------------------------------------------------*/

static struct fetch *fetch_of(struct asking *asking,
                              const struct database *database)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (fetch->channel->database == database)
            return fetch;
    }
    return NULL;
}

/* That which keeps this from being fetched now: its own, or its name's. */
static bool is_fetching(struct asking *asking, const struct told *told)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &asking->fetches)
    {
        struct database *database =
            LIST_ENTRY(link, struct fetch, link)->channel->database;

        if (database == told->database ||
            strcmp(database_name(database), told->has.name) == 0)
            return true;
    }
    return false;
}

static void on_end(struct fetch *fetch)
{
    struct asking *asking = fetch->context;
    struct database *database = database_ref(fetch->channel->database);

    list_remove(&fetch->link);
    fetch_free(fetch);
    consider_name(asking, database_name(database));
    database_unref(database);
    asking_step(asking);
    asking_finish(asking);
}

/* The database that is to get what peer told. */
static int fetch_target(struct asking_peer *peer, const struct told *told,
                        struct database **ret_database)
{
    if (told->database == NULL)
        return catalog_fetch(peer->asking->config.catalog, told->has.name,
                             &told->has.lineage, ret_database);
    *ret_database = database_ref(told->database);
    return 0;
}

static int fetch_told(struct asking_peer *peer, const struct told *told)
{
    struct database *database;
    struct fetch *fetch;
    int rc = fetch_target(peer, told, &database);

    if (rc < 0)
        return rc;
    fetch = fetch_new(database, told->has.received_txid,
                      told->database == NULL);
    database_unref(database);
    if (fetch == NULL)
        return -ENOMEM;
    fetch->context = peer->asking;
    fetch->on_end = on_end;
    list_push_back(&peer->asking->fetches, &fetch->link);
    log_warn("replication.fetch", "database=%s node=%s ours=%llu theirs=%llu",
             logger_quote(told->has.name), logger_quote(peer->node),
             (unsigned long long)fetch->channel->view.position.txid,
             (unsigned long long)fetch->until);
    fetch_begin(fetch, peer->connection);
    return 0;
}

/* Two replicas have something under the same name: of one database, or of two
 * of which we have neither. */
static bool is_rival(const struct told *told, const struct told *other)
{
    return told->database == other->database &&
           strcmp(told->has.name, other->has.name) == 0;
}

/* Nobody has it better, of those that have said all they have. */
static bool is_best(struct asking *asking, const struct told *told)
{
    struct list *peers, *next, *link, *safe;

    LIST_EACH(peers, next, &asking->peers)
    {
        struct asking_peer *peer = LIST_ENTRY(peers, struct asking_peer, link);

        /* One that stalls in its list has its turn when that is over. */
        LIST_EACH(link, safe, &peer->told)
        {
            struct told *other = LIST_ENTRY(link, struct told, link);

            if (peer->listed && is_rival(told, other) &&
                ask_is_better(&other->has, &told->has))
                return false;
        }
    }
    return true;
}

/* Takes up what peer told, if it is its turn; asked once. */
static void consider(struct asking_peer *peer, struct told *told)
{
    struct asking *asking = peer->asking;
    int rc;

    if (told->database == NULL) /* it may have come from another by now */
        told->database = catalog_find_lineage(asking->config.catalog,
                                              &told->has.lineage);
    if ((told->database == NULL && !asking->all_told) ||
        is_fetching(asking, told))
        return;
    if (!is_wanted(asking, told->database, &told->has)) {
        told_free(told);
        return;
    }
    if (!is_best(asking, told))
        return; /* its turn comes after that one's */
    rc = fetch_told(peer, told);
    if (rc < 0)
        tell_unfetched(peer, &told->has, strerror(-rc));
    told_free(told);
}

/* All that was told under name; NULL: all that was told. */
static void consider_name(struct asking *asking, const char *name)
{
    struct list *peers, *next, *link, *safe;

    if (asking->over || asking->closing)
        return;
    LIST_EACH(peers, next, &asking->peers)
    {
        struct asking_peer *peer = LIST_ENTRY(peers, struct asking_peer, link);

        LIST_EACH(link, safe, &peer->told)
        {
            struct told *told = LIST_ENTRY(link, struct told, link);

            if (peer->listed &&
                (name == NULL || strcmp(told->has.name, name) == 0))
                consider(peer, told);
        }
    }
}

static void asking_over(struct asking *asking)
{
    char names[ASKING_NAMES_BYTES];

    (void)asking_waits_for(asking, names);
    if (names[0] != '\0')
        log_warn("replication.not_asked", "nodes=%s text=%s",
                 logger_quote(names),
                 logger_quote("not heard from in time; what they alone have is "
                              "replaced when they come"));
    asking->over = true;
    uv_timer_stop(&asking->timer);
    asking->config.on_over(asking->config.context);
}

static void asking_step(struct asking *asking)
{
    if (asking->over || asking->closing)
        return;
    if (!asking->all_told &&
        (all_heard(asking) || clock_now_ns() >= asking->until_ns)) {
        asking->all_told = true;
        consider_name(asking, NULL);
    }
    if (asking->all_told && list_is_empty(&asking->fetches))
        asking_over(asking);
}

/* ---- streams --------------------------------------------------------------*/

/* The one on that stream of peer; or, 0, one that waits for an OPEN: lineage's.
 */
static struct fetch *fetch_on(const struct asking_peer *peer, uint32_t stream,
                              const struct lineage *lineage)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &peer->asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (fetch->peer == peer->connection && fetch->stream == stream &&
            (stream != 0 ||
             lineage_is_equal(&fetch->channel->view.lineage, lineage)))
            return fetch;
    }
    return NULL;
}

static int hear_open(struct asking_peer *peer, const struct message *message)
{
    struct fetch *fetch = NULL;
    struct body_open open;
    int rc = body_open_decode(message->body, &open);

    if (rc < 0)
        return rc;
    if (message->stream != 0)
        fetch = fetch_on(peer, message->stream, NULL);
    if (fetch == NULL && message->stream != 0) /* the first on its stream */
        fetch = fetch_on(peer, 0, &open.lineage);
    if (fetch != NULL)
        fetch_open(fetch, message->stream, &open);
    history_free(&open.history);
    return 0;
}

static int hear_stream(struct asking_peer *peer, const struct message *message)
{
    struct fetch *fetch = message->stream == 0
                              ? NULL
                              : fetch_on(peer, message->stream, NULL);

    /* None: it is done, and the replica goes on. */
    return fetch == NULL ? 0 : fetch_hear(fetch, message);
}

/* It has said all that it has. */
static void hear_last(struct asking_peer *peer)
{
    struct list *link, *safe;

    peer->listed = true;
    hear_node(peer->asking, peer->node);
    LIST_EACH(link, safe, &peer->told)
    {
        consider(peer, LIST_ENTRY(link, struct told, link));
    }
    asking_step(peer->asking);
}

int asking_peer_hear(struct asking_peer *peer, const struct message *message)
{
    ASSERT_ON_LOOP();
    if (peer->asking->over || peer->asking->closing)
        return 0;
    switch ((int)message->type) {
    case MESSAGE_DATABASE:
        if (peer->listed)
            return -EPROTO;
        if ((message->flags & MESSAGE_LAST) == 0)
            return hear_database(peer, message);
        hear_last(peer);
        return 0;
    case MESSAGE_OPEN:
        return hear_open(peer, message);
    case MESSAGE_RECORD:
    case MESSAGE_CHUNK:
    case MESSAGE_COPIED:
    case MESSAGE_ATTR:
        return hear_stream(peer, message);
    default:
        return -EPROTO;
    }
}

void asking_changed(struct asking *asking, struct database *database)
{
    struct fetch *fetch = fetch_of(asking, database);

    if (fetch != NULL)
        fetch_changed(fetch);
}

static void asking_on_tick(uv_timer_t *timer)
{
    struct asking *asking = CONTAINER_OF(timer, struct asking, timer);
    uint64_t patience = asking->config.timeout_ms * NS_PER_MS;
    struct list *link, *safe;

    LIST_EACH(link, safe, &asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (clock_now_ns() - fetch->moved_ns > patience)
            fetch_end(fetch);
    }
    asking_step(asking);
}

/* ---- life -----------------------------------------------------------------*/

struct asking_peer *asking_peer_new(struct asking *asking, struct link *link,
                                    const char *node)
{
    struct asking_peer *peer;

    ASSERT_ON_LOOP();
    if (os_alloc(&peer, sizeof *peer, SITE_ASKING_ALLOC) < 0)
        return NULL;
    peer->asking = asking;
    peer->connection = link;
    list_init(&peer->told);
    snprintf(peer->node, sizeof peer->node, "%s", node);
    list_push_back(&asking->peers, &peer->link);
    return peer;
}

static void asking_finish(struct asking *asking)
{
    if (!asking->closing || !asking->timer_closed ||
        !list_is_empty(&asking->peers) || !list_is_empty(&asking->fetches))
        return;
    os_free(&asking->heard);
    os_free(&asking);
}

void asking_peer_lost(struct asking_peer *peer)
{
    struct asking *asking = peer->asking;
    struct list *link, *safe;

    LIST_EACH(link, safe, &asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (fetch->peer == peer->connection)
            fetch_end(fetch);
    }
    LIST_EACH(link, safe, &peer->told)
    {
        told_free(LIST_ENTRY(link, struct told, link));
    }
    list_remove(&peer->link);
    os_free(&peer);
    asking_step(asking);
    asking_finish(asking);
}

int asking_open(struct asking **ret_asking, const struct asking_config *config)
{
    struct asking *asking;
    int rc = os_alloc(&asking, sizeof *asking, SITE_ASKING_ALLOC);

    ASSERT_ON_LOOP();
    if (rc == 0)
        rc = os_alloc(&asking->heard, PULSE_NODES_MAX * sizeof *asking->heard,
                      SITE_ASKING_ALLOC);
    if (rc < 0) {
        os_free(&asking);
        return rc;
    }
    asking->config = *config;
    asking->until_ns = clock_now_ns() + config->timeout_ms * NS_PER_MS;
    list_init(&asking->peers);
    list_init(&asking->fetches);
    rc = uv_timer_init(config->loop, &asking->timer);
    ASSERT(rc == 0);
    rc = uv_timer_start(&asking->timer, asking_on_tick, TICK_MS, TICK_MS);
    ASSERT(rc == 0);
    *ret_asking = asking;
    return 0;
}

static void asking_on_timer_closed(uv_handle_t *handle)
{
    struct asking *asking = CONTAINER_OF((uv_timer_t *)(void *)handle,
                                         struct asking, timer);

    asking->timer_closed = true;
    asking_finish(asking);
}

void asking_close(struct asking *asking)
{
    struct list *link, *safe;

    ASSERT_ON_LOOP();
    asking->closing = true;
    uv_close((uv_handle_t *)&asking->timer, asking_on_timer_closed);
    LIST_EACH(link, safe, &asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (!fetch->grafting) {
            list_remove(&fetch->link);
            fetch_free(fetch);
        }
    }
}

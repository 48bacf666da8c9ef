/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/asking.c - see asking.h.
 *
 *   told (a replica has more) -> fetch -> all received, or cannot go on
 *     -> DATABASE_GRAFT on the worker -> position moved -> told again?
 *
 * Whatever goes wrong ends the fetch with what arrived in order: a connection
 * that is lost, a replica whose log no longer reaches back (it says NOTHING),
 * one that says nothing for as long as the timeout, a record that does not
 * fit. The same replica is not asked for that database again.
 */
#include "replication/net/asking.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "replication/core/ask.h"
#include "replication/net/channel.h"
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

struct fetch {
    struct list link; /* in asking->fetches */
    struct asking *asking;
    struct asking_peer *peer; /* NULL: gone, or done with */
    struct channel *channel;
    uint32_t stream; /* the replica's; 0: it has not opened it */
    txid_t until;    /* received up to here it is done */
    bool whole;      /* the database was not here */
    uint64_t moved_ns;
    bool grafting; /* request is out */
    struct database_request request;
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

static void fetch_free(struct fetch *fetch)
{
    list_remove(&fetch->link);
    channel_free(fetch->channel);
    os_free(&fetch);
}

static void on_grafted(struct database_request *request)
{
    struct fetch *fetch = CONTAINER_OF(request, struct fetch, request);
    struct asking *asking = fetch->asking;
    struct database *database = database_ref(fetch->channel->database);

    ASSERT_ON_LOOP();
    if (request->rc < 0 && fetch->whole)
        log_error("replication.not_fetched", "database=%s txid=%llu reason=%s",
                  logger_quote(database_name(database)),
                  (unsigned long long)fetch->until,
                  logger_quote("not all of it came, or it could not be put in "
                               "its place; the replica keeps it"));
    fetch_free(fetch);
    consider_name(asking, database_name(database));
    database_unref(database);
    asking_step(asking);
    asking_finish(asking);
}

/* What arrived becomes the content. */
static void fetch_end(struct fetch *fetch)
{
    if (fetch->grafting)
        return;
    if (fetch->channel->link != NULL)
        channel_lost(fetch->channel);
    fetch->peer = NULL;
    fetch->grafting = true;
    fetch->request = (struct database_request){
        .kind = DATABASE_GRAFT, .on_done = on_grafted, .txid = fetch->until};
    database_submit(fetch->channel->database, &fetch->request);
}

/* A fetch of database, which it has a reference of; told nothing yet. */
static struct fetch *fetch_new(struct asking_peer *peer,
                               const struct told *told,
                               struct database *database)
{
    struct fetch *fetch;

    if (os_alloc(&fetch, sizeof *fetch, SITE_ASKING_ALLOC) < 0)
        return NULL;
    fetch->asking = peer->asking;
    fetch->peer = peer;
    fetch->until = told->has.received_txid;
    fetch->whole = told->database == NULL;
    fetch->moved_ns = clock_now_ns();
    fetch->channel = channel_new(database);
    if (fetch->channel == NULL) {
        os_free(&fetch);
        return NULL;
    }
    list_push_back(&peer->asking->fetches, &fetch->link);
    return fetch;
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

/* What fails from here on ends it, as anything later would. */
static int fetch_begin(struct asking_peer *peer, const struct told *told)
{
    struct database *database;
    struct fetch *fetch;
    struct blob *blob;
    int rc = fetch_target(peer, told, &database);

    if (rc < 0)
        return rc;
    fetch = fetch_new(peer, told, database);
    database_unref(database);
    if (fetch == NULL)
        return -ENOMEM;
    log_warn("replication.fetch", "database=%s node=%s ours=%llu theirs=%llu",
             logger_quote(told->has.name), logger_quote(peer->node),
             (unsigned long long)fetch->channel->view.position.txid,
             (unsigned long long)fetch->until);
    rc = channel_tell(fetch->channel, &blob);
    if (rc == 0)
        link_send(peer->connection, blob);
    else
        fetch_end(fetch);
    return 0;
}

/* Two replicas have something under the same name: of one database, or of two
 * of which we have neither. The newer epoch says who knows best: what an older
 * one has beyond it was replaced while it was away. */
static bool is_better(const struct told *told, const struct told *than)
{
    epoch_t ours = history_epoch_of(&told->has.history,
                                    told->has.received_txid);
    epoch_t theirs = history_epoch_of(&than->has.history,
                                      than->has.received_txid);

    if (ours != theirs)
        return ours > theirs;
    return told->has.received_txid > than->has.received_txid;
}

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

            if (peer->listed && is_rival(told, other) && is_better(other, told))
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
    rc = fetch_begin(peer, told);
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

static struct fetch *fetch_on(const struct asking_peer *peer, uint32_t stream)
{
    struct list *link, *safe;

    LIST_EACH(link, safe, &peer->asking->fetches)
    {
        struct fetch *fetch = LIST_ENTRY(link, struct fetch, link);

        if (fetch->peer == peer && fetch->stream == stream)
            return fetch;
    }
    return NULL;
}

/* The fetch that waits for this OPEN, the first on its stream or another. */
static struct fetch *fetch_opened(const struct asking_peer *peer,
                                  uint32_t stream, const struct body_open *open)
{
    struct fetch *fetch = fetch_on(peer, stream);
    struct list *link, *safe;

    if (fetch != NULL)
        return fetch;
    LIST_EACH(link, safe, &peer->asking->fetches)
    {
        fetch = LIST_ENTRY(link, struct fetch, link);
        if (fetch->peer == peer && fetch->stream == 0 &&
            lineage_is_equal(&fetch->channel->view.lineage, &open->lineage))
            return fetch;
    }
    return NULL;
}

/* Records that follow what is here; of what is not here, all of it. */
static bool is_of_use(const struct fetch *fetch, const struct body_open *open)
{
    return open->mode == BODY_RESUME ||
           (fetch->whole && open->mode == BODY_SNAPSHOT);
}

static void open_fetch(struct asking_peer *peer, struct fetch *fetch,
                       uint32_t stream, const struct body_open *open)
{
    struct body_database has = {.received_txid = fetch->until};

    fetch->stream = stream;
    fetch->moved_ns = clock_now_ns();
    if (is_of_use(fetch, open)) {
        channel_open(fetch->channel, peer->connection, stream, open);
        return;
    }
    snprintf(has.name, sizeof has.name, "%s", open->name);
    tell_unfetched(peer, &has,
                   "the replica's log does not reach back so far, or cannot be "
                   "read");
    fetch_end(fetch);
}

static int hear_open(struct asking_peer *peer, const struct message *message)
{
    struct body_open open;
    struct fetch *fetch;
    int rc = body_open_decode(message->body, &open);

    if (rc < 0)
        return rc;
    fetch = message->stream == 0 ? NULL
                                 : fetch_opened(peer, message->stream, &open);
    if (fetch != NULL)
        open_fetch(peer, fetch, message->stream, &open);
    history_free(&open.history);
    return 0;
}

/* All that was wanted is with the engine, or in its queue. */
static void fetch_look(struct fetch *fetch)
{
    const struct follow *follow = &fetch->channel->follow;

    if (fetch->grafting || fetch->channel->link == NULL)
        return;
    if ((follow->state == FOLLOW_STREAMING ||
         follow->state == FOLLOW_REDOING) &&
        follow->next.txid > fetch->until)
        fetch_end(fetch);
}

static int hear_pages(struct fetch *fetch, const struct message *message)
{
    struct position position;
    int rc = 0;

    if (message->type == MESSAGE_COPIED)
        rc = body_copied_decode(message->body, &position);
    else if (message->body == NULL)
        rc = -EPROTO;
    if (rc < 0)
        return rc;
    if (message->type == MESSAGE_COPIED)
        channel_copied(fetch->channel, &position);
    else
        channel_record(fetch->channel, blob_ref(message->body),
                       message->type == MESSAGE_CHUNK);
    return 0;
}

static int hear_attr(struct fetch *fetch, const struct message *message)
{
    struct body_attr attr;
    int rc = body_attr_decode(message->body, &attr);

    if (rc == 0)
        channel_attr(fetch->channel, &attr);
    return rc;
}

/* RECORD, CHUNK, COPIED, ATTR. */
static int hear_stream(struct asking_peer *peer, const struct message *message)
{
    struct fetch *fetch = fetch_on(peer, message->stream);
    int rc;

    if (fetch == NULL)
        return 0; /* it is done, and the replica goes on */
    if (fetch->channel->link == NULL)
        return -EPROTO;
    fetch->moved_ns = clock_now_ns();
    rc = message->type == MESSAGE_ATTR ? hear_attr(fetch, message)
                                       : hear_pages(fetch, message);
    if (rc == 0)
        fetch_look(fetch);
    return rc;
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

    if (fetch == NULL || fetch->grafting || fetch->channel->link == NULL)
        return;
    channel_changed(fetch->channel);
    if (fetch->channel->view.state == DATABASE_STOPPED)
        fetch_end(fetch);
    else
        fetch_look(fetch);
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

        if (fetch->peer == peer)
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

        if (!fetch->grafting)
            fetch_free(fetch);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/fetch.c - see fetch.h. */
#include "replication/net/fetch.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>

/* ---- life -----------------------------------------------------------------*/

struct fetch *fetch_new(struct database *database, txid_t until, bool whole)
{
    struct fetch *fetch;

    ASSERT_ON_LOOP();
    if (os_alloc(&fetch, sizeof *fetch, SITE_ASKING_ALLOC) < 0)
        return NULL;
    list_init(&fetch->link);
    fetch->until = until;
    fetch->whole = whole;
    fetch->channel = channel_new(database);
    if (fetch->channel == NULL)
        os_free(&fetch);
    return fetch;
}

void fetch_free(struct fetch *fetch)
{
    ASSERT(!fetch->grafting);
    channel_free(fetch->channel);
    os_free(&fetch);
}

static void tell_unfetched(const struct fetch *fetch, const char *why)
{
    log_error("replication.not_fetched", "database=%s txid=%llu reason=%s",
              logger_quote(database_name(fetch->channel->database)),
              (unsigned long long)fetch->until, logger_quote(why));
}

static void on_grafted(struct database_request *request)
{
    struct fetch *fetch = CONTAINER_OF(request, struct fetch, request);

    ASSERT_ON_LOOP();
    fetch->grafting = false;
    if (request->rc < 0 && fetch->whole)
        tell_unfetched(fetch, "not all of it came, or it could not be put in "
                              "its place; the replica keeps it");
    fetch->on_end(fetch);
}

void fetch_end(struct fetch *fetch)
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

void fetch_begin(struct fetch *fetch, struct link *peer)
{
    struct blob *blob;

    fetch->peer = peer;
    fetch->moved_ns = clock_now_ns();
    if (channel_tell(fetch->channel, &blob) < 0)
        fetch_end(fetch);
    else
        link_send(peer, blob);
}

/* ---- what arrives ---------------------------------------------------------*/

/* Records that follow what is here; of what is not here, all of it. */
static bool is_of_use(const struct fetch *fetch, const struct body_open *open)
{
    return open->mode == BODY_RESUME ||
           (fetch->whole && open->mode == BODY_SNAPSHOT);
}

void fetch_open(struct fetch *fetch, uint32_t stream,
                const struct body_open *open)
{
    fetch->stream = stream;
    fetch->moved_ns = clock_now_ns();
    if (is_of_use(fetch, open)) {
        channel_open(fetch->channel, fetch->peer, stream, open);
        return;
    }
    tell_unfetched(fetch, "the replica's log does not reach back so far, or "
                          "cannot be read");
    fetch_end(fetch);
}

static bool is_open(const struct fetch *fetch)
{
    return !fetch->grafting && fetch->channel->link != NULL;
}

/* All that was wanted is with the engine, or in its queue. */
static void fetch_look(struct fetch *fetch)
{
    const struct follow *follow = &fetch->channel->follow;

    if (is_open(fetch) &&
        (follow->state == FOLLOW_STREAMING ||
         follow->state == FOLLOW_REDOING) &&
        follow->next.txid > fetch->until)
        fetch_end(fetch);
}

static int hear_copied(struct fetch *fetch, const struct message *message)
{
    struct position position;
    int rc = body_copied_decode(message->body, &position);

    if (rc == 0)
        channel_copied(fetch->channel, &position);
    return rc;
}

static int hear_attr(struct fetch *fetch, const struct message *message)
{
    struct body_attr attr;
    int rc = body_attr_decode(message->body, &attr);

    if (rc == 0)
        channel_attr(fetch->channel, &attr);
    return rc;
}

static int hear_record(struct fetch *fetch, const struct message *message)
{
    if (message->body == NULL)
        return -EPROTO;
    channel_record(fetch->channel, blob_ref(message->body),
                   message->type == MESSAGE_CHUNK);
    return 0;
}

int fetch_hear(struct fetch *fetch, const struct message *message)
{
    int rc;

    if (fetch->channel->link == NULL)
        return -EPROTO;
    fetch->moved_ns = clock_now_ns();
    if (message->type == MESSAGE_COPIED)
        rc = hear_copied(fetch, message);
    else if (message->type == MESSAGE_ATTR)
        rc = hear_attr(fetch, message);
    else
        rc = hear_record(fetch, message);
    if (rc == 0)
        fetch_look(fetch);
    return rc;
}

void fetch_changed(struct fetch *fetch)
{
    if (!is_open(fetch))
        return;
    channel_changed(fetch->channel);
    if (fetch->channel->view.state == DATABASE_STOPPED)
        fetch_end(fetch);
    else
        fetch_look(fetch);
}

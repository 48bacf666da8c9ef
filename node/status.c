/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/status.c - one function per object of docs/status.md, which changes
 * in the same commit.
 *
 * json_pack() gives NULL when any part is NULL or no UTF-8; names from the
 * filesystem are bytes, so status_text_json() makes them text first.
 */
#include "node/status.h"

#include "base/assert.h"
#include "base/clock.h"
#include "wal/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const health_names[] = {
    [STATUS_OK] = "ok",
    [STATUS_DEGRADED] = "degraded",
    [STATUS_FAILED] = "failed",
};

const char *status_health_name(enum status_health health)
{
    ASSERT((unsigned)health < ARRAY_LENGTH(health_names));
    return health_names[health];
}

enum status_health status_health_from(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(health_names); i++)
        if (strcmp(health_names[i], name) == 0)
            return (enum status_health)i;
    return STATUS_FAILED;
}

/* ---- values ------------------------------------------------------------- */

/* null for STATUS_NONE. JSON's integers have a sign; ours never get there. */
static json_t *number_json(uint64_t number)
{
    if (number == STATUS_NONE)
        return json_null();
    return json_integer((json_int_t)(number & INT64_MAX));
}

json_t *status_text_json(const char *text)
{
    char copy[DATABASE_NAME_MAX + 64];
    json_t *json = *text == '\0' ? json_null() : json_string(text);

    if (json != NULL)
        return json;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(copy);
}

/* 64 bits as text: a JavaScript number would round them. */
static json_t *hex_json(uint64_t bits)
{
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, bits);
    return json_string(text);
}

static json_t *lineage_json(const struct lineage *lineage)
{
    char text[LINEAGE_TEXT_BYTES];

    for (size_t i = 0; i < LINEAGE_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", lineage->bytes[i]);
    return json_string(text);
}

/* "2026-01-31T12:00:00.123Z"; null for 0. */
static json_t *time_json(uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    char date[32], text[48];
    struct tm utc;

    if (wall_ns == 0 || gmtime_r(&seconds, &utc) == NULL)
        return json_null();
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03uZ", date,
             (unsigned)(wall_ns / NS_PER_MS % 1000));
    return json_string(text);
}

/* ---- the node ----------------------------------------------------------- */

static json_t *primary_json(const struct status_node *node)
{
    if (node->is_primary)
        return json_null();
    return json_pack("{s:o, s:o, s:b, s:o, s:o}", "address",
                     status_text_json(node->primary_address), "id",
                     status_text_json(node->primary_id), "connected",
                     (int)node->primary_connected, "failure",
                     status_text_json(node->primary_failure), "rtt_us",
                     number_json(node->primary_rtt_us));
}

static json_t *node_json(const struct status_node *node)
{
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:i, s:s, s:b, s:I, s:o, s:o, s:o, s:o, s:o,"
        " s:o, s:o, s:o, s:o, s:s, s:s, s:[]}",
        "id", status_text_json(node->id), "region",
        status_text_json(node->region), "cluster",
        status_text_json(node->cluster), "version", node->version, "pid",
        node->pid, "role", node->is_primary ? "primary" : "replica",
        "candidate", (int)node->candidate, "epoch",
        (json_int_t)epoch_number(node->epoch), "epoch_id",
        hex_json(node->epoch), "primary", primary_json(node), "advertise",
        status_text_json(node->advertise), "mount",
        status_text_json(node->mount), "data", status_text_json(node->data),
        "mode", status_text_json(node->mode), "mode_reason",
        status_text_json(node->mode_reason), "log_method",
        status_text_json(node->log_method), "uptime_ms",
        number_json(node->uptime_ms), "phase",
        node->asking ? "asking" : "serving", "health", "ok", "problems");
}

/* Makes the health of the node at least as bad. */
static int raise_health(json_t *status, enum status_health health)
{
    json_t *node = json_object_get(status, "node");
    const char *now = json_string_value(json_object_get(node, "health"));

    ASSERT(now != NULL);
    if (health <= status_health_from(now))
        return 0;
    return json_object_set_new(node, "health",
                               json_string(status_health_name(health))) < 0
               ? -ENOMEM
               : 0;
}

int status_add_problem(json_t *status, enum status_health health,
                       const char *text)
{
    json_t *node = json_object_get(status, "node");

    if (json_array_append_new(json_object_get(node, "problems"),
                              status_text_json(text)) < 0)
        return -ENOMEM;
    return raise_health(status, health);
}

static int add_unconnected(json_t *status, const struct status_node *node)
{
    const char *why = node->primary_failure;
    char text[STATUS_FAILURE_BYTES + 100];

    snprintf(text, sizeof text,
             "not connected to the primary%s%s%s; reads are served as old as "
             "they are",
             *why == '\0' ? "" : " (", why, *why == '\0' ? "" : ")");
    return status_add_problem(status, STATUS_DEGRADED, text);
}

json_t *status_make(const struct status_node *node)
{
    json_t *status = json_pack("{s:o, s:[], s:[], s:{s:i, s:[]}}", "node",
                               node_json(node), "databases", "replicas", "lost",
                               "count", 0, "newest");

    if (status != NULL && !node->is_primary && !node->primary_connected &&
        add_unconnected(status, node) < 0) {
        json_decref(status);
        return NULL;
    }
    return status;
}

/* ---- databases ---------------------------------------------------------- */

#define COPYING_BYTES 64
#define DAMAGED_BYTES 256

static void copying_format(const struct database_view *view,
                           char text[COPYING_BYTES])
{
    if (view->copy_pages == 0)
        snprintf(text, COPYING_BYTES, "the first copy is about to begin");
    else
        snprintf(text, COPYING_BYTES, "the first copy is under way: %u %%",
                 progress_percent(view->copied_pages, view->copy_pages));
}

/* A copy under way, the first one or another; null: none. */
static json_t *copy_json(const struct database_view *view)
{
    if (!view->copying || view->copy_pages == 0)
        return json_null();
    return json_pack(
        "{s:I, s:I, s:I}", "pages", (json_int_t)view->copied_pages, "of_pages",
        (json_int_t)view->copy_pages, "percent",
        (json_int_t)progress_percent(view->copied_pages, view->copy_pages));
}

static void damaged_format(const struct database_view *view,
                           char text[DAMAGED_BYTES])
{
    snprintf(text, DAMAGED_BYTES,
             "%u of its pages are not what was written, page %u first; no "
             "replica is sent them: restore it from a replica (tidemark export "
             "there, tidemark import here)",
             view->damaged_pages, view->damaged_pgno);
}

/* What to say of a database that is not well; "" when it is. copying, damaged:
 * texts for when that is the matter. */
static enum status_health judge(const struct database_view *view,
                                const char *copying, const char *damaged,
                                const char **ret_problem)
{
    *ret_problem = view->stopped;
    switch (view->state) {
    case DATABASE_STOPPED:
        if (*view->stopped == '\0')
            *ret_problem = "a record was refused";
        return STATUS_FAILED;
    case DATABASE_HELD_BACK:
        if (*view->stopped == '\0')
            *ret_problem = "programs of an earlier run still have it open; "
                           "stop them";
        return STATUS_FAILED;
    case DATABASE_COPYING:
        if (*view->stopped == '\0')
            *ret_problem = copying;
        return STATUS_DEGRADED;
    case DATABASE_CLOSED:
    case DATABASE_ROLLBACK:
    case DATABASE_ATTACHING:
    case DATABASE_ATTACHED:
    case DATABASE_DROPPED:
        break;
    }
    if (view->damaged_pages > 0 && *view->stopped == '\0') {
        *ret_problem = damaged;
        return STATUS_FAILED;
    }
    return *view->stopped == '\0' ? STATUS_OK : STATUS_DEGRADED;
}

static json_t *position_json(const struct database_view *view)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "epoch",
                     (json_int_t)epoch_number(view->position.epoch), "epoch_id",
                     hex_json(view->position.epoch), "txid",
                     number_json(view->position.txid), "sum",
                     hex_json(view->position.sum), "received_txid",
                     number_json(view->received_txid), "durable_txid",
                     number_json(view->durable_txid));
}

static json_t *counters_json(const struct database_view *view)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "records",
        number_json(view->records), "gaps", number_json(view->gaps), "rereads",
        number_json(view->rereads), "gates", number_json(view->gates),
        "gate_timeouts", number_json(view->gate_timeouts), "checkpoints",
        number_json(view->checkpoints), "resets", number_json(view->resets));
}

static json_t *database_json(const struct status_database *database,
                             enum status_health health, const char *problem)
{
    const struct database_view *view = &database->view;

    return json_pack(
        "{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I,"
        " s:{s:o, s:o}, s:o, s:o, s:o, s:I, s:o}",
        "name", status_text_json(database->name), "state",
        database_state_name(view->state), "health", status_health_name(health),
        "problem", status_text_json(problem), "lineage",
        lineage_json(&view->lineage), "position", position_json(view), "lag_us",
        number_json(database->lag_us), "behind_txids",
        number_json(database->behind_txids), "commit_time",
        time_json(view->commit_wall_ns), "page_bytes",
        (json_int_t)view->page_bytes, "size_pages",
        (json_int_t)view->size_pages, "wal_frames",
        (json_int_t)view->wal_frames, "applications",
        (json_int_t)view->applications, "log", "bytes",
        number_json(view->log_bytes), "first_txid",
        number_json(view->first_log_txid), "waiters",
        number_json(database->waiters), "counters", counters_json(view), "copy",
        copy_json(view), "damaged_pages", (json_int_t)view->damaged_pages,
        "verified_time", time_json(view->verified_wall_ns));
}

int status_add_database(json_t *status, const struct status_database *database)
{
    char copying[COPYING_BYTES], damaged[DAMAGED_BYTES];
    const char *problem;
    enum status_health health;

    copying_format(&database->view, copying);
    damaged_format(&database->view, damaged);
    health = judge(&database->view, copying, damaged, &problem);

    if (json_array_append_new(json_object_get(status, "databases"),
                              database_json(database, health, problem)) < 0)
        return -ENOMEM;
    return raise_health(status, health);
}

/* ---- replicas ----------------------------------------------------------- */

static json_t *stream_json(const struct status_stream *stream)
{
    uint64_t percent = stream->copy_pages == 0
                           ? STATUS_NONE
                           : progress_percent(stream->copied_pages,
                                              stream->copy_pages);

    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "database",
                     status_text_json(stream->database), "state", stream->state,
                     "received_txid", number_json(stream->received_txid),
                     "durable_txid", number_json(stream->durable_txid),
                     "applied_txid", number_json(stream->applied_txid),
                     "lag_us", number_json(stream->lag_us), "behind_txids",
                     number_json(stream->behind_txids), "copy_percent",
                     number_json(percent));
}

static json_t *streams_json(const struct status_replica *replica)
{
    json_t *array = json_array();

    for (size_t i = 0; array != NULL && i < replica->stream_count; i++) {
        if (json_array_append_new(array, stream_json(&replica->streams[i])) ==
            0)
            continue;
        json_decref(array);
        array = NULL;
    }
    return array;
}

static enum status_health replica_health(const struct status_replica *replica)
{
    if (!replica->connected)
        return STATUS_DEGRADED;
    for (size_t i = 0; i < replica->stream_count; i++)
        if (strcmp(replica->streams[i].state, "waiting") == 0 ||
            strcmp(replica->streams[i].state, "copy") == 0)
            return STATUS_DEGRADED;
    return STATUS_OK;
}

int status_add_replica(json_t *status, const struct status_replica *replica)
{
    enum status_health health = replica_health(replica);
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:s, s:o}", "id",
        status_text_json(replica->id), "region",
        status_text_json(replica->region), "address",
        status_text_json(replica->address), "candidate",
        (int)replica->candidate, "connected", (int)replica->connected,
        "since_ms", number_json(replica->since_ms), "rtt_us",
        number_json(replica->rtt_us), "health", status_health_name(health),
        "databases", streams_json(replica));

    if (json_array_append_new(json_object_get(status, "replicas"), json) < 0)
        return -ENOMEM;
    return raise_health(status, health);
}

/* ---- data/lost ---------------------------------------------------------- */

int status_add_lost(json_t *status, const struct catalog_lost *lost)
{
    json_t *newest = json_object_get(json_object_get(status, "lost"), "newest");
    bool known = lost->database != NULL;
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file",
        status_text_json(lost->file), "database",
        status_text_json(known ? lost->database : ""), "epoch",
        number_json(known ? epoch_number(lost->epoch) : STATUS_NONE),
        "epoch_id", known ? hex_json(lost->epoch) : json_null(), "txid",
        number_json(known ? lost->txid : STATUS_NONE), "when",
        time_json(lost->wall_ns), "why", status_text_json(lost->why));

    return json_array_append_new(newest, json) < 0 ? -ENOMEM : 0;
}

int status_set_lost_count(json_t *status, size_t count)
{
    return json_object_set_new(json_object_get(status, "lost"), "count",
                               json_integer((json_int_t)count)) < 0
               ? -ENOMEM
               : 0;
}

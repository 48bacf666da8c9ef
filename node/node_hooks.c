/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node_hooks.c - what the mount (any FUSE worker) and the control socket
 * (loop) ask of the node.
 */
#include "node/node_state.h"

#include "wal/token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- mount: FUSE workers ------------------------------------------------- */

static int hook_status(void *context, char **ret_text, size_t *ret_size)
{
    json_t *status = node_status(context);
    char *text;

    if (status == NULL)
        return -ENOMEM;
    text = json_dumps(status, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(status);
    if (text == NULL)
        return -ENOMEM;
    *ret_text = text;
    *ret_size = strlen(text);
    return 0;
}

static const char *hook_primary(void *context, char buffer[MOUNT_PRIMARY_BYTES])
{
    struct node *node = context;

    if (node->is_primary)
        return NULL;
    snprintf(buffer, MOUNT_PRIMARY_BYTES, "%s",
             node->config->lease.primary.host);
    return buffer;
}

static int64_t hook_lag(void *context)
{
    struct node *node = context;
    struct node_facts *facts = node_facts_get(node);
    uint64_t lag_us = node->is_primary ? 0 : node_facts_lag_us(facts);

    node_facts_put(node, facts);
    return lag_us / 1000 < MOUNT_LAG_UNKNOWN ? (int64_t)((lag_us + 500) / 1000)
                                             : MOUNT_LAG_UNKNOWN;
}

static int hook_wait(void *context, const char *database, const char *token,
                     size_t token_size, struct mount_wait *wait)
{
    struct node *node = context;

    return doorway_wait(&node->doorway, database, token, token_size, wait);
}

static void hook_wait_cancel(void *context, uint64_t wait_id)
{
    struct node *node = context;

    doorway_cancel(&node->doorway, wait_id);
}

void node_mount_hooks(struct node *node, struct mount_hooks *ret_hooks)
{
    *ret_hooks = (struct mount_hooks){
        .context = node,
        .status_json = hook_status,
        .primary_name = hook_primary,
        .lag_ms = hook_lag,
        .wait = hook_wait,
        .wait_cancel = hook_wait_cancel,
    };
}

/* ---- control socket: tokens ---------------------------------------------- */

/* A forced pass under way for a token; handed over twice: loop -> worker ->
 * loop, which also asks whether anybody still wants the answer. */
struct errand {
    struct parked parked;
    struct list link; /* node->passed, when the pass is done */
    struct node *node;
    struct control_call *call;
    struct database *database;
    int rc;
};

static void token_answer(struct errand *errand)
{
    struct database_view view;
    struct token token;
    char text[TOKEN_TEXT_BYTES];

    if (errand->rc < 0) {
        control_fail(errand->call, CONTROL_UNAVAILABLE,
                     "token: %s: what was committed last could not be "
                     "captured: %s; see the log",
                     database_name(errand->database), strerror(-errand->rc));
    } else {
        database_view(errand->database, &view);
        token_make(&view.lineage, &view.position, &token);
        token_format(&token, text);
        control_reply(errand->call, json_pack("{s:s}", "token", text));
    }
    database_unref(errand->database);
    free(errand);
}

void node_passed(struct node *node)
{
    struct list done, *link;

    list_init(&done);
    pthread_mutex_lock(&node->lock_passed);
    list_splice(&done, &node->passed);
    pthread_mutex_unlock(&node->lock_passed);
    while ((link = list_pop(&done)) != NULL)
        token_answer(LIST_ENTRY(link, struct errand, link));
}

static void on_passed(struct parked *parked, int rc)
{
    struct errand *errand = CONTAINER_OF(parked, struct errand, parked);
    struct node *node = errand->node;

    errand->rc = rc;
    pthread_mutex_lock(&node->lock_passed);
    list_push_back(&node->passed, &errand->link);
    pthread_mutex_unlock(&node->lock_passed);
    uv_async_send(&node->async);
}

static void control_token(void *context, struct control_call *call,
                          const char *name)
{
    struct node *node = context;
    struct database *database = catalog_find(node->catalog, name);
    struct errand *errand;

    call->data = NULL;
    if (node->links.asking != NULL) {
        database_unref(database);
        control_fail(call, CONTROL_UNAVAILABLE,
                     "token: this primary is starting, and asks its replicas "
                     "first; see `tidemark status`");
        return;
    }
    if (database == NULL) {
        control_fail(call, CONTROL_NOT_FOUND,
                     "token: no database %s on this node; `tidemark status` "
                     "lists them",
                     name);
        return;
    }
    errand = calloc(1, sizeof *errand);
    if (errand == NULL) {
        database_unref(database);
        control_fail(call, CONTROL_UNAVAILABLE, "token: out of memory");
        return;
    }
    errand->node = node;
    errand->call = call;
    errand->database = database;
    errand->parked.on_done = on_passed;
    database_pass(database, &errand->parked);
}

/* ---- control socket: waits ----------------------------------------------- */

struct caller {
    struct waiter waiter;
    struct control_call *call;
    char database[]; /* for the answer */
};

static void on_waited(struct waiter *waiter, int rc)
{
    struct caller *caller = CONTAINER_OF(waiter, struct caller, waiter);
    const char *name = caller->database;
    struct control_call *call = caller->call;

    if (rc == 0)
        control_reply(call, json_pack("{s:s}", "verdict", "reached"));
    else if (rc == -ETIMEDOUT)
        control_fail(call, CONTROL_TIMEOUT,
                     "wait: %s: this node does not have it yet; see "
                     "`tidemark status` for its lag",
                     name);
    else if (rc == -ESTALE)
        control_fail(call, CONTROL_LOST,
                     "wait: %s: the write of this token was cut off by a "
                     "change of primary",
                     name);
    else if (rc == -EINVAL)
        control_fail(call, CONTROL_UNKNOWN,
                     "wait: %s: not a token of this database", name);
    else if (rc == -ECANCELED)
        control_fail(call, CONTROL_STOPPING, "wait: the node is stopping");
    else
        control_fail(call, CONTROL_BUSY, "wait: %s: too many wait already",
                     name);
    free(caller);
}

static void control_wait(void *context, struct control_call *call,
                         const char *name, const char *token,
                         uint64_t timeout_ms)
{
    struct node *node = context;
    size_t size = strlen(name) + 1;
    struct caller *caller = calloc(1, sizeof *caller + size);

    call->data = caller;
    if (caller == NULL) {
        control_fail(call, CONTROL_UNAVAILABLE, "wait: out of memory");
        return;
    }
    caller->call = call;
    memcpy(caller->database, name, size);
    caller->waiter.on_done = on_waited;
    waits_begin(&node->waits, &caller->waiter, name, token, strlen(token),
                timeout_ms);
}

static void control_verify(void *context, struct control_call *call,
                           const char *name, uint32_t from)
{
    struct node *node = context;

    node_verify(node->catalog, call, name, from);
}

/* Nobody reads the answer any more. A token's pass ends by itself. */
static void control_cancel(void *context, struct control_call *call)
{
    struct node *node = context;
    struct caller *caller = call->data;

    if (call->what == CONTROL_WAIT)
        waits_cancel(&node->waits, &caller->waiter);
    else if (call->what == CONTROL_VERIFY)
        node_verify_cancel(call);
}

static json_t *control_status(void *context)
{
    node_facts_refresh(context);
    return node_status(context);
}

void node_control_handlers(struct node *node,
                           struct control_handlers *ret_handlers)
{
    *ret_handlers = (struct control_handlers){
        .context = node,
        .status = control_status,
        .token = control_token,
        .wait = control_wait,
        .verify = control_verify,
        .cancel = control_cancel,
    };
}

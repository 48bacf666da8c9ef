/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control.h - the node's end of the control socket (control_code.h).
 *
 * It reads lines, checks them, and calls one of the handlers; what the
 * answers are is the node's business. Loop thread only. The process must
 * ignore SIGPIPE. Lifetimes are libuv's: after control_open(), whatever it
 * returned, the memory is yours again only in control_close()'s callback.
 */
#ifndef TIDEMARK_NODE_CONTROL_H
#define TIDEMARK_NODE_CONTROL_H

#include "base/list.h"
#include "node/control_code.h"
#include "node/control_request.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>
#include <uv.h>

/*
 * One question that waits for its answer. It belongs to the control until
 * control_reply() or control_fail(), exactly one of them, exactly once; also
 * inside the handler, also after cancel. data is the handler's own.
 */
struct control_call {
    void *data;
    enum control_do what;
};

struct control_handlers {
    void *context;
    /* A new object, what docs/status.md says; NULL: out of memory. */
    json_t *(*status)(void *context);
    /* database and token are valid only during the call. */
    void (*token)(void *context, struct control_call *call,
                  const char *database);
    void (*wait)(void *context, struct control_call *call, const char *database,
                 const char *token, uint64_t timeout_ms);
    /* One range of pages, from `from` on. */
    void (*verify)(void *context, struct control_call *call,
                   const char *database, uint32_t from);
    /* Nobody will read the answer to this one any more: answer it
     * soon, best in here. */
    void (*cancel)(void *context, struct control_call *call);
};

struct control {
    uv_pipe_t listener;
    struct control_handlers handlers;
    struct list connections; /* those that are not closing */
    size_t connection_count; /* those that are not freed */
    bool accept_waits;       /* a client is held until somebody leaves */
    bool closing;
    bool listener_closed;
    void (*on_closed)(struct control *control);
};

/*
 * Listens at path, mode 0660; an old socket there is removed: only one node
 * owns a data directory, and that is settled before. 0, -ENAMETOOLONG or
 * what binding said.
 */
int control_open(struct control *control, uv_loop_t *loop, const char *path,
                 const struct control_handlers *handlers);

/* Drops every connection, cancels what waits; on_closed runs on the loop when
 * the last call was answered. Zeroed memory is fine: on_closed runs at once. */
void control_close(struct control *control,
                   void (*on_closed)(struct control *control));

/* Answers with the members of answer, whose reference it takes; NULL: out of
 * memory, and the client is told so. */
void control_reply(struct control_call *call, json_t *answer);

/* Answers with an error; format makes "what, on what, what to do". */
void control_fail(struct control_call *call, enum control_code code,
                  const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control.c - lines in, lines out, over libuv.
 *
 * A connection does one thing at a time, and starts the next line only when
 * the answer before was written:
 *
 *   LISTENING --line--> ASKED --reply--> WRITING --written--> LISTENING
 *       |                 |                 |
 *       +------ end of input, error, control_close() ------> CLOSING
 *
 * Meanwhile it reads on until its buffer is full, so that it notices when
 * the client goes away. A client that only ends its input ("printf | nc")
 * still gets its answers; one that is gone has its call cancelled.
 *
 * Memory is bounded: each connection has one line in and one answer out. Those
 * past CONTROL_CONNECTIONS_MAX are told so when they ask, not when they come:
 * libuv accepts in a loop, and a client that is answered inside it and comes
 * back at once would keep the node there. Past REFUSED_MAX more, clients wait
 * in the kernel until somebody leaves.
 *
 * A connection is freed when its pipe is closed and its call answered,
 * whichever comes last.
 */
#include "node/control.h"

#include "base/site.h"
#include "base/thread.h"
#include "node/control_request.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128
#define REFUSED_MAX 64u /* connections beyond the limit, to tell them so */

enum connection_state {
    CONNECTION_LISTENING,
    CONNECTION_ASKED,
    CONNECTION_WRITING,
    CONNECTION_CLOSING,
};

struct connection {
    struct list link;
    struct control *control;
    enum connection_state state;
    uv_pipe_t pipe;
    bool pipe_closed;
    bool refused; /* one too many */
    bool ended;   /* no more input, or none wanted: close when idle */
    bool reading; /* libuv reads into the buffer */
    bool call_open;
    struct control_call call;
    uv_write_t write;
    char *out; /* the answer being written; owned */
    size_t in_used;
    char in[CONTROL_LINE_MAX + 1]; /* a line and its end */
};

/* ---- end of life -------------------------------------------------------- */

static void control_finish(struct control *control)
{
    if (control->closing && control->listener_closed &&
        control->connection_count == 0)
        control->on_closed(control);
}

static void control_accept(struct control *control);

static void connection_finish(struct connection *connection)
{
    struct control *control = connection->control;

    if (!connection->pipe_closed || connection->call_open)
        return;
    free(connection->out);
    free(connection);
    control->connection_count--;
    if (control->accept_waits && !control->closing)
        control_accept(control);
    control_finish(control);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;

    connection->pipe_closed = true;
    connection_finish(connection);
}

static void connection_close(struct connection *connection)
{
    struct control_handlers *handlers = &connection->control->handlers;

    if (connection->state == CONNECTION_CLOSING)
        return;
    connection->state = CONNECTION_CLOSING;
    list_remove(&connection->link);
    uv_close((uv_handle_t *)&connection->pipe, on_pipe_closed);
    if (connection->call_open)
        handlers->cancel(handlers->context, &connection->call);
}

/* ---- answers ------------------------------------------------------------ */

static void connection_next(struct connection *connection);

static void on_written(uv_write_t *write, int rc)
{
    struct connection *connection = write->data;

    free(connection->out);
    connection->out = NULL;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (rc < 0) {
        connection_close(connection);
        return;
    }
    connection->state = CONNECTION_LISTENING;
    connection_next(connection);
}

/* Writes text and a line feed; takes text. */
static void connection_write(struct connection *connection, char *text)
{
    static char end[] = "\n";
    uv_buf_t parts[2];

    if (text == NULL) {
        connection_close(connection); /* no memory even to say so */
        return;
    }
    parts[0] = uv_buf_init(text, (unsigned)strlen(text));
    parts[1] = uv_buf_init(end, 1);
    connection->out = text;
    connection->write.data = connection;
    connection->state = CONNECTION_WRITING;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->pipe, parts, 2,
                 on_written) < 0)
        connection_close(connection);
}

/* Ends the call; takes answer. */
static void call_answer(struct control_call *call, json_t *answer)
{
    struct connection *connection = CONTAINER_OF(call, struct connection, call);
    char *text = NULL;

    ASSERT_ON_LOOP();
    ASSERT(connection->call_open);
    connection->call_open = false;
    call->data = NULL;
    if (connection->state == CONNECTION_CLOSING) {
        json_decref(answer);
        connection_finish(connection);
        return;
    }
    ASSERT(connection->state == CONNECTION_ASKED);
    if (answer != NULL)
        text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    connection_write(connection, text);
}

void control_reply(struct control_call *call, json_t *answer)
{
    if (answer == NULL || json_object_set_new(answer, "ok", json_true()) < 0) {
        json_decref(answer);
        control_fail(call, CONTROL_UNAVAILABLE, "the node is out of memory");
        return;
    }
    call_answer(call, answer);
}

/* Text as JSON although its end, and only that, may be half a character. */
static json_t *message_json(char *text)
{
    json_t *json = json_string(text);

    for (size_t length = strlen(text); json == NULL && length > 0; length--) {
        text[length - 1] = '\0';
        json = json_string(text);
    }
    return json;
}

void control_fail(struct control_call *call, enum control_code code,
                  const char *format, ...)
{
    char message[1000];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    call_answer(call, json_pack("{s:s, s:o}", "error", control_code_name(code),
                                "message", message_json(message)));
}

/* ---- requests ----------------------------------------------------------- */

static void connection_dispatch(struct connection *connection,
                                const struct control_request *request)
{
    const struct control_handlers *handlers = &connection->control->handlers;
    struct control_call *call = &connection->call;

    call->what = request->what;
    switch (request->what) {
    case CONTROL_STATUS:
        control_reply(call, json_pack("{s:o}", "status",
                                      handlers->status(handlers->context)));
        return;
    case CONTROL_TOKEN:
        handlers->token(handlers->context, call, request->database);
        return;
    case CONTROL_WAIT:
        handlers->wait(handlers->context, call, request->database,
                       request->token, request->timeout_ms);
        return;
    case CONTROL_VERIFY:
        handlers->verify(handlers->context, call, request->database,
                         request->from);
        return;
    }
}

static void connection_ask(struct connection *connection, const char *line,
                           size_t size)
{
    struct control_request request;
    char reason[CONTROL_REASON_BYTES];

    connection->state = CONNECTION_ASKED;
    connection->call_open = true;
    if (control_request_parse(line, size, &request, reason) < 0) {
        control_fail(&connection->call, CONTROL_BAD_REQUEST, "%s", reason);
        return;
    }
    connection_dispatch(connection, &request);
    control_request_free(&request);
}

/* An answer to no question, then the end. */
static void connection_refuse(struct connection *connection,
                              enum control_code code, const char *message)
{
    connection->state = CONNECTION_ASKED;
    connection->call_open = true;
    connection->ended = true;
    connection->in_used = 0;
    control_fail(&connection->call, code, "%s", message);
}

static void connection_read(struct connection *connection);

/* Takes the next whole line from the buffer, if it is time for one. */
static void connection_next(struct connection *connection)
{
    char *end;
    size_t size;

    if (connection->state != CONNECTION_LISTENING)
        return;
    end = memchr(connection->in, '\n', connection->in_used);
    if (end == NULL && connection->in_used == sizeof connection->in) {
        connection_refuse(connection, CONTROL_BAD_REQUEST,
                          "a request has at most 64 KiB in one line");
        return;
    }
    if (end == NULL && connection->ended) {
        connection_close(connection);
        return;
    }
    if (end != NULL) {
        size = (size_t)(end - connection->in) + 1;
        if (connection->refused) {
            connection_refuse(connection, CONTROL_BUSY,
                              "too many connections to this node; close some, "
                              "or try again");
            return;
        }
        connection_ask(connection, connection->in, size - 1);
        connection->in_used -= size;
        memmove(connection->in, connection->in + size, connection->in_used);
    }
    connection_read(connection);
}

/* ---- reading ------------------------------------------------------------ */

/* True when the client closed its end, not only its input. */
static bool connection_is_gone(struct connection *connection)
{
    struct pollfd poll_fd = {0};

    if (uv_fileno((uv_handle_t *)&connection->pipe, &poll_fd.fd) < 0)
        return true;
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLHUP) != 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct connection *connection = handle->data;

    (void)suggested;
    *ret_buf = uv_buf_init(
        connection->in + connection->in_used,
        (unsigned)(sizeof connection->in - connection->in_used));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;

    (void)buf;
    if (size < 0) {
        uv_read_stop(stream);
        connection->reading = false;
        connection->ended = true;
        if (size != UV_EOF || connection_is_gone(connection))
            connection_close(connection);
        else
            connection_next(connection);
        return;
    }
    connection->in_used += (size_t)size;
    if (connection->in_used == sizeof connection->in) {
        uv_read_stop(stream);
        connection->reading = false;
    }
    connection_next(connection);
}

/* Goes on reading when there is room again. */
static void connection_read(struct connection *connection)
{
    if (connection->reading || connection->ended ||
        connection->state == CONNECTION_CLOSING ||
        connection->in_used == sizeof connection->in)
        return;
    if (uv_read_start((uv_stream_t *)&connection->pipe, on_alloc, on_read) < 0)
        connection_close(connection);
    else
        connection->reading = true;
}

/* ---- listening ---------------------------------------------------------- */

static struct connection *connection_new(struct control *control)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    if (uv_pipe_init(control->listener.loop, &connection->pipe, 0) < 0) {
        free(connection);
        return NULL;
    }
    connection->pipe.data = connection;
    connection->control = control;
    list_push_back(&control->connections, &connection->link);
    control->connection_count++;
    return connection;
}

/* Takes the client that libuv holds; libuv listens on when it is taken. */
static void control_accept(struct control *control)
{
    struct connection *connection = NULL;

    if (control->connection_count < CONTROL_CONNECTIONS_MAX + REFUSED_MAX)
        connection = connection_new(control);
    control->accept_waits = connection == NULL;
    if (connection == NULL)
        return;
    connection->refused = control->connection_count > CONTROL_CONNECTIONS_MAX;
    if (uv_accept((uv_stream_t *)&control->listener,
                  (uv_stream_t *)&connection->pipe) < 0)
        connection_close(connection);
    else
        connection_read(connection);
}

static void on_connection(uv_stream_t *listener, int rc)
{
    if (rc == 0) /* else it is the client's loss; the next may succeed */
        control_accept(listener->data);
}

int control_open(struct control *control, uv_loop_t *loop, const char *path,
                 const struct control_handlers *handlers)
{
    int rc, fault = site_fault(SITE_CONTROL_LISTEN);

    ASSERT_ON_LOOP();
    *control = (struct control){.handlers = *handlers};
    list_init(&control->connections);
    rc = uv_pipe_init(loop, &control->listener, 0);
    ASSERT(rc == 0); /* it only fills in the struct */
    control->listener.data = control;
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return site_fail(SITE_CONTROL_LISTEN, path, ENAMETOOLONG);
    if (fault != 0)
        return site_fail(SITE_CONTROL_LISTEN, path, fault);
    if (unlink(path) != 0 && errno != ENOENT)
        return site_fail(SITE_CONTROL_LISTEN, path, errno);
    rc = uv_pipe_bind(&control->listener, path);
    if (rc < 0)
        return site_fail(SITE_CONTROL_LISTEN, path, -rc);
    /* Before listening: nobody can connect while the mode is still wide. */
    if (chmod(path, 0660) != 0)
        return site_fail(SITE_CONTROL_LISTEN, path, errno);
    rc = uv_listen((uv_stream_t *)&control->listener, BACKLOG, on_connection);
    return rc < 0 ? site_fail(SITE_CONTROL_LISTEN, path, -rc) : 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control *control = handle->data;

    control->listener_closed = true;
    control_finish(control);
}

void control_close(struct control *control,
                   void (*on_closed)(struct control *control))
{
    control->on_closed = on_closed;
    if (control->listener.loop == NULL) {
        on_closed(control);
        return;
    }
    ASSERT_ON_LOOP();
    ASSERT(!control->closing);
    control->closing = true;
    uv_close((uv_handle_t *)&control->listener, on_listener_closed);
    /* One that closes leaves the list; a cancel may close others as well. */
    while (!list_is_empty(&control->connections))
        connection_close(
            LIST_ENTRY(control->connections.next, struct connection, link));
}

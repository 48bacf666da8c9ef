/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control_client.c - connects, writes a line, reads a line, closes.
 *
 * The deadline holds for all of it: before each call the socket's timeouts
 * are set to what is left. Connecting too: it waits while a node that is
 * stuck leaves its backlog full.
 */
#include "node/control_client.h"

#include "base/assert.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct conversation {
    int fd; /* -1: none */
    uint64_t deadline_ns;
    char *in; /* owned */
    size_t in_size;
    size_t in_used;
};

/* Lets the next call on the socket wait until the deadline, no longer. */
static int arm(const struct conversation *talk)
{
    uint64_t now = clock_now_ns(), left;
    struct timeval time;

    if (now >= talk->deadline_ns)
        return -ETIMEDOUT;
    left = (talk->deadline_ns - now) / NS_PER_US + 1; /* 0 means for ever */
    time.tv_sec = (time_t)(left / 1000000);
    time.tv_usec = (suseconds_t)(left % 1000000);
    if (setsockopt(talk->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) < 0 ||
        setsockopt(talk->fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) < 0)
        return -errno;
    return 0;
}

/* What a failed call means: 0 to try again. */
static int verdict_of(int error)
{
    if (error == EINTR)
        return 0;
    return error == EAGAIN ? -ETIMEDOUT : -error;
}

static int talk_connect(struct conversation *talk, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int rc;

    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    talk->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (talk->fd < 0)
        return -errno;
    do {
        rc = arm(talk);
        if (rc < 0)
            return rc;
        if (connect(talk->fd, (struct sockaddr *)&address, sizeof address) == 0)
            return 0;
        rc = verdict_of(errno);
    } while (rc == 0);
    return rc;
}

static int talk_send(struct conversation *talk, const char *text, size_t size)
{
    while (size > 0) {
        int rc = arm(talk);
        ssize_t sent;

        if (rc < 0)
            return rc;
        sent = send(talk->fd, text, size, MSG_NOSIGNAL);
        if (sent < 0) {
            rc = verdict_of(errno);
            if (rc < 0)
                return rc;
            continue;
        }
        text += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* Makes room for more, up to the longest answer. */
static int talk_grow(struct conversation *talk)
{
    size_t size = talk->in_size == 0 ? 65536 : 2 * talk->in_size;
    char *bigger;

    if (talk->in_used < talk->in_size)
        return 0;
    if (size > CONTROL_ANSWER_MAX)
        return -EPROTO;
    bigger = realloc(talk->in, size);
    if (bigger == NULL)
        return -ENOMEM;
    talk->in = bigger;
    talk->in_size = size;
    return 0;
}

/* Reads until there is a whole line. */
static int talk_receive(struct conversation *talk)
{
    for (;;) {
        int rc = talk_grow(talk);
        ssize_t got;

        if (rc == 0)
            rc = arm(talk);
        if (rc < 0)
            return rc;
        got = recv(talk->fd, talk->in + talk->in_used,
                   talk->in_size - talk->in_used, 0);
        if (got == 0)
            return -ECONNRESET;
        if (got < 0) {
            rc = verdict_of(errno);
            if (rc < 0)
                return rc;
            continue;
        }
        talk->in_used += (size_t)got;
        if (talk->in[talk->in_used - 1] == '\n')
            return 0;
    }
}

static void talk_close(struct conversation *talk)
{
    if (talk->fd >= 0)
        close(talk->fd);
    free(talk->in);
}

/* ---- answers ------------------------------------------------------------ */

/* Takes the answer apart; -EPROTO when it is none. */
static int answer_read(struct control_answer *answer, const char *line,
                       size_t size)
{
    const char *code, *message;

    answer->json = json_loadb(line, size, 0, NULL);
    if (answer->json == NULL)
        return -EPROTO;
    answer->ok = json_is_true(json_object_get(answer->json, "ok"));
    if (answer->ok)
        return 0;
    code = json_string_value(json_object_get(answer->json, "error"));
    message = json_string_value(json_object_get(answer->json, "message"));
    if (code == NULL)
        return -EPROTO;
    answer->code = control_code_from(code);
    snprintf(answer->text, sizeof answer->text, "%s",
             message == NULL ? code : message);
    return 0;
}

static void explain(struct control_answer *answer, const char *data,
                    const char *path, int rc)
{
    char *text = answer->text;
    size_t size = sizeof answer->text;

    answer->code = CONTROL_UNAVAILABLE;
    if (rc == -ENOENT || rc == -ENOTDIR)
        snprintf(text, size,
                 "no node is running on %s (there is no socket %s); start "
                 "one with: tidemark mount",
                 data, path);
    else if (rc == -ECONNREFUSED)
        snprintf(text, size,
                 "the node on %s has stopped (nobody answers on %s); start "
                 "it with: tidemark mount",
                 data, path);
    else if (rc == -EACCES || rc == -EPERM)
        snprintf(text, size,
                 "%s: permission denied; run this as the user of the node, or "
                 "in the group that owns %s",
                 path, data);
    else if (rc == -ETIMEDOUT)
        snprintf(text, size,
                 "the node on %s did not answer in time; look at its log",
                 data);
    else if (rc == -EPROTO)
        snprintf(text, size, "what answers on %s is not a node of this version",
                 path);
    else if (rc == -ECONNRESET || rc == -EPIPE)
        snprintf(text, size,
                 "the node on %s went away before it answered; look at its "
                 "log",
                 data);
    else
        snprintf(text, size, "%s: %s", path, strerror(-rc));
}

int control_client_ask(const char *data, json_t *question, uint64_t timeout_ms,
                       struct control_answer *ret_answer)
{
    struct conversation talk = {.fd = -1};
    char *line = question == NULL ? NULL : json_dumps(question, JSON_COMPACT);
    char path[4200];
    int rc = line == NULL ? -ENOMEM : 0;

    *ret_answer = (struct control_answer){0};
    json_decref(question);
    talk.deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    snprintf(path, sizeof path, "%.4096s/%s", data, CONTROL_SOCKET_NAME);
    if (rc == 0)
        rc = talk_connect(&talk, path);
    if (rc == 0)
        rc = talk_send(&talk, line, strlen(line));
    if (rc == 0)
        rc = talk_send(&talk, "\n", 1);
    /* A node that refuses us may close before it has read the question; its
     * reason then lies here already. */
    if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
        rc = talk_receive(&talk);
    if (rc == 0)
        rc = answer_read(ret_answer, talk.in, talk.in_used);
    if (rc < 0)
        explain(ret_answer, data, path, rc);
    talk_close(&talk);
    free(line);
    return rc;
}

void control_client_free(struct control_answer *answer)
{
    json_decref(answer->json);
    *answer = (struct control_answer){0};
}

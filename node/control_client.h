/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control_client.h - a command's end of the control socket
 * (control_code.h): one question, one answer, blocking with a deadline.
 * Any thread but the node's own.
 */
#ifndef TIDEMARK_NODE_CONTROL_CLIENT_H
#define TIDEMARK_NODE_CONTROL_CLIENT_H

#include "node/control_code.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CONTROL_CLIENT_TEXT_BYTES 1200

struct control_answer {
    json_t *json; /* owned; NULL when no answer came */
    bool ok;
    enum control_code code; /* unless ok; UNAVAILABLE when no answer came */
    char text[CONTROL_CLIENT_TEXT_BYTES]; /* unless ok: what to tell people */
};

/*
 * Asks the node whose data directory is data. question is a new reference,
 * taken; NULL: out of memory. 0 when the node answered, ok or not; else
 * -ENOENT or -ECONNREFUSED: no node runs there, -EACCES, -ETIMEDOUT: no
 * answer after timeout_ms, -EPROTO: not an answer. text is written whenever
 * ok is false. The caller frees ret_answer in any case.
 */
int control_client_ask(const char *data, json_t *question, uint64_t timeout_ms,
                       struct control_answer *ret_answer);

void control_client_free(struct control_answer *answer);

#endif

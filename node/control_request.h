/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control_request.h - one line of the control socket, understood or
 * refused. Bounded; any thread.
 */
#ifndef TIDEMARK_NODE_CONTROL_REQUEST_H
#define TIDEMARK_NODE_CONTROL_REQUEST_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum control_do { CONTROL_STATUS, CONTROL_TOKEN, CONTROL_WAIT, CONTROL_VERIFY };

struct control_request {
    enum control_do what;
    const char *database; /* all but STATUS; lives as long as json */
    const char *token;    /* WAIT */
    uint64_t timeout_ms;  /* WAIT */
    uint32_t from;        /* VERIFY: a page, from 1 */
    json_t *json;         /* owned */
};

#define CONTROL_REASON_BYTES 200

/* 0, or -EINVAL with the reason for the person at the other end. */
int control_request_parse(const char *line, size_t size,
                          struct control_request *ret_request,
                          char ret_reason[CONTROL_REASON_BYTES]);

void control_request_free(struct control_request *request);

#endif

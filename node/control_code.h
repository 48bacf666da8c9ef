/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/control_code.h - what both ends of the control socket agree on.
 *
 * A Unix stream socket, data/control.sock, mode 0660. The client writes one
 * JSON object per line and reads one JSON object per line, in order:
 *
 *   {"do":"status"}                       {"ok":true,"status":{...}}
 *   {"do":"token","db":"app.db"}          {"ok":true,"token":"..."}
 *   {"do":"wait","db":"app.db",           {"ok":true,"verdict":"reached"}
 *    "token":"...","timeout_ms":5000}
 *   {"do":"verify","db":"app.db",         {"ok":true,"next":1025,
 *    "from":1}                             "of_pages":2048,"page_bytes":4096,
 *                                          "damaged":0,"damaged_page":0}
 *
 * What cannot be done is {"error":"code","message":"what, on what, what to
 * do"}. Unknown members of a request are refused: a misspelt timeout must
 * not become the default one. The status object is docs/status.md.
 */
#ifndef TIDEMARK_NODE_CONTROL_CODE_H
#define TIDEMARK_NODE_CONTROL_CODE_H

#define CONTROL_SOCKET_NAME "control.sock" /* in the data directory */
#define CONTROL_LINE_MAX (64u << 10)       /* bytes of one request */
#define CONTROL_ANSWER_MAX (64u << 20)     /* bytes of one answer */
#define CONTROL_CONNECTIONS_MAX 1024u
#define CONTROL_TIMEOUT_MS 5000u /* of a wait that names none */

enum control_code {
    CONTROL_BAD_REQUEST, /* not understood, or not complete */
    CONTROL_BUSY,        /* a limit is reached; later it may work */
    CONTROL_NOT_FOUND,   /* no such database here */
    CONTROL_TIMEOUT,     /* not reached in time */
    CONTROL_LOST,        /* the token names a write that was cut off */
    CONTROL_UNKNOWN,     /* not a token of this database */
    CONTROL_UNAVAILABLE, /* this node cannot tell now */
    CONTROL_STOPPING,    /* the node goes down */
    CONTROL_CODES
};

/* "bad_request", "busy", ...; never NULL. */
const char *control_code_name(enum control_code code);

/* The code of that name; CONTROL_UNAVAILABLE for one of a newer node. */
enum control_code control_code_from(const char *name);

#endif

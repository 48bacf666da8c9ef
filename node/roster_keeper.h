/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/roster_keeper.h - keeps a roster in its file: reads it at the start,
 * writes it when it changes. The loop waits for no disk, so a thread of
 * libuv's pool writes; changes meanwhile make one more write. Loop thread.
 */
#ifndef TIDEMARK_NODE_ROSTER_KEEPER_H
#define TIDEMARK_NODE_ROSTER_KEEPER_H

#include "node/roster_file.h"

#include <uv.h>

/* Zeroed it keeps nothing. It must stay until the loop has run to its end. */
struct roster_keeper {
    uv_loop_t *loop;
    int data_fd;
    struct roster roster; /* everybody's on the loop */
    bool changed;         /* since the write that is under way, or before */
    bool writing;
    bool failing; /* told once */
    uv_work_t work;
    /* the pool's while `writing` */
    char *text;
    int rc;
    char failure[320];
};

/* Reads the file: see roster_file_load(). The roster is open after an error,
 * too. own: this node's id. */
int roster_keeper_open(struct roster_keeper *keeper, uv_loop_t *loop,
                       int data_fd, const char *own);

/* Each second or so: what could not be written is tried again. */
void roster_keeper_tick(struct roster_keeper *keeper);

/* After the loop ended: nothing is under way then. */
void roster_keeper_close(struct roster_keeper *keeper);

#endif

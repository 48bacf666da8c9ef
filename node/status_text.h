/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/status_text.h - the status object for people: one line per node, one
 * per database, and a sentence for each thing that is not green. Takes what
 * any node answers: a member it does not find is shown as "-". Any thread.
 */
#ifndef TIDEMARK_NODE_STATUS_TEXT_H
#define TIDEMARK_NODE_STATUS_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* 0, or -ENOMEM. */
int status_text_print(const json_t *status, FILE *to, bool colour);

#endif

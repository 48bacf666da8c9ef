/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faultfs/recorder.h - the trace that this file system writes.
 *
 * A change and its event are one: between recorder_lock() and recorder_add()
 * nobody else changes anything, so the trace has the order of what happened.
 */
#ifndef TIDEMARK_TESTS_FAULTFS_RECORDER_H
#define TIDEMARK_TESTS_FAULTFS_RECORDER_H

#include "tests/support/trace.h"

/* Makes the file anew. 0 or a negative errno. */
int recorder_open(const char *path);

void recorder_lock(void);
void recorder_unlock(void);

/* Adds an event, with the time; ends the process where that fails: a trace
 * with a hole would prove nothing. Returns how many there are. Locked. */
uint64_t recorder_add(const struct trace_item *item);

/* Somebody's word, as an event. Not locked. */
uint64_t recorder_mark(const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faultfs/control.h - commands while the file system runs.
 *
 * A Unix socket; each line is a command, each answer a line: "ok" or "error".
 * Commands are those of mishap.h, and
 *   mark TEXT     an event that says TEXT; answered by "ok N": its number,
 *                 and so many events are there now
 */
#ifndef TIDEMARK_TESTS_FAULTFS_CONTROL_H
#define TIDEMARK_TESTS_FAULTFS_CONTROL_H

/* Listens at path, on threads of its own, until the process ends. 0 or a
 * negative errno. */
int control_start(const char *path);

#endif

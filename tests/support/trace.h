/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/trace.h - what a file system was told, in order.
 *
 * A file of events, each a struct trace_event as it lies in memory, then its
 * names (with their zero) and its bytes: written and read on one machine.
 *
 * Objects (files, directories) have numbers that are never used again; the
 * root is TRACE_ROOT. An event that failed says why in `error`: it changed
 * nothing, but a failed sync is worth knowing of.
 */
#ifndef TIDEMARK_TESTS_SUPPORT_TRACE_H
#define TIDEMARK_TESTS_SUPPORT_TRACE_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_ROOT 1u

enum trace_kind {
    TRACE_BASE,     /* what came before was there when recording began */
    TRACE_CREATE,   /* parent/name is the new file `object` */
    TRACE_MKDIR,    /* parent/name is the new directory `object` */
    TRACE_LINK,     /* parent/name is one more name of `object` */
    TRACE_UNLINK,   /* parent/name is gone; it was `object` */
    TRACE_RMDIR,    /* the same, of a directory */
    TRACE_RENAME,   /* parent/name became parent_to/name_to */
    TRACE_WRITE,    /* data at offset */
    TRACE_TRUNCATE, /* to offset bytes, shorter or longer */
    TRACE_CHMOD,
    TRACE_CHOWN,
    TRACE_TIMES,
    TRACE_SYNC,     /* of a file, its bytes and its size */
    TRACE_SYNC_DIR, /* of a directory, its names */
    TRACE_MARK,     /* nothing happened: somebody's word, in data */
    TRACE_KINDS
};

struct trace_event {
    uint32_t kind;
    int32_t error; /* negative errno, or 0 */
    uint64_t object;
    uint64_t parent;
    uint64_t parent_to;
    uint64_t offset;
    uint64_t time_ns;  /* monotonic */
    uint64_t mtime_ns; /* of the object after it; 0: not changed by it */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t name_bytes; /* with the zero; 0: none */
    uint32_t name_to_bytes;
    uint32_t data_bytes;
};

/* One event in memory. Names are "" where there are none. */
struct trace_item {
    struct trace_event event;
    const char *name;
    const char *name_to;
    const uint8_t *data;
};

struct trace {
    const uint8_t *bytes; /* mapped */
    size_t size;
};

extern const char *const trace_names[TRACE_KINDS];

/* Appends one, by one system call; counts in its event are set from it. */
int trace_append(int fd, const struct trace_item *item);

/* Maps the file; items point into it until trace_close(). */
int trace_open(struct trace *trace, const char *path);
void trace_close(struct trace *trace);

/* The item at *at, which moves behind it. 0 at the end; a last one that is cut
 * short is the end. */
int trace_next(const struct trace *trace, size_t *at, struct trace_item *item);

#endif

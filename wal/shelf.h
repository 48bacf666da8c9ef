/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/shelf.h - the segments of one log in their directory: found at opening,
 * checked, and cut to what is whole. Part of log.c, which has the threads,
 * the appends and the reading; nobody else includes this.
 *
 * No locks in here: log.c says who may call. Functions return 0 or a negative
 * errno.
 */
#ifndef TIDEMARK_WAL_SHELF_H
#define TIDEMARK_WAL_SHELF_H

#include "wal/log.h"
#include "wal/segment.h"

struct shelf_segment {
    struct segment_header header;
    struct os_file file; /* for writing: while newest or not durable */
    uint64_t end;        /* bytes of header and whole records */
    uint64_t synced;     /* bytes known durable; <= end */
    bool suspect;        /* a sync failed: what follows synced is written
                            again before the next */
};

struct shelf {
    struct os_file dir;
    struct lineage lineage;
    struct shelf_segment **segments; /* owned; sequences without holes */
    size_t count;
    size_t capacity;
    struct continuity continuity; /* after all of them */
    struct log_cursor part1;      /* of the unfinished record, if any */
    struct segment_reader reader;
    struct os_file reading;    /* reader's own descriptor */
    uint32_t reading_sequence; /* what reader is turned to; 0: nothing */
};

/* Finds, checks and cuts as log.h says; fills in the segments' part of
 * ret_found. shelf must be zeroed; close it after an error too. */
int shelf_open(struct shelf *shelf, int dirfd, const char *path,
               const struct lineage *lineage, struct log_found *ret_found);
void shelf_close(struct shelf *shelf);

/* Oldest TXID whose whole record is still there; 0: none. */
txid_t shelf_first_txid(const struct shelf *shelf);
uint64_t shelf_bytes(const struct shelf *shelf);

/* The segment of that sequence, or NULL. */
struct shelf_segment *shelf_find(const struct shelf *shelf, uint32_t sequence);

/* Room for one more in segments[]. -ENOMEM. */
int shelf_reserve(struct shelf *shelf);

/* Opens the segment's file for writing, if it is not yet. */
int shelf_open_file(struct shelf *shelf, struct shelf_segment *segment);

/* Turns the reader to a segment (nothing happens when it is there already),
 * and lets go of its memory and descriptor. */
int shelf_turn(struct shelf *shelf, const struct shelf_segment *segment);
void shelf_rest(struct shelf *shelf);

/* What comes before `stop` (a record's place), as log_open() would find it. */
int shelf_continuity(struct shelf *shelf, const struct log_cursor *stop,
                     struct continuity *ret_continuity);

/*
 * Removes everything from place on, durably; aside: into `.cut-<n>` files.
 * segments[] follows; continuity is the caller's to set. May be called again
 * after an error and goes on where it failed.
 */
int shelf_cut(struct shelf *shelf, const struct log_cursor *place, bool aside);

#endif

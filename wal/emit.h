/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/emit.h - the primary's way out: changed pages become records in the
 * log, hashes follow, the position moves, the feeds are told. In this order,
 * so that whoever sees a position finds its record. Worker only.
 */
#ifndef TIDEMARK_WAL_EMIT_H
#define TIDEMARK_WAL_EMIT_H

#include "wal/engine.h"

/* Where the pages come from. */
struct emit_source {
    uint32_t count;
    pgno_t *pgnos; /* ascending; emit may compact it */
    /*
     * Image of pgno: a pointer that lives until the source is done, or into
     * buffer (one page), which fetch fills. 0 or -errno.
     */
    int (*fetch)(void *context, pgno_t pgno, uint8_t *buffer,
                 const uint8_t **ret_image);
    void *context;
};

/* What is said about them. */
struct emit_plan {
    uint32_t flags;   /* RECORD_PREPARED, RECORD_SNAPSHOT, RECORD_REREAD */
    uint64_t commits; /* TXIDs it takes */
    uint32_t page_bytes;
    uint32_t size_pages;
    bool drop_unchanged; /* leave out pages whose hash did not move */
    const struct walindex_header *wal; /* NULL: not from a WAL */
};

/*
 * Emits. When everything was dropped as unchanged and the size is the same
 * nothing is written and *ret_emitted is false. After an error the database
 * stands where it stood; calling again with the same changes is right.
 */
int emit(struct database *database, const struct emit_plan *plan,
         struct emit_source *source, bool *ret_emitted);

/*
 * Decides the prepared commit: RESOLVE, or RESOLVE|ABORT (which takes its TXID
 * with an empty record). wal: the published end that has it; NULL to abort,
 * and in a rollback mode.
 */
int emit_resolve(struct database *database, bool commit,
                 const struct walindex_header *wal);

/* Puts a record into the tail for the feeds; takes no reference. */
void emit_tail(struct database *database, const struct record_header *header,
               struct blob *blob);

/* Forgets the tail. */
void emit_tail_clear(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/notes.h - how news of a database travel inside the engine: notes to its
 * worker, word to the loop, its public view, its meta file.
 */
#ifndef TIDEMARK_WAL_NOTES_H
#define TIDEMARK_WAL_NOTES_H

#include "wal/engine.h"

/* A zeroed note, or NULL. */
struct note *note_new(enum note_kind kind);

/* Frees the note and what it owns. */
void note_free(struct note *note);

/* Leaves a note with the worker and wakes it; NULL (out of memory) is told
 * as an event and becomes a re-read. Any thread. */
void notes_post(struct database *database, struct note *note);

/*
 * Parks an application's request with the worker: DATABASE_PARKED. What no
 * worker would answer any more is answered at once, on_done does not come:
 * -EIO when the engine has stopped, notes_of_dropped(). Any thread.
 */
int notes_park(struct database *database, struct parked *parked, int what);

/* What is parked cannot be answered yet: it comes again. The worker. */
void notes_wait(struct database *database, struct parked *parked);

/* The answer to what is parked with a dropped database, for which there is
 * nothing left to capture: its file is of no name any more. */
int notes_of_dropped(int what);

/* Puts the database on its worker's list, which holds it; coalesces. Any
 * thread. */
void notes_wake(struct database *database);

/* Tells the loop that something about the database changed; coalesces. */
void notes_changed(struct database *database);

/* Gives a finished request back to the loop. */
void notes_done(struct catalog *catalog, struct database_request *request);

/* Up to which TXID a power cut takes nothing: what the log has synced, or the
 * database file itself, which a copy completed. Worker only. */
txid_t notes_durable(const struct database *database);

/* The position moves to the end of header's record. Worker only. */
void notes_publish(struct database *database,
                   const struct record_header *header);

/* Sets the state in the view and tells the loop. Worker only. */
void notes_state(struct database *database, enum database_state state);

/* Reports an event to the node. text may be NULL. */
void notes_event(struct database *database, enum database_event event,
                 const char *text);

/* The last call into the world failed: told once until notes_works(). */
void notes_fails(struct database *database);
void notes_works(struct database *database);

/* The lowest TXID the log must keep: `txid`, or less when something is
 * pinned. Any thread. */
txid_t notes_pinned(struct database *database, txid_t txid);

/* Nobody has it open: from now on opens park (state ATTACHING). False when
 * somebody has. Worker only. */
bool notes_begin_close(struct database *database);

/* An application's open was refused after it had been counted. */
void notes_left(struct database *database);

/* Writes the meta file from the database as it stands. Worker only. */
int notes_save_meta(struct database *database);

/* Nothing in it changes: written only if that failed the last time. Worker
 * only. */
int notes_keep_meta(struct database *database);

#endif

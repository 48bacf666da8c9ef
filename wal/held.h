/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/held.h - replica: notes that cannot be handled yet wait, and what
 * follows them waits behind them: order is everything to what changes content.
 * Worker only.
 *
 *   what stands in the way                   what waits for it
 *   a closing checkpoint (apply.hold)        content
 *   any checkpoint (apply.checkpointing)     the drop
 *   who had the name before (after)          content, the drop
 *   processes of before (state HELD_BACK)    content, the drop, the restart
 */
#ifndef TIDEMARK_WAL_HELD_H
#define TIDEMARK_WAL_HELD_H

#include "wal/engine.h"

/* True: the note waits, and is owned here. False: handle it now. */
bool held_take(struct database *database, struct note *note);

/* The next one that waits no longer, for the caller to handle and to free;
 * NULL: none, or it still has to wait. */
struct note *held_next(struct database *database);

/* All of it goes: the database was dropped, or the engine stops. */
void held_forget(struct database *database);

#endif

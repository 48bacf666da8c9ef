/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/verify.h - pages are what was written: what a reader sees of them has the
 * hash that the table says.
 *
 * On a replica nothing moves while its worker looks. On a primary applications
 * go on: a page may be newer than the table, or one that was written and
 * written again before anybody looked. So a page counts as damaged only when
 * page and table twice said the same two things. Damage is told by page: a
 * primary sends no such page to anybody, a replica fetches it anew. Worker
 * only.
 */
#ifndef TIDEMARK_WAL_VERIFY_H
#define TIDEMARK_WAL_VERIFY_H

#include "wal/engine.h"

/* Answers a DATABASE_VERIFY. -EAGAIN: a writer is in the way; -EBUSY: it has no
 * content to go by now. */
int verify_range(struct database *database, struct database_request *request);

/* A page was read as `hash`, which is not what the table said before and says
 * now. 0: it was on its way; -EBADMSG: it is damaged, and that was told. */
int verify_suspect(struct database *database, pgno_t pgno, uint64_t hash);

/* Every page is as it should be, because all of it is new. */
void verify_forget(struct database *database);

#endif

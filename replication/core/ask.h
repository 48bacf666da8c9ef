/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/ask.h - a primary that starts, and what a replica says that
 * it has: is any of it what this primary has lost?
 *
 *   other lineage                                   ASK_OTHER
 *   histories part before the end of either         ASK_PARTED
 *   all the replica has is ours                     ASK_NOTHING
 *   all we have is the replica's, and it has more   ASK_MORE
 *
 * By histories, as in feed.h. A replica that is ASK_MORE may be asked for what
 * comes after our position; one that is ASK_PARTED holds another branch, which
 * is no continuation of ours. Pure. Any thread.
 */
#ifndef TIDEMARK_REPLICATION_CORE_ASK_H
#define TIDEMARK_REPLICATION_CORE_ASK_H

#include "replication/core/body.h"

enum ask_answer { ASK_OTHER, ASK_PARTED, ASK_NOTHING, ASK_MORE };

enum ask_answer ask_judge(const struct lineage *lineage,
                          const struct position *position,
                          const struct history *history,
                          const struct body_database *replica);

/* Of two replicas that both have something that we have not: does a know better
 * than b? The newer epoch does: what an older one has beyond it was replaced
 * while that replica was away. Of one epoch, who has more. */
bool ask_is_better(const struct body_database *a,
                   const struct body_database *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* replication/core/lag.c - see lag.h. */
#include "replication/core/lag.h"

static struct lag_mark *mark_at(struct lag *lag, size_t index)
{
    return &lag->marks[(lag->first + index) % LAG_MARKS];
}

void lag_published(struct lag *lag, txid_t txid, uint64_t now_ns)
{
    if (txid <= lag->published)
        return;
    lag->published = txid;
    if (lag->count == LAG_MARKS)
        mark_at(lag, lag->count - 1)->txid = txid;
    else
        *mark_at(lag, lag->count++) = (struct lag_mark){txid, now_ns};
}

void lag_applied(struct lag *lag, txid_t txid, uint64_t now_ns)
{
    if (txid <= lag->applied)
        return;
    lag->applied = txid;
    while (lag->count > 0 && lag->marks[lag->first].txid <= txid) {
        if (lag->marks[lag->first].txid > lag->backlog)
            lag->last_ns = now_ns - lag->marks[lag->first].at_ns;
        lag->first = (lag->first + 1) % LAG_MARKS;
        lag->count--;
    }
}

void lag_restart(struct lag *lag, txid_t applied, txid_t published,
                 uint64_t now_ns)
{
    lag->count = 0;
    lag->applied = applied;
    lag->published = applied;
    lag_published(lag, published, now_ns);
    lag->backlog = lag->published;
}

uint64_t lag_ns(const struct lag *lag, uint64_t now_ns)
{
    uint64_t age;

    if (lag->count == 0)
        return lag->last_ns;
    age = now_ns - lag->marks[lag->first].at_ns;
    return age > lag->last_ns ? age : lag->last_ns;
}

uint64_t lag_txids(const struct lag *lag)
{
    return lag->published > lag->applied ? lag->published - lag->applied : 0;
}

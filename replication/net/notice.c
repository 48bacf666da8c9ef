/* SPDX-License-Identifier: Apache-2.0 */
/* replication/net/notice.c - see notice.h. */
#include "replication/net/notice.h"

#include "base/logger.h"

#include <errno.h>
#include <stdio.h>

static void owner_is_told(struct supply *supply)
{
    const struct database_view *view = &supply->view;

    supply->told_uid = view->owner_uid;
    supply->told_gid = view->owner_gid;
    supply->told_mode = view->owner_mode;
}

int notice_open(struct supply *supply, const struct feed_action *action)
{
    const struct database_view *view = &supply->view;
    struct body_open open = {
        .mode = action->mode,
        .reason = action->reason,
        .diverged = action->diverged,
        .serial = action->serial,
        .lineage = view->lineage,
        .position = action->position,
        .page_bytes = view->page_bytes,
        .size_pages = view->size_pages,
        .uid = view->owner_uid,
        .gid = view->owner_gid,
        .mode_bits = view->owner_mode,
    };
    struct blob *blob = NULL;
    int rc;

    snprintf(open.name, sizeof open.name, "%s",
             database_name(supply->database));
    rc = database_history_to_tell(supply->database, &open.history);
    if (rc == 0)
        rc = body_open_encode(supply->stream, &open, &blob);
    history_free(&open.history);
    if (rc < 0) {
        link_close(supply->link, rc);
        return rc;
    }
    supply->opened = true;
    owner_is_told(supply);
    log_info(
        "replication.open", "database=%s peer=%s mode=%s reason=%s txid=%llu",
        logger_quote(open.name), supply->link->peer, body_mode_name(open.mode),
        body_reason_name(open.reason), (unsigned long long)open.position.txid);
    link_send(supply->link, blob);
    return 0;
}

void notice_copied(struct supply *supply, const struct position *position)
{
    struct blob *blob;
    int rc = body_copied_encode(supply->stream, position, &blob);

    if (rc < 0)
        link_close(supply->link, rc);
    else
        link_send(supply->link, blob);
}

void notice_drop(struct supply *supply)
{
    struct body_drop drop = {.lineage = supply->view.lineage};
    struct blob *blob;
    int rc;

    snprintf(drop.name, sizeof drop.name, "%s",
             database_name(supply->database));
    rc = body_drop_encode(supply->stream, &drop, &blob);
    if (rc < 0)
        link_close(supply->link, rc);
    else
        link_send(supply->link, blob);
}

void notice_owner(struct supply *supply)
{
    const struct database_view *view = &supply->view;
    struct body_attr attr = {view->owner_uid, view->owner_gid,
                             view->owner_mode};
    struct blob *blob;

    if (!supply->opened || supply->link->closing ||
        (supply->told_uid == attr.uid && supply->told_gid == attr.gid &&
         supply->told_mode == attr.mode_bits))
        return;
    if (body_attr_encode(supply->stream, &attr, &blob) < 0)
        return; /* the next change tries again */
    owner_is_told(supply);
    link_send(supply->link, blob);
}

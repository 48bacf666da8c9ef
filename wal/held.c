/* SPDX-License-Identifier: Apache-2.0 */
/* wal/held.c - see held.h. */
#include "wal/held.h"

#include "wal/notes.h"

static bool is_content(enum note_kind kind)
{
    return kind == NOTE_OFFER || kind == NOTE_COPY_BEGIN ||
           kind == NOTE_COPY_CHUNK || kind == NOTE_COPY_HASHES ||
           kind == NOTE_COPY_SAME || kind == NOTE_COPY_END;
}

/* What is said about content that came before: a history that is on disk
 * before the copy it belongs to has begun would be taken for that of the old
 * content, a copy given up before it began would never end. */
static bool is_about_content(enum note_kind kind)
{
    return kind == NOTE_HISTORY || kind == NOTE_COPY_ABANDON ||
           kind == NOTE_RESTART || kind == NOTE_DROP;
}

static bool has_to_wait(const struct database *database, enum note_kind kind)
{
    bool before = database->after != NULL;

    if (database->view.state == DATABASE_HELD_BACK)
        return is_content(kind) || kind == NOTE_DROP || kind == NOTE_RESTART;
    if (kind == NOTE_DROP)
        return database->apply.checkpointing || before;
    if (kind == NOTE_HISTORY) /* makes our files, and looks who has the name */
        return before;
    /* Published: readers see a copy whose log is not in its place yet. */
    return is_content(kind) &&
           (database->apply.hold || before || database->incoming.published);
}

bool held_take(struct database *database, struct note *note)
{
    bool ordered = is_content(note->kind) || is_about_content(note->kind);

    if (!has_to_wait(database, note->kind) &&
        !(ordered && !list_is_empty(&database->held)))
        return false;
    list_push_back(&database->held, &note->link);
    return true;
}

void held_forget(struct database *database)
{
    struct list *link;

    while ((link = list_pop(&database->held)) != NULL)
        note_free(LIST_ENTRY(link, struct note, link));
}

struct note *held_next(struct database *database)
{
    struct note *note;

    if (list_is_empty(&database->held))
        return NULL;
    note = LIST_ENTRY(database->held.next, struct note, link);
    if (has_to_wait(database, note->kind))
        return NULL;
    list_remove(&note->link);
    return note;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/overwrite.c - see overwrite.h.
 *
 * Which descriptor emptied the file is not known: the kernel cuts it between
 * an OPEN and its reply to the application, without naming one. So each writer
 * that closes it may be the one, until nobody has it open.
 */
#include "wal/overwrite.h"

#include "wal/attach.h"
#include "wal/notes.h"
#include "wal/recover.h"
#include "wal/rollback.h"

#include <errno.h>

/*
 * SQLite empties a database only to play a journal back. What a WAL holds
 * would later be put over the new file: then it is refused, and when it was
 * only our anchor that kept the WAL, trying again works.
 */
int overwrite_begin(struct database *database)
{
    bool wal = recover_wal_is_left(database), used;

    if (rollback_is_open(database))
        return 0;
    pthread_mutex_lock(&database->lock);
    used = wal && database->lock_fd >= 0;
    if (used)
        database->let_go = true;
    else if (database->view.applications > 0)
        database->overwriting = database->overwritten = true;
    pthread_mutex_unlock(&database->lock);
    return used ? -EBUSY : 0;
}

void overwrite_closed(struct database *database, bool was_writable)
{
    bool replaced, let_go, nobody;

    pthread_mutex_lock(&database->lock);
    nobody = database->view.applications == 0;
    replaced = was_writable && database->overwritten;
    let_go = nobody && database->let_go;
    if (let_go)
        database->let_go = false;
    if (nobody)
        database->overwritten = false;
    pthread_mutex_unlock(&database->lock);
    if (replaced)
        notes_post(database, note_new(NOTE_REPLACED));
    if (let_go)
        notes_post(database, note_new(NOTE_DETACH));
}

bool overwrite_is_on(struct database *database)
{
    bool on;

    pthread_mutex_lock(&database->lock);
    on = database->overwriting;
    pthread_mutex_unlock(&database->lock);
    return on;
}

void overwrite_end(struct database *database)
{
    ASSERT_ON_WORKER();
    pthread_mutex_lock(&database->lock);
    database->overwriting = false;
    pthread_mutex_unlock(&database->lock);
    attach_close(database, false);
    database->needs_reread = true;
    database->attach_at_valid = false;
    notes_state(database, DATABASE_CLOSED);
}

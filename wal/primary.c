/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/primary.c - one database on the primary.
 *
 *   CLOSED --open--> ROLLBACK --WAL in page 1--> ATTACHING --> ATTACHED
 *      ^                |                           |   ^         |
 *      |                |                           +---+ busy    |
 *      +---last close, idle for a while---------------------------+
 *
 * A step does what is due and returns; nothing here waits but for the disk
 * and, in attach and detach, for our own requests to the mount.
 */
#include "wal/primary.h"

#include "base/clock.h"
#include "wal/attach.h"
#include "wal/capture.h"
#include "wal/catalog.h"
#include "wal/missing.h"
#include "wal/notes.h"
#include "wal/overwrite.h"
#include "wal/owner.h"
#include "wal/pace.h"
#include "wal/recover.h"
#include "wal/recover_wal.h"
#include "wal/remains.h"
#include "wal/reread.h"
#include "wal/retention.h"
#include "wal/rollback.h"
#include "wal/worker.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define IDLE_NS (3 * NS_PER_S)        /* anchor's life after the last close */
#define RETRY_BUSY_NS (2 * NS_PER_MS) /* somebody holds a lock */
#define RETRY_FAILED_NS (100 * NS_PER_MS)
#define GATE_NS (1 * NS_PER_S)         /* a gated FSYNC waits at most */
#define OPEN_NS (10 * NS_PER_S)        /* a parked OPEN waits at most */
#define RETRY_SOON_NS (50 * NS_PER_US) /* a header just being written */

static bool is_attached(const struct database *database)
{
    return database->anchor.connection != NULL &&
           database->view.state == DATABASE_ATTACHED;
}

static void gap_found(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    database->view.gaps++;
    pthread_mutex_unlock(&database->lock);
    database->needs_reread = true;
    database->capture.had_gap = true;
    notes_event(database, DATABASE_EVENT_GAP,
                "commits were overwritten before they were seen "
                "(synchronous=OFF?); re-reading by page hash");
}

/* Re-reads if that is due; true when nothing stands in the way of going on. */
static bool reread_if_due(struct database *database)
{
    int rc;

    if (!database->needs_reread)
        return true;
    rc = reread(database);
    if (rc == 0) {
        notes_works(database);
        return true;
    }
    if (rc != -EAGAIN)
        notes_fails(database);
    worker_at(database, clock_now_ns() +
                            (rc == -EAGAIN ? RETRY_BUSY_NS : RETRY_FAILED_NS));
    return false;
}

/* Where capture begins in the WAL we find. */
static void attached_start(struct database *database)
{
    struct walindex_header header, start;

    database->capture.valid = false;
    if (walindex_read(&database->index, &header) < 0) {
        database->needs_reread = true;
        return;
    }
    start = header;
    if (database->attach_at_valid &&
        memcmp(database->attach_at.salt, header.salt, FRAME_SALT_BYTES) == 0) {
        /* A WAL that was captured up to attach_at, and nobody wrote since. */
        if (header.max_frame != database->attach_at.max_frame)
            database->needs_reread = true;
    } else {
        /* Nobody could reset this WAL before we came: from its first frame,
         * and iChange, 0 when it was made, says whether that is all. */
        start.max_frame = 0;
        start.change = 0;
    }
    database->attach_at_valid = false;
    capture_start(database, &start);
}

/* 1: captured something; 0: nothing new; negative: not captured, not all. */
static int pass(struct database *database)
{
    int rc;

    if (!reread_if_due(database))
        return -EAGAIN;
    rc = capture_pass(database);
    if (rc == -ESTALE) {
        gap_found(database);
        return reread_if_due(database) ? 1 : -EAGAIN;
    }
    if (rc < 0 && rc != -EAGAIN) {
        notes_fails(database);
        worker_at(database, clock_now_ns() + RETRY_FAILED_NS);
    } else if (rc >= 0) {
        notes_works(database);
    }
    return rc;
}

static void attached_enter(struct database *database)
{
    attached_start(database);
    notes_state(database, DATABASE_ATTACHED);
    (void)pass(database);
}

/* The file is not as the position's last commit left it: what changed comes
 * from a WAL that was there and went before we attached, seen by nobody. */
static bool was_checkpointed(struct database *database)
{
    struct meta_fingerprint now;

    return meta_take_fingerprint(database->catalog->config.data_fd,
                                 database->backing, &now) < 0 ||
           !meta_fingerprint_is_equal(&now, &database->explained);
}

static void attach_try(struct database *database)
{
    int rc;

    if (rollback_is_pending(database))
        return; /* first what was committed before; that wakes us */
    notes_state(database, DATABASE_ATTACHING);
    attach_unwatch(database);
    rc = attach_open(database);
    if (rc == 0) {
        if (was_checkpointed(database))
            database->needs_reread = true;
        attached_enter(database);
        return;
    }
    if (rc != -EAGAIN)
        notes_fails(database);
    worker_at(database, clock_now_ns() +
                            (rc == -EAGAIN ? RETRY_BUSY_NS : RETRY_FAILED_NS));
}

int primary_ready(struct database *database)
{
    int rc;

    if (is_attached(database))
        return 0;
    if (database->closing)
        return -ECANCELED;
    if (overwrite_is_on(database))
        return -EAGAIN;
    rc = attach_main(database);
    if (rc < 0)
        return rc;
    reread_if_abandoned(database);
    if (database->needs_reread || database->prepared.present)
        return -EAGAIN;
    if (!attach_is_wal(database))
        return 0;
    if (!rollback_is_open(database))
        attach_try(database);
    notes_wake(database); /* nobody may have it open: let go again */
    return is_attached(database) && !database->needs_reread ? 0 : -EAGAIN;
}

int primary_settle(struct database *database)
{
    if (is_attached(database))
        return pass(database) < 0 ? -EAGAIN : 0;
    if (rollback_is_pending(database))
        return -EAGAIN;
    /* Our own connection may have played a dead writer's journal back: pages
     * that were free before it are not as they were. */
    rollback_check(database);
    return database->needs_reread ? -EAGAIN : 0;
}

void primary_detach(struct database *database)
{
    bool attached = database->anchor.connection != NULL, complete = true;

    if (!attached) {
        rollback_check(database);
    } else {
        complete = pass(database) >= 0 && log_sync(database->log) == 0;
        database->attach_at = database->capture.seen;
        database->attach_at_valid = complete && database->capture.valid;
    }
    retention_step(database, true);
    notes_state(database, DATABASE_ATTACHING); /* opens wait for us */
    attach_unwatch(database);
    attach_close(database, complete);
    capture_free(&database->capture);
    if (attached)
        database->explained = (struct meta_fingerprint){0};
    if (attached && complete)
        rollback_explained(database);
    notes_state(database, DATABASE_CLOSED);
    recover_mark_clean(NULL, database); /* with no WAL nothing else tells */
    if (database->needs_reread)
        notes_wake(database);
}

static uint32_t applications(struct database *database)
{
    uint32_t count;

    pthread_mutex_lock(&database->lock);
    count = database->view.applications;
    pthread_mutex_unlock(&database->lock);
    return count;
}

/* No application for a while: let go. */
static void idle_check(struct database *database)
{
    uint64_t now = clock_now_ns();

    if (applications(database) > 0) {
        database->idle_since_ns = 0;
        return;
    }
    if (database->view.state == DATABASE_CLOSED || database->needs_reread)
        return;
    if (database->idle_since_ns == 0)
        database->idle_since_ns = now;
    if (now - database->idle_since_ns >= IDLE_NS) {
        database->idle_since_ns = 0;
        if (notes_begin_close(database))
            primary_detach(database);
        return;
    }
    worker_at(database, database->idle_since_ns + IDLE_NS);
}

/* An event that was not looked into: it is as if it came now. */
static void event_again(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    database->modified = true;
    pthread_mutex_unlock(&database->lock);
}

/* How large the WAL is, as far as it is captured. */
static void frames_show(struct database *database)
{
    const struct capture *capture = &database->capture;

    pthread_mutex_lock(&database->lock);
    database->view.wal_frames = capture->valid ? capture->seen.max_frame : 0;
    pthread_mutex_unlock(&database->lock);
}

static void attached_step(struct database *database, bool modified, bool synced)
{
    bool again;
    int rc = 0;

    if (database->needs_reread || capture_has_news(database))
        rc = pass(database);
    if (rc == -EAGAIN)
        worker_at(database, clock_now_ns() + RETRY_SOON_NS);
    again = pace_step(database);
    if (again && rc >= 0 && capture_has_news(database))
        rc = pass(database);
    if (rc < 0 && (again || modified))
        event_again(database);
    else if (rc >= 0 && pace_look(database, again || modified, synced))
        (void)pass(database);
    frames_show(database);
    retention_step(database, false);
}

static void rollback_step(struct database *database, bool modified)
{
    bool unwatched;

    if (attach_main(database) < 0)
        return; /* being created, or gone */
    if (recover_unmark_clean(database) < 0)
        notes_fails(database);
    if (!database->prepared.present && attach_is_wal(database)) {
        if (!rollback_is_open(database)) {
            attach_try(database);
            return;
        }
        /* The commit that makes it WAL is in the file, not yet committed. */
        worker_at(database, clock_now_ns() + RETRY_BUSY_NS);
    }
    /* What was written before the watch is there raises no event. */
    unwatched = database->watch_main < 0;
    notes_state(database, DATABASE_ROLLBACK);
    if (attach_watch(database, false) < 0)
        notes_fails(database);
    if (modified || unwatched)
        rollback_check(database);
    (void)reread_if_due(database);
    retention_step(database, false);
}

/* Orphans wrote whatever they wrote: when they are gone, read it all. */
static void held_back_check(struct database *database)
{
    int rc = recover_has_orphans(database) ? -EAGAIN
                                           : recover_unsummed(database);

    if (rc < 0) {
        if (rc != -EAGAIN)
            notes_fails(database);
        worker_at(database, clock_now_ns() + NS_PER_S);
        return;
    }
    notes_works(database);
    database->needs_reread = true;
    notes_state(database, DATABASE_CLOSED);
    notes_event(database, DATABASE_EVENT_RECOVERED,
                "no process from before has it open any more; re-reading");
    notes_wake(database);
}

/* A file that holds content before we knew it is read whole, once. Without a
 * log of its own (the disk is full) a database is captured by nobody: its
 * commits are refused where we can, and it is tried again. */
static void adopt(struct database *database)
{
    owner_changed(database); /* since it was found, before it was known */
    if (missing_end(database) < 0 || catalog_create_files(database) < 0) {
        notes_fails(database);
        worker_at(database, clock_now_ns() + RETRY_FAILED_NS);
        return;
    }
    notes_works(database);
    if (attach_main(database) < 0)
        return;
    rollback_explained(database);
    if (database->explained.size_bytes > 0 && database->view.position.txid == 0)
        database->needs_reread = true;
    notes_event(database, DATABASE_EVENT_ADOPTED, NULL);
}

void primary_step(struct database *database, bool modified, bool synced)
{
    if (database->view.state == DATABASE_DROPPED || database->closing ||
        overwrite_is_on(database))
        return;
    if (database->view.state == DATABASE_HELD_BACK) {
        held_back_check(database);
        return;
    }
    if (database->log == NULL) {
        adopt(database);
        return;
    }
    /* Opened, written without a journal and closed before we looked. */
    if (database->view.state == DATABASE_CLOSED &&
        database->explained.size_bytes > 0)
        rollback_check(database);
    if (is_attached(database))
        attached_step(database, modified, synced);
    else if (applications(database) > 0 || database->needs_reread ||
             database->view.state == DATABASE_ATTACHING) /* tried, was busy */
        rollback_step(database, modified);
    else if (retention_is_over(database))
        retention_step(database, true);
    idle_check(database);
}

/* ---- parked requests ---------------------------------------------------- */

static bool has_waited(const struct parked *parked, uint64_t limit_ns)
{
    return clock_now_ns() - parked->since_ns >= limit_ns;
}

static void keep_waiting(struct database *database, struct parked *parked,
                         uint64_t limit_ns)
{
    uint64_t soon = clock_now_ns() + RETRY_BUSY_NS;
    uint64_t last = parked->since_ns + limit_ns;

    notes_wait(database, parked);
    worker_at(database, soon < last ? soon : last);
}

static void parked_open(struct database *database, struct parked *parked)
{
    bool known = !overwrite_is_on(database);

    if (known &&
        (is_attached(database) || database->view.state == DATABASE_ROLLBACK)) {
        parked->on_done(parked, 0);
    } else if (has_waited(parked, OPEN_NS)) {
        notes_event(database, DATABASE_EVENT_REFUSED,
                    "open: the anchor could not be attached in time");
        parked->on_done(parked, -EBUSY);
    } else {
        keep_waiting(database, parked, OPEN_NS);
    }
}

/* Everything published before the FSYNC came is captured: make the log
 * durable, then answer. The WAL is synced meanwhile by who asks. */
static void parked_fsync_wal(struct database *database, struct parked *parked)
{
    bool captured = is_attached(database) && !database->needs_reread &&
                    !database->failing && !capture_has_news(database);
    int rc = 0;

    if (captured)
        rc = log_sync(database->log);
    if (captured && rc == 0) {
        parked->on_done(parked, 0);
        return;
    }
    if (!has_waited(parked, GATE_NS)) {
        keep_waiting(database, parked, GATE_NS);
        return;
    }
    pthread_mutex_lock(&database->lock);
    database->view.gate_timeouts++;
    pthread_mutex_unlock(&database->lock);
    notes_event(database, DATABASE_EVENT_REFUSED,
                "gate: a checkpoint was postponed, its frames are not "
                "captured yet");
    /* It may be a commit's own FSYNC, which must not fail for this. */
    rc = is_attached(database) && capture_is_pending(database) ? 0 : -EIO;
    parked->on_done(parked, rc);
}

static void parked_fsync_main(struct database *database, struct parked *parked)
{
    int rc = attach_main(database);

    /* Attached since: it is a checkpoint's, and older than what is captured. */
    if (rc == 0 && !is_attached(database))
        rc = rollback_prepare(database);
    if (rc == -EAGAIN && !has_waited(parked, OPEN_NS)) {
        keep_waiting(database, parked, OPEN_NS);
        return;
    }
    if (rc == -EAGAIN)
        notes_event(database, DATABASE_EVENT_REFUSED,
                    "a sync failed: the commit before it does not end");
    else if (rc < 0)
        notes_fails(database);
    else
        notes_works(database);
    parked->on_done(parked, rc < 0 ? -EIO : 0);
}

static void parked_pass(struct database *database, struct parked *parked)
{
    int rc = 0;

    if (overwrite_is_on(database) ||
        database->view.state == DATABASE_HELD_BACK) {
        rc = -EAGAIN; /* programs of before the start commit unseen */
    } else if (is_attached(database)) {
        rc = pass(database);
    } else if (database->view.state == DATABASE_ROLLBACK) {
        rc = rollback_pass(database);
        if (rc == 0 && !reread_if_due(database))
            rc = -EAGAIN;
    } else if (database->needs_reread ||
               database->view.state == DATABASE_ATTACHING) {
        rc = -EAGAIN; /* the next step does it; a WAL is not seen yet */
    }
    if (rc < 0 && !has_waited(parked, GATE_NS))
        keep_waiting(database, parked, GATE_NS);
    else
        parked->on_done(parked, rc < 0 ? -EIO : 0);
}

void primary_parked(struct database *database, struct parked *parked)
{
    if (database->log == NULL && parked->what != PARKED_OPEN) {
        parked->on_done(parked, -EIO);
        return;
    }
    switch ((enum primary_parked)parked->what) {
    case PARKED_OPEN:
        parked_open(database, parked);
        break;
    case PARKED_FSYNC_WAL:
        parked_fsync_wal(database, parked);
        break;
    case PARKED_FSYNC_MAIN:
        parked_fsync_main(database, parked);
        break;
    case PARKED_PASS:
        parked_pass(database, parked);
        break;
    }
}

/* ---- notes --------------------------------------------------------------- */

static void note_tried(struct database *database, int rc)
{
    if (rc == 0) {
        notes_works(database);
        return;
    }
    /* The commit stands in the file: a re-read finds it, whatever failed. */
    notes_fails(database);
    database->needs_reread = true;
    worker_at(database, clock_now_ns() + RETRY_FAILED_NS);
}

/* Before it has its files nothing is captured: all of it is read then. */
static bool needs_files(enum note_kind kind)
{
    return kind == NOTE_RESOLVE || kind == NOTE_CHANGES || kind == NOTE_CUT;
}

void primary_note(struct database *database, struct note *note)
{
    if (database->view.state == DATABASE_DROPPED)
        return; /* who has it open still commits: to a file of no name */
    if (database->log == NULL && needs_files(note->kind)) {
        database->needs_reread = true;
        return;
    }
    switch (note->kind) {
    case NOTE_ADOPT:
        adopt(database);
        break;
    case NOTE_RESOLVE:
        note_tried(database, rollback_resolve(database, note));
        break;
    case NOTE_CHANGES:
        note_tried(database, rollback_changes(database, note));
        break;
    case NOTE_REREAD:
        database->needs_reread = true;
        break;
    case NOTE_OWNER:
        owner_changed(database);
        break;
    case NOTE_UNLINKED:
        remains_bury(database);
        break;
    case NOTE_DETACH:
        if (notes_begin_close(database))
            primary_detach(database);
        break;
    case NOTE_STOP:
        database->closing = true;
        if (database->view.state != DATABASE_HELD_BACK)
            primary_detach(database); /* else it is still to be re-read */
        break;
    case NOTE_CUT:
        rollback_cut(database, note);
        break;
    case NOTE_REPLACED:
        overwrite_end(database);
        owner_changed(database);
        break;
    case NOTE_HISTORY:
    case NOTE_OFFER:
    case NOTE_COPY_BEGIN:
    case NOTE_COPY_CHUNK:
    case NOTE_COPY_HASHES:
    case NOTE_COPY_SAME:
    case NOTE_COPY_END:
    case NOTE_COPY_ABANDON:
    case NOTE_DROP:
    case NOTE_RESTART:
    case NOTE_CHECKPOINTED:
        break; /* a replica's; this node is the primary now */
    }
}

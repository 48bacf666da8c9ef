/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/database.h - the engine: a catalog of databases, each captured (on the
 * primary) or applied (on a replica) by one worker thread.
 *
 * Three sides meet here and none waits for another:
 *
 *   FUSE workers  tell what applications do to files (database_on_...), and
 *                 may leave a request parked: it is answered later, from a
 *                 worker thread, by on_done.
 *   loop          asks for records and copies, offers what arrives from the
 *                 primary; answers come back through catalog_dispatch().
 *   workers       own everything else of a database: anchor, capture, apply,
 *                 log, hashes. All others only leave a note and wake them.
 *
 * Names are paths relative to the mount, no leading slash. Functions return 0
 * or a negative errno unless said otherwise.
 */
#ifndef TIDEMARK_WAL_DATABASE_H
#define TIDEMARK_WAL_DATABASE_H

#include "base/blob.h"
#include "base/list.h"
#include "base/os.h"
#include "wal/history.h"
#include "wal/position.h"
#include "wal/record.h"

#define DATABASE_NAME_MAX 1024

struct catalog;  /* all databases of this node; opaque */
struct database; /* one of them, by reference count; opaque */

enum database_role { DATABASE_PRIMARY, DATABASE_REPLICA };

/* Something the node should tell people; names as in logs. */
enum database_event {
    DATABASE_EVENT_ADOPTED,   /* a file became a database */
    DATABASE_EVENT_RECOVERED, /* after an unclean stop; text says how */
    DATABASE_EVENT_GAP,       /* commits were not seen; re-read and healed */
    DATABASE_EVENT_CHANGED,   /* content changed without a journal; re-read */
    DATABASE_EVENT_DROPPED,
    DATABASE_EVENT_HELD_BACK, /* orphans still have it open */
    DATABASE_EVENT_STOPPED,   /* apply refused a record; text says why */
    DATABASE_EVENT_FAILED,    /* the world said no; text is site_failure() */
    DATABASE_EVENT_RESUMED,   /* after FAILED, going on */
    DATABASE_EVENT_REFUSED,   /* an application's request; text says what */
    DATABASE_EVENT_DAMAGED,   /* a page is not what was written; text: which */
    DATABASE_EVENT_PROGRESS,  /* of work that lasts; text says how far it is */
    DATABASE_EVENT_STRANGE,   /* replica: a file that is not the primary's */
};

struct catalog_config {
    int data_fd;            /* open data directory, borrowed */
    const char *mount_path; /* absolute, borrowed */
    bool passthrough;       /* what the mount really does; set before start */
    enum database_role role;
    bool asks; /* a primary that will catalog_ask() before it starts */
    bool writes_readonly; /* replica: refuse -wal read-write (readonly) */
    unsigned workers;     /* threads; 0: one per core, at most 4 */
    uint64_t log_retain_bytes;
    uint64_t log_total_bytes; /* of all logs together; 0: without limit */
    uint64_t log_max_age_ns;  /* 0: age does not count */
    void *context;
    /* Any worker or FUSE thread: call catalog_dispatch() on the loop soon.
     * Must coalesce and not block (uv_async_send). */
    void (*on_wake)(void *context);
    /* On the loop, inside catalog_dispatch(): position, history, state or
     * existence of database changed. */
    void (*on_changed)(void *context, struct database *database);
    /* Any thread. name and text are only valid during the call. */
    void (*on_event)(void *context, enum database_event event, const char *name,
                     const char *text);
};

const char *database_event_name(enum database_event event);

/* ---- life ------------------------------------------------------------- */

/*
 * Reads data/, recovers every database from what the last run left (before
 * anything is mounted; nobody has the files open but orphans, which are
 * found and held back), and on a primary begins a new epoch. config is
 * copied. Main thread.
 */
int catalog_open(struct catalog **ret_catalog,
                 const struct catalog_config *config);

/*
 * Before catalog_start(), when config.asks: starts the workers, which take
 * nothing but what a replica has (database_offer(), database_copy_begin()) and
 * DATABASE_GRAFT. Nobody has the files open, and the mount need not answer.
 * After it: -EBUSY, unless the catalog is empty; what is created meanwhile
 * waits. catalog_start() ends it either way. Loop.
 */
int catalog_ask(struct catalog *catalog);

/* No database is here, nor was dropped here, nor is missing. Any thread. */
bool catalog_is_empty(struct catalog *catalog);

/* A replica has heard of epoch: the new one will be above it. While it asks.
 * Loop. */
void catalog_hear_epoch(struct catalog *catalog, epoch_t epoch);

/* May records be offered to it while the catalog asks? Not when nothing tells
 * what its files should hold. While it asks. Any thread. */
bool database_is_explained(struct database *database);

/* Nothing below data says of any database that it is here, or was. Before
 * catalog_open(), main thread; false, when that cannot be told. */
bool catalog_was_empty(int data_fd);

/*
 * A replica has a database that this primary does not know: may it be made
 * here? Not what was dropped here, or whose file went missing, nor where the
 * name is taken, also by a file that is no database. While it asks. Loop.
 */
bool catalog_may_fetch(struct catalog *catalog, const char *name,
                       const struct lineage *lineage);

/*
 * Makes it, empty; then all that database_offer() and database_copy_begin()
 * say may come, and DATABASE_GRAFT, which puts it in its place or, when it is
 * not whole, takes it out of the catalog again (DATABASE_DROPPED; nothing is
 * buried). -EEXIST: catalog_may_fetch() says no. While it asks. Loop.
 */
int catalog_fetch(struct catalog *catalog, const char *name,
                  const struct lineage *lineage,
                  struct database **ret_database);

/* Starts the workers, after the mount is up, or lets those that ask begin, in
 * a new epoch. passthrough: what came out. Loop. */
int catalog_start(struct catalog *catalog, bool passthrough);

/*
 * Captures what is left, makes logs durable, closes every anchor (SQLite
 * checkpoints through the mount, which must still answer), ends the workers
 * and marks a clean stop. Not on a FUSE thread. Whatever is parked, or would
 * be from now on, is answered with -EIO: the mount goes on serving until it
 * is gone, and nobody may hang in it.
 */
void catalog_stop(struct catalog *catalog);

/* Frees everything, after the mount is gone. */
void catalog_close(struct catalog *catalog);

/* Highest epoch this node knows of. Any thread. */
epoch_t catalog_epoch(struct catalog *catalog);

struct database *database_ref(struct database *database);
void database_unref(struct database *database); /* NULL is fine */

/* The database of that name or lineage with one reference for the caller, or
 * NULL. Any thread. */
struct database *catalog_find(struct catalog *catalog, const char *name);
struct database *catalog_find_lineage(struct catalog *catalog,
                                      const struct lineage *lineage);

/* True when this node saw that lineage dropped: a replica that still has it
 * is to drop it, too. Any thread. */
bool catalog_is_dropped(struct catalog *catalog, const struct lineage *lineage);

/* Calls visit for each database (dropped ones not), in no order, with a
 * reference held for the time of the call. Any thread; visit may not call
 * back into the catalog. */
void catalog_each(struct catalog *catalog,
                  void (*visit)(void *context, struct database *database),
                  void *context);

/* What lies in data/lost: put aside, not thrown away, and why. */
struct catalog_lost {
    char *database; /* its name; NULL: nobody knows */
    char file[96];  /* below data/lost */
    char why[160];  /* one sentence; "" */
    epoch_t epoch;  /* of its last known position; 0: none */
    txid_t txid;
    uint64_t wall_ns; /* when; 0: unknown */
};

#define CATALOG_LOST_SHOWN 100u

/* Calls visit for the newest, CATALOG_LOST_SHOWN at most, newest first, and
 * returns how many there are. Any thread; visit may not call back into the
 * catalog. */
size_t catalog_each_lost(struct catalog *catalog,
                         void (*visit)(void *context,
                                       const struct catalog_lost *lost),
                         void *context);

#define CATALOG_MISSING_SHOWN 20u

/* Calls visit for databases whose file was gone when this primary started,
 * CATALOG_MISSING_SHOWN at most, with a sentence that says what to do. Returns
 * how many there are. As above. */
size_t catalog_each_missing(struct catalog *catalog,
                            void (*visit)(void *context, const char *name,
                                          const char *text),
                            void *context);

/* ---- what everybody may see -------------------------------------------- */

enum database_state {
    DATABASE_CLOSED,    /* no application has it open, no anchor */
    DATABASE_ROLLBACK,  /* open, in a rollback-journal mode */
    DATABASE_ATTACHING, /* anchor or WAL_WRITE not held yet */
    DATABASE_ATTACHED,  /* WAL mode, anchor held; replica: WAL_WRITE too */
    DATABASE_COPYING,   /* replica: first copy under way */
    DATABASE_HELD_BACK, /* orphans; opening gives EBUSY */
    DATABASE_STOPPED,   /* replica: a record was refused; waits for resync */
    DATABASE_DROPPED,
};

const char *database_state_name(enum database_state state);

/* A consistent copy of the public facts. */
struct database_view {
    enum database_state state;
    struct lineage lineage;
    struct position position; /* captured on a primary, applied on a replica */
    txid_t received_txid;     /* replica: in the log; primary: == position */
    txid_t durable_txid;      /* in the log and synced */
    struct position prepared; /* whole in the log and not resolved yet, where
                                 its RESOLVE would move to; not counted above;
                                 TXID 0: none */
    bool prepared_durable;    /* it is synced, with all before it */
    uint64_t consumed_bytes;  /* replica: of all ever offered (records and
                                 chunks), taken from the queue; never falls */
    bool unexplained;         /* no log or hashes tell what its files hold; as
                                 the start found it */
    bool copying;             /* replica: a copy is built, not in place yet */
    uint32_t copied_pages;    /* of it: how many are here, ... */
    uint32_t copy_pages;      /* ... of how many; 0: not known yet */
    uint32_t
        base_page_bytes;   /* replica: what a copy may be compared with, ... */
    uint32_t base_pages;   /* ... so many pages of that size; 0: nothing */
    txid_t first_log_txid; /* oldest TXID in the log; 0: none */
    uint64_t log_bytes;
    uint32_t page_bytes; /* 0: no content yet */
    uint32_t size_pages;
    uint32_t wal_frames;   /* frames in the WAL */
    uint32_t applications; /* descriptors applications have open */
    uint32_t owner_uid, owner_gid, owner_mode; /* as the primary's file has */
    uint64_t commit_wall_ns; /* of the newest transaction, primary's clock */
    uint64_t published_ns;   /* when position last moved, our monotonic clock */
    uint32_t damaged_pages;  /* not what was written; counted up to 64 */
    pgno_t damaged_pgno;     /* one of them */
    uint64_t verified_wall_ns; /* last pass over all pages ended; 0: none since
                                  the start */
    uint64_t gaps, rereads, gates, gate_timeouts, records, checkpoints, resets;
    char stopped[160]; /* reason, with DATABASE_STOPPED or a failure; or "" */
};

/* Any thread; takes a lock held for nanoseconds. */
void database_view(struct database *database, struct database_view *ret_view);

/* Relative path. Never changes; lives as long as the reference. */
const char *database_name(const struct database *database);

/* A copy; the caller frees it. Any thread. */
int database_history(struct database *database, struct history *ret_history);

/* The same as a primary tells it to others: with the epoch of the commits to
 * come, also when there is none yet, so that nobody takes it for an older
 * primary, or waits for a token of an epoch that is over. */
int database_history_to_tell(struct database *database,
                             struct history *ret_history);

/* ---- FUSE side: what applications do ------------------------------------ */

/*
 * A request that is answered later. Embed it; on_done runs once, on a worker
 * thread (or the loop), with 0 or a negative errno, and must not block.
 */
struct parked {
    struct list link;
    void (*on_done)(struct parked *parked, int rc);
    uint64_t since_ns; /* set by the engine */
    int what;          /* the engine's */
};

#define DATABASE_PARKED 1 /* "on_done will answer" */

enum database_file {
    DATABASE_FILE_OTHER, /* not a database (yet) */
    DATABASE_FILE_MAIN,
    DATABASE_FILE_WAL,
    DATABASE_FILE_SHM,
    DATABASE_FILE_JOURNAL,
};

/* What a name is by its ending: -wal, -shm, -journal, else MAIN; ret_base
 * gets the length of the database's name. Pure. */
enum database_file database_file_kind(const char *name, size_t *ret_base);

/*
 * May `name` be created here now? 0, or -EROFS on a replica for all but the
 * -wal and -shm of a database it follows; -EBUSY on a primary while it fetches
 * a database of that name. own: one of our threads asks.
 */
int catalog_on_create(struct catalog *catalog, const char *name, bool own);

/*
 * A regular file was opened or created (the backing descriptor is open, the
 * reply not sent). Makes a file into a database when it is one: the name of
 * a companion beside it, or the SQLite header in it. ret_database gets a
 * reference when the file belongs to a database, kind what it is of it; both
 * go back in with database_on_release().
 * 0: reply now. DATABASE_PARKED: reply in on_done (never for own or when
 * created); when that says no, catalog_on_release() is due all the same.
 * -EBUSY: held back. -EROFS: replica, -wal opened for writing under the
 * readonly policy.
 */
int catalog_on_open(struct catalog *catalog, const char *name,
                    const struct os_file *backing, int flags, bool created,
                    bool own, struct parked *parked,
                    struct database **ret_database,
                    enum database_file *ret_kind);

/* The descriptor is gone; takes the reference of catalog_on_open (database
 * may be NULL: then a file that was written is looked at and, when it starts
 * with the SQLite header, becomes a database). */
void catalog_on_release(struct catalog *catalog, const char *name,
                        struct database *database, enum database_file kind,
                        bool was_writable, bool own);

/*
 * FSYNC arrived. 0: fdatasync the backing file, reply, then call
 * database_on_synced(). DATABASE_PARKED: fdatasync it as well, at once: the
 * reply is due when that is done and on_done was called, in either order.
 * A replica's FSYNC(-wal) makes the log durable in here, on this thread.
 */
int database_on_fsync(struct database *database, enum database_file kind,
                      bool own, struct parked *parked);
void database_on_synced(struct database *database, enum database_file kind);

/*
 * The commit operation of a rollback journal: it is about to be unlinked,
 * truncated to 0 or its header zeroed (`how` is for the log). Called before
 * it is done (the journal's backing file still whole; journal is open for
 * reading, or could not be opened) and after. Never parks.
 */
void database_on_commit(struct database *database,
                        const struct os_file *journal);
void database_on_committed(struct database *database, int rc);

/* SETATTR size: 0, or -EBUSY for a -shm while attached and for emptying a main
 * file that has a WAL, -EROFS for a main file on a replica (own requests
 * pass). _resized: after it was done. A main file that was emptied is no
 * database until it is closed. */
int database_on_resize(struct database *database, enum database_file kind,
                       uint64_t size, bool own);
void database_on_resized(struct database *database, enum database_file kind);

/* UNLINK, before: 0, -EBUSY (-shm while attached), -EROFS (replica). After it
 * was done, a main file's database is dropped here and everywhere. */
int catalog_on_unlink(struct catalog *catalog, const char *name, bool own);
void catalog_on_unlinked(struct catalog *catalog, const char *name, bool own);

/* RENAME of a regular file, before: 0; -EBUSY when `to` is a database that
 * applications have open or `from` is one; -EROFS on a replica. After it was
 * done: `from` is dropped, `to` is adopted or its content replaced. A
 * directory is renamed only when no database lies below it (-EBUSY). */
int catalog_on_rename(struct catalog *catalog, const char *from, const char *to,
                      bool own);
void catalog_on_renamed(struct catalog *catalog, const char *from,
                        const char *to, bool own);

/* Owner or mode of a main file changed. On a replica that is no news: it has
 * them from the primary, and set them itself. */
void database_on_owner(struct database *database);

/* Forced pass: on_done when all that was committed before this call is in
 * the position (primary), or at once (replica). Any thread. */
void database_pass(struct database *database, struct parked *parked);

/* ---- loop side ---------------------------------------------------------- */

/*
 * Retention by replicas, on a primary: owner (one of them) has all up to txid
 * durable, 0: owner is gone; and how many there are, also those that are away.
 * When each of them has told, what all have is kept for nobody.
 */
void database_need(struct database *database, const void *owner, txid_t txid);
void catalog_replicas(struct catalog *catalog, unsigned count);

/* Runs finished requests' on_done and config.on_changed. Loop only. */
void catalog_dispatch(struct catalog *catalog);

enum database_request_kind {
    DATABASE_GRAFT,    /* while the catalog asks: what was offered becomes the
                          content. in: txid, up to which it must come when it
                          is a whole database. rc -EBADMSG: it did not fit, and
                          the database stands where it stood; whole: any rc < 0
                          says so, and that it is gone from the catalog */
    DATABASE_READ_LOG, /* in: txid, after_prepared, part as in database_tail(),
                          max_bytes. out: blobs, the first is the one asked
                          for; rc -ENOENT when the log no longer has it */
    DATABASE_COPY,     /* in: from_pgno, max_bytes. out: one blob, a record
                          with RECORD_SNAPSHOT of the pages as a reader sees
                          them; next_pgno 0 when it was the last; position =
                          captured position after the pages were read.
                          With end_pgno: only pages before it; with same: not
                          those that it names, hash_count from same_pgno on.
                          next_pgno 0 when all of them were read */
    DATABASE_COMPARE,  /* in: from_pgno, hash_count, hashes (little-endian),
                          same. out: bit i of same says that page from_pgno + i
                          has that hash here, and has one; differs: that others
                          of them have one */
    DATABASE_VERIFY,   /* in: from_pgno, max_bytes. out: next_pgno, 0 after the
                          last; damaged_pages, damaged_pgno of the range;
                          size_pages. rc -EBUSY: content is on its way */
    DATABASE_HASHES,   /* replica, by database_copy_hashes(). in: from_pgno,
                          max_bytes. out: blobs[0], the hashes of the pages
                          from there on, little-endian; next_pgno behind
                          them, 0 when those were all */
};

#define DATABASE_REQUEST_BLOBS 64

/* Embed it. The caller owns the struct again in on_done, and the blobs. */
struct database_request {
    struct list link;
    struct database *database; /* set by database_submit, with a reference */
    enum database_request_kind kind;
    void (*on_done)(struct database_request *request); /* on the loop */
    /* in */
    txid_t txid;
    bool after_prepared;
    uint32_t part;
    size_t max_bytes;
    pgno_t from_pgno, end_pgno, same_pgno;
    const uint8_t *hashes; /* borrowed until on_done, as `same` */
    uint32_t hash_count;
    uint8_t *same; /* COMPARE: written; COPY: read, or NULL */
    /* out */
    int rc;
    struct blob *blobs[DATABASE_REQUEST_BLOBS];
    size_t count;
    pgno_t next_pgno;
    uint32_t size_pages; /* COPY: of the database now */
    uint32_t page_bytes;
    struct position position;
    bool differs;           /* COMPARE */
    uint32_t damaged_pages; /* VERIFY */
    pgno_t damaged_pgno;
};

/* Leaves the request with the database's worker; on_done comes exactly once,
 * by catalog_dispatch(), also when the database is dropped (rc -ENOENT). */
void database_submit(struct database *database,
                     struct database_request *request);

/*
 * The record in memory that holds txid (first <= txid <= last), with one
 * reference, or NULL: then DATABASE_READ_LOG. A PREPARED and its RESOLVE have
 * the same TXID: `after_prepared` asks for the RESOLVE. Parts: `part` names
 * the one wanted, from 1. Any thread.
 */
struct blob *database_tail(struct database *database, txid_t txid,
                           bool after_prepared, uint32_t part);

/* Keeps the log from being trimmed past txid while a copy runs (0: release).
 * One pin per (database, owner). Any thread. */
void database_pin(struct database *database, const void *owner, txid_t txid);

/* ---- replica: what the primary sends (loop side) ------------------------- */

/*
 * The primary has a database of this name and lineage: returns it with a
 * reference, made anew when needed. Another lineage under this name: the old
 * one is dropped first, its files kept aside in data/lost/. -EROFS when this
 * node is a primary.
 */
int catalog_follow(struct catalog *catalog, const char *name,
                   const struct lineage *lineage,
                   struct database **ret_database);

/* Takes the primary's whole history. */
int database_set_history(struct database *database,
                         const struct history *history);

/* A record in order; takes one reference of blob. The result shows in the
 * view (received, durable, applied position; STOPPED with a reason when it
 * was refused). */
void database_offer(struct database *database, struct blob *blob);

/* A copy begins (what was offered before is void); then chunks in order;
 * then the records after `start`, with database_offer(), may come at any time
 * after begin; at the end the database appears at or past `end`. */
struct database_copy {
    struct position start;
    uint32_t page_bytes, size_pages; /* of the primary's, at the start */
    bool delta; /* only pages that differ from what is here will come */
    bool doubt; /* the hashes of what is here may be wrong: read it */
    bool keep;  /* what is here is a history of its own: keep it aside */
};
void database_copy_begin(struct database *database,
                         const struct database_copy *copy);
void database_copy_chunk(struct database *database, struct blob *blob);
/*
 * Of a delta: the hashes of what is here, when the begin before it was taken;
 * on_done once, by catalog_dispatch(); rc -ECANCELED when the copy is given
 * up or the database dropped. Then, of a range, which pages need not come: bit
 * i (the lowest first) of page first + i; bits lie in blob, of which it takes
 * the reference.
 */
void database_copy_hashes(struct database *database,
                          struct database_request *request);
void database_copy_same(struct database *database, struct blob *blob,
                        pgno_t first, uint32_t count, const uint8_t *bits);
void database_copy_end(struct database *database, const struct position *end);

/* The copy will not be finished (connection lost). */
void database_copy_abandon(struct database *database);

/* The primary dropped it: files go, readers that have it open keep theirs. */
void database_drop(struct database *database);

/* Owner and mode as on the primary; to say it again makes sure of it. */
void database_set_owner(struct database *database, uint32_t uid, uint32_t gid,
                        uint32_t mode);

/* After STOPPED: forgets the stop, ready for a resync decided by the
 * primary. */
void database_restart(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/engine.h - inside the engine: what a database, the catalog and a worker
 * are made of. Only wal/ includes it; everybody else sees database.h.
 *
 * Who may touch what is written at each group of fields:
 *   [lock]    under database->lock, any thread; held for nanoseconds, never
 *             across a call into the world; taken after no other lock
 *   [worker]  only the worker the database is pinned to
 *   [fixed]   set before the database is shared, never again
 */
#ifndef TIDEMARK_WAL_ENGINE_H
#define TIDEMARK_WAL_ENGINE_H

#include "base/thread.h"
#include "wal/anchor.h"
#include "wal/database.h"
#include "wal/hashes.h"
#include "wal/log.h"
#include "wal/meta.h"
#include "wal/progress.h"
#include "wal/walindex.h"

#include <pthread.h>
#include <stdatomic.h>

/* What one side leaves for the worker; FIFO. */
enum note_kind {
    NOTE_ADOPT,        /* a file became this database */
    NOTE_RESOLVE,      /* the commit operation was done; rc tells */
    NOTE_CHANGES,      /* a commit without FSYNC(db); changes */
    NOTE_REREAD,       /* content changed in a way nobody described */
    NOTE_UNLINKED,     /* an application removed the database */
    NOTE_OWNER,        /* owner or mode changed */
    NOTE_HISTORY,      /* replica: the primary's history */
    NOTE_OFFER,        /* replica: a record */
    NOTE_COPY_BEGIN,   /* replica: a first copy starts */
    NOTE_COPY_CHUNK,   /* replica: some of its pages */
    NOTE_COPY_HASHES,  /* replica: the hashes of what is here; request */
    NOTE_COPY_SAME,    /* replica: pages that need not come */
    NOTE_COPY_END,     /* replica: all pages were sent */
    NOTE_COPY_ABANDON, /* replica: it will not be finished */
    NOTE_DROP,         /* replica: the primary dropped it */
    NOTE_RESTART,      /* replica: forget the stop */
    NOTE_CHECKPOINTED, /* replica: the checkpoint thread is done; rc tells */
    NOTE_DETACH,       /* close what is open, if nobody uses it */
    NOTE_STOP,         /* stopping: close what is open, now */
    NOTE_CUT,          /* the file was cut; before and after tell */
    NOTE_REPLACED,     /* another file took its name, or was written over it */
};

/* Pages a rollback-mode commit changed, read at its commit operation. */
struct changes {
    uint32_t page_bytes;
    uint32_t size_pages;
    uint32_t count;
    pgno_t *pgnos;
    uint8_t *images; /* count * page_bytes */
};

struct note {
    struct list link;
    enum note_kind kind;
    int rc;
    struct blob *blob;       /* owned */
    struct changes *changes; /* owned */
    struct position position;
    struct database_copy copy;
    struct database_request *request; /* answered, at the latest when freed */
    pgno_t first; /* COPY_SAME: bits, in blob, of so many pages from it on */
    uint32_t count;
    const uint8_t *bits;
    uint32_t uid, gid, mode;
    struct history history;                /* owned */
    struct meta_fingerprint before, after; /* the database file, around what
                                              was done; 0: not known */
};

/* One page set of a prepared (unresolved) rollback-mode commit. */
struct prepared {
    bool present;
    bool decided; /* its commit operation is done: the note is under way */
    struct record_header header;  /* of its last part */
    struct meta_fingerprint file; /* [worker] at its FSYNC */
    bool covers_reread; /* [worker] it has what a re-read was due for */
    uint32_t count;
    pgno_t *pgnos;
    uint64_t *values; /* page hashes */
};

/* A record kept in memory for the feeds. */
struct tail_entry {
    struct list link;
    struct blob *blob;
    txid_t first_txid, last_txid;
    uint32_t flags, part;
};

#define TAIL_MAX_BYTES (4u << 20) /* per database */

/* Keeps the log from being trimmed. */
struct pin {
    const void *owner;
    txid_t txid;
};

#define PINS_MAX 64
#define LOGS_RETIRED_MAX 64 /* copies put in place while this process runs */

/* Where capture stands in the WAL. */
struct capture {
    bool valid;                  /* seen describes what was captured */
    struct walindex_header seen; /* header at the last capture */
    uint8_t salt_before[FRAME_SALT_BYTES]; /* of the generation before */
    uint32_t look_frame;    /* second look: next frame not looked at */
    uint64_t look_until_ns; /* second look: backing off until */
    uint64_t look_pause_ns;
    unsigned spin_skip;     /* writes not worth spinning for, see pace.c */
    uint64_t pace_ns;       /* paced: the next look is due, */
    uint64_t pace_pause_ns; /* so long after the one before, */
    txid_t pace_txid;       /* which captured up to here */
    uint64_t rate_ns;       /* since when commits are counted, */
    uint64_t rate_count;    /* how many there were, */
    txid_t rate_txid;       /* and up to which */
    bool had_gap;           /* since it was attached */
    uint8_t *buffer;        /* frames of one batch, reused */
    size_t buffer_bytes;
    uint64_t *keys; /* pgno << 32 | frame, of one batch, reused */
    size_t keys_count;
};

/* A page hash as it was before something unpublished changed it. */
struct hash_before {
    pgno_t pgno;
    uint64_t value;
};

/* Where apply stands: the only private copy of the wal-index header. */
struct apply {
    struct walindex_header header;
    uint32_t written;    /* last frame written, published or not */
    uint32_t size_pages; /* after it */
    uint8_t *buffer;     /* frames of one batch, reused */
    size_t buffer_bytes;
    size_t used;
    uint32_t buffer_first;    /* number of the first frame in buffer */
    struct hash_before *undo; /* of all since the last publish, oldest first */
    size_t undo_count, undo_capacity;
    uint32_t undo_pages;      /* size of the database then; if undo_count */
    bool checkpointing;       /* the checkpoint thread has it */
    bool syncing;             /* ... or syncs the log */
    bool hold;                /* records wait for the closing checkpoint */
    txid_t checkpoint_txid;   /* applied when the checkpoint began */
    uint32_t checkpoint_next; /* begin one at this many frames */
    int checkpoint_rc, checkpoint_frames, checkpoint_copied;
};

/* What a delta is compared with, beside the database itself; see delta.h. */
struct delta {
    bool doubt;           /* the database's page hashes may be wrong */
    uint32_t known;       /* its pages up to here were read since */
    struct hashes file;   /* of pages in incoming.file; 0: none there */
    uint32_t unread;      /* ... that an earlier process left: read so many */
    struct os_file aside; /* what recovery put aside, if open */
    uint32_t aside_pages;
};

/* A page that is not what was written. */
struct damage {
    pgno_t pgno;
    bool seen; /* by the pass that is under way */
};

#define DAMAGE_MAX 64 /* more are not counted */

/* A copy that is coming in, built beside the database. */
struct incoming {
    bool active;
    bool kept;      /* not active: what came of one that was cut off */
    bool sparse;    /* pages that are as in the database are not in the file */
    bool keep;      /* what is replaced is a history of its own */
    bool placing;   /* complete, and made sure of: see placing.h */
    unsigned slot;  /* then: of its names there */
    bool published; /* readers see it, and the log is not in its place yet:
                       nothing else comes meanwhile */
    struct delta delta;
    bool suspect; /* a sync failed: what is in memory may not be on disk */
    bool ended;   /* all pages are here, records are redone on the file */
    struct os_file file; /* data/db/<lineage>/incoming */
    struct log *log;     /* its records, until it is in place; NULL: the
                            database's own (a first file, not a copy) */
    struct hashes hashes;
    struct position position; /* where the copy stands */
    struct position end;      /* where it is complete */
    uint32_t page_bytes, size_pages;
    uint32_t copied_pages; /* how far the copy is: pages come in order */
    struct progress progress;
};

struct database {
    /* [fixed] */
    struct catalog *catalog;
    struct worker *worker;
    char *name;
    struct lineage lineage;
    char directory[64]; /* "db/<lineage>" below data */
    char *backing;      /* "files/<name>" below data */
    atomic_int references;
    atomic_bool fetching; /* made for what a replica has: its name is taken, and
                             its file is not there; see fetching.h */

    /* catalog->lock */
    struct list link;         /* in catalog->all */
    struct list name_link;    /* in catalog->names, while it has the name */
    struct list changed_link; /* in catalog->changed */

    /* worker->lock */
    struct list run_link; /* in worker->runnable, with a reference */

    /* [lock] */
    pthread_mutex_t lock;
    struct database_view view;
    struct history history;
    struct list notes;
    struct list parked;
    struct list requests;
    bool modified;       /* an application wrote */
    bool synced;         /* a commit's FSYNC was answered just now */
    bool wal;            /* page 1 says WAL */
    bool forgotten;      /* a note could not be left: re-read */
    unsigned committing; /* commit operations under way, with a note to come */
    bool overwriting;    /* see overwrite.h */
    bool overwritten;    /* the same until nobody has it open */
    bool let_go;         /* somebody waits for the anchor to go */
    int lock_fd;         /* -shm through the mount; -1 when not attached */
    struct prepared prepared;
    struct list tail; /* newest last */
    size_t tail_bytes;
    struct pin pins[PINS_MAX];

    /* [worker]; the pointer is read by others, see log_of() */
    struct log *log;
    struct log *retired[LOGS_RETIRED_MAX]; /* replaced; others may be in them */
    unsigned retired_count;
    struct meta meta;
    struct hashes hashes;
    txid_t hashes_saved_txid;
    uint64_t hashes_saved_bytes; /* log bytes at the last save */
    uint64_t retention_due_ns;   /* look at the log's age then */
    uint64_t over_due_ns;        /* look not before, though it is too large */
    struct anchor anchor;
    struct os_file main_file; /* backing; open while opened or attached */
    struct os_file wal_file;  /* capture: backing; apply: through the mount */
    struct os_file shm_file;  /* through the mount: locks and map */
    struct walindex index;
    int watch_wal, watch_main; /* inotify, -1: none */
    struct capture capture;
    struct apply apply;
    struct incoming incoming;
    struct walindex_header attach_at; /* captured so far in a WAL that an
                                         earlier attachment left behind */
    bool attach_at_valid;
    bool paced; /* [lock] capture looks at intervals, no events; see pace.h */
    struct list ready;   /* [lock] parked requests, each after what it must */
    struct list waiting; /* [lock] those that could not be answered yet */
    bool meta_unsaved;   /* the last save failed: disk and memory differ */
    bool needs_reread;
    bool told_no_journal; /* said once */
    bool closing;         /* the node stops: nothing is opened any more. A
                             replica detaches when its checkpoint is done */
    bool stopped;
    bool failing;                      /* the last try failed; told once */
    struct meta_fingerprint explained; /* the file that the position is of;
                                          0: not known */
    uint64_t retry_ns;                 /* try again at, 0: not */
    uint64_t idle_since_ns;            /* no application since, 0: in use */
    uint64_t sync_due_ns;              /* log holds unsynced records: sync at */
    struct list timer_link;            /* in worker->timers */
    uint64_t timer_ns;
    struct list held;       /* replica: notes behind a hold; primary that
                                asks: all that wait for the end of that */
    struct database *after; /* replica: had the name before, same worker: its
                                files go before ours come; a reference */
    uint64_t consumed;      /* replica: bytes offered and dealt with, not
                                 shown in the view yet */
    bool behind;            /* replica: the log holds more than is applied */
    bool whole;             /* replica: the next copy is not compared */
    bool doubt;             /* replica: content was refused, and no copy came
                               into place since: hashes are not believed */
    bool file_suspect;      /* a sync of the file failed, see recover.h */
    bool placed;            /* [lock] replica: a copy is in place, and its mark
                               is still there, see placing.h */
    txid_t placed_txid;     /* [lock] then: where that copy was complete */
    unsigned placed_slot;   /* replica: then, of its names */
    uint64_t copy_due_ns;   /* replica: then, checkpoint not before */
    uint64_t log_counted;   /* of catalog->log_total */
    struct pin needs[PINS_MAX]; /* [lock] what each replica has durable */
    struct damage damage[DAMAGE_MAX];
    unsigned damage_count;
    struct position applied; /* replica: applied, perhaps not published */
    struct record_header applied_header; /* replica: of the record there */
    uint64_t base_saved_bytes; /* replica: log bytes at the last base */
};

/* Which database an inotify watch belongs to. */
struct watch {
    int wd;
    struct database *database;
};

#define CHECKPOINT_QUEUE 1024u

/* A job of the checkpoint thread. */
struct checkpoint_job {
    struct database *database; /* with a reference */
    bool checkpoint;           /* else only sync the log */
};

struct worker {
    struct catalog *catalog;
    pthread_t thread;
    pthread_t checkpointer;
    unsigned number;
    int event_fd;
    int inotify_fd;
    pthread_mutex_t lock;
    struct list runnable;
    bool stop;
    atomic_bool asleep; /* a wake-up by event_fd is needed */
    /* [worker] */
    struct list timers;
    struct watch *watches; /* by wd, sorted: they only grow */
    size_t watches_count, watches_capacity;
    unsigned checkpoints; /* [worker] asked for, not answered yet */
    bool let_go;          /* [worker] closed something lately */
    unsigned mount_depth; /* [worker] calls that wait for the mount */
    /* checkpoint thread's queue */
    pthread_mutex_t checkpoint_lock;
    pthread_cond_t checkpoint_wake;
    struct checkpoint_job checkpoint_queue[CHECKPOINT_QUEUE];
    unsigned checkpoint_head, checkpoint_tail; /* tail - head are queued */
    bool checkpoint_stop;
    uint64_t in_mount_ns; /* [checkpoint_lock] since when; 0: it is not */
};

#define CATALOG_BUCKETS 1024u

/* A database whose file was gone, see missing.h. */
struct missing {
    char *name;
    struct lineage lineage;
};

/* What `status` shows of data/lost, see lost.h. */
struct lost_ledger {
    size_t count; /* of all that lie there */
    size_t shown; /* of entries, oldest first */
    struct catalog_lost entries[CATALOG_LOST_SHOWN];
};

struct catalog {
    struct catalog_config config;
    pthread_mutex_t lock;
    struct list all;
    struct list names[CATALOG_BUCKETS]; /* by name */
    struct list changed;
    struct list done; /* finished requests */
    bool woken;
    epoch_t
        epoch; /* under lock; on a primary its workers only read it, and it is
                  another one only after it asked */
    unsigned next_worker;
    size_t nameless; /* of all: another may have their name, not done yet */
    struct lineage *dropped; /* tombstones */
    size_t dropped_count;
    struct lost_ledger lost; /* [lock] */
    struct missing *missing; /* [lock] */
    size_t missing_count;
    struct worker *workers;
    unsigned workers_count;
    bool started;
    atomic_bool asking; /* between catalog_ask() and catalog_start() */
    bool passthrough;
    _Atomic uint64_t log_total;        /* bytes of all logs */
    _Atomic uint64_t log_level;        /* see budget.h */
    _Atomic uint64_t log_level_due_ns; /* look again then */
    atomic_uint replicas;              /* that this primary knows of */
    atomic_bool stopped; /* no worker answers what is parked any more. Read
                            under the lock of the database parked on */
};

/* The log as threads other than the worker may use it: it is replaced when a
 * copy takes the database's place, and the old one stays valid. */
static inline struct log *log_of(struct database *database)
{
    return __atomic_load_n(&database->log, __ATOMIC_ACQUIRE);
}

#endif

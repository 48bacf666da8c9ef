/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/worker.c - see worker.h.
 *
 * Going to sleep without missing a note: `asleep` is set under worker->lock
 * while the list is seen empty; whoever puts a database on the list takes the
 * same lock and writes to the eventfd when it finds `asleep`. Idle = asleep.
 */
#include "wal/worker.h"

#include "base/clock.h"
#include "wal/checkpoint.h"
#include "wal/fetching.h"
#include "wal/graft.h"
#include "wal/notes.h"
#include "wal/primary.h"
#include "wal/replica.h"
#include "wal/requests.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

int worker_open(struct worker *worker, struct catalog *catalog, unsigned number)
{
    int fault = site_fault(SITE_WORKER_OPEN);

    *worker = (struct worker){
        .catalog = catalog, .number = number, .event_fd = -1, .inotify_fd = -1};
    pthread_mutex_init(&worker->lock, NULL);
    pthread_mutex_init(&worker->checkpoint_lock, NULL);
    pthread_cond_init(&worker->checkpoint_wake, NULL);
    list_init(&worker->runnable);
    list_init(&worker->timers);
    if (fault != 0)
        return site_fail(SITE_WORKER_OPEN, NULL, fault);
    worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->event_fd < 0)
        return site_fail(SITE_WORKER_OPEN, "eventfd", errno);
    worker->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (worker->inotify_fd < 0)
        return site_fail(SITE_WORKER_OPEN, "inotify", errno);
    return 0;
}

void worker_close(struct worker *worker)
{
    struct list *link;

    /* Woken after the thread had ended. */
    while ((link = list_pop(&worker->runnable)) != NULL)
        database_unref(LIST_ENTRY(link, struct database, run_link));
    if (worker->event_fd >= 0)
        close(worker->event_fd);
    if (worker->inotify_fd >= 0)
        close(worker->inotify_fd);
    free(worker->watches);
    pthread_cond_destroy(&worker->checkpoint_wake);
    pthread_mutex_destroy(&worker->checkpoint_lock);
    pthread_mutex_destroy(&worker->lock);
}

/* ---- watches: wds only grow, so appending keeps the array sorted --------- */

static size_t watch_index(const struct worker *worker, int wd)
{
    size_t low = 0, high = worker->watches_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (worker->watches[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void worker_watch(struct database *database, int wd)
{
    struct worker *worker = database->worker;
    size_t at = watch_index(worker, wd);

    if (worker->watches_count == worker->watches_capacity) {
        size_t capacity = worker->watches_capacity * 2 + 64;
        struct watch *grown = realloc(worker->watches,
                                      capacity * sizeof *grown);

        ASSERT(grown != NULL);
        worker->watches = grown;
        worker->watches_capacity = capacity;
    }
    memmove(worker->watches + at + 1, worker->watches + at,
            (worker->watches_count - at) * sizeof *worker->watches);
    worker->watches[at] = (struct watch){wd, database};
    worker->watches_count++;
}

void worker_unwatch(struct database *database, int wd)
{
    struct worker *worker = database->worker;
    size_t at = watch_index(worker, wd);

    if (at == worker->watches_count || worker->watches[at].wd != wd)
        return;
    worker->watches_count--;
    memmove(worker->watches + at, worker->watches + at + 1,
            (worker->watches_count - at) * sizeof *worker->watches);
}

static void modified(struct database *database)
{
    pthread_mutex_lock(&database->lock);
    database->modified = true;
    pthread_mutex_unlock(&database->lock);
    notes_wake(database);
}

static void watches_read(struct worker *worker)
{
    _Alignas(struct inotify_event) char bytes[8192];
    ssize_t n = read(worker->inotify_fd, bytes, sizeof bytes);
    int last = -1;

    for (char *at = bytes; n > 0 && at < bytes + n;) {
        struct inotify_event *event = (void *)at;
        size_t i = watch_index(worker, event->wd);

        at += sizeof *event + event->len;
        if (event->mask & IN_Q_OVERFLOW)
            for (size_t j = 0; j < worker->watches_count; j++)
                modified(worker->watches[j].database);
        else if (event->wd != last && i < worker->watches_count &&
                 worker->watches[i].wd == event->wd)
            modified(worker->watches[i].database);
        last = event->wd;
    }
}

/* ---- timers -------------------------------------------------------------- */

void worker_at(struct database *database, uint64_t at_ns)
{
    if (!list_is_empty(&database->timer_link)) {
        if (at_ns < database->timer_ns)
            database->timer_ns = at_ns;
        return;
    }
    database->timer_ns = at_ns;
    list_push_back(&database->worker->timers, &database->timer_link);
}

/* Wakes what is due; returns when the next one is, 0: none. */
static uint64_t timers_run(struct worker *worker)
{
    uint64_t now = clock_now_ns(), next = 0;
    struct list *link, *safe;

    LIST_EACH(link, safe, &worker->timers)
    {
        struct database *database = LIST_ENTRY(link, struct database,
                                               timer_link);

        if (database->timer_ns <= now) {
            list_remove(link);
            notes_wake(database);
        } else if (next == 0 || database->timer_ns < next) {
            next = database->timer_ns;
        }
    }
    return next;
}

/* ---- one database -------------------------------------------------------- */

struct errands {
    struct list notes, requests;
    bool modified, synced, forgotten;
};

/* Under the lock: who could not be answered comes before who came since. */
static void parked_gather(struct database *database)
{
    list_splice(&database->ready, &database->waiting);
    list_splice(&database->ready, &database->parked);
}

static void errands_take(struct database *database, struct errands *errands)
{
    list_init(&errands->notes);
    list_init(&errands->requests);
    pthread_mutex_lock(&database->lock);
    /* At one moment: the notes of all that came before who is parked. */
    list_splice(&errands->notes, &database->notes);
    parked_gather(database);
    list_splice(&errands->requests, &database->requests);
    errands->modified = database->modified;
    errands->synced = database->synced;
    errands->forgotten = database->forgotten;
    database->modified = database->synced = database->forgotten = false;
    pthread_mutex_unlock(&database->lock);
}

/* They stay on the list until it is their turn: should we get stuck, another
 * thread answers them. */
static struct parked *parked_pop(struct database *database)
{
    struct list *link;

    pthread_mutex_lock(&database->lock);
    if (database->view.state == DATABASE_DROPPED) /* just now, perhaps */
        parked_gather(database);
    link = list_pop(&database->ready);
    pthread_mutex_unlock(&database->lock);
    return link == NULL ? NULL : LIST_ENTRY(link, struct parked, link);
}

/* Nobody can park with a database that was dropped: notes_park() sees the state
 * under the same lock. */
static void run_parked(struct database *database)
{
    bool primary = database->catalog->config.role == DATABASE_PRIMARY;
    struct parked *parked;

    while ((parked = parked_pop(database)) != NULL) {
        if (database->view.state == DATABASE_DROPPED)
            parked->on_done(parked, notes_of_dropped(parked->what));
        else if (primary)
            primary_parked(database, parked);
        else
            replica_parked(database, parked);
    }
}

/* Before the new epoch: nothing is open, and nobody in the mount is answered
 * yet. */
static void run_asking(struct database *database, struct errands *errands)
{
    struct list *link;

    if (errands->forgotten)
        database->needs_reread = true;
    while ((link = list_pop(&errands->notes)) != NULL) {
        struct note *note = LIST_ENTRY(link, struct note, link);

        if (fetching_is(database))
            fetching_note(database, note);
        else
            graft_note(database, note);
    }
    if (fetching_is(database))
        fetching_step(database);
}

static void run_primary(struct database *database, struct errands *errands)
{
    struct list *link;

    if (errands->forgotten)
        database->needs_reread = true;
    list_splice(&database->held, &errands->notes);
    while ((link = list_pop(&database->held)) != NULL) {
        struct note *note = LIST_ENTRY(link, struct note, link);

        primary_note(database, note);
        note_free(note);
    }
    primary_step(database, errands->modified, errands->synced);
}

static void run_replica(struct database *database, struct errands *errands)
{
    struct list *link;

    while ((link = list_pop(&errands->notes)) != NULL)
        replica_note(database, LIST_ENTRY(link, struct note, link));
    replica_step(database);
}

/* Takes the reference of notes_wake(): the catalog may let go meanwhile. */
static void run(struct database *database)
{
    bool asking = atomic_load(&database->catalog->asking);
    struct errands errands;
    struct list *link;

    errands_take(database, &errands);
    if (asking)
        run_asking(database, &errands);
    else if (database->catalog->config.role == DATABASE_PRIMARY)
        run_primary(database, &errands);
    else
        run_replica(database, &errands);
    if (!asking)
        run_parked(database);
    while ((link = list_pop(&errands.requests)) != NULL)
        requests_run(database, LIST_ENTRY(link, struct database_request, link));
    /* A timer has no reference. What is dropped has nothing left to do. */
    if (database->view.state == DATABASE_DROPPED)
        list_remove(&database->timer_link);
    database_unref(database);
}

/* ---- the thread ---------------------------------------------------------- */

static struct database *runnable_pop(struct worker *worker, bool *ret_stop)
{
    struct list *link;

    pthread_mutex_lock(&worker->lock);
    link = list_pop(&worker->runnable);
    *ret_stop = worker->stop;
    atomic_store(&worker->asleep, link == NULL);
    pthread_mutex_unlock(&worker->lock);
    return link == NULL ? NULL : LIST_ENTRY(link, struct database, run_link);
}

static void sleep_until(struct worker *worker, uint64_t until_ns)
{
    struct pollfd fds[] = {{.fd = worker->event_fd, .events = POLLIN},
                           {.fd = worker->inotify_fd, .events = POLLIN}};
    struct timespec pause = {0}, *timeout = NULL;
    uint64_t now = clock_now_ns(), count;

    if (until_ns != 0) {
        uint64_t left = until_ns > now ? until_ns - now : 0;

        pause.tv_sec = (time_t)(left / NS_PER_S);
        pause.tv_nsec = (long)(left % NS_PER_S);
        timeout = &pause;
    }
    (void)ppoll(fds, 2, timeout, NULL);
    atomic_store(&worker->asleep, false);
    if (fds[0].revents != 0)
        (void)!read(worker->event_fd, &count, sizeof count);
    if (fds[1].revents != 0)
        watches_read(worker);
}

/* The memory of a thousand databases that were open once would stay with us:
 * when the last of them is closed it goes back to the system. */
static void give_back(struct worker *worker, uint64_t next_ns)
{
    if (!worker->let_go || next_ns != 0)
        return;
    worker->let_go = false;
    (void)malloc_trim(0);
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    char name[16];
    bool stop = false;

    snprintf(name, sizeof name, "worker-%u", worker->number);
    thread_register(THREAD_WORKER, name);
    for (;;) {
        uint64_t next = timers_run(worker);
        struct database *database = runnable_pop(worker, &stop);

        if (database != NULL)
            run(database);
        else if (stop && worker->checkpoints == 0)
            break;
        else {
            give_back(worker, next);
            sleep_until(worker, next);
        }
    }
    thread_unregister();
    return NULL;
}

int worker_start(struct worker *worker)
{
    int rc = thread_start(&worker->thread, worker_run, worker);

    if (rc < 0)
        return rc;
    rc = thread_start(&worker->checkpointer, checkpoint_run, worker);
    if (rc < 0) {
        worker->checkpoint_stop = true;
        worker_stop(worker);
    }
    return rc;
}

void worker_stop(struct worker *worker)
{
    uint64_t one = 1;

    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_mutex_unlock(&worker->lock);
    (void)!write(worker->event_fd, &one, sizeof one);
    pthread_join(worker->thread, NULL);
    pthread_mutex_lock(&worker->checkpoint_lock);
    if (worker->checkpoint_stop) {
        pthread_mutex_unlock(&worker->checkpoint_lock);
        return; /* it never started */
    }
    worker->checkpoint_stop = true;
    pthread_cond_signal(&worker->checkpoint_wake);
    pthread_mutex_unlock(&worker->checkpoint_lock);
    pthread_join(worker->checkpointer, NULL);
}

static void in_mount(struct worker *worker, uint64_t since_ns)
{
    pthread_mutex_lock(&worker->checkpoint_lock);
    worker->in_mount_ns = since_ns;
    pthread_cond_signal(&worker->checkpoint_wake);
    pthread_mutex_unlock(&worker->checkpoint_lock);
}

void worker_enter_mount(struct worker *worker)
{
    ASSERT_ON_WORKER();
    if (worker->mount_depth++ == 0)
        in_mount(worker, clock_now_ns());
}

void worker_leave_mount(struct worker *worker)
{
    ASSERT_ON_WORKER();
    if (--worker->mount_depth == 0)
        in_mount(worker, 0);
}

int worker_submit(struct database *database, enum worker_job job)
{
    struct worker *worker = database->worker;
    int rc = -EAGAIN;

    ASSERT_ON_WORKER();
    pthread_mutex_lock(&worker->checkpoint_lock);
    if (worker->checkpoint_tail - worker->checkpoint_head < CHECKPOINT_QUEUE) {
        worker->checkpoint_queue[worker->checkpoint_tail++ % CHECKPOINT_QUEUE] =
            (struct checkpoint_job){database_ref(database),
                                    job == WORKER_CHECKPOINT};
        pthread_cond_signal(&worker->checkpoint_wake);
        worker->checkpoints += job == WORKER_CHECKPOINT;
        rc = 0;
    }
    pthread_mutex_unlock(&worker->checkpoint_lock);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/uring.c - a ring per thread, used synchronously: prepare up to eight
 * entries, submit and wait in one system call, look at the results.
 *
 * Nothing is in flight between two calls, so no buffer outlives one and there
 * is nothing to cancel. Whatever the ring did not do (it could not be opened,
 * it refused the submission, a write came out short, a linked sync was
 * cancelled because of that) is done by plain calls: a ring that fails costs
 * speed, never a result. A ring that refused once is not asked again by its
 * thread.
 */
#include "base/uring.h"

#include "base/assert.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUBMIT_TRIES 1000
#define NOT_DONE (-ECANCELED) /* what the kernel says of broken links, too */

struct ring {
    struct io_uring uring;
    pid_t pid;    /* who opened it: a forked child shares it with nobody */
    bool refused; /* there is none, plain calls from now on */
};

static _Thread_local struct ring *my_ring;
static pthread_key_t ring_key;
static bool ring_wanted;
static pthread_once_t ring_once = PTHREAD_ONCE_INIT;

/* A new ring may lie in memory where that of a thread was that has ended: the
 * kernel orders the two, and this says so to ThreadSanitizer. */
static atomic_uint rings_known;

static void ring_free(void *pointer)
{
    struct ring *ring = pointer;

    atomic_fetch_sub(&rings_known, 1);
    if (!ring->refused && ring->pid == getpid())
        io_uring_queue_exit(&ring->uring);
    free(ring);
}

static void ring_init_process(void)
{
    const char *io = getenv("TIDEMARK_IO");
    int error = pthread_key_create(&ring_key, ring_free);

    ASSERT(error == 0);
    ring_wanted = io == NULL || strcmp(io, "pwrite") != 0;
}

/* This thread's ring, or NULL: use plain calls. */
static struct io_uring *ring_mine(void)
{
    struct ring *ring = my_ring;

    if (ring != NULL && ring->pid == getpid())
        return ring->refused ? NULL : &ring->uring;
    pthread_once(&ring_once, ring_init_process);
    /* After fork() the parent's ring is forgotten, not closed: its memory is
     * shared with the parent, whose requests it would disturb. */
    ring = ring_wanted ? calloc(1, sizeof *ring) : NULL;
    if (ring == NULL)
        return NULL;
    ring->pid = getpid();
    ring->refused = io_uring_queue_init(URING_SYNCS_MAX, &ring->uring, 0) < 0;
    atomic_fetch_add(&rings_known, 1);
    my_ring = ring;
    pthread_setspecific(ring_key, ring);
    return ring->refused ? NULL : &ring->uring;
}

/* The ring went wrong; nothing is in flight. */
static void ring_refuse(void)
{
    io_uring_queue_exit(&my_ring->uring);
    my_ring->refused = true;
}

/* Submits what was prepared; returns how many entries the kernel took. */
static int ring_submit(struct io_uring *uring, int count)
{
    int taken = 0;

    for (int i = 0; i < SUBMIT_TRIES && taken < count; i++) {
        int rc = io_uring_submit_and_wait(uring, (unsigned)(count - taken));

        if (rc > 0)
            taken += rc;
        else if (rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
            break;
    }
    return taken;
}

/*
 * Runs the count prepared entries, numbered by their user data, and waits for
 * all that the kernel took. results start as NOT_DONE; they stay so for what
 * it did not take.
 */
static void ring_run(struct io_uring *uring, int count, int *results)
{
    struct io_uring_cqe *cqe;
    int taken;

    for (int i = 0; i < count; i++)
        results[i] = NOT_DONE;
    taken = ring_submit(uring, count);
    for (int done = 0; done < taken;) {
        int rc = io_uring_wait_cqe(uring, &cqe);

        if (rc < 0) {
            /* Buffers are with the kernel and we cannot learn when they are
             * free: nothing safe is left to do. */
            ASSERT(rc == -EINTR || rc == -EAGAIN);
            continue;
        }
        results[io_uring_cqe_get_data64(cqe)] = cqe->res;
        io_uring_cqe_seen(uring, cqe);
        done++;
    }
    if (taken < count)
        ring_refuse();
}

/* True for results that are no answer about the file: plain calls decide. */
static bool is_undecided(int result)
{
    return result == NOT_DONE || result == -EINTR || result == -EAGAIN ||
           result == -EINVAL || result == -EOPNOTSUPP;
}

bool uring_is_available(void)
{
    return ring_mine() != NULL;
}

static void prepare_sync(struct io_uring *uring, const struct os_file *file,
                         bool metadata, unsigned number)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(uring);

    ASSERT(sqe != NULL && file->open);
    io_uring_prep_fsync(sqe, file->fd, metadata ? 0 : IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(sqe, number);
}

/* What the ring left of a write and its sync; results are 0: write, 1: sync. */
static int write_sync_finish(const struct os_file *file, const uint8_t *bytes,
                             size_t size, uint64_t offset, const int results[2],
                             enum site write_site, enum site sync_site)
{
    size_t done = results[0] > 0 ? (size_t)results[0] : 0;
    int rc;

    if (results[0] < 0 && !is_undecided(results[0]))
        return site_fail(write_site, NULL, -results[0]);
    if (done == size && results[1] == 0)
        return 0;
    if (done == size && !is_undecided(results[1]))
        return site_fail(sync_site, NULL, -results[1]);
    rc = os_pwrite(file, bytes + done, size - done, offset + done, write_site);
    return rc < 0 ? rc : os_fdatasync(file, sync_site);
}

/* Planted faults count once for each call, whichever way it is done. */
static int write_sync_fault(enum site write_site, enum site sync_site)
{
    int fault = site_fault(write_site);

    if (fault != 0)
        return site_fail(write_site, NULL, fault);
    fault = site_fault(sync_site);
    return fault != 0 ? site_fail(sync_site, NULL, fault) : 0;
}

int uring_write_sync(const struct os_file *file, const void *bytes, size_t size,
                     uint64_t offset, enum site write_site, enum site sync_site)
{
    struct io_uring *uring = ring_mine();
    struct io_uring_sqe *sqe;
    int results[2], rc;

    ASSERT(file->open && size <= INT32_MAX);
    if (uring == NULL) {
        rc = os_pwrite(file, bytes, size, offset, write_site);
        return rc < 0 ? rc : os_fdatasync(file, sync_site);
    }
    rc = write_sync_fault(write_site, sync_site);
    if (rc < 0)
        return rc;
    sqe = io_uring_get_sqe(uring);
    ASSERT(sqe != NULL);
    io_uring_prep_write(sqe, file->fd, bytes, (unsigned)size, offset);
    io_uring_sqe_set_data64(sqe, 0);
    sqe->flags |= IOSQE_IO_LINK; /* the sync begins when all is written */
    prepare_sync(uring, file, false, 1);
    ring_run(uring, 2, results);
    return write_sync_finish(file, bytes, size, offset, results, write_site,
                             sync_site);
}

static int sync_plainly(const struct uring_sync *sync, enum site site)
{
    return sync->metadata ? os_fsync(sync->file, site)
                          : os_fdatasync(sync->file, site);
}

int uring_sync_group(const struct uring_sync *syncs, int count, enum site site)
{
    /* One file gains nothing from a ring and loses a change of threads. */
    struct io_uring *uring = count > 1 ? ring_mine() : NULL;
    int results[URING_SYNCS_MAX], rc = 0;

    ASSERT(count >= 0 && count <= URING_SYNCS_MAX);
    for (int i = 0; i < count; i++)
        results[i] = NOT_DONE;
    for (int i = 0; i < count && uring != NULL; i++)
        prepare_sync(uring, syncs[i].file, syncs[i].metadata, (unsigned)i);
    if (uring != NULL)
        ring_run(uring, count, results);
    for (int i = 0; i < count; i++) {
        int fault = uring != NULL ? site_fault(site) : 0;
        int one = fault != 0 ? -fault : results[i];

        if (one < 0 && is_undecided(one))
            one = sync_plainly(&syncs[i], site);
        else if (one < 0)
            one = site_fail(site, NULL, -one);
        rc = rc < 0 ? rc : one;
    }
    return rc;
}

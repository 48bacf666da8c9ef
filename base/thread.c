/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/thread.c - roles in thread-local storage, ids in a small table.
 *
 * The table is read by FUSE workers on every request, so it is lock-free: a
 * slot is claimed and freed by compare-and-swap, a reader only compares. A
 * thread's own slot cannot change while a request of that thread is under
 * way, for it is waiting for the reply: no stale answer is possible.
 */
#include "base/thread.h"

#include "base/bytes.h"
#include "base/site.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int ids[THREADS_MAX];
static atomic_int ids_used; /* slots ever used: how far readers look */
static _Thread_local enum thread_role my_role;
static _Thread_local int my_slot = -1;

static int slot_claim(pid_t tid)
{
    for (int i = 0; i < THREADS_MAX; i++) {
        int expected = 0, used = atomic_load(&ids_used);

        if (!atomic_compare_exchange_strong(&ids[i], &expected, tid))
            continue;
        while (used < i + 1 &&
               !atomic_compare_exchange_weak(&ids_used, &used, i + 1))
            continue;
        return i;
    }
    return -1;
}

void thread_register(enum thread_role role, const char *name)
{
    pthread_setname_np(pthread_self(), name);
    my_role = role;
    if (my_slot >= 0)
        return;
    my_slot = slot_claim(gettid());
    ASSERT(my_slot >= 0);
}

void thread_unregister(void)
{
    if (my_slot >= 0)
        atomic_store(&ids[my_slot], 0);
    my_slot = -1;
    my_role = THREAD_OTHER;
}

enum thread_role thread_role(void)
{
    return my_role;
}

bool thread_is_ours(pid_t tid)
{
    int used = atomic_load_explicit(&ids_used, memory_order_acquire);

    if (tid == 0)
        return false;
    for (int i = 0; i < used; i++)
        if (atomic_load_explicit(&ids[i], memory_order_acquire) == tid)
            return true;
    return false;
}

int thread_start(pthread_t *ret_thread, void *(*run)(void *), void *argument)
{
    static const int own[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS};
    int error = site_fault(SITE_THREAD_START);
    sigset_t all, before;

    /* Signals are the loop's: every thread we start inherits them blocked. But
     * its own mistakes are its own: a handler must hear of them. */
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LENGTH(own); i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (error == 0)
        error = pthread_create(ret_thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? 0 : site_fail(SITE_THREAD_START, NULL, error);
}

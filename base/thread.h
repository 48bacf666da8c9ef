/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/thread.h - which thread is this, and is that one ours?
 *
 * Each thread of the daemon declares its role once. Functions that belong to
 * one kind of thread assert it in their first line. The registered thread ids
 * also answer the question a FUSE request asks: does it come from the daemon
 * itself (it must then never be parked)? See docs/threads.md.
 */
#ifndef TIDEMARK_BASE_THREAD_H
#define TIDEMARK_BASE_THREAD_H

#include "base/assert.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

enum thread_role {
    THREAD_OTHER, /* tests, command line, before threads exist */
    THREAD_LOOP,
    THREAD_FUSE,
    THREAD_WORKER,
    THREAD_CHECKPOINT,
};

#define THREADS_MAX 256 /* registered at one time */

/* Declares the calling thread's role and name (<= 15 bytes, for ps). */
void thread_register(enum thread_role role, const char *name);

/* Takes the calling thread out of the table; before it ends. */
void thread_unregister(void);

enum thread_role thread_role(void);

/* True when tid is a registered thread of this process. Lock-free, any
 * thread. 0, what FUSE reports for foreign pid namespaces, is never ours. */
bool thread_is_ours(pid_t tid);

/* Starts a thread; 0 or -errno. It must call thread_register() itself. */
int thread_start(pthread_t *ret_thread, void *(*run)(void *), void *argument);

/* In a loop that waits for another thread's store: leave it the core. */
static inline void thread_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

#define ASSERT_ON_LOOP() ASSERT(thread_role() == THREAD_LOOP)
#define ASSERT_ON_FUSE() ASSERT(thread_role() == THREAD_FUSE)
#define ASSERT_ON_WORKER() ASSERT(thread_role() == THREAD_WORKER)

#endif

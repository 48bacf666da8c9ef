/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_thread.c - roles, and whose request this is. */
#include "base/thread.h"

#include "tests/harness.h"

#include <semaphore.h>
#include <signal.h>

/* A registered thread that stays until told to go. */
struct guest {
    pthread_t thread;
    sem_t arrived, may_go;
    enum thread_role role;
    enum thread_role role_seen;
    pid_t tid;
    bool signals_blocked, faults_blocked;
    char name[16];
};

static void *guest_run(void *argument)
{
    struct guest *guest = argument;
    sigset_t blocked;

    thread_register(guest->role, "guest");
    guest->tid = gettid();
    guest->role_seen = thread_role();
    pthread_getname_np(pthread_self(), guest->name, sizeof guest->name);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    guest->signals_blocked = sigismember(&blocked, SIGTERM) &&
                             sigismember(&blocked, SIGINT);
    guest->faults_blocked = sigismember(&blocked, SIGABRT) ||
                            sigismember(&blocked, SIGSEGV);
    sem_post(&guest->arrived);
    sem_wait(&guest->may_go);
    thread_unregister();
    return NULL;
}

static void guest_start(struct guest *guest, enum thread_role role)
{
    guest->role = role;
    sem_init(&guest->arrived, 0, 0);
    sem_init(&guest->may_go, 0, 0);
    EXPECT_OK(thread_start(&guest->thread, guest_run, guest));
    sem_wait(&guest->arrived);
}

static void guest_end(struct guest *guest)
{
    sem_post(&guest->may_go);
    pthread_join(guest->thread, NULL);
    sem_destroy(&guest->arrived);
    sem_destroy(&guest->may_go);
}

TEST(a_thread_has_no_role_before_it_says_so)
{
    EXPECT_EQ(thread_role(), THREAD_OTHER);
    EXPECT_FALSE(thread_is_ours(gettid()));
}

TEST(a_registered_thread_is_ours_until_it_unregisters)
{
    struct guest guest;

    guest_start(&guest, THREAD_FUSE);
    EXPECT_EQ(guest.role_seen, THREAD_FUSE);
    EXPECT_STR(guest.name, "guest");
    EXPECT_TRUE(thread_is_ours(guest.tid));
    guest_end(&guest);
    EXPECT_FALSE(thread_is_ours(guest.tid));
}

TEST(a_caller_from_a_foreign_pid_namespace_is_never_ours)
{
    struct guest guest;

    guest_start(&guest, THREAD_WORKER);
    EXPECT_FALSE(thread_is_ours(0));
    EXPECT_FALSE(thread_is_ours(-1));
    EXPECT_FALSE(thread_is_ours(getppid()));
    guest_end(&guest);
}

TEST(our_threads_leave_signals_to_the_loop_but_those_of_their_faults)
{
    struct guest guest;
    sigset_t before;

    guest_start(&guest, THREAD_WORKER);
    EXPECT_TRUE(guest.signals_blocked);
    EXPECT_FALSE(guest.faults_blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    EXPECT_FALSE(sigismember(&before, SIGTERM));
    guest_end(&guest);
}

TEST(a_role_may_change_and_the_thread_stays_one)
{
    thread_register(THREAD_LOOP, "first");
    thread_register(THREAD_WORKER, "second");
    EXPECT_EQ(thread_role(), THREAD_WORKER);
    EXPECT_TRUE(thread_is_ours(gettid()));
    thread_unregister();
    EXPECT_EQ(thread_role(), THREAD_OTHER);
    EXPECT_FALSE(thread_is_ours(gettid()));
    thread_unregister();
}

TEST(places_of_threads_that_left_are_used_again)
{
    for (int i = 0; i < 3 * THREADS_MAX; i++) {
        thread_register(THREAD_OTHER, "again");
        thread_unregister();
    }
    EXPECT_FALSE(thread_is_ours(gettid()));
}

#define GUESTS 20

TEST(many_threads_register_at_once_and_all_are_found)
{
    static struct guest guests[GUESTS];

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < GUESTS; i++)
            guest_start(&guests[i], THREAD_WORKER);
        for (int i = 0; i < GUESTS; i++)
            EXPECT_TRUE(thread_is_ours(guests[i].tid));
        for (int i = 0; i < GUESTS; i += 2)
            guest_end(&guests[i]);
        for (int i = 0; i < GUESTS; i++)
            EXPECT_EQ(thread_is_ours(guests[i].tid), i % 2);
        for (int i = 1; i < GUESTS; i += 2)
            guest_end(&guests[i]);
    }
}

TEST(a_function_on_the_wrong_thread_is_caught)
{
    thread_register(THREAD_FUSE, "fuse");
    ASSERT_ON_FUSE();
    EXPECT_ABORT(ASSERT_ON_LOOP());
    EXPECT_ABORT(ASSERT_ON_WORKER());
    thread_unregister();
    EXPECT_ABORT(ASSERT_ON_FUSE());
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_site.c - names of failures, and failures planted by name.
 *
 * Plans are read once per process, at the first call: each story about them
 * runs in a child with its own environment.
 */
#include "base/site.h"

#include "tests/harness.h"

#include <pthread.h>

TEST(every_site_has_its_own_name)
{
    for (int i = 0; i < SITES; i++) {
        EXPECT_TRUE(strlen(site_name((enum site)i)) > 0);
        for (int j = 0; j < i; j++)
            EXPECT_NE(strcmp(site_name((enum site)i), site_name((enum site)j)),
                      0);
    }
}

TEST(a_name_is_module_point_verb)
{
    for (int i = 1; i < SITES; i++) {
        const char *name = site_name((enum site)i);

        EXPECT_EQ(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_."),
                  strlen(name));
        EXPECT_TRUE(strchr(name, '.') != NULL);
        EXPECT_LT(strlen(name), 64); /* what a plan can name */
    }
}

TEST(a_failure_says_where_on_what_and_why)
{
    char what[] = "app.db";

    EXPECT_EQ(site_fail(SITE_LOCKFILE_OPEN, what, EACCES), -EACCES);
    what[0] = 'X'; /* it was copied */
    EXPECT_STR(site_failure(), "lockfile.open: app.db: Permission denied");
    EXPECT_EQ(site_fail(SITE_THREAD_START, NULL, ENOMEM), -ENOMEM);
    EXPECT_STR(site_failure(), "thread.start: Cannot allocate memory");
}

TEST(an_object_with_a_long_name_is_cut)
{
    char what[5000];

    memset(what, 'a', sizeof what - 1);
    what[sizeof what - 1] = '\0';
    site_fail(SITE_THREAD_START, what, EIO);
    EXPECT_LT(strlen(site_failure()), 400);
}

static void *fail_elsewhere(void *argument)
{
    site_fail(SITE_THREAD_START, "elsewhere", EIO);
    return argument;
}

TEST(the_last_failure_belongs_to_its_thread)
{
    pthread_t thread;

    site_fail(SITE_LOCKFILE_TAKE, "here", EAGAIN);
    EXPECT_EQ(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    EXPECT_STR(site_failure(),
               "lockfile.take: here: Resource temporarily unavailable");
}

TEST(a_failure_without_an_errno_is_our_mistake)
{
    EXPECT_ABORT(site_fail(SITE_THREAD_START, NULL, 0));
    EXPECT_ABORT(site_fail(SITE_THREAD_START, NULL, -EIO));
}

#ifdef TIDEMARK_FAULTS

/* Five calls of lockfile.open, each a letter: '.' for success, else the first
 * letter after E of its error. */
static void calls_make(char *ret_text)
{
    for (int i = 0; i < 5; i++) {
        int error = site_fault(SITE_LOCKFILE_OPEN);

        ret_text[i] = error == 0 ? '.' : strerrorname_np(error)[1];
    }
}

/* The same in a process with that plan; "exit N" when it gave up. */
static const char *calls_under(const char *plan)
{
    static char text[20];
    int ends[2], status;
    pid_t child;

    memset(text, 0, sizeof text);
    EXPECT_EQ(pipe(ends), 0);
    child = harness_fork();
    if (child == 0) {
        setenv("TIDEMARK_FAULT", plan, 1);
        calls_make(text);
        _exit(write(ends[1], text, 5) == 5 ? 0 : 1);
    }
    close(ends[1]);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    if (read(ends[0], text, 5) != 5)
        snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    close(ends[0]);
    return text;
}

TEST(the_planned_call_fails_and_no_other)
{
    EXPECT_STR(calls_under("lockfile.open=1:EIO"), "I....");
    EXPECT_STR(calls_under("lockfile.open=3:ENOSPC"), "..N..");
    EXPECT_STR(calls_under("lockfile.open=9:EIO"), ".....");
    EXPECT_STR(calls_under("lockfile.take=1:EIO"), ".....");
    EXPECT_STR(calls_under(""), ".....");
}

TEST(a_plus_makes_all_later_calls_fail_too)
{
    EXPECT_STR(calls_under("lockfile.open=2+:EACCES"), ".AAAA");
}

TEST(a_range_makes_its_calls_fail)
{
    EXPECT_STR(calls_under("lockfile.open=2-4:EIO"), ".III.");
}

TEST(several_plans_are_separated_by_commas)
{
    EXPECT_STR(calls_under("thread.start=1:EIO,lockfile.open=4:EMFILE"),
               "...M.");
}

TEST(the_sites_that_are_met_are_told_once)
{
    char path[] = "/tmp/tidemark-met-XXXXXX", plan[80], text[100] = "";
    int fd = mkstemp(path);

    EXPECT_TRUE(fd >= 0);
    snprintf(plan, sizeof plan, "met:%s,lockfile.open=2:EIO", path);
    EXPECT_STR(calls_under(plan), ".I...");
    EXPECT_TRUE(read(fd, text, sizeof text - 1) > 0);
    EXPECT_STR(text, "lockfile.open\n");
    close(fd);
    unlink(path);
    EXPECT_STR(calls_under("met:/nonexistent/file"), "exit 2");
}

TEST(a_plan_that_cannot_be_read_stops_the_test_run)
{
    char long_plan[1000];

    EXPECT_STR(calls_under("no.such_site=1:EIO"), "exit 2");
    EXPECT_STR(calls_under("lockfile.open=1:EWHAT"), "exit 2");
    EXPECT_STR(calls_under("lockfile.open"), "exit 2");
    EXPECT_STR(calls_under("lockfile.open=x:EIO"), "exit 2");
    memset(long_plan, ',', sizeof long_plan - 1);
    long_plan[sizeof long_plan - 1] = '\0';
    EXPECT_STR(calls_under(long_plan), "exit 2");
}

#endif

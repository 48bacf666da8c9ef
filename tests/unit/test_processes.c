/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_processes.c - asking processes that may never answer. The
 * numbers are pids of nobody: what is asked here is nothing of the kernel. */
#include "tests/harness.h"
#include "base/clock.h"
#include "node/apart.h"
#include "node/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MANY 20

/* What a process does when it is asked, by its number. */
enum manner { ANSWERS, HIDES, HANGS, IS_SLOW, IS_BUSY, KILLS };

static struct {
    enum manner manners[MANY];
    int pids[MANY], heard[MANY];
    size_t heard_count;
    struct process_inquiry inquiry;
} world;

static void begin(unsigned patience_ms)
{
    memset(&world, 0, sizeof world);
    for (int i = 0; i < MANY; i++)
        world.pids[i] = i + 1;
    world.inquiry.patience_ms = patience_ms;
}

static void sleep_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * (long)NS_PER_MS};

    nanosleep(&pause, NULL);
}

static void be_busy(uint64_t ns)
{
    uint64_t begun = clock_now_ns();

    while (clock_now_ns() - begun < ns)
        continue;
}

static bool ask(void *context, int pid, int to)
{
    (void)context;
    switch (world.manners[pid - 1]) {
    case HANGS:
        for (;;)
            pause();
    case IS_SLOW:
        for (int i = 0; i < 100; i++)
            sleep_ms(20);
        break;
    case IS_BUSY:
        be_busy(2 * NS_PER_S);
        break;
    case KILLS:
        (void)raise(SIGKILL);
        break;
    case HIDES:
        return false;
    case ANSWERS:
        break;
    }
    process_tell(to, &pid, sizeof pid);
    return true;
}

static void hear(void *context, const void *told, size_t size)
{
    (void)context;
    EXPECT_EQ(size, sizeof world.heard[0]);
    memcpy(&world.heard[world.heard_count++], told, size);
}

static unsigned ask_all(size_t count)
{
    const struct process_question question = {.ask = ask, .hear = hear};

    return processes_ask(&world.inquiry, world.pids, count, &question);
}

TEST(each_is_heard_in_order_and_who_hides_is_counted)
{
    begin(10000);
    world.manners[1] = HIDES;
    EXPECT_EQ(ask_all(0), 0);
    EXPECT_EQ(ask_all(4), 1);
    EXPECT_EQ(world.heard_count, 3);
    EXPECT_EQ(world.heard[0], 1);
    EXPECT_EQ(world.heard[1], 3);
    EXPECT_EQ(world.heard[2], 4);
    EXPECT_EQ(world.inquiry.stuck.count, 0);
    EXPECT_EQ(world.inquiry.patience_ms, 10000);
}

TEST(who_hangs_is_given_up_and_all_others_are_heard)
{
    begin(400);
    world.manners[0] = HANGS;
    world.manners[2] = HANGS;
    world.manners[4] = HANGS;
    EXPECT_EQ(ask_all(5), 0);
    EXPECT_EQ(world.heard_count, 2);
    EXPECT_EQ(world.heard[0], 2);
    EXPECT_EQ(world.heard[1], 4);
    EXPECT_EQ(world.inquiry.stuck.count, 3);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(world.inquiry.stuck.pids[i], 2 * i + 1);
}

TEST(who_hung_is_not_asked_again)
{
    begin(400);
    world.manners[0] = HANGS;
    world.manners[2] = HANGS;
    EXPECT_EQ(ask_all(3), 0);
    world.inquiry.patience_ms = 60000;
    EXPECT_EQ(ask_all(3), 0);
    EXPECT_EQ(world.inquiry.patience_ms, 60000);
    EXPECT_EQ(world.heard_count, 2);
    EXPECT_EQ(world.inquiry.stuck.count, 2);
}

TEST(however_many_hang_they_have_the_patience_together_and_a_little_each)
{
    begin(1000);
    for (size_t i = 0; i + 1 < MANY; i++)
        world.manners[i] = HANGS;
    EXPECT_EQ(ask_all(MANY), 0);
    EXPECT_EQ(world.inquiry.stuck.count, MANY - 1);
    EXPECT_EQ(world.heard_count, 1);
    EXPECT_TRUE(world.inquiry.patience_ms <= 1);
}

TEST(who_is_slow_or_busy_is_not_stuck)
{
    begin(1200); /* each is at it for 2 s, and may hang for 600 ms */
    world.manners[1] = IS_SLOW;
    world.manners[2] = IS_BUSY;
    EXPECT_EQ(ask_all(4), 0);
    EXPECT_EQ(world.heard_count, 4);
    EXPECT_EQ(world.inquiry.stuck.count, 0);
}

TEST(a_child_that_ends_takes_only_the_process_it_was_at_with_it)
{
    begin(60000);
    world.manners[1] = KILLS;
    EXPECT_EQ(ask_all(3), 0);
    EXPECT_EQ(world.heard_count, 2);
    EXPECT_EQ(world.inquiry.stuck.count, 1);
    EXPECT_EQ(world.inquiry.stuck.pids[0], 2);
}

/* ---- files --------------------------------------------------------------- */

static void say_nothing(void *context, int fd)
{
    (void)context;
    (void)fd;
    for (;;)
        pause();
}

static int holder;

static void on_file(void *context, const struct process_file *file)
{
    if (file->pid == holder && strcmp(file->link, context) == 0)
        world.heard_count++;
}

TEST(the_files_of_another_process_are_heard_of_by_their_path)
{
    char path[] = "/tmp/tidemark-processes-XXXXXX", ready;
    int fd = mkstemp(path), line[2];

    begin(10000);
    EXPECT_TRUE(fd >= 0 && pipe(line) == 0);
    holder = fork();
    if (holder == 0)
        say_nothing(NULL, (int)write(line[1], "", 1));
    EXPECT_EQ(read(line[0], &ready, 1), 1);
    (void)processes_each_file(&world.inquiry, 0, on_file, path);
    EXPECT_EQ(world.heard_count, 1);
    EXPECT_EQ(kill(holder, SIGKILL), 0);
    EXPECT_EQ(waitpid(holder, NULL, 0), holder);
    close(line[0]);
    close(line[1]);
    close(fd);
    unlink(path);
}

/* ---- the child ----------------------------------------------------------- */

static void count_descriptors(void *context, int fd)
{
    int count = 0;

    (void)context;
    for (int i = 0; i < 256; i++)
        count += fcntl(i, F_GETFD) >= 0;
    apart_tell(fd, &count, sizeof count);
}

TEST(a_child_keeps_nothing_of_ours_open)
{
    struct apart child;
    int count = 0, held = open("/dev/null", O_RDONLY | O_CLOEXEC);

    EXPECT_TRUE(held >= 0);
    EXPECT_EQ(apart_begin(&child, count_descriptors, NULL), 0);
    EXPECT_EQ(apart_hear(&child, &count, sizeof count, 20000), sizeof count);
    EXPECT_EQ(count, 4); /* three that lead nowhere, and the line */
    EXPECT_EQ(apart_hear(&child, &count, sizeof count, 20000), 0);
    apart_end(&child);
    close(held);
}

TEST(a_child_that_says_nothing_is_not_waited_for)
{
    struct apart child;
    char byte;

    EXPECT_EQ(apart_begin(&child, say_nothing, NULL), 0);
    EXPECT_EQ(apart_hear(&child, &byte, 1, 50), -ETIMEDOUT);
    apart_end(&child);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_uring.c - durable writes, by a ring and by plain calls. */
#include "base/uring.h"

#include "base/bytes.h"
#include "tests/harness.h"

#include <fcntl.h>
#include <pthread.h>

#define HERE SITE_LOG_APPEND
#define THERE SITE_LOG_SYNC

static struct os_file a_file(void)
{
    struct os_file file = {0};

    EXPECT_OK(os_open(&file, AT_FDCWD, "/tmp", O_RDWR | O_TMPFILE, 0600, HERE));
    return file;
}

static void expect_content(const struct os_file *file, uint64_t offset,
                           const uint8_t *bytes, size_t size)
{
    uint8_t *read = malloc(size + 1);

    EXPECT_OK(os_pread_full(file, read, size, offset, HERE));
    EXPECT_MEM(read, bytes, size);
    free(read);
}

TEST(what_is_written_is_there_and_where_it_was_asked_for)
{
    static uint8_t bytes[300000];
    struct os_file file = a_file();
    struct rng rng = test_rng();

    rng_bytes(&rng, bytes, sizeof bytes);
    for (int i = 0; i < 20; i++) {
        size_t size = rng_below(&rng, sizeof bytes);
        uint64_t offset = rng_below(&rng, 1000000);

        EXPECT_OK(uring_write_sync(&file, bytes, size, offset, HERE, THERE));
        expect_content(&file, offset, bytes, size);
    }
    os_close(&file);
}

TEST(a_group_of_files_and_a_directory_become_durable_together)
{
    struct os_file files[3] = {a_file(), a_file()};
    struct uring_sync syncs[] = {
        {&files[0], false}, {&files[1], true}, {&files[2], true}};

    EXPECT_OK(
        os_open(&files[2], AT_FDCWD, "/tmp", O_RDONLY | O_DIRECTORY, 0, HERE));
    for (int count = 0; count <= 3; count++)
        EXPECT_OK(uring_sync_group(syncs, count, THERE));
    for (int i = 0; i < 3; i++)
        os_close(&files[i]);
}

TEST(a_descriptor_that_cannot_be_written_says_so)
{
    struct os_file read_only = {0};

    EXPECT_OK(
        os_open(&read_only, AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, HERE));
    EXPECT_EQ(uring_write_sync(&read_only, "x", 1, 0, HERE, THERE), -EBADF);
    EXPECT_TRUE(strncmp(site_failure(), "log.append", 10) == 0);
    os_close(&read_only);
}

TEST(what_is_written_but_cannot_be_durable_says_so)
{
    struct os_file null = {0};

    EXPECT_OK(os_open(&null, AT_FDCWD, "/dev/null", O_WRONLY, 0, HERE));
    EXPECT_EQ(uring_write_sync(&null, "x", 1, 0, HERE, THERE), -EINVAL);
    EXPECT_TRUE(strncmp(site_failure(), "log.sync", 8) == 0);
    os_close(&null);
}

TEST(one_bad_file_fails_the_group_but_spares_the_others)
{
    int pipes[2];
    struct os_file files[2] = {a_file()};
    struct uring_sync syncs[] = {{&files[1], false}, {&files[0], false}};

    EXPECT_OK(pipe(pipes)); /* nothing of a pipe can be durable */
    files[1] = (struct os_file){pipes[0], true};
    EXPECT_EQ(uring_sync_group(syncs, 2, THERE), -EINVAL);
    EXPECT_TRUE(strncmp(site_failure(), "log.sync", 8) == 0);
    EXPECT_OK(uring_sync_group(syncs + 1, 1, THERE));
    EXPECT_OK(uring_write_sync(&files[0], "x", 1, 0, HERE, THERE));
    os_close(&files[0]);
    os_close(&files[1]);
    close(pipes[1]);
}

TEST(a_forked_child_has_a_ring_of_its_own)
{
    struct os_file file = a_file();
    bool available = uring_is_available();
    int status = -1;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        int rc = uring_write_sync(&file, "child", 5, 0, HERE, THERE);

        _exit(rc != 0 || uring_is_available() != available);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_OK(uring_write_sync(&file, "parent", 6, 5, HERE, THERE));
    expect_content(&file, 0, (const uint8_t *)"childparent", 11);
    os_close(&file);
}

static void *write_on_a_thread(void *pointer)
{
    const struct os_file *file = pointer;
    intptr_t rc = 0;

    for (uint64_t i = 0; i < 20 && rc == 0; i++)
        rc = uring_write_sync(file, "0123456789", 10, i * 10, HERE, THERE);
    return (void *)rc;
}

TEST(threads_do_not_share_rings)
{
    struct os_file file = a_file();
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++)
        pthread_create(&threads[i], NULL, write_on_a_thread, &file);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        void *rc = &threads;

        pthread_join(threads[i], &rc);
        EXPECT_TRUE(rc == NULL);
    }
    os_close(&file);
}

TEST(all_this_holds_for_plain_calls)
{
    const char *io = getenv("TIDEMARK_IO");
    int status = -1;
    pid_t child;

    if (io != NULL && strcmp(io, "pwrite") == 0) {
        EXPECT_FALSE(uring_is_available());
        return;
    }
    fflush(NULL);
    child = fork();
    if (child == 0) {
        setenv("TIDEMARK_IO", "pwrite", 1);
        execl("/proc/self/exe", "test_uring", NULL);
        _exit(1);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

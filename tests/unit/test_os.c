/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_os.c - files, whole or not at all, and failures by name. */
#include "base/os.h"

#include "tests/harness.h"

#include <fcntl.h>

#define HERE SITE_LOCKFILE_OPEN /* any site does */

static char dir[32];
static int dirfd_of_dir = -1;

/* An empty directory of this test; what was in the last one is gone. */
static int a_directory(void)
{
    if (dirfd_of_dir >= 0)
        close(dirfd_of_dir);
    strcpy(dir, "/tmp/tidemark-os-XXXXXX");
    EXPECT_TRUE(mkdtemp(dir) != NULL);
    dirfd_of_dir = open(dir, O_RDONLY | O_DIRECTORY);
    return dirfd_of_dir;
}

static void directory_end(void)
{
    static const char *const names[] = {"a", "b", "a.new", "sub/a",
                                        "sub/a.new"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlinkat(dirfd_of_dir, names[i], 0);
    unlinkat(dirfd_of_dir, "sub", AT_REMOVEDIR);
    EXPECT_EQ(rmdir(dir), 0); /* nothing was left behind */
}

static void a_file(struct os_file *file, const char *name)
{
    *file = (struct os_file){0};
    EXPECT_OK(os_open(file, dirfd_of_dir, name, O_RDWR | O_CREAT, 0600, HERE));
}

/* The content of a file of the directory as text, "-" when it is not there. */
static const char *content(const char *name)
{
    static char text[100];
    struct os_file file = {0};
    ssize_t n;

    if (os_open(&file, dirfd_of_dir, name, O_RDONLY, 0, HERE) < 0)
        return "-";
    n = os_pread(&file, text, sizeof text - 1, 0, HERE);
    text[n < 0 ? 0 : n] = '\0';
    os_close(&file);
    return text;
}

TEST(closing_takes_zeroed_open_and_closed_alike)
{
    struct os_file file = {0};

    os_close(&file);
    a_directory();
    a_file(&file, "a");
    os_close(&file);
    EXPECT_FALSE(file.open);
    os_close(&file);
    EXPECT_TRUE(fcntl(0, F_GETFD) >= 0); /* a bare fd 0 is stdin */
    directory_end();
}

TEST(opening_over_an_open_file_is_our_mistake)
{
    struct os_file file;

    a_directory();
    a_file(&file, "a");
    EXPECT_ABORT(os_open(&file, dirfd_of_dir, "a", O_RDONLY, 0, HERE));
    os_close(&file);
    EXPECT_ABORT(os_pread(&file, dir, 1, 0, HERE));
    directory_end();
}

TEST(a_program_that_is_started_inherits_no_file)
{
    struct os_file file;

    a_directory();
    a_file(&file, "a");
    EXPECT_TRUE(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    os_close(&file);
    directory_end();
}

TEST(a_failure_names_site_and_file)
{
    struct os_file file = {0};

    a_directory();
    EXPECT_EQ(os_open(&file, dirfd_of_dir, "none", O_RDONLY, 0, HERE), -ENOENT);
    EXPECT_FALSE(file.open);
    EXPECT_STR(site_failure(),
               "lockfile.open: none: No such file or directory");
    directory_end();
}

TEST(reading_is_short_only_at_the_end_of_the_file)
{
    struct os_file file;
    char bytes[10] = "..........";

    a_directory();
    a_file(&file, "a");
    EXPECT_OK(os_pwrite(&file, "abcdef", 6, 0, HERE));
    EXPECT_EQ(os_pread(&file, bytes, 4, 1, HERE), 4);
    EXPECT_MEM(bytes, "bcde.", 5);
    EXPECT_EQ(os_pread(&file, bytes, 10, 4, HERE), 2);
    EXPECT_EQ(os_pread(&file, bytes, 10, 100, HERE), 0);
    EXPECT_OK(os_pread_full(&file, bytes, 6, 0, HERE));
    EXPECT_EQ(os_pread_full(&file, bytes, 7, 0, HERE), -ENODATA);
    os_close(&file);
    directory_end();
}

TEST(more_parts_than_the_kernel_takes_at_once_are_all_written)
{
    enum { PARTS = 3000 };
    static struct iovec parts[PARTS];
    static uint8_t bytes[PARTS * 3], back[PARTS * 3];
    struct rng rng = test_rng();
    size_t used = 0;
    struct os_file file;

    rng_bytes(&rng, bytes, sizeof bytes);
    for (size_t i = 0; i < PARTS; i++) { /* lengths 0, 1, 2 and 3 */
        parts[i] = (struct iovec){bytes + used, rng_below(&rng, 4)};
        used += parts[i].iov_len;
    }
    a_directory();
    a_file(&file, "a");
    EXPECT_OK(os_pwritev(&file, parts, PARTS, 5, HERE));
    EXPECT_EQ(os_pread(&file, back, sizeof back, 5, HERE), used);
    EXPECT_MEM(back, bytes, used);
    EXPECT_OK(os_pwritev(&file, NULL, 0, 0, HERE));
    os_close(&file);
    directory_end();
}

TEST(size_follows_truncation_both_ways)
{
    struct os_file file;
    uint64_t size = 7;

    a_directory();
    a_file(&file, "a");
    EXPECT_OK(os_size(&file, &size, HERE));
    EXPECT_EQ(size, 0);
    EXPECT_OK(os_ftruncate(&file, UINT64_C(5) << 30, HERE));
    EXPECT_OK(os_size(&file, &size, HERE));
    EXPECT_EQ(size, UINT64_C(5) << 30);
    EXPECT_OK(os_ftruncate(&file, 3, HERE));
    EXPECT_OK(os_fdatasync(&file, HERE));
    EXPECT_OK(os_fsync(&file, HERE));
    EXPECT_STR(content("a"), "");
    os_close(&file);
    directory_end();
}

TEST(a_directory_that_is_there_already_is_no_error)
{
    int fd = a_directory();

    EXPECT_OK(os_mkdir(fd, "sub", 0700, HERE));
    EXPECT_OK(os_mkdir(fd, "sub", 0700, HERE));
    EXPECT_EQ(os_mkdir(fd, "none/sub", 0700, HERE), -ENOENT);
    EXPECT_OK(os_sync_dir(fd, "sub", HERE));
    EXPECT_OK(os_sync_dir(fd, ".", HERE));
    EXPECT_EQ(os_sync_dir(fd, "none", HERE), -ENOENT);
    directory_end();
}

TEST(rename_and_unlink_do_what_they_say)
{
    int fd = a_directory();
    struct os_file file;

    a_file(&file, "a");
    os_close(&file);
    EXPECT_OK(os_rename(fd, "a", "b", HERE));
    EXPECT_STR(content("a"), "-");
    EXPECT_OK(os_unlink(fd, "b", HERE));
    EXPECT_EQ(os_unlink(fd, "b", HERE), -ENOENT);
    EXPECT_EQ(os_rename(fd, "a", "b", HERE), -ENOENT);
    directory_end();
}

TEST(what_is_written_again_is_what_it_was)
{
    static uint8_t before[600001], after[sizeof before + 1]; /* in parts */
    struct os_file file;
    uint64_t size;

    for (size_t i = 0; i < sizeof before; i++)
        before[i] = (uint8_t)(i * 2654435761u >> 13);
    a_directory();
    a_file(&file, "a");
    EXPECT_OK(os_write_again(&file, HERE)); /* nothing */
    EXPECT_OK(os_pwrite(&file, before, sizeof before, 0, HERE));
    EXPECT_OK(os_write_again(&file, HERE));
    EXPECT_OK(os_size(&file, &size, HERE));
    EXPECT_EQ(size, sizeof before);
    EXPECT_EQ(os_pread(&file, after, sizeof after, 0, HERE),
              (ssize_t)sizeof before);
    EXPECT_TRUE(memcmp(before, after, sizeof before) == 0);
    os_close(&file);
    directory_end();
}

TEST(replace_makes_and_replaces_here_and_in_folders)
{
    int fd = a_directory();

    EXPECT_OK(os_replace(fd, "a", "first", 5, HERE));
    EXPECT_STR(content("a"), "first");
    EXPECT_OK(os_replace(fd, "a", "2nd", 3, HERE));
    EXPECT_STR(content("a"), "2nd");
    EXPECT_OK(os_mkdir(fd, "sub", 0700, HERE));
    EXPECT_OK(os_replace(fd, "sub/a", "x", 1, HERE));
    EXPECT_STR(content("sub/a"), "x");
    EXPECT_STR(content("a.new"), "-");
    directory_end();
}

TEST(replace_refuses_a_name_too_long_to_have_a_neighbour)
{
    char name[5000];

    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    EXPECT_EQ(os_replace(a_directory(), name, "x", 1, HERE), -ENAMETOOLONG);
    directory_end();
}

TEST(memory_is_zeroed_and_freed_to_null)
{
    uint8_t *bytes;

    EXPECT_OK(os_alloc(&bytes, 1000, HERE));
    for (size_t i = 0; i < 1000; i++)
        EXPECT_EQ(bytes[i], 0);
    os_free(&bytes);
    EXPECT_TRUE(bytes == NULL);
    os_free(&bytes);
}

#ifdef TIDEMARK_FAULTS

#define REPLACE SITE_LOCKFILE_TAKE
#define REPLACE_CALLS 6u /* open, write, sync, rename, open and sync folder */
#define REPLACE_RENAMES 4u

/* Plans are read once per process: runs the test that runs again, in one of
 * its own, with the k-th call of REPLACE failing. */
static void run_again_with_fault(unsigned k)
{
    char plan[64];
    int status = -1;
    pid_t child;

    snprintf(plan, sizeof plan, "%s=%u:ENOSPC", site_name(REPLACE), k);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        setenv("TIDEMARK_FAULT", plan, 1);
        execl("/proc/self/exe", "test_os", harness_now->name, NULL);
        _exit(1);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

static void replace_with_fault(unsigned k)
{
    int rc;

    a_directory();
    EXPECT_OK(os_replace(dirfd_of_dir, "a", "old", 3, HERE));
    rc = os_replace(dirfd_of_dir, "a", "new", 3, REPLACE);
    EXPECT_EQ(rc, k <= REPLACE_CALLS ? -ENOSPC : 0);
    EXPECT_STR(content("a"), k <= REPLACE_RENAMES ? "old" : "new");
    EXPECT_STR(content("a.new"), "-");
    directory_end();
}

TEST(replacing_leaves_the_old_file_or_the_new_one_whatever_fails)
{
    const char *plan = getenv("TIDEMARK_FAULT");

    if (plan != NULL)
        replace_with_fault((unsigned)atoi(strchr(plan, '=') + 1));
    else
        for (unsigned k = 1; k <= REPLACE_CALLS + 1; k++)
            run_again_with_fault(k);
}

#endif

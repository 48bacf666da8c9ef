/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a mount: where it may be, what was left there, how it ends. */
#include "tests/unit/fuse_stage.h"

#include <sys/stat.h>
#include <sys/vfs.h>

static int try_mount(const char *path, char error[MOUNT_ERROR_BYTES])
{
    struct mount_config config = {
        .mount_path = path,
        .files_fd = now.files_fd,
        .catalog = &now.catalog,
        .uid = MOUNT_KEEP_OWNER,
        .gid = MOUNT_KEEP_OWNER,
    };
    struct mount *mount;
    int rc = mount_open(&mount, &config, error);

    if (rc == 0)
        mount_close(mount);
    return rc;
}

TEST(a_directory_unfit_for_a_mount_is_refused_with_advice)
{
    char error[MOUNT_ERROR_BYTES], path[128];

    if (!can_mount())
        return;
    stage_open(true, NULL);
    snprintf(path, sizeof path, "%s/mnt", now.dir);
    EXPECT_EQ(try_mount(path, error), -EBUSY);
    EXPECT_TRUE(strstr(error, "another tidemark") != NULL);
    snprintf(path, sizeof path, "%s/files", now.dir);
    EXPECT_SH("echo x >x");
    EXPECT_EQ(try_mount(path, error), -ENOTEMPTY);
    EXPECT_TRUE(strstr(error, "not empty") != NULL);
    snprintf(path, sizeof path, "%s/files/x", now.dir);
    EXPECT_EQ(try_mount(path, error), -ENOTDIR);
    snprintf(path, sizeof path, "%s/missing", now.dir);
    EXPECT_EQ(try_mount(path, error), -ENOENT);
    EXPECT_TRUE(strstr(error, "mkdir -p") != NULL);
    stage_close();
}

/* A child mounts and dies; served: after it has answered, so that the kernel
 * keeps attributes it would still tell. */
static void mount_and_die(bool served)
{
    char error[MOUNT_ERROR_BYTES];
    struct mount *dead;
    struct mount_config config = {
        .mount_path = mount_path(),
        .files_fd = now.files_fd,
        .catalog = &now.catalog,
        .uid = MOUNT_KEEP_OWNER,
        .gid = MOUNT_KEEP_OWNER,
    };
    struct statfs space;
    struct stat status;
    int ended;
    pid_t child = fork();

    if (child == 0) {
        int rc = mount_open(&dead, &config, error);

        if (rc == 0 && served)
            rc = mount_start(dead) != 0 || stat(mount_path(), &status) != 0;
        _exit(rc != 0);
    }
    EXPECT_EQ(waitpid(child, &ended, 0), child);
    EXPECT_EQ(ended, 0);
    EXPECT_EQ(statfs(mount_path(), &space), -1);
    EXPECT_EQ(errno, ENOTCONN);
}

TEST(a_mount_left_by_a_dead_daemon_is_cleaned_up)
{
    char error[MOUNT_ERROR_BYTES];

    if (!can_mount())
        return;
    stage_set();
    mount_and_die(false);
    EXPECT_EQ(try_mount(mount_path(), error), 0);
    mount_and_die(true);
    mount_and_die(true); /* mounts upon the dead one: both go */
    EXPECT_OK(stage_mount(NULL));
    EXPECT_SH("sqlite3 x.db \"create table t(a)\"");
    stage_close();
}

TEST(what_a_dead_mount_hides_is_found_before_it_is_hidden_again)
{
    char error[MOUNT_ERROR_BYTES], file[128];

    if (!can_mount())
        return;
    stage_set();
    snprintf(file, sizeof file, "%s/lost.db", mount_path());
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    EXPECT_EQ(try_mount(mount_path(), error), -ENOTEMPTY);
    EXPECT_TRUE(strstr(error, "lost.db") != NULL);
    /* Beneath a dead mount, too; then it can be seen, to be moved away. */
    EXPECT_OK(mount_dead());
    EXPECT_EQ(access(file, F_OK), -1);
    EXPECT_EQ(try_mount(mount_path(), error), -ENOTEMPTY);
    EXPECT_TRUE(strstr(error, "lost.db") != NULL);
    EXPECT_OK(unlink(file));
    EXPECT_EQ(try_mount(mount_path(), error), 0);
    stage_strike();
}

TEST(a_busy_mount_is_detached_and_says_so)
{
    char path[128], byte;
    int fd;

    if (!can_mount())
        return;
    stage_open(false, NULL);
    EXPECT_SH("echo hello >f");
    snprintf(path, sizeof path, "%s/mnt/f", now.dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT_OK(fd);
    EXPECT_EQ(mount_stop(now.mount), -EBUSY);
    EXPECT_EQ(access(path, F_OK), -1);
    EXPECT_EQ(errno, ENOENT);
    mount_close(now.mount);
    EXPECT_EQ(pread(fd, &byte, 1, 4096), -1);
    EXPECT_EQ(errno, ENOTCONN);
    close(fd);
    stage_strike();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* When the world says no: the program gets the error, nothing is lost, and
 * the mount goes on. Each test runs in a child with its fault planted. */
#include "tests/unit/fuse_stage.h"

#include <sys/stat.h>

static enum mount_mode wanted = MOUNT_CLASSIC;

/* Opens a stage whose mode may come out either way. */
static int stage_try(char error[MOUNT_ERROR_BYTES])
{
    struct mount_config config = {
        .mount_path = mount_path(),
        .catalog = &now.catalog,
        .mode = wanted,
        .allow_other = true,
        .uid = MOUNT_KEEP_OWNER,
        .gid = MOUNT_KEEP_OWNER,
    };
    int rc;

    stage_set();
    config.mount_path = mount_path();
    config.files_fd = now.files_fd;
    rc = mount_open(&now.mount, &config, error);
    return rc == 0 ? mount_start(now.mount) : rc;
}

/*
 * The body with a fault planted. Plans are read once in the life of a
 * process, so it runs this program again, with the fault, for that one test.
 */
static void with_fault(const char *fault, const char *test, void (*body)(void))
{
    const char *planted = getenv("TIDEMARK_FAULT");
    char command[256], self[128];
    ssize_t n;

    if (!can_mount())
        return;
    if (planted != NULL) {
        if (strcmp(planted, fault) == 0)
            body();
        return;
    }
    n = readlink("/proc/self/exe", self, sizeof self - 1);
    EXPECT_GT(n, 0);
    self[n] = '\0';
    snprintf(command, sizeof command,
             "TIDEMARK_FAULT=%s timeout 50 %s %s >&2 2>/dev/null", fault, self,
             test);
    EXPECT_EQ(system(command), 0);
}

#define FAULT(name, fault)                                                     \
    static void name##_body(void);                                             \
    TEST(name)                                                                 \
    {                                                                          \
        with_fault(fault, #name, name##_body);                                 \
    }                                                                          \
    static void name##_body(void)

FAULT(auto_falls_back_to_classic_and_says_why, "passthrough.open=1+:EACCES")
{
    char error[MOUNT_ERROR_BYTES] = "";

    wanted = MOUNT_AUTO;
    EXPECT_OK(stage_try(error));
    EXPECT_FALSE(mount_is_passthrough(now.mount));
    EXPECT_TRUE(strstr(mount_mode_reason(now.mount), "refuses") != NULL);
    EXPECT_SH("sqlite3 x.db \"create table t(a)\"; test -s $F/x.db");
    stage_close();
}

FAULT(passthrough_that_was_asked_for_is_not_silently_dropped,
      "passthrough.probe=1+:ENOSPC")
{
    char error[MOUNT_ERROR_BYTES] = "";

    wanted = MOUNT_PASSTHROUGH;
    EXPECT_EQ(stage_try(error), -EOPNOTSUPP);
    EXPECT_TRUE(strstr(error, "set it to auto") != NULL);
    EXPECT_SH("test -z \"$(ls -A)\"; no mountpoint -q .");
    stage_strike();
}

FAULT(a_backing_id_that_is_refused_fails_the_open_alone,
      "passthrough.open=3:EMFILE")
{
    char error[MOUNT_ERROR_BYTES] = "";

    wanted = MOUNT_PASSTHROUGH;
    EXPECT_OK(stage_try(error));
    EXPECT_SH("echo one >f; no cat f 2>/dev/null; test \"$(cat f)\" = one");
    stage_close();
}

FAULT(an_fsync_that_fails_fails_the_commit, "sync.file=2:EIO")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("no sqlite3 x.db \"create table t(a)\" 2>$F/../err; grep -qi "
              "\"disk I/O error\" $F/../err; sqlite3 x.db \"create table "
              "u(a)\"; test $(sqlite3 x.db \"pragma integrity_check\") = ok");
    stage_close();
}

FAULT(a_full_disk_is_told_as_such, "file.write=1:ENOSPC")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("no sqlite3 x.db \"create table t(a)\" 2>$F/../err; grep -qi "
              "\"full\" $F/../err; sqlite3 x.db \"create table t(a)\"");
    stage_close();
}

FAULT(a_file_that_cannot_be_made_leaves_nothing, "entry.create=1:ENOSPC")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("no touch f 2>/dev/null; test -z \"$(ls -A)\"; touch f");
    stage_close();
}

FAULT(a_commit_operation_that_fails_is_told, "entry.unlink=1:EIO")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("no sqlite3 x.db \"create table t(a)\" 2>/dev/null");
    EXPECT_EQ(atomic_load(&now.catalog.failed_commits), 1);
    EXPECT_SH("sqlite3 x.db \"create table u(a)\"; test \"$(sqlite3 x.db "
              "\"select group_concat(name) from sqlite_schema\")\" = u");
    stage_close();
}

FAULT(a_rename_that_fails_changes_nothing, "entry.rename=1:EIO")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("echo a >a; echo b >b; no mv -T a b 2>/dev/null; test \"$(cat "
              "a)$(cat b)\" = ab; mv a b; test \"$(cat b)\" = a");
    EXPECT_EQ(atomic_load(&now.catalog.renamed), 1);
    stage_close();
}

FAULT(a_mount_that_fails_is_explained, "mount.mount=1:EIO")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_EQ(stage_try(error), -EIO);
    EXPECT_TRUE(strstr(error, mount_path()) != NULL);
    stage_strike();
}

FAULT(a_missing_device_is_explained, "mount.device=1:ENOENT")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_EQ(stage_try(error), -ENODEV);
    EXPECT_TRUE(strstr(error, "modprobe fuse") != NULL);
    stage_strike();
}

static void in_place_of_a_dead_mount(void)
{
    stage_set();
    EXPECT_OK(mount_dead());
    EXPECT_OK(stage_mount(NULL));
    EXPECT_SH("echo x >file; test -s $F/file");
    stage_close(); /* and nothing else is mounted there: rm works */
}

FAULT(a_kernel_that_mounts_nothing_beneath_changes_a_dead_mount_in_two_steps,
      "beneath.mount=1+:EACCES")
{
    in_place_of_a_dead_mount();
}

FAULT(what_a_dead_mount_covers_need_not_be_seen, "beneath.open=1+:EACCES")
{
    in_place_of_a_dead_mount();
}

FAULT(a_mount_goes_on_without_a_guardian, "guardian.fork=1:ENOMEM")
{
    char error[MOUNT_ERROR_BYTES] = "";

    EXPECT_OK(stage_try(error));
    EXPECT_SH("echo x >file; test -s $F/file");
    mount_on_child(now.mount);
    stage_close();
}

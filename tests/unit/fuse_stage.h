/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/fuse_stage.h - a mount over a fake engine, and a shell inside it.
 * Include it once per program; it brings the harness. Without root or
 * /dev/fuse there is no mount: such a test is over at once.
 */
#ifndef TESTS_UNIT_FUSE_STAGE_H
#define TESTS_UNIT_FUSE_STAGE_H

#include "tests/harness.h"

#include "fuse/mount.h"
#include "tests/unit/fake_catalog.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct stage {
    char dir[64];
    int files_fd;
    struct catalog catalog;
    struct mount *mount;
    bool passthrough; /* asked for */
};

static struct stage now;

static const char *mount_path(void)
{
    static char path[96];

    snprintf(path, sizeof path, "%s/mnt", now.dir);
    return path;
}

/* Whatever happens, no dead mount is left behind. */
static void leave(void)
{
    if (now.dir[0] != '\0')
        (void)umount2(mount_path(), MNT_DETACH);
}

/* Runs a shell command in `place` with F = the backing directory; `no COMMAND`
 * expects it to fail. Its exit status. */
__attribute__((format(printf, 2, 3))) static int sh(const char *place,
                                                    const char *format, ...)
{
    char command[4096], line[4400];
    va_list arguments;
    int status;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line,
             "cd %s && F=%s/files timeout ${SH_SECONDS:-30} sh -ec 'no() { if "
             "\"$@\"; then "
             "return 1; fi; }; %s'",
             place, now.dir, command);
    status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define EXPECT_SH(...) EXPECT_EQ(sh(mount_path(), __VA_ARGS__), 0)

/* A child that mounts starts threads, though its parent has some. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

static bool can_mount(void)
{
    return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

static struct mount_config stage_config(void)
{
    return (struct mount_config){
        .mount_path = mount_path(),
        .files_fd = now.files_fd,
        .catalog = &now.catalog,
        .mode = now.passthrough ? MOUNT_PASSTHROUGH : MOUNT_CLASSIC,
        .allow_other = true,
        .uid = MOUNT_KEEP_OWNER,
        .gid = MOUNT_KEEP_OWNER,
    };
}

static int stage_mount(const struct mount_hooks *hooks)
{
    char error[MOUNT_ERROR_BYTES] = "";
    struct mount_config config = stage_config();
    int rc;

    if (hooks != NULL)
        config.hooks = *hooks;
    rc = mount_open(&now.mount, &config, error);
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(mount_is_passthrough(now.mount), now.passthrough);
    return mount_start(now.mount);
}

/* Directories and an engine, no mount yet. */
static void stage_set(void)
{
    char path[96];

    leave(); /* a test that failed left one */
    strcpy(now.dir, "/tmp/tidemark-fuse-XXXXXX");
    EXPECT_TRUE(mkdtemp(now.dir) != NULL);
    atexit(leave);
    EXPECT_OK(chmod(now.dir, 0755));
    EXPECT_OK(mkdir(mount_path(), 0755));
    snprintf(path, sizeof path, "%s/files", now.dir);
    EXPECT_OK(mkdir(path, 0755));
    now.files_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT_OK(now.files_fd);
    fake_open(&now.catalog);
}

/* What a dead daemon leaves. */
__attribute__((unused)) static int mount_dead(void)
{
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), rc;
    char options[96];

    snprintf(options, sizeof options,
             "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    rc = mount("dead", mount_path(), "fuse.tidemark", 0, options);
    close(device);
    return rc;
}

static void stage_strike(void)
{
    fake_close(&now.catalog);
    close(now.files_fd);
    EXPECT_EQ(sh("/", "rm -rf %s", now.dir), 0);
    now.dir[0] = '\0';
}

__attribute__((unused)) static void stage_open(bool passthrough,
                                               const struct mount_hooks *hooks)
{
    stage_set();
    now.passthrough = passthrough;
    EXPECT_OK(stage_mount(hooks));
}

static void stage_close(void)
{
    EXPECT_OK(mount_stop(now.mount));
    mount_close(now.mount);
    EXPECT_EQ(atomic_load(&now.catalog.opens),
              atomic_load(&now.catalog.releases));
    stage_strike();
}

#define IN_BOTH_MODES(name, hooks)                                             \
    static void name##_in(void);                                               \
    TEST(name##_classic)                                                       \
    {                                                                          \
        if (!can_mount())                                                      \
            return;                                                            \
        stage_open(false, hooks);                                              \
        name##_in();                                                           \
        stage_close();                                                         \
    }                                                                          \
    TEST(name##_passthrough)                                                   \
    {                                                                          \
        if (!can_mount())                                                      \
            return;                                                            \
        stage_open(true, hooks);                                               \
        name##_in();                                                           \
        stage_close();                                                         \
    }                                                                          \
    static void name##_in(void)

#endif

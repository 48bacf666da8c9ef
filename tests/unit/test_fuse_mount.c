/* SPDX-License-Identifier: Apache-2.0 */
/* What applications see of a mount, in both modes, with an engine that only
 * counts. The observers are stock programs in processes of their own. */
#include "tests/harness.h"

#include "fuse/mount.h"
#include "tests/unit/fake_catalog.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct stage {
    char dir[64];
    int files_fd;
    struct catalog catalog;
    struct mount *mount;
    bool passthrough; /* asked for */
};

static struct stage now;

/* Whatever happens, no dead mount is left behind. */
static void leave(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/mnt", now.dir);
    if (now.dir[0] != '\0')
        (void)umount2(path, MNT_DETACH);
}

__attribute__((format(printf, 1, 2))) static int sh(const char *format, ...)
{
    char command[4096], line[4400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line,
             "cd %s/mnt && F=%s/files timeout 30 sh -ec '%s'", now.dir, now.dir,
             command);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool can_mount(void)
{
    return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

static int stage_mount(const struct mount_hooks *hooks)
{
    char path[96], error[MOUNT_ERROR_BYTES] = "";
    struct mount_config config = {
        .files_fd = now.files_fd,
        .catalog = &now.catalog,
        .mode = now.passthrough ? MOUNT_PASSTHROUGH : MOUNT_CLASSIC,
        .allow_other = true,
        .uid = MOUNT_KEEP_OWNER,
        .gid = MOUNT_KEEP_OWNER,
    };
    int rc;

    snprintf(path, sizeof path, "%s/mnt", now.dir);
    config.mount_path = path;
    if (hooks != NULL)
        config.hooks = *hooks;
    rc = mount_open(&now.mount, &config, error);
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(mount_is_passthrough(now.mount), now.passthrough);
    return mount_start(now.mount);
}

static void stage_open(bool passthrough, const struct mount_hooks *hooks)
{
    char path[96];

    strcpy(now.dir, "/tmp/tidemark-fuse-XXXXXX");
    EXPECT_TRUE(mkdtemp(now.dir) != NULL);
    atexit(leave);
    chmod(now.dir, 0755);
    snprintf(path, sizeof path, "%s/mnt", now.dir);
    EXPECT_OK(mkdir(path, 0755));
    snprintf(path, sizeof path, "%s/files", now.dir);
    EXPECT_OK(mkdir(path, 0777));
    chmod(path, 0777);
    now.files_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT_OK(now.files_fd);
    now.passthrough = passthrough;
    fake_open(&now.catalog);
    EXPECT_OK(stage_mount(hooks));
}

static void stage_close(void)
{
    char command[128];

    EXPECT_OK(mount_stop(now.mount));
    mount_close(now.mount);
    EXPECT_EQ(atomic_load(&now.catalog.opens),
              atomic_load(&now.catalog.releases));
    fake_close(&now.catalog);
    close(now.files_fd);
    snprintf(command, sizeof command, "rm -rf %s", now.dir);
    EXPECT_EQ(system(command), 0);
    now.dir[0] = '\0';
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

/* ---- SQLite -------------------------------------------------------------------- */

IN_BOTH_MODES(sqlite_works_in_every_journal_mode, NULL)
{
    static const char *const modes[] = {"wal", "delete", "truncate", "persist"};

    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        EXPECT_EQ(sh("sqlite3 %s.db \"pragma journal_mode=%s; create table "
                     "t(a integer primary key, b); insert into t(b) "
                     "values(1),(2),(3); update t set b=b+1; "
                     "delete from t where a=2;\" >/dev/null",
                     modes[i], modes[i]),
                  0);
        EXPECT_EQ(sh("test \"$(sqlite3 %s.db \"select sum(b) from t\")\" = 6",
                     modes[i]),
                  0);
        EXPECT_EQ(sh("test \"$(sqlite3 $F/%s.db \"pragma integrity_check\")\" "
                     "= ok",
                     modes[i]),
                  0);
    }
}

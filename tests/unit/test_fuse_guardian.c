/* SPDX-License-Identifier: Apache-2.0 */
/* Who dies, however badly, leaves a mount that gives errors and never hangs. */
#include "tests/unit/fuse_stage.h"

#include "fuse/guardian.h"

#include <dirent.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define CONTROLS "/sys/fs/fuse/connections"
#define PATIENCE_MS 10000

/* ---- a daemon in a child ------------------------------------------------- */

/* The engine's thread starts in the child: a fork beside it may find it with a
 * lock that the child then waits for. */
static void stage_set_alone(void)
{
    stage_set();
    fake_close(&now.catalog);
}

static void stage_strike_alone(void)
{
    fake_open(&now.catalog);
    stage_strike();
}

static void *wait_for_ever(void *argument)
{
    char path[128];

    (void)argument;
    snprintf(path, sizeof path, "%s/parked.db", mount_path());
    (void)open(path, O_RDWR | O_CLOEXEC);
    return NULL;
}

/* Both ways to hang in the kernel: pages of a file in the mount that are to
 * be written back, and a call that waits for an answer of this very process. */
static int entangle(void)
{
    pthread_t thread;
    char path[128], *bytes;
    bool parked;
    int fd;

    snprintf(path, sizeof path, "%s/mapped", mount_path());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, 32768) < 0)
        return -errno;
    bytes = mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    memset(bytes, 1, 32768);
    snprintf(path, sizeof path, "%s/parked.db", mount_path());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || close(fd) < 0)
        return -errno;
    database_unref(fake_add(&now.catalog, "parked.db"));
    atomic_store(&now.catalog.park_open, true);
    atomic_store(&now.catalog.hold, true);
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0)
        return -ENOMEM;
    do {
        pthread_mutex_lock(&now.catalog.lock);
        parked = !list_is_empty(&now.catalog.parked);
        pthread_mutex_unlock(&now.catalog.lock);
        sched_yield();
    } while (!parked);
    return 0;
}

/* Mounts, entangles itself, says so and waits for its end. */
static _Noreturn void be_a_daemon(int ready)
{
    struct mount_config config = stage_config();
    char error[MOUNT_ERROR_BYTES] = "";
    int rc;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGSEGV, SIG_DFL); /* the harness has taken it */
    fake_open(&now.catalog);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    rc = mount_open(&now.mount, &config, error);
    if (rc == 0)
        rc = mount_start(now.mount);
    if (rc == 0)
        rc = entangle();
    if (rc < 0)
        fprintf(stderr, "%s (%s)\n", error, strerror(-rc));
    if (rc == 0 && write(ready, "x", 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

static pid_t daemon_start(void)
{
    int ready[2];
    char byte;
    pid_t pid;

    EXPECT_OK(pipe2(ready, O_CLOEXEC));
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(ready[0]);
        be_a_daemon(ready[1]);
    }
    close(ready[1]);
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

/* mounted: where its mount still is, to end a hang that must not be. */
static bool comes_to_an_end(pid_t pid, const char *mounted)
{
    const struct timespec pause = {.tv_nsec = 5000000};

    for (int ms = 0; ms < PATIENCE_MS; ms += 5) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return true;
        nanosleep(&pause, NULL);
    }
    (void)umount2(mounted, MNT_FORCE | MNT_DETACH);
    waitpid(pid, NULL, 0);
    return false;
}

static void kill_and_look(int number)
{
    struct statfs status;
    pid_t pid = daemon_start();

    kill(pid, number);
    EXPECT_TRUE(comes_to_an_end(pid, mount_path()));
    /* Still covered: nobody finds the bare directory. */
    EXPECT_EQ(statfs(mount_path(), &status), -1);
    EXPECT_EQ(errno, ENOTCONN);
    EXPECT_OK(umount2(mount_path(), MNT_DETACH));
}

static void kill_in_mode(bool passthrough)
{
    if (!can_mount())
        return;
    stage_set_alone();
    now.passthrough = passthrough;
    for (int i = 0; i < 5; i++)
        kill_and_look(SIGKILL);
#ifndef __SANITIZE_THREAD__ /* which keeps a signal until a wait is over */
    kill_and_look(SIGABRT); /* which also dumps a core */
    kill_and_look(SIGSEGV);
#endif
    stage_strike_alone();
}

TEST(a_killed_daemon_ends_though_it_waits_for_itself_classic)
{
    kill_in_mode(false);
}

TEST(a_killed_daemon_ends_though_it_waits_for_itself_passthrough)
{
    kill_in_mode(true);
}

TEST(a_killed_daemon_ends_though_its_mount_was_detached)
{
    char again[128];
    bool ended;
    pid_t pid;

    if (!can_mount())
        return;
    stage_set_alone();
    now.passthrough = false;
    snprintf(again, sizeof again, "%s/again", now.dir);
    EXPECT_OK(mkdir(again, 0755));
    pid = daemon_start();
    EXPECT_OK(mount(mount_path(), again, NULL, MS_BIND, NULL));
    EXPECT_OK(umount2(mount_path(), MNT_DETACH));
    kill(pid, SIGKILL);
    ended = comes_to_an_end(pid, again);
    (void)umount2(again, MNT_DETACH);
    EXPECT_TRUE(ended);
    stage_strike_alone();
}

/* ---- the guardian itself ------------------------------------------------- */

static pid_t only_child(void)
{
    char path[64], text[64] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    file = fopen(path, "re");
    EXPECT_TRUE(file != NULL);
    EXPECT_TRUE(fgets(text, sizeof text, file) != NULL);
    fclose(file);
    return (pid_t)strtol(text, NULL, 10);
}

static int files_open(pid_t pid)
{
    char path[64];
    DIR *stream;
    int count = -2; /* . and .. */

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    stream = opendir(path);
    EXPECT_TRUE(stream != NULL);
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

/* The first line of one of its files in /proc. */
static const char *about(pid_t pid, const char *name)
{
    static char text[64];
    char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    file = fopen(path, "re");
    EXPECT_TRUE(file != NULL);
    EXPECT_TRUE(fgets(text, sizeof text, file) != NULL);
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

TEST(a_guardian_holds_nothing_and_heeds_nobody)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    pid_t pid;

    if (!can_mount())
        return;
    stage_open(false, NULL);
    pid = only_child();
    while (strcmp(about(pid, "cmdline"), GUARDIAN_NAME) != 0)
        nanosleep(&pause, NULL); /* the last that it does before it waits */
    EXPECT_STR(about(pid, "comm"), GUARDIAN_NAME);
    EXPECT_EQ(files_open(pid), 2); /* the mount's root, standard error */
    EXPECT_EQ(getsid(pid), pid);
    kill(pid, SIGINT);
    kill(pid, SIGTERM);
    kill(pid, SIGHUP);
    mount_on_child(now.mount); /* says nothing: it lives */
    EXPECT_EQ(only_child(), pid);
    kill(pid, SIGSTOP); /* and even so it ends with the mount */
    stage_close();
    EXPECT_EQ(kill(pid, 0), -1);
}

TEST(a_guardian_that_was_killed_is_missed_once)
{
    struct guardian guardian = {0};
    siginfo_t ended;

    if (!can_mount())
        return;
    EXPECT_FALSE(guardian_has_gone(&guardian));
    guardian_stop(&guardian);
    EXPECT_OK(guardian_start(&guardian, "/", true));
    EXPECT_FALSE(guardian_has_gone(&guardian));
    kill(guardian.pid, SIGKILL);
    EXPECT_OK(waitid(P_PID, (id_t)guardian.pid, &ended, WEXITED | WNOWAIT));
    EXPECT_TRUE(guardian_has_gone(&guardian));
    EXPECT_FALSE(guardian_has_gone(&guardian));
    guardian_stop(&guardian);
}

/* ---- without the right to unmount ---------------------------------------- */

/* Keeps root's files, drops root's right to mount. */
static void drop_privilege(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        _exit(2);
    for (int i = 0; i < 2; i++)
        data[i].permitted = data[i].effective &= i == 0 ? ~(1u << CAP_SYS_ADMIN)
                                                        : ~0u;
    if (syscall(SYS_capset, &header, data) < 0)
        _exit(3);
}

/* In a mount namespace of its own, with fusectl or without: what does
 * guardian_start() say, and is the connection gone when we are? */
static int start_unprivileged(bool with_fusectl)
{
    struct guardian guardian;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(4);
        while (umount2(CONTROLS, MNT_DETACH) == 0)
            continue;
        if (with_fusectl && mount("none", CONTROLS, "fusectl", 0, NULL) < 0)
            _exit(5);
        drop_privilege();
        _exit(guardian_start(&guardian, mount_path(), false) == 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

TEST(fusectl_does_where_unmounting_is_not_allowed)
{
    struct pollfd device = {.events = POLLERR};
    char options[96];

    if (!can_mount())
        return;
    stage_set_alone();
    device.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options,
             "fd=%d,rootmode=40000,user_id=0,group_id=0", device.fd);
    EXPECT_OK(mount("alive", mount_path(), "fuse.tidemark", 0, options));
    EXPECT_EQ(start_unprivileged(false), 1);
    EXPECT_EQ(poll(&device, 1, 0), 0);
    EXPECT_EQ(start_unprivileged(true), 0);
    EXPECT_EQ(poll(&device, 1, PATIENCE_MS), 1); /* aborted */
    close(device.fd);
    EXPECT_OK(umount2(mount_path(), MNT_DETACH));
    stage_strike_alone();
}

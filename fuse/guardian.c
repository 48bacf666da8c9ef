/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/guardian.c - see guardian.h.
 *
 *   daemon: forks, locks the mutex, serves ... kills the guardian, unlocks
 *   guardian: waits for the mutex -> EOWNERDEAD, or it is told -> aborts, ends
 *
 * It is told, by a signal, when the daemon dies of its own mistake: then the
 * kernel writes a core first, waits with that for every thread, and hands
 * over no mutex before.
 *
 * The guardian holds one descriptor beside standard error: the root of the
 * mount (O_PATH, which asks the daemon nothing). As long as it does, the
 * kernel gives the connection's number to no other, and a forced unmount
 * finds the mount busy: it ends the connection and leaves the mount where it
 * is, so that nobody writes into the bare directory.
 *
 * Everything of the daemon's is closed in it: it must hold no lock, no port
 * and above all no /dev/fuse.
 */
#include "fuse/guardian.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/logger.h"
#include "base/os.h"
#include "fuse/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTROLS "/sys/fs/fuse/connections"
#define ROOT_FD 3
#define LINE_FD 4
#define SIGNAL_TOLD SIGUSR1

struct guardian_pact {
    pthread_mutex_t alive; /* the daemon holds it as long as it lives */
};

/* What the guardian works with. */
struct charge {
    struct guardian_pact *pact;
    const char *path; /* for people */
    char control[64]; /* writing to it aborts the connection */
    int root;
    int line; /* to the daemon, see begin() */
};

/* ---- the guardian -------------------------------------------------------- */

/* The command line, too, or ps and pgrep -f would show the daemon twice.
 * There is room: the words of a daemon are longer. */
static void title_set(void)
{
    char text[1024] = "", *at;
    struct os_file file = {0};
    uintptr_t from, to;

    (void)prctl(PR_SET_NAME, GUARDIAN_NAME);
    if (os_open(&file, AT_FDCWD, "/proc/self/stat", O_RDONLY, 0,
                SITE_GUARDIAN_TITLE) < 0)
        return;
    (void)os_pread(&file, text, sizeof text - 1, 0, SITE_GUARDIAN_TITLE);
    os_close(&file);
    at = strrchr(text, ')'); /* the second field; 48 and 49 are arg_start/end */
    for (int field = 2; at != NULL && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return;
    from = strtoul(at, &at, 10);
    to = strtoul(at, NULL, 10);
    if (from != 0 && to > from)
        snprintf(memset((char *)from, 0, to - from), to - from, GUARDIAN_NAME);
}

/* Keeps the root of the mount and standard error. */
static void let_go(struct charge *charge)
{
    int root = fcntl(charge->root, F_DUPFD, LINE_FD + 1);
    int line = fcntl(charge->line, F_DUPFD, LINE_FD + 1);
    char nothing;

    (void)setsid();
    if (chdir("/") < 0 || dup2(root, ROOT_FD) < 0 || dup2(line, LINE_FD) < 0)
        _exit(EXIT_FAILURE);
    charge->root = ROOT_FD;
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    closefrom(LINE_FD + 1);
    while (read(LINE_FD, &nothing, 1) < 0 && errno == EINTR)
        continue;
    close(LINE_FD);
}

/* By fusectl: asks for no privilege, but is often not mounted. */
static bool abort_by_control(const struct charge *charge)
{
    int fd = open(charge->control, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "1", 1) == 1;

    if (fd >= 0)
        close(fd);
    return done;
}

/* fusectl for us alone. */
static bool control_bring(void)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
           mount("fusectl", CONTROLS, "fusectl", 0, NULL) == 0;
}

static int abort_connection(const struct charge *charge)
{
    int rc = abort_by_control(charge) ? 0 : mountpoint_abort(charge->root);

    /* Somebody has detached the mount: nothing is there to be unmounted, but
     * who has files open there hangs all the same. */
    if (rc == -EINVAL && control_bring() && abort_by_control(charge))
        rc = 0;
    return rc;
}

static _Noreturn void act(const struct charge *charge)
{
    int rc = abort_connection(charge);

    if (rc == 0)
        log_warn("mount.aborted", "mount=%s reason=%s",
                 logger_quote(charge->path),
                 logger_quote("the daemon died; programs in the mount get "
                              "errors until it is started again"));
    else
        log_warn("mount.not_aborted", "mount=%s reason=%s",
                 logger_quote(charge->path), logger_quote(strerror(-rc)));
    _exit(EXIT_SUCCESS);
}

static sigjmp_buf told;

/* Out of the wait for the mutex, the one thing that it can interrupt. */
static void on_told(int number)
{
    (void)number;
    siglongjmp(told, 1);
}

/* All other signals stay blocked: only SIGKILL ends it, and the daemon sends
 * it. */
static _Noreturn void keep_watch(struct charge *charge)
{
    struct sigaction action = {.sa_handler = on_told};
    sigset_t signals;

    let_go(charge);
    title_set();
    sigaction(SIGNAL_TOLD, &action, NULL);
    sigemptyset(&signals);
    sigaddset(&signals, SIGNAL_TOLD);
    if (sigsetjmp(told, true) == 0) {
        pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
        if (pthread_mutex_lock(&charge->pact->alive) != EOWNERDEAD)
            _exit(EXIT_SUCCESS);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
    }
    act(charge);
}

/* ---- the daemon dies of its own mistake ---------------------------------- */

static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS};
static struct sigaction fatal_before[ARRAY_LENGTH(fatal)];
static atomic_int fatal_pid; /* who is told; 0: nobody */

/* Tells, and leaves the rest to whoever had the signal before us. */
static void on_fatal(int number, siginfo_t *info, void *context)
{
    int pid = atomic_exchange(&fatal_pid, 0);

    (void)context;
    if (pid > 0)
        (void)kill(pid, SIGNAL_TOLD);
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        if (fatal[i] == number)
            sigaction(number, &fatal_before[i], NULL);
    if (info->si_code <= 0) /* sent: it does not come back by itself */
        (void)raise(number);
}

/* One guardian of a process is told. A process has one, but for tests. */
static void fatal_watch(struct guardian *guardian)
{
    struct sigaction action = {.sa_sigaction = on_fatal,
                               .sa_flags = SA_SIGINFO};
    int nobody = 0;

    if (!atomic_compare_exchange_strong(&fatal_pid, &nobody, guardian->pid))
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        sigaction(fatal[i], &action, &fatal_before[i]);
}

static void fatal_unwatch(struct guardian *guardian)
{
    int pid = guardian->pid;

    if (!atomic_compare_exchange_strong(&fatal_pid, &pid, 0))
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        sigaction(fatal[i], &fatal_before[i], NULL);
}

/* ---- the daemon's side --------------------------------------------------- */

static int pact_make(struct guardian *guardian)
{
    pthread_mutexattr_t robust;
    struct guardian_pact *pact = mmap(NULL, sizeof *pact,
                                      PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (pact == MAP_FAILED)
        return site_fail(SITE_GUARDIAN_START, NULL, errno);
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&pact->alive, &robust);
    pthread_mutexattr_destroy(&robust);
    guardian->pact = pact;
    return 0;
}

static void pact_end(struct guardian *guardian)
{
    int rc = pthread_mutex_unlock(&guardian->pact->alive);

    ASSERT(rc == 0); /* else another thread ends it than has begun it */
    pthread_mutex_destroy(&guardian->pact->alive);
    munmap(guardian->pact, sizeof *guardian->pact);
    *guardian = (struct guardian){0};
}

/* Opens the root and finds the number of the connection. */
static int charge_take(struct charge *charge, bool privileged)
{
    struct os_file root = {0};
    struct statx status;
    int rc = os_open(&root, AT_FDCWD, charge->path, O_PATH | O_DIRECTORY, 0,
                     SITE_GUARDIAN_START);

    if (rc < 0)
        return rc;
    charge->root = root.fd;
    /* The daemon does not answer yet: only what the kernel knows. */
    if (statx(root.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) < 0)
        return site_fail(SITE_GUARDIAN_START, charge->path, errno);
    snprintf(charge->control, sizeof charge->control, CONTROLS "/%u/abort",
             status.stx_dev_minor);
    if (!privileged && access(charge->control, W_OK) < 0)
        return site_fail(SITE_GUARDIAN_START, charge->control, EACCES);
    return 0;
}

/* Forks with all signals blocked; an errno. */
static int fork_guardian(struct guardian *guardian, struct charge *charge)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    guardian->pid = fork();
    if (guardian->pid == 0)
        keep_watch(charge);
    error = guardian->pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/*
 * Each side waits for the other to hang up. The guardian: then the daemon has
 * the mutex. The daemon: then the guardian has let go of all that it got; a
 * daemon that died before would leave /dev/fuse open in it.
 */
static int begin(struct guardian *guardian, struct charge *charge)
{
    int line[2] = {-1, -1}, error = site_fault(SITE_GUARDIAN_FORK), rc;
    char nothing;

    charge->pact = guardian->pact;
    if (error == 0 &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
        error = errno;
    charge->line = line[1];
    if (error == 0)
        error = fork_guardian(guardian, charge);
    rc = pthread_mutex_lock(&guardian->pact->alive);
    ASSERT(rc == 0);
    if (line[0] >= 0) {
        close(line[1]);
        shutdown(line[0], SHUT_WR);
        while (read(line[0], &nothing, 1) < 0 && errno == EINTR)
            continue;
        close(line[0]);
    }
    if (error != 0)
        return site_fail(SITE_GUARDIAN_FORK, NULL, error);
    fatal_watch(guardian);
    return 0;
}

int guardian_start(struct guardian *guardian, const char *path, bool privileged)
{
    struct charge charge = {.path = path, .root = -1};
    int rc;

    *guardian = (struct guardian){0};
#ifdef CANARY_NO_GUARDIAN
    return 0;
#endif
    rc = charge_take(&charge, privileged);
    if (rc == 0)
        rc = pact_make(guardian);
    if (rc == 0)
        rc = begin(guardian, &charge);
    if (charge.root >= 0)
        close(charge.root);
    if (rc < 0 && guardian->pact != NULL)
        pact_end(guardian);
    return rc;
}

bool guardian_has_gone(struct guardian *guardian)
{
    if (guardian->pid == 0 || waitpid(guardian->pid, NULL, WNOHANG) == 0)
        return false;
    fatal_unwatch(guardian);
    guardian->pid = 0;
    return true;
}

void guardian_stop(struct guardian *guardian)
{
    if (guardian->pact == NULL)
        return;
    if (guardian->pid != 0) {
        fatal_unwatch(guardian);
        kill(guardian->pid, SIGKILL); /* also when somebody has stopped it */
        while (waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    pact_end(guardian);
}

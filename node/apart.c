/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/apart.c - see apart.h.
 *
 * A child that hangs where no signal ends it outlives this process. Whoever
 * reads our output to its end must not wait for that child, too: it closes
 * what it got. The line keeps messages apart, so that none is heard in part.
 */
#include "node/apart.h"

#include "base/assert.h"
#include "base/os.h"
#include "node/doctor_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD (STDERR_FILENO + 1)
#define LOOK_MS 50       /* between two looks at a child that says nothing */
#define SILENCE_MS 60000 /* of one that does run */
#define STATE "\nState:\t"

static void let_go(int fd)
{
    int line = fcntl(fd, F_DUPFD, FD + 1);
    int nothing = open("/dev/null", O_RDWR);

    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (dup2(nothing, i) < 0)
            _exit(EXIT_FAILURE);
    if (dup2(line, FD) < 0)
        _exit(EXIT_FAILURE);
    closefrom(FD + 1);
}

int apart_begin(struct apart *apart, apart_ask ask, void *context)
{
    int ends[2], error;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    child = fork();
    error = errno;
    if (child == 0) {
        let_go(ends[1]);
        ask(context, FD);
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return -error;
    }
    *apart = (struct apart){.child = child, .fd = ends[0]};
    return 0;
}

void apart_tell(int fd, const void *message, size_t size)
{
    ASSERT(size > 0 && size <= APART_MESSAGE_MAX);
    if (send(fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        _exit(EXIT_FAILURE); /* nobody hears */
}

/* It runs or wants to, or it has run since we looked last. */
static bool has_run(struct apart *apart)
{
    uint64_t waits = apart->waits;
    const char *state;
    char path[32], *text;
    bool has;

    snprintf(path, sizeof path, "/proc/%d/status", (int)apart->child);
    text = os_read_text(path);
    if (text == NULL)
        return false;
    state = strstr(text, STATE);
    (void)doctor_field(text, "voluntary_ctxt_switches", 10, &waits);
    has = waits != apart->waits ||
          (state != NULL && state[strlen(STATE)] == 'R');
    apart->waits = waits;
    free(text);
    return has;
}

ssize_t apart_hear(struct apart *apart, void *ret_message, size_t size,
                   unsigned patience_ms)
{
    struct pollfd ready = {.fd = apart->fd, .events = POLLIN};
    unsigned hung_ms = 0, silent_ms = 0;
    ssize_t got;
    int count;

    /* By looks, not by the clock: who is stopped or starved is so with us. */
    while ((count = poll(&ready, 1, LOOK_MS)) == 0) {
        hung_ms = has_run(apart) ? 0 : hung_ms + LOOK_MS;
        silent_ms += LOOK_MS;
        if (hung_ms >= patience_ms || silent_ms >= SILENCE_MS)
            return -ETIMEDOUT;
    }
    got = count < 0 ? -1 : recv(apart->fd, ret_message, size, 0);
    return got < 0 ? -errno : got;
}

void apart_end(struct apart *apart)
{
    close(apart->fd);
    (void)kill(apart->child, SIGKILL);
    /* One that has not ended by now is left to whoever inherits it. */
    (void)waitpid(apart->child, NULL, WNOHANG);
    *apart = (struct apart){0};
}

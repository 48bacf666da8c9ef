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

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD (STDERR_FILENO + 1)

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

ssize_t apart_hear(struct apart *apart, void *ret_message, size_t size,
                   int timeout_ms)
{
    struct pollfd ready = {.fd = apart->fd, .events = POLLIN};
    int count = poll(&ready, 1, timeout_ms);
    ssize_t got;

    if (count == 0)
        return -ETIMEDOUT;
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

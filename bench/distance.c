/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/distance.c - two places far apart, on one machine.
 *
 *   distance PORT TARGET_PORT DELAY_MS
 *
 * Accepts connections on 127.0.0.1:PORT, makes each one on to TARGET_PORT,
 * and passes bytes on DELAY_MS after they came, in both directions: a round
 * trip takes twice that. Bandwidth is not limited, nothing is lost. Says
 * "ready" on standard error when it listens; runs until SIGTERM.
 *
 * A pipe is one direction of a connection: what was read waits in a queue of
 * chunks, each with the time it is due. Above PIPE_MAX_BYTES it stops
 * reading, as a network would whose buffers are full. When a side closes,
 * the other hears of it after all that was said before.
 */
#include "bench/tool.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 64
#define CHUNK_BYTES 65536
#define PIPE_MAX_BYTES (64u << 20)

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size, written;
    char data[];
};

struct pipe_queue {
    struct chunk *first, *last;
    size_t bytes;
    bool ended;  /* nothing more will be read */
    bool closed; /* ... and the other side was told */
};

/* fds[0] is who connected, fds[1] the target; pipes[i] flows out of fds[i]. */
struct link {
    bool used;
    int fds[2];
    struct pipe_queue pipes[2];
};

static struct link links[LINKS_MAX];
static uint64_t delay_ns;

static void pipe_push(struct pipe_queue *pipe, const char *data, size_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    if (chunk == NULL)
        tool_fail("out of memory");
    *chunk = (struct chunk){.due_ns = clock_now_ns() + delay_ns, .size = size};
    memcpy(chunk->data, data, size);
    if (pipe->last != NULL)
        pipe->last->next = chunk;
    else
        pipe->first = chunk;
    pipe->last = chunk;
    pipe->bytes += size;
}

static void pipe_pop(struct pipe_queue *pipe)
{
    struct chunk *chunk = pipe->first;

    pipe->first = chunk->next;
    if (pipe->first == NULL)
        pipe->last = NULL;
    pipe->bytes -= chunk->size;
    free(chunk);
}

static void pipe_clear(struct pipe_queue *pipe)
{
    while (pipe->first != NULL)
        pipe_pop(pipe);
    *pipe = (struct pipe_queue){0};
}

static bool pipe_is_due(const struct pipe_queue *pipe)
{
    return pipe->first != NULL && pipe->first->due_ns <= clock_now_ns();
}

static void link_close(struct link *link)
{
    for (int i = 0; i < 2; i++) {
        close(link->fds[i]);
        pipe_clear(&link->pipes[i]);
    }
    link->used = false;
}

/* false when the connection broke. */
static bool link_read(struct link *link, int side)
{
    char data[CHUNK_BYTES];
    ssize_t size = recv(link->fds[side], data, sizeof(data), MSG_DONTWAIT);

    if (size > 0)
        pipe_push(&link->pipes[side], data, (size_t)size);
    else if (size == 0)
        link->pipes[side].ended = true;
    else
        return errno == EAGAIN || errno == EINTR;
    return true;
}

/* Passes on what is due from fds[side]; false when the connection broke. */
static bool link_write(struct link *link, int side)
{
    struct pipe_queue *pipe = &link->pipes[side];
    int fd = link->fds[1 - side];

    while (pipe_is_due(pipe)) {
        struct chunk *chunk = pipe->first;
        ssize_t size = send(fd, chunk->data + chunk->written,
                            chunk->size - chunk->written,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (size < 0)
            return errno == EAGAIN || errno == EINTR;
        chunk->written += (size_t)size;
        if (chunk->written == chunk->size)
            pipe_pop(pipe);
    }
    if (pipe->ended && pipe->first == NULL && !pipe->closed) {
        shutdown(fd, SHUT_WR);
        pipe->closed = true;
    }
    return true;
}

static int target_connect(in_port_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* A target that is not there looks like a connection refused a bit late. */
static void link_open(int listener, in_port_t target)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), other;

    if (fd < 0)
        return;
    other = target_connect(target);
    for (int i = 0; other >= 0 && i < LINKS_MAX; i++) {
        if (links[i].used)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        links[i] = (struct link){.used = true, .fds = {fd, other}};
        return;
    }
    close(fd);
    if (other >= 0)
        close(other);
}

static short side_events(const struct link *link, int side)
{
    short events = 0;

    if (!link->pipes[side].ended && link->pipes[side].bytes < PIPE_MAX_BYTES)
        events |= POLLIN;
    if (pipe_is_due(&link->pipes[1 - side]))
        events |= POLLOUT;
    return events;
}

/* When the next chunk falls due; those that are due wait for POLLOUT. */
static uint64_t next_due_ns(void)
{
    uint64_t due_ns = clock_now_ns() + NS_PER_S;

    for (int i = 0; i < LINKS_MAX; i++)
        for (int side = 0; links[i].used && side < 2; side++) {
            const struct chunk *chunk = links[i].pipes[side].first;

            if (chunk != NULL && !pipe_is_due(&links[i].pipes[side]) &&
                chunk->due_ns < due_ns)
                due_ns = chunk->due_ns;
        }
    return due_ns;
}

static void wait_for_work(struct pollfd *fds, int listener)
{
    uint64_t now_ns, due_ns = next_due_ns();
    struct timespec timeout = {0};

    fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < LINKS_MAX; i++)
        for (int side = 0; side < 2; side++) {
            short events = links[i].used ? side_events(&links[i], side) : 0;

            /* Without interest a dead peer would wake us for ever. */
            fds[1 + 2 * i + side] = (struct pollfd){
                .fd = events != 0 ? links[i].fds[side] : -1, .events = events};
        }
    now_ns = clock_now_ns();
    if (due_ns > now_ns) {
        timeout.tv_sec = (time_t)((due_ns - now_ns) / NS_PER_S);
        timeout.tv_nsec = (long)((due_ns - now_ns) % NS_PER_S);
    }
    if (ppoll(fds, 1 + 2 * LINKS_MAX, &timeout, NULL) < 0 && errno != EINTR)
        tool_fail("poll: %s", strerror(errno));
}

static void link_serve(struct link *link, const struct pollfd *fds)
{
    bool alive = true;

    for (int side = 0; side < 2 && alive; side++)
        if ((fds[side].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
            (fds[side].events & POLLIN) != 0)
            alive = link_read(link, side);
    for (int side = 0; side < 2 && alive; side++)
        alive = link_write(link, side);
    if (!alive || (link->pipes[0].closed && link->pipes[1].closed))
        link_close(link);
}

static int listen_on(in_port_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, LINKS_MAX) != 0)
        tool_fail("port %d: %s", ntohs(port), strerror(errno));
    return fd;
}

int main(int argc, char **argv)
{
    static struct pollfd fds[1 + 2 * LINKS_MAX];
    in_port_t target;
    int listener;

    if (argc != 4)
        tool_fail("usage: distance PORT TARGET_PORT DELAY_MS");
    tool_catch_signals();
    tool_wake_exactly();
    listener = listen_on(htons((uint16_t)tool_number(argv[1], 1, 65535)));
    target = htons((uint16_t)tool_number(argv[2], 1, 65535));
    delay_ns = (uint64_t)tool_number(argv[3], 0, 60000) * NS_PER_MS;
    fputs("ready\n", stderr);
    while (!tool_is_stopped()) {
        wait_for_work(fds, listener);
        if ((fds[0].revents & POLLIN) != 0)
            link_open(listener, target);
        for (int i = 0; i < LINKS_MAX; i++)
            if (links[i].used)
                link_serve(&links[i], &fds[1 + 2 * i]);
    }
    return 0;
}

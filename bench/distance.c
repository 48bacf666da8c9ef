/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/distance.c - two places far apart, on one machine, and what happens to
 * bytes on the way.
 *
 *   distance PORT TARGET_PORT DELAY_MS [SETTING ...]
 *
 * Accepts connections on 127.0.0.1:PORT, makes each one on to TARGET_PORT,
 * and passes bytes on DELAY_MS after they came, in both directions: a round
 * trip takes twice that. Says "ready" on standard error when it listens; runs
 * until SIGTERM. A SETTING is what bench/weather.h says.
 *
 * Settings are also read from standard input, any number in a line; each line
 * is answered by "ok" on standard output once all of it holds, or "what?".
 * `report` is answered by one line of JSON: what happened so far.
 *
 * A pipe is one direction of a connection: what was read waits in a queue of
 * chunks, each with the time it is due. Above PIPE_MAX_BYTES it stops
 * reading, as a network would whose buffers are full. When a side closes,
 * the other hears of it after all that was said before. Faults count bytes as
 * they are written, so what arrives is exact to the byte.
 */
#include "bench/tool.h"
#include "bench/weather.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 256
#define CHUNK_BYTES 65536
#define PIPE_MAX_BYTES (64u << 20)
#define EVENTS_MAX 64
#define LINE_MAX_BYTES 4096
#define BURST_PER_S 100 /* at a limited rate, bytes go on so often */

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size, written;
    char data[];
};

struct pipe_queue {
    struct chunk *first, *last;
    size_t bytes;
    uint64_t passed;  /* bytes that the other side was given */
    uint64_t free_ns; /* at a limited rate: when the line is free again */
    bool ended;       /* nothing more will be read */
    bool closed;      /* ... and the other side was told */
    bool deaf;        /* the other side is gone: what comes is thrown away */
};

/* fds[0] is who connected, fds[1] the target; pipes[i] flows out of fds[i]. */
struct link {
    bool used;
    int fds[2];
    uint32_t events[2]; /* what epoll was told to look for */
    struct pipe_queue pipes[2];
};

static struct link links[LINKS_MAX];
static const struct link *newest; /* NULL: none yet */
static in_port_t listen_port, target_port;
static int poller, listener = -1;
static struct {
    unsigned opened, cuts, resets, flips;
    uint64_t bytes[2];
} happened;

/* ---- pipes --------------------------------------------------------------- */

/* When bytes that came now go on: never before those that came earlier. */
static uint64_t pipe_due_ns(struct pipe_queue *pipe, int way, size_t size)
{
    const struct weather *now = &weather[way];
    uint64_t due_ns = clock_now_ns();

    if (now->rate > 0) {
        if (pipe->free_ns > due_ns)
            due_ns = pipe->free_ns;
        due_ns += (uint64_t)size * NS_PER_S / (uint64_t)now->rate;
        pipe->free_ns = due_ns;
    }
    due_ns += (uint64_t)now->delay_ms * NS_PER_MS;
    if (now->jitter_ms > 0)
        due_ns += weather_chance((uint64_t)now->jitter_ms * NS_PER_MS);
    if (pipe->last != NULL && pipe->last->due_ns > due_ns)
        due_ns = pipe->last->due_ns;
    return due_ns;
}

static void pipe_push(struct pipe_queue *pipe, int way, const char *data,
                      size_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    if (chunk == NULL)
        tool_fail("out of memory");
    *chunk = (struct chunk){.due_ns = pipe_due_ns(pipe, way, size),
                            .size = size};
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
}

static bool pipe_is_stalled(const struct pipe_queue *pipe, int way)
{
    return (int64_t)pipe->passed >= weather[way].stall;
}

static bool pipe_is_due(const struct pipe_queue *pipe, int way)
{
    return pipe->first != NULL && !pipe_is_stalled(pipe, way) &&
           pipe->first->due_ns <= clock_now_ns();
}

/* How many bytes may pass before something is to happen. */
static size_t pipe_allows(const struct pipe_queue *pipe, int way, size_t size)
{
    const int64_t ends[] = {weather[way].cut, weather[way].reset,
                            weather[way].stall};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends[i] != WEATHER_NEVER &&
            (int64_t)(pipe->passed + size) > ends[i])
            size = ends[i] > (int64_t)pipe->passed
                       ? (size_t)ends[i] - pipe->passed
                       : 0;
    return size;
}

/* The bit that is to be another one may be among the next size bytes. */
static void pipe_flip(const struct pipe_queue *pipe, int way, char *data,
                      size_t size)
{
    uint64_t bit = (uint64_t)weather[way].flip;

    if (weather[way].flip == WEATHER_NEVER || bit / 8 < pipe->passed ||
        bit / 8 >= pipe->passed + size)
        return;
    data[bit / 8 - pipe->passed] ^= (char)(1u << bit % 8);
    weather[way].flip = WEATHER_NEVER;
    happened.flips++;
}

/* ---- links --------------------------------------------------------------- */

static void link_close(struct link *link)
{
    for (int i = 0; i < 2; i++) {
        close(link->fds[i]);
        pipe_clear(&link->pipes[i]);
    }
    link->used = false;
}

static void link_reset(struct link *link)
{
    const struct linger at_once = {.l_onoff = 1};

    for (int i = 0; i < 2; i++)
        setsockopt(link->fds[i], SOL_SOCKET, SO_LINGER, &at_once,
                   sizeof(at_once));
    link_close(link);
}

/* A side is gone. The other one hears of it as it hears anything: not, when
 * that direction is stalled. */
static void link_lose(struct link *link, int side)
{
    link->pipes[side].ended = true;
    link->pipes[1 - side].deaf = true;
    pipe_clear(&link->pipes[1 - side]);
    if (!pipe_is_stalled(&link->pipes[side], side))
        link_close(link);
}

static void link_read(struct link *link, int side)
{
    struct pipe_queue *pipe = &link->pipes[side];
    int64_t rate = weather[side].rate, most = CHUNK_BYTES;
    char data[CHUNK_BYTES];
    ssize_t size;

    if (rate > 0 && rate / BURST_PER_S < most)
        most = rate / BURST_PER_S + 1;
    size = recv(link->fds[side], data, (size_t)most, MSG_DONTWAIT);
    if (size > 0 && !pipe->deaf)
        pipe_push(pipe, side, data, (size_t)size);
    else if (size == 0)
        pipe->ended = true;
    else if (size < 0 && errno != EAGAIN && errno != EINTR)
        link_lose(link, side);
}

/* Ends the link when it is time to; true when it did. */
static bool link_is_cut(struct link *link, int side)
{
    struct weather *now = &weather[side];
    int64_t passed = (int64_t)link->pipes[side].passed;

    if (passed >= now->reset) {
        now->reset = WEATHER_NEVER;
        happened.resets++;
        link_reset(link);
        return true;
    }
    if (passed >= now->cut) {
        now->cut = WEATHER_NEVER;
        happened.cuts++;
        link_close(link);
        return true;
    }
    return false;
}

/* Passes on what is due from fds[side]. */
static void link_write(struct link *link, int side)
{
    struct pipe_queue *pipe = &link->pipes[side];
    int fd = link->fds[1 - side];

    while (!link_is_cut(link, side) && pipe_is_due(pipe, side)) {
        struct chunk *chunk = pipe->first;
        char *data = chunk->data + chunk->written;
        size_t most = pipe_allows(pipe, side, chunk->size - chunk->written);
        ssize_t size;

        pipe_flip(pipe, side, data, most);
        size = send(fd, data, most, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size < 0) {
            link_lose(link, 1 - side);
            return;
        }
        chunk->written += (size_t)size;
        pipe->passed += (uint64_t)size;
        happened.bytes[side] += (uint64_t)size;
        if (chunk->written == chunk->size)
            pipe_pop(pipe);
    }
    if (link->used && pipe->ended && pipe->first == NULL && !pipe->closed &&
        !pipe_is_stalled(pipe, side)) {
        shutdown(fd, SHUT_WR);
        pipe->closed = true;
    }
}

/* Whatever is due by now, and what the weather has in store. */
static void link_serve(struct link *link)
{
    for (int side = 0; side < 2 && link->used; side++)
        link_write(link, side);
    if (link->used && link->pipes[0].closed && link->pipes[1].closed)
        link_close(link);
}

static uint32_t link_wants(const struct link *link, int side)
{
    const struct pipe_queue *from = &link->pipes[side];
    uint32_t events = 0;

    if (!from->ended && from->bytes < PIPE_MAX_BYTES)
        events |= EPOLLIN;
    if (pipe_is_due(&link->pipes[1 - side], 1 - side))
        events |= EPOLLOUT;
    return events;
}

/* Which link and side an event is of; listener and standard input follow. */
#define EVENT_LISTENER (2u * LINKS_MAX)
#define EVENT_INPUT (EVENT_LISTENER + 1)

/* Without interest a dead peer would wake us for ever: then it is left out. */
static void link_watch(struct link *link)
{
    for (int side = 0; side < 2; side++) {
        uint32_t wants = link_wants(link, side);
        uint32_t number = 2 * (uint32_t)(link - links) + (uint32_t)side;
        struct epoll_event event = {.events = wants, .data.u32 = number};
        int what = wants == 0                ? EPOLL_CTL_DEL
                   : link->events[side] == 0 ? EPOLL_CTL_ADD
                                             : EPOLL_CTL_MOD;

        if (wants == link->events[side])
            continue;
        if (epoll_ctl(poller, what, link->fds[side], &event) != 0)
            tool_fail("epoll_ctl: %s", strerror(errno));
        link->events[side] = wants;
    }
}

static int target_connect(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = target_port};
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
static void link_open(void)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), other;

    if (fd < 0)
        return;
    other = target_connect();
    for (int i = 0; other >= 0 && i < LINKS_MAX; i++) {
        if (links[i].used)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        links[i] = (struct link){.used = true, .fds = {fd, other}};
        happened.opened++;
        newest = &links[i];
        return;
    }
    close(fd);
    if (other >= 0)
        close(other);
}

/* ---- control ------------------------------------------------------------- */

static void report(void)
{
    unsigned open = 0;

    for (int i = 0; i < LINKS_MAX; i++)
        open += links[i].used;
    printf("{\"open\": %u, \"opened\": %u, \"cuts\": %u, \"resets\": %u, "
           "\"flips\": %u, \"up\": %llu, \"down\": %llu}\n",
           open, happened.opened, happened.cuts, happened.resets,
           happened.flips, (unsigned long long)happened.bytes[0],
           (unsigned long long)happened.bytes[1]);
    fflush(stdout);
}

static void listen_as_told(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = listen_port};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = EVENT_LISTENER};
    const int on = 1;

    if (weather_refuses() && listener >= 0) {
        close(listener);
        listener = -1;
    }
    if (weather_refuses() || listener >= 0)
        return;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, LINKS_MAX) != 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
        tool_fail("port %d: %s", ntohs(listen_port), strerror(errno));
}

static void line_obey(char *line)
{
    bool good = true, is_report = false;
    char *at = line, *word;
    uint64_t passed[2] = {0};

    for (int way = 0; newest != NULL && newest->used && way < 2; way++)
        passed[way] = newest->pipes[way].passed;
    while ((word = strsep(&at, " ")) != NULL)
        if (strcmp(word, "report") == 0)
            is_report = true;
        else if (*word != '\0')
            good = weather_obey(word, passed) && good;
    listen_as_told();
    for (int i = 0; i < LINKS_MAX; i++) /* a cut is at once, where it can */
        if (links[i].used)
            link_serve(&links[i]);
    if (is_report)
        report();
    else
        puts(good ? "ok" : "what?");
    fflush(stdout);
}

static void input_read(void)
{
    static char text[LINE_MAX_BYTES];
    static size_t used;
    ssize_t size = read(STDIN_FILENO, text + used, sizeof(text) - 1 - used);
    char *end;

    if (size <= 0 || used + (size_t)size == sizeof(text) - 1) {
        epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        return;
    }
    used += (size_t)size;
    text[used] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        line_obey(text);
        used -= (size_t)(end + 1 - text);
        memmove(text, end + 1, used + 1);
    }
}

/* ---- the loop ------------------------------------------------------------ */

/* When the next chunk falls due; those that are due wait for EPOLLOUT. */
static uint64_t next_due_ns(void)
{
    uint64_t due_ns = clock_now_ns() + NS_PER_S;

    for (int i = 0; i < LINKS_MAX; i++)
        for (int side = 0; links[i].used && side < 2; side++) {
            const struct pipe_queue *pipe = &links[i].pipes[side];

            if (pipe->first != NULL && !pipe_is_due(pipe, side) &&
                !pipe_is_stalled(pipe, side) && pipe->first->due_ns < due_ns)
                due_ns = pipe->first->due_ns;
        }
    return due_ns;
}

static int wait_for_work(struct epoll_event *events)
{
    uint64_t now_ns, due_ns = next_due_ns();
    struct timespec timeout = {0};
    int count;

    for (int i = 0; i < LINKS_MAX; i++)
        if (links[i].used)
            link_watch(&links[i]);
    now_ns = clock_now_ns();
    if (due_ns > now_ns) {
        timeout.tv_sec = (time_t)((due_ns - now_ns) / NS_PER_S);
        timeout.tv_nsec = (long)((due_ns - now_ns) % NS_PER_S);
    }
    count = epoll_pwait2(poller, events, EVENTS_MAX, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        tool_fail("epoll_wait: %s", strerror(errno));
    return count;
}

static void work(const struct epoll_event *event)
{
    struct link *link = &links[event->data.u32 / 2 % LINKS_MAX];
    int side = (int)(event->data.u32 % 2);

    if (event->data.u32 == EVENT_LISTENER)
        link_open();
    else if (event->data.u32 == EVENT_INPUT)
        input_read();
    else if (link->used && (link->events[side] & EPOLLIN) != 0 &&
             (event->events & ~(uint32_t)EPOLLOUT) != 0)
        link_read(link, side);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS_MAX];
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = EVENT_INPUT};

    if (argc < 4)
        tool_fail("usage: distance PORT TARGET_PORT DELAY_MS [SETTING ...]");
    tool_catch_signals();
    tool_wake_exactly();
    poller = epoll_create1(EPOLL_CLOEXEC);
    listen_port = htons((uint16_t)tool_number(argv[1], 1, 65535));
    target_port = htons((uint16_t)tool_number(argv[2], 1, 65535));
    weather_begin(tool_number(argv[3], 0, WEATHER_DELAY_MAX_MS));
    for (int i = 4; i < argc; i++)
        if (!weather_obey(argv[i], (const uint64_t[2]){0}))
            tool_fail("%s: no such setting", argv[i]);
    listen_as_told();
    /* Refused for a file that is no pipe: then nobody tells us anything. */
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    fputs("ready\n", stderr);
    while (!tool_is_stopped()) {
        int count = wait_for_work(events);

        for (int i = 0; i < count; i++)
            work(&events[i]);
        for (int i = 0; i < LINKS_MAX; i++)
            if (links[i].used)
                link_serve(&links[i]);
    }
    return 0;
}

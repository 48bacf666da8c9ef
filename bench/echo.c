/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/echo.c - the control of every latency: what this machine does now.
 *
 *   echo RATE SECONDS
 *
 * Two threads pass one byte to and fro over loopback TCP, RATE times a second
 * on a fixed schedule, asleep in between. A round trip is two packets and two
 * wake-ups of a sleeping thread: no replication can do with less, and what
 * else runs on the machine disturbs it just as much.
 */
#include "bench/histogram.h"
#include "bench/tool.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct histogram round_trips;

static void socket_hurry(int fd)
{
    const int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        tool_fail("setsockopt(TCP_NODELAY) failed");
}

/* Both ends of one connection. */
static void connect_pair(int ret_fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ret_fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(ret_fds[0], (struct sockaddr *)&address, size) != 0)
        tool_fail("no connection over loopback");
    ret_fds[1] = accept(listener, NULL, NULL);
    close(listener);
    socket_hurry(ret_fds[0]);
    socket_hurry(ret_fds[1]);
}

static void *echo_run(void *context)
{
    int fd = *(int *)context;
    char byte;

    while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
        continue;
    return NULL;
}

/* The schedule is kept, but a ping counts from when it was sent: the timer
 * that wakes the sender is not part of a round trip. */
static void pings_run(int fd, uint64_t rate, uint64_t count)
{
    uint64_t start_ns = clock_now_ns() + 10 * NS_PER_MS, sent_ns;
    char byte = 1;

    for (uint64_t i = 0; i < count && !tool_is_stopped(); i++) {
        tool_sleep_until(start_ns + i * NS_PER_S / rate);
        sent_ns = clock_now_ns();
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            tool_fail("the other end has gone");
        histogram_add(&round_trips, clock_now_ns() - sent_ns);
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int fds[2];
    uint64_t rate, count;

    if (argc != 3)
        tool_fail("usage: echo RATE SECONDS");
    tool_catch_signals();
    tool_wake_exactly();
    rate = (uint64_t)tool_number(argv[1], 1, 1000000);
    count = tool_seconds_ns(argv[2]) * rate / NS_PER_S;
    connect_pair(fds);
    if (pthread_create(&thread, NULL, echo_run, &fds[1]) != 0)
        tool_fail("no thread");
    pings_run(fds[0], rate, count);
    shutdown(fds[0], SHUT_WR);
    pthread_join(thread, NULL);
    putchar('{');
    histogram_print(&round_trips, "round_trip", stdout);
    puts("}");
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/logger.c - formats a line on the stack and writes it with one write(),
 * so that lines of several threads never mix. The last lines are kept in a
 * small ring for a failed assertion to print.
 */
#include "base/logger.h"

#include "base/clock.h"
#include "base/assert.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_KEPT 32

static atomic_int least = LOGGER_INFO;
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static char ring[LINES_KEPT][LOGGER_LINE_BYTES];
static unsigned ring_next;

void logger_set_level(enum logger_level level)
{
    atomic_store(&least, (int)level);
}

static size_t line_start(char *line, enum logger_level level, const char *event)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    uint64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / NS_PER_S);
    struct tm utc;
    char date[32];

    gmtime_r(&seconds, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    return (size_t)snprintf(
        line, LOGGER_LINE_BYTES, "ts=%s.%03uZ level=%s event=%s", date,
        (unsigned)(now / NS_PER_MS % 1000), names[level], event);
}

static void line_keep(const char *line)
{
    pthread_mutex_lock(&ring_lock);
    snprintf(ring[ring_next++ % LINES_KEPT], LOGGER_LINE_BYTES, "%s", line);
    pthread_mutex_unlock(&ring_lock);
}

static void line_write(char *line, size_t used)
{
    ssize_t ignored;

    if (used > LOGGER_LINE_BYTES - 2)
        used = LOGGER_LINE_BYTES - 2;
    line[used] = '\0';
    line_keep(line);
    line[used] = '\n';
    ignored = write(STDERR_FILENO, line, used + 1);
    (void)ignored; /* nowhere left to complain */
}

void logger_write(enum logger_level level, const char *event,
                  const char *format, ...)
{
    char line[LOGGER_LINE_BYTES];
    va_list arguments;
    size_t used;

    if ((int)level < atomic_load_explicit(&least, memory_order_relaxed))
        return;
    used = line_start(line, level, event);
    if (format[0] != '\0' && used < sizeof line - 2) {
        line[used++] = ' ';
        va_start(arguments, format);
        used += (size_t)vsnprintf(line + used, sizeof line - used, format,
                                  arguments);
        va_end(arguments);
    }
    line_write(line, used);
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 127;
}

static bool is_plain(const char *text)
{
    const char *at = text;

    while (*at != '\0' && !is_control(*at) && strchr(" \"\\=", *at) == NULL)
        at++;
    return *at == '\0' && at != text;
}

const char *logger_quote(const char *text)
{
    static _Thread_local char buffers[4][512];
    static _Thread_local unsigned next;
    char *out = buffers[next++ % 4], *at = out;

    if (is_plain(text)) {
        snprintf(out, sizeof buffers[0], "%s", text);
        return out;
    }
    *at++ = '"';
    for (; *text != '\0' && at < out + sizeof buffers[0] - 4; text++) {
        if (*text == '"' || *text == '\\')
            *at++ = '\\';
        *at++ = is_control(*text) ? ' ' : *text;
    }
    *at++ = '"';
    *at = '\0';
    return out;
}

void logger_dump_last(void)
{
    unsigned from;

    /* The asserting thread may hold the lock itself: do not wait for it. */
    if (pthread_mutex_trylock(&ring_lock) != 0)
        return;
    from = ring_next > LINES_KEPT ? ring_next - LINES_KEPT : 0;
    for (unsigned i = from; i < ring_next; i++)
        fprintf(stderr, "  log: %s\n", ring[i % LINES_KEPT]);
    pthread_mutex_unlock(&ring_lock);
}

_Noreturn void assert_failed(const char *condition, const char *file, int line,
                             const char *function)
{
    char name[16] = "?";

    pthread_getname_np(pthread_self(), name, sizeof name);
    fprintf(stderr, "assertion failed: %s\n  at: %s:%d %s()\n  thread: %s\n",
            condition, file, line, function, name);
    logger_dump_last();
    abort();
}

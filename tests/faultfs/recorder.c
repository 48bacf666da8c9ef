/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/recorder.c - see recorder.h. */
#include "tests/faultfs/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t count;
static int file = -1;

int recorder_open(const char *path)
{
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
                0600);
    return file < 0 ? -errno : 0;
}

void recorder_lock(void)
{
    pthread_mutex_lock(&lock);
}

void recorder_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

uint64_t recorder_add(const struct trace_item *item)
{
    struct trace_item timed = *item;
    struct timespec now;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &now);
    timed.event.time_ns = (uint64_t)now.tv_sec * 1000000000u +
                          (uint64_t)now.tv_nsec;
    rc = trace_append(file, &timed);
    if (rc < 0) {
        fprintf(stderr, "faultfs: trace: %s\n", strerror(-rc));
        abort();
    }
    return ++count;
}

uint64_t recorder_mark(const char *text)
{
    struct trace_item item = {
        .event.kind = TRACE_MARK,
        .event.data_bytes = (uint32_t)strlen(text),
        .data = (const uint8_t *)text,
    };
    uint64_t number;

    recorder_lock();
    number = recorder_add(&item);
    recorder_unlock();
    return number;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/trace.c - see trace.h. */
#include "tests/support/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

const char *const trace_names[TRACE_KINDS] = {
    [TRACE_BASE] = "base",         [TRACE_CREATE] = "create",
    [TRACE_MKDIR] = "mkdir",       [TRACE_LINK] = "link",
    [TRACE_UNLINK] = "unlink",     [TRACE_RMDIR] = "rmdir",
    [TRACE_RENAME] = "rename",     [TRACE_WRITE] = "write",
    [TRACE_TRUNCATE] = "truncate", [TRACE_CHMOD] = "chmod",
    [TRACE_CHOWN] = "chown",       [TRACE_TIMES] = "times",
    [TRACE_SYNC] = "sync",         [TRACE_SYNC_DIR] = "sync-dir",
    [TRACE_MARK] = "mark",
};

static struct iovec name_part(const char *name, uint32_t *ret_bytes)
{
    uint32_t bytes = name == NULL || name[0] == '\0'
                         ? 0
                         : (uint32_t)strlen(name) + 1;

    *ret_bytes = bytes;
    return (struct iovec){(void *)(uintptr_t)name, bytes};
}

int trace_append(int fd, const struct trace_item *item)
{
    struct trace_event event = item->event;
    struct iovec parts[4] = {
        {&event, sizeof event},
        name_part(item->name, &event.name_bytes),
        name_part(item->name_to, &event.name_to_bytes),
        {(void *)(uintptr_t)item->data, event.data_bytes},
    };
    size_t want = sizeof event + event.name_bytes + event.name_to_bytes +
                  event.data_bytes;
    ssize_t done = writev(fd, parts, 4);

    if (done < 0)
        return -errno;
    return (size_t)done == want ? 0 : -EIO;
}

int trace_open(struct trace *trace, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat status;
    void *bytes;

    *trace = (struct trace){0};
    if (fd < 0 || fstat(fd, &status) != 0) {
        rc = -errno;
    } else if (status.st_size > 0) {
        bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd,
                     0);
        if (bytes == MAP_FAILED)
            rc = -errno;
        else
            *trace = (struct trace){bytes, (size_t)status.st_size};
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

void trace_close(struct trace *trace)
{
    if (trace->bytes != NULL)
        munmap((void *)(uintptr_t)trace->bytes, trace->size);
    *trace = (struct trace){0};
}

int trace_next(const struct trace *trace, size_t *at, struct trace_item *item)
{
    const uint8_t *from = trace->bytes + *at;
    struct trace_event *event = &item->event;
    size_t left = trace->size - *at, size;

    if (left < sizeof *event)
        return 0;
    memcpy(event, from, sizeof *event);
    size = sizeof *event + event->name_bytes + event->name_to_bytes +
           event->data_bytes;
    if (left < size)
        return 0;
    from += sizeof *event;
    item->name = event->name_bytes > 0 ? (const char *)from : "";
    from += event->name_bytes;
    item->name_to = event->name_to_bytes > 0 ? (const char *)from : "";
    item->data = from + event->name_to_bytes;
    *at += size;
    return 1;
}

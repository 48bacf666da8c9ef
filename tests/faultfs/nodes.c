/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/nodes.c - see serve.h. One lock for the table, leaf of all. */
#include "tests/faultfs/serve.h"

#include "tests/support/faultdisk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct node {
    int fd; /* 0: the kernel does not know it */
    uint64_t lookups;
};

static struct {
    pthread_mutex_t lock;
    struct node *of;
    size_t capacity;
    uint64_t last; /* number given out */
    char backing[PATH_MAX];
    size_t backing_bytes;
} nodes = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = TRACE_ROOT};

static struct node *node_of(fuse_ino_t number)
{
    size_t room = nodes.capacity == 0 ? 1024 : nodes.capacity;

    while (room <= number)
        room *= 2;
    if (room > nodes.capacity) {
        nodes.of = realloc(nodes.of, room * sizeof *nodes.of);
        if (nodes.of == NULL)
            abort();
        memset(nodes.of + nodes.capacity, 0,
               (room - nodes.capacity) * sizeof *nodes.of);
        nodes.capacity = room;
    }
    return &nodes.of[number];
}

int nodes_fd(fuse_ino_t number)
{
    int fd;

    pthread_mutex_lock(&nodes.lock);
    fd = node_of(number)->fd;
    pthread_mutex_unlock(&nodes.lock);
    return fd;
}

void nodes_path(fuse_ino_t number, char path[NODE_PATH_BYTES])
{
    snprintf(path, NODE_PATH_BYTES, "/proc/self/fd/%d", nodes_fd(number));
}

void nodes_name(fuse_ino_t number, char name[PATH_MAX])
{
    char path[NODE_PATH_BYTES], target[PATH_MAX] = "";
    size_t skip = nodes.backing_bytes + 1;

    nodes_path(number, path);
    if (readlink(path, target, sizeof target - 1) < 0 || strlen(target) < skip)
        skip = strlen(target);
    memmove(name, target + skip, strlen(target + skip) + 1);
}

/* Who has no number yet gets one. */
static uint64_t number_of(int fd)
{
    char path[NODE_PATH_BYTES];
    uint64_t number = 0;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (getxattr(path, FAULTDISK_XATTR, &number, sizeof number) ==
        sizeof number)
        return number;
    pthread_mutex_lock(&nodes.lock);
    number = ++nodes.last;
    pthread_mutex_unlock(&nodes.lock);
    (void)setxattr(path, FAULTDISK_XATTR, &number, sizeof number, 0);
    return number;
}

int nodes_status(fuse_ino_t number, int fd, struct stat *ret_status)
{
    if (fstatat(fd < 0 ? nodes_fd(number) : fd, "", ret_status,
                AT_EMPTY_PATH) != 0)
        return -errno;
    ret_status->st_ino = number;
    return 0;
}

static int open_child(fuse_ino_t parent, const char *name)
{
    return openat(nodes_fd(parent), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

fuse_ino_t nodes_number(fuse_ino_t parent, const char *name,
                        struct stat *ret_status)
{
    int fd = open_child(parent, name);
    fuse_ino_t number;

    if (fd < 0)
        return 0;
    number = number_of(fd);
    if (nodes_status(number, fd, ret_status) < 0)
        number = 0;
    close(fd);
    return number;
}

int nodes_look_up(fuse_ino_t parent, const char *name,
                  struct fuse_entry_param *ret_entry)
{
    int fd = open_child(parent, name), rc;
    struct node *node;

    if (fd < 0)
        return -errno;
    *ret_entry = (struct fuse_entry_param){
        .ino = number_of(fd),
        .attr_timeout = SERVE_TIMEOUT_S,
        .entry_timeout = SERVE_TIMEOUT_S,
    };
    rc = nodes_status(ret_entry->ino, fd, &ret_entry->attr);
    pthread_mutex_lock(&nodes.lock);
    node = node_of(ret_entry->ino);
    if (rc < 0 || node->fd != 0)
        close(fd);
    else
        node->fd = fd;
    node->lookups += rc == 0;
    pthread_mutex_unlock(&nodes.lock);
    return rc;
}

void nodes_forget(fuse_ino_t number, uint64_t count)
{
    struct node *node;

    pthread_mutex_lock(&nodes.lock);
    node = node_of(number);
    node->lookups -= count;
    if (node->lookups == 0 && number != TRACE_ROOT) {
        close(node->fd);
        node->fd = 0;
    }
    pthread_mutex_unlock(&nodes.lock);
}

uint64_t mtime_of(const struct stat *status)
{
    return (uint64_t)status->st_mtim.tv_sec * 1000000000u +
           (uint64_t)status->st_mtim.tv_nsec;
}

void event_owner(struct trace_event *event, const struct stat *status)
{
    event->mode = status->st_mode;
    event->uid = status->st_uid;
    event->gid = status->st_gid;
    event->mtime_ns = mtime_of(status);
}

/* ---- what is there when it begins ---------------------------------------- */

typedef int visit(uint64_t parent, const char *name, int fd,
                  const struct stat *status);

/* All below a directory; what is in it comes after it. */
static int walk(int dirfd, uint64_t parent, visit *visit_one)
{
    DIR *dir = fdopendir(dirfd);
    struct dirent *entry;
    struct stat status;
    int rc = 0, fd;

    if (dir == NULL)
        return -errno;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        fd = openat(dirfd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            rc = -errno;
            break;
        }
        if (fstat(fd, &status) != 0) {
            rc = -errno;
            close(fd);
            break;
        }
        rc = visit_one(parent, entry->d_name, fd, &status);
        if (rc == 0 && S_ISDIR(status.st_mode))
            rc = walk(fd, number_of(fd), visit_one);
        else
            close(fd);
    }
    closedir(dir);
    return rc;
}

/* Before anybody gets a new number. */
static int see_number(uint64_t parent, const char *name, int fd,
                      const struct stat *status)
{
    uint64_t number = 0;

    (void)parent, (void)name, (void)status;
    if (fgetxattr(fd, FAULTDISK_XATTR, &number, sizeof number) ==
            sizeof number &&
        number > nodes.last)
        nodes.last = number;
    return 0;
}

static int tell_content(uint64_t number, int fd, const struct stat *status)
{
    static uint8_t bytes[1 << 20];
    struct trace_item item = {.data = bytes};
    ssize_t n;

    while ((n = pread(fd, bytes, sizeof bytes, (off_t)item.event.offset)) > 0) {
        item.event.kind = TRACE_WRITE;
        item.event.object = number;
        item.event.mtime_ns = mtime_of(status);
        item.event.data_bytes = (uint32_t)n;
        recorder_add(&item);
        item.event.offset += (uint64_t)n;
    }
    return n < 0 ? -errno : 0;
}

static int tell_one(uint64_t parent, const char *name, int fd,
                    const struct stat *status)
{
    bool is_directory = S_ISDIR(status->st_mode);
    struct trace_item item = {
        .event.kind = is_directory ? TRACE_MKDIR : TRACE_CREATE,
        .event.object = number_of(fd),
        .event.parent = parent,
        .name = name,
    };

    event_owner(&item.event, status);
    recorder_add(&item);
    return is_directory ? 0 : tell_content(item.event.object, fd, status);
}

int nodes_open(const char *backing)
{
    struct trace_item base = {.event.kind = TRACE_BASE};
    int fd, rc;

    if (realpath(backing, nodes.backing) == NULL)
        return -errno;
    nodes.backing_bytes = strlen(nodes.backing);
    fd = open(nodes.backing, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *node_of(TRACE_ROOT) = (struct node){.fd = fd, .lookups = 1};
    rc = walk(openat(fd, ".", O_RDONLY | O_CLOEXEC), TRACE_ROOT, see_number);
    if (rc == 0)
        rc = walk(openat(fd, ".", O_RDONLY | O_CLOEXEC), TRACE_ROOT, tell_one);
    recorder_lock();
    recorder_add(&base);
    recorder_unlock();
    return rc;
}

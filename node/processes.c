/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/processes.c - see processes.h.
 *
 * Which file system a descriptor is on is told by the id of its mount in
 * fdinfo, and what that id is by the mountinfo of the process: mounts in other
 * namespaces have other ids and paths, and the same device. Neighbours mostly
 * share their namespace, so the ids found last are kept.
 */
#include "node/processes.h"

#include "base/assert.h"
#include "base/os.h"
#include "node/apart.h"
#include "node/doctor_facts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MOUNTS_MAX 64 /* binds of one mount in one namespace */
#define NAMES_SHOWN 5

struct walk {
    process_on_file on_file;
    void *context;
    int to;
    dev_t device;
    ino_t namespace; /* whose ids these are; 0: nobody's */
    uint64_t ids[MOUNTS_MAX];
    size_t count;
};

char *process_read(int pid, const char *name)
{
    char path[80];

    if (pid == 0)
        snprintf(path, sizeof path, "/proc/%s", name);
    else
        snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return os_read_text(path);
}

void process_name(int pid, char ret_name[PROCESS_NAME_BYTES])
{
    char *text = process_read(pid, "comm");

    snprintf(ret_name, PROCESS_NAME_BYTES, "%.*s",
             text == NULL ? 1 : (int)strcspn(text, "\n"),
             text == NULL ? "?" : text);
    free(text);
}

/* ---- lists --------------------------------------------------------------- */

static bool list_has(const struct process_list *list, int pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->pids[i] == pid)
            return true;
    return false;
}

void process_list_add(struct process_list *list, int pid)
{
    if (!list_has(list, pid) && list->count < PROCESS_LIST_MAX)
        list->pids[list->count++] = pid;
}

void process_list_format(const struct process_list *list,
                         char ret_text[PROCESS_LIST_TEXT_BYTES])
{
    char name[PROCESS_NAME_BYTES];
    size_t used = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < list->count && i < NAMES_SHOWN; i++) {
        process_name(list->pids[i], name);
        used += (size_t)snprintf(
            ret_text + used, PROCESS_LIST_TEXT_BYTES - used, "%s%s (pid %d)",
            i == 0 ? "" : ", ", name, list->pids[i]);
    }
    if (list->count > NAMES_SHOWN)
        snprintf(ret_text + used, PROCESS_LIST_TEXT_BYTES - used,
                 " and %zu more", list->count - NAMES_SHOWN);
}

/* ---- asking -------------------------------------------------------------- */

enum kind {
    TOLD,
    SEEN,   /* all of that process was told */
    HIDDEN, /* it did not let us look */
};

struct message {
    enum kind kind;
    _Alignas(max_align_t) unsigned char told[PROCESS_TOLD_MAX];
};

#define HEAD_BYTES offsetof(struct message, told)
_Static_assert(sizeof(struct message) <= APART_MESSAGE_MAX, "one message");

struct asking {
    const struct process_question *question;
    struct process_inquiry *inquiry;
    const int *pids;
    size_t count, next;
};

static void tell(int to, enum kind kind, const void *bytes, size_t size)
{
    struct message message = {.kind = kind};

    ASSERT(size <= sizeof message.told);
    if (size > 0)
        memcpy(message.told, bytes, size);
    apart_tell(to, &message, HEAD_BYTES + size);
}

void process_tell(int to, const void *bytes, size_t size)
{
    tell(to, TOLD, bytes, size);
}

/* To the next that is not known to be stuck. */
static void asking_skip(struct asking *asking)
{
    while (asking->next < asking->count &&
           list_has(&asking->inquiry->stuck, asking->pids[asking->next]))
        asking->next++;
}

/* In the child. */
static void ask_each(void *context, int fd)
{
    const struct process_question *question;
    struct asking *asking = context;

    for (question = asking->question; asking->next < asking->count;
         asking_skip(asking)) {
        int pid = asking->pids[asking->next++];
        bool seen = question->ask(question->context, pid, fd);

        tell(fd, seen ? SEEN : HIDDEN, NULL, 0);
    }
}

static unsigned patience_next(const struct process_inquiry *inquiry)
{
    unsigned half = inquiry->patience_ms / 2;

    return half < PROCESS_PATIENCE_MS ? PROCESS_PATIENCE_MS : half;
}

/* To the end, or to where the child hangs; how many were hidden. */
static unsigned hear_each(struct asking *asking, struct apart *child)
{
    const struct process_question *question = asking->question;
    unsigned patience_ms = patience_next(asking->inquiry);
    struct message message;
    unsigned hidden = 0;
    ssize_t got;

    while (asking->next < asking->count &&
           (got = apart_hear(child, &message, sizeof message, patience_ms)) >=
               (ssize_t)HEAD_BYTES) {
        if (message.kind == TOLD) {
            question->hear(question->context, message.told,
                           (size_t)got - HEAD_BYTES);
            continue;
        }
        hidden += message.kind == HIDDEN;
        asking->next++;
        asking_skip(asking);
    }
    return hidden;
}

static void give_up(struct asking *asking)
{
    struct process_inquiry *inquiry = asking->inquiry;

    process_list_add(&inquiry->stuck, asking->pids[asking->next++]);
    inquiry->patience_ms -= inquiry->patience_ms / 2;
}

unsigned processes_ask(struct process_inquiry *inquiry, const int *pids,
                       size_t count, const struct process_question *question)
{
    struct asking asking = {
        .question = question, .inquiry = inquiry, .pids = pids, .count = count};
    unsigned hidden = 0;
    struct apart child;

    for (asking_skip(&asking); asking.next < count; asking_skip(&asking)) {
        if (apart_begin(&child, ask_each, &asking) < 0)
            return hidden + (unsigned)(count - asking.next);
        hidden += hear_each(&asking, &child);
        apart_end(&child);
        if (asking.next < count)
            give_up(&asking);
    }
    return hidden;
}

/* ---- descriptors --------------------------------------------------------- */

/* The ids under which the process has the device mounted. */
static void walk_mounts(struct walk *walk, int pid)
{
    char path[48], *text;
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/ns/mnt", pid);
    if (stat(path, &status) != 0)
        status.st_ino = 0;
    if (status.st_ino != 0 && status.st_ino == walk->namespace)
        return;
    walk->namespace = status.st_ino;
    walk->count = 0;
    text = process_read(pid, "mountinfo");
    for (const char *line = text; line != NULL && *line != '\0';) {
        unsigned major, minor;
        uint64_t id;

        if (walk->count < MOUNTS_MAX &&
            doctor_mount_parse(line, &id, &major, &minor) &&
            makedev(major, minor) == walk->device)
            walk->ids[walk->count++] = id;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    free(text);
}

static bool walk_knows(const struct walk *walk, uint64_t id)
{
    for (size_t i = 0; i < walk->count; i++)
        if (walk->ids[i] == id)
            return true;
    return false;
}

static void walk_file(struct walk *walk, int directory, int pid,
                      const char *number)
{
    struct process_file file = {.pid = pid};
    size_t head = offsetof(struct process_file, link);
    uint64_t id = 0, flags = O_PATH;
    char name[48], *info;
    ssize_t length = readlinkat(directory, number, file.link,
                                sizeof file.link - 1);

    if (length <= 0 || file.link[0] != '/') /* pipes, sockets, or gone */
        return;
    snprintf(name, sizeof name, "fdinfo/%.32s", number);
    info = process_read(pid, name);
    if (info == NULL)
        return;
    (void)doctor_field(info, "flags", 8, &flags);
    (void)doctor_field(info, "ino", 10, &file.inode);
    file.on_device = doctor_field(info, "mnt_id", 10, &id) &&
                     walk_knows(walk, id);
    free(info);
    if ((flags & (O_PATH | O_DIRECTORY)) == 0)
        process_tell(walk->to, &file, head + (size_t)length + 1);
}

/* One without a command line is the kernel's, or has ended: it has no files. */
static bool has_command_line(int pid)
{
    char *text = process_read(pid, "cmdline");
    bool has = text != NULL && *text != '\0';

    free(text);
    return has;
}

/* In the child, as all before it. */
static bool walk_process(void *context, int pid, int to)
{
    struct walk *walk = context;
    const struct dirent *entry;
    char path[32];
    DIR *files;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    files = opendir(path);
    if (files == NULL)
        return (errno != EACCES && errno != EPERM) || !has_command_line(pid);
    walk->to = to;
    if (walk->device != 0)
        walk_mounts(walk, pid);
    while ((entry = readdir(files)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            walk_file(walk, dirfd(files), pid, entry->d_name);
    closedir(files);
    return true;
}

static void walk_hear(void *context, const void *told, size_t size)
{
    const struct walk *walk = context;

    ASSERT(size > offsetof(struct process_file, link));
    walk->on_file(walk->context, told);
}

static bool is_other_process(const struct dirent *entry)
{
    return isdigit((unsigned char)entry->d_name[0]) &&
           strtol(entry->d_name, NULL, 10) != getpid();
}

/* All but this one, in a list for the caller to free; NULL: not to be had. */
static int *pids_read(size_t *ret_count)
{
    DIR *processes = opendir("/proc");
    size_t count = 0, room = 0;
    const struct dirent *entry;
    int *pids = NULL, *more;

    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!is_other_process(entry))
            continue;
        if (count == room) {
            room = room == 0 ? 1024 : 2 * room;
            more = reallocarray(pids, room, sizeof *pids);
            if (more == NULL) {
                free(pids);
                pids = NULL;
                break;
            }
            pids = more;
        }
        pids[count++] = (int)strtol(entry->d_name, NULL, 10);
    }
    if (processes != NULL)
        closedir(processes);
    *ret_count = count;
    return pids;
}

unsigned processes_each_file(struct process_inquiry *inquiry, dev_t device,
                             process_on_file on_file, void *context)
{
    struct walk walk = {
        .on_file = on_file, .context = context, .device = device};
    struct process_question question = {
        .ask = walk_process, .hear = walk_hear, .context = &walk};
    size_t count;
    int *pids = pids_read(&count);
    unsigned hidden = pids == NULL
                          ? 1
                          : processes_ask(inquiry, pids, count, &question);

    free(pids);
    return hidden;
}

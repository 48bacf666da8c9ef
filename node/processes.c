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

#include "base/os.h"
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
        walk->on_file(walk->context, &file);
}

/* One without a command line is the kernel's, or has ended: it has no files. */
static bool has_command_line(int pid)
{
    char *text = process_read(pid, "cmdline");
    bool has = text != NULL && *text != '\0';

    free(text);
    return has;
}

/* False: it did not let us look. */
static bool walk_process(struct walk *walk, int pid)
{
    const struct dirent *entry;
    char path[32];
    DIR *files;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    files = opendir(path);
    if (files == NULL)
        return (errno != EACCES && errno != EPERM) || !has_command_line(pid);
    if (walk->device != 0)
        walk_mounts(walk, pid);
    while ((entry = readdir(files)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            walk_file(walk, dirfd(files), pid, entry->d_name);
    closedir(files);
    return true;
}

unsigned processes_each_file(dev_t device, process_on_file on_file,
                             void *context)
{
    struct walk walk = {
        .on_file = on_file, .context = context, .device = device};
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    unsigned hidden = 0;

    if (processes == NULL)
        return 1;
    while ((entry = readdir(processes)) != NULL) {
        int pid = isdigit((unsigned char)entry->d_name[0])
                      ? (int)strtol(entry->d_name, NULL, 10)
                      : 0;

        if (pid > 0 && pid != getpid())
            hidden += !walk_process(&walk, pid);
    }
    closedir(processes);
    return hidden;
}

/* ---- lists --------------------------------------------------------------- */

void process_list_add(struct process_list *list, int pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->pids[i] == pid)
            return;
    if (list->count < PROCESS_LIST_MAX)
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

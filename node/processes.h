/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/processes.h - what /proc tells of other processes: which files they
 * have open, and what they are called.
 *
 * Only descriptors are looked at, by their link and their fdinfo: no file is
 * opened and no file system asked, so a mount that hangs hangs nobody here.
 * Processes come and go meanwhile; one that went is no error. Any thread.
 */
#ifndef TIDEMARK_NODE_PROCESSES_H
#define TIDEMARK_NODE_PROCESSES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_NAME_BYTES 32
#define PROCESS_LIST_MAX 4096
#define PROCESS_LIST_TEXT_BYTES 400

/* One descriptor of one process. */
struct process_file {
    int pid;
    bool on_device;      /* it is on the device asked for */
    uint64_t inode;      /* 0: the kernel does not say (before 5.14) */
    char link[PATH_MAX]; /* its path as far as there is one; not of ours */
};

typedef void (*process_on_file)(void *context, const struct process_file *file);

/*
 * Calls on_file for each file that another process than this one has open by
 * an absolute path, process by process; a directory is none. device: the one
 * that on_device means, as the process itself has it mounted, in whatever
 * namespace; 0: none. Returns how many processes did not let us look.
 */
unsigned processes_each_file(dev_t device, process_on_file on_file,
                             void *context);

/* All of /proc/PID/NAME, or of /proc/NAME when pid is 0; NULL: it cannot be
 * read. The caller frees it. */
char *process_read(int pid, const char *name);

/* What it is called, "?" when it is gone. */
void process_name(int pid, char ret_name[PROCESS_NAME_BYTES]);

/* Different processes in the order they were added; zeroed is empty. Above the
 * limit they are only not kept. */
struct process_list {
    int pids[PROCESS_LIST_MAX];
    size_t count;
};

void process_list_add(struct process_list *list, int pid);

/* "python3 (pid 12), sqlite3 (pid 14) and 3 more". */
void process_list_format(const struct process_list *list,
                         char ret_text[PROCESS_LIST_TEXT_BYTES]);

#endif

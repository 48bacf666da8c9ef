/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/processes.h - what /proc tells of other processes: which files they
 * have open, and what they are called.
 *
 * A process that waits in the kernel, for a mount that nobody serves, may have
 * locks there without which its memory and its descriptors cannot be looked
 * at. So a child asks (node/apart.h), process by process; one that does not
 * answer is given up, and another child goes on behind it. What it is called
 * is always answered. Processes come and go meanwhile; one that went is no
 * error.
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

/* ---- asking -------------------------------------------------------------- */

/* All that is asked in one examination. */
struct process_inquiry {
    struct process_list stuck; /* given up, and not asked again */
    unsigned patience_ms; /* left for those who do not answer: the next gets
                             half of it, and at least PROCESS_PATIENCE_MS */
};

#define PROCESS_PATIENCE_MS 250

struct process_question {
    /* In the child, about each process, with process_tell(to); what it changes
     * stays there. False: the process did not let us look. */
    bool (*ask)(void *context, int pid, int to);
    /* Here, with all that was told, aligned for whatever it is. */
    void (*hear)(void *context, const void *told, size_t size);
    void *context;
};

#define PROCESS_TOLD_MAX 8160

/* In the child: hear() gets these bytes, at most PROCESS_TOLD_MAX. */
void process_tell(int to, const void *bytes, size_t size);

/* Asks about each but those that are stuck. Returns how many did not let us
 * look. */
unsigned processes_ask(struct process_inquiry *inquiry, const int *pids,
                       size_t count, const struct process_question *question);

/* ---- files --------------------------------------------------------------- */

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
 * namespace; 0: none. Only links and fdinfo are looked at: no file is opened.
 * Returns how many processes did not let us look.
 */
unsigned processes_each_file(struct process_inquiry *inquiry, dev_t device,
                             process_on_file on_file, void *context);

/* ---- texts --------------------------------------------------------------- */

/* All of /proc/PID/NAME, or of /proc/NAME when pid is 0; NULL: it cannot be
 * read. The caller frees it. Of the files of a process only comm, status and
 * mountinfo are answered whatever it waits for. */
char *process_read(int pid, const char *name);

/* What it is called, "?" when it is gone. */
void process_name(int pid, char ret_name[PROCESS_NAME_BYTES]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_databases.c - databases that are not well, and growth: of WALs
 * that readers pin, of logs.
 *
 * A file has one inode number below the mount and beneath it, so the number
 * of the backing file finds a descriptor or a lock wherever it was opened:
 * also in the mount of a daemon that died, which no path leads to any more.
 * No backing file is opened here: recovery takes one that is open for one
 * that an application still has.
 */
#include "node/doctor.h"

#include "node/processes.h"
#include "node/quantity.h"
#include "node/status.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define GROUP DOCTOR_DATABASES

static const char *const companions[] = {"", "-wal", "-shm"};

/* The backing file of a database or of a companion; false: there is none. */
static bool file_find(const struct doctor *doctor, const char *name,
                      const char *companion, struct stat *ret_status)
{
    char path[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s/files/%s%s", doctor->data, name, companion);
    return stat(path, ret_status) == 0;
}

/* ---- held back ----------------------------------------------------------- */

struct wanted {
    const char *base; /* the database's name without its folders */
    ino_t inodes[3];  /* of the companions; 0: not there */
    struct process_list holders;
};

static void on_file(void *context, const struct process_file *file)
{
    struct wanted *wanted = context;
    char name[NAME_MAX + 8];

    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", wanted->base, companions[i]);
        if (wanted->inodes[i] != 0 && file->inode == wanted->inodes[i] &&
            doctor_link_names(file->link, name))
            process_list_add(&wanted->holders, file->pid);
    }
}

static void say_held_back(struct doctor *doctor, const char *name)
{
    const char *slash = strrchr(name, '/');
    struct wanted *wanted = calloc(1, sizeof *wanted);
    char holders[PROCESS_LIST_TEXT_BYTES];
    struct stat status;
    unsigned hidden;

    if (wanted == NULL) {
        doctor->failed = true;
        return;
    }
    wanted->base = slash == NULL ? name : slash + 1;
    for (size_t i = 0; i < 3; i++)
        if (file_find(doctor, name, companions[i], &status))
            wanted->inodes[i] = status.st_ino;
    hidden = processes_each_file(&doctor->inquiry, 0, on_file, wanted);
    doctor->hidden = hidden > doctor->hidden ? hidden : doctor->hidden;
    process_list_format(&wanted->holders, holders);
    doctor_find(doctor, DOCTOR_BAD, GROUP, name,
                "held back: from before the node started it is still open in "
                "%s",
                wanted->holders.count == 0 ? "a process not seen from here"
                                           : holders);
    doctor_advise(doctor,
                  wanted->holders.count == 0
                      ? "run doctor as root on the host, outside of containers"
                      : "end it; what it writes is seen by nobody until then");
    free(wanted);
}

/* ---- growth -------------------------------------------------------------- */

/* Who reads in the WAL right now, by the locks on its -shm. */
static void find_readers(struct doctor *doctor, const char *name,
                         struct process_list *readers)
{
    struct stat status;
    char *text;

    if (!file_find(doctor, name, "-shm", &status))
        return;
    text = process_read(0, "locks");
    for (const char *line = text; line != NULL && *line != '\0';) {
        struct doctor_lock lock;

        if (doctor_lock_parse(line, &lock) && doctor_lock_is_reader(&lock) &&
            lock.inode == status.st_ino && lock.pid > 0 &&
            makedev(lock.major, lock.minor) == doctor->mount_device)
            process_list_add(readers, lock.pid);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    free(text);
}

/* What a WAL takes: on a replica, where the node checkpoints, frames that
 * wait; on the primary the file, which applications let grow. */
static uint64_t wal_bytes(const struct doctor *doctor, const json_t *database)
{
    struct stat status;

    if (strcmp(doctor_text(doctor_node(doctor), "role"), "primary") != 0)
        return doctor_number(database, "wal_frames") *
               doctor_number(database, "page_bytes");
    return file_find(doctor, doctor_text(database, "name"), "-wal", &status)
               ? (uint64_t)status.st_size
               : 0;
}

static void say_wal(struct doctor *doctor, const char *name, uint64_t bytes,
                    const struct process_list *readers)
{
    char size[QUANTITY_TEXT_BYTES], names[PROCESS_LIST_TEXT_BYTES];

    quantity_format_size(bytes, size);
    process_list_format(readers, names);
    if (readers->count > 0) {
        doctor_find(doctor, DOCTOR_WARN, GROUP, name,
                    "its WAL has %s, and these read in it now: %s", size,
                    names);
        doctor_advise(doctor, "the WAL starts over when none of them reads: "
                              "end the transaction that is open for long, or "
                              "finish its statement");
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, GROUP, name,
                "its WAL has %s, and nobody seen from here reads in it", size);
    doctor_advise(doctor, "PRAGMA wal_checkpoint(TRUNCATE) cuts it; "
                          "wal_autocheckpoint and journal_size_limit keep it "
                          "small");
}

static void look_at_wal(struct doctor *doctor, const json_t *database)
{
    const char *name = doctor_text(database, "name");
    uint64_t bytes = wal_bytes(doctor, database);
    struct process_list *readers;

    if (!doctor_wal_is_large(bytes, doctor_number(database, "page_bytes") *
                                        doctor_number(database, "size_pages")))
        return;
    readers = calloc(1, sizeof *readers);
    if (readers == NULL) {
        doctor->failed = true;
        return;
    }
    find_readers(doctor, name, readers);
    say_wal(doctor, name, bytes, readers);
    free(readers);
}

static void look_at_log(struct doctor *doctor, const json_t *database)
{
    uint64_t bytes = doctor_number(json_object_get(database, "log"), "bytes");
    char size[QUANTITY_TEXT_BYTES], retain[QUANTITY_TEXT_BYTES];

    if (!doctor->configured ||
        !doctor_log_is_large(bytes, doctor->config.log.retain_bytes))
        return;
    quantity_format_size(bytes, size);
    quantity_format_size(doctor->config.log.retain_bytes, retain);
    doctor_find(
        doctor, DOCTOR_WARN, GROUP, doctor_text(database, "name"),
        "its log has %s, log.retain is %s: a copy under way or recovery "
        "needs it, or one transaction is that large",
        size, retain);
    doctor_advise(doctor, "wait for copies to end (tidemark status shows them) "
                          "and for the next commits, which trim it");
}

/* ---- health -------------------------------------------------------------- */

/* Numbers that should stay 0 for as long as the node runs. */
static void look_at_counters(struct doctor *doctor, const json_t *database)
{
    const json_t *counters = json_object_get(database, "counters");
    const char *name = doctor_text(database, "name");
    uint64_t gaps = doctor_number(counters, "gaps");
    uint64_t timeouts = doctor_number(counters, "gate_timeouts");

    if (gaps > 0) {
        doctor_find(doctor, DOCTOR_WARN, GROUP, name,
                    "%llu times commits were not seen, and it was read again",
                    (unsigned long long)gaps);
        doctor_advise(doctor, "no connection may checkpoint with "
                              "synchronous=OFF: make it NORMAL");
    }
    if (timeouts > 0) {
        doctor_find(doctor, DOCTOR_WARN, GROUP, name,
                    "%llu checkpoints waited too long for the node and failed",
                    (unsigned long long)timeouts);
        doctor_advise(doctor, "give the node more of the processor and of the "
                              "disk; SQLite checkpoints later");
    }
}

static void look_at_health(struct doctor *doctor, const json_t *database)
{
    const char *name = doctor_text(database, "name");
    enum status_health health = status_health_from(
        doctor_text(database, "health"));

    if (health == STATUS_OK)
        return;
    if (strcmp(doctor_text(database, "state"), "held_back") == 0)
        say_held_back(doctor, name);
    else
        doctor_find_sentence(
            doctor, health == STATUS_FAILED ? DOCTOR_BAD : DOCTOR_WARN, GROUP,
            name, doctor_text(database, "problem"), "look at the node's log");
}

void doctor_look_at_databases(struct doctor *doctor)
{
    const json_t *databases = json_object_get(doctor->status, "databases");
    const json_t *database;
    size_t i, before = doctor->counts[DOCTOR_WARN] + doctor->counts[DOCTOR_BAD];

    json_array_foreach(databases, i, database)
    {
        look_at_health(doctor, database);
        look_at_counters(doctor, database);
        if (strcmp(doctor_text(database, "state"), "held_back") != 0)
            look_at_wal(doctor, database);
        look_at_log(doctor, database);
    }
    if (doctor->status != NULL &&
        doctor->counts[DOCTOR_WARN] + doctor->counts[DOCTOR_BAD] == before)
        doctor_find(doctor, DOCTOR_OK, GROUP, "all", "%zu, and all are well",
                    json_array_size(databases));
}

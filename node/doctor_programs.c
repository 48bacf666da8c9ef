/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_programs.c - which SQLite the programs have that use the mount.
 *
 * Every version of SQLite works on the same files, and the oldest one's faults
 * are everybody's. A program that has files of the mount open maps its SQLite
 * as a library, or is one itself; its version is read out of the file that is
 * mapped, by a child that may hang (node/processes.h). Each file is read once,
 * or again by the next child when a process is given up; each program and
 * version is told once.
 */
#include "node/doctor.h"

#include "base/assert.h"
#include "node/processes.h"
#include "node/sqlite_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define GROUP DOCTOR_PROGRAMS
#define FILES_MAX 256   /* different mapped files */
#define PROGRAMS_MAX 64 /* different pairs of program and SQLite */

/* A file that somebody runs, and what is in it. */
struct mapped_file {
    dev_t device;
    ino_t inode;
    bool has_sqlite;
    struct doctor_version version;
};

/* One SQLite of one process; told from its child without what is behind the
 * end of library. */
struct use {
    int pid;
    struct doctor_version version;
    char name[PROCESS_NAME_BYTES];
    char library[PATH_MAX]; /* "": no SQLite was found in it */
};

/* All that have the same. */
struct program {
    struct use use; /* of the first of them */
    struct process_list pids;
};

struct survey {
    struct process_list users; /* of the mount */
    struct program programs[PROGRAMS_MAX];
    size_t program_count;

    /* In the child. */
    struct mapped_file files[FILES_MAX];
    size_t file_count;
};

static void on_file(void *context, const struct process_file *file)
{
    struct survey *survey = context;

    if (file->on_device)
        process_list_add(&survey->users, file->pid);
}

/* ---- what is mapped ------------------------------------------------------ */

/* A mapping of /proc/PID/maps that can hold code. */
struct mapping {
    char range[40]; /* "7f0000000000-7f0000001000" */
    dev_t device;
    ino_t inode;
    const char *path; /* to the end of the line, its length in `length` */
    int length;
};

static bool mapping_parse(const char *line, struct mapping *ret_mapping)
{
    unsigned major, minor;
    unsigned long inode;
    char access[8];
    int at = 0;

    if (sscanf(line, "%39s %7s %*s %x:%x %lu %n", ret_mapping->range, access,
               &major, &minor, &inode, &at) != 5 ||
        at == 0 || line[at] != '/' || strchr(access, 'x') == NULL)
        return false;
    ret_mapping->device = makedev(major, minor);
    ret_mapping->inode = inode;
    ret_mapping->path = line + at;
    ret_mapping->length = (int)strcspn(line + at, "\n");
    return true;
}

/* The file itself, also after an upgrade replaced it; who may not do that
 * finds what is at its path, and must then see whether it is the same. */
static int mapping_open(const struct mapping *mapping, int pid)
{
    char path[PATH_MAX + 32];
    struct stat status;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/map_files/%s", pid, mapping->range);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(path, sizeof path, "/proc/%d/root%.*s", pid, mapping->length,
                 mapping->path);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_ino == mapping->inode)
        return fd;
    close(fd);
    return -ESTALE;
}

/* What is in it; NULL: it cannot be read, or there are too many. */
static const struct mapped_file *file_look(struct survey *survey,
                                           const struct mapping *mapping,
                                           int pid)
{
    struct sqlite_scan scan = {0};
    struct mapped_file *file;
    int fd;

    for (size_t i = 0; i < survey->file_count; i++) {
        file = &survey->files[i];
        if (file->inode == mapping->inode && file->device == mapping->device)
            return file;
    }
    if (survey->file_count == FILES_MAX)
        return NULL;
    fd = mapping_open(mapping, pid);
    if (fd < 0)
        return NULL;
    file = &survey->files[survey->file_count++];
    file->device = mapping->device;
    file->inode = mapping->inode;
    file->has_sqlite = sqlite_scan_file(fd, &scan) == 0 &&
                       sqlite_scan_end(&scan, &file->version);
    close(fd);
    return file;
}

/* ---- programs ------------------------------------------------------------ */

static void use_tell(const struct use *use, int to)
{
    process_tell(to, use,
                 offsetof(struct use, library) + strlen(use->library) + 1);
}

/* In the child: each SQLite that the process has; it may be more than one. */
static bool process_look(void *context, int pid, int to)
{
    char *maps = process_read(pid, "maps");
    struct survey *survey = context;
    struct use use = {.pid = pid};
    bool found = false;

    process_name(pid, use.name);
    for (const char *line = maps; line != NULL && *line != '\0';) {
        const struct mapped_file *file = NULL;
        struct mapping mapping;

        if (mapping_parse(line, &mapping))
            file = file_look(survey, &mapping, pid);
        if (file != NULL && file->has_sqlite) {
            found = true;
            use.version = file->version;
            snprintf(use.library, sizeof use.library, "%.*s", mapping.length,
                     mapping.path);
            use_tell(&use, to);
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    if (maps != NULL && !found)
        use_tell(&use, to);
    free(maps);
    return true;
}

static bool is_same(const struct use *a, const struct use *b)
{
    return strcmp(a->name, b->name) == 0 &&
           strcmp(a->library, b->library) == 0 &&
           a->version.major == b->version.major &&
           a->version.minor == b->version.minor &&
           a->version.patch == b->version.patch;
}

static void on_use(void *context, const void *told, size_t size)
{
    struct survey *survey = context;
    struct use use = {0};
    size_t i = 0;

    ASSERT(size > offsetof(struct use, library) && size <= sizeof use);
    memcpy(&use, told, size);
    while (i < survey->program_count &&
           !is_same(&survey->programs[i].use, &use))
        i++;
    if (i == PROGRAMS_MAX)
        return;
    if (i == survey->program_count)
        survey->programs[survey->program_count++].use = use;
    process_list_add(&survey->programs[i].pids, use.pid);
}

/* ---- telling ------------------------------------------------------------- */

/* Begins with what comes after the program. */
static const char *fault_text(unsigned faults)
{
    if ((faults & DOCTOR_SAVEPOINT) != 0)
        return ": rarely, a checkpoint that meets a WAL starting over damages "
               "the database; and after a crash a WAL may be read only in "
               "part, if a savepoint was rolled back in a large transaction";
    if ((faults & DOCTOR_WAL_RESET) != 0)
        return ": rarely, a checkpoint that meets a WAL starting over damages "
               "the database";
    return "";
}

static void program_say(struct doctor *doctor, const struct program *program)
{
    const struct use *use = &program->use;
    struct doctor_version version = use->version;
    unsigned faults = doctor_sqlite_faults(version);
    char pids[PROCESS_LIST_TEXT_BYTES], about[48];

    process_list_format(&program->pids, pids);
    if (use->library[0] == '\0') {
        doctor_find(doctor, DOCTOR_OK, GROUP, "no SQLite",
                    "that says its version, in %s", pids);
        return;
    }
    snprintf(about, sizeof about, "SQLite %u.%u.%u", version.major,
             version.minor, version.patch);
    doctor_find(doctor, faults == 0 ? DOCTOR_OK : DOCTOR_WARN, GROUP, about,
                "in %s, from %s%s", pids, use->library, fault_text(faults));
    if (faults != 0)
        doctor_advise(doctor, "use SQLite 3.51.3 or newer (3.50.7 and 3.44.6 "
                              "are mended, too) and start it again, unless "
                              "your distribution mended its own");
}

/* Who uses the mount, and with what. */
static void look_at_users(struct doctor *doctor, struct survey *survey)
{
    const struct process_question question = {
        .ask = process_look, .hear = on_use, .context = survey};
    unsigned hidden = processes_each_file(
        &doctor->inquiry, doctor->mount_device, on_file, survey);

    doctor->hidden = hidden > doctor->hidden ? hidden : doctor->hidden;
    (void)processes_ask(&doctor->inquiry, survey->users.pids,
                        survey->users.count, &question);
    for (size_t i = 0; i < survey->program_count; i++)
        program_say(doctor, &survey->programs[i]);
}

/* From all that was asked of processes. */
static void say_unseen(struct doctor *doctor)
{
    const struct process_list *stuck = &doctor->inquiry.stuck;
    char names[PROCESS_LIST_TEXT_BYTES];

    if (stuck->count > 0) {
        process_list_format(stuck, names);
        doctor_find(doctor, DOCTOR_WARN, GROUP, "stuck",
                    "in the kernel, which does not say what they have open: %s",
                    names);
        doctor_advise(doctor, "each waits for a file system that does not "
                              "answer, as the mount of a node that is stopped: "
                              "let that node go on (kill -CONT), or end it");
    }
    if (doctor->hidden > 0) {
        doctor_find(doctor, DOCTOR_WARN, GROUP, "hidden",
                    "%u processes of other users did not let doctor see what "
                    "they have open",
                    doctor->hidden);
        doctor_advise(doctor, "run doctor as root to see all of them");
    }
}

void doctor_look_at_programs(struct doctor *doctor)
{
    struct survey *survey = calloc(1, sizeof *survey);

    if (survey == NULL)
        doctor->failed = true;
    else if (doctor->mount_device != 0)
        look_at_users(doctor, survey);
    free(survey);
    say_unseen(doctor);
}

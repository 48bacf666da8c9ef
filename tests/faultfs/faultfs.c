/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faultfs/faultfs.c - a disk that fails when a test wants it to.
 *
 *   faultfs mount BACKING MOUNT TRACE SOCKET
 *       serves BACKING at MOUNT until it is unmounted; what happens is in
 *       TRACE, commands come by SOCKET (control.h)
 *   faultfs list TRACE
 *       one event a line: number, kind, object, nanoseconds, error, bytes, and
 *       the name it had, or what a mark says
 *   faultfs cut TRACE EVENTS strict|journal FATE SEED OUT
 *       the directory OUT becomes what a disk may hold when the power fails
 *       after so many events; FATE: lost, kept, prefix, free, torn
 *       (tests/support/faultdisk.h)
 */
#include "tests/faultfs/control.h"
#include "tests/faultfs/serve.h"
#include "tests/support/faultdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int fail(const char *what, int rc)
{
    fprintf(stderr, "faultfs: %s: %s\n", what, strerror(-rc));
    return 1;
}

/* ---- mount --------------------------------------------------------------- */

static int serve(const char *mountpoint)
{
    char *words[] = {"faultfs", "-oallow_other,default_permissions,"
                                "fsname=faultfs"};
    struct fuse_args arguments = FUSE_ARGS_INIT(2, words);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    struct fuse_lowlevel_ops operations = {0};
    struct fuse_session *session;
    int rc = -ENODEV;

    serve_names(&operations);
    serve_files(&operations);
    session = fuse_session_new(&arguments, &operations, sizeof operations,
                               NULL);
    /* Syncs that are frozen must not keep others waiting. */
    fuse_loop_cfg_set_max_threads(config, 128);
    if (session != NULL && fuse_set_signal_handlers(session) == 0) {
        if (fuse_session_mount(session, mountpoint) == 0) {
            rc = fuse_session_loop_mt(session, config);
            fuse_session_unmount(session);
        }
        fuse_remove_signal_handlers(session);
    }
    if (session != NULL)
        fuse_session_destroy(session);
    fuse_loop_cfg_destroy(config);
    return rc < 0 ? fail(mountpoint, rc) : 0;
}

static int mount_command(char **words)
{
    int rc;

    umask(0);
    rc = recorder_open(words[2]);
    if (rc < 0)
        return fail(words[2], rc);
    rc = nodes_open(words[0]);
    if (rc < 0)
        return fail(words[0], rc);
    rc = control_start(words[3]);
    return rc < 0 ? fail(words[3], rc) : serve(words[1]);
}

/* ---- list ---------------------------------------------------------------- */

#define OBJECTS_MAX (1u << 20)

static void list_one(const struct trace_item *item, size_t number,
                     const char **names)
{
    const struct trace_event *event = &item->event;
    uint64_t object = event->object < OBJECTS_MAX ? event->object : 0;
    bool is_mark = event->kind == TRACE_MARK;

    if (event->kind == TRACE_RENAME)
        names[object] = item->name_to;
    else if (event->name_bytes > 0)
        names[object] = item->name;
    printf("%zu %s %ju %ju %d %u %.*s\n", number, trace_names[event->kind],
           (uintmax_t)event->object, (uintmax_t)event->time_ns, -event->error,
           event->data_bytes, is_mark ? (int)event->data_bytes : PATH_MAX,
           is_mark                 ? (const char *)item->data
           : names[object] != NULL ? names[object]
                                   : "");
}

static int list_command(char **words)
{
    const char **names = calloc(OBJECTS_MAX, sizeof *names);
    struct trace_item item;
    struct trace trace;
    size_t at = 0, number = 0;
    int rc = trace_open(&trace, words[0]);

    if (rc == 0 && names != NULL)
        while (trace_next(&trace, &at, &item))
            list_one(&item, number++, names);
    trace_close(&trace);
    free(names);
    return rc < 0 ? fail(words[0], rc) : 0;
}

/* ---- cut ----------------------------------------------------------------- */

static int fate_of(const char *word)
{
    for (int i = 0; i < FAULTDISK_FATES; i++)
        if (strcmp(word, faultdisk_fates[i]) == 0)
            return i;
    return -EINVAL;
}

static int cut_command(char **words)
{
    bool journal = strcmp(words[2], "journal") == 0;
    size_t at = 0, left = strtoull(words[1], NULL, 10);
    int fate = fate_of(words[3]), rc;
    struct faultdisk *disk;
    struct trace_item item;
    struct trace trace;

    if (fate < 0)
        return fail(words[3], fate);
    rc = trace_open(&trace, words[0]);
    if (rc < 0)
        return fail(words[0], rc);
    disk = faultdisk_new(journal ? FAULTDISK_JOURNAL : FAULTDISK_STRICT);
    for (; left > 0 && trace_next(&trace, &at, &item); left--)
        faultdisk_take(disk, &item);
    rc = mkdir(words[5], 0755) != 0 && errno != EEXIST ? -errno : 0;
    if (rc == 0)
        rc = faultdisk_write(disk, (enum faultdisk_fate)fate,
                             strtoull(words[4], NULL, 0), words[5]);
    faultdisk_free(disk);
    trace_close(&trace);
    return rc < 0 ? fail(words[5], rc) : 0;
}

int main(int count, char **words)
{
    static const struct {
        const char *name;
        int words;
        int (*run)(char **words);
    } commands[] = {
        {"mount", 4, mount_command},
        {"list", 1, list_command},
        {"cut", 6, cut_command},
    };

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (count == 2 + commands[i].words &&
            strcmp(words[1], commands[i].name) == 0)
            return commands[i].run(words + 2);
    fprintf(stderr, "usage: see the top of faultfs.c\n");
    return 2;
}

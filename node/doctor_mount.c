/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_mount.c - the mount point: fit for a mount, mounted, or dead.
 *
 * What is mounted may hang whoever asks it. So a child asks (node/apart.h), and
 * is given LOOK_MS.
 */
#include "node/doctor.h"

#include "fuse/mountpoint.h"
#include "node/apart.h"
#include "node/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LOOK_MS 5000

/* What the child saw. */
struct look {
    bool answered; /* it came back; else only what is at the place is known */
    int error;     /* errno of asking what is there; 0: it answers */
    bool ours;     /* a mount of a tidemark, living or not */
    bool mounted;  /* anything is mounted there */
    dev_t device;
    char found[256];              /* a name in it; "": it is empty */
    char text[MOUNT_ERROR_BYTES]; /* not "": there is no such directory */
};

static void look_inside(const char *path, struct look *look)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;

    if (directory == NULL) {
        look->error = errno;
        return;
    }
    while (look->found[0] == '\0' && (entry = readdir(directory)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            snprintf(look->found, sizeof look->found, "%s", entry->d_name);
    closedir(directory);
}

/* What the kernel knows without asking who serves it. */
static void look_at_place(const char *path, struct look *look)
{
    char *mounts = process_read((int)getpid(), "mountinfo");
    struct statx status;
    char type[64];

    look->mounted = mounts != NULL &&
                    mountpoint_find(mounts, path, type, sizeof type);
    look->ours = look->mounted && strcmp(type, MOUNTPOINT_FSTYPE) == 0;
    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &status) == 0)
        look->device = makedev(status.stx_dev_major, status.stx_dev_minor);
    free(mounts);
}

static void look_at_mounted(const char *path, struct look *look)
{
    struct statfs system;
    struct stat status;

    if (statfs(path, &system) != 0 || stat(path, &status) != 0)
        look->error = errno;
    else if (!look->ours)
        look_inside(path, look);
}

/* In the child; tells what is known before it asks what may hang. */
static void look_apart(void *given, int fd)
{
    struct look look = {0};
    char *path = NULL;

    if (mountpoint_resolve(given, &path, look.text) == 0) {
        look_at_place(path, &look);
        apart_tell(fd, &look, sizeof look);
        look_at_mounted(path, &look);
    }
    look.answered = true;
    apart_tell(fd, &look, sizeof look);
    free(path);
}

static struct look look_from_apart(char *path)
{
    struct look look = {0}, got;
    struct apart child;

    if (apart_begin(&child, look_apart, path) < 0)
        return look;
    while (!look.answered &&
           apart_hear(&child, &got, sizeof got, LOOK_MS) == (ssize_t)sizeof got)
        look = got;
    apart_end(&child);
    return look;
}

static void judge_living(struct doctor *doctor, const struct look *look)
{
    if (doctor->status != NULL) {
        doctor->mount_device = look->device;
        doctor_find(doctor, DOCTOR_OK, DOCTOR_MOUNT, doctor->mount,
                    "mounted by this node");
        return;
    }
    if (doctor->asked == -ETIMEDOUT || doctor->asked == -EACCES ||
        doctor->asked == 0) {
        doctor_find(doctor, DOCTOR_OK, DOCTOR_MOUNT, doctor->mount,
                    "mounted, and it answers");
        return;
    }
    doctor_find(doctor, DOCTOR_BAD, DOCTOR_MOUNT, doctor->mount,
                "a tidemark is mounted here that is not this node");
    doctor_advise(doctor, "stop the node that it belongs to, or name another "
                          "directory as mount");
}

static void judge_mounted(struct doctor *doctor, const struct look *look)
{
    if (look->error == 0) {
        judge_living(doctor, look);
        return;
    }
    if (look->error == ENOTCONN || look->error == ECONNABORTED) {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_MOUNT, doctor->mount,
                    "a dead mount: its node was killed, and programs get "
                    "ENOTCONN");
        doctor_advise(doctor,
                      "start the node, which puts its own in that "
                      "place; or run umount -l %s as root",
                      doctor->mount);
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, DOCTOR_MOUNT, doctor->mount, "%s",
                strerror(look->error));
    doctor_advise(doctor, "run doctor as the user of the node; others see the "
                          "mount with fuse.allow_other");
}

static void judge_bare(struct doctor *doctor, const struct look *look)
{
    if (look->error != 0) {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_MOUNT, doctor->mount, "%s",
                    strerror(look->error));
        doctor_advise(doctor, "name an empty directory that this user may "
                              "enter");
    } else if (doctor->status != NULL) {
        doctor_find(doctor, DOCTOR_WARN, DOCTOR_MOUNT, doctor->mount,
                    "the node's mount is not to be seen from here");
        doctor_advise(doctor, "run doctor where the node runs (container, "
                              "unit), or pass the mount on (mount "
                              "--make-rshared)");
    } else if (look->found[0] != '\0') {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_MOUNT, doctor->mount,
                    "not empty (%s): databases there would be hidden",
                    look->found);
        doctor_advise(doctor, "move them away, mount, then cp them in");
    } else {
        doctor_find(doctor, DOCTOR_OK, DOCTOR_MOUNT, doctor->mount,
                    "an empty directory, nothing is mounted");
    }
}

static void say_waiting(struct doctor *doctor)
{
    if (strcmp(doctor_text(doctor_node(doctor), "phase"), "asking") == 0) {
        doctor_find(doctor, DOCTOR_WARN, DOCTOR_MOUNT, doctor->mount,
                    "calls wait until the node has asked its replicas");
        doctor_advise(doctor, "start the replicas that it waits for, or let "
                              "lease.fetch_timeout pass");
        return;
    }
    doctor_find(doctor, DOCTOR_BAD, DOCTOR_MOUNT, doctor->mount,
                "does not answer within %d s: programs there hang",
                LOOK_MS / 1000);
    doctor_advise(doctor, "look at the node's log; to start it again ends what "
                          "hangs");
}

void doctor_look_at_mount(struct doctor *doctor)
{
    struct look look;

    if (doctor->mount[0] == '\0')
        return;
    look = look_from_apart(doctor->mount);
    if (!look.answered) {
        doctor->mount_device = look.ours ? look.device : 0;
        say_waiting(doctor);
    } else if (look.text[0] != '\0') {
        doctor_find_sentence(doctor, DOCTOR_BAD, DOCTOR_MOUNT, "directory",
                             look.text, "name an empty directory as mount");
    } else if (look.ours) {
        judge_mounted(doctor, &look);
    } else {
        judge_bare(doctor, &look);
    }
}

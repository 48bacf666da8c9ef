/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_system.c - kernel, privilege and libfuse, and the mode that came
 * of them: what decides between passthrough and classic.
 */
#include "node/doctor.h"

#include "fuse/mount.h"
#include "node/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DEVICE "/dev/fuse"
#define GROUP DOCTOR_SYSTEM

static void look_at_kernel(struct doctor *doctor)
{
    struct doctor_version version;
    struct utsname kernel;

    uname(&kernel);
    if (doctor_version_parse(kernel.release, &version) &&
        !doctor_version_is_before(version, 6, 9, 0)) {
        doctor_find(doctor, DOCTOR_OK, GROUP, "kernel",
                    "Linux %.64s, which knows passthrough", kernel.release);
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, GROUP, "kernel",
                "Linux %.64s does not know FUSE passthrough, only the slower "
                "classic mode",
                kernel.release);
    doctor_advise(doctor, "run Linux 6.9 or newer");
}

static void look_at_device(struct doctor *doctor)
{
    int fd = open(DEVICE, O_RDWR | O_CLOEXEC), error = errno;

    if (fd >= 0) {
        close(fd);
        doctor_find(doctor, DOCTOR_OK, GROUP, DEVICE, "can be opened");
        return;
    }
    doctor_find(doctor, DOCTOR_BAD, GROUP, DEVICE, "%s: nothing can be mounted",
                strerror(error));
    if (error == ENOENT || error == ENODEV || error == ENXIO)
        doctor_advise(doctor, "modprobe fuse; in a container: --device " DEVICE
                              " --cap-add SYS_ADMIN");
    else
        doctor_advise(doctor, "run as root; in a container: --device " DEVICE
                              " --cap-add SYS_ADMIN");
}

/* Whether the process may do what root may; false also when it is gone. */
static bool may_administrate(int pid)
{
    char *text = process_read(pid, "status");
    uint64_t effective = 0;
    bool may = text != NULL && doctor_field(text, "CapEff", 16, &effective) &&
               (effective >> CAP_SYS_ADMIN & 1) != 0;

    free(text);
    return may;
}

static void say_privilege(struct doctor *doctor, const char *who, int pid)
{
    if (may_administrate(pid)) {
        doctor_find(doctor, DOCTOR_OK, GROUP, "privilege", "%s CAP_SYS_ADMIN",
                    who);
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, GROUP, "privilege",
                "%s no CAP_SYS_ADMIN: no passthrough, and fusermount3 has to "
                "mount",
                who);
    doctor_advise(doctor, "run the node as root; in a container: --cap-add "
                          "SYS_ADMIN");
}

/* Without a node it is this command's that tells what a node would have. In
 * another container the node's pid is somebody else's. */
static void look_at_privilege(struct doctor *doctor)
{
    const json_t *node = doctor_node(doctor);
    int pid = (int)doctor_number(node, "pid");
    char name[PROCESS_NAME_BYTES];

    if (node == NULL) {
        say_privilege(doctor, "this command has", (int)getpid());
        return;
    }
    if (!may_administrate((int)getpid()))
        doctor_find(doctor, DOCTOR_OK, GROUP, "privilege",
                    "this command has no CAP_SYS_ADMIN, and sees less");
    process_name(pid, name);
    if (pid > 0 && strncmp(name, "tidemark", 8) == 0)
        say_privilege(doctor, "the node has", pid);
    else
        doctor_find(doctor, DOCTOR_OK, GROUP, "privilege",
                    "the node's is not to be seen from here");
}

static void look_at_library(struct doctor *doctor)
{
    const char *version = mount_library_version();

    if (mount_library_has_passthrough()) {
        doctor_find(doctor, DOCTOR_OK, GROUP, "libfuse",
                    "%s, which knows passthrough", version);
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, GROUP, "libfuse",
                "%s does not know passthrough", version);
    doctor_advise(doctor, "build with libfuse 3.17 or newer");
}

/* What came of all that, for a node that runs. */
static void look_at_mode(struct doctor *doctor)
{
    const json_t *node = doctor_node(doctor);
    const char *mode = doctor_text(node, "mode");
    const char *reason = doctor_text(node, "mode_reason");
    bool as_asked = doctor->configured &&
                    doctor->config.fuse.mode == CONFIG_FUSE_CLASSIC;

    if (node == NULL)
        return;
    if (strcmp(mode, "classic") != 0 || as_asked) {
        doctor_find(doctor, DOCTOR_OK, GROUP, "mode", "%s: %s", mode, reason);
        return;
    }
    doctor_find(doctor, DOCTOR_WARN, GROUP, "mode", "%s, the slower one: %s",
                mode, reason);
    doctor_advise(doctor, "mend that and start the node again, or say "
                          "fuse.mode: classic if it is meant so");
}

void doctor_look_at_system(struct doctor *doctor)
{
    look_at_kernel(doctor);
    look_at_device(doctor);
    look_at_privilege(doctor);
    look_at_library(doctor);
    look_at_mode(doctor);
}

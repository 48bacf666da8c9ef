/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/mountpoint.c - see mountpoint.h.
 *
 * We call mount(2) ourselves: libfuse would start /bin/mount to keep a mtab
 * nobody has any more, and small containers have no /bin/mount. A user who
 * may not mount gets help from fusermount3, which is setuid for that.
 */
#include "fuse/mountpoint.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/os.h"
#include "fuse/beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/fuse"
#define MOUNTINFO "/proc/self/mountinfo"
#define STALE_MAX 16 /* dead mounts upon each other */
#define UNMOUNT_WAIT_NS (2 * NS_PER_S)
#define UNMOUNT_PAUSE_NS (20 * NS_PER_MS)

/* Sets the text and returns rc. */
__attribute__((format(printf, 3, 4))) static int explain(
    int rc, char error_text[MOUNT_ERROR_BYTES], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error_text, MOUNT_ERROR_BYTES, format, arguments);
    va_end(arguments);
    return rc;
}

/* ---- what is mounted ----------------------------------------------------- */

/* Undoes the octal escapes of mountinfo (\040 is a space), in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        unsigned value;

        if (*from == '\\' && sscanf(from + 1, "%3o", &value) == 1) {
            *to = (char)value;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* id parent major:minor root POINT options ... - TYPE source options */
static bool line_parse(const char *line, char point[PATH_MAX], char type[64])
{
    const char *dash = strstr(line, " - ");

    if (dash == NULL || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 ||
        sscanf(dash + 3, "%63s", type) != 1)
        return false;
    unescape(point);
    return true;
}

bool mountpoint_find(const char *mountinfo, const char *path, char *ret_type,
                     size_t size)
{
    bool found = false;

    while (*mountinfo != '\0') {
        size_t length = strcspn(mountinfo, "\n");
        char *line = strndup(mountinfo, length);
        char point[PATH_MAX], type[64];

        if (line != NULL && line_parse(line, point, type) &&
            strcmp(point, path) == 0) {
            snprintf(ret_type, size, "%s", type);
            found = true;
        }
        free(line);
        mountinfo += length;
        mountinfo += *mountinfo == '\n';
    }
    return found;
}

/* How many mounts lie upon each other at path. */
static unsigned mounts_at(const char *path)
{
    char *text = os_read_text(MOUNTINFO);
    unsigned count = 0;

    for (const char *line = text; line != NULL && *line != '\0';) {
        char point[PATH_MAX], type[64];

        count += line_parse(line, point, type) && strcmp(point, path) == 0;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    free(text);
    return count;
}

static bool is_ours(const char *path)
{
    char *text = os_read_text(MOUNTINFO), type[64];
    bool ours = text != NULL &&
                mountpoint_find(text, path, type, sizeof type) &&
                strcmp(type, MOUNTPOINT_FSTYPE) == 0;

    free(text);
    return ours;
}

/* ---- fit for a mount ----------------------------------------------------- */

/* The directory's own path is sound even when what covers it is dead. */
static char *resolve_by_parent(const char *path)
{
    char *copy = strdup(path), *parent = NULL, *result = NULL, *slash;
    size_t length;

    if (copy == NULL)
        return NULL;
    for (length = strlen(copy); length > 1 && copy[length - 1] == '/';)
        copy[--length] = '\0';
    slash = strrchr(copy, '/');
    if (slash != NULL)
        *slash = '\0';
    parent = realpath(slash == NULL ? "." : slash == copy ? "/" : copy, NULL);
    if (parent != NULL &&
        asprintf(&result, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent,
                 slash == NULL ? copy : slash + 1) < 0)
        result = NULL;
    free(parent);
    free(copy);
    return result;
}

int mountpoint_resolve(const char *path, char **ret_path,
                       char error_text[MOUNT_ERROR_BYTES])
{
    char *resolved = realpath(path, NULL);
    int error = errno;

    if (resolved == NULL && (error == ENOTCONN || error == EACCES))
        resolved = resolve_by_parent(path);
    if (resolved != NULL) {
        *ret_path = resolved;
        return 0;
    }
    if (error == ENOENT)
        return explain(-ENOENT, error_text,
                       "mount: %s does not exist; run mkdir -p %s", path, path);
    return explain(-error, error_text, "mount: %s: %s", path, strerror(error));
}

/* A daemon that died left its mount: every call there says ENOTCONN. But not
 * stat(): the kernel answers that from attributes it may keep for an hour. */
static bool is_dead(const char *path)
{
    struct statfs status;

    /* ECONNABORTED: it was still dying when we asked. */
    return statfs(path, &status) < 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED) && is_ours(path);
}

/* All but the last `keep` mounts, as far as they are dead. Counts first: to
 * ask our own mount, which does not answer yet, would be to wait for it. */
static int remove_dead(const char *path, unsigned keep,
                       char error_text[MOUNT_ERROR_BYTES])
{
    for (int i = 0; i < STALE_MAX && mounts_at(path) > keep && is_dead(path);
         i++) {
        if (umount2(path, MNT_DETACH) < 0 &&
            (errno != EPERM || mountpoint_unmount(path, true) != 0))
            return explain(-errno, error_text,
                           "mount: %s: a dead mount is in the way: %s; run "
                           "umount -l %s as root",
                           path, strerror(errno), path);
        log_warn("mount.stale", "path=%s", logger_quote(path));
    }
    return 0;
}

/* directory: a descriptor, which is used up, or why there is none. */
static int check_empty(const char *path, int directory,
                       char error_text[MOUNT_ERROR_BYTES])
{
    DIR *stream = directory < 0 ? NULL : fdopendir(directory);
    const struct dirent *entry;
    char found[NAME_MAX + 1] = "";
    int error = directory < 0 ? -directory : errno;

    if (stream == NULL && error == ENOTDIR)
        return explain(-ENOTDIR, error_text,
                       "mount: %s is not a directory; name one that is empty",
                       path);
    if (stream == NULL)
        return explain(-error, error_text, "mount: %s: %s", path,
                       strerror(error));
    while (found[0] == '\0' && (entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            snprintf(found, sizeof found, "%s", entry->d_name);
    closedir(stream);
    if (found[0] == '\0')
        return 0;
    return explain(-ENOTEMPTY, error_text,
                   "mount: %s is not empty (%.100s); databases there would be "
                   "hidden: move them away, mount, then cp them in",
                   path, found);
}

static int directory_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/*
 * One dead mount stays, if it can, until ours is beneath it: programs that
 * try again and again must not find the bare directory. 0: what it covers is
 * empty. -EAGAIN: it cannot.
 */
static int check_beneath(const char *path, char error_text[MOUNT_ERROR_BYTES])
{
    int bare, rc;

    if (!is_dead(path) || mounts_at(path) != 1)
        return -EAGAIN;
    bare = beneath_open(path);
    if (bare < 0)
        return -EAGAIN;
    rc = check_empty(path, bare, error_text);
    /* Who is to move files away must see them. */
    if (rc < 0)
        (void)umount2(path, MNT_DETACH);
    return rc;
}

int mountpoint_prepare(const char *path, char error_text[MOUNT_ERROR_BYTES])
{
    int rc = remove_dead(path, 1, error_text);

    if (rc == 0)
        rc = check_beneath(path, error_text);
    if (rc != -EAGAIN)
        return rc;
    rc = remove_dead(path, 0, error_text);
    if (rc < 0)
        return rc;
    if (is_ours(path))
        return explain(-EBUSY, error_text,
                       "mount: %s: another tidemark is mounted there; stop it "
                       "first, or choose another mount",
                       path);
    return check_empty(path, directory_open(path), error_text);
}

/* ---- mount and unmount --------------------------------------------------- */

static int device_open(char error_text[MOUNT_ERROR_BYTES])
{
    struct os_file device = {0};
    int rc = os_open(&device, AT_FDCWD, DEVICE, O_RDWR, 0, SITE_MOUNT_DEVICE);

    if (rc == 0)
        return device.fd;
    if (rc == -EACCES || rc == -EPERM)
        return explain(rc, error_text,
                       "mount: " DEVICE ": %s; run as root, or give this user "
                       "the device (containers: --device " DEVICE
                       " --cap-add SYS_ADMIN)",
                       strerror(-rc));
    return explain(-ENODEV, error_text,
                   "mount: " DEVICE ": %s; run modprobe fuse (containers: "
                   "--device " DEVICE ")",
                   strerror(-rc));
}

/* mount(2); a positive errno. */
static int mount_on_top(const char *path, int device, bool allow_other)
{
    char options[128];
    int error = site_fault(SITE_MOUNT_MOUNT);

    snprintf(options, sizeof options,
             "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions%s",
             device, S_IFDIR, getuid(), getgid(),
             allow_other ? ",allow_other" : "");
    if (error == 0 && mount("tidemark", path, MOUNTPOINT_FSTYPE,
                            MS_NOSUID | MS_NODEV, options) < 0)
        error = errno;
    return error;
}

/* In place of a dead mount that mountpoint_prepare() has left: returns a
 * descriptor as mountpoint_mount(), or -EAGAIN and the dead one is gone. */
static int mount_in_place(const char *path, bool allow_other,
                          char error_text[MOUNT_ERROR_BYTES])
{
    int fd = device_open(error_text), rc;

    if (fd < 0)
        return fd;
    rc = beneath_mount(path, fd, allow_other);
    if (rc == 0)
        rc = remove_dead(path, 1, error_text);
    else
        rc = remove_dead(path, 0, error_text) < 0 ? -EBUSY : -EAGAIN;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int mountpoint_mount(const char *path, bool allow_other,
                     char error_text[MOUNT_ERROR_BYTES])
{
    int fd = -EAGAIN, error;

    if (is_dead(path))
        fd = mount_in_place(path, allow_other, error_text);
    if (fd != -EAGAIN)
        return fd;
    fd = device_open(error_text);
    if (fd < 0)
        return fd;
    error = mount_on_top(path, fd, allow_other);
    if (error == 0)
        return fd;
    close(fd);
    if (error == EPERM)
        return -EPERM;
    return explain(-error, error_text, "mount: %s: %s", path, strerror(error));
}

/* fusermount3 -u [-z] path; 0 when it did. */
static int helper_unmount(const char *path, bool detach)
{
    static char program[] = "fusermount3", unmount[] = "-u", quiet[] = "-q",
                lazy[] = "-z", end[] = "--", nothing[] = "";
    static char *environment[] = {nothing, NULL};
    char *target = strdup(path);
    char *arguments[] = {program, unmount, quiet, detach ? lazy : quiet,
                         end,     target,  NULL};
    pid_t pid;
    int status = -1;

    if (target == NULL)
        return -ENOMEM;
    if (posix_spawnp(&pid, program, NULL, NULL, arguments, environment) != 0 ||
        waitpid(pid, &status, 0) != pid)
        status = -1;
    free(target);
    return status == 0 ? 0 : -EBUSY;
}

/* To detach is to end the connection too (FORCE): the workers must not serve
 * for ever whoever has not closed his files. */
static int unmount_once(const char *path, bool helped, bool detach)
{
    int flags = UMOUNT_NOFOLLOW | (detach ? MNT_DETACH | MNT_FORCE : 0);

    if (helped)
        return helper_unmount(path, detach);
    return umount2(path, flags) < 0 ? -errno : 0;
}

int mountpoint_unmount(const char *path, bool helped)
{
    uint64_t until_ns = clock_now_ns() + UNMOUNT_WAIT_NS;
    const struct timespec pause = {.tv_nsec = UNMOUNT_PAUSE_NS};
    int rc;

    while ((rc = unmount_once(path, helped, false)) == -EBUSY &&
           clock_now_ns() < until_ns)
        nanosleep(&pause, NULL); /* nothing tells when the last file closes */
    if (rc == -EBUSY)
        (void)unmount_once(path, helped, true);
    return rc == -EINVAL ? 0 : rc; /* somebody else has unmounted it */
}

int mountpoint_abort(int root)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", root);
    /* The open root makes it busy: it is not unmounted, but it was begun. */
    return umount2(path, MNT_FORCE) < 0 && errno != EBUSY ? -errno : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/mount.c - see mount.h.
 *
 *   prepare the directory, mount, start the guardian, shake hands (INIT),
 *   probe passthrough, start the workers; end the guardian, unmount, end the
 *   workers, free
 *
 * The handshake runs on the calling thread: the kernel has put INIT into the
 * queue when mount(2) returns, and answers nothing else before. Only then the
 * kernel takes a backing id, so the probe comes right after it, before any
 * application can open a file.
 */
#include "fuse/mount.h"

#include "base/logger.h"
#include "fuse/attr.h"
#include "fuse/passthrough.h"
#include "fuse/dir.h"
#include "fuse/entry.h"
#include "fuse/file.h"
#include "fuse/sync.h"
#include "fuse/handle.h"
#include "fuse/mountpoint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#define BACKGROUND_MAX 64 /* readahead and write-back under way at one time */

#define UNGUARDED                                                              \
    "if this daemon is killed, programs in the mount may hang until it is "    \
    "started again"

/* ---- handshake ----------------------------------------------------------- */

/*
 * What we want from the kernel, and what not:
 *   no AUTO_INVAL_DATA, but EXPLICIT: it would drop cached pages, and mapped
 *     ones, whenever an mtime or size looks new; nothing changes behind it
 *   no ATOMIC_O_TRUNC: cutting a file comes as a SETATTR, like all others
 *   no locks: POSIX and flock locks stay in the kernel, at native speed
 *   no write-back cache: a write is in the backing file when it returns
 */
static void handshake(void *userdata, struct fuse_conn_info *connection)
{
    struct mount *mount = userdata;

    fuse_unset_feature_flag(
        connection, FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
                        FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
                        FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ);
    (void)fuse_set_feature_flag(connection, FUSE_CAP_EXPLICIT_INVAL_DATA);
    (void)fuse_set_feature_flag(connection, FUSE_CAP_PARALLEL_DIROPS);
    if (mount->config.mode != MOUNT_CLASSIC)
        mount->offered = fuse_set_feature_flag(connection,
                                               FUSE_CAP_PASSTHROUGH);
    /* The data may lie on an overlay, as in most containers. */
    connection->max_backing_stack_depth = 1;
    connection->max_background = BACKGROUND_MAX;
    connection->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    mount->shook_hands = true;
}

static const struct fuse_lowlevel_ops operations = {
    .init = handshake,
    .lookup = entry_lookup,
    .forget = entry_forget,
    .forget_multi = entry_forget_multi,
    .mkdir = entry_mkdir,
    .rmdir = entry_rmdir,
    .unlink = entry_unlink,
    .rename = entry_rename,
    .symlink = entry_symlink,
    .link = entry_link,
    .mknod = entry_mknod,
    .getattr = attr_get,
    .setattr = attr_set,
    .statfs = attr_statfs,
    .opendir = dir_open,
    .readdir = dir_read,
    .releasedir = dir_release,
    .fsyncdir = dir_fsync,
    .open = file_open,
    .create = file_create,
    .release = file_release,
    .read = file_read,
    .write = file_write,
    .fallocate = file_fallocate,
    .lseek = file_lseek,
    .fsync = sync_fsync,
};

static void say_why(struct mount *mount, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say_why(struct mount *mount, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(mount->reason, sizeof mount->reason, format, arguments);
    va_end(arguments);
}

/* Why the kernel refused a backing id. */
static void say_refusal(struct mount *mount, int rc)
{
    if (rc == -EPERM)
        say_why(mount, "passthrough needs CAP_SYS_ADMIN: run as root "
                       "(containers: --cap-add SYS_ADMIN)");
    else if (rc == -ELOOP)
        say_why(mount, "data lies on too many stacked file systems; put it on "
                       "a plain one");
    else
        say_why(mount, "the kernel refuses passthrough of data's files: %s",
                strerror(-rc));
}

/* The connection is up: which way will files go? Never changes again. */
static void choose_mode(struct mount *mount)
{
    struct utsname kernel;
    int rc;

    if (mount->config.mode == MOUNT_CLASSIC) {
        say_why(mount, "asked for by configuration");
        return;
    }
    if (!mount->offered) {
        uname(&kernel);
        say_why(mount, "kernel %.32s has no FUSE passthrough (6.9 or newer)",
                kernel.release);
        return;
    }
    rc = passthrough_probe(fuse_session_fd(mount->session),
                           mount->config.files_fd);
    mount->passthrough = rc == 0;
    if (rc == 0)
        say_why(mount, "kernel, privilege and file system allow it");
    else
        say_refusal(mount, rc);
}

/* ---- open ---------------------------------------------------------------- */

/* libfuse's own words, kept for the error text and the log. */
static _Thread_local char library_said[256];

__attribute__((format(printf, 2, 0))) static void on_library_log(
    enum fuse_log_level level, const char *format, va_list arguments)
{
    if (level > FUSE_LOG_WARNING)
        return;
    vsnprintf(library_said, sizeof library_said, format, arguments);
    library_said[strcspn(library_said, "\n")] = '\0';
    log_debug("mount.libfuse", "text=%s", logger_quote(library_said));
}

static int session_new(struct mount *mount)
{
    /* As root only the first is used: the rest is told to mount(2). */
    char program[] = "tidemark", option[] = "-o";
    char alone[] = "default_permissions,fsname=tidemark,subtype=tidemark";
    char shared[] =
        "default_permissions,fsname=tidemark,subtype=tidemark,allow_other";
    char *words[] = {program, option,
                     mount->config.allow_other ? shared : alone, NULL};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);

    fuse_set_log_func(on_library_log);
    if (site_fault(SITE_MOUNT_SESSION) == 0)
        mount->session = fuse_session_new(&arguments, &operations,
                                          sizeof operations, mount);
    fuse_opt_free_args(&arguments);
    return mount->session != NULL ? 0
                                  : site_fail(SITE_MOUNT_SESSION, NULL, ENOMEM);
}

static int mount_with_help(struct mount *mount,
                           char error_text[MOUNT_ERROR_BYTES])
{
    library_said[0] = '\0';
    if (fuse_session_mount(mount->session, mount->path) == 0) {
        mount->helped = true;
        return 0;
    }
    snprintf(error_text, MOUNT_ERROR_BYTES,
             "mount: %s: not permitted%s%s; run as root (containers: --cap-add "
             "SYS_ADMIN), or install fusermount3%s",
             mount->path, library_said[0] != '\0' ? ": " : "", library_said,
             mount->config.allow_other
                 ? " and put user_allow_other into /etc/fuse.conf"
                 : "");
    return -EPERM;
}

static int mount_attach(struct mount *mount, char error_text[MOUNT_ERROR_BYTES])
{
    char device[32];
    int fd = mountpoint_mount(mount->path, mount->config.allow_other,
                              error_text);
    int rc;

    if (fd == -EPERM)
        rc = mount_with_help(mount, error_text);
    else if (fd < 0)
        rc = fd;
    else {
        snprintf(device, sizeof device, "/dev/fd/%d", fd);
        rc = fuse_session_mount(mount->session, device);
        ASSERT(rc == 0); /* it only takes the number */
    }
    mount->mounted = rc == 0;
    if (rc == 0)
        serve_order(mount->session);
    return rc;
}

/* Without one we go on: it is needed only by those who outlive a killed
 * daemon. */
static void mount_guard(struct mount *mount)
{
    int rc = guardian_start(&mount->guardian, mount->path, !mount->helped);

    if (rc < 0)
        log_warn("mount.unguarded", "reason=%s text=%s",
                 logger_quote(site_failure()), logger_quote(UNGUARDED));
}

static int mount_shake_hands(struct mount *mount,
                             char error_text[MOUNT_ERROR_BYTES])
{
    int rc = 0;

    while (rc == 0 && !mount->shook_hands)
        rc = serve_one(mount->session);
    if (rc == 0 && fuse_session_exited(mount->session))
        rc = -EPROTO;
    if (rc < 0) {
        snprintf(error_text, MOUNT_ERROR_BYTES,
                 "mount: %s: the kernel ended the handshake: %s; see dmesg",
                 mount->path, strerror(-rc));
        return rc;
    }
    choose_mode(mount);
    if (mount->config.mode == MOUNT_PASSTHROUGH && !mount->passthrough) {
        snprintf(error_text, MOUNT_ERROR_BYTES,
                 "mount: %s: fuse.mode is passthrough, but %s; or set it to "
                 "auto",
                 mount->path, mount->reason);
        return -EOPNOTSUPP;
    }
    return 0;
}

static int mount_make(struct mount *mount, char error_text[MOUNT_ERROR_BYTES])
{
    int rc = inode_table_open(&mount->table, mount->config.files_fd);

    if (rc == 0)
        rc = session_new(mount);
    if (rc < 0) {
        snprintf(error_text, MOUNT_ERROR_BYTES, "mount: %s", site_failure());
        return rc;
    }
    rc = mountpoint_resolve(mount->config.mount_path, &mount->path, error_text);
    if (rc == 0)
        rc = mountpoint_prepare(mount->path, error_text);
    if (rc == 0)
        rc = mount_attach(mount, error_text);
    if (rc == 0)
        mount_guard(mount);
    if (rc == 0)
        rc = mount_shake_hands(mount, error_text);
    return rc;
}

int mount_open(struct mount **ret_mount, const struct mount_config *config,
               char error_text[MOUNT_ERROR_BYTES])
{
    struct mount *mount = calloc(1, sizeof *mount);
    int rc;

    ASSERT(config->mount_path != NULL);
    if (mount == NULL) {
        snprintf(error_text, MOUNT_ERROR_BYTES, "mount: out of memory");
        return -ENOMEM;
    }
    mount->config = *config;
    pthread_mutex_init(&mount->handles_lock, NULL);
    list_init(&mount->handles);
    rc = mount_make(mount, error_text);
    if (rc < 0)
        mount_close(mount);
    else
        *ret_mount = mount;
    return rc;
}

void mount_set_catalog(struct mount *mount, struct catalog *catalog)
{
    ASSERT(mount->config.catalog == NULL);
    mount->config.catalog = catalog;
}

bool mount_is_passthrough(const struct mount *mount)
{
    return mount->passthrough;
}

const char *mount_library_version(void)
{
    return fuse_pkgversion();
}

bool mount_library_has_passthrough(void)
{
    return fuse_version() >= FUSE_MAKE_VERSION(3, 17);
}

const char *mount_mode_reason(const struct mount *mount)
{
    return mount->reason;
}

void mount_on_child(struct mount *mount)
{
    if (guardian_has_gone(&mount->guardian))
        log_warn("mount.unguarded", "reason=%s text=%s",
                 logger_quote("its guardian has ended; was it killed?"),
                 logger_quote(UNGUARDED));
}

/* ---- start, stop, close -------------------------------------------------- */

int mount_start(struct mount *mount)
{
    ASSERT(mount->config.catalog != NULL);
    return serve_start(&mount->serve, mount->session);
}

int mount_stop(struct mount *mount)
{
    int rc = 0;

    guardian_stop(&mount->guardian);
    if (mount->mounted)
        rc = mountpoint_unmount(mount->path, mount->helped);
    mount->mounted = false;
    serve_stop(&mount->serve);
    return rc;
}

void mount_close(struct mount *mount)
{
    if (mount->mounted)
        (void)mount_stop(mount);
    /* Who parked a request answers it before: its answer needs all this. */
    ASSERT(atomic_load(&mount->parked) == 0);
    handle_free_all(mount);
    /* Closes the last descriptor: programs that have files open in what was
     * detached get ENOTCONN from here on. */
    if (mount->session != NULL)
        fuse_session_destroy(mount->session);
    inode_table_close(&mount->table);
    pthread_mutex_destroy(&mount->handles_lock);
    free(mount->path);
    free(mount);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/node.c - see node.h: the order of life.
 *
 *   lock data -> mount (calls wait) -> recovery -> control socket
 *   -> a primary that may lack something asks its replicas
 *   -> mount answers -> workers -> connections -> ready
 *   signal -> waits end -> connections close
 *   -> catalog_stop (the mount still answers the anchors) -> unmount -> unlock
 *
 * Main thread = loop thread. What fails on the way up takes the same way down.
 */
#include "node/node.h"

#include "base/lockfile.h"
#include "base/thread.h"
#include "fuse/mountpoint.h"
#include "node/events.h"
#include "node/node_state.h"
#include "node/role.h"
#include "node/version.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAKE_OVER_NS (5 * NS_PER_S)
#define STAT_EXITING 0x4 /* PF_EXITING of the kernel, in /proc/PID/stat */

/* ---- from other threads to the loop -------------------------------------- */

static void on_wake(void *context)
{
    struct node *node = context;

    uv_async_send(&node->async);
}

static void on_async(uv_async_t *async)
{
    struct node *node = CONTAINER_OF(async, struct node, async);

    catalog_dispatch(node->catalog);
    node_passed(node);
    node_links_turn(node);
}

static void on_changed(void *context, struct database *database)
{
    struct node *node = context;

    waits_changed(&node->waits, database);
    node_links_changed(node, database);
}

/* ---- data directory ------------------------------------------------------ */

/* In the text of /proc/PID/stat: killed, exiting or ended. */
static bool stat_is_dying(const char *text)
{
    const char *at = strrchr(text, ')');
    unsigned long flags = 0, pending = 0;
    char state = 0;

    /* Fields 3, 9 and 31, see proc(5). */
    if (at == NULL || sscanf(at,
                             ") %c %*s %*s %*s %*s %*s %lu %*s %*s %*s %*s "
                             "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                             "%*s %*s %*s %*s %*s %*s %lu",
                             &state, &flags, &pending) < 1)
        return false;
    return state == 'Z' || state == 'X' || (flags & STAT_EXITING) != 0 ||
           (pending & (1UL << (SIGKILL - 1))) != 0;
}

/* Who has the lock was killed, but a thread of it has not ended. */
static bool holder_is_dying(struct node *node)
{
    struct os_file file = {0};
    char text[1024] = "", path[64];
    long pid;

    if (os_open(&file, node->data.fd, "lock", O_RDONLY, 0, SITE_NODE_DATA) < 0)
        return false;
    (void)os_pread(&file, text, sizeof text - 1, 0, SITE_NODE_DATA);
    os_close(&file);
    pid = strtol(text, NULL, 10);
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    memset(text, 0, sizeof text);
    if (pid <= 0 ||
        os_open(&file, AT_FDCWD, path, O_RDONLY, 0, SITE_NODE_DATA) < 0)
        return false;
    (void)os_pread(&file, text, sizeof text - 1, 0, SITE_NODE_DATA);
    os_close(&file);
    return stat_is_dying(text);
}

/*
 * A killed daemon whose guardian was killed, too, can hang in the kernel (see
 * fuse/guardian.h). Aborting the connection lets it go.
 */
static int lock_take_over(struct node *node)
{
    uint64_t until = clock_now_ns() + TAKE_OVER_NS;
    struct timespec pause = {.tv_nsec = 20 * (long)NS_PER_MS};
    struct os_file root = {0};
    int rc = os_open(&root, AT_FDCWD, node->config->mount, O_PATH | O_DIRECTORY,
                     0, SITE_NODE_DATA);

    if (rc < 0)
        return -EWOULDBLOCK;
    log_warn("node.take_over", "mount=%s reason=%s",
             logger_quote(node->config->mount),
             logger_quote("the daemon before was killed and has not ended; "
                          "aborting its mount"));
    do {
        (void)mountpoint_abort(root.fd);
        nanosleep(&pause, NULL); /* a process's end raises no event here */
        rc = lockfile_take(&node->lock, node->data.fd, "lock");
    } while (rc == -EWOULDBLOCK && clock_now_ns() < until);
    os_close(&root);
    return rc;
}

static int data_open(struct node *node)
{
    const char *path = node->config->data;
    int rc = os_mkdir(AT_FDCWD, path, 0750, SITE_NODE_DATA);

    if (rc == 0)
        rc = os_open(&node->data, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0,
                     SITE_NODE_DATA);
    if (rc < 0) {
        log_error("node.data", "reason=%s", logger_quote(site_failure()));
        return rc;
    }
    rc = lockfile_take(&node->lock, node->data.fd, "lock");
    if (rc == -EWOULDBLOCK && holder_is_dying(node))
        rc = lock_take_over(node);
    if (rc == -EWOULDBLOCK)
        log_error("node.data", "path=%s reason=%s", logger_quote(path),
                  logger_quote("another tidemark runs on this data directory; "
                               "stop it first"));
    else if (rc < 0)
        log_error("node.data", "reason=%s", logger_quote(site_failure()));
    return rc;
}

static int role_open(struct node *node)
{
    bool was_replica = role_was_replica(node->config->data), unclean = false;
    int rc = role_keep(node->data.fd, node->is_primary);

    if (rc == 0)
        rc = role_run_begin(node->data.fd, &unclean);
    node->may_lack = was_replica || unclean;
    node->was_empty = catalog_was_empty(node->data.fd);
    if (rc < 0)
        log_error("node.data", "reason=%s", logger_quote(site_failure()));
    return rc;
}

/* Thousands of databases need thousands of descriptors. */
static void limits_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_max < 1048576 && geteuid() == 0)
        limit.rlim_max = 1048576;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- engine and mount ---------------------------------------------------- */

static int engine_open(struct node *node)
{
    const struct config *config = node->config;
    struct catalog_config catalog = {
        .data_fd = node->data.fd,
        .mount_path = config->mount,
        .role = node->is_primary ? DATABASE_PRIMARY : DATABASE_REPLICA,
        .asks = node_links_asks(node),
        .writes_readonly = config_writes_readonly(config),
        .log_retain_bytes = config->log.retain_bytes,
        .log_total_bytes = config->log.total_bytes,
        .log_max_age_ns = config->log.max_age_ms * NS_PER_MS,
        .context = node,
        .on_wake = on_wake,
        .on_changed = on_changed,
        .on_event = events_log,
    };
    int rc = catalog_open(&node->catalog, &catalog);

    if (rc < 0)
        log_error("node.engine", "reason=%s", logger_quote(site_failure()));
    return rc;
}

static bool allows_other(const struct config *config)
{
    if (config->fuse.allow_other == CONFIG_AUTO)
        return geteuid() == 0;
    return config->fuse.allow_other == CONFIG_ON;
}

static int mount_up(struct node *node)
{
    static const enum mount_mode modes[] = {
        [CONFIG_FUSE_AUTO] = MOUNT_AUTO,
        [CONFIG_FUSE_PASSTHROUGH] = MOUNT_PASSTHROUGH,
        [CONFIG_FUSE_CLASSIC] = MOUNT_CLASSIC,
    };
    const struct config *config = node->config;
    char text[MOUNT_ERROR_BYTES];
    struct mount_config mount = {
        .mount_path = config->mount,
        .mode = modes[config->fuse.mode],
        .allow_other = allows_other(config),
        .uid = config->fuse.uid < 0 ? MOUNT_KEEP_OWNER
                                    : (uint32_t)config->fuse.uid,
        .gid = config->fuse.gid < 0 ? MOUNT_KEEP_OWNER
                                    : (uint32_t)config->fuse.gid,
    };
    int rc = os_mkdir(node->data.fd, "files", 0755, SITE_NODE_DATA);

    if (rc == 0)
        rc = os_open(&node->files, node->data.fd, "files",
                     O_RDONLY | O_DIRECTORY, 0, SITE_NODE_DATA);
    if (rc < 0) {
        log_error("node.data", "reason=%s", logger_quote(site_failure()));
        return rc;
    }
    mount.files_fd = node->files.fd;
    node_mount_hooks(node, &mount.hooks);
    rc = mount_open(&node->mount, &mount, text);
    if (rc < 0)
        log_error("node.mount", "reason=%s", logger_quote(text));
    return rc;
}

/* From here on the mount answers. */
static int mount_serve(struct node *node)
{
    int rc;

    mount_set_catalog(node->mount, node->catalog);
    rc = mount_start(node->mount);
    node->serving = rc == 0;
    if (rc == 0)
        rc = catalog_start(node->catalog, mount_is_passthrough(node->mount));
    if (rc < 0)
        log_error("node.mount", "reason=%s", logger_quote(site_failure()));
    return rc;
}

/* ---- stopping ------------------------------------------------------------ */

static void on_links_closed(struct node *node)
{
    waits_close(&node->waits);
    doorway_close(&node->doorway);
    uv_close((uv_handle_t *)&node->async, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(node->signals); i++)
        uv_close((uv_handle_t *)&node->signals[i], NULL);
}

static void on_control_closed(struct control *control)
{
    struct node *node = CONTAINER_OF(control, struct node, control);

    if (node->links.open)
        node_links_close(node, on_links_closed);
    else
        on_links_closed(node); /* a failed start did not get there */
}

static void node_stop(struct node *node)
{
    if (node->stopping)
        return;
    node->stopping = true;
    scrub_close(&node->scrub);
    control_close(&node->control, on_control_closed);
}

void node_end(struct node *node, const char *reason)
{
    log_error("node.ended", "reason=%s", logger_quote(reason));
    node->ended = true;
    node_stop(node);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct node *node = signal->data;

    if (number == SIGHUP) { /* elsewhere it means "read your configuration" */
        log_warn("node.hangup", "reason=%s",
                 logger_quote("changes of the configuration wait for the next "
                              "start; going on"));
        return;
    }
    log_info("node.stopping", "signal=%s", strsignal(number));
    node_stop(node);
}

/* ---- the way up ---------------------------------------------------------- */

static void on_child(uv_signal_t *signal, int number)
{
    struct node *node = signal->data;

    (void)number;
    if (node->mount != NULL)
        mount_on_child(node->mount);
}

static int signals_open(struct node *node)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    int rc = 0;

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LENGTH(node->signals); i++) {
        uv_signal_init(&node->loop, &node->signals[i]);
        node->signals[i].data = node;
        if (rc == 0)
            rc = uv_signal_start(&node->signals[i],
                                 numbers[i] == SIGCHLD ? on_child : on_signal,
                                 numbers[i]);
    }
    return rc;
}

static int control_up(struct node *node)
{
    struct control_handlers handlers;
    char path[256];
    int rc;

    node_control_handlers(node, &handlers);
    snprintf(path, sizeof path, "%s/%s", node->config->data,
             CONTROL_SOCKET_NAME);
    rc = control_open(&node->control, &node->loop, path, &handlers);
    if (rc < 0)
        log_error("node.control", "socket=%s reason=%s", logger_quote(path),
                  logger_quote(uv_strerror(rc)));
    return rc;
}

static int node_up(struct node *node)
{
    int rc = data_open(node);

    if (rc == 0)
        rc = role_open(node);
    if (rc < 0)
        return rc;
    rc = uv_loop_init(&node->loop);
    if (rc < 0)
        return rc;
    node->loop_open = true;
    rc = uv_async_init(&node->loop, &node->async, on_async);
    if (rc == 0)
        rc = signals_open(node);
    /* Before recovery: a program that tries again and again must never find
     * the bare directory and make its database there. Its calls wait. */
    if (rc == 0)
        rc = mount_up(node);
    if (rc == 0)
        rc = node_links_prepare(node);
    if (rc == 0)
        rc = engine_open(node);
    if (rc < 0)
        return rc;
    waits_open(&node->waits, &node->loop, node->catalog);
    rc = doorway_open(&node->doorway, &node->loop, &node->waits);
    node->doorway_open = rc == 0;
    if (rc == 0)
        rc = control_up(node);
    if (rc == 0 && node_links_asks(node))
        rc = node_links_ask(node);
    if (rc == 0)
        rc = mount_serve(node);
    if (rc == 0)
        rc = node_links_open(node);
    if (rc == 0)
        scrub_open(&node->scrub, &node->loop, node->catalog,
                   node->config->scrub.every_ms,
                   node->config->scrub.rate_bytes);
    return rc;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Whoever waits in open() is answered before the mount goes, also when the
 * start failed: it may have answered for a while. */
static void services_down(struct node *node)
{
    if (!node->failed || !node->doorway_open)
        return;
    node_stop(node);
    uv_run(&node->loop, UV_RUN_DEFAULT);
}

/* After a failed start whatever else was opened on the loop is closed. */
static void loop_down(struct node *node)
{
    int rc;

    if (!node->loop_open)
        return;
    if (node->failed) {
        uv_walk(&node->loop, close_handle, NULL);
        uv_run(&node->loop, UV_RUN_DEFAULT);
    }
    rc = uv_loop_close(&node->loop);
    ASSERT(rc == 0);
}

static void node_down(struct node *node)
{
    services_down(node);
    if (node->catalog != NULL)
        catalog_stop(node->catalog);
    if (node->mount != NULL) {
        if (node->serving && mount_stop(node->mount) == -EBUSY)
            log_warn("node.unmount", "reason=%s",
                     logger_quote("programs still have files open in the "
                                  "mount; they get errors from now on"));
        mount_close(node->mount);
    }
    catalog_close(node->catalog);
    loop_down(node);
    node_links_free(node);
    os_close(&node->files);
    /* A start that failed leaves the question open as it found it. */
    if (node->data.open && !node->lacks &&
        (node->failed ? !node->may_lack : !node->ended))
        role_run_end(node->data.fd);
    lockfile_release(&node->lock);
    os_close(&node->data);
}

static void ready_say(struct node *node)
{
    const char *advertise = node->links.advertise;

    log_info("node.ready",
             "version=%s role=%s mode=%s mount=%s data=%s advertise=%s "
             "epoch=%llu mode_reason=%s",
             VERSION_TEXT, node->is_primary ? "primary" : "replica",
             mount_is_passthrough(node->mount) ? "passthrough" : "classic",
             logger_quote(node->config->mount),
             logger_quote(node->config->data), advertise,
             (unsigned long long)epoch_number(catalog_epoch(node->catalog)),
             logger_quote(mount_mode_reason(node->mount)));
}

int node_run(const struct config *config)
{
    struct node *node = calloc(1, sizeof *node);
    int rc;

    if (node == NULL)
        return -ENOMEM;
    thread_register(THREAD_LOOP, "tidemark");
    node->config = config;
    node->is_primary = !config_needs_advertise(config) &&
                       config_is_primary(config);
    node->started_ns = clock_now_ns();
    pthread_mutex_init(&node->lock_passed, NULL);
    list_init(&node->passed);
    node_facts_init(&node->facts);
    limits_raise();
    umask(0); /* modes are what applications ask for */
    rc = node_up(node);
    node->failed = rc < 0;
    if (rc == 0) {
        ready_say(node);
        uv_run(&node->loop, UV_RUN_DEFAULT);
        rc = node->ended ? -EHOSTUNREACH : 0;
    }
    node_down(node);
    if (rc == -ECANCELED) /* stopped while it asked */
        rc = 0;
    if (rc == 0)
        log_info("node.stopped", "data=%s", logger_quote(config->data));
    node_facts_close(&node->facts);
    pthread_mutex_destroy(&node->lock_passed);
    free(node);
    thread_unregister();
    return rc;
}

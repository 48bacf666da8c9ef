/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/mount.h - the directory that applications see.
 *
 * It mirrors data/files through FUSE and tells the engine what happens there:
 * open, create, truncate, unlink, rename and, above all, fsync. Reads and
 * writes pass by the daemon where kernel, privilege and backing file system
 * allow it (passthrough), else they go through its workers (classic). Which
 * of the two is decided in mount_open() and never changes.
 *
 * Order of life: mounted before the engine recovers, so that programs wait
 * instead of finding the bare directory; answering before it starts, because
 * it opens files through the mount:
 *
 *   mount_open  catalog_open  mount_set_catalog  mount_start  catalog_start
 *   catalog_stop  mount_stop  mount_close  catalog_close
 *
 * All functions belong to the main thread unless said otherwise.
 */
#ifndef TIDEMARK_FUSE_MOUNT_H
#define TIDEMARK_FUSE_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct catalog;
struct mount; /* opaque */

enum mount_mode {
    MOUNT_AUTO, /* passthrough when it is possible */
    MOUNT_PASSTHROUGH,
    MOUNT_CLASSIC,
};

#define MOUNT_PRIMARY_BYTES 256
#define MOUNT_LAG_UNKNOWN 999999999 /* the most that .lag has room for */
#define MOUNT_KEEP_OWNER UINT32_MAX /* no override of uid or gid */

/*
 * A program that opened .tidemark/wait/DB/TOKEN and sleeps in open(). It
 * belongs to the mount; the node keeps the pointer from hooks.wait until it
 * calls on_done: exactly once, any thread, also after a cancel, with 0
 * (reached), -ETIMEDOUT, -ESTALE (lost), -EINVAL (not a token of this
 * database) or -EINTR (cancelled). It must not block.
 */
struct mount_wait {
    uint64_t id; /* never used twice */
    void (*on_done)(struct mount_wait *wait, int rc);
};

/* What the node knows. Called on FUSE workers; must not block. */
struct mount_hooks {
    void *context;

    /* .tidemark/status.json; the mount frees the text. */
    int (*status_json)(void *context, char **ret_text, size_t *ret_size);

    /* Host name of the primary as this replica knows it, written to buffer;
     * NULL: this node is the primary, or does not know one. */
    const char *(*primary_name)(void *context,
                                char buffer[MOUNT_PRIMARY_BYTES]);

    /* How old this node's data may be, in milliseconds; MOUNT_LAG_UNKNOWN:
     * nobody knows, or more. */
    int64_t (*lag_ms)(void *context);

    /* 0: wait->on_done will be called, perhaps before this returns (then from
     * another thread). Negative: refused, on_done never runs. token has no
     * final 0; db and token live only during the call. */
    int (*wait)(void *context, const char *db, const char *token,
                size_t token_size, struct mount_wait *wait);

    /* The program was interrupted: end the wait of this id soon, with -EINTR.
     * An id that is not waiting any more is to be ignored. */
    void (*wait_cancel)(void *context, uint64_t wait_id);
};

struct mount_config {
    const char *mount_path;  /* an empty directory; borrowed */
    int files_fd;            /* data/files, a directory; borrowed */
    struct catalog *catalog; /* or mount_set_catalog() later */
    enum mount_mode mode;
    bool allow_other;
    uint32_t uid, gid; /* shown and given instead; MOUNT_KEEP_OWNER: none */
    struct mount_hooks hooks;
};

#define MOUNT_ERROR_BYTES 512

/*
 * Mounts and shakes hands with the kernel: the mode is known when this
 * returns, requests are answered only after mount_start(). A mount that a
 * dead daemon left at mount_path is removed first. Forks the guardian: the
 * process has no other thread yet, and this one stays. config is copied.
 * On failure error_text says what failed, on what, and what to do:
 * -ENOENT or -ENOTDIR (mount_path), -ENOTEMPTY, -EBUSY (another daemon),
 * -ENODEV (no /dev/fuse), -EPERM, -EOPNOTSUPP (MOUNT_PASSTHROUGH and it is
 * not possible), or what the call said.
 */
int mount_open(struct mount **ret_mount, const struct mount_config *config,
               char error_text[MOUNT_ERROR_BYTES]);

bool mount_is_passthrough(const struct mount *mount);

/* The version of libfuse in use, "3.17.2", and whether it knows passthrough
 * (3.17). Without a mount, any thread. */
const char *mount_library_version(void);
bool mount_library_has_passthrough(void);

/* Why it is the mode it is, for people; lives as long as the mount. */
const char *mount_mode_reason(const struct mount *mount);

/* Once, before mount_start(). */
void mount_set_catalog(struct mount *mount, struct catalog *catalog);

/* A child of this process has ended: if it was the mount's guardian, that is
 * logged, once; the mount goes on without. */
void mount_on_child(struct mount *mount);

/* Starts the FUSE workers. */
int mount_start(struct mount *mount);

/*
 * Takes the mount away and ends the workers. The engine has stopped and all
 * waits were answered. 0; or -EBUSY when programs still held files open after
 * a bounded wait: the name is gone all the same, they get ENOTCONN.
 */
int mount_stop(struct mount *mount);

/* Frees everything; after mount_stop(), or after mount_open() alone. */
void mount_close(struct mount *mount);

#endif

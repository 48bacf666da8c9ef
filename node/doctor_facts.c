/* SPDX-License-Identifier: Apache-2.0 */
/* node/doctor_facts.c - see doctor_facts.h. */
#include "node/doctor_facts.h"

#include "base/bytes.h"

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- versions ------------------------------------------------------------ */

bool doctor_version_parse(const char *text, struct doctor_version *ret_version)
{
    struct doctor_version version = {0};

    if (sscanf(text, "%4u.%4u.%4u", &version.major, &version.minor,
               &version.patch) < 2)
        return false;
    *ret_version = version;
    return true;
}

bool doctor_version_is_before(struct doctor_version version, unsigned major,
                              unsigned minor, unsigned patch)
{
    if (version.major != major)
        return version.major < major;
    if (version.minor != minor)
        return version.minor < minor;
    return version.patch < patch;
}

static bool has_wal_reset(struct doctor_version version)
{
    if (version.major == 3 && version.minor == 44)
        return version.patch < 6;
    if (version.major == 3 && version.minor == 50)
        return version.patch < 7;
    return doctor_version_is_before(version, 3, 51, 3);
}

unsigned doctor_sqlite_faults(struct doctor_version version)
{
    unsigned faults = 0;

    if (has_wal_reset(version))
        faults |= DOCTOR_WAL_RESET;
    if (doctor_version_is_before(version, 3, 41, 0))
        faults |= DOCTOR_SAVEPOINT;
    return faults;
}

/* ---- /proc --------------------------------------------------------------- */

#define READER_FIRST 123
#define READER_LAST 127

bool doctor_lock_parse(const char *line, struct doctor_lock *ret_lock)
{
    struct doctor_lock lock = {0};
    char kind[16], access[16], last[32];
    unsigned long inode, first;

    /* A waiter has "->" where the kind is. */
    if (sscanf(line, "%*s %15s %*s %15s %d %x:%x:%lu %lu %31s", kind, access,
               &lock.pid, &lock.major, &lock.minor, &inode, &first,
               last) != 8 ||
        (strcmp(kind, "POSIX") != 0 && strcmp(kind, "OFDLCK") != 0))
        return false;
    lock.inode = inode;
    lock.first = first;
    lock.last = strcmp(last, "EOF") == 0 ? UINT64_MAX
                                         : strtoull(last, NULL, 10);
    lock.is_read = strcmp(access, "READ") == 0;
    *ret_lock = lock;
    return true;
}

bool doctor_lock_is_reader(const struct doctor_lock *lock)
{
    return lock->is_read && lock->first <= READER_LAST &&
           lock->last >= READER_FIRST;
}

bool doctor_field(const char *text, const char *name, int base,
                  uint64_t *ret_number)
{
    size_t length = strlen(name);

    while (*text != '\0') {
        if (strncmp(text, name, length) == 0 && text[length] == ':') {
            char *end;
            uint64_t number = strtoull(text + length + 1, &end, base);

            if (end == text + length + 1)
                return false;
            *ret_number = number;
            return true;
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return false;
}

bool doctor_mount_parse(const char *line, uint64_t *ret_id, unsigned *ret_major,
                        unsigned *ret_minor)
{
    unsigned long id;
    unsigned major, minor;

    if (sscanf(line, "%lu %*u %u:%u ", &id, &major, &minor) != 3)
        return false;
    *ret_id = id;
    *ret_major = major;
    *ret_minor = minor;
    return true;
}

bool doctor_link_names(const char *link, const char *name)
{
    static const char deleted[] = " (deleted)";
    size_t length = strlen(link), wanted = strlen(name);

    if (length >= sizeof deleted - 1 &&
        strcmp(link + length - (sizeof deleted - 1), deleted) == 0)
        length -= sizeof deleted - 1;
    return length > wanted && link[length - wanted - 1] == '/' &&
           memcmp(link + length - wanted, name, wanted) == 0;
}

/* ---- enough -------------------------------------------------------------- */

enum doctor_level doctor_judge_space(uint64_t free_bytes, uint64_t all_bytes)
{
    if (free_bytes < DOCTOR_SPACE_BAD)
        return DOCTOR_BAD;
    return free_bytes < DOCTOR_SPACE_WARN && free_bytes < all_bytes / 10
               ? DOCTOR_WARN
               : DOCTOR_OK;
}

enum doctor_level doctor_judge_inodes(uint64_t free, uint64_t all)
{
    if (all == 0)
        return DOCTOR_OK;
    if (free < DOCTOR_INODES_BAD)
        return DOCTOR_BAD;
    return free < DOCTOR_INODES_WARN && free < all / 10 ? DOCTOR_WARN
                                                        : DOCTOR_OK;
}

bool doctor_wal_is_large(uint64_t wal_bytes, uint64_t database_bytes)
{
    return wal_bytes > DOCTOR_WAL_BYTES && wal_bytes > database_bytes / 2;
}

bool doctor_log_is_large(uint64_t log_bytes, uint64_t retain_bytes)
{
    return log_bytes > retain_bytes &&
           log_bytes - retain_bytes > retain_bytes / 4;
}

uint64_t doctor_log_growth(uint64_t retain_bytes, uint64_t total_bytes,
                           size_t databases, uint64_t now_bytes)
{
    uint64_t most;

    if (databases == 0)
        databases = 1;
    if (__builtin_mul_overflow(retain_bytes, (uint64_t)databases, &most))
        most = UINT64_MAX;
    if (total_bytes != 0 && total_bytes < most)
        most = total_bytes;
    return most > now_bytes ? most - now_bytes : 0;
}

/* Those without a name in <linux/magic.h> are from statfs(2). */
#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e
#define CIFS_MAGIC 0xff534d42
#define SMB2_MAGIC 0xfe534d42
#define CEPH_MAGIC 0x00c36400
#define LUSTRE_MAGIC 0x0bd00bd0

const char *doctor_filesystem(uint64_t type, enum doctor_level *ret_level)
{
    static const struct {
        uint64_t type;
        const char *name;
        enum doctor_level level;
    } known[] = {
        {EXT4_SUPER_MAGIC, "ext4", DOCTOR_OK},
        {XFS_MAGIC, "xfs", DOCTOR_OK},
        {BTRFS_SUPER_MAGIC, "btrfs", DOCTOR_OK},
        {F2FS_SUPER_MAGIC, "f2fs", DOCTOR_OK},
        {ZFS_MAGIC, "zfs", DOCTOR_OK},
        {BCACHEFS_MAGIC, "bcachefs", DOCTOR_OK},
        {OVERLAYFS_SUPER_MAGIC, "overlay", DOCTOR_OK},
        {TMPFS_MAGIC, "tmpfs", DOCTOR_WARN},
        {RAMFS_MAGIC, "ramfs", DOCTOR_WARN},
        {NFS_SUPER_MAGIC, "nfs", DOCTOR_BAD},
        {SMB_SUPER_MAGIC, "smb", DOCTOR_BAD},
        {CIFS_MAGIC, "cifs", DOCTOR_BAD},
        {SMB2_MAGIC, "smb2", DOCTOR_BAD},
        {CEPH_MAGIC, "ceph", DOCTOR_BAD},
        {AFS_SUPER_MAGIC, "afs", DOCTOR_BAD},
        {AFS_FS_MAGIC, "afs", DOCTOR_BAD},
        {V9FS_MAGIC, "9p", DOCTOR_BAD},
        {CODA_SUPER_MAGIC, "coda", DOCTOR_BAD},
        {LUSTRE_MAGIC, "lustre", DOCTOR_BAD},
        {FUSE_SUPER_MAGIC, "fuse", DOCTOR_WARN},
    };

    *ret_level = DOCTOR_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (known[i].type != type)
            continue;
        *ret_level = known[i].level;
        return known[i].name;
    }
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_data.c - the data directory: whose it is, what it lies on, how
 * much room is left there, and what recovery put aside.
 */
#include "node/doctor.h"

#include "node/quantity.h"

#include <errno.h>
#include <fts.h>
#include <linux/magic.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* path, or what of it there is already: the node will make the rest. */
static int existing_part(const char *path, char ret_part[PATH_MAX],
                         struct stat *ret_status)
{
    snprintf(ret_part, PATH_MAX, "%s", path);
    while (stat(ret_part, ret_status) != 0) {
        char *slash = strrchr(ret_part, '/');

        if (errno != ENOENT || strcmp(ret_part, ".") == 0)
            return -errno;
        if (slash == NULL)
            snprintf(ret_part, PATH_MAX, ".");
        else
            slash[slash == ret_part] = '\0';
    }
    return 0;
}

static void look_at_owner(struct doctor *doctor, const struct stat *status)
{
    const struct passwd *user = getpwuid(status->st_uid);

    if (!S_ISDIR(status->st_mode)) {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_DATA, doctor->data,
                    "is no directory");
        doctor_advise(doctor, "name a directory as data; the node makes it");
        return;
    }
    if ((status->st_mode & S_IWOTH) != 0) {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_DATA, doctor->data,
                    "everybody may write into it");
        doctor_advise(doctor, "chmod o-w %s", doctor->data);
        return;
    }
    doctor_find(doctor, DOCTOR_OK, DOCTOR_DATA, doctor->data,
                "belongs to %s (uid %u), mode %04o",
                user == NULL ? "?" : user->pw_name, (unsigned)status->st_uid,
                (unsigned)status->st_mode & 07777);
}

/* There is only this part of the path. */
static void look_at_parent(struct doctor *doctor, const char *part)
{
    const char *rest = doctor->data + strlen(part);

    if (strchr(rest + strspn(rest, "/"), '/') == NULL) {
        doctor_find(doctor, DOCTOR_OK, DOCTOR_DATA, doctor->data,
                    "does not exist yet, the node makes it");
        return;
    }
    doctor_find(doctor, DOCTOR_BAD, DOCTOR_DATA, doctor->data,
                "does not exist, nor does the directory it is to be in");
    doctor_advise(doctor, "mkdir -p %s", doctor->data);
}

static void look_at_filesystem(struct doctor *doctor, uint32_t type)
{
    enum doctor_level level;
    const char *name = doctor_filesystem(type, &level);

    if (name == NULL)
        doctor_find(doctor, DOCTOR_OK, DOCTOR_DATA, "file system",
                    "type 0x%x, which doctor has no opinion of", type);
    else if (level == DOCTOR_OK)
        doctor_find(doctor, level, DOCTOR_DATA, "file system", "%s", name);
    else if (level == DOCTOR_BAD)
        doctor_find(doctor, level, DOCTOR_DATA, "file system",
                    "%s, a network file system: no shared memory, no leases, "
                    "and a sync may lie",
                    name);
    else if (type == FUSE_SUPER_MAGIC)
        doctor_find(doctor, level, DOCTOR_DATA, "file system",
                    "%s: another program decides what is durable there", name);
    else
        doctor_find(doctor, level, DOCTOR_DATA, "file system",
                    "%s: all data is gone with the machine", name);
    if (level != DOCTOR_OK)
        doctor_advise(doctor, "put data on a local disk (ext4, xfs, btrfs)");
}

static void look_at_space(struct doctor *doctor, const struct statfs *system)
{
    uint64_t unit = (uint64_t)system->f_bsize;
    uint64_t left = system->f_bavail * unit, all = system->f_blocks * unit;
    enum doctor_level space = doctor_judge_space(left, all);
    enum doctor_level files = doctor_judge_inodes(system->f_ffree,
                                                  system->f_files);
    char left_text[QUANTITY_TEXT_BYTES], all_text[QUANTITY_TEXT_BYTES];

    quantity_format_size(left, left_text);
    quantity_format_size(all, all_text);
    doctor_find(doctor, space, DOCTOR_DATA, "space", "%s of %s are free",
                left_text, all_text);
    if (space != DOCTOR_OK)
        doctor_advise(doctor, "make room: a full disk stops commits; log.total "
                              "says how much of it logs may take");
    if (system->f_files == 0)
        return;
    doctor_find(doctor, files, DOCTOR_DATA, "inodes", "%llu of %llu are free",
                (unsigned long long)system->f_ffree,
                (unsigned long long)system->f_files);
    if (files != DOCTOR_OK)
        doctor_advise(doctor, "remove files: each database needs some for its "
                              "log and its WAL");
}

/* What the logs have now, and may still take, and whether that is there. */
static void look_at_logs(struct doctor *doctor, uint64_t left)
{
    const json_t *databases = json_object_get(doctor->status, "databases");
    const json_t *database;
    char growth_text[QUANTITY_TEXT_BYTES], left_text[QUANTITY_TEXT_BYTES];
    uint64_t now = 0, growth;
    bool fits;
    size_t i;

    if (!doctor->configured)
        return;
    json_array_foreach(databases, i, database)
        now += doctor_number(json_object_get(database, "log"), "bytes");
    growth = doctor_log_growth(doctor->config.log.retain_bytes,
                               doctor->config.log.total_bytes,
                               json_array_size(databases), now);
    fits = growth <= left;
    quantity_format_size(growth, growth_text);
    quantity_format_size(left, left_text);
    doctor_find(doctor, fits ? DOCTOR_OK : DOCTOR_WARN, DOCTOR_DATA, "logs",
                "may grow by %s, %s are free", growth_text, left_text);
    if (!fits)
        doctor_advise(doctor, "lower log.total or log.retain, or make room");
}

/* Texts that explain an entry of data/lost, and its WAL, are no entries of
 * their own. */
static bool is_entry(const char *name)
{
    const char *end = strrchr(name, '.');

    return end == NULL ||
           (strcmp(end, ".txt") != 0 && strcmp(end, ".db-wal") != 0);
}

/* Entries and bytes below path; false: it, or a part of it, is not ours to
 * read. Not there is empty. */
static bool count_below(char *path, unsigned *ret_entries, uint64_t *ret_bytes)
{
    char *const roots[] = {path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    bool all = true;
    FTSENT *entry;

    while (tree != NULL && (entry = fts_read(tree)) != NULL) {
        *ret_entries += entry->fts_level == 1 && entry->fts_info != FTS_DP &&
                        is_entry(entry->fts_name);
        if (entry->fts_info == FTS_F)
            *ret_bytes += (uint64_t)entry->fts_statp->st_size;
        if ((entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) &&
            entry->fts_errno != ENOENT)
            all = false;
    }
    if (tree != NULL)
        fts_close(tree);
    return all;
}

static void look_at_lost(struct doctor *doctor)
{
    char path[PATH_MAX + 8], size[QUANTITY_TEXT_BYTES];
    unsigned entries = 0;
    uint64_t bytes = 0;

    snprintf(path, sizeof path, "%s/lost", doctor->data);
    if (!count_below(path, &entries, &bytes)) {
        doctor_find(doctor, DOCTOR_WARN, DOCTOR_DATA, "lost",
                    "cannot be looked into by this user");
        doctor_advise(doctor, "run doctor as the user of the node, or as root");
    }
    if (entries == 0)
        return;
    quantity_format_size(bytes, size);
    doctor_find(doctor, DOCTOR_WARN, DOCTOR_DATA, "lost",
                "%u things were put aside, %s in all", entries, size);
    doctor_advise(doctor,
                  "the text beside each says what it is and why; take what you "
                  "need from %s, and delete it",
                  path);
}

void doctor_look_at_data(struct doctor *doctor)
{
    char part[PATH_MAX];
    struct statfs system = {0};
    struct stat status;
    int rc;

    if (doctor->data[0] == '\0')
        return;
    rc = existing_part(doctor->data, part, &status);
    if (rc == 0 && statfs(part, &system) != 0)
        rc = -errno;
    if (rc < 0) {
        doctor_find(doctor, DOCTOR_BAD, DOCTOR_DATA, doctor->data, "%s",
                    strerror(-rc));
        doctor_advise(doctor, "run doctor as the user of the node, or as root");
        return;
    }
    if (strcmp(part, doctor->data) == 0)
        look_at_owner(doctor, &status);
    else
        look_at_parent(doctor, part);
    look_at_filesystem(doctor, (uint32_t)system.f_type);
    look_at_space(doctor, &system);
    look_at_logs(doctor, system.f_bavail * (uint64_t)system.f_bsize);
    look_at_lost(doctor);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/test_log_law.c - whatever a power cut takes of what was not
 * synced, a log opens again with all that it called durable, no hole, and
 * nothing that was never appended.
 *
 * This program has its own fsync() and fdatasync(), so it knows what a disk
 * would have to keep: the bytes of a file as of its last sync, the names as of
 * the directory's. Of everything since, a power cut here keeps any part:
 * sectors as written or zero, lengths in between, names made or deleted or
 * not, each by its own luck.
 */
#include "wal/log.h"

#include "base/bytes.h"
#include "tests/harness.h"
#include "tests/support/logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define FILES_MAX 200
#define SECTOR 512u

struct disk_file {
    ino_t inode;
    int fd; /* held open: no other file gets its number */
    uint64_t size;
    uint8_t *content;
};

struct disk_name {
    char name[256];
    ino_t inode;
};

/* What is safe. */
static struct disk {
    struct disk_file files[FILES_MAX];
    struct disk_name names[FILES_MAX];
    size_t files_count;
    size_t names_count;
} disk;

static void disk_clear(void)
{
    while (disk.files_count > 0) {
        close(disk.files[--disk.files_count].fd);
        free(disk.files[disk.files_count].content);
    }
    disk.names_count = 0;
}

static struct disk_file *disk_file(ino_t inode)
{
    for (size_t i = 0; i < disk.files_count; i++)
        if (disk.files[i].inode == inode)
            return &disk.files[i];
    return NULL;
}

static const struct disk_name *disk_name(const char *name)
{
    for (size_t i = 0; i < disk.names_count; i++)
        if (strcmp(disk.names[i].name, name) == 0)
            return &disk.names[i];
    return NULL;
}

/* Names in a directory; the number of them. */
static size_t names_now(int dirfd, struct disk_name *names)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY);
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    size_t count = 0;

    if (directory == NULL)
        abort();
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (count == FILES_MAX)
            abort();
        snprintf(names[count].name, sizeof names[count].name, "%s",
                 entry->d_name);
        names[count++].inode = entry->d_ino;
    }
    closedir(directory);
    return count;
}

static void disk_sync_file(int fd, const struct stat *status)
{
    struct disk_file *file = disk_file(status->st_ino);

    if (file == NULL) {
        if (disk.files_count == FILES_MAX)
            abort();
        file = &disk.files[disk.files_count++];
        *file = (struct disk_file){status->st_ino, dup(fd), 0, NULL};
    }
    file->size = (uint64_t)status->st_size;
    free(file->content);
    file->content = malloc(file->size + 1);
    if (pread(fd, file->content, file->size, 0) < 0) {
        /* opened for writing only: bytes set aside, which nobody loses */
    }
}

int fsync(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return -1;
    if (S_ISDIR(status.st_mode))
        disk.names_count = names_now(fd, disk.names);
    else
        disk_sync_file(fd, &status);
    return 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

/* ---- the power cut ------------------------------------------------------ */

/* Loses bytes behind `safe`: by sectors, and at the end. */
static void lose_bytes(struct rng *rng, const struct logs *logs,
                       const char *name, uint64_t safe)
{
    static const uint8_t zeroes[SECTOR];
    uint64_t size = logs_size(logs, name);
    unsigned percent = (unsigned)rng_below(rng, 3) * 20;

    if (size <= safe)
        return;
    for (uint64_t at = safe; at < size;) {
        uint64_t next = (at / SECTOR + 1) * SECTOR;

        next = next > size ? size : next;
        if (rng_chance(rng, percent))
            logs_poke(logs, name, at, zeroes, next - at);
        at = next;
    }
    if (rng_chance(rng, 50))
        logs_truncate(logs, name, rng_between(rng, safe, size));
}

/* A name that was deleted, or a file that was shortened, since the sync. */
static void bring_back(const struct logs *logs, const char *name,
                       const struct disk_file *file)
{
    int fd = openat(logs->log_fd, name, O_CREAT | O_WRONLY, 0600);

    close(fd);
    if (file != NULL)
        logs_poke(logs, name, 0, file->content, file->size);
}

/* After a power cut the files are what is on the disk. */
static void disk_is(const struct logs *logs)
{
    disk.names_count = names_now(logs->log_fd, disk.names);
    for (size_t i = 0; i < disk.names_count; i++) {
        int fd = openat(logs->log_fd, disk.names[i].name, O_RDONLY);

        fdatasync(fd);
        close(fd);
    }
}

static void power_cut(struct rng *rng, const struct logs *logs)
{
    static struct disk_name names[FILES_MAX];
    size_t count = names_now(logs->log_fd, names);

    for (size_t i = 0; i < count; i++) {
        const struct disk_file *file = disk_file(names[i].inode);

        if (disk_name(names[i].name) == NULL && rng_chance(rng, 50))
            unlinkat(logs->log_fd, names[i].name, 0);
        else if (file != NULL && file->size > logs_size(logs, names[i].name) &&
                 rng_chance(rng, 50))
            bring_back(logs, names[i].name, file);
        else
            lose_bytes(rng, logs, names[i].name, file == NULL ? 0 : file->size);
    }
    for (size_t i = 0; i < disk.names_count; i++)
        if (faccessat(logs->log_fd, disk.names[i].name, F_OK, 0) != 0 &&
            rng_chance(rng, 50))
            bring_back(logs, disk.names[i].name,
                       disk_file(disk.names[i].inode));
    disk_clear();
    disk_is(logs);
}

/* ---- the story ---------------------------------------------------------- */

struct story {
    struct rng rng;
    struct logs logs;
    txid_t last;
};

static void appends(struct story *story)
{
    uint64_t count = rng_between(&story->rng, 1, 40);

    for (uint64_t i = 0; i < count; i++)
        EXPECT_OK(logs_append(&story->logs, ++story->last, 0,
                              (uint32_t)rng_below(&story->rng, 8)));
}

static void append_parts(struct story *story)
{
    uint32_t parts = (uint32_t)rng_between(&story->rng, 2, 30);
    uint32_t there = rng_chance(&story->rng, 50)
                         ? parts
                         : (uint32_t)rng_between(&story->rng, 1, parts - 1);

    for (uint32_t part = 1; part <= there; part++)
        EXPECT_OK(
            logs_append_part(&story->logs, story->last + 1, part, parts, 5));
    if (there == parts)
        story->last++;
}

static void sync_now(struct story *story)
{
    EXPECT_OK(log_sync(story->logs.log));
    EXPECT_EQ(log_durable_txid(story->logs.log), story->last);
}

static void cut(struct story *story)
{
    txid_t first = log_first_txid(story->logs.log);
    txid_t to;

    if (first == 0)
        return;
    to = rng_between(&story->rng, first, story->last);
    EXPECT_OK(log_cut(story->logs.log, to));
    story->last = to;
}

static void step(struct story *story)
{
    switch (rng_below(&story->rng, 10)) {
    case 0:
    case 1:
        append_parts(story);
        break;
    case 2:
    case 3:
        sync_now(story);
        break;
    case 4:
        (void)log_trim(story->logs.log, 500000, 0,
                       log_durable_txid(story->logs.log));
        break;
    case 5:
        if (rng_chance(&story->rng, 30))
            cut(story);
        break;
    default:
        appends(story);
    }
}

static void cut_the_power(struct story *story)
{
    txid_t durable = log_durable_txid(story->logs.log);

    logs_close(&story->logs);
    power_cut(&story->rng, &story->logs);
    EXPECT_OK(logs_open(&story->logs));
    EXPECT_LE(durable, log_last_txid(story->logs.log));
    EXPECT_LE(log_last_txid(story->logs.log), story->last);
    EXPECT_GE(logs_count(&story->logs), 0);
    story->last = log_last_txid(story->logs.log);
    sync_now(story);
}

TEST(what_was_durable_is_there_after_any_power_cut)
{
    struct story story = {.rng = test_rng()};

    setenv("TIDEMARK_IO", "pwrite", 1); /* a ring would go past our fsync */
    for (int round = 0; round < 25; round++) {
        logs_make(&story.logs);
        EXPECT_OK(logs_open(&story.logs));
        story.last = 0;
        for (int life = 0; life < 4; life++) {
            for (int i = 0; i < 12; i++)
                step(&story);
            cut_the_power(&story);
        }
        logs_remove(&story.logs);
        disk_clear();
    }
}

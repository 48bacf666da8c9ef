/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/logs.c - see logs.h. */
#include "tests/support/logs.h"

#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define NAMES_MAX 1024

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

void logs_make(struct logs *logs)
{
    *logs = (struct logs){.lineage = {{7, 7, 7}}, .log_fd = -1};
    snprintf(logs->folder, sizeof logs->folder, "/tmp/tidemark-log-XXXXXX");
    must(mkdtemp(logs->folder) != NULL, "mkdtemp");
    logs->folder_fd = open(logs->folder, O_RDONLY | O_DIRECTORY);
    must(logs->folder_fd >= 0, "folder");
}

int logs_open(struct logs *logs)
{
    int rc;

    logs_close(logs);
    rc = log_open(&logs->log, logs->folder_fd, "log", &logs->lineage,
                  &logs->found);
    if (logs->log_fd < 0)
        logs->log_fd = openat(logs->folder_fd, "log", O_RDONLY | O_DIRECTORY);
    return rc;
}

void logs_close(struct logs *logs)
{
    log_close(logs->log);
    logs->log = NULL;
}

/* ---- files -------------------------------------------------------------- */

struct names {
    char *name[NAMES_MAX];
    size_t count;
};

static int compare_names(const void *a, const void *b)
{
    char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

static bool ends_in(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);

    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

static void names_list(const struct logs *logs, const char *ending,
                       struct names *names)
{
    int fd = openat(logs->log_fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *directory = fdopendir(fd);
    struct dirent *entry;

    must(directory != NULL, "log directory");
    names->count = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || !ends_in(entry->d_name, ending))
            continue;
        must(names->count < NAMES_MAX, "too many files");
        names->name[names->count++] = strdup(entry->d_name);
    }
    closedir(directory);
    qsort(names->name, names->count, sizeof(char *), compare_names);
}

static void names_free(struct names *names)
{
    while (names->count > 0)
        free(names->name[--names->count]);
}

void logs_remove(struct logs *logs)
{
    struct names names;

    logs_close(logs);
    if (logs->log_fd >= 0) {
        names_list(logs, "", &names);
        for (size_t i = 0; i < names.count; i++)
            unlinkat(logs->log_fd, names.name[i], 0);
        names_free(&names);
        close(logs->log_fd);
        unlinkat(logs->folder_fd, "log", AT_REMOVEDIR);
    }
    close(logs->folder_fd);
    must(rmdir(logs->folder) == 0, logs->folder);
}

const char *logs_file(const struct logs *logs, const char *ending, size_t k)
{
    static char name[256];
    struct names names;

    names_list(logs, ending, &names);
    snprintf(name, sizeof name, "%s", k < names.count ? names.name[k] : "");
    names_free(&names);
    return name;
}

size_t logs_files(const struct logs *logs, const char *ending)
{
    struct names names;
    size_t count;

    names_list(logs, ending, &names);
    count = names.count;
    names_free(&names);
    return count;
}

static int file_open(const struct logs *logs, const char *name)
{
    int fd = openat(logs->log_fd, name, O_RDWR);

    must(fd >= 0, name);
    return fd;
}

uint64_t logs_size(const struct logs *logs, const char *name)
{
    struct stat status;

    must(fstatat(logs->log_fd, name, &status, 0) == 0, name);
    return (uint64_t)status.st_size;
}

void logs_truncate(const struct logs *logs, const char *name, uint64_t size)
{
    int fd = file_open(logs, name);

    must(ftruncate(fd, (off_t)size) == 0, name);
    close(fd);
}

void logs_poke(const struct logs *logs, const char *name, uint64_t offset,
               const void *bytes, size_t size)
{
    int fd = file_open(logs, name);

    must(pwrite(fd, bytes, size, (off_t)offset) == (ssize_t)size, name);
    close(fd);
}

size_t logs_peek(const struct logs *logs, const char *name, uint64_t offset,
                 void *ret_bytes, size_t size)
{
    int fd = file_open(logs, name);
    ssize_t n = pread(fd, ret_bytes, size, (off_t)offset);

    must(n >= 0, name);
    close(fd);
    return (size_t)n;
}

void logs_flip(const struct logs *logs, const char *name, uint64_t offset)
{
    uint8_t byte;

    must(logs_peek(logs, name, offset, &byte, 1) == 1, name);
    byte ^= 0x10;
    logs_poke(logs, name, offset, &byte, 1);
}

uint64_t logs_fingerprint(const struct logs *logs)
{
    struct names names;
    uint64_t hash = 0;

    names_list(logs, "", &names);
    for (size_t i = 0; i < names.count; i++) {
        size_t size = logs_size(logs, names.name[i]);
        uint8_t *bytes = malloc(size + 1);

        must(bytes != NULL, "memory");
        logs_peek(logs, names.name[i], 0, bytes, size);
        hash = XXH3_64bits_withSeed(names.name[i], strlen(names.name[i]), hash);
        hash = XXH3_64bits_withSeed(bytes, size, hash);
        free(bytes);
    }
    names_free(&names);
    return hash;
}

/* ---- records ------------------------------------------------------------ */

struct record_header logs_header(const struct logs *logs, txid_t first,
                                 txid_t last, uint32_t flags)
{
    return (struct record_header){
        .flags = flags,
        .lineage = logs->lineage,
        .epoch = 3,
        .first_txid = first,
        .last_txid = last,
        .previous = {.epoch = 3, .txid = first - 1, .sum = 5},
        .sum_after = 5,
        .page_bytes = LOGS_PAGE_BYTES,
        .size_pages = 1000,
        .part = 1,
        .parts = 1,
    };
}

static void noise_fill(uint8_t *page, uint64_t seed)
{
    for (size_t at = 0; at < LOGS_PAGE_BYTES; at += 8) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        put_le64(page + at, z ^ (z >> 31));
    }
}

struct blob *logs_blob(struct record_header *header, uint32_t pages)
{
    uint8_t *memory = calloc(pages + 1, LOGS_PAGE_BYTES);
    const uint8_t **images = calloc(pages + 1, sizeof *images);
    pgno_t *pgnos = calloc(pages + 1, sizeof *pgnos);
    struct blob *blob = NULL;

    must(memory != NULL && images != NULL && pgnos != NULL, "memory");
    for (uint32_t i = 0; i < pages; i++) {
        uint8_t *page = memory + (size_t)i * LOGS_PAGE_BYTES;

        pgnos[i] = i + 1;
        noise_fill(page, header->last_txid * 100000 + header->part * 1000 + i);
        images[i] = page;
    }
    if (header->size_pages < pages)
        header->size_pages = pages;
    must(record_encode(header, pgnos, images, pages, &blob) == 0, "encode");
    free(memory);
    free(images);
    free(pgnos);
    return blob;
}

static int append_blob(struct logs *logs, struct record_header *header,
                       uint32_t pages)
{
    struct blob *blob = logs_blob(header, pages);
    int rc = log_append(logs->log, header, blob);

    blob_unref(blob);
    return rc;
}

int logs_append(struct logs *logs, txid_t txid, uint32_t flags, uint32_t pages)
{
    struct record_header header = logs_header(logs, txid, txid, flags);

    return append_blob(logs, &header, pages);
}

int logs_append_range(struct logs *logs, txid_t first, txid_t last,
                      uint32_t pages)
{
    struct record_header header = logs_header(logs, first, last, 0);

    return append_blob(logs, &header, pages);
}

int logs_append_part(struct logs *logs, txid_t txid, uint32_t part,
                     uint32_t parts, uint32_t pages)
{
    struct record_header header = logs_header(logs, txid, txid, 0);

    header.part = part;
    header.parts = parts;
    return append_blob(logs, &header, pages);
}

int logs_read(struct logs *logs, struct log_cursor *cursor, txid_t *ret_txid)
{
    struct record_header header, wanted;
    struct blob *blob, *same;
    int rc = log_read(logs->log, cursor, &header, &blob);

    if (rc < 0)
        return rc;
    wanted = header;
    same = logs_blob(&wanted, header.pages);
    must(same->size == blob->size &&
             memcmp(same->data, blob->data, blob->size) == 0,
         "another record than was appended");
    blob_unref(blob);
    blob_unref(same);
    *ret_txid = header.last_txid;
    return 0;
}

int logs_count(struct logs *logs)
{
    struct log_cursor cursor;
    txid_t txid, before = 0;
    int rc = log_seek(logs->log, log_first_txid(logs->log), &cursor);
    int count = 0;

    while (rc == 0) {
        rc = logs_read(logs, &cursor, &txid);
        if (rc == 0) {
            must(txid >= before, "TXIDs fall");
            before = txid;
            count++;
        }
    }
    return rc == -ENOENT ? count : rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_log.c - opening a log whose one segment holds any bytes.
 *
 * Hashes would stop nearly every input, so the first byte may ask that those
 * of the segment's header (bit 0) and of the first records (bit 1) are made
 * right before. Whatever the bytes were: opening refuses them untouched or
 * leaves a log that reads to its end, takes an append, and opens again with
 * nothing more to cut.
 */
#include "wal/log.h"
#include "wal/segment.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define NAME "0000000000000001-00000001.seg"
#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct lineage lineage = {{7, 7, 7}};
static int folder = -1;
static char folder_path[] = "/tmp/tidemark-fuzz-XXXXXX";

static void folder_remove(void)
{
    rmdir(folder_path);
}

static void folder_make(void)
{
    if (folder >= 0)
        return;
    if (mkdtemp(folder_path) == NULL)
        abort();
    folder = open(folder_path, O_RDONLY | O_DIRECTORY);
    atexit(folder_remove);
}

static void folder_empty(void)
{
    int fd = openat(folder, "log", O_RDONLY | O_DIRECTORY);
    DIR *directory = fdopendir(fd);
    struct dirent *entry;

    ASSERT(directory != NULL);
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(fd, entry->d_name, 0);
    closedir(directory);
    unlinkat(folder, "log", AT_REMOVEDIR);
}

static void write_segment(const uint8_t *bytes, size_t size)
{
    int fd;

    mkdirat(folder, "log", 0700);
    fd = openat(folder, "log/" NAME, O_CREAT | O_WRONLY, 0600);
    ASSERT(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static off_t segment_size(void)
{
    struct stat status;

    return fstatat(folder, "log/" NAME, &status, 0) == 0 ? status.st_size : -1;
}

/* Right hashes for what would be records if they had them. */
static void mend_records(uint8_t *bytes, size_t size)
{
    size_t at = SEGMENT_HEADER_BYTES;

    while (size > at && size - at >= RECORD_MIN_BYTES) {
        uint64_t stored = get_le64(bytes + at + 144);
        uint64_t rest = 4ull * get_le32(bytes + at + 104) + stored;
        uint64_t hash = XXH3_64bits(bytes + at, 248);

        if (stored > size || rest > size - at - RECORD_MIN_BYTES)
            return;
        put_le64(bytes + at + 248, hash);
        put_le64(bytes + at + 256 + rest,
                 XXH3_64bits_withSeed(bytes + at + 256, rest, hash));
        at += RECORD_MIN_BYTES + rest;
    }
}

static void append_one(struct log *log, txid_t txid)
{
    struct record_header header = {
        .lineage = lineage,
        .epoch = UINT64_MAX,
        .first_txid = txid,
        .last_txid = txid,
        .previous = {.txid = txid - 1},
        .part = 1,
        .parts = 1,
    };
    struct blob *blob = NULL;
    int rc = record_encode(&header, NULL, NULL, 0, &blob);

    ASSERT(rc == 0);
    rc = log_append(log, &header, blob);
    ASSERT(rc == 0);
    blob_unref(blob);
}

static unsigned read_all(struct log *log)
{
    struct log_cursor cursor;
    struct record_header header;
    struct blob *blob;
    unsigned count = 0;
    int rc = log_seek(log, log_first_txid(log), &cursor);

    while (rc == 0) {
        rc = log_read(log, &cursor, &header, &blob);
        if (rc < 0)
            break;
        blob_unref(blob);
        count++;
    }
    ASSERT(rc == -ENOENT);
    return count;
}

static void use(struct log *log, const struct log_found *found)
{
    txid_t last = found->last.parts != 0 ? found->last.last_txid : 0;
    struct log_found again;
    unsigned count = read_all(log);
    int rc;

    ASSERT(last == log_last_txid(log) && found->bytes == log_bytes(log));
    if (found->prepared.parts != 0)
        last = found->prepared.last_txid - 1;
    if (last < UINT64_MAX - 1) {
        append_one(log, last + 1);
        count++;
    }
    ASSERT(read_all(log) == count);
    log_close(log);
    rc = log_open(&log, folder, "log", &lineage, &again);
    ASSERT(rc == 0 && again.cut_bytes == 0 && read_all(log) == count);
    log_close(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_found found;
    struct log *log;
    uint8_t *bytes;
    int rc;

    if (size < 1 || size > INPUT_MAX)
        return 0;
    folder_make();
    bytes = malloc(size);
    ASSERT(bytes != NULL);
    memcpy(bytes, data + 1, --size);
    if ((data[0] & 1) != 0 && size >= SEGMENT_HEADER_BYTES)
        put_le64(bytes + 56, XXH3_64bits(bytes, 56));
    if ((data[0] & 2) != 0)
        mend_records(bytes, size);
    write_segment(bytes, size);
    rc = log_open(&log, folder, "log", &lineage, &found);
    if (rc == 0)
        use(log, &found);
    else
        ASSERT((rc == -EBADMSG || rc == -EPROTONOSUPPORT) &&
               segment_size() == (off_t)size);
    folder_empty();
    free(bytes);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* wal/meta.c - see meta.h. */
#include "wal/meta.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <xxhash.h>

#define FIXED_BYTES 102u
#define MAGIC "TMKMETA1"
#define META_MAX_BYTES                                                         \
    (FIXED_BYTES + DATABASE_NAME_MAX + 8u + 4u +                               \
     HISTORY_MAX * HISTORY_ENTRY_BYTES)

static void path_make(char *path, size_t size, const char *directory)
{
    snprintf(path, size, "%s/meta", directory);
}

static void fixed_encode(const struct meta *meta, uint8_t *at, size_t name)
{
    memcpy(at, MAGIC, 8);
    memcpy(at + 8, meta->lineage.bytes, LINEAGE_BYTES);
    put_le32(at + 24, meta->flags);
    put_le32(at + 28, meta->mode);
    put_le32(at + 32, meta->uid);
    put_le32(at + 36, meta->gid);
    put_le64(at + 40, meta->base_txid);
    put_le64(at + 48, meta->clean_position.epoch);
    put_le64(at + 56, meta->clean_position.txid);
    put_le64(at + 64, meta->clean_position.sum);
    put_le64(at + 72, meta->clean.inode);
    put_le64(at + 80, meta->clean.size_bytes);
    put_le64(at + 88, meta->clean.mtime_ns);
    put_le32(at + 96, meta->clean.change_counter);
    put_le16(at + 100, (uint16_t)name);
}

int meta_save(const struct meta *meta, int dirfd, const char *directory)
{
    size_t name = strlen(meta->name), used = FIXED_BYTES + name;
    size_t history = history_encoded_bytes(&meta->history);
    char path[64 + LINEAGE_TEXT_BYTES];
    uint8_t *bytes;
    int rc;

    ASSERT(name <= DATABASE_NAME_MAX);
    rc = os_alloc(&bytes, used + history + 8, SITE_META_SAVE);
    if (rc < 0)
        return rc;
    fixed_encode(meta, bytes, name);
    memcpy(bytes + FIXED_BYTES, meta->name, name);
    history_encode(&meta->history, bytes + used);
    used += history;
    put_le64(bytes + used, XXH3_64bits(bytes, used));
    path_make(path, sizeof path, directory);
    rc = os_replace(dirfd, path, bytes, used + 8, SITE_META_SAVE);
    os_free(&bytes);
    return rc;
}

static void fixed_decode(struct meta *meta, const uint8_t *at)
{
    memcpy(meta->lineage.bytes, at + 8, LINEAGE_BYTES);
    meta->flags = get_le32(at + 24);
    meta->mode = get_le32(at + 28);
    meta->uid = get_le32(at + 32);
    meta->gid = get_le32(at + 36);
    meta->base_txid = get_le64(at + 40);
    meta->clean_position = (struct position){
        get_le64(at + 48), get_le64(at + 56), get_le64(at + 64)};
    meta->clean = (struct meta_fingerprint){
        get_le64(at + 72), get_le64(at + 80), get_le64(at + 88),
        get_le32(at + 96)};
}

static int meta_decode(struct meta *meta, const uint8_t *bytes, size_t size)
{
    size_t name, used;
    int rc;

    if (size < FIXED_BYTES + 8 || memcmp(bytes, MAGIC, 8) != 0 ||
        get_le64(bytes + size - 8) != XXH3_64bits(bytes, size - 8))
        return -EBADMSG;
    name = get_le16(bytes + 100);
    if (name > DATABASE_NAME_MAX || FIXED_BYTES + name + 8 > size)
        return -EBADMSG;
    fixed_decode(meta, bytes);
    memcpy(meta->name, bytes + FIXED_BYTES, name);
    rc = history_decode(&meta->history, bytes + FIXED_BYTES + name,
                        size - 8 - FIXED_BYTES - name, &used);
    return rc == 0 && used + FIXED_BYTES + name + 8 != size ? -EBADMSG : rc;
}

int meta_load(struct meta *ret_meta, int dirfd, const char *directory)
{
    char path[64 + LINEAGE_TEXT_BYTES];
    struct os_file file = {0};
    uint8_t *bytes = NULL;
    ssize_t n;
    int rc;

    *ret_meta = (struct meta){0};
    path_make(path, sizeof path, directory);
    rc = os_open(&file, dirfd, path, O_RDONLY, 0, SITE_META_LOAD);
    if (rc == 0)
        rc = os_alloc(&bytes, META_MAX_BYTES + 1, SITE_META_LOAD);
    if (rc == 0) {
        n = os_pread(&file, bytes, META_MAX_BYTES + 1, 0, SITE_META_LOAD);
        rc = n < 0 ? (int)n : meta_decode(ret_meta, bytes, (size_t)n);
    }
    os_free(&bytes);
    os_close(&file);
    if (rc < 0)
        meta_free(ret_meta);
    return rc;
}

void meta_free(struct meta *meta)
{
    history_free(&meta->history);
    *meta = (struct meta){0};
}

int meta_fingerprint_of(const struct os_file *file,
                        struct meta_fingerprint *ret_fingerprint)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header = {0};
    struct stat status;
    ssize_t n = os_pread(file, bytes, sizeof bytes, 0, SITE_META_FINGERPRINT);

    if (n >= 0 && fstat(file->fd, &status) != 0)
        n = site_fail(SITE_META_FINGERPRINT, NULL, errno);
    if (n < 0)
        return (int)n;
    (void)page_header_decode(bytes, (size_t)n, &header); /* empty file: 0 */
    *ret_fingerprint = (struct meta_fingerprint){
        .inode = status.st_ino,
        .size_bytes = (uint64_t)status.st_size,
        .mtime_ns = (uint64_t)status.st_mtim.tv_sec * NS_PER_S +
                    (uint64_t)status.st_mtim.tv_nsec,
        .change_counter = header.change_counter,
    };
    return 0;
}

int meta_take_fingerprint(int dirfd, const char *path,
                          struct meta_fingerprint *ret_fingerprint)
{
    struct os_file file = {0};
    int rc = os_open(&file, dirfd, path, O_RDONLY, 0, SITE_META_FINGERPRINT);

    if (rc == 0)
        rc = meta_fingerprint_of(&file, ret_fingerprint);
    os_close(&file);
    return rc;
}

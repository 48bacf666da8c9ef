/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/watch.c - see watch.h. */
#include "tests/support/watch.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

int watch_characteristics;
int watch_sector_bytes;

static struct watch watches[WATCHES_MAX];
static size_t watches_count;

/* ---- what a transaction did ------------------------------------------- */

/* Zeros follow: a file that nobody cut after a VACUUM to larger pages can end
 * inside one. */
static uint8_t *file_load(const char *path, size_t *ret_size)
{
    struct os_file file = {0};
    uint64_t size = 0;
    uint8_t *bytes;

    if (os_open(&file, AT_FDCWD, path, O_RDONLY, 0, SITE_NONE) == 0)
        ASSERT(os_size(&file, &size, SITE_NONE) == 0);
    bytes = calloc(size + PAGE_MAX_BYTES, 1);
    ASSERT(bytes != NULL);
    if (size > 0)
        ASSERT(os_pread_full(&file, bytes, size, 0, SITE_NONE) == 0);
    os_close(&file);
    *ret_size = size;
    return bytes;
}

static bool set_has(const struct journal_changes *changes, pgno_t pgno)
{
    size_t low = 0, high = changes->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (changes->pages[middle] == pgno)
            return true;
        if (changes->pages[middle] < pgno)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void set_check_order(const struct journal_changes *changes,
                            uint32_t new_pages)
{
    for (size_t i = 0; i < changes->count; i++) {
        ASSERT(changes->pages[i] > 0 && changes->pages[i] <= new_pages);
        ASSERT(i == 0 || changes->pages[i] > changes->pages[i - 1]);
    }
}

/* Marks the leaves of the free list in an image, written independently of the
 * reader under test. */
static bool *leaves_of(const uint8_t *image, size_t bytes, uint32_t page_bytes)
{
    size_t pages = bytes / page_bytes;
    bool *leaf = calloc(pages + 1, 1);
    pgno_t trunk = pages > 0 ? get_be32(image + 32) : 0;

    ASSERT(leaf != NULL);
    while (trunk != 0) {
        const uint8_t *page = image + (size_t)(trunk - 1) * page_bytes;

        for (uint32_t i = 0; i < get_be32(page + 4); i++)
            leaf[get_be32(page + 8 + (size_t)i * 4)] = true;
        trunk = get_be32(page);
    }
    return leaf;
}

/* Page pgno of both images differs; where an image ends, pages are 0. */
static bool page_differs(const struct watch *watch, const uint8_t *now,
                         size_t now_bytes, pgno_t pgno, uint32_t page_bytes)
{
    static const uint8_t zero[PAGE_MAX_BYTES];
    size_t at = (size_t)(pgno - 1) * page_bytes;

    if (at >= watch->before_bytes)
        return true;
    return memcmp(watch->before + at, at < now_bytes ? now + at : zero,
                  page_bytes) != 0;
}

static void compare(struct watch *watch, const struct journal_changes *changes,
                    const uint8_t *now, size_t now_bytes, uint32_t new_pages)
{
    uint32_t page_bytes = changes->page_bytes;
    bool *leaf = leaves_of(watch->before, watch->before_bytes, page_bytes);

    for (pgno_t pgno = 1; pgno <= new_pages; pgno++) {
        bool was_leaf = pgno <= watch->before_bytes / page_bytes && leaf[pgno];

        if (!page_differs(watch, now, now_bytes, pgno, page_bytes))
            continue;
        watch->changed++;
        watch->leaves += was_leaf;
        if (set_has(changes, pgno) && !(watch->canary && was_leaf))
            continue;
        watch->missed++;
        if (!watch->canary)
            fprintf(stderr,
                    "missed page %u of %u, before %zu, in the set %zu\n", pgno,
                    new_pages, watch->before_bytes / page_bytes,
                    changes->count);
    }
    free(leaf);
}

/* The size in pages that an image's own header names. */
static uint32_t size_now(const uint8_t *image, size_t bytes)
{
    struct page_header header;

    if (page_header_decode(image, bytes, &header) < 0)
        return 0;
    return header.size_pages != 0 ? header.size_pages
                                  : (uint32_t)(bytes / header.page_bytes);
}

/* An image is empty before the first commit, and after its rollback. */
static bool page_size_is_kept(const struct watch *watch, const uint8_t *now,
                              size_t now_bytes)
{
    return now_bytes == 0 || watch->before_bytes == 0 ||
           memcmp(now + 16, watch->before + 16, 2) == 0;
}

static void verdict(struct watch *watch, int rc,
                    const struct journal_changes *changes)
{
    size_t bytes;
    uint8_t *now = file_load(watch->path, &bytes);
    uint32_t new_pages = size_now(now, bytes);

    if (rc == -ENOENT) { /* promises that nothing was written */
        ASSERT(bytes == watch->before_bytes);
        ASSERT(memcmp(now, watch->before, bytes) == 0);
    } else if (rc == -EBADMSG) {
        ASSERT(!page_size_is_kept(watch, now, bytes));
        watch->refused++;
    } else {
        ASSERT(rc == 0);
        ASSERT(page_size_is_kept(watch, now, bytes));
        set_check_order(changes, new_pages);
        compare(watch, changes, now, bytes, new_pages);
        watch->set_pages = changes->count;
        memcpy(watch->super_name, changes->super_name,
               sizeof watch->super_name);
    }
    free(now);
}

static void check(struct watch *watch)
{
    struct os_file journal = {0}, database = {0};
    struct journal_changes changes;
    char path[300];
    size_t bytes;
    uint8_t *now;
    int rc;

    snprintf(path, sizeof path, "%s-journal", watch->path);
    if (watch->ended ||
        os_open(&journal, AT_FDCWD, path, O_RDONLY, 0, SITE_NONE) < 0)
        return;
    ASSERT(os_open(&database, AT_FDCWD, watch->path, O_RDONLY, 0, SITE_NONE) ==
           0);
    now = file_load(watch->path, &bytes);
    rc = journal_read(&journal, &database, size_now(now, bytes), 1u << 20,
                      &changes);
    free(now);
    watch->checks++;
    verdict(watch, rc, &changes);
    journal_changes_free(&changes);
    os_close(&database);
    os_close(&journal);
}

/* ---- the VFS ---------------------------------------------------------- */

struct watched_file {
    sqlite3_file base;
    struct watch *watch; /* NULL: not a file we look at */
    bool journal;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct watched_file *)(void *)file)->real;
}

static void journal_on_end(struct watch *watch)
{
    check(watch);
    watch->ended = true;
}

static int on_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *bytes, int size,
                   sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), bytes, size, offset);
}

static int on_write(sqlite3_file *file, const void *bytes, int size,
                    sqlite3_int64 offset)
{
    static const uint8_t zero[28];
    struct watched_file *watched = (void *)file;

    if (watched->watch != NULL && watched->journal && offset == 0 &&
        size == sizeof zero && memcmp(bytes, zero, sizeof zero) == 0)
        journal_on_end(watched->watch);
    return real_of(file)->pMethods->xWrite(real_of(file), bytes, size, offset);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct watched_file *watched = (void *)file;

    if (watched->watch != NULL && watched->journal && size == 0)
        journal_on_end(watched->watch);
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct watched_file *watched = (void *)file;

    (void)flags;
    if (watched->watch != NULL && !watched->journal)
        check(watched->watch);
    return SQLITE_OK;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), ret_size);
}

static int on_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int on_reserved(sqlite3_file *file, int *ret_reserved)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file),
                                                       ret_reserved);
}

static int on_control(sqlite3_file *file, int op, void *argument)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, argument);
}

static int on_sector(sqlite3_file *file)
{
    (void)file;
    return watch_sector_bytes;
}

static int on_characteristics(sqlite3_file *file)
{
    (void)file;
    return watch_characteristics;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_characteristics,
};

/* The watch of a database or of its journal. */
static struct watch *watch_of(const char *name, bool journal)
{
    size_t length = name == NULL ? 0 : strlen(name);

    if (journal)
        length -= strlen("-journal");
    for (size_t i = 0; i < watches_count; i++)
        if (strlen(watches[i].path) == length &&
            strncmp(watches[i].path, name, length) == 0)
            return &watches[i];
    return NULL;
}

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
                   int flags, int *ret_flags)
{
    struct watched_file *watched = (void *)file;
    int rc;

    watched->real = (void *)(watched + 1);
    watched->journal = (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0;
    watched->watch = NULL;
    if (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL))
        watched->watch = watch_of(name, watched->journal);
    rc = real_vfs(vfs)->xOpen(real_vfs(vfs), name, watched->real, flags,
                              ret_flags);
    file->pMethods = watched->real->pMethods == NULL ? NULL : &methods;
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    size_t length = strlen(name);
    struct watch *watch = NULL;

    if (length > 8 && strcmp(name + length - 8, "-journal") == 0)
        watch = watch_of(name, true);
    if (watch != NULL)
        journal_on_end(watch);
    return real_vfs(vfs)->xDelete(real_vfs(vfs), name, sync_dir);
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags,
                     int *ret_yes)
{
    return real_vfs(vfs)->xAccess(real_vfs(vfs), name, flags, ret_yes);
}

static int on_full_path(sqlite3_vfs *vfs, const char *name, int size,
                        char *ret_path)
{
    return real_vfs(vfs)->xFullPathname(real_vfs(vfs), name, size, ret_path);
}

void watch_start(void)
{
    static sqlite3_vfs vfs;
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);

    if (vfs.zName == NULL) {
        vfs = *real; /* what is not replaced never looks at its files */
        vfs.iVersion = 1;
        vfs.zName = WATCH_VFS;
        vfs.pNext = NULL;
        vfs.pAppData = real;
        vfs.szOsFile = (int)sizeof(struct watched_file) + real->szOsFile;
        vfs.xOpen = on_open;
        vfs.xDelete = on_delete;
        vfs.xAccess = on_access;
        vfs.xFullPathname = on_full_path;
        ASSERT(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
    }
    for (size_t i = 0; i < watches_count; i++)
        free(watches[i].before);
    memset(watches, 0, sizeof watches);
    watches_count = 0;
    watch_characteristics = SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    watch_sector_bytes = 512;
}

struct watch *watch_add(const char *path)
{
    struct watch *watch = &watches[watches_count++];

    ASSERT(watches_count <= WATCHES_MAX);
    snprintf(watch->path, sizeof watch->path, "%s", path);
    watch_begin(watch);
    return watch;
}

void watch_begin(struct watch *watch)
{
    free(watch->before);
    watch->before = file_load(watch->path, &watch->before_bytes);
    watch->ended = false;
}

void watch_begin_as(struct watch *watch, const struct watch *other)
{
    free(watch->before);
    watch->before = malloc(other->before_bytes + 1);
    ASSERT(watch->before != NULL);
    watch->before_bytes = other->before_bytes;
    memcpy(watch->before, other->before, other->before_bytes);
    watch->ended = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_journal.c - any bytes as journal beside any database.
 *
 *   offset  size  input
 *        0     1  bit 0: make the checksums of the first segment's records
 *                 right, or few inputs would come past them
 *        1     2  pages the database has now, little-endian
 *        3     2  d, little-endian
 *        5     d  database, shorter if the input ends
 *        -     -  journal
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "wal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define INPUT_MIN_BYTES 5u
#define PAGES_MAX 5000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Rewrites a file in memory, made at the first call. */
static void file_fill(struct os_file *file, const uint8_t *bytes, size_t size)
{
    if (!file->open)
        *file = (struct os_file){memfd_create("fuzz", MFD_CLOEXEC), true};
    ASSERT(os_ftruncate(file, 0, SITE_NONE) == 0);
    ASSERT(os_pwrite(file, bytes, size, 0, SITE_NONE) == 0);
}

static void record_repair(uint8_t *record, uint32_t nonce, uint32_t page_bytes)
{
    uint32_t sum = nonce;

    for (uint32_t i = page_bytes; i > 200; i -= 200)
        sum += record[4 + i - 200];
    put_be32(record + 4 + page_bytes, sum);
}

static void journal_repair(uint8_t *bytes, size_t size)
{
    uint32_t page_bytes, sector_bytes;
    size_t at;

    if (size < 28)
        return;
    sector_bytes = get_be32(bytes + 20);
    page_bytes = get_be32(bytes + 24);
    if (!page_size_is_valid(page_bytes))
        return;
    for (at = sector_bytes; at + page_bytes + 8 <= size; at += page_bytes + 8)
        record_repair(bytes + at, get_be32(bytes + 12), page_bytes);
}

static void changes_check(const struct journal_changes *changes,
                          uint32_t new_pages)
{
    const pgno_t *pages = changes->pages;

    ASSERT(page_size_is_valid(changes->page_bytes));
    ASSERT(changes->count <= PAGES_MAX);
    for (size_t i = 0; i < changes->count; i++) {
        ASSERT(pages[i] > 0 && pages[i] <= new_pages);
        ASSERT(pages[i] != page_lock_byte(changes->page_bytes));
        ASSERT(i == 0 || pages[i] > pages[i - 1]);
    }
    ASSERT(memchr(changes->super_name, 0, JOURNAL_NAME_BYTES) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct os_file journal, database;
    struct journal_changes changes;
    uint32_t new_pages;
    size_t database_bytes, journal_bytes;
    uint8_t *copy;
    int rc;

    if (size < INPUT_MIN_BYTES)
        return 0;
    new_pages = get_le16(data + 1);
    database_bytes = get_le16(data + 3);
    if (database_bytes > size - INPUT_MIN_BYTES)
        database_bytes = size - INPUT_MIN_BYTES;
    journal_bytes = size - INPUT_MIN_BYTES - database_bytes;
    copy = malloc(journal_bytes + 1);
    ASSERT(copy != NULL);
    memcpy(copy, data + INPUT_MIN_BYTES + database_bytes, journal_bytes);
    if (data[0] & 1)
        journal_repair(copy, journal_bytes);
    file_fill(&journal, copy, journal_bytes);
    file_fill(&database, data + INPUT_MIN_BYTES, database_bytes);
    free(copy);
    rc = journal_read(&journal, &database, new_pages, PAGES_MAX, &changes);
    if (rc == 0)
        changes_check(&changes, new_pages);
    else
        ASSERT(rc == -ENOENT || rc == -EBADMSG || rc == -E2BIG);
    /* What can be read is hot; what is hot may still not be readable. */
    ASSERT(rc != 0 || journal_is_hot(&journal) == 1);
    journal_changes_free(&changes);
    return 0;
}

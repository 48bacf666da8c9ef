/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/page.h - pages of a database file, their hashes, and page 1's header.
 *
 * Page hash: XXH3-64 of the page with its number as seed, so that two pages
 * that swap their content change the sum. Page 1 is hashed with bytes 18 and
 * 19 taken as 0: they say "rollback" or "WAL", which may differ between
 * primary and replica while the content is the same.
 * Database sum: xor of the hashes of all pages but the lock-byte page; a page
 * that changes is taken out and put in by the same operation, in any order.
 *
 * Database header, big-endian, at the start of page 1 (SQLite file format):
 *   offset  size  field
 *        0    16  "SQLite format 3\0"
 *       16     2  page size; 1 means 65536
 *       18     2  write and read version: 1 rollback, 2 WAL
 *       24     4  change counter
 *       28     4  size in pages, valid iff the counter equals bytes 92..95
 *       32     4  first free-list trunk page; 0: the list is empty
 *       36     4  number of free-list pages, trunks and leaves
 *       92     4  change counter for which bytes 28..31 are valid
 *
 * A trunk page starts with the next trunk's number (0: last), a count n and n
 * numbers of leaves, 4 bytes each; a leaf's content means nothing.
 * Pure. Any thread.
 */
#ifndef TIDEMARK_WAL_PAGE_H
#define TIDEMARK_WAL_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t pgno_t; /* page number, from 1 */

#define PAGE_MIN_BYTES 512u
#define PAGE_MAX_BYTES 65536u
#define PAGE_HEADER_BYTES 100u /* database header at the start of page 1 */

/* True for the powers of two from 512 to 65536. */
bool page_size_is_valid(uint32_t page_bytes);

/* The page SQLite never writes because its lock bytes lie there. */
static inline pgno_t page_lock_byte(uint32_t page_bytes)
{
    return (pgno_t)(0x40000000u / page_bytes + 1u);
}

/* Hash of one page of page_bytes bytes; never of page 0 or the lock-byte page.
 * The page is only read, also page 1. */
uint64_t page_hash(pgno_t pgno, const uint8_t *page, uint32_t page_bytes);

/* What the first PAGE_HEADER_BYTES of a database file say. */
struct page_header {
    uint32_t page_bytes;
    bool wal; /* read version is 2 */
    uint32_t change_counter;
    uint32_t size_pages; /* 0: not valid, take the size of the file */
    pgno_t first_trunk;
    uint32_t free_pages;
};

/* 0, or -EINVAL when this is not the start of a database: size below
 * PAGE_HEADER_BYTES, another magic, an impossible page size. */
int page_header_decode(const uint8_t *bytes, size_t size,
                       struct page_header *ret_header);

/* Sets bytes 18 and 19 of page 1 to the WAL version, in place. */
void page_header_set_wal(uint8_t *page1);

#endif

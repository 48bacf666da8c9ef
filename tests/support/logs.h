/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/logs.h - a log in a folder of its own, and records for it.
 *
 * Records hold pages of noise that TXID and page number decide, so a record
 * of n pages is always LOGS_RECORD_BYTES(n) long and can be told from any
 * other. Setting up must work, else the program ends; what a test is about
 * returns a code.
 */
#ifndef TESTS_SUPPORT_LOGS_H
#define TESTS_SUPPORT_LOGS_H

#include "wal/log.h"

#define LOGS_PAGE_BYTES 4096u
#define LOGS_RECORD_BYTES(pages) (264u + (pages) * (LOGS_PAGE_BYTES + 4u))

struct logs {
    char folder[64];
    int folder_fd;
    int log_fd; /* the log's directory; -1 before the first opening */
    struct lineage lineage;
    struct log *log;        /* NULL while closed */
    struct log_found found; /* of the last opening */
};

void logs_make(struct logs *logs);
void logs_remove(struct logs *logs); /* closes, and deletes all files */

/* log_open(), closing the log first when it is open. */
int logs_open(struct logs *logs);
void logs_close(struct logs *logs);

/* A header of the record that follows TXID first - 1. */
struct record_header logs_header(const struct logs *logs, txid_t first,
                                 txid_t last, uint32_t flags);

/* The record of that header with so many pages; header is completed. */
struct blob *logs_blob(struct record_header *header, uint32_t pages);

/* Appends a record of one TXID, or of several, or one part. */
int logs_append(struct logs *logs, txid_t txid, uint32_t flags, uint32_t pages);
int logs_append_range(struct logs *logs, txid_t first, txid_t last,
                      uint32_t pages);
int logs_append_part(struct logs *logs, txid_t txid, uint32_t part,
                     uint32_t parts, uint32_t pages);

/* Reads the record at cursor and compares it with logs_append(txid...). */
int logs_read(struct logs *logs, struct log_cursor *cursor, txid_t *ret_txid);

/* Reads from the beginning; how many records come, all right and in order. */
int logs_count(struct logs *logs);

/* The k-th (from 0) file whose name ends so, in order of names; "" for none.
 * Lives until the next call. */
const char *logs_file(const struct logs *logs, const char *ending, size_t k);
size_t logs_files(const struct logs *logs, const char *ending);

uint64_t logs_size(const struct logs *logs, const char *name);
void logs_truncate(const struct logs *logs, const char *name, uint64_t size);

/* Writes, or reads up to size bytes, at offset of a file. */
void logs_poke(const struct logs *logs, const char *name, uint64_t offset,
               const void *bytes, size_t size);
size_t logs_peek(const struct logs *logs, const char *name, uint64_t offset,
                 void *ret_bytes, size_t size);

/* Changes one bit. */
void logs_flip(const struct logs *logs, const char *name, uint64_t offset);

/* A hash of names and contents of all files in the log's directory. */
uint64_t logs_fingerprint(const struct logs *logs);

#endif

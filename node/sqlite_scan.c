/* SPDX-License-Identifier: Apache-2.0 */
/* node/sqlite_scan.c - see sqlite_scan.h. */
#include "node/sqlite_scan.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_BYTES ((size_t)1 << 20)
#define MAGIC "SQLite format 3" /* and its final 0 */
#define VERSION_BYTES 16        /* "\0" "3.999.999" "\0" and some */

/* text begins with what the form says: 0 is a digit, x one of hex; all else
 * is itself. */
static bool has_form(const unsigned char *text, size_t size, const char *form)
{
    if (size < strlen(form))
        return false;
    for (; *form != '\0'; form++, text++) {
        if (*form == '0'   ? !isdigit(*text)
            : *form == 'x' ? !isxdigit(*text)
                           : *text != (unsigned char)*form)
            return false;
    }
    return true;
}

static bool is_source(const unsigned char *text, size_t size)
{
    static const char form[] = "2000-00-00 00:00:00 "
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

    return has_form(text, size, form);
}

/* A zero byte, 3.N.N, a zero byte. */
static bool is_version(const unsigned char *text, size_t size,
                       struct doctor_version *ret_version)
{
    char copy[VERSION_BYTES] = "";
    size_t length = 0;

    if (size < 4 || text[0] != 0 || text[1] != '3' || text[2] != '.')
        return false;
    while (length + 1 < size && length < sizeof copy - 1 &&
           (isdigit(text[1 + length]) || text[1 + length] == '.')) {
        copy[length] = (char)text[1 + length];
        length++;
    }
    return length + 1 < size && text[1 + length] == 0 &&
           strchr(copy + 2, '.') != NULL &&
           doctor_version_parse(copy, ret_version);
}

static void pair(struct sqlite_scan *scan)
{
    uint64_t distance;

    if (!scan->has_source || !scan->has_version)
        return;
    distance = scan->source_at > scan->version_at
                   ? scan->source_at - scan->version_at
                   : scan->version_at - scan->source_at;
    if (scan->has_both && distance >= scan->distance)
        return;
    scan->has_both = true;
    scan->distance = distance;
    scan->version = scan->last;
}

void sqlite_scan_window(struct sqlite_scan *scan, const void *bytes,
                        size_t size, uint64_t at)
{
    const unsigned char *text = bytes;

    for (size_t i = 0; i < size; i++, text++) {
        size_t left = size - i;

        if (*text == 0 && is_version(text, left, &scan->last)) {
            scan->has_version = true;
            scan->version_at = at + i;
            pair(scan);
        } else if (*text == '2' && is_source(text, left)) {
            scan->has_source = true;
            scan->source_at = at + i;
            pair(scan);
        } else if (*text == 'S' && left >= sizeof MAGIC &&
                   memcmp(text, MAGIC, sizeof MAGIC) == 0) {
            scan->has_magic = true;
        }
    }
}

bool sqlite_scan_end(const struct sqlite_scan *scan,
                     struct doctor_version *ret_version)
{
    if (!scan->has_magic || !scan->has_both)
        return false;
    *ret_version = scan->version;
    return true;
}

int sqlite_scan_file(int fd, struct sqlite_scan *ret_scan)
{
    unsigned char *window = malloc(WINDOW_BYTES);
    struct sqlite_scan scan = {0};
    uint64_t at = 0;
    size_t kept = 0;
    ssize_t got;

    if (window == NULL)
        return -ENOMEM;
    while ((got = pread(fd, window + kept, WINDOW_BYTES - kept,
                        (off_t)(at + kept))) > 0) {
        size_t size = kept + (size_t)got;

        sqlite_scan_window(&scan, window, size, at);
        kept = size < SQLITE_SCAN_OVERLAP ? size : SQLITE_SCAN_OVERLAP;
        memmove(window, window + size - kept, kept);
        at += size - kept;
    }
    free(window);
    if (got < 0)
        return -errno;
    *ret_scan = scan;
    return 0;
}

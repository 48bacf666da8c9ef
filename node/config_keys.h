/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_keys.h - the table of all keys of tidemark.yml.
 *
 * One row per key says what it is called, what it may be, what it is without
 * a word, and what it is for. Reading, errors, `tidemark config keys` and the
 * manual page tidemark.yml(5) all come from it. Pure. Any thread.
 */
#ifndef TIDEMARK_NODE_CONFIG_KEYS_H
#define TIDEMARK_NODE_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CONFIG_PATH_BYTES 128 /* longest path of keys, and the final 0 */

/* How a text becomes a field of struct config. */
enum config_type {
    CONFIG_TEXT,     /* char *: anything */
    CONFIG_NAME,     /* char *: letters, digits, "-_." */
    CONFIG_PATH,     /* char *: a path, made absolute */
    CONFIG_ADDRESS,  /* struct address */
    CONFIG_BOOL,     /* bool */
    CONFIG_SIZE,     /* uint64_t, bytes */
    CONFIG_DURATION, /* uint64_t, milliseconds */
    CONFIG_CHOICE,   /* an enum: the place in choices */
    CONFIG_ID,       /* int64_t: a user or group number, or null */
    CONFIG_LIST,     /* struct config_list */
    CONFIG_LATER,    /* known, and refused: not in this version */
};

struct config_key {
    const char *path; /* "node.id" */
    enum config_type type;
    size_t offset;       /* in struct config */
    const char *initial; /* as it would be written; NULL: must be given */
    const char *choices; /* CONFIG_CHOICE: "auto|off"; else NULL */
    const char *later;   /* choices that are not in this version, or NULL */
    const char *help;    /* one sentence, no markup */
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/* The row of path; for what lies below a CONFIG_LATER row, that row. NULL:
 * there is no such key. */
const struct config_key *config_keys_find(const char *path);

/* True when keys lie below path: it is a mapping, not a value. */
bool config_keys_is_section(const char *path);

/*
 * What somebody who wrote the unknown path may have meant: a key of the same
 * last name elsewhere, else the nearest by spelling. NULL: nothing is near.
 * The text lives until this thread's next call.
 */
const char *config_keys_nearest(const char *path);

/* "auto, passthrough or classic"; cut to fit. */
void config_keys_choices(const char *choices, char *ret_text, size_t size);

/* Every key with type, default and purpose: as text, and as mdoc(7). */
void config_keys_print(FILE *to);
void config_keys_print_mdoc(FILE *to);

#endif

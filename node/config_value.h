/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_value.h - a text becomes a field of struct config, by the type
 * in its row, after ${VAR} and ${VAR:-default} were put in.
 *
 * A variable that is not set and has no default is an error; one that is
 * empty takes its default, as in a shell. HOSTNAME falls back to the name of
 * the machine: shells know it but rarely export it. A text that is empty
 * after all this counts as not given. Any thread.
 */
#ifndef TIDEMARK_NODE_CONFIG_VALUE_H
#define TIDEMARK_NODE_CONFIG_VALUE_H

#include "node/config.h"
#include "node/config_keys.h"

#define CONFIG_KEYS_MAX 64
#define CONFIG_VALUE_MAX_BYTES (64u << 10) /* of one value, expanded */

/* One reading of one file. */
struct config_reader {
    const char *file;           /* for messages and relative paths */
    struct config *config;      /* being filled in; owner frees on failure */
    struct config_error *error; /* the first one ends the reading */
    struct {
        int line;   /* where the row's key is in the file; 0: nowhere */
        bool given; /* with a value that is not empty */
    } seen[CONFIG_KEYS_MAX]; /* as config_keys[] */
};

/* Writes "file:line: path: text" as the error; line 0 and path NULL are left
 * out. Returns -EINVAL. */
int config_value_fail(struct config_reader *reader, int line, const char *path,
                      const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Sets the field of key from count texts (1 but for CONFIG_LIST) and marks it
 * given unless they are empty. Whether a key comes twice is the caller's to
 * see. -EINVAL, -ENOMEM; the error is written.
 */
int config_value_set(struct config_reader *reader, const struct config_key *key,
                     const char *const *texts, size_t count, int line);

/* Frees what the field of key owns and zeroes it. */
void config_value_free(struct config *config, const struct config_key *key);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/command.h - what every command of `tidemark` is made of.
 *
 * A command is one file, cmd_NAME.c, with one row: its name, operands and
 * options, two texts for --help, and the function that runs it. Options mean
 * the same in every command that has them. Main thread.
 */
#ifndef TIDEMARK_NODE_COMMAND_H
#define TIDEMARK_NODE_COMMAND_H

#include "node/control_client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What a command leaves to the shell. */
enum command_exit {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1,
    COMMAND_USAGE = 2,
    COMMAND_TIMEOUT = 3,
    COMMAND_LOST = 4,
};

/* Bits of command.options. */
enum command_option {
    COMMAND_CONFIG = 1 << 0, /* --config FILE */
    COMMAND_DATA = 1 << 1,   /* --data DIR */
    COMMAND_JSON = 1 << 2,   /* --json */
    COMMAND_WAIT = 1 << 3,   /* --timeout TIME */
    COMMAND_MDOC = 1 << 4,   /* --mdoc */
    COMMAND_REST = 1 << 5,   /* "-- CMD ..." is taken into rest */
};
#define COMMAND_NODE (COMMAND_CONFIG | COMMAND_DATA) /* finds the node */

#define COMMAND_OPERANDS_MAX 2

/* What the command line said; texts are its own. */
struct command_args {
    const char *config; /* NULL: not given */
    const char *data;
    uint64_t timeout_ms;
    bool json;
    bool mdoc;
    const char *operands[COMMAND_OPERANDS_MAX]; /* NULL: not given */
    char *const *rest; /* after "--"; NULL: there was none */
};

struct command {
    const char *name;     /* may be two words */
    const char *operands; /* "DB FILE"; one in brackets may be left out */
    unsigned options;     /* enum command_option */
    const char *summary;  /* one line, no full stop */
    const char *help;     /* some more, whole sentences */
    int (*run)(const struct command_args *args); /* enum command_exit */
};

/* The row of each, in its own file. */
extern const struct command command_mount;
extern const struct command command_status;
extern const struct command command_token;
extern const struct command command_wait;
extern const struct command command_verify;
extern const struct command command_doctor;
extern const struct command command_import;
extern const struct command command_export;
extern const struct command command_config_check;
extern const struct command command_config_keys;
extern const struct command command_version;
extern const struct command command_help;

/* Every command, in the order of `tidemark help`; ends with NULL. */
extern const struct command *const commands[];

/* Parses and runs; argv as main has it. */
int command_main(int argc, char **argv);

/* The command of that name ("status", "config check"), or NULL. */
const struct command *command_find(const char *name);

void command_print_help(const struct command *command, FILE *to);
void command_print_list(FILE *to);

/* "tidemark: text" on standard error. Returns COMMAND_FAILED. */
int command_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Finds the node, asks it, and tells people when that fails. COMMAND_OK:
 * ret_answer holds an answer that is ok. Else the exit code, and it is told.
 * question is taken. The caller frees ret_answer in any case.
 */
int command_ask(const struct command_args *args, json_t *question,
                uint64_t timeout_ms, struct control_answer *ret_answer);

/* How long a command waits for an answer that needs no waiting. */
#define COMMAND_ANSWER_MS 10000u

#endif

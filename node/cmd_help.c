/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_help.c - the list of commands, or the help of one. */
#include "node/command.h"

static int run(const struct command_args *args)
{
    char name[64];
    const struct command *command;

    if (args->operands[0] == NULL) {
        command_print_list(stdout);
        return COMMAND_OK;
    }
    snprintf(name, sizeof name, "%.30s%s%.30s", args->operands[0],
             args->operands[1] == NULL ? "" : " ",
             args->operands[1] == NULL ? "" : args->operands[1]);
    command = command_find(name);
    if (command == NULL) {
        command_fail("there is no command %s; see `tidemark help`", name);
        return COMMAND_USAGE;
    }
    command_print_help(command, stdout);
    return COMMAND_OK;
}

const struct command command_help = {
    .name = "help",
    .operands = "[COMMAND] [WORD]",
    .summary = "this list, or what one command does",
    .help = "Lists the commands, or says what one of them does and which "
            "options\nit has.",
    .run = run,
};

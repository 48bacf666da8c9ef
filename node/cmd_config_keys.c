/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_config_keys.c - the table of keys, printed. */
#include "node/command.h"
#include "node/config_keys.h"

static int run(const struct command_args *args)
{
    if (args->mdoc)
        config_keys_print_mdoc(stdout);
    else
        config_keys_print(stdout);
    return COMMAND_OK;
}

const struct command command_config_keys = {
    .name = "config keys",
    .operands = "",
    .options = COMMAND_MDOC,
    .summary = "every key of tidemark.yml, with its default",
    .help = "Lists every key with what it may be, its default, and what it is "
            "for;\nalso those that this version knows only to refuse.",
    .run = run,
};

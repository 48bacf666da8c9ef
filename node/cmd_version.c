/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_version.c - what a bug report needs to begin with. */
#include "node/command.h"
#include "node/version.h"
#include "wal/record.h"

#include <sqlite3.h>
#include <uv.h>

static int run(const struct command_args *args)
{
    (void)args;
    printf("tidemark %s\n", VERSION_TEXT);
    printf("record format %u, SQLite %s, libuv %s, Jansson %s\n",
           RECORD_VERSION, sqlite3_libversion(), uv_version_string(),
           JANSSON_VERSION);
    return COMMAND_OK;
}

const struct command command_version = {
    .name = "version",
    .operands = "",
    .summary = "the version, and those of formats and libraries",
    .help = "Prints the version in the first line, then the versions of the\n"
            "format it writes and of the libraries it uses.",
    .run = run,
};

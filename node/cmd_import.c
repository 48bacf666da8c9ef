/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/cmd_import.c - a file's content into a database of the mount, as one
 * transaction: readers see the old content, then the new one.
 */
#include "node/command.h"
#include "node/quantity.h"
#include "node/transfer.h"

#include <limits.h>

static int import_to(const char *path, const char *name, const char *file)
{
    struct transfer transfer;
    char size[QUANTITY_TEXT_BYTES];
    int rc = transfer_open(&transfer, file, path);

    if (rc == 0)
        rc = transfer_check(&transfer);
    if (rc == 0)
        rc = transfer_run(&transfer, name);
    transfer_close(&transfer);
    if (rc < 0)
        return command_fail("%s", transfer.text);
    quantity_format_size((uint64_t)transfer.pages * transfer.page_bytes, size);
    printf("imported %s into %s: %lld pages, %s\n", file, name,
           (long long)transfer.pages, size);
    return COMMAND_OK;
}

static int run(const struct command_args *args)
{
    const char *name = args->operands[0], *file = args->operands[1];
    char path[PATH_MAX], text[TRANSFER_TEXT_BYTES];
    struct control_answer answer;
    int rc = command_ask(args, json_pack("{s:s}", "do", "status"),
                         COMMAND_ANSWER_MS, &answer);

    if (rc == COMMAND_OK &&
        transfer_path(json_object_get(answer.json, "status"), name, true, path,
                      sizeof path, text) < 0)
        rc = command_fail("%s", text);
    control_client_free(&answer);
    return rc == COMMAND_OK ? import_to(path, name, file) : rc;
}

const struct command command_import = {
    .name = "import",
    .operands = "DB FILE",
    .options = COMMAND_NODE,
    .summary = "replaces the content of a database by that of a file",
    .help = "Replaces the content of DB, a path below the mount, by that of "
            "the\nSQLite database FILE, in one transaction and while "
            "applications have it\nopen; their connections survive. DB is made "
            "when it is not there. Only\non the primary.",
    .run = run,
};

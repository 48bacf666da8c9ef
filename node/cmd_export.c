/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/cmd_export.c - one moment of a database into a file. It is written
 * beside its final name and renamed when it is whole and on disk.
 */
#include "node/command.h"
#include "node/quantity.h"
#include "node/transfer.h"

#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PART_ENDING ".part"

/* The folder of path, "." when it names none. */
static void folder_of(const char *path, char folder[PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        snprintf(folder, PATH_MAX, ".");
    else
        snprintf(folder, PATH_MAX, "%.*s",
                 slash == path ? 1 : (int)(slash - path), path);
}

/* True when a file there would itself be in the mount, and be replicated. */
static bool is_in_mount(const char *folder, const char *mount)
{
    char real[PATH_MAX];
    size_t length = strlen(mount);

    return realpath(folder, real) != NULL &&
           strncmp(real, mount, length) == 0 &&
           (real[length] == '\0' || real[length] == '/');
}

/* Removes what an interrupted export, or its journal, left behind. */
static void remove_part(const char *part)
{
    char journal[PATH_MAX + 16];

    snprintf(journal, sizeof journal, "%s-journal", part);
    unlink(journal);
    unlink(part);
}

static int copy_to_part(const char *path, const char *name, const char *part,
                        char *ret_summary, size_t size)
{
    struct transfer transfer;
    char bytes[QUANTITY_TEXT_BYTES];
    int rc = transfer_open(&transfer, path, part);

    if (rc == 0)
        rc = transfer_hold(&transfer);
    if (rc == 0)
        rc = transfer_run(&transfer, name);
    transfer_close(&transfer);
    if (rc < 0)
        return command_fail("%s", transfer.text);
    quantity_format_size((uint64_t)transfer.pages * transfer.page_bytes, bytes);
    snprintf(ret_summary, size, "%lld pages, %s", (long long)transfer.pages,
             bytes);
    return COMMAND_OK;
}

static int export_to(const char *path, const char *name, const char *file,
                     const char *folder)
{
    char part[PATH_MAX], summary[80];
    int rc;

    if (snprintf(part, sizeof part, "%s%s", file, PART_ENDING) >=
        (int)sizeof part)
        return command_fail("%.80s...: path too long", file);
    remove_part(part);
    rc = copy_to_part(path, name, part, summary, sizeof summary);
    if (rc == COMMAND_OK &&
        (os_rename(AT_FDCWD, part, file, SITE_EXPORT_RENAME) < 0 ||
         os_sync_dir(AT_FDCWD, folder, SITE_EXPORT_RENAME) < 0))
        rc = command_fail("%s", site_failure());
    if (rc == COMMAND_OK)
        printf("exported %s to %s: %s\n", name, file, summary);
    else
        remove_part(part);
    return rc;
}

static int run(const struct command_args *args)
{
    const char *name = args->operands[0], *file = args->operands[1];
    char path[PATH_MAX], folder[PATH_MAX], text[TRANSFER_TEXT_BYTES];
    struct control_answer answer;
    const json_t *status;
    const char *mount;
    int rc = command_ask(args, json_pack("{s:s}", "do", "status"),
                         COMMAND_ANSWER_MS, &answer);

    folder_of(file, folder);
    status = json_object_get(answer.json, "status");
    mount = json_string_value(
        json_object_get(json_object_get(status, "node"), "mount"));
    if (rc == COMMAND_OK &&
        transfer_path(status, name, false, path, sizeof path, text) < 0)
        rc = command_fail("%s", text);
    if (rc == COMMAND_OK && mount != NULL && is_in_mount(folder, mount))
        rc = command_fail("%s lies in the mount %s and would become a "
                          "database itself; choose another folder",
                          file, mount);
    control_client_free(&answer);
    return rc == COMMAND_OK ? export_to(path, name, file, folder) : rc;
}

const struct command command_export = {
    .name = "export",
    .operands = "DB FILE",
    .options = COMMAND_NODE,
    .summary = "copies one moment of a database to a file, while live",
    .help = "Copies DB, a path below the mount, to FILE as it is at one "
            "moment, while\napplications read and write. FILE is replaced when "
            "the copy is whole.\nA database in a rollback-journal mode cannot "
            "commit meanwhile on the\nprimary; one in WAL mode can.",
    .run = run,
};

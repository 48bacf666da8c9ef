/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_status.c - asks the node how it is, for people or programs. */
#include "node/command.h"
#include "node/status_text.h"
#include "node/table.h"

static int run(const struct command_args *args)
{
    struct control_answer answer;
    int rc = command_ask(args, json_pack("{s:s}", "do", "status"),
                         COMMAND_ANSWER_MS, &answer);
    const json_t *status = json_object_get(answer.json, "status");

    if (rc == COMMAND_OK && !json_is_object(status))
        rc = command_fail("the node's answer has no status in it; is it of "
                          "another version?");
    if (rc == COMMAND_OK && args->json) {
        json_dumpf(status, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (rc == COMMAND_OK &&
               status_text_print(status, stdout, table_wants_colour(stdout)) <
                   0) {
        rc = command_fail("out of memory");
    }
    control_client_free(&answer);
    return rc;
}

const struct command command_status = {
    .name = "status",
    .operands = "",
    .options = COMMAND_NODE | COMMAND_JSON,
    .summary = "how this node, its replicas and its databases are",
    .help = "One line per node and one per database: role, position, distance "
            "from\nthe primary, what waits longest, health. Below, a sentence "
            "for each\nthing that is not ok.",
    .run = run,
};

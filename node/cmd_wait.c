/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_wait.c - blocks until this node has what a token names. */
#include "node/command.h"

/* The node keeps the deadline; this much later it is not answering at all. */
#define GRACE_MS 5000u

static int run(const struct command_args *args)
{
    struct control_answer answer;
    const char *verdict;
    int rc = command_ask(args,
                         json_pack("{s:s, s:s, s:s, s:I}", "do", "wait", "db",
                                   args->operands[0], "token",
                                   args->operands[1], "timeout_ms",
                                   (json_int_t)args->timeout_ms),
                         args->timeout_ms + GRACE_MS, &answer);

    verdict = json_string_value(json_object_get(answer.json, "verdict"));
    if (rc == COMMAND_OK && verdict == NULL)
        rc = command_fail("the node's answer has no verdict in it; is it of "
                          "another version?");
    if (rc == COMMAND_OK)
        puts(verdict);
    control_client_free(&answer);
    return rc;
}

const struct command command_wait = {
    .name = "wait",
    .operands = "DB TOKEN",
    .options = COMMAND_NODE | COMMAND_WAIT,
    .summary = "blocks until this node has what TOKEN names",
    .help = "Prints \"reached\" as soon as a reader on this node sees the "
            "commit that\nTOKEN names. Otherwise it says why not, and exits "
            "with 3 when the time\n(5s) is over, with 4 when the commit was "
            "cut off by a failover and will\nnever come. Not for use inside "
            "an open read transaction.",
    .run = run,
};

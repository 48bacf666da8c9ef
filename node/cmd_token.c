/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_token.c - the position of a database, to hand on. */
#include "node/command.h"

static int run(const struct command_args *args)
{
    struct control_answer answer;
    int rc = command_ask(
        args, json_pack("{s:s, s:s}", "do", "token", "db", args->operands[0]),
        COMMAND_ANSWER_MS, &answer);
    const char *token = json_string_value(
        json_object_get(answer.json, "token"));

    if (rc == COMMAND_OK && token == NULL)
        rc = command_fail("the node's answer has no token in it; is it of "
                          "another version?");
    if (rc == COMMAND_OK)
        puts(token);
    control_client_free(&answer);
    return rc;
}

const struct command command_token = {
    .name = "token",
    .operands = "DB",
    .options = COMMAND_NODE,
    .summary = "the position of a database, to hand to `wait`",
    .help = "Prints a token. On the primary it covers every commit made before "
            "this\ncommand was started; on a replica, what is visible there. "
            "DB is the\npath below the mount.",
    .run = run,
};

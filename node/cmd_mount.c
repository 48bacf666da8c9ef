/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_mount.c - reads the configuration and becomes the node. */
#include "node/advertise.h"
#include "node/command.h"
#include "node/locate.h"
#include "node/node.h"
#include "node/role.h"

#include <signal.h>

static int load(const char *given, struct config *config,
                struct config_error *error)
{
    char path[PATH_MAX];
    int rc = locate_config(given, path, error);

    if (rc == 0)
        rc = config_load(path, config, error);
    if (rc < 0)
        return rc;
    rc = advertise_find(config, error);
    if (rc < 0 && role_was_replica(config->data)) {
        log_warn("node.advertise", "reason=%s going_on=%s",
                 logger_quote(error->text),
                 logger_quote("as the replica it was; it looks again whenever "
                              "it looks for the primary"));
        rc = 0;
    }
    return rc;
}

static int run(const struct command_args *args)
{
    struct config config = {0};
    struct config_error error;
    int rc;

    if (args->rest != NULL)
        return command_fail("running a command beside the node is not "
                            "available in this version; start the "
                            "application by itself, when `tidemark status` "
                            "answers");
    rc = load(args->config, &config, &error);
    if (rc < 0) {
        config_free(&config);
        return command_fail("%s", error.text);
    }
    logger_set_level(config.log.level);
    signal(SIGPIPE, SIG_IGN); /* a peer that goes away is an error code */
    rc = node_run(&config);
    config_free(&config);
    return rc < 0 ? COMMAND_FAILED : COMMAND_OK; /* the node has logged why */
}

const struct command command_mount = {
    .name = "mount",
    .operands = "",
    .options = COMMAND_CONFIG | COMMAND_REST,
    .summary = "runs the node in the foreground, until SIGTERM",
    .help = "Mounts the databases and replicates them until SIGINT or SIGTERM. "
            "Logs\ngo to standard error, one line per event.",
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_config_check.c - reads a configuration and says what it means. */
#include "node/advertise.h"
#include "node/command.h"
#include "node/locate.h"
#include "node/quantity.h"

#include <unistd.h>

static void print_address(const char *name, const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES];

    address_format(address, text);
    printf("%-12s %s\n", name, text);
}

static void print_log(const struct config *config)
{
    char size[QUANTITY_TEXT_BYTES], age[QUANTITY_TEXT_BYTES] = "any age";
    char total[QUANTITY_TEXT_BYTES] = "any size";

    quantity_format_size(config->log.retain_bytes, size);
    if (config->log.max_age_ms != 0)
        quantity_format_us(config->log.max_age_ms * 1000, age);
    if (config->log.total_bytes != 0)
        quantity_format_size(config->log.total_bytes, total);
    printf("%-12s %s per database, %s together, %s\n", "log", size, total, age);
}

/* What is right and may still surprise. */
static void print_notes(const struct config *config)
{
    if (config->cluster.secret[0] != '\0')
        puts("note: cluster.secret is not used by this version; replication "
             "is plain");
    if (config->insecure)
        puts("note: insecure: anybody who reaches the replication port can "
             "read every database");
    else
        puts("note: every account of this machine can reach the replication "
             "port and read every database, whatever the modes of the files");
    if (address_is_loopback(&config->listen.replication) &&
        !address_is_loopback(&config->node.advertise))
        puts("note: other machines reach listen.replication only through a "
             "tunnel: it is a loopback address");
    if (access(config->mount, F_OK) != 0)
        printf("note: %s does not exist yet; make it: mkdir -p %s\n",
               config->mount, config->mount);
}

static void explain(const char *path, const struct config *config)
{
    printf("%s: ok\n\n", path);
    printf("%-12s %s in %s, region %s%s\n", "node", config->node.id,
           config->cluster.name, config->node.region,
           config->node.candidate ? "" : ", never primary");
    printf("%-12s %s\n", "role",
           config_is_primary(config) ? "primary: applications write here"
                                     : "replica");
    print_address("primary", &config->lease.primary);
    print_address("listens on", &config->listen.replication);
    print_address("known as", &config->node.advertise);
    printf("%-12s %s\n%-12s %s\n", "mount", config->mount, "data",
           config->data);
    if (!config_is_primary(config))
        printf("%-12s %s\n", "writes get",
               config_writes_readonly(config) ? "SQLITE_READONLY"
                                              : "SQLITE_BUSY");
    print_log(config);
    print_notes(config);
}

static int run(const struct command_args *args)
{
    struct config config = {0};
    struct config_error error;
    char path[PATH_MAX];
    int rc = locate_config(args->operands[0] != NULL ? args->operands[0]
                                                     : args->config,
                           path, &error);

    if (rc == 0)
        rc = config_load(path, &config, &error);
    if (rc == 0)
        rc = advertise_find(&config, &error);
    if (rc == 0)
        explain(path, &config);
    config_free(&config);
    return rc < 0 ? command_fail("%s", error.text) : COMMAND_OK;
}

const struct command command_config_check = {
    .name = "config check",
    .operands = "[FILE]",
    .options = COMMAND_CONFIG,
    .summary = "reads a configuration and says what it means",
    .help = "Says what is wrong with a configuration and in which line, or "
            "what this\nnode will be and do. Nothing is started or changed.",
    .run = run,
};

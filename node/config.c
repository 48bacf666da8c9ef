/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config.c - reads a file whole, fills in what it does not say, and
 * refuses values that do not go together.
 *
 * Failure modes: the file cannot be read; it is not ours (config_yaml); a
 * value is wrong (config_value); two values contradict each other (check_...
 * below). Each ends in one text for the person who wrote the file.
 */
#include "node/config.h"

#include "base/assert.h"
#include "base/os.h"
#include "node/config_yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

void config_free(struct config *config)
{
    for (size_t i = 0; i < config_keys_count; i++)
        config_value_free(config, &config_keys[i]);
    free(config->path);
    *config = (struct config){0};
}

/* ---- what the file does not say ----------------------------------------- */

static int set_defaults(struct config_reader *reader)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];

        if (key->type == CONFIG_LATER || reader->seen[i].given)
            continue;
        if (key->initial == NULL)
            return config_value_fail(reader, reader->seen[i].line, key->path,
                                     "must be given: %s", key->help);
        rc = config_value_set(reader, key, &key->initial, 1,
                              reader->seen[i].line);
    }
    return rc;
}

/* Addresses that follow from others; see config_needs_advertise(). */
static void set_addresses(struct config *config)
{
    struct address *advertise = &config->node.advertise;

    if (advertise->port == 0 && !address_is_any(&config->listen.replication))
        *advertise = config->listen.replication;
    if (config->lease.primary.port == 0)
        config->lease.primary = *advertise;
}

/* ---- values that do not go together ------------------------------------- */

static int line_of(const struct config_reader *reader, const char *path)
{
    const struct config_key *key = config_keys_find(path);

    ASSERT(key != NULL);
    return reader->seen[key - config_keys].line;
}

static int check_plain(struct config_reader *reader, const char *path,
                       const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES];

    if (reader->config->insecure || address->port == 0 ||
        address_is_loopback(address))
        return 0;
    address_format(address, text);
    return config_value_fail(
        reader, line_of(reader, path), path,
        "%s is beyond this machine, and replication is neither encrypted nor "
        "authenticated in this version; use 127.0.0.1:%d, or on a network "
        "that you trust say so: insecure: true",
        text, CONFIG_PORT);
}

static int check_addresses(struct config_reader *reader)
{
    const struct config *config = reader->config;
    int rc = check_plain(reader, "listen.replication",
                         &config->listen.replication);

    if (rc == 0)
        rc = check_plain(reader, "node.advertise", &config->node.advertise);
    if (rc == 0)
        rc = check_plain(reader, "lease.primary", &config->lease.primary);
    if (rc < 0)
        return rc;
    if (address_is_any(&config->node.advertise) &&
        config->node.advertise.port != 0)
        return config_value_fail(reader, line_of(reader, "node.advertise"),
                                 "node.advertise",
                                 "no other node can connect to every address; "
                                 "name the one of this machine");
    if (config->lease.primary.port == 0)
        return config_value_fail(
            reader, line_of(reader, "listen.replication"), "node.advertise",
            "must be given when this node listens on every address and "
            "lease.primary is not given; name the address at which other "
            "nodes reach this one");
    if (address_is_any(&config->lease.primary))
        return config_value_fail(reader, line_of(reader, "lease.primary"),
                                 "lease.primary",
                                 "is every address; name the primary's");
    return 0;
}

/* True when path is folder or below it. */
static bool is_inside(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(path, folder, length) == 0 &&
           (path[length] == '\0' || path[length] == '/');
}

static int check_paths(struct config_reader *reader)
{
    const char *mount = reader->config->mount, *data = reader->config->data;

    if (is_inside(data, mount) || is_inside(mount, data))
        return config_value_fail(
            reader, line_of(reader, "data"), "data",
            "%.200s and the mount %.200s must not lie inside each other; the "
            "mount would hide the data",
            data, mount);
    if (strlen(data) > CONFIG_DATA_MAX)
        return config_value_fail(
            reader, line_of(reader, "data"), "data",
            "longer than %d bytes: the control socket in it could not be "
            "opened; choose a shorter path",
            CONFIG_DATA_MAX);
    return 0;
}

static int check(struct config_reader *reader)
{
    int rc = check_paths(reader);

    if (rc == 0)
        rc = check_addresses(reader);
    if (rc == 0 && reader->config->log.retain_bytes < CONFIG_RETAIN_MIN_BYTES)
        rc = config_value_fail(reader, line_of(reader, "log.retain"),
                               "log.retain",
                               "at least 1MiB, or every replica that was away "
                               "must copy whole databases");
    if (rc == 0 && reader->config->scrub.rate_bytes < CONFIG_SCRUB_MIN_BYTES)
        rc = config_value_fail(reader, line_of(reader, "scrub.rate"),
                               "scrub.rate",
                               "at least 64KiB; scrub.every: 0 switches it "
                               "off");
    return rc;
}

/* ---- reading ------------------------------------------------------------ */

int config_parse(const char *bytes, size_t size, const char *file,
                 struct config *ret_config, struct config_error *ret_error)
{
    struct config config = {0};
    struct config_reader reader = {
        .file = file, .config = &config, .error = ret_error};
    int rc;

    ASSERT(config_keys_count <= CONFIG_KEYS_MAX);
    config.path = strdup(file);
    rc = config.path == NULL ? -ENOMEM : config_yaml_read(&reader, bytes, size);
    if (rc == 0)
        rc = set_defaults(&reader);
    if (rc == 0) {
        set_addresses(&config);
        rc = check(&reader);
    }
    if (rc == -ENOMEM)
        snprintf(ret_error->text, sizeof ret_error->text, "out of memory");
    if (rc == 0)
        *ret_config = config;
    else
        config_free(&config);
    return rc;
}

/* The whole file in memory the caller frees. */
static int read_file(const char *path, char **ret_bytes, size_t *ret_size)
{
    struct os_file file = {0};
    char *bytes = NULL;
    ssize_t size = 0;
    int rc = os_open(&file, AT_FDCWD, path, O_RDONLY, 0, SITE_CONFIG_READ);

    if (rc == 0)
        rc = os_alloc(&bytes, CONFIG_FILE_MAX_BYTES + 1, SITE_CONFIG_READ);
    if (rc == 0)
        size = os_pread(&file, bytes, CONFIG_FILE_MAX_BYTES + 1, 0,
                        SITE_CONFIG_READ);
    os_close(&file);
    if (size < 0)
        rc = (int)size;
    if (rc == 0 && size > CONFIG_FILE_MAX_BYTES)
        rc = -EFBIG;
    if (rc < 0) {
        os_free(&bytes);
        return rc;
    }
    *ret_bytes = bytes;
    *ret_size = (size_t)size;
    return 0;
}

int config_load(const char *path, struct config *ret_config,
                struct config_error *ret_error)
{
    char *bytes = NULL;
    size_t size;
    int rc = read_file(path, &bytes, &size);

    if (rc < 0) {
        snprintf(ret_error->text, sizeof ret_error->text,
                 "%.300s: cannot be read: %s", path, strerror(-rc));
        return rc;
    }
    rc = config_parse(bytes, size, path, ret_config, ret_error);
    os_free(&bytes);
    return rc;
}

/* ---- questions ---------------------------------------------------------- */

bool config_needs_advertise(const struct config *config)
{
    return config->node.advertise.port == 0;
}

bool config_is_primary(const struct config *config)
{
    ASSERT(!config_needs_advertise(config));
    return address_is_same(&config->node.advertise, &config->lease.primary);
}

bool config_follows(const struct config *config, const char *database)
{
    for (size_t i = 0; i < config->replica.databases.count; i++)
        if (fnmatch(config->replica.databases.texts[i], database, 0) == 0)
            return true;
    return false;
}

bool config_writes_readonly(const struct config *config)
{
    if (config->replica.writes != CONFIG_WRITES_AUTO)
        return config->replica.writes == CONFIG_WRITES_READONLY;
    return config->lease.type == CONFIG_LEASE_STATIC || !config->node.candidate;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config.h - tidemark.yml as the node uses it.
 *
 *   bytes --config_yaml--> keys and texts --config_value--> struct config
 *                                             |
 *                          config_keys: one table, one row per key
 *
 * Reading is all or nothing: an unknown key, a bad value or values that do
 * not go together are an error with file and line, never a guess. Nothing is
 * logged and nothing is resolved here. Any thread, one owner each.
 */
#ifndef TIDEMARK_NODE_CONFIG_H
#define TIDEMARK_NODE_CONFIG_H

#include "base/address.h"
#include "base/logger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_PORT 20202  /* replication, when no port is named */
#define CONFIG_NAME_MAX 63 /* bytes of a node id, region, cluster */
#define CONFIG_FILE_MAX_BYTES (1u << 20)
#define CONFIG_LIST_MAX 1024 /* entries of one list */
#define CONFIG_DATA_MAX 92   /* a socket's path has 107 bytes */
#define CONFIG_RETAIN_MIN_BYTES (1u << 20)
#define CONFIG_SCRUB_MIN_BYTES (64u << 10)

/* The order of each of these is the order of choices in config_keys.c. */
enum config_lease { CONFIG_LEASE_STATIC };
enum config_durability { CONFIG_DURABILITY_LOCAL };
enum config_writes {
    CONFIG_WRITES_AUTO,
    CONFIG_WRITES_BUSY,     /* SQLITE_BUSY */
    CONFIG_WRITES_READONLY, /* SQLITE_READONLY */
};
enum config_fuse_mode {
    CONFIG_FUSE_AUTO,
    CONFIG_FUSE_PASSTHROUGH,
    CONFIG_FUSE_CLASSIC,
};
enum config_switch { CONFIG_AUTO, CONFIG_OFF, CONFIG_ON };

#define CONFIG_ID_NONE INT64_C(-1)

struct config_list {
    char **texts;
    size_t count;
};

/* All texts are owned, never NULL after config_load(). */
struct config {
    char *path;  /* the file; "" when there was none */
    char *mount; /* absolute, no slash at the end */
    char *data;  /* absolute, not the mount, not inside it */
    bool insecure;
    struct {
        char *id;
        char *region;
        struct address advertise; /* port 0: see config_needs_advertise() */
        bool candidate;
    } node;
    struct {
        char *name;
        char *secret; /* "": none; held, not used by this version */
    } cluster;
    struct {
        struct address replication;
    } listen;
    struct {
        enum config_lease type;
        struct address primary;    /* == node.advertise when not given */
        uint64_t fetch_timeout_ms; /* 0: replicas are not asked */
    } lease;
    struct {
        enum config_durability level;
    } durability;
    struct {
        enum config_writes writes;
        struct config_list databases; /* patterns, see config_follows() */
    } replica;
    struct {
        uint64_t retain_bytes; /* of a database */
        uint64_t total_bytes;  /* of all; 0: without limit */
        uint64_t max_age_ms;
        enum logger_level level;
    } log;
    struct {
        uint64_t every_ms;   /* 0: never */
        uint64_t rate_bytes; /* a second, > 0 */
    } scrub;
    struct {
        enum config_fuse_mode mode;
        enum config_switch allow_other;
        int64_t uid; /* CONFIG_ID_NONE: as on the primary */
        int64_t gid;
    } fuse;
};

/* "tidemark.yml:7: mount: what is wrong; what to do", for people. */
struct config_error {
    char text[700];
};

/*
 * Reads the file at path. Relative paths inside are below the folder of the
 * file. On failure ret_config is untouched and ret_error says why: -EINVAL
 * for what the file says, else the errno of reading it.
 */
int config_load(const char *path, struct config *ret_config,
                struct config_error *ret_error);

/* The same from memory; file is for messages, and where relative paths begin
 * ("" : the current directory). -EINVAL, -ENOMEM. */
int config_parse(const char *bytes, size_t size, const char *file,
                 struct config *ret_config, struct config_error *ret_error);

/* Takes zeroed, loaded and freed alike. */
void config_free(struct config *config);

/*
 * True when node.advertise was not given and listening is on every address:
 * the local address that routes to lease.primary has to be found, which asks
 * the resolver. node/advertise.h does it; until then the port is 0.
 */
bool config_needs_advertise(const struct config *config);

/* A static node is primary exactly when lease.primary is its own address. */
bool config_is_primary(const struct config *config);

/* True when replica.databases names this database; '*' matches slashes too. */
bool config_follows(const struct config *config, const char *database);

/* With writes: auto decided for this node. */
bool config_writes_readonly(const struct config *config);

#endif

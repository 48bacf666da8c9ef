/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_keys.c - the table, finding a key in it, and guessing which one
 * was meant. Keys of the contract that this version cannot honour are rows
 * like any other: silently ignoring durability would be a lie.
 */
#include "node/config_keys.h"

#include "base/bytes.h"
#include "node/config.h"

#include <string.h>

#define AT(field) offsetof(struct config, field)

/* clang-format off */
const struct config_key config_keys[] = {
    {"mount", CONFIG_PATH, AT(mount), NULL, NULL, NULL,
     "Where applications open their databases; an empty directory."},
    {"data", CONFIG_PATH, AT(data), NULL, NULL, NULL,
     "Where the databases, the log and the state are kept."},
    {"insecure", CONFIG_BOOL, AT(insecure), "false", NULL, NULL,
     "Allows replication beyond this machine although it is neither"
     " encrypted nor authenticated."},

    {"node.id", CONFIG_NAME, AT(node.id), "${HOSTNAME}", NULL, NULL,
     "The name of this node, unique in the cluster."},
    {"node.region", CONFIG_NAME, AT(node.region), "local", NULL, NULL,
     "Where this node is, as status shows it."},
    {"node.advertise", CONFIG_ADDRESS, AT(node.advertise), "", NULL, NULL,
     "The address at which other nodes reach this one; by default"
     " listen.replication, or when that is every address the local one that"
     " routes to lease.primary."},
    {"node.candidate", CONFIG_BOOL, AT(node.candidate), "true", NULL, NULL,
     "Whether this node may become the primary."},

    {"cluster.name", CONFIG_NAME, AT(cluster.name), "tidemark", NULL, NULL,
     "Nodes of another cluster name are refused."},
    {"cluster.secret", CONFIG_TEXT, AT(cluster.secret), "", NULL, NULL,
     "Held for a later version; replication is plain in this one."},
    {"cluster.tls", CONFIG_LATER, 0, "", NULL, NULL,
     "Certificates for replication."},

    {"listen.replication", CONFIG_ADDRESS, AT(listen.replication),
     "127.0.0.1:20202", NULL, NULL,
     "Where other nodes connect; [::]:20202 is every address, IPv4 and"
     " IPv6."},
    {"listen.http", CONFIG_LATER, 0, "", NULL, NULL, "The HTTP interface."},
    {"listen.health", CONFIG_LATER, 0, "", NULL, NULL,
     "Health and metrics by HTTP."},
    {"http", CONFIG_LATER, 0, "", NULL, NULL, "The HTTP interface."},

    {"lease.type", CONFIG_CHOICE, AT(lease.type), "static", "static",
     "etcd|consul", "Who decides which node is the primary."},
    {"lease.primary", CONFIG_ADDRESS, AT(lease.primary), "", NULL, NULL,
     "The address of the static primary; a node whose node.advertise it is"
     " takes that role; by default this node."},
    {"lease.fetch_timeout", CONFIG_DURATION, AT(lease.fetch_timeout_ms),
     "10s", NULL, NULL,
     "How long a primary that did not stop in order, was a replica before, or"
     " has no database, waits for the replicas it knows, to fetch what they"
     " have more, before it answers; 0s does not ask."},
    {"lease.prefer", CONFIG_LATER, 0, "", NULL, NULL,
     "Regions that should hold the lease."},
    {"lease.etcd", CONFIG_LATER, 0, "", NULL, NULL, "A lease kept in etcd."},
    {"lease.consul", CONFIG_LATER, 0, "", NULL, NULL,
     "A lease kept in Consul."},

    {"durability.level", CONFIG_CHOICE, AT(durability.level), "local",
     "local", "replicas|regions|quorum",
     "What a synced commit has survived when it is acknowledged; local is"
     " the disk of the primary."},
    {"durability.timeout", CONFIG_LATER, 0, "", NULL, NULL,
     "How long a commit waits for replicas."},
    {"durability.on_timeout", CONFIG_LATER, 0, "", NULL, NULL,
     "What happens when replicas stay silent."},
    {"durability.databases", CONFIG_LATER, 0, "", NULL, NULL,
     "Levels of single databases."},

    {"replica.writes", CONFIG_CHOICE, AT(replica.writes), "auto",
     "auto|busy|readonly", NULL,
     "What an application that writes on a replica gets: SQLITE_BUSY, or"
     " SQLITE_READONLY; auto is readonly under a static lease."},
    {"replica.databases", CONFIG_LIST, AT(replica.databases), "*", NULL, NULL,
     "Patterns of the databases that this node follows."},

    {"log.retain", CONFIG_SIZE, AT(log.retain_bytes), "1GiB", NULL, NULL,
     "How much log a database keeps for replicas that come back."},
    {"log.total", CONFIG_SIZE, AT(log.total_bytes), "16GiB", NULL, NULL,
     "How much log all databases keep together; the largest give way first."
     " 0 is without limit."},
    {"log.max_age", CONFIG_DURATION, AT(log.max_age_ms), "24h", NULL, NULL,
     "How old the log of a database may grow; 0 is without limit."},
    {"log.level", CONFIG_CHOICE, AT(log.level), "info",
     "debug|info|warn|error", NULL, "The least level of lines to print."},

    {"scrub.every", CONFIG_DURATION, AT(scrub.every_ms), "24h", NULL, NULL,
     "How long after the end of one pass over all pages the next begins; 0 is"
     " never."},
    {"scrub.rate", CONFIG_SIZE, AT(scrub.rate_bytes), "8MiB", NULL, NULL,
     "How much of it is read in a second."},

    {"fuse.mode", CONFIG_CHOICE, AT(fuse.mode), "auto",
     "auto|passthrough|classic", NULL,
     "How files reach the kernel; auto is passthrough where it works."},
    {"fuse.allow_other", CONFIG_CHOICE, AT(fuse.allow_other), "auto",
     "auto|false|true", NULL,
     "Whether other users may enter the mount; auto is true for root."},
    {"fuse.uid", CONFIG_ID, AT(fuse.uid), "null", NULL, NULL,
     "Owner of every database here; null is as on the primary."},
    {"fuse.gid", CONFIG_ID, AT(fuse.gid), "null", NULL, NULL,
     "Group of every database here; null is as on the primary."},

    {"proxy", CONFIG_LATER, 0, "", NULL, NULL,
     "The HTTP proxy in front of the application."},
    {"exec", CONFIG_LATER, 0, "", NULL, NULL,
     "The application that the node runs."},
    {"start_timeout", CONFIG_LATER, 0, "", NULL, NULL,
     "How long exec waits for the first catch-up."},
};
/* clang-format on */

const size_t config_keys_count = ARRAY_LENGTH(config_keys);

/* True when path is section or lies below it. */
static bool path_is_below(const char *path, const char *section)
{
    size_t length = strlen(section);

    return strncmp(path, section, length) == 0 &&
           (path[length] == '\0' || path[length] == '.');
}

const struct config_key *config_keys_find(const char *path)
{
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];

        if (strcmp(key->path, path) == 0)
            return key;
        if (key->type == CONFIG_LATER && path_is_below(path, key->path))
            return key;
    }
    return NULL;
}

bool config_keys_is_section(const char *path)
{
    for (size_t i = 0; i < config_keys_count; i++)
        if (path_is_below(config_keys[i].path, path) &&
            strcmp(config_keys[i].path, path) != 0)
            return true;
    return false;
}

/* ---- guessing ----------------------------------------------------------- */

#define WORD_MAX 48 /* longer words are near nothing */

/*
 * Edit distance where a swap of neighbours counts once: the typing errors
 * people make. a and b are at most WORD_MAX bytes.
 */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1];
    size_t a_length = strlen(a), b_length = strlen(b);

    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned best = before[j - 1] + (a[i - 1] != b[j - 1]);

            if (best > before[j] + 1)
                best = before[j] + 1;
            if (best > now[j - 1] + 1)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = rows[(i + 1) % 3][j - 2] + 1 < best
                           ? rows[(i + 1) % 3][j - 2] + 1
                           : best;
            now[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

static const char *last_name(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot == NULL ? path : dot + 1;
}

/* Bytes of path that name the section it is in, its dot included. */
static size_t section_length(const char *path)
{
    return (size_t)(last_name(path) - path);
}

/* The best guess so far. */
struct guess {
    unsigned distance;
    char path[CONFIG_PATH_BYTES];
};

/* Weighs the first `length` bytes of a key's path as what was meant. */
static void guess_weigh(struct guess *guess, const char *wanted,
                        const char *path, size_t length)
{
    char candidate[CONFIG_PATH_BYTES];
    unsigned now;
    size_t section;

    snprintf(candidate, sizeof candidate, "%.*s", (int)length, path);
    section = section_length(candidate);
    now = 2 * distance(last_name(wanted), last_name(candidate));
    if (section != section_length(wanted) ||
        strncmp(candidate, wanted, section) != 0)
        now++; /* of two as near, the one in the same section */
    if (now >= guess->distance)
        return;
    guess->distance = now;
    snprintf(guess->path, sizeof guess->path, "%s", candidate);
}

const char *config_keys_nearest(const char *path)
{
    static _Thread_local struct guess guess;
    size_t length = strlen(last_name(path));

    if (length == 0 || length > WORD_MAX)
        return NULL;
    /* A third of the letters may be wrong; another section only if none. */
    guess.distance = 2 * (unsigned)(length < 3 ? 1 : length / 3) + 1;
    guess.path[0] = '\0';
    for (size_t i = 0; i < config_keys_count; i++) {
        const char *known = config_keys[i].path;

        for (const char *dot = strchr(known, '.'); dot != NULL;
             dot = strchr(dot + 1, '.'))
            guess_weigh(&guess, path, known, (size_t)(dot - known));
        guess_weigh(&guess, path, known, strlen(known));
    }
    return guess.path[0] == '\0' ? NULL : guess.path;
}

/* ---- printing ----------------------------------------------------------- */

void config_keys_choices(const char *choices, char *ret_text, size_t size)
{
    size_t used = 0;

    ret_text[0] = '\0';
    while (*choices != '\0' && used < size) {
        size_t length = strcspn(choices, "|");
        const char *next = choices + length + (choices[length] == '|');
        const char *before = *next == '\0' ? " or " : ", ";

        used += (size_t)snprintf(ret_text + used, size - used, "%s%.*s",
                                 used == 0 ? "" : before, (int)length, choices);
        choices = next;
    }
}

static void type_text(const struct config_key *key, char *ret_text, size_t size)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "text",
        [CONFIG_NAME] = "name",
        [CONFIG_PATH] = "path",
        [CONFIG_ADDRESS] = "address",
        [CONFIG_BOOL] = "true or false",
        [CONFIG_SIZE] = "size",
        [CONFIG_DURATION] = "duration",
        [CONFIG_CHOICE] = "",
        [CONFIG_ID] = "number or null",
        [CONFIG_LIST] = "list",
        [CONFIG_LATER] = "not in this version",
    };

    snprintf(ret_text, size, "%s", names[key->type]);
    if (key->type == CONFIG_CHOICE)
        config_keys_choices(key->choices, ret_text, size);
}

static const char *initial_text(const struct config_key *key)
{
    if (key->initial == NULL)
        return "required";
    return key->initial;
}

void config_keys_print(FILE *to)
{
    char type[64];

    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        const char *initial = initial_text(key);

        type_text(key, type, sizeof type);
        fprintf(to, "%s: %s%s%s%s\n    %s\n", key->path, type,
                *initial == '\0' ? "" : " (", initial,
                *initial == '\0' ? "" : ")", key->help);
    }
}

#define MDOC_COLUMNS 76

/* Wrapped; a dot at the start of a line would be a request, but no word of
 * ours begins with one. */
static void print_wrapped(FILE *to, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");

        if (column > 0 && column + 1 + length > MDOC_COLUMNS) {
            fputc('\n', to);
            column = 0;
        }
        column += (size_t)fprintf(to, "%s%.*s", column > 0 ? " " : "",
                                  (int)length, text);
        text += length + strspn(text + length, " ");
    }
    fputc('\n', to);
}

void config_keys_print_mdoc(FILE *to)
{
    char type[64];

    fputs(".Bl -tag -width Ds\n", to);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        const char *initial = initial_text(key);

        type_text(key, type, sizeof type);
        fprintf(to, ".It Cm %s\n", key->path);
        print_wrapped(to, key->help);
        fprintf(to, ".Pq %s%s%s\n", type,
                key->initial == NULL || *initial == '\0' ? "" : ", default ",
                key->initial == NULL ? ", required" : initial);
    }
    fputs(".El\n", to);
}

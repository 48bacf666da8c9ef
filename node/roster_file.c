/* SPDX-License-Identifier: Apache-2.0 */
/* node/roster_file.c - see roster_file.h. */
#include "node/roster_file.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX (PULSE_NODES_MAX - 1)

/* ---- writing ------------------------------------------------------------- */

static int append_node(json_t *nodes, const struct roster_entry *entry)
{
    /* NULL when a text is no UTF-8, which no configuration can hold: such a
     * node is not remembered, rather than none. */
    json_t *node = json_pack(
        "{s:s, s:s, s:s, s:b}", "id", entry->node, "region", entry->region,
        "advertise", entry->advertise, "candidate", (int)entry->candidate);

    return node == NULL ? 0 : json_array_append_new(nodes, node);
}

char *roster_file_encode(const struct roster *roster)
{
    json_t *nodes = json_array();
    json_t *file = json_pack("{s:i, s:O}", "version", ROSTER_FILE_VERSION,
                             "nodes", nodes);
    char *text = NULL;
    int rc = file == NULL ? -1 : 0;

    for (size_t i = 0; i < roster->count && rc == 0; i++)
        rc = append_node(nodes, &roster->entries[i]);
    if (rc == 0)
        text = json_dumps(file, JSON_INDENT(1));
    json_decref(nodes);
    json_decref(file);
    return text;
}

/* ---- reading ------------------------------------------------------------- */

struct entry {
    const char *id, *region, *advertise;
    int candidate;
};

static bool is_text(const char *text, size_t most)
{
    if (strlen(text) > most)
        return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

/* The texts are the JSON's. */
static bool entry_take(json_t *node, struct entry *ret_entry)
{
    return json_unpack(node, "{s:s, s:s, s:s, s:b}", "id", &ret_entry->id,
                       "region", &ret_entry->region, "advertise",
                       &ret_entry->advertise, "candidate",
                       &ret_entry->candidate) == 0 &&
           ret_entry->id[0] != '\0' && is_text(ret_entry->id, BODY_ID_MAX) &&
           is_text(ret_entry->region, BODY_ID_MAX) &&
           is_text(ret_entry->advertise, BODY_ADVERTISE_MAX);
}

static int nodes_check(json_t *nodes, char *ret_reason)
{
    const char *ids[NODES_MAX];
    struct entry entry;

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        if (!entry_take(json_array_get(nodes, i), &entry)) {
            snprintf(ret_reason, ROSTER_FILE_REASON_BYTES,
                     "node %zu lacks a member, or one is not what it can be",
                     i + 1);
            return -EBADMSG;
        }
        ids[i] = entry.id;
        for (size_t j = 0; j < i; j++)
            if (strcmp(ids[i], ids[j]) == 0) {
                snprintf(ret_reason, ROSTER_FILE_REASON_BYTES,
                         "nodes %zu and %zu have one id", j + 1, i + 1);
                return -EBADMSG;
            }
    }
    return 0;
}

static int nodes_add(json_t *nodes, const char *own, struct roster *roster)
{
    struct entry entry;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(nodes) && rc == 0; i++)
        if (entry_take(json_array_get(nodes, i), &entry) &&
            strcmp(entry.id, own) != 0)
            rc = roster_add(roster, entry.id, entry.region, entry.advertise,
                            entry.candidate != 0);
    return rc;
}

static int file_take(json_t *file, const char *own, struct roster *roster,
                     char *ret_reason)
{
    static const char what[] = "not a roster";
    json_t *nodes;
    json_int_t version;
    int rc;

    snprintf(ret_reason, ROSTER_FILE_REASON_BYTES, "%s", what);
    if (json_unpack(file, "{s:I}", "version", &version) != 0 || version < 1)
        return -EBADMSG;
    if (version > ROSTER_FILE_VERSION) {
        snprintf(ret_reason, ROSTER_FILE_REASON_BYTES,
                 "of version %lld, this program reads %d; run the newer one, "
                 "or move the file away",
                 (long long)version, ROSTER_FILE_VERSION);
        return -EPROTONOSUPPORT;
    }
    if (json_unpack(file, "{s:o}", "nodes", &nodes) != 0 ||
        !json_is_array(nodes) || json_array_size(nodes) > NODES_MAX)
        return -EBADMSG;
    rc = nodes_check(nodes, ret_reason);
    if (rc == 0)
        rc = nodes_add(nodes, own, roster);
    return rc;
}

int roster_file_decode(const char *text, size_t size, const char *own,
                       struct roster *roster,
                       char ret_reason[ROSTER_FILE_REASON_BYTES])
{
    json_error_t error;
    json_t *file;
    int rc;

    ASSERT(roster->count == 0);
    file = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (file == NULL) {
        snprintf(ret_reason, ROSTER_FILE_REASON_BYTES, "line %d: %s",
                 error.line, error.text);
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM
                                                                   : -EBADMSG;
    }
    rc = file_take(file, own, roster, ret_reason);
    json_decref(file);
    if (rc < 0)
        roster->count = 0;
    return rc;
}

/* ---- the file ------------------------------------------------------------ */

/* ret_text: free() it; NULL: there is no file. */
static int file_read(int data_fd, char **ret_text, size_t *ret_size)
{
    struct os_file file = {0};
    uint64_t size = 0;
    int rc = os_open(&file, data_fd, ROSTER_FILE_NAME, O_RDONLY, 0,
                     SITE_ROSTER_READ);

    *ret_text = NULL;
    *ret_size = 0;
    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = os_size(&file, &size, SITE_ROSTER_READ);
    if (size > ROSTER_FILE_MAX_BYTES)
        size = ROSTER_FILE_MAX_BYTES; /* not one of ours: it will not parse */
    if (rc == 0)
        rc = os_alloc(ret_text, size + 1, SITE_ROSTER_READ);
    if (rc == 0)
        rc = os_pread_full(&file, *ret_text, size, 0, SITE_ROSTER_READ);
    os_close(&file);
    *ret_size = size;
    return rc;
}

static int move_aside(int data_fd, const char *reason)
{
    char kept[64];
    int rc;

    snprintf(kept, sizeof kept, "lost/roster-%llx.json",
             (unsigned long long)clock_wall_ns());
    rc = os_rename(data_fd, ROSTER_FILE_NAME, kept, SITE_ROSTER_READ);
    if (rc < 0)
        return rc;
    log_error("node.roster", "file=%s reason=%s kept=%s", ROSTER_FILE_NAME,
              logger_quote(reason), kept);
    return 0;
}

int roster_file_load(int data_fd, const char *own, struct roster *roster)
{
    char reason[ROSTER_FILE_REASON_BYTES] = "";
    char *text;
    size_t size;
    int rc = file_read(data_fd, &text, &size);

    if (rc == 0 && text != NULL)
        rc = roster_file_decode(text, size, own, roster, reason);
    os_free(&text);
    if (rc == -EBADMSG)
        return move_aside(data_fd, reason);
    if (rc < 0)
        log_error("node.roster", "file=%s reason=%s", ROSTER_FILE_NAME,
                  logger_quote(reason[0] != '\0' ? reason : site_failure()));
    return rc;
}

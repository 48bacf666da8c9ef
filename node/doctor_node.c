/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor_node.c - which node is meant, whether it runs, and what it says
 * of itself and of its replicas.
 */
#include "node/doctor.h"

#include "node/locate.h"
#include "node/quantity.h"

#include <errno.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------- */

static void config_read(struct doctor *doctor)
{
    struct config_error error;
    char path[PATH_MAX];
    int rc = locate_config(doctor->args->config, path, &error);

    if (rc == 0)
        rc = config_load(path, &doctor->config, &error);
    doctor->configured = rc == 0;
    if (rc < 0) {
        doctor_find_sentence(doctor, DOCTOR_BAD, DOCTOR_CONFIG, "file",
                             error.text,
                             "see man tidemark.yml, or tidemark config keys");
        return;
    }
    doctor_find(doctor, DOCTOR_OK, DOCTOR_CONFIG, "file", "%s: node %s in %s",
                path, doctor->config.node.id, doctor->config.cluster.name);
    snprintf(doctor->mount, sizeof doctor->mount, "%s", doctor->config.mount);
    snprintf(doctor->data, sizeof doctor->data, "%s", doctor->config.data);
}

void doctor_look_at_config(struct doctor *doctor)
{
    const struct command_args *args = doctor->args;

    /* Who names a data directory means that node, whose configuration may be
     * another one than what is found here. */
    if (args->data == NULL || args->config != NULL)
        config_read(doctor);
    if (args->data != NULL)
        snprintf(doctor->data, sizeof doctor->data, "%s", args->data);
}

/* ---- the node ------------------------------------------------------------ */

/* No status came. Not to be let in says nothing of the node. */
static void say_silent(struct doctor *doctor)
{
    bool unseen = doctor->asked == -EACCES || doctor->asked == -EPERM;

    doctor_find_sentence(doctor, unseen ? DOCTOR_WARN : DOCTOR_BAD, DOCTOR_NODE,
                         "node",
                         doctor->answer.ok ? "its answer has no status in it"
                                           : doctor->answer.text,
                         "look at its log; is it of another version?");
}

static void ask(struct doctor *doctor)
{
    doctor->asked = control_client_ask(doctor->data,
                                       json_pack("{s:s}", "do", "status"),
                                       COMMAND_ANSWER_MS, &doctor->answer);
    if (doctor->answer.ok)
        doctor->status = json_object_get(doctor->answer.json, "status");
}

/* The node's own problems; its health is also that of the worst database, of
 * which we tell apart. */
static void look_at_problems(struct doctor *doctor)
{
    const json_t *problem, *node = doctor_node(doctor);
    size_t i;

    json_array_foreach(json_object_get(node, "problems"), i, problem)
    {
        const char *text = json_string_value(problem);

        if (text != NULL)
            doctor_find_sentence(doctor, DOCTOR_WARN, DOCTOR_NODE, "node", text,
                                 "look at its log");
    }
}

static void look_at_replica(struct doctor *doctor, const json_t *replica)
{
    const char *id = doctor_text(replica, "id");
    uint64_t since_ms = doctor_number(replica, "since_ms");
    char since[QUANTITY_TEXT_BYTES + 8] = "", time[QUANTITY_TEXT_BYTES];
    const json_t *stream;
    size_t i;

    if (!json_is_true(json_object_get(replica, "connected"))) {
        if (since_ms != 0) {
            quantity_format_us(since_ms * 1000, time);
            snprintf(since, sizeof since, " for %s", time);
        }
        doctor_find(doctor, DOCTOR_WARN, DOCTOR_NODE, id,
                    "this replica is away%s; logs are kept for it, to "
                    "log.retain each",
                    since);
        doctor_advise(doctor, "start it; if it is gone for good, stop the "
                              "primary, take it out of data/roster.json, and "
                              "start the primary");
        return;
    }
    json_array_foreach(json_object_get(replica, "databases"), i, stream)
    {
        const char *state = doctor_text(stream, "state");

        if (strcmp(state, "copy") != 0 && strcmp(state, "waiting") != 0)
            continue;
        doctor_find(doctor, DOCTOR_WARN, DOCTOR_NODE, id,
                    "this replica does not follow %s yet: %s",
                    doctor_text(stream, "database"), state);
        doctor_advise(doctor, "wait; if that lasts, look at the log there");
    }
}

void doctor_look_at_node(struct doctor *doctor)
{
    const json_t *node, *replica;
    size_t i;

    if (doctor->data[0] == '\0')
        return;
    ask(doctor);
    node = doctor_node(doctor);
    if (node == NULL) {
        say_silent(doctor);
        return;
    }
    snprintf(doctor->mount, sizeof doctor->mount, "%s",
             doctor_text(node, "mount"));
    doctor_find(doctor, DOCTOR_OK, DOCTOR_NODE, "node",
                "%s runs as %s (pid %llu), version %s", doctor_text(node, "id"),
                doctor_text(node, "role"),
                (unsigned long long)doctor_number(node, "pid"),
                doctor_text(node, "version"));
    look_at_problems(doctor);
    json_array_foreach(json_object_get(doctor->status, "replicas"), i, replica)
        look_at_replica(doctor, replica);
}

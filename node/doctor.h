/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/doctor.h - what `tidemark doctor` finds, and who looks for it.
 *
 * An examination is a list of findings. Each belongs to a group, is about one
 * thing, and is ok, a warning (it works, and will hurt) or bad (it does not
 * work, or data is at stake); those two come with what to do. The functions
 * that look are one per part of the world and only ever add findings: what
 * they cannot see they say. Nothing is changed anywhere. Main thread.
 */
#ifndef TIDEMARK_NODE_DOCTOR_H
#define TIDEMARK_NODE_DOCTOR_H

#include "node/command.h"
#include "node/config.h"
#include "node/doctor_facts.h"
#include "node/processes.h"

#include <limits.h>
#include <sys/types.h>

/* In the order they are shown. */
enum doctor_group {
    DOCTOR_SYSTEM,
    DOCTOR_CONFIG,
    DOCTOR_NODE,
    DOCTOR_MOUNT,
    DOCTOR_DATA,
    DOCTOR_DATABASES,
    DOCTOR_PROGRAMS,
    DOCTOR_GROUPS,
};

/* One examination: what is known before the looking begins, and the result. */
struct doctor {
    const struct command_args *args;

    struct config config; /* zeroed unless configured */
    bool configured;
    char data[PATH_MAX];  /* "": nobody said where */
    char mount[PATH_MAX]; /* "": the same */

    struct control_answer answer; /* to the question for the status */
    int asked;                    /* what asking said; 0: see answer */
    const json_t *status;         /* borrowed from answer; NULL: none came */

    dev_t mount_device;             /* of this node's mount; 0: not seen */
    unsigned hidden;                /* processes whose files we may not see */
    struct process_inquiry inquiry; /* and those that do not answer */

    json_t *findings; /* owned; an array, see doctor_json() */
    size_t counts[DOCTOR_LEVELS];
    bool failed; /* memory ran out: the list is not whole */
};

/* -ENOMEM. Closed in any case. */
int doctor_open(struct doctor *doctor, const struct command_args *args);
void doctor_close(struct doctor *doctor);

/* Adds a finding. about: the thing, in a word or two. Neither text nor what
 * comes from users needs to be UTF-8. */
void doctor_find(struct doctor *doctor, enum doctor_level level,
                 enum doctor_group group, const char *about, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));

/* What to do about the last finding. */
void doctor_advise(struct doctor *doctor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds a sentence of the house's form, "what is wrong; what to do": cut at
 * its last semicolon. Without one the advice is `otherwise`. */
void doctor_find_sentence(struct doctor *doctor, enum doctor_level level,
                          enum doctor_group group, const char *about,
                          const char *sentence, const char *otherwise);

/* For people, group by group, with a last line that counts. */
void doctor_print(const struct doctor *doctor, FILE *to, bool colour);

/* {"findings":[{"group":..., "level":..., "about":..., "text":...,
 * "advice":... or null}], "ok":n, "warn":n, "bad":n}: a new reference, or
 * NULL. */
json_t *doctor_json(const struct doctor *doctor);

/* ---- members of the status ----------------------------------------------- */

/* "" and 0 when they are null or not there. */
const char *doctor_text(const json_t *object, const char *name);
uint64_t doctor_number(const json_t *object, const char *name);

/* The node object of the status; NULL without a status. */
const json_t *doctor_node(const struct doctor *doctor);

/* ---- who looks ----------------------------------------------------------- */

void doctor_look_at_system(struct doctor *doctor);
void doctor_look_at_config(struct doctor *doctor); /* the first: who is meant */
void doctor_look_at_node(struct doctor *doctor);   /* the second: asks it */
void doctor_look_at_mount(struct doctor *doctor);  /* sets mount_device */
void doctor_look_at_data(struct doctor *doctor);
void doctor_look_at_databases(struct doctor *doctor);
void doctor_look_at_programs(struct doctor *doctor); /* the last */

#endif

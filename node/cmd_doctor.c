/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_doctor.c - all that is not as it should be, and what to do. */
#include "node/command.h"
#include "node/doctor.h"
#include "node/table.h"

static void examine(struct doctor *doctor)
{
    doctor_look_at_config(doctor);
    doctor_look_at_node(doctor);
    doctor_look_at_system(doctor);
    doctor_look_at_mount(doctor);
    doctor_look_at_data(doctor);
    doctor_look_at_databases(doctor);
    doctor_look_at_programs(doctor);
}

static void print_json(struct doctor *doctor)
{
    json_t *json = doctor_json(doctor);

    if (json == NULL || json_dumpf(json, stdout, JSON_INDENT(2)) < 0)
        doctor->failed = true;
    putchar('\n');
    json_decref(json);
}

static int run(const struct command_args *args)
{
    struct doctor doctor;
    int rc = COMMAND_OK;

    if (doctor_open(&doctor, args) == 0)
        examine(&doctor);
    if (doctor.findings != NULL && args->json)
        print_json(&doctor);
    else if (doctor.findings != NULL)
        doctor_print(&doctor, stdout, table_wants_colour(stdout));
    if (doctor.findings == NULL || doctor.failed)
        rc = command_fail("out of memory");
    else if (doctor.counts[DOCTOR_BAD] > 0)
        rc = COMMAND_FAILED;
    doctor_close(&doctor);
    return rc;
}

const struct command command_doctor = {
    .name = "doctor",
    .operands = "",
    .options = COMMAND_NODE | COMMAND_JSON,
    .summary = "what is not as it should be here, and what to do about it",
    .help =
        "Looks at kernel, privileges, configuration, mount point, disk, "
        "node,\ndatabases and the SQLite of programs that use them, whether "
        "the node runs\nor not. Below each warning stands what to do. Exits "
        "with 1 when something\nis bad. Changes nothing. Run it as the "
        "user of the node, or as root, who\nsees all programs.",
    .run = run,
};

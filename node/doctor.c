/* SPDX-License-Identifier: Apache-2.0 */
/* node/doctor.c - the list of findings, for people and for programs. */
#include "node/doctor.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "node/status.h"
#include "node/table.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define TEXT_BYTES 1024
#define ABOUT_WIDTH 14
#define PATIENCE_MS 5000 /* with processes that are stuck, with all of them */

static const char *const level_names[] = {
    [DOCTOR_OK] = "ok",
    [DOCTOR_WARN] = "warn",
    [DOCTOR_BAD] = "bad",
};

static const char *const group_names[] = {
    [DOCTOR_SYSTEM] = "system",       [DOCTOR_CONFIG] = "configuration",
    [DOCTOR_NODE] = "node",           [DOCTOR_MOUNT] = "mount point",
    [DOCTOR_DATA] = "data directory", [DOCTOR_DATABASES] = "databases",
    [DOCTOR_PROGRAMS] = "programs",
};

int doctor_open(struct doctor *doctor, const struct command_args *args)
{
    *doctor = (struct doctor){.args = args,
                              .asked = -ENOENT,
                              .inquiry = {.patience_ms = PATIENCE_MS}};
    doctor->findings = json_array();
    return doctor->findings == NULL ? -ENOMEM : 0;
}

void doctor_close(struct doctor *doctor)
{
    json_decref(doctor->findings);
    control_client_free(&doctor->answer);
    config_free(&doctor->config);
    *doctor = (struct doctor){0};
}

/* ---- adding -------------------------------------------------------------- */

static void add(struct doctor *doctor, enum doctor_level level,
                enum doctor_group group, const char *about, const char *text)
{
    json_t *finding;

    ASSERT(level < DOCTOR_LEVELS && group < DOCTOR_GROUPS);
    finding = json_pack("{s:s, s:s, s:o, s:o, s:n}", "group",
                        group_names[group], "level", level_names[level],
                        "about", status_text_json(about), "text",
                        status_text_json(text), "advice");
    if (json_array_append_new(doctor->findings, finding) < 0)
        doctor->failed = true;
    doctor->counts[level]++;
}

void doctor_find(struct doctor *doctor, enum doctor_level level,
                 enum doctor_group group, const char *about, const char *format,
                 ...)
{
    char text[TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(doctor, level, group, about, text);
}

void doctor_advise(struct doctor *doctor, const char *format, ...)
{
    size_t count = json_array_size(doctor->findings);
    char text[TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (count == 0 ||
        json_object_set_new(json_array_get(doctor->findings, count - 1),
                            "advice", status_text_json(text)) < 0)
        doctor->failed = true;
}

void doctor_find_sentence(struct doctor *doctor, enum doctor_level level,
                          enum doctor_group group, const char *about,
                          const char *sentence, const char *otherwise)
{
    const char *cut = NULL;

    for (const char *at = sentence; (at = strstr(at, "; ")) != NULL; at++)
        cut = at;
    doctor_find(doctor, level, group, about, "%.*s",
                cut == NULL ? (int)strlen(sentence) : (int)(cut - sentence),
                sentence);
    if (level != DOCTOR_OK)
        doctor_advise(doctor, "%s", cut == NULL ? otherwise : cut + 2);
}

/* ---- members ------------------------------------------------------------- */

const char *doctor_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

uint64_t doctor_number(const json_t *object, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(object, name));

    return number < 0 ? 0 : (uint64_t)number;
}

const json_t *doctor_node(const struct doctor *doctor)
{
    return json_object_get(doctor->status, "node");
}

/* ---- showing ------------------------------------------------------------- */

static void print_level(FILE *to, bool colour, const char *level)
{
    static const enum table_paint paints[] = {
        [DOCTOR_OK] = TABLE_GOOD,
        [DOCTOR_WARN] = TABLE_WARN,
        [DOCTOR_BAD] = TABLE_BAD,
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(level_names); i++)
        if (strcmp(level, level_names[i]) == 0)
            table_paint_text(to, paints[i], colour, level);
    fprintf(to, "%*s", 6 - (int)strlen(level), "");
}

static void print_finding(FILE *to, bool colour, const json_t *finding)
{
    const char *about = doctor_text(finding, "about");
    const char *advice = doctor_text(finding, "advice");
    int width = (int)strlen(about);

    fputs("  ", to);
    print_level(to, colour, doctor_text(finding, "level"));
    table_paint_text(to, TABLE_PLAIN, false, about);
    fprintf(to, "%*s  ", width < ABOUT_WIDTH ? ABOUT_WIDTH - width : 0, "");
    table_paint_text(to, TABLE_PLAIN, false, doctor_text(finding, "text"));
    fputc('\n', to);
    if (*advice == '\0')
        return;
    fputs("        -> ", to);
    table_paint_text(to, TABLE_PLAIN, false, advice);
    fputc('\n', to);
}

static void print_group(const struct doctor *doctor, FILE *to, bool colour,
                        const char *group)
{
    const json_t *finding;
    bool first = true;
    size_t i;

    json_array_foreach(doctor->findings, i, finding)
    {
        if (strcmp(doctor_text(finding, "group"), group) != 0)
            continue;
        if (first) {
            table_paint_text(to, TABLE_HEAD, colour, group);
            fputc('\n', to);
        }
        first = false;
        print_finding(to, colour, finding);
    }
}

void doctor_print(const struct doctor *doctor, FILE *to, bool colour)
{
    for (unsigned group = 0; group < DOCTOR_GROUPS; group++)
        print_group(doctor, to, colour, group_names[group]);
    fprintf(to, "%zu ok, %zu warn, %zu bad\n", doctor->counts[DOCTOR_OK],
            doctor->counts[DOCTOR_WARN], doctor->counts[DOCTOR_BAD]);
}

json_t *doctor_json(const struct doctor *doctor)
{
    return json_pack("{s:O, s:I, s:I, s:I}", "findings", doctor->findings, "ok",
                     (json_int_t)doctor->counts[DOCTOR_OK], "warn",
                     (json_int_t)doctor->counts[DOCTOR_WARN], "bad",
                     (json_int_t)doctor->counts[DOCTOR_BAD]);
}

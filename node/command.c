/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/command.c - the table of commands, and from argv to one of them.
 *
 * A command line is a name of one or two words, then options and operands in
 * any order. Everything it cannot use is refused: a misspelt option must not
 * quietly do something else.
 */
#include "node/command.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "node/locate.h"
#include "node/quantity.h"
#include "node/table.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

const struct command *const commands[] = {
    &command_mount,
    &command_status,
    &command_token,
    &command_wait,
    &command_verify,
    &command_doctor,
    &command_import,
    &command_export,
    &command_config_check,
    &command_config_keys,
    &command_version,
    &command_help,
    NULL,
};

/* Every option there is; the bit says which commands have it. */
static const struct {
    const char *name;
    const char *value; /* what it takes, or NULL */
    unsigned bit;
    const char *help;
} options[] = {
    {"config", "FILE", COMMAND_CONFIG,
     "the configuration; else TIDEMARK_CONFIG, ./tidemark.yml or "
     "/etc/tidemark.yml"},
    {"data", "DIR", COMMAND_DATA, "the node whose data directory this is"},
    {"json", NULL, COMMAND_JSON, "for programs, as one object"},
    {"timeout", "TIME", COMMAND_WAIT, "give up after TIME, as in 500ms or 5s"},
    {"mdoc", NULL, COMMAND_MDOC, "as a section of the manual page"},
};

int command_fail(const char *format, ...)
{
    char text[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    table_paint_text(stderr, TABLE_BAD, table_wants_colour(stderr), "tidemark");
    fprintf(stderr, ": %s\n", text);
    return COMMAND_FAILED;
}

/* ---- help --------------------------------------------------------------- */

static void print_usage(const struct command *command, FILE *to)
{
    fprintf(to, "usage: tidemark %s", command->name);
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++)
        if ((command->options & options[i].bit) != 0)
            fprintf(to, " [--%s%s%s]", options[i].name,
                    options[i].value == NULL ? "" : " ",
                    options[i].value == NULL ? "" : options[i].value);
    fprintf(to, "%s%s\n", *command->operands == '\0' ? "" : " ",
            command->operands);
}

void command_print_help(const struct command *command, FILE *to)
{
    print_usage(command, to);
    fprintf(to, "\n%s\n", command->help);
    if (command->options != 0)
        fputc('\n', to);
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        char name[32];

        if ((command->options & options[i].bit) == 0)
            continue;
        snprintf(name, sizeof name, "--%s%s%s", options[i].name,
                 options[i].value == NULL ? "" : " ",
                 options[i].value == NULL ? "" : options[i].value);
        fprintf(to, "  %-15s  %s\n", name, options[i].help);
    }
}

void command_print_list(FILE *to)
{
    fputs("usage: tidemark COMMAND [OPTION...] [OPERAND...]\n\n", to);
    for (size_t i = 0; commands[i] != NULL; i++) {
        char name[48];

        snprintf(name, sizeof name, "%s %s", commands[i]->name,
                 commands[i]->operands);
        fprintf(to, "  %-26s %s\n", name, commands[i]->summary);
    }
    fputs("\n`tidemark COMMAND --help` says more; so does man tidemark.\n"
          "Exit codes: 0 ok, 1 failed, 2 usage, 3 timeout, 4 lost.\n",
          to);
}

static int usage(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int usage(const struct command *command, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "tidemark%s%s: ", command == NULL ? "" : " ",
            command == NULL ? "" : command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    if (command != NULL)
        print_usage(command, stderr);
    return COMMAND_USAGE;
}

/* ---- the command line --------------------------------------------------- */

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* True when a command of two words begins with this one. */
static bool is_first_word(const char *word)
{
    size_t length = strlen(word);

    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, word, length) == 0 &&
            commands[i]->name[length] == ' ')
            return true;
    return false;
}

/* How many operands: "DB TOKEN" is 2, one in brackets does not count. */
static int count_operands(const char *operands, bool with_optional)
{
    int count = 0;

    while (*operands != '\0') {
        count += with_optional || *operands != '[';
        operands += strcspn(operands, " ");
        operands += strspn(operands, " ");
    }
    return count;
}

static int take_option(const struct command *command, const char *name,
                       const char *value, struct command_args *args)
{
    int rc;

    if (strcmp(name, "config") == 0)
        args->config = value;
    else if (strcmp(name, "data") == 0)
        args->data = value;
    else if (strcmp(name, "json") == 0)
        args->json = true;
    else if (strcmp(name, "mdoc") == 0)
        args->mdoc = true;
    else {
        rc = quantity_parse_duration(value, &args->timeout_ms);
        if (rc < 0)
            return usage(command,
                         "--timeout %s is no duration; write a "
                         "number with ms, s, m or h",
                         value);
    }
    return COMMAND_OK;
}

#define OPTION_FIRST 256 /* getopt's numbers for options[]; below: letters */

/* The options of this command, and --help, for getopt_long. */
static void make_options(const struct command *command,
                         struct option made[ARRAY_LENGTH(options) + 2])
{
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_LENGTH(options); i++)
        if ((command->options & options[i].bit) != 0)
            made[count++] = (struct option){options[i].name,
                                            options[i].value != NULL, NULL,
                                            OPTION_FIRST + (int)i};
    made[count++] = (struct option){"help", no_argument, NULL, 'h'};
    made[count] = (struct option){0};
}

/* Takes what getopt left. */
static int take_operands(const struct command *command, int count,
                         char *const *operands, struct command_args *args)
{
    int most = count_operands(command->operands, true);

    ASSERT(most <= COMMAND_OPERANDS_MAX);
    if (count < count_operands(command->operands, false))
        return usage(command, "an operand is missing");
    if (count > most)
        return usage(command, "what is \"%s\" for?", operands[most]);
    for (int i = 0; i < count; i++)
        args->operands[i] = operands[i];
    return COMMAND_OK;
}

/* argv[0] is the command's (last) word. Negative: --help was printed. */
static int parse(const struct command *command, int argc, char **argv,
                 struct command_args *args)
{
    struct option made[ARRAY_LENGTH(options) + 2];
    int found, rc = COMMAND_OK;

    make_options(command, made);
    opterr = 0;
    while (rc == COMMAND_OK &&
           (found = getopt_long(argc, argv, ":h", made, NULL)) != -1) {
        if (found == 'h') {
            command_print_help(command, stdout);
            return -1;
        }
        if (found == ':')
            rc = usage(command, "%s needs a value", argv[optind - 1]);
        else if (found < OPTION_FIRST)
            rc = usage(command, "there is no option %s", argv[optind - 1]);
        else
            rc = take_option(command, options[found - OPTION_FIRST].name,
                             optarg, args);
    }
    if (rc == COMMAND_OK)
        rc = take_operands(command, argc - optind, argv + optind, args);
    return rc;
}

/* Cuts "-- CMD ..." off the end of argv. */
static char *const *take_rest(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        *argc = i;
        return argv + i + 1;
    }
    return NULL;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct command_args args = {.timeout_ms = CONTROL_TIMEOUT_MS};
    int rc;

    if ((command->options & COMMAND_REST) != 0)
        args.rest = take_rest(&argc, argv);
    rc = parse(command, argc, argv, &args);
    if (rc == COMMAND_OK)
        rc = command->run(&args);
    if (rc < 0)
        rc = COMMAND_OK;
    /* A full disk behind a redirection is a failure too. */
    if (fflush(stdout) != 0 && rc == COMMAND_OK)
        rc = command_fail("standard output: %s", strerror(errno));
    return rc;
}

int command_main(int argc, char **argv)
{
    const struct command *command;
    char name[64];

    if (argc < 2) {
        command_print_list(stderr);
        return COMMAND_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return run(&command_help, 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0)
        return run(&command_version, 1, argv + 1);
    command = command_find(argv[1]);
    if (command != NULL)
        return run(command, argc - 1, argv + 1);
    if (!is_first_word(argv[1]))
        return usage(NULL, "there is no command %s; see `tidemark help`",
                     argv[1]);
    snprintf(name, sizeof name, "%.20s%s%.40s", argv[1], argc > 2 ? " " : "",
             argc > 2 ? argv[2] : "");
    command = command_find(name);
    if (command == NULL)
        return usage(NULL, "there is no command %s; see `tidemark help`", name);
    return run(command, argc - 2, argv + 2);
}

/* ---- asking the node ---------------------------------------------------- */

int command_ask(const struct command_args *args, json_t *question,
                uint64_t timeout_ms, struct control_answer *ret_answer)
{
    struct config_error error;
    char data[PATH_MAX];

    *ret_answer = (struct control_answer){0};
    if (locate_data(args->config, args->data, data, &error) < 0) {
        json_decref(question);
        return command_fail("%s", error.text);
    }
    control_client_ask(data, question, timeout_ms, ret_answer);
    if (ret_answer->ok)
        return COMMAND_OK;
    command_fail("%s", ret_answer->text);
    if (ret_answer->json == NULL)
        return COMMAND_FAILED;
    if (ret_answer->code == CONTROL_TIMEOUT)
        return COMMAND_TIMEOUT;
    return ret_answer->code == CONTROL_LOST ? COMMAND_LOST : COMMAND_FAILED;
}

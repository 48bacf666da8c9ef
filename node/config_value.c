/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_value.c - one function per type of value. Each is given the
 * expanded text, writes its field, or says what it expected instead.
 */
#include "node/config_value.h"

#include "base/assert.h"
#include "node/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int config_value_fail(struct config_reader *reader, int line, const char *path,
                      const char *format, ...)
{
    char *text = reader->error->text;
    size_t size = sizeof reader->error->text, used;
    const char *file = *reader->file == '\0' ? "configuration" : reader->file;
    va_list arguments;

    if (line > 0)
        used = (size_t)snprintf(text, size, "%.200s:%d: ", file, line);
    else
        used = (size_t)snprintf(text, size, "%.200s: ", file);
    if (path != NULL)
        used += (size_t)snprintf(text + used, size - used,
                                 "%.*s: ", CONFIG_PATH_BYTES, path);
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int no_memory(struct config_reader *reader)
{
    config_value_fail(reader, 0, NULL, "out of memory");
    return -ENOMEM;
}

/* What is being set, for the functions below. */
struct setting {
    struct config_reader *reader;
    const struct config_key *key;
    int line;
};

#define FAIL(setting, ...)                                                     \
    config_value_fail((setting)->reader, (setting)->line,                      \
                      (setting)->key->path, __VA_ARGS__)

/* ---- ${VAR} ------------------------------------------------------------- */

static const char *variable_get(const char *name, char machine[64])
{
    const char *value = getenv(name);

    if (value == NULL && strcmp(name, "HOSTNAME") == 0 &&
        gethostname(machine, 63) == 0)
        return machine;
    return value;
}

/*
 * Writes the value of the variable whose "${" starts at *at, and moves *at
 * behind its "}".
 */
static int variable_put(const struct setting *setting, const char **at,
                        FILE *to)
{
    const char *start = *at + 2, *close = strchr(start, '}');
    size_t length = strspn(start, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
                                  "abcdefghijklmnopqrstuvwxyz0123456789");
    char name[128], machine[64] = "";
    const char *value;
    bool has_default = strncmp(start + length, ":-", 2) == 0;

    if (close == NULL || length == 0 || length >= sizeof name ||
        isdigit((unsigned char)*start) ||
        (!has_default && start + length != close))
        return FAIL(setting,
                    "cannot read the variable at \"%.40s\"; write "
                    "${NAME} or ${NAME:-default}",
                    *at);
    snprintf(name, sizeof name, "%.*s", (int)length, start);
    value = variable_get(name, machine);
    if (value == NULL && !has_default)
        return FAIL(setting,
                    "the environment variable %s is not set; set it, "
                    "or write ${%s:-default}",
                    name, name);
    if (has_default && (value == NULL || *value == '\0'))
        fwrite(start + length + 2, 1, (size_t)(close - start) - length - 2, to);
    else if (value != NULL)
        fputs(value, to);
    *at = close + 1;
    return 0;
}

/* Text with its variables put in; the caller frees it. */
static int expand(const struct setting *setting, const char *text,
                  char **ret_text)
{
    char *expanded = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&expanded, &size);
    int rc = 0;

    if (to == NULL)
        return no_memory(setting->reader);
    while (rc == 0 && *text != '\0') {
        if (strncmp(text, "${", 2) == 0)
            rc = variable_put(setting, &text, to);
        else
            fputc(*text++, to);
    }
    if (fclose(to) != 0 && rc == 0)
        rc = no_memory(setting->reader);
    if (rc == 0 && size > CONFIG_VALUE_MAX_BYTES)
        rc = FAIL(setting, "longer than %u bytes", CONFIG_VALUE_MAX_BYTES);
    if (rc == 0)
        *ret_text = expanded;
    else
        free(expanded);
    return rc;
}

/* ---- one function per type ---------------------------------------------- */

static int set_text(const struct setting *setting, const char *text,
                    void *field)
{
    char *copy = strdup(text), **place = field;

    if (copy == NULL)
        return no_memory(setting->reader);
    free(*place);
    *place = copy;
    return 0;
}

static int set_name(const struct setting *setting, const char *text,
                    void *field)
{
    if (strlen(text) > CONFIG_NAME_MAX)
        return FAIL(setting, "\"%.80s\" is longer than %d bytes", text,
                    CONFIG_NAME_MAX);
    for (const char *c = text; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-_.", *c) == NULL)
            return FAIL(setting,
                        "\"%s\" has a character that is no letter, "
                        "digit, '-', '_' or '.'",
                        text);
    return set_text(setting, text, field);
}

/* The folder of the file, where relative paths begin; "." when it has none. */
static void folder_of(const char *file, char *ret_folder, size_t size)
{
    const char *slash = strrchr(file, '/');

    if (slash == NULL)
        snprintf(ret_folder, size, ".");
    else
        snprintf(ret_folder, size, "%.*s",
                 slash == file ? 1 : (int)(slash - file), file);
}

/* Joins absolute folder and path without "." and doubled slashes. ".." stays:
 * only the kernel knows where it leads, through symbolic links. */
static void path_join(const char *folder, const char *path, FILE *to)
{
    const char *parts[] = {*path == '/' ? "" : folder, path};

    for (size_t i = 0; i < 2; i++) {
        const char *at = parts[i];

        for (at += strspn(at, "/"); *at != '\0'; at += strspn(at, "/")) {
            size_t length = strcspn(at, "/");

            if (length != 1 || *at != '.')
                fprintf(to, "/%.*s", (int)length, at);
            at += length;
        }
    }
}

static int set_path(const struct setting *setting, const char *text,
                    void *field)
{
    char folder[4096], *absolute, *joined = NULL, **place = field;
    size_t size;
    FILE *to;

    folder_of(setting->reader->file, folder, sizeof folder);
    absolute = realpath(folder, NULL);
    if (absolute == NULL)
        return FAIL(setting, "the current directory is gone");
    to = open_memstream(&joined, &size);
    if (to != NULL) {
        path_join(absolute, text, to);
        fclose(to);
    }
    free(absolute);
    if (joined == NULL)
        return no_memory(setting->reader);
    free(*place);
    *place = joined;
    if (*joined == '\0')
        return FAIL(setting, "cannot be the root directory");
    return 0;
}

static int set_address(const struct setting *setting, const char *text,
                       void *field)
{
    if (address_parse(text, CONFIG_PORT, field) < 0)
        return FAIL(setting,
                    "\"%.200s\" is no address; write a name, an IPv4 "
                    "address or [IPv6], then :port",
                    text);
    return 0;
}

/* "true" or "false" for all that YAML 1.1 takes for one; else NULL. */
static const char *truth(const char *text)
{
    static const char *const words[] = {"true", "false", "yes",
                                        "no",   "on",    "off"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return words[i % 2];
    return NULL;
}

static int set_bool(const struct setting *setting, const char *text,
                    void *field)
{
    const char *word = truth(text);
    bool value;

    if (word == NULL)
        return FAIL(setting, "\"%.80s\" is not true or false", text);
    value = *word == 't';
    memcpy(field, &value, sizeof value);
    return 0;
}

static int set_size(const struct setting *setting, const char *text,
                    void *field)
{
    int rc = quantity_parse_size(text, field);

    if (rc == -ERANGE)
        return FAIL(setting, "%.80s is too large", text);
    if (rc < 0)
        return FAIL(setting,
                    "\"%.80s\" is no size; write bytes, or a whole "
                    "number with KiB, MiB, GiB or TiB",
                    text);
    return 0;
}

static int set_duration(const struct setting *setting, const char *text,
                        void *field)
{
    int rc = quantity_parse_duration(text, field);

    if (rc == -ERANGE)
        return FAIL(setting, "%.80s is more than a century", text);
    if (rc < 0)
        return FAIL(setting,
                    "\"%.80s\" is no duration; write a whole number "
                    "with ms, s, m, h or d",
                    text);
    return 0;
}

/* The place of text among choices "a|b|c"; -1: none. What follows a word, as
 * in "replicas: 1", is no part of it when only the word counts. */
static int choice_index(const char *choices, const char *text, size_t length)
{
    for (int i = 0; *choices != '\0'; i++) {
        size_t here = strcspn(choices, "|");

        if (here == length && strncmp(choices, text, length) == 0)
            return i;
        choices += here + (choices[here] == '|');
    }
    return -1;
}

static int set_choice(const struct setting *setting, const char *text,
                      void *field)
{
    const struct config_key *key = setting->key;
    const char *word = truth(text);
    char choices[120];
    unsigned value;
    int index = choice_index(key->choices, text, strlen(text));

    if (index < 0 && word != NULL)
        index = choice_index(key->choices, word, strlen(word));
    if (index < 0 && key->later != NULL &&
        choice_index(key->later, text, strcspn(text, ": ")) >= 0)
        return FAIL(setting,
                    "\"%.80s\" is not available in this version; "
                    "use %s",
                    text, key->initial);
    if (index < 0) {
        config_keys_choices(key->choices, choices, sizeof choices);
        return FAIL(setting, "\"%.80s\" is not %s", text, choices);
    }
    value = (unsigned)index;
    memcpy(field, &value, sizeof value);
    return 0;
}

#define ID_MAX INT64_C(4294967294) /* -1 means "leave it" to chown(2) */

static int set_id(const struct setting *setting, const char *text, void *field)
{
    int64_t value = CONFIG_ID_NONE;
    uint64_t number;

    if (strcmp(text, "null") != 0) {
        if (text[strspn(text, "0123456789")] != '\0' ||
            quantity_parse_size(text, &number) < 0 || number > ID_MAX)
            return FAIL(setting, "\"%.80s\" is no user or group number", text);
        value = (int64_t)number;
    }
    memcpy(field, &value, sizeof value);
    return 0;
}

static int set_one(const struct setting *setting, const char *text)
{
    static int (*const set[])(const struct setting *, const char *, void *) = {
        [CONFIG_TEXT] = set_text,
        [CONFIG_NAME] = set_name,
        [CONFIG_PATH] = set_path,
        [CONFIG_ADDRESS] = set_address,
        [CONFIG_BOOL] = set_bool,
        [CONFIG_SIZE] = set_size,
        [CONFIG_DURATION] = set_duration,
        [CONFIG_CHOICE] = set_choice,
        [CONFIG_ID] = set_id,
    };

    return set[setting->key->type](
        setting, text, (char *)setting->reader->config + setting->key->offset);
}

/* ---- lists -------------------------------------------------------------- */

static void list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->texts[i]);
    free(list->texts);
    *list = (struct config_list){0};
}

static int set_list(const struct setting *setting, const char *const *texts,
                    size_t count, struct config_list *list)
{
    list_free(list);
    list->texts = calloc(count + 1, sizeof *list->texts);
    if (list->texts == NULL)
        return no_memory(setting->reader);
    for (size_t i = 0; i < count; i++) {
        int rc = expand(setting, texts[i], &list->texts[i]);

        if (rc < 0)
            return rc;
        list->count++;
    }
    return 0;
}

/* ---- the interface ------------------------------------------------------ */

int config_value_set(struct config_reader *reader, const struct config_key *key,
                     const char *const *texts, size_t count, int line)
{
    struct setting setting = {reader, key, line};
    void *field = (char *)reader->config + key->offset;
    bool *given = &reader->seen[key - config_keys].given;
    char *text = NULL;
    int rc;

    if (key->type == CONFIG_LATER)
        return FAIL(&setting, "is not available in this version; remove it");
    if (count > CONFIG_LIST_MAX)
        return FAIL(&setting, "more than %d entries", CONFIG_LIST_MAX);
    if (key->type == CONFIG_LIST) {
        *given = true; /* an empty list says: none */
        return set_list(&setting, texts, count, field);
    }
    ASSERT(count == 1);
    rc = expand(&setting, texts[0], &text);
    if (rc == 0 && (*text != '\0' || key->type == CONFIG_TEXT)) {
        *given = *text != '\0';
        rc = set_one(&setting, text);
    }
    free(text);
    return rc;
}

void config_value_free(struct config *config, const struct config_key *key)
{
    void *field = (char *)config + key->offset;

    if (key->type == CONFIG_TEXT || key->type == CONFIG_NAME ||
        key->type == CONFIG_PATH) {
        char **place = field;

        free(*place);
        *place = NULL;
    } else if (key->type == CONFIG_LIST) {
        list_free(field);
    }
}

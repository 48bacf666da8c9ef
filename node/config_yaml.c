/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_yaml.c - walks the document that libyaml loaded.
 *
 * The walk goes only where the table of keys leads, so neither deep nesting
 * nor an alias to its own parent can make it run away: nothing in the table
 * is deeper than its longest path.
 */
#include "node/config_yaml.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct walk {
    struct config_reader *reader;
    yaml_document_t *document;
};

static int line_of(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}

static yaml_node_t *node_at(const struct walk *walk, int index)
{
    yaml_node_t *node = yaml_document_get_node(walk->document, index);

    ASSERT(node != NULL); /* libyaml made the index */
    return node;
}

/* The text of a scalar, or NULL: not a scalar, or a 0 byte inside. */
static const char *text_of(const yaml_node_t *node)
{
    const char *text;

    if (node->type != YAML_SCALAR_NODE)
        return NULL;
    text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

static bool is_null(const yaml_node_t *node)
{
    const char *text = text_of(node);

    return text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*text == '\0' || strcmp(text, "~") == 0 ||
            strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 ||
            strcmp(text, "NULL") == 0);
}

static int fail_unknown(const struct walk *walk, int line, const char *path)
{
    const char *nearest = config_keys_nearest(path);

    if (nearest == NULL)
        return config_value_fail(walk->reader, line, path,
                                 "unknown key; `tidemark config keys` "
                                 "lists them all");
    return config_value_fail(walk->reader, line, path,
                             "unknown key; did you mean %s?", nearest);
}

/* ---- values ------------------------------------------------------------- */

static int value_scalar(const struct walk *walk, const struct config_key *key,
                        const yaml_node_t *node)
{
    const char *text = text_of(node);

    if (text == NULL)
        return config_value_fail(walk->reader, line_of(node), key->path,
                                 "must be a single value");
    return config_value_set(walk->reader, key, &text, 1, line_of(node));
}

static int value_list(const struct walk *walk, const struct config_key *key,
                      const yaml_node_t *node)
{
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    const char **texts;
    int rc = 0;

    if (count > CONFIG_LIST_MAX)
        return config_value_fail(walk->reader, line_of(node), key->path,
                                 "more than %d entries", CONFIG_LIST_MAX);
    texts = calloc(count + 1, sizeof *texts);
    if (texts == NULL)
        return -ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        texts[i] = text_of(node_at(walk, items[i]));
        if (texts[i] == NULL)
            rc = config_value_fail(walk->reader, line_of(node), key->path,
                                   "entry %zu must be a single value", i + 1);
    }
    if (rc == 0)
        rc = config_value_set(walk->reader, key, texts, count, line_of(node));
    free(texts);
    return rc;
}

static int value(const struct walk *walk, const struct config_key *key,
                 const char *path, const yaml_node_t *name,
                 const yaml_node_t *node)
{
    int *line = &walk->reader->seen[key - config_keys].line;

    if (key->type == CONFIG_LATER)
        return config_value_fail(walk->reader, line_of(name), path,
                                 "is not available in this version; remove "
                                 "it");
    if (*line != 0)
        return config_value_fail(walk->reader, line_of(name), path,
                                 "given twice, first in line %d", *line);
    *line = line_of(name);
    if (is_null(node))
        return 0;
    if (key->type == CONFIG_LIST && node->type == YAML_SEQUENCE_NODE)
        return value_list(walk, key, node);
    return value_scalar(walk, key, node);
}

/* ---- mappings ----------------------------------------------------------- */

/* "node" and "id" to "node.id"; -EINVAL: this can be no path of ours. */
static int path_make(const struct walk *walk, const char *section,
                     const yaml_node_t *name, char path[CONFIG_PATH_BYTES])
{
    const char *text = text_of(name);
    int length;

    if (text == NULL || *text == '\0')
        return config_value_fail(walk->reader, line_of(name), NULL,
                                 "a key must be a word");
    if (strchr(text, '.') != NULL)
        return config_value_fail(walk->reader, line_of(name), NULL,
                                 "the key %.80s has a dot; write it as a "
                                 "section and a key below it",
                                 text);
    length = snprintf(path, CONFIG_PATH_BYTES, "%s%s%s", section,
                      *section == '\0' ? "" : ".", text);
    if (length >= CONFIG_PATH_BYTES)
        return config_value_fail(walk->reader, line_of(name), NULL,
                                 "unknown key %.80s...", text);
    return 0;
}

static int mapping(const struct walk *walk, const char *section,
                   const yaml_node_t *node);

static int pair(const struct walk *walk, const char *section,
                const yaml_node_pair_t *item)
{
    const yaml_node_t *name = node_at(walk, item->key);
    const yaml_node_t *node = node_at(walk, item->value);
    const struct config_key *key;
    char path[CONFIG_PATH_BYTES];
    int rc = path_make(walk, section, name, path);

    if (rc < 0)
        return rc;
    key = config_keys_find(path);
    if (key != NULL)
        return value(walk, key, path, name, node);
    if (!config_keys_is_section(path))
        return fail_unknown(walk, line_of(name), path);
    if (is_null(node))
        return 0;
    if (node->type != YAML_MAPPING_NODE)
        return config_value_fail(walk->reader, line_of(name), path,
                                 "must have keys below it");
    return mapping(walk, path, node);
}

static int mapping(const struct walk *walk, const char *section,
                   const yaml_node_t *node)
{
    int rc = 0;

    for (const yaml_node_pair_t *item = node->data.mapping.pairs.start;
         rc == 0 && item < node->data.mapping.pairs.top; item++)
        rc = pair(walk, section, item);
    return rc;
}

/* ---- documents ---------------------------------------------------------- */

static int fail_parser(struct config_reader *reader,
                       const yaml_parser_t *parser)
{
    int line = (int)parser->problem_mark.line + 1;

    if (parser->error == YAML_MEMORY_ERROR) {
        config_value_fail(reader, 0, NULL, "out of memory");
        return -ENOMEM;
    }
    if (parser->error == YAML_READER_ERROR)
        return config_value_fail(reader, 0, NULL,
                                 "byte %zu: %s; the file must be UTF-8 text",
                                 parser->problem_offset, parser->problem);
    return config_value_fail(reader, line, NULL, "not YAML: %s%s%s",
                             parser->problem,
                             parser->context == NULL ? "" : ", ",
                             parser->context == NULL ? "" : parser->context);
}

static int read_root(struct config_reader *reader, yaml_document_t *document)
{
    const struct walk walk = {reader, document};
    yaml_node_t *root = yaml_document_get_root_node(document);

    if (root == NULL || is_null(root))
        return 0; /* nothing but comments */
    if (root->type != YAML_MAPPING_NODE)
        return config_value_fail(reader, line_of(root), NULL,
                                 "must be keys and values, as in "
                                 "\"mount: /data\"");
    return mapping(&walk, "", root);
}

/* Loads the next document; the one after the first must be missing. */
static int read_next(struct config_reader *reader, yaml_parser_t *parser,
                     bool first)
{
    yaml_document_t document;
    yaml_node_t *root;
    int rc = 0;

    if (yaml_parser_load(parser, &document) == 0)
        return fail_parser(reader, parser);
    root = yaml_document_get_root_node(&document);
    if (first)
        rc = read_root(reader, &document);
    else if (root != NULL)
        rc = config_value_fail(reader, line_of(root), NULL,
                               "a second document; only one is read");
    yaml_document_delete(&document);
    return rc;
}

int config_yaml_read(struct config_reader *reader, const char *bytes,
                     size_t size)
{
    yaml_parser_t parser;
    int rc;

    if (yaml_parser_initialize(&parser) == 0)
        return -ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
    rc = read_next(reader, &parser, true);
    if (rc == 0)
        rc = read_next(reader, &parser, false);
    yaml_parser_delete(&parser);
    return rc;
}

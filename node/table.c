/* SPDX-License-Identifier: Apache-2.0 */
/* node/table.c - collects cells, then measures, then prints. */
#include "node/table.h"

#include "base/assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void table_init(struct table *table, const struct table_column *columns,
                size_t count)
{
    *table = (struct table){.columns = columns, .column_count = count};
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct table){0};
}

static int table_grow(struct table *table)
{
    size_t capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
    struct table_cell *bigger;

    if (table->count < table->capacity)
        return 0;
    bigger = reallocarray(table->cells, capacity, sizeof *bigger);
    if (bigger == NULL)
        return -ENOMEM;
    table->cells = bigger;
    table->capacity = capacity;
    return 0;
}

void table_add(struct table *table, enum table_paint paint, const char *format,
               ...)
{
    va_list arguments;
    char *text = NULL;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0 || table_grow(table) < 0) {
        if (length >= 0)
            free(text);
        table->failed = true;
        return;
    }
    table->cells[table->count++] = (struct table_cell){text, paint};
}

/* Characters, not bytes: what continues one in UTF-8 has no width. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_paint_text(FILE *to, enum table_paint paint, bool colour,
                      const char *text)
{
    static const char *const codes[] = {
        [TABLE_PLAIN] = "",        [TABLE_HEAD] = "\033[1m",
        [TABLE_GOOD] = "\033[32m", [TABLE_WARN] = "\033[33m",
        [TABLE_BAD] = "\033[31m",
    };

    colour = colour && paint != TABLE_PLAIN;
    if (colour)
        fputs(codes[paint], to);
    for (; *text != '\0'; text++)
        fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, to);
    if (colour)
        fputs("\033[0m", to);
}

static void print_cell(const struct table *table, FILE *to, bool colour,
                       size_t column, size_t width, enum table_paint paint,
                       const char *text)
{
    int padding = (int)(width - width_of(text));
    bool right = table->columns[column].right;

    if (column > 0)
        fputs("  ", to);
    if (right)
        fprintf(to, "%*s", padding, "");
    table_paint_text(to, paint, colour, text);
    if (!right && column + 1 < table->column_count)
        fprintf(to, "%*s", padding, ""); /* not at the end of a line */
}

static size_t column_width(const struct table *table, size_t column)
{
    size_t width = width_of(table->columns[column].title);

    for (size_t i = column; i < table->count; i += table->column_count) {
        size_t now = width_of(table->cells[i].text);

        width = now > width ? now : width;
    }
    return width;
}

int table_print(const struct table *table, FILE *to, bool colour)
{
    size_t columns = table->column_count, *widths;

    ASSERT(table->failed || table->count % columns == 0);
    widths = table->failed ? NULL : calloc(columns, sizeof *widths);
    if (widths == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < columns; i++) {
        widths[i] = column_width(table, i);
        print_cell(table, to, colour, i, widths[i], TABLE_HEAD,
                   table->columns[i].title);
    }
    for (size_t i = 0; i < table->count; i++) {
        if (i % columns == 0)
            fputc('\n', to);
        print_cell(table, to, colour, i % columns, widths[i % columns],
                   table->cells[i].paint, table->cells[i].text);
    }
    fputc('\n', to);
    free(widths);
    return 0;
}

bool table_wants_colour(FILE *to)
{
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

    return (no == NULL || *no == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0 && isatty(fileno(to)) == 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/table.h - aligned columns for a person, and colours where they help.
 *
 * Cells are added left to right; a row is whole when it has a cell for each
 * column. Widths are those of the longest cell, counted in characters, and
 * bytes that would move the cursor are printed as '?': names come from users.
 * Any thread, one owner each.
 */
#ifndef TIDEMARK_NODE_TABLE_H
#define TIDEMARK_NODE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum table_paint { TABLE_PLAIN, TABLE_HEAD, TABLE_GOOD, TABLE_WARN, TABLE_BAD };

struct table_column {
    const char *title;
    bool right; /* numbers: align at their end */
};

struct table_cell {
    char *text; /* owned */
    enum table_paint paint;
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    struct table_cell *cells; /* row by row; owned */
    size_t count;
    size_t capacity;
    bool failed; /* memory ran out: nothing is printed */
};

void table_init(struct table *table, const struct table_column *columns,
                size_t count);

/* The next cell. */
void table_add(struct table *table, enum table_paint paint, const char *format,
               ...) __attribute__((format(printf, 3, 4)));

/* Titles and rows; colour: with escape sequences. -ENOMEM when a cell could
 * not be kept. */
int table_print(const struct table *table, FILE *to, bool colour);

void table_free(struct table *table);

/* text in the colour of paint, without what would move the cursor. */
void table_paint_text(FILE *to, enum table_paint paint, bool colour,
                      const char *text);

/* True when `to` is a terminal that shows colours and nobody said NO_COLOR. */
bool table_wants_colour(FILE *to);

#endif

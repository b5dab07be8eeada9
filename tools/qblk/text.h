/* A growing text, JSON members in it, and tables for people. Out of memory ends the command. */
#ifndef QBLK_TOOL_TEXT_H
#define QBLK_TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *s;    /* NUL-terminated once anything was added */
    size_t len;
    size_t cap;
};

void text_free(struct text *text);
void text_add(struct text *text, const char *s);
void text_add_n(struct text *text, const char *s, size_t n);
void text_addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The text, never NULL; borrowed. */
const char *text_str(const struct text *text);
/* Adds s with control characters made visible: QEMU's words must not steer a terminal. Newlines
 * and tabs stay if lines is set. */
void text_add_plain(struct text *text, const char *s, bool lines);

/* One line of a help text: a name and what it is; a long name has a line for itself. */
void text_add_entry(struct text *text, const char *name, const char *what);

/* Columns that s takes on a terminal, one for each character. */
size_t text_width(const char *s);

/* Rows of cells, aligned when printed. */
struct table {
    int n_columns;
    int n_cells;
    char **cells;
};
void table_init(struct table *table, int n_columns);
void table_cell(struct table *table, const char *s); /* NULL or "" is shown as "-" */
void table_print(const struct table *table, struct text *to);
void table_done(struct table *table);

char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xrealloc(void *p, size_t n, size_t size);

#endif

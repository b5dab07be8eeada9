#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A command of a few hundred KiB that cannot have one more can do nothing better than end; the
 * operation it drove stays recorded inside QEMU. */
static void out_of_memory(void)
{
    (void)fputs("qblk: out of memory\n", stderr);
    exit(1);
}

void *xrealloc(void *p, size_t n, size_t size)
{
    void *q;

    if (size != 0 && n > SIZE_MAX / size)
        out_of_memory();
    q = realloc(p, n * size == 0 ? 1 : n * size);
    if (q == NULL)
        out_of_memory();
    return q;
}

char *xstrndup(const char *s, size_t n)
{
    char *copy = xrealloc(NULL, n + 1, 1);

    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

void text_free(struct text *text)
{
    free(text->s);
    memset(text, 0, sizeof(*text));
}

static char *text_room(struct text *text, size_t n)
{
    if (text->cap - text->len <= n) {
        size_t cap = text->cap < 128 ? 128 : text->cap;

        while (cap - text->len <= n)
            cap *= 2;
        text->s = xrealloc(text->s, cap, 1);
        text->cap = cap;
    }
    return text->s + text->len;
}

void text_add_n(struct text *text, const char *s, size_t n)
{
    char *to = text_room(text, n);

    memcpy(to, s, n);
    to[n] = '\0';
    text->len += n;
}

void text_add(struct text *text, const char *s)
{
    text_add_n(text, s, strlen(s));
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list ap;
    char *to;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    to = text_room(text, (size_t)n);
    va_start(ap, format);
    (void)vsnprintf(to, (size_t)n + 1, format, ap);
    va_end(ap);
    text->len += (size_t)n;
}

const char *text_str(const struct text *text)
{
    return text->s != NULL ? text->s : "";
}

void text_add_plain(struct text *text, const char *s, bool lines)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        bool keep = c >= 0x20 && c != 0x7f;

        /* U+0080 to U+009F steer terminals too. */
        if (c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] <= 0x9f) {
            text_addf(text, "\\u%04x", (unsigned)(unsigned char)s[1]);
            s++;
        } else if (keep || (lines && (c == '\n' || c == '\t'))) {
            text_add_n(text, s, 1);
        } else {
            text_addf(text, "\\x%02x", (unsigned)c);
        }
    }
}

void text_add_entry(struct text *text, const char *name, const char *what)
{
    if (strlen(name) > 26)
        text_addf(text, "  %s\n  %-26s %s\n", name, "", what);
    else
        text_addf(text, "  %-26s %s\n", name, what);
}

size_t text_width(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void table_init(struct table *table, int n_columns)
{
    table->n_columns = n_columns;
    table->n_cells = 0;
    table->cells = NULL;
}

void table_cell(struct table *table, const char *s)
{
    struct text cell = { NULL, 0, 0 };

    text_add_plain(&cell, s == NULL || *s == '\0' ? "-" : s, false);
    table->cells = xrealloc(table->cells, (size_t)table->n_cells + 1, sizeof(char *));
    table->cells[table->n_cells++] = cell.s;
}

static size_t column_width(const struct table *table, int column)
{
    size_t widest = 0;

    for (int i = column; i < table->n_cells; i += table->n_columns) {
        size_t w = text_width(table->cells[i]);

        widest = w > widest ? w : widest;
    }
    return widest;
}

void table_print(const struct table *table, struct text *to)
{
    for (int i = 0; i < table->n_cells; i++) {
        int column = i % table->n_columns;

        text_add(to, table->cells[i]);
        if (column == table->n_columns - 1) {
            text_add(to, "\n");
        } else {
            size_t pad = column_width(table, column) - text_width(table->cells[i]) + 2;

            text_addf(to, "%*s", (int)pad, "");
        }
    }
}

void table_done(struct table *table)
{
    for (int i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    table_init(table, table->n_columns);
}

#include "lines.h"

#include <string.h>

struct scan {
    struct model *model;
    const char *at;
    int line;
};

static void skip_space(struct scan *scan)
{
    for (;; scan->at++) {
        if (*scan->at == '\n')
            scan->line++;
        else if (*scan->at != ' ' && *scan->at != '\t' && *scan->at != '\r')
            return;
    }
}

static void skip_string(struct scan *scan)
{
    for (scan->at++; *scan->at != '"' && *scan->at != '\0'; scan->at++) {
        if (*scan->at == '\\' && scan->at[1] != '\0')
            scan->at++;
    }
    if (*scan->at == '"')
        scan->at++;
}

static struct pos *scan_value(struct scan *scan);

static void scan_parts(struct scan *scan, struct pos *pos, bool is_object)
{
    struct pos **end = &pos->first;
    char close = is_object ? '}' : ']';

    scan->at++;
    for (;;) {
        int line;

        skip_space(scan);
        if (*scan->at == ',') {
            scan->at++;
            continue;
        }
        if (*scan->at == '\0')
            return;
        if (*scan->at == close) {
            scan->at++;
            return;
        }
        line = scan->line;
        if (is_object) {
            skip_string(scan);
            skip_space(scan);
            if (*scan->at == ':')
                scan->at++;
            skip_space(scan);
        }
        *end = scan_value(scan);
        (*end)->line = line;
        end = &(*end)->next;
    }
}

static struct pos *scan_value(struct scan *scan)
{
    struct pos *pos = model_alloc(scan->model, 1, sizeof(*pos));

    skip_space(scan);
    pos->line = scan->line;
    if (*scan->at == '{' || *scan->at == '[') {
        scan_parts(scan, pos, *scan->at == '{');
    } else if (*scan->at == '"') {
        skip_string(scan);
    } else {
        scan->at += strcspn(scan->at, ",]} \t\r\n");
    }
    return pos;
}

struct pos *lines_scan(struct model *model, const char *text)
{
    struct scan scan = { model, text, 1 };

    return scan_value(&scan);
}

const struct pos *lines_part(const struct pos *pos, json_t *object, const char *key)
{
    const struct pos *part = pos->first;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value) {
        if (part == NULL || strcmp(name, key) == 0)
            return part;
        part = part->next;
    }
    return NULL;
}

int lines_of(const struct pos *pos, json_t *object, const char *key)
{
    const struct pos *part = lines_part(pos, object, key);

    return part != NULL ? part->line : pos->line;
}

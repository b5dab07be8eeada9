#include "ops/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#define PREFIX "qblk1 "
/* "qblk1 " and "NN/NN " */
#define HEAD_MAX 12
#define TEXT_MAX (JOURNAL_NAME_MAX - HEAD_MAX)

static void free_list(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void journal_free_nodes(struct journal_nodes *nodes)
{
    free_list(nodes->v, nodes->n);
    memset(nodes, 0, sizeof(*nodes));
}

void journal_done(struct journal *journal)
{
    free(journal->op);
    free(journal->disk);
    free(journal->intent);
    free(journal->base);
    free(journal->bitmaps);
    free(journal->file);
    free(journal->agent);
    for (size_t i = 0; i < journal->n_more; i++) {
        free(journal->more[i].disk);
        free(journal->more[i].file);
    }
    free(journal->more);
    free(journal->opts);
    journal_free_nodes(&journal->old_nodes);
    journal_free_nodes(&journal->with);
    journal_free_nodes(&journal->added);
    memset(journal, 0, sizeof(*journal));
}

int journal_add(struct journal_nodes *nodes, const char *name)
{
    char *copy;

    if (mem_grow(&nodes->v, &nodes->room, nodes->n, sizeof(*nodes->v)) < 0)
        return -ENOMEM;
    copy = mem_strdup(name);
    if (copy == NULL)
        return -ENOMEM;
    nodes->v[nodes->n++] = copy;
    return 0;
}

bool journal_has_node(const struct journal_nodes *nodes, const char *name)
{
    for (size_t i = 0; i < nodes->n; i++) {
        if (strcmp(nodes->v[i], name) == 0)
            return true;
    }
    return false;
}

const char *journal_file(const struct journal *journal, size_t number)
{
    if (number == 0)
        return journal->file;
    return number <= journal->n_more ? journal->more[number - 1].file : NULL;
}

struct journal_disk *journal_more(struct journal *journal, size_t number)
{
    if (number > journal->n_more) {
        if (mem_grow(&journal->more, &journal->more_room, journal->n_more,
                     sizeof(*journal->more)) < 0)
            return NULL;
        journal->more[journal->n_more++] = (struct journal_disk){ NULL, NULL };
    }
    return &journal->more[number - 1];
}

int journal_opt(struct journal *journal, const char *word)
{
    char *opts = journal->opts == NULL ? mem_strdup(word)
                                       : mem_printf("%s,%s", journal->opts, word);

    if (opts == NULL)
        return -ENOMEM;
    free(journal->opts);
    journal->opts = opts;
    return 0;
}

bool journal_has_opt(const struct journal *journal, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = journal->opts; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
            return true;
    }
    return false;
}

uint64_t journal_opt_number(const struct journal *journal, const char *word)
{
    for (const char *p = journal->opts; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (str_starts(p, word) && p[strlen(word)] >= '0' && p[strlen(word)] <= '9')
            return strtoull(p + strlen(word), NULL, 10);
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_value(struct buf *out, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '%')
            (void)buf_addf(out, "%%%02X", *p);
        else
            (void)buf_addc(out, (char)*p);
    }
}

static void put_field(struct buf *out, const char *key, const char *value)
{
    if (value == NULL)
        return;
    (void)buf_addf(out, "%s%s=", out->len > 0 ? " " : "", key);
    put_value(out, value);
}

static void put_numbered(struct buf *out, const char *key, size_t number, const char *value)
{
    char numbered[32];

    (void)snprintf(numbered, sizeof(numbered), "%s.%zu", key, number);
    put_field(out, numbered, value);
}

static void put_nodes(struct buf *out, const char *key, const struct journal_nodes *nodes)
{
    if (nodes->n == 0)
        return;
    (void)buf_addf(out, " %s=", key);
    for (size_t i = 0; i < nodes->n; i++) {
        if (i > 0)
            (void)buf_addc(out, ',');
        put_value(out, nodes->v[i]); /* node names have no comma */
    }
}

static int cut(const struct buf *text, char ***ret_names, qblk_error *error)
{
    size_t parts = (text->len + TEXT_MAX - 1) / TEXT_MAX;
    char **names;

    if (parts > JOURNAL_PARTS_MAX)
        return err_set(error, QBLK_E_LIMIT, "the journal record would take %zu bytes; the chain "
                       "is too long to be recorded (the limit is %d)", text->len,
                       JOURNAL_PARTS_MAX * TEXT_MAX);
    names = mem_zalloc(parts * sizeof(*names));
    if (names == NULL)
        return err_nomem(error);
    for (size_t i = 0; i < parts; i++) {
        size_t len = text->len - i * TEXT_MAX;

        names[i] = mem_printf(PREFIX "%zu/%zu %.*s", i + 1, parts,
                              (int)(len < TEXT_MAX ? len : TEXT_MAX), text->data + i * TEXT_MAX);
        if (names[i] == NULL) {
            free_list(names, parts);
            return err_nomem(error);
        }
    }
    *ret_names = names;
    return (int)parts;
}

int journal_encode(const struct journal *journal, char ***ret_names, qblk_error *error)
{
    struct buf text = BUF_INIT;
    int r;

    put_field(&text, "op", journal->op);
    put_field(&text, "disk", journal->disk);
    put_field(&text, "base", journal->base);
    put_field(&text, "bitmaps", journal->bitmaps);
    put_field(&text, "file", journal->file);
    put_field(&text, "agent", journal->agent);
    for (size_t i = 0; i < journal->n_more; i++) {
        put_numbered(&text, "disk", i + 1, journal->more[i].disk);
        put_numbered(&text, "file", i + 1, journal->more[i].file);
    }
    put_field(&text, "opts", journal->opts);
    put_nodes(&text, "with", &journal->with);
    put_nodes(&text, "old", &journal->old_nodes);
    put_field(&text, "intent", journal->intent); /* the last: a record that is cut off lacks it */
    r = buf_ok(&text) < 0 ? err_nomem(error) : cut(&text, ret_names, error);
    buf_done(&text);
    return r;
}

int journal_encode_added(const char *bitmap, char **ret_name)
{
    struct buf name = BUF_INIT;

    (void)buf_adds(&name, JOURNAL_ADDED);
    put_value(&name, bitmap);
    *ret_name = NULL;
    if (buf_ok(&name) == 0 &&
        (name.len > JOURNAL_NAME_MAX || (*ret_name = mem_strdup(name.data)) != NULL)) {
        buf_done(&name);
        return 0;
    }
    buf_done(&name);
    return -ENOMEM;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* A number of one or two digits, the first of which is not 0; NULL if there is none. */
static const char *read_number(const char *text, size_t *ret_number)
{
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 2 || text[0] == '0')
        return NULL;
    *ret_number = strtoul(text, NULL, 10);
    return text + n;
}

/* "3/12 ": the first not above the second. */
static const char *read_part(const char *name, size_t *ret_part, size_t *ret_parts)
{
    if (!str_starts(name, PREFIX))
        return NULL;
    name = read_number(name + strlen(PREFIX), ret_part);
    if (name == NULL || *name != '/')
        return NULL;
    name = read_number(name + 1, ret_parts);
    if (name == NULL || *name != ' ' || *ret_part > *ret_parts || *ret_parts > JOURNAL_PARTS_MAX)
        return NULL;
    return name + 1;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place; false for a bad escape or one that stands for NUL. */
static bool unescape(char *value)
{
    char *to = value;

    for (const char *p = value; *p != '\0'; p++) {
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        int high = hex(p[1]), low = high < 0 ? -1 : hex(p[2]);

        if (low < 0 || high * 16 + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        p += 2;
    }
    *to = '\0';
    return true;
}

/* No byte that is written as %XX, but for blanks. */
static bool is_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < ' ' || *p >= 0x7f)
            return false;
    }
    return true;
}

/* The name of a bitmap that was added. */
static int read_added(struct journal *journal, const char *text)
{
    AUTO_FREE char *name = mem_strdup(text);

    if (name == NULL)
        return -ENOMEM;
    if (*name == '\0' || strchr(name, ' ') != NULL || !is_plain(name) || !unescape(name))
        return -EPERM;
    return journal_add(&journal->added, name);
}

static int malformed(const char *name, qblk_error *error)
{
    return err_set(error, QBLK_E_JOURNAL, "the journal record \"%.80s\" is malformed or of a newer version "
                   "of qblk", name);
}

static int gather(char *const *names, size_t n, struct buf *text, struct journal *journal,
                  qblk_error *error)
{
    const char *part_text[JOURNAL_PARTS_MAX] = { NULL };
    size_t total = 0;

    for (size_t i = 0; i < n; i++) {
        size_t part, parts;
        const char *rest;

        if (strcmp(names[i], JOURNAL_ENDED) == 0) {
            journal->has_ended = true;
            continue;
        }
        if (str_starts(names[i], JOURNAL_ADDED)) {
            int r = read_added(journal, names[i] + strlen(JOURNAL_ADDED));

            if (r < 0)
                return r == -ENOMEM ? err_nomem(error) : malformed(names[i], error);
            continue;
        }
        rest = read_part(names[i], &part, &parts);
        if (rest == NULL)
            return malformed(names[i], error);
        if ((total != 0 && parts != total) || part_text[part - 1] != NULL)
            return err_set(error, QBLK_E_JOURNAL, "the parts of the journal record contradict "
                           "each other");
        total = parts;
        part_text[part - 1] = rest;
    }
    for (size_t i = 0; i < total; i++) {
        if (part_text[i] == NULL)
            return err_set(error, QBLK_E_JOURNAL, "part %zu of %zu of the journal record is "
                           "missing", i + 1, total);
        if (i + 1 < total && strlen(part_text[i]) != TEXT_MAX)
            return err_set(error, QBLK_E_JOURNAL, "part %zu of %zu of the journal record is cut "
                           "off", i + 1, total);
        (void)buf_adds(text, part_text[i]);
    }
    if (total == 0)
        return err_set(error, QBLK_E_JOURNAL, "the journal holds no record");
    return buf_ok(text) < 0 ? err_nomem(error) : 0;
}

static int read_nodes(char *value, struct journal_nodes *nodes)
{
    char *next;

    if (nodes->v != NULL)
        return -EPERM;
    for (char *item = value; item != NULL; item = next) {
        next = strchr(item, ',');
        if (next != NULL)
            *next++ = '\0';
        if (*item == '\0' || strlen(item) > STR_NODE_NAME_MAX)
            return -EPERM;
        if (journal_add(nodes, item) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int read_ids(char *value, struct journal_nodes *ids)
{
    int r = read_nodes(value, ids);

    for (size_t i = 0; i < ids->n && r == 0; i++) {
        if (strlen(ids->v[i]) != 8 || strspn(ids->v[i], "0123456789abcdef") != 8)
            r = -EPERM;
    }
    return r;
}

static int keep_value(char **to, const char *value)
{
    if (*to != NULL || *value == '\0')
        return -EPERM;
    *to = mem_strdup(value);
    return *to != NULL ? 0 : -ENOMEM;
}

/* "disk.7" or "file.7"; the disk comes before its file, and number 7 after number 6. */
static int read_numbered(struct journal *journal, const char *key, const char *value)
{
    bool is_disk = str_starts(key, "disk."), is_file = str_starts(key, "file.");
    const char *digits = key + strlen("disk.");
    struct journal_disk *more;
    unsigned long number;

    if (!is_disk && !is_file)
        return 0;
    if (digits[0] < '1' || digits[0] > '9' || strspn(digits, "0123456789") != strlen(digits) ||
        strlen(digits) > 3)
        return -EPERM;
    number = strtoul(digits, NULL, 10);
    if (number > journal->n_more + (is_disk ? 1 : 0))
        return -EPERM;
    more = journal_more(journal, number);
    if (more == NULL)
        return -ENOMEM;
    return keep_value(is_disk ? &more->disk : &more->file, value);
}

static int read_field(struct journal *journal, char *field)
{
    char *value = strchr(field, '=');
    struct {
        const char *key;
        char **to;
    } fields[] = {
        { "op", &journal->op },         { "disk", &journal->disk },
        { "intent", &journal->intent }, { "base", &journal->base },
        { "bitmaps", &journal->bitmaps }, { "file", &journal->file },
        { "agent", &journal->agent },   { "opts", &journal->opts },
    };

    if (value == NULL || value == field)
        return -EPERM;
    *value++ = '\0';
    if (!unescape(value))
        return -EPERM;
    if (strcmp(field, "old") == 0)
        return read_nodes(value, &journal->old_nodes);
    if (strcmp(field, "with") == 0)
        return read_ids(value, &journal->with);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(field, fields[i].key) == 0)
            return keep_value(fields[i].to, value);
    }
    return read_numbered(journal, field, value);
}

/* One blank between fields, and no byte that is written as %XX. */
static int read_text(struct journal *journal, struct buf *text, qblk_error *error)
{
    char *next;
    int r = 0;

    if (text->len > 0 && !is_plain(text->data))
        return malformed(text->data, error);
    for (char *field = text->data; field != NULL && r == 0; field = next) {
        next = strchr(field, ' ');
        if (next != NULL)
            *next++ = '\0';
        r = read_field(journal, field);
        if (r < 0)
            r = r == -ENOMEM ? err_nomem(error)
                             : err_set(error, QBLK_E_JOURNAL, "the journal record's field \"%.40s\" is malformed, "
                                       "there twice, or of a newer version of qblk", field);
    }
    return r;
}

int journal_decode(char *const *names, size_t n, struct journal *ret_journal, qblk_error *error)
{
    struct buf text = BUF_INIT;
    int r;

    memset(ret_journal, 0, sizeof(*ret_journal));
    r = gather(names, n, &text, ret_journal, error);
    if (r == 0)
        r = read_text(ret_journal, &text, error);
    if (r == 0 && (ret_journal->op == NULL || ret_journal->disk == NULL ||
                   ret_journal->intent == NULL))
        r = err_set(error, QBLK_E_JOURNAL, "the journal record lacks one of op, disk, intent");
    if (r < 0)
        journal_done(ret_journal);
    buf_done(&text);
    return r;
}

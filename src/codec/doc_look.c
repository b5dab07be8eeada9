/* Looking things up in a text that doc.c has read. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/doc.h"

static struct bytes bytes_of(const struct doc *doc, const struct doc_value *string)
{
    const char *at = doc->text + string->at;

    return (struct bytes){ .at = at, .end = at + string->len };
}

static const struct doc_ref none = { NULL, 0 };

static const struct doc_value *value_of(struct doc_ref ref)
{
    return &ref.doc->v[ref.at];
}

struct doc_ref doc_top(const struct doc *doc)
{
    return (struct doc_ref){ doc, 0 };
}

enum doc_kind doc_kind(struct doc_ref ref)
{
    return ref.doc != NULL ? (enum doc_kind)value_of(ref)->kind : DOC_NULL;
}

static bool is_escaped_text(const struct doc *doc, const struct doc_value *string, const char *text,
                            size_t len)
{
    struct bytes bytes = bytes_of(doc, string);

    for (size_t i = 0; i < len; i++)
        if (bytes_next(&bytes) != (unsigned char)text[i])
            return false;
    return bytes_next(&bytes) < 0;
}

static inline bool is_text(const struct doc *doc, const struct doc_value *string, const char *text,
                           size_t len)
{
    if (string->is_escaped)
        return is_escaped_text(doc, string, text, len);
    return string->len == len && memcmp(doc->text + string->at, text, len) == 0;
}

bool doc_is(struct doc_ref string, const char *text)
{
    return doc_kind(string) == DOC_STRING
           && is_text(string.doc, value_of(string), text, strlen(text));
}

struct doc_ref doc_get(struct doc_ref object, const char *name)
{
    const struct doc_value *v;
    size_t len = strlen(name), end;

    if (doc_kind(object) != DOC_OBJECT)
        return none;
    v = object.doc->v;
    end = v[object.at].end;
    for (size_t at = object.at + 1; at < end; at = v[at + 1].end)
        if (is_text(object.doc, &v[at], name, len))
            return (struct doc_ref){ object.doc, at + 1 };
    return none;
}

static struct doc_ref element_at(struct doc_ref array, size_t at)
{
    return at < value_of(array)->end ? (struct doc_ref){ array.doc, at } : none;
}

struct doc_ref doc_first(struct doc_ref array)
{
    return doc_kind(array) == DOC_ARRAY ? element_at(array, array.at + 1) : none;
}

struct doc_ref doc_next(struct doc_ref array, struct doc_ref element)
{
    return element_at(array, value_of(element)->end);
}

size_t doc_room(struct doc_ref value)
{
    return value.doc != NULL ? (size_t)value_of(value)->len + 1 : 1;
}

bool doc_has_nul(struct doc_ref string)
{
    const struct doc_value *value = value_of(string);
    struct bytes bytes = bytes_of(string.doc, value);
    int c;

    if (!value->is_escaped)
        return false;
    do
        c = bytes_next(&bytes);
    while (c > 0);
    return c == 0;
}

size_t doc_copy(struct doc_ref string, char *to, size_t room)
{
    const struct doc_value *value = value_of(string);
    struct bytes bytes = bytes_of(string.doc, value);
    size_t n = 0;

    if (value->is_escaped) {
        for (int c = bytes_next(&bytes); c >= 0 && n < room - 1; c = bytes_next(&bytes))
            to[n++] = (char)c;
    } else {
        n = value->len < room ? value->len : room - 1;
        memcpy(to, bytes.at, n);
    }
    to[n] = '\0';
    return n;
}

int doc_bytes(struct doc_ref string, char **ret_text, size_t *ret_len)
{
    char *text;
    size_t n;

    if (doc_kind(string) != DOC_STRING)
        return -EINVAL;
    /* No escape stands for more bytes than it has itself. */
    text = mem_zalloc(doc_room(string));
    if (text == NULL)
        return -ENOMEM;
    n = doc_copy(string, text, doc_room(string));
    *ret_text = text;
    if (ret_len != NULL)
        *ret_len = n;
    return 0;
}

int doc_string(struct doc_ref string, char **ret_text)
{
    char *text;
    int r = doc_bytes(string, &text, NULL);

    if (r == 0 && doc_has_nul(string)) {
        free(text);
        return -EILSEQ;
    }
    if (r == 0)
        *ret_text = text;
    return r;
}

/* The number's digits with an end behind them. */
static const char *digits_of(struct doc_ref value, char text[24])
{
    size_t len = value_of(value)->len;

    memcpy(text, value.doc->text + value_of(value)->at, len < 24 ? len : 23);
    text[len < 24 ? len : 23] = '\0';
    return text;
}

int64_t doc_integer(struct doc_ref value)
{
    char text[24];

    return doc_kind(value) == DOC_INTEGER ? strtoll(digits_of(value, text), NULL, 10) : 0;
}

uint64_t doc_unsigned(struct doc_ref value)
{
    char text[24];

    if (doc_kind(value) == DOC_BIG)
        return strtoull(digits_of(value, text), NULL, 10);
    return (uint64_t)doc_integer(value);
}

/* strtod() wants the locale's point. */
double doc_real(const char *text, size_t len)
{
    char copy[DOC_MAX_NUMBER + 1], *point;

    if (len > DOC_MAX_NUMBER)
        return HUGE_VAL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    point = strchr(copy, '.');
    if (point != NULL)
        *point = *localeconv()->decimal_point;
    return strtod(copy, NULL);
}

double doc_number(struct doc_ref value)
{
    if (doc_kind(value) == DOC_INTEGER)
        return (double)doc_integer(value);
    if (doc_kind(value) == DOC_BIG)
        return (double)doc_unsigned(value);
    if (doc_kind(value) != DOC_REAL)
        return 0;
    return doc_real(value.doc->text + value_of(value)->at, value_of(value)->len);
}

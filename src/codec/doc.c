#include "codec/doc.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/bytes.h"
#include "codec/engine.h"

#define FEW_KEYS 32

#define STRING_(x) #x
#define STRING(x) STRING_(x)

struct reader {
    struct doc *doc;
    const char *at;
    const char *end;
    uint32_t *keys; /* scratch: the names of one big object */
    size_t keys_room;
    const char *why; /* it is refused */
};

static int refuse(struct reader *reader, const char *at, const char *why)
{
    reader->at = at;
    reader->why = why;
    return -EBADMSG;
}

/* ---- strings -------------------------------------------------------------------------------- */

/* For as many values as there will be if the rest of the text is like what was read; for twice to sixteen
 * times those that there are, and for no more than the text has bytes. */
static bool make_room(struct reader *reader)
{
    struct doc *doc = reader->doc;
    size_t all = (size_t)(reader->end - doc->text), was_read = (size_t)(reader->at - doc->text);
    size_t likely = (size_t)((double)doc->n * 1.125 * (double)all / (double)(was_read + 1));
    size_t room = likely < 2 * doc->n ? 2 * doc->n : likely < 16 * doc->n ? likely : 16 * doc->n;
    struct doc_value *v;

    room = room <= all ? room : all + 1;
    v = mem_realloc(doc->v == doc->few ? NULL : doc->v, room * sizeof(*v));

    if (v == NULL)
        return false;
    if (doc->v == doc->few)
        memcpy(v, doc->few, sizeof(doc->few));
    doc->v = v;
    doc->room = room;
    return true;
}

static struct doc_value *add(struct reader *reader, enum doc_kind kind)
{
    struct doc *doc = reader->doc;
    struct doc_value *value;

    if (doc->n == doc->room && !make_room(reader))
        return NULL;
    value = &doc->v[doc->n++];
    *value = (struct doc_value){ .at = (uint32_t)(reader->at - doc->text),
                                 .end = (uint32_t)doc->n,
                                 .kind = (uint8_t)kind };
    return value;
}

/* At the quote that begins it; goes behind the one that ends it. */
static int read_string(struct reader *reader)
{
    struct doc_value *string;
    const char *at, *end = reader->end;
    char ignored[4];

    reader->at++;
    string = add(reader, DOC_STRING);
    if (string == NULL)
        return -ENOMEM;
    for (at = reader->at;;) {
        unsigned char c;
        size_t len = 0;

        at += str_plain(at, (size_t)(end - at));
        if (at == end || *at == '"')
            break;
        c = (unsigned char)*at;
        if (c == '\\') {
            const char *escape = at++;

            string->is_escaped = true;
            if (bytes_unescape(&at, end, ignored) == 0)
                return refuse(reader, escape, "not an escape that stands for a character");
            continue;
        }
        if (c >= 0x80)
            len = bytes_utf8(at, end);
        if (len == 0)
            return refuse(reader, at, c < 0x20 ? c == '\0' ? "a NUL in a string"
                                                           : "a control character in a string"
                                               : "not UTF-8");
        at += len;
    }
    if (at == end)
        return refuse(reader, at, "the text ends inside a string");
    string->len = (uint32_t)(at - reader->at);
    reader->at = at + 1;
    return 0;
}

static struct bytes bytes_of(const struct doc *doc, const struct doc_value *string)
{
    const char *at = doc->text + string->at;

    return (struct bytes){ .at = at, .end = at + string->len };
}

/* ---- names of members ----------------------------------------------------------------------- */

/* Eight bytes as a number, so that what is behind the first len of them can be cut off. */
static uint64_t word_at(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return le64toh(word);
}

/* Of the length, the first and the last bytes: names of the same hash are compared, and many of
 * them sorted. */
static uint32_t hash_of(const struct reader *reader, const struct doc_value *name)
{
    struct bytes bytes = bytes_of(reader->doc, name);
    size_t len = name->len;
    uint64_t first, last = 0;

    if (!name->is_escaped && reader->end - bytes.at >= 8) {
        first = word_at(bytes.at);
        if (len < 8)
            first &= (UINT64_C(1) << len * 8) - 1;
        else
            last = word_at(bytes.end - 8);
    } else {
        unsigned char edges[16] = { 0 }, ring[8] = { 0 };

        len = 0;
        for (int c = bytes_next(&bytes); c >= 0; c = bytes_next(&bytes)) {
            if (len < 8)
                edges[len] = (unsigned char)c;
            ring[len++ % 8] = (unsigned char)c;
        }
        for (size_t i = 0; len >= 8 && i < 8; i++)
            edges[8 + i] = ring[(len + i) % 8];
        first = word_at(edges);
        last = word_at(edges + 8);
    }
    first = (first ^ (last + len) * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(first >> 32);
}

static int compare_names(const void *a, const void *b, void *arg)
{
    const struct doc *doc = arg;
    const struct doc_value *x = &doc->v[*(const uint32_t *)a], *y = &doc->v[*(const uint32_t *)b];
    struct bytes left = bytes_of(doc, x), right = bytes_of(doc, y);
    int c, d;

    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    do {
        c = bytes_next(&left);
        d = bytes_next(&right);
    } while (c == d && c >= 0);
    return c - d;
}

static bool is_twice(struct doc *doc, const uint32_t *a, const uint32_t *b)
{
    return doc->v[*a].end == doc->v[*b].end && compare_names(a, b, doc) == 0;
}

static const char twice[] = "a name that the object has already";

static int check_many_names(struct reader *reader, size_t object, size_t n)
{
    struct doc *doc = reader->doc;
    size_t i = 0;

    while (reader->keys_room < n)
        if (mem_grow(&reader->keys, &reader->keys_room, reader->keys_room, sizeof(uint32_t)) < 0)
            return -ENOMEM;
    for (size_t at = object + 1; i < n; at = doc->v[at + 1].end)
        reader->keys[i++] = (uint32_t)at;
    qsort_r(reader->keys, n, sizeof(uint32_t), compare_names, doc);
    for (i = 1; i < n; i++)
        if (is_twice(doc, &reader->keys[i - 1], &reader->keys[i]))
            return refuse(reader, doc->text + doc->v[reader->keys[i]].at, twice);
    return 0;
}

/* Whether a name comes twice in the object that ends with the last value. */
static int check_names(struct reader *reader, size_t object, size_t n)
{
    struct doc *doc = reader->doc;
    uint64_t seen[16] = { 0 };
    uint32_t keys[FEW_KEYS];

    if (n > FEW_KEYS)
        return check_many_names(reader, object, n);
    for (size_t at = object + 1, i = 0; i < n; at = doc->v[at + 1].end, i++) {
        uint32_t hash = doc->v[at].end;
        uint64_t *word = &seen[hash / 64 % 16], bit = UINT64_C(1) << hash % 64;

        keys[i] = (uint32_t)at;
        for (size_t k = 0; (*word & bit) != 0 && k < i; k++)
            if (is_twice(doc, &keys[k], &keys[i]))
                return refuse(reader, doc->text + doc->v[keys[i]].at, twice);
        *word |= bit;
    }
    return 0;
}

/* ---- numbers and words ---------------------------------------------------------------------- */

static bool is_digit(const struct reader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

static bool read_digits(struct reader *reader)
{
    if (!is_digit(reader))
        return false;
    while (is_digit(reader))
        reader->at++;
    return true;
}

static enum doc_kind integer_kind(const char *text, size_t len)
{
    bool is_negative = text[0] == '-';
    const char *most = is_negative ? "9223372036854775808" : "9223372036854775807";
    const char *digits = text + is_negative;
    size_t n = len - is_negative;

    if (n < 19 || (n == 19 && memcmp(digits, most, 19) <= 0))
        return DOC_INTEGER;
    if (!is_negative && (n == 19 || (n == 20 && memcmp(digits, "18446744073709551615", 20) <= 0)))
        return DOC_BIG;
    return DOC_NULL; /* too big */
}

/* The digits that must be here. */
static int want_digits(struct reader *reader)
{
    return read_digits(reader) ? 0 : refuse(reader, reader->at, "a digit is missing");
}

/* Behind the integral part. Returns 1 if it has more, 0 if not. */
static int read_fraction(struct reader *reader)
{
    const char *begin = reader->at;
    int r = 0;

    if (reader->at < reader->end && *reader->at == '.') {
        reader->at++;
        r = want_digits(reader);
    }
    if (r == 0 && reader->at < reader->end && (*reader->at | 0x20) == 'e') {
        reader->at++;
        if (reader->at < reader->end && (*reader->at == '+' || *reader->at == '-'))
            reader->at++;
        r = want_digits(reader);
    }
    return r < 0 ? r : reader->at > begin;
}

static int read_number(struct reader *reader)
{
    const char *begin = reader->at;
    struct doc_value *number = add(reader, DOC_INTEGER);
    int r = 0;

    if (number == NULL)
        return -ENOMEM;
    reader->at += *begin == '-';
    if (reader->at < reader->end && *reader->at == '0')
        reader->at++;
    else
        r = want_digits(reader);
    if (r == 0)
        r = read_fraction(reader);
    if (r < 0)
        return r;
    number->len = (uint32_t)(reader->at - begin);
    if (number->len > DOC_MAX_NUMBER)
        return refuse(reader, begin, "a number of too many digits");
    number->kind = (uint8_t)(r > 0 ? DOC_REAL : integer_kind(begin, number->len));
    if (number->kind == DOC_NULL)
        return refuse(reader, begin, "an integer beyond 64 bits");
    if (r > 0 && !isfinite(doc_real(begin, number->len)))
        return refuse(reader, begin, "a number that is too big");
    return 0;
}

static int read_word(struct reader *reader)
{
    static const struct {
        const char *text;
        size_t len;
        enum doc_kind kind;
    } words[] = { { "true", 4, DOC_TRUE }, { "false", 5, DOC_FALSE }, { "null", 4, DOC_NULL } };
    struct doc_value *word;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if ((size_t)(reader->end - reader->at) < words[i].len
            || memcmp(reader->at, words[i].text, words[i].len) != 0)
            continue;
        word = add(reader, words[i].kind);
        if (word == NULL)
            return -ENOMEM;
        word->len = (uint32_t)words[i].len;
        reader->at += words[i].len;
        return 0;
    }
    return refuse(reader, reader->at, reader->at == reader->end ? "the text ends too early"
                                      : *reader->at == '\0'     ? "a NUL"
                                                                : "not a value");
}

/* ---- values --------------------------------------------------------------------------------- */

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n'
                                        || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

/* The next byte but blanks; 0 at the end. */
static char peek(struct reader *reader)
{
    skip_blanks(reader);
    return reader->at < reader->end ? *reader->at : '\0';
}

static int read_name(struct reader *reader)
{
    struct doc *doc = reader->doc;
    struct doc_value *name;
    int r = peek(reader) == '"' ? read_string(reader)
                                : refuse(reader, reader->at, "a name is missing");

    if (r < 0)
        return r;
    name = &doc->v[doc->n - 1];
    if (name->is_escaped) {
        struct bytes bytes = bytes_of(doc, name);

        for (int c = bytes_next(&bytes); c >= 0; c = bytes_next(&bytes))
            if (c == 0)
                return refuse(reader, doc->text + name->at, "a NUL in a name");
    }
    name->end = hash_of(reader, name);
    if (peek(reader) != ':')
        return refuse(reader, reader->at, "no ':' behind a name");
    reader->at++;
    return 0;
}

static int read_scalar(struct reader *reader, char c)
{
    if (c == '"')
        return read_string(reader);
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(reader);
    return read_word(reader);
}

/* What is open: its index, and how many values it has. */
struct open {
    uint32_t index;
    uint32_t n;
};

static int close_one(struct reader *reader, const struct open *open)
{
    struct doc *doc = reader->doc;
    struct doc_value *value = &doc->v[open->index];

    reader->at++;
    value->end = (uint32_t)doc->n;
    value->len = (uint32_t)(reader->at - doc->text) - value->at;
    return value->kind == DOC_OBJECT ? check_names(reader, open->index, open->n) : 0;
}

/* In front of a value, or of the end of what is open. */
static int read_all(struct reader *reader, struct open *open)
{
    struct doc *doc = reader->doc;
    int depth = 0, r = 0;

    do {
        struct open *in = depth > 0 ? &open[depth - 1] : NULL;
        bool is_object = in != NULL && doc->v[in->index].kind == DOC_OBJECT;
        char c = peek(reader);

        if (in != NULL && c == (is_object ? '}' : ']')) {
            r = close_one(reader, in);
            depth--;
            continue;
        }
        if (in != NULL && in->n++ > 0) {
            if (c != ',')
                return refuse(reader, reader->at, is_object ? "neither ',' nor '}'"
                                                            : "neither ',' nor ']'");
            reader->at++;
            c = peek(reader);
        }
        if (is_object) {
            r = read_name(reader);
            c = peek(reader);
        }
        if (r < 0)
            return r;
        if (c != '{' && c != '[') {
            r = read_scalar(reader, c);
            continue;
        }
        if (depth == CODEC_MAX_DEPTH)
            return refuse(reader, reader->at, "nested deeper than " STRING(CODEC_MAX_DEPTH));
        if (add(reader, c == '{' ? DOC_OBJECT : DOC_ARRAY) == NULL)
            return -ENOMEM;
        reader->at++;
        open[depth++] = (struct open){ (uint32_t)(doc->n - 1), 0 };
    } while (depth > 0 && r == 0);
    return r;
}

static int read_doc(struct reader *reader, size_t len)
{
    struct open open[CODEC_MAX_DEPTH];
    int r;

    if (len >= UINT32_MAX)
        return refuse(reader, reader->at, "a text of 4 GiB or more");
    r = read_all(reader, open);
    if (r == 0)
        skip_blanks(reader);
    if (r == 0 && reader->at != reader->end)
        r = refuse(reader, reader->at, *reader->at == '\0' ? "a NUL" : "more behind the value");
    free(reader->keys);
    return r;
}

int doc_parse(struct doc *doc, const char *text, size_t len)
{
    struct reader reader = { doc, text, text + len, NULL, 0, NULL };

    doc->text = text;
    doc->v = doc->few;
    doc->n = 0;
    doc->room = DOC_FEW;
    return read_doc(&reader, len);
}

const char *doc_why(const char *text, size_t len, size_t *ret_at)
{
    CLEANUP(doc_done) struct doc doc = { .text = text, .v = doc.few, .room = DOC_FEW };
    struct reader reader = { &doc, text, text + len, NULL, 0, NULL };

    if (read_doc(&reader, len) != -EBADMSG)
        return NULL;
    *ret_at = (size_t)(reader.at - text);
    return reader.why;
}

void doc_done(struct doc *doc)
{
    if (doc->v != doc->few)
        free(doc->v);
    doc->v = NULL;
    doc->n = doc->room = 0;
}

#include "rawjson.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct scan {
    const char *p;
    const char *end;
    int depth;
    char stack[RAWJSON_DEPTH];
};

static int peek(const struct scan *s)
{
    return s->p < s->end ? (unsigned char)*s->p : -1;
}

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
    while (is_space(peek(s)))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    if (peek(s) != (unsigned char)c)
        return false;
    s->p++;
    return true;
}

static bool scan_string(struct scan *s)
{
    if (!take(s, '"'))
        return false;
    for (;;) {
        int c = peek(s);

        if (c < 0x20)
            return false;
        s->p++;
        if (c == '"')
            return true;
        if (c != '\\')
            continue;
        c = peek(s);
        if (c == 'u') {
            for (int i = 0; i < 4; i++) {
                s->p++;
                if (peek(s) < 0 || !isxdigit(peek(s)))
                    return false;
            }
        } else if (c <= 0 || strchr("\"\\/bfnrt", c) == NULL) {
            return false;
        }
        s->p++;
    }
}

static bool scan_digits(struct scan *s)
{
    const char *from = s->p;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->p++;
    return s->p > from;
}

static bool scan_number(struct scan *s)
{
    (void)take(s, '-');
    if (!take(s, '0') && !scan_digits(s))
        return false;
    if (take(s, '.') && !scan_digits(s))
        return false;
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->p++;
        if (!take(s, '+'))
            (void)take(s, '-');
        return scan_digits(s);
    }
    return true;
}

static bool scan_scalar(struct scan *s)
{
    static const char *const words[] = { "true", "false", "null" };

    if (peek(s) == '"')
        return scan_string(s);
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);

        if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
            s->p += n;
            return true;
        }
    }
    return scan_number(s);
}

static bool scan_key(struct scan *s)
{
    skip_space(s);
    if (!scan_string(s))
        return false;
    skip_space(s);
    return take(s, ':');
}

/* After a value: closes what ends here. Returns 1 if another value follows, 0 at the end of the
 * outermost value, -1 if it does not fit. */
static int scan_after(struct scan *s)
{
    while (s->depth > 0) {
        bool is_object = s->stack[s->depth - 1] == '{';

        skip_space(s);
        if (take(s, ','))
            return !is_object || scan_key(s) ? 1 : -1;
        if (!take(s, is_object ? '}' : ']'))
            return -1;
        s->depth--;
    }
    return 0;
}

/* One value, and white space before it. */
static bool scan_value(struct scan *s)
{
    int more = 1;

    s->depth = 0;
    while (more == 1) {
        int c;

        skip_space(s);
        c = peek(s);
        if (c == '{' || c == '[') {
            if (s->depth == RAWJSON_DEPTH)
                return false;
            s->p++;
            s->stack[s->depth++] = (char)c;
            skip_space(s);
            if (peek(s) == (c == '{' ? '}' : ']')) {
                s->p++;
                s->depth--;
                more = scan_after(s);
            } else if (c == '{' && !scan_key(s)) {
                return false;
            }
        } else {
            more = scan_scalar(s) ? scan_after(s) : -1;
        }
    }
    return more == 0;
}

bool rawjson_check(const char *s, size_t n, size_t *ret_at)
{
    struct scan scan = { .p = s, .end = s + n };
    bool ok = scan_value(&scan);

    if (ok) {
        skip_space(&scan);
        ok = scan.p == scan.end;
    }
    if (!ok && ret_at != NULL)
        *ret_at = (size_t)(scan.p - s);
    return ok;
}

bool rawjson_member(const char *s, size_t n, const char *name, const char **ret_s, size_t *ret_n)
{
    struct scan scan = { .p = s, .end = s + n };
    size_t len = strlen(name);

    skip_space(&scan);
    if (!take(&scan, '{'))
        return false;
    for (;;) {
        const char *key;
        const char *value;
        bool is_it;

        skip_space(&scan);
        key = scan.p + 1;
        if (!scan_string(&scan))
            return false;
        is_it = (size_t)(scan.p - key) == len + 1 && memcmp(key, name, len) == 0;
        skip_space(&scan);
        if (!take(&scan, ':'))
            return false;
        skip_space(&scan);
        value = scan.p;
        if (!scan_value(&scan))
            return false;
        if (is_it) {
            *ret_s = value;
            *ret_n = (size_t)(scan.p - value);
            return true;
        }
        skip_space(&scan);
        if (!take(&scan, ','))
            return false;
    }
}

static unsigned hex4(const char *s)
{
    char digits[5] = { s[0], s[1], s[2], s[3], '\0' };

    return (unsigned)strtoul(digits, NULL, 16);
}

static void add_utf8(struct text *to, unsigned c)
{
    char out[4];
    size_t n;

    if (c < 0x80) {
        out[0] = (char)c;
        n = 1;
    } else if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        n = 2;
    } else if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        n = 3;
    } else {
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3f));
        out[2] = (char)(0x80 | (c >> 6 & 0x3f));
        out[3] = (char)(0x80 | (c & 0x3f));
        n = 4;
    }
    text_add_n(to, out, n);
}

/* The character of a \u escape whose digits begin at p; advances p past it, and past the second
 * half of a pair. NUL and lonely halves become U+FFFD. */
static unsigned escaped_char(const char **p, const char *end)
{
    unsigned c = hex4(*p);

    *p += 4;
    if (c >= 0xd800 && c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        unsigned low = hex4(*p + 2);

        if (low >= 0xdc00 && low < 0xe000) {
            *p += 6;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return c == 0 || (c >= 0xd800 && c < 0xe000) ? 0xfffd : c;
}

char *rawjson_string(const char *s, size_t n)
{
    static const char from[] = "bfnrt";
    static const char into[] = "\b\f\n\r\t";
    struct scan scan = { .p = s, .end = s + n };
    struct text to = { NULL, 0, 0 };
    const char *p = s + 1;
    const char *end;

    if (!scan_string(&scan))
        return NULL;
    end = scan.p - 1;
    text_add(&to, "");
    while (p < end) {
        const char *hit;

        if (*p != '\\') {
            text_add_n(&to, p++, 1);
            continue;
        }
        p++;
        if (*p == 'u') {
            p++;
            add_utf8(&to, escaped_char(&p, end));
            continue;
        }
        hit = strchr(from, *p);
        text_add_n(&to, hit != NULL ? &into[hit - from] : p, 1);
        p++;
    }
    return to.s;
}

static void add_token(struct text *to, struct scan *s)
{
    const char *from = s->p;

    (void)scan_scalar(s);
    if (s->p == from)
        s->p++;
    text_add_n(to, from, (size_t)(s->p - from));
}

static void newline(struct text *to, int depth, bool pretty)
{
    if (pretty)
        text_addf(to, "\n%*s", depth * 2, "");
}

static void rewrite(struct text *to, const char *s, size_t n, bool pretty)
{
    struct scan scan = { .p = s, .end = s + n };
    int depth = 0;

    for (skip_space(&scan); scan.p < scan.end; skip_space(&scan)) {
        char c = *scan.p;

        if (c == '{' || c == '[') {
            text_add_n(to, &c, 1);
            scan.p++;
            skip_space(&scan);
            if (peek(&scan) == '}' || peek(&scan) == ']')
                text_add_n(to, scan.p++, 1);
            else
                newline(to, ++depth, pretty);
        } else if (c == '}' || c == ']') {
            newline(to, --depth, pretty);
            text_add_n(to, scan.p++, 1);
        } else if (c == ',') {
            scan.p++;
            text_add(to, pretty ? "," : ", ");
            newline(to, depth, pretty);
        } else if (c == ':') {
            scan.p++;
            text_add(to, ": ");
        } else {
            add_token(to, &scan);
        }
    }
}

void rawjson_pretty(struct text *to, const char *s, size_t n)
{
    rewrite(to, s, n, true);
}

void rawjson_compact(struct text *to, const char *s, size_t n)
{
    rewrite(to, s, n, false);
}

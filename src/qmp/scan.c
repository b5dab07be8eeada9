#include "qmp/scan.h"

#include <string.h>

void scan_init(struct scan *scan, const char *text, size_t len)
{
    scan->at = text;
    scan->end = text + len;
    scan->depth = 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool ends_word(char c)
{
    return is_blank(c) || c == '\0' || strchr("{}[],:\"", c) != NULL;
}

static void take_string(struct scan *scan)
{
    scan->at++;
    while (scan->at < scan->end && *scan->at != '"') {
        if (*scan->at == '\\' && scan->end - scan->at > 1)
            scan->at++;
        scan->at++;
    }
    if (scan->at < scan->end)
        scan->at++;
}

bool scan_next(struct scan *scan, struct scan_token *ret_token)
{
    while (scan->at < scan->end && is_blank(*scan->at))
        scan->at++;
    if (scan->at == scan->end)
        return false;
    ret_token->text = scan->at;
    ret_token->kind = *scan->at;
    switch (*scan->at) {
    case '{':
    case '[':
        scan->depth++;
        scan->at++;
        break;
    case '}':
    case ']':
        if (scan->depth > 0)
            scan->depth--;
        scan->at++;
        break;
    case ',':
    case ':':
        scan->at++;
        break;
    case '"':
        take_string(scan);
        break;
    default:
        ret_token->kind = '0';
        do {
            scan->at++;
        } while (scan->at < scan->end && !ends_word(*scan->at));
        break;
    }
    ret_token->len = (size_t)(scan->at - ret_token->text);
    return true;
}

static uint32_t hex4(const char *digits)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        char c = digits[i];

        value <<= 4;
        if (c >= '0' && c <= '9')
            value |= (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value |= (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            value |= (uint32_t)(c - 'A' + 10);
    }
    return value;
}

/* What stands behind a backslash at *at (which is moved over it). */
static uint32_t escaped_char(const char **at, const char *end)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    uint32_t value, low;
    const char *name;
    char c = *(*at)++;

    if (c != 'u') {
        name = c != '\0' ? strchr(names, c) : NULL;
        return (unsigned char)(name != NULL ? values[name - names] : c);
    }
    if (end - *at < 4) {
        *at = end;
        return 0xfffd;
    }
    value = hex4(*at);
    *at += 4;
    if (value >= 0xd800 && value < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' &&
        (*at)[1] == 'u') {
        low = hex4(*at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
            *at += 6;
        }
    }
    return value;
}

/* A character of several bytes, valid as the whole text is. */
static uint32_t utf8_char(const char **at, const char *end)
{
    unsigned char first = (unsigned char)*(*at)++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    uint32_t value = first < 0x80 ? first : (uint32_t)(first & (0x3f >> more));

    while (more-- > 0 && *at < end)
        value = value << 6 | ((unsigned char)*(*at)++ & 0x3f);
    return value;
}

static uint32_t next_char(const char **at, const char *end)
{
    if (**at == '\\' && end - *at > 1) {
        (*at)++;
        return escaped_char(at, end);
    }
    return utf8_char(at, end);
}

bool scan_string_is(const struct scan_token *string, const char *name)
{
    const char *at = string->text + 1, *end = string->text + string->len - 1;

    if (string->kind != '"' || string->len < 2)
        return false;
    while (at < end) {
        if (*name == '\0' || next_char(&at, end) != (unsigned char)*name++)
            return false;
    }
    return *name == '\0';
}

uint32_t scan_string_bad(const struct scan_token *string)
{
    const char *at = string->text + 1, *end = string->text + string->len - 1;

    while (at < end) {
        uint32_t c = next_char(&at, end);

        if ((c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe || (c >= 0xd800 && c < 0xe000))
            return c;
    }
    return 0;
}

bool scan_member_next(struct scan *scan, struct scan_member *ret_member)
{
    struct scan_token token;

    if (scan->depth == 0) {
        if (!scan_next(scan, &token) || token.kind != '{')
            return false;
        ret_member->comma = NULL;
    } else {
        ret_member->comma = scan->at - 1;
    }
    if (!scan_next(scan, &ret_member->key) || ret_member->key.kind != '"' ||
        !scan_next(scan, &token) || token.kind != ':' || !scan_next(scan, &token))
        return false;
    ret_member->value = token.text;
    ret_member->end = scan->at;
    while (scan_next(scan, &token)) {
        if (scan->depth == 0 || (scan->depth == 1 && token.kind == ','))
            break;
        ret_member->end = scan->at;
    }
    return true;
}

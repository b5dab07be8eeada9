#include "codec/bytes.h"

#include <stdint.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at text, or -1. */
static int32_t hex4(const char *text, const char *end)
{
    int32_t value = 0;

    if (end - text < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex(text[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

size_t bytes_unescape(const char **at, const char *end, char out[4])
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *name;
    int32_t high, low;

    if (*at == end)
        return 0;
    if (**at != 'u') {
        name = **at != '\0' ? strchr(names, **at) : NULL;
        if (name == NULL)
            return 0;
        out[0] = meanings[name - names];
        ++*at;
        return 1;
    }
    high = hex4(*at + 1, end);
    if (high < 0 || (high >= 0xdc00 && high < 0xe000))
        return 0;
    *at += 5;
    if (high < 0xd800 || high >= 0xe000)
        return encode((uint32_t)high, out);
    if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return 0;
    low = hex4(*at + 2, end);
    if (low < 0xdc00 || low >= 0xe000)
        return 0;
    *at += 6;
    return encode(0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00), out);
}

size_t bytes_utf8(const char *text, const char *end)
{
    unsigned char c = (unsigned char)*text;
    size_t len = c >= 0xc2 && c < 0xe0   ? 2
                 : c >= 0xe0 && c < 0xf0 ? 3
                 : c >= 0xf0 && c < 0xf5 ? 4
                                         : 0;
    unsigned char second;

    if (len == 0 || (size_t)(end - text) < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
    second = (unsigned char)text[1];
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second >= 0xa0)
        || (c == 0xf0 && second < 0x90) || (c == 0xf4 && second >= 0x90))
        return 0;
    return len;
}

int bytes_next(struct bytes *bytes)
{
    if (bytes->next < bytes->n)
        return (unsigned char)bytes->more[bytes->next++];
    if (bytes->at == bytes->end)
        return -1;
    if (*bytes->at != '\\')
        return (unsigned char)*bytes->at++;
    bytes->at++;
    bytes->n = bytes_unescape(&bytes->at, bytes->end, bytes->more);
    bytes->next = 1;
    return (unsigned char)bytes->more[0];
}

#include "base/str.h"

#include <fnmatch.h>
#include <stdint.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool str_is_id(const char *text)
{
    if (!is_letter(text[0]))
        return false;
    for (const char *p = text + 1; *p != '\0'; p++) {
        if (!is_letter(*p) && !is_digit(*p) && strchr("-._", *p) == NULL)
            return false;
    }
    return true;
}

bool str_matches(const char *pattern, const char *text)
{
    return fnmatch(pattern, text, 0) == 0;
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_equal(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

const char *str_our_name(const char *name, char *ret_id)
{
    const char *id;

    if (name == NULL || !str_starts(name, "qblk."))
        return NULL;
    id = name + 5;
    for (int i = 0; i < 8; i++) {
        if (!is_digit(id[i]) && !(id[i] >= 'a' && id[i] <= 'f'))
            return NULL;
    }
    if (id[8] != '.' || id[9] == '\0')
        return NULL;
    if (ret_id != NULL) {
        memcpy(ret_id, id, 8);
        ret_id[8] = '\0';
    }
    return id + 9;
}

const char *str_show(char *ret, size_t room, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;
    size_t at = 0;

    for (size_t i = 0; i < len; i++) {
        bool is_plain = bytes[i] >= 0x20 && bytes[i] < 0x7f;

        /* Always room left for the dots and the NUL. */
        if (at + (is_plain ? 1 : 4) + 4 > room) {
            memcpy(ret + at, "...", 3);
            at += 3;
            break;
        }
        if (is_plain) {
            ret[at++] = (char)bytes[i];
        } else {
            ret[at++] = '\\';
            ret[at++] = 'x';
            ret[at++] = digits[bytes[i] >> 4];
            ret[at++] = digits[bytes[i] & 15];
        }
    }
    ret[at] = '\0';
    return ret;
}

/* Eight bytes at a time. In each of these words a byte has its highest bit set if it is what is
 * looked for; bytes above such a one may have it too, which does no harm: the bytes are looked at
 * then. */
static bool is_plain_word(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';

    return ((word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs) == 0;
}

size_t str_plain(const char *text, size_t len)
{
    size_t n = 0;
    uint64_t word;

    for (; n + sizeof(word) <= len; n += sizeof(word)) {
        memcpy(&word, text + n, sizeof(word));
        if (!is_plain_word(word))
            break;
    }
    while (n < len && (unsigned char)text[n] >= 0x20 && (unsigned char)text[n] < 0x80
           && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

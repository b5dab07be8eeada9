/* What stands between the quotes of a JSON string, character by character. */
#ifndef QBLK_SRC_CODEC_BYTES_H
#define QBLK_SRC_CODEC_BYTES_H

#include <stddef.h>

/* What the escape at *at (after its backslash) stands for; *at goes behind it. 0: it is none. */
size_t bytes_unescape(const char **at, const char *end, char out[4]);
/* The length of the character of several bytes at text; 0 if it is not UTF-8. */
size_t bytes_utf8(const char *text, const char *end);

/* The bytes that a string stands for, one after the other: set at and end. */
struct bytes {
    const char *at, *end;
    char more[4];
    size_t n, next;
};
/* -1 at the end. */
int bytes_next(struct bytes *bytes);

#endif

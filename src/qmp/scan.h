/* Walking over the tokens of a JSON text that is known to be valid: where things stand, which a
 * parsed tree does not tell. Never reads beyond the end, whatever the text. */
#ifndef QBLK_SRC_QMP_SCAN_H
#define QBLK_SRC_QMP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scan {
    const char *at;
    const char *end;
    unsigned depth; /* brackets open after the last token */
};

struct scan_token {
    char kind;        /* '{' '}' '[' ']' ',' ':', '"' a string, '0' a number or literal */
    const char *text; /* a string with its quotes */
    size_t len;
};

void scan_init(struct scan *scan, const char *text, size_t len);

/* False at the end of the text. */
bool scan_next(struct scan *scan, struct scan_token *ret_token);

/* Whether the string spells name (ASCII), with whatever escapes. */
bool scan_string_is(const struct scan_token *string, const char *name);

/* The first character of a string that QEMU's parser refuses although JSON allows it (Unicode's
 * noncharacters), or 0. */
uint32_t scan_string_bad(const struct scan_token *string);

/* One member of the outermost object, by position. */
struct scan_member {
    struct scan_token key;
    const char *value; /* first byte of the value */
    const char *end;   /* after its last byte */
    const char *comma; /* the comma before it; NULL: the first member */
};

/* The next member of the outermost object: to be called on a fresh scan until it returns false.
 * The scan stands behind the member's comma, or at the end, after each call. */
bool scan_member_next(struct scan *scan, struct scan_member *ret_member);

#endif

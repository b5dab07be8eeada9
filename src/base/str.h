/* Strings: QEMU's rules for names, wildcards. */
#ifndef QBLK_SRC_STR_H
#define QBLK_SRC_STR_H

#include <stdbool.h>
#include <stddef.h>

#define STR_NODE_NAME_MAX 31 /* QEMU's limit for a node-name */

/* A letter, then letters, digits, '-', '.', '_': what QEMU takes as an id. */
bool str_is_id(const char *text);

/* Shell wildcards '*' and '?'. */
bool str_matches(const char *pattern, const char *text);

bool str_starts(const char *text, const char *prefix);
/* NULL equals NULL only. */
bool str_equal(const char *a, const char *b);

/* For names "qblk.<8 hex digits>.<rest>": copies the digits and a NUL to ret_id (9 bytes; may be
 * NULL) and returns the rest; NULL for any other name. */
const char *str_our_name(const char *name, char *ret_id);

/* How many bytes from text on are printable ASCII and neither a quote nor a backslash: what a JSON
 * string has most of. */
size_t str_plain(const char *text, size_t len);

/* Bytes from outside for an error text: the first of them as they are, what is not printable ASCII
 * as \xNN, "..." if there is more. Writes a string to ret (room bytes, at least 8), returns it. */
const char *str_show(char *ret, size_t room, const void *data, size_t len);

#endif

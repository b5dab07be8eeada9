/* Looks into JSON text without taking it apart into values: numbers of any length stay what they
 * are. One value of at most RAWJSON_DEPTH levels, which is also QEMU's own limit. */
#ifndef QBLK_TOOL_RAWJSON_H
#define QBLK_TOOL_RAWJSON_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

#define RAWJSON_DEPTH 1024

/* Whether the n bytes are exactly one JSON value, white space around it allowed. If not, *ret_at
 * (unless NULL) is the offset of the first byte that does not fit. */
bool rawjson_check(const char *s, size_t n, size_t *ret_at);

/* Finds a member of the object s, which must have passed rawjson_check(): the text of its value.
 * Of several members of one name the first. */
bool rawjson_member(const char *s, size_t n, const char *name, const char **ret_s, size_t *ret_n);

/* The characters of a JSON string, quotes included in s; the caller's. NULL if s is no string. */
char *rawjson_string(const char *s, size_t n);

/* Adds s indented by two spaces a level, or on one line. */
void rawjson_pretty(struct text *to, const char *s, size_t n);
void rawjson_compact(struct text *to, const char *s, size_t n);

#endif

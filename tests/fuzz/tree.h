/* A second reading of JSON texts, by jansson, for the tests to hold codec/doc.h against: what the one
 * takes the other must take, and find the same in it. The library itself reads nothing with jansson,
 * which aborts or reads on where memory runs out in the middle of a token.
 *
 * Integers from 2^63 to 2^64-1 are in the tree as a string whose first byte is 0xff, which is not
 * UTF-8, so that no string of a message can be taken for one. */
#ifndef QBLK_TESTS_FUZZ_TREE_H
#define QBLK_TESTS_FUZZ_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <qblk/base.h>

#define BIG_MARK '\xff'

/* digits: at most 20. New reference, or NULL. */
static inline json_t *big_new(const char *digits)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%c%.20s", BIG_MARK, digits);

    return len > 0 ? json_stringn_nocheck(text, (size_t)len) : NULL;
}

static inline bool big_is(const json_t *json)
{
    return json_is_string(json) && json_string_value(json)[0] == BIG_MARK;
}

/* By the policy of codec/engine.h. New reference, or NULL and *error. */
json_t *tree_parse(const char *text, size_t len, qblk_error *error);

/* Its decimal digits. */
static inline const char *big_digits(const json_t *json)
{
    return json_string_value(json) + 1;
}

#endif

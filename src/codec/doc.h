/* A JSON text and where its values stand in it: one array, in the order of the text, and nothing
 * copied. Replies of QEMU can have megabytes, of which a few strings are wanted; a tree of
 * allocated values costs ten times what this does. The policy is the one of engine.h. */
#ifndef QBLK_SRC_CODEC_DOC_H
#define QBLK_SRC_CODEC_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum doc_kind {
    DOC_OBJECT,
    DOC_ARRAY,
    DOC_STRING,
    DOC_INTEGER, /* fits int64_t */
    DOC_BIG,     /* 2^63 to 2^64-1 */
    DOC_REAL,
    DOC_TRUE,
    DOC_FALSE,
    DOC_NULL
};

struct doc_value {
    uint32_t at;  /* first byte, of a string the one after the quote */
    uint32_t len; /* bytes, of a string without the quotes */
    uint32_t end; /* index behind the last value inside; of a member's name its hash */
    uint8_t kind; /* enum doc_kind */
    bool is_escaped; /* a string with backslashes */
};

/* Events and most replies have no more values than this. */
#define DOC_FEW 64

struct doc {
    const char *text;
    struct doc_value *v;
    size_t n, room;
    struct doc_value few[DOC_FEW]; /* where v begins: a doc is not to be copied */
};

/* Characters in a number. */
#define DOC_MAX_NUMBER 500

/* One value of a text. */
struct doc_ref {
    const struct doc *doc; /* NULL: no value */
    size_t at;
};

/* The text must outlive the doc. Returns 0, -EBADMSG (doc_why() has the words for it), -ENOMEM.
 * Call doc_done() in any case. */
int doc_parse(struct doc *doc, const char *text, size_t len);
void doc_done(struct doc *doc);
/* What is wrong with a text, and at which byte; NULL if nothing is, or memory is gone. */
const char *doc_why(const char *text, size_t len, size_t *ret_at);

struct doc_ref doc_top(const struct doc *doc);
/* Of no value: DOC_NULL. */
enum doc_kind doc_kind(struct doc_ref ref);
/* Whether the value is a string of these bytes. */
bool doc_is(struct doc_ref string, const char *text);
/* The member of an object; no value if there is none, or if it is no object. */
struct doc_ref doc_get(struct doc_ref object, const char *name);
/* Elements: at first(), then at next() of each, until it is no value. */
struct doc_ref doc_first(struct doc_ref array);
struct doc_ref doc_next(struct doc_ref array, struct doc_ref element);

/* Bytes that a copy of the value's text surely fits into, a NUL behind it included. */
size_t doc_room(struct doc_ref value);
/* Whether a string has a NUL in it. */
bool doc_has_nul(struct doc_ref string);
/* Copies a string, NULs inside included, as much of it as fits into the room with a NUL behind it. Returns
 * how many bytes it copied without that. */
size_t doc_copy(struct doc_ref string, char *to, size_t room);
/* A copy of a string and its length, NULs inside included. Returns 0, -EINVAL (it is no string),
 * -ENOMEM. */
int doc_bytes(struct doc_ref string, char **ret_text, size_t *ret_len);
/* The same; -EILSEQ if it has a NUL in it. */
int doc_string(struct doc_ref string, char **ret_text);
/* 0 for what is no such integer. */
int64_t doc_integer(struct doc_ref value);
uint64_t doc_unsigned(struct doc_ref value);
/* Any number. */
double doc_number(struct doc_ref value);
/* Of a number's text, infinite if it is too big. At most DOC_MAX_NUMBER characters. */
double doc_real(const char *text, size_t len);

#endif

/* The layout of the tables that qapi-gen makes: where each member of a schema type stands in its C
 * struct, and what it is. */
#ifndef QBLK_SRC_CODEC_TABLE_H
#define QBLK_SRC_CODEC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/engine.h"

enum codec_kind {
    CODEC_STR,         /* char * */
    CODEC_INT,         /* int64_t */
    CODEC_UINT,        /* uint64_t */
    CODEC_BOOL,        /* bool */
    CODEC_NUMBER,      /* double */
    CODEC_STR_OR_NULL, /* char *, NULL is the JSON value null */
    CODEC_EMPTY,       /* bool: an object without members is there */
    CODEC_ENUM,        /* an enum, stored as unsigned */
    CODEC_OBJECT       /* the struct itself; a pointer to it if optional */
};

struct codec_value {
    const char *name;
    const char *since; /* NULL: as long as what holds it; so everywhere below */
};

struct codec_enum {
    const char *name;
    const char *since;
    const struct codec_value *values;
    size_t n_values;
};

/* There are hundreds: narrow, so that they are not a tenth of the library. */
struct codec_member {
    const char *name;
    const char *since;
    uint8_t kind;  /* enum codec_kind */
    bool is_optional;
    bool is_list;  /* struct { T *v; size_t n; } */
    bool has_flag; /* a bool at flag says whether the member is there; without it a null pointer
                    * says that an optional member is not */
    uint16_t flag;
    uint16_t offset;
    union {
        const struct codec_enum *values; /* CODEC_ENUM */
        const struct codec_type *type;   /* CODEC_OBJECT */
    };
};

/* What a union holds for one value of its tag. */
struct codec_branch {
    bool is_allowed;
    const struct codec_type *type; /* NULL: nothing more */
    size_t offset;
};

struct codec_type {
    const char *name;
    const char *since;
    size_t size;
    const struct codec_member *members;
    size_t n_members;
    const struct codec_member *tag;      /* NULL: not a union */
    const struct codec_branch *branches; /* by value of the tag */
};

/* What every list struct looks like. */
struct codec_list {
    void *v;
    size_t n;
};

/* The value of that name (for words that a user gave; generated as qapi_enum_<name>), -1 if there
 * is none. */
int codec_enum_find(const struct codec_enum *values, const char *name);

/* The size of one value of the member: of one element if it is a list. */
size_t codec_value_size(const struct codec_member *member);

/* As codec_decode() and codec_clear(), for a JSON array of objects. */
int codec_decode_list(const struct codec_type *type, struct doc_ref json,
                      struct codec_list *ret_list, qblk_error *error);
void codec_clear_list(struct codec_list *list);

#endif

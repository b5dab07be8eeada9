#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pool.h"
#include "codec/path.h"
#include "codec/table.h"

/* All that one decoding allocates comes from one pool, in the order in which its members are found: so
 * the first piece is the first pointer there is in the value, and gives all of it back. */
struct decoding {
    struct pool pool;
    size_t guess; /* bytes */
    qblk_error *error;
};

static void *allocate(struct decoding *decoding, size_t size, size_t align)
{
    void *p = pool_alloc(&decoding->pool, size, align, decoding->guess);

    if (p == NULL)
        (void)err_nomem(decoding->error);
    return p;
}

static const char *kind_text(struct doc_ref json)
{
    switch (doc_kind(json)) {
    case DOC_OBJECT:
        return "an object";
    case DOC_ARRAY:
        return "an array";
    case DOC_STRING:
        return "a string";
    case DOC_INTEGER:
        return "an integer";
    case DOC_BIG:
        return "an integer of 2^63 or more";
    case DOC_REAL:
        return "a number that is no integer";
    case DOC_TRUE:
    case DOC_FALSE:
        return "a boolean";
    case DOC_NULL:
    default:
        return "null";
    }
}

static int fail(const struct path *path, struct decoding *decoding, const char *what)
{
    char text[PATH_MAX_TEXT];

    return err_set(decoding->error, QBLK_E_PROTOCOL, "%s: %s", path_text(path, text), what);
}

static int fail_type(const struct path *path, struct decoding *decoding, const char *want,
                     struct doc_ref json)
{
    char text[PATH_MAX_TEXT];

    return err_set(decoding->error, QBLK_E_PROTOCOL, "%s: expected %s, found %s", path_text(path, text), want,
                   kind_text(json));
}

/* ---- one value ------------------------------------------------------------------------------- */

static int decode_string(struct doc_ref json, char **ret_text, const struct path *path,
                         struct decoding *decoding)
{
    char *text;

    if (doc_kind(json) != DOC_STRING)
        return fail_type(path, decoding, "a string", json);
    text = allocate(decoding, doc_room(json), 1);
    if (text == NULL)
        return -ENOMEM;
    *ret_text = text;
    return doc_copy(json, text, doc_room(json)) == strlen(text)
               ? 0 : fail(path, decoding, "the string has a NUL in it");
}

static int decode_uint(struct doc_ref json, uint64_t *ret_value, const struct path *path,
                       struct decoding *decoding)
{
    if (doc_kind(json) != DOC_BIG && doc_kind(json) != DOC_INTEGER)
        return fail_type(path, decoding, "an integer", json);
    if (doc_integer(json) < 0)
        return fail(path, decoding, "expected an integer of 0 or more, found a negative one");
    *ret_value = doc_unsigned(json);
    return 0;
}

static int decode_number(struct doc_ref json, double *ret_value, const struct path *path,
                         struct decoding *decoding)
{
    if (doc_kind(json) != DOC_BIG && doc_kind(json) != DOC_INTEGER && doc_kind(json) != DOC_REAL)
        return fail_type(path, decoding, "a number", json);
    *ret_value = doc_number(json);
    return 0;
}

int codec_enum_find(const struct codec_enum *values, const char *name)
{
    for (size_t i = 0; i < values->n_values; i++) {
        if (strcmp(name, values->values[i].name) == 0)
            return (int)i;
    }
    return -1;
}

static int decode_enum(const struct codec_enum *values, struct doc_ref json, unsigned *ret_value,
                       const struct path *path, struct decoding *decoding)
{
    char text[PATH_MAX_TEXT], name[65];

    if (doc_kind(json) != DOC_STRING)
        return fail_type(path, decoding, "a string", json);
    for (unsigned i = 0; i < values->n_values; i++) {
        if (doc_is(json, values->values[i].name)) {
            *ret_value = i;
            return 0;
        }
    }
    (void)doc_copy(json, name, sizeof(name));
    return err_set(decoding->error, QBLK_E_PROTOCOL, "%s: '%s' is no value of %s", path_text(path, text),
                   name, values->name);
}

static int decode_object(const struct codec_type *type, struct doc_ref json, char *base,
                         const struct path *path, struct decoding *decoding);

/* Into *at, which is zeroed and has room for codec_value_size(). */
static int decode_value(const struct codec_member *member, struct doc_ref json, void *at,
                        const struct path *path, struct decoding *decoding)
{
    int64_t integer;
    bool flag;

    switch ((enum codec_kind)member->kind) {
    case CODEC_STR_OR_NULL:
        return doc_kind(json) == DOC_NULL ? 0 : decode_string(json, at, path, decoding);
    case CODEC_STR:
        return decode_string(json, at, path, decoding);
    case CODEC_INT:
        if (doc_kind(json) != DOC_INTEGER)
            return fail_type(path, decoding, "an integer below 2^63", json);
        integer = doc_integer(json);
        memcpy(at, &integer, sizeof(integer));
        return 0;
    case CODEC_UINT:
        return decode_uint(json, at, path, decoding);
    case CODEC_BOOL:
        if (doc_kind(json) != DOC_TRUE && doc_kind(json) != DOC_FALSE)
            return fail_type(path, decoding, "a boolean", json);
        flag = doc_kind(json) == DOC_TRUE;
        memcpy(at, &flag, sizeof(flag));
        return 0;
    case CODEC_NUMBER:
        return decode_number(json, at, path, decoding);
    case CODEC_EMPTY:
        if (doc_kind(json) != DOC_OBJECT)
            return fail_type(path, decoding, "an object", json);
        flag = true;
        memcpy(at, &flag, sizeof(flag));
        return 0;
    case CODEC_ENUM:
        return decode_enum(member->values, json, at, path, decoding);
    case CODEC_OBJECT:
    default:
        return decode_object(member->type, json, at, path, decoding);
    }
}

/* ---- lists, members, objects ----------------------------------------------------------------- */

size_t codec_value_size(const struct codec_member *member)
{
    switch ((enum codec_kind)member->kind) {
    case CODEC_STR:
    case CODEC_STR_OR_NULL:
        return sizeof(char *);
    case CODEC_INT:
    case CODEC_UINT:
        return sizeof(uint64_t);
    case CODEC_BOOL:
    case CODEC_EMPTY:
        return sizeof(bool);
    case CODEC_NUMBER:
        return sizeof(double);
    case CODEC_ENUM:
        return sizeof(unsigned);
    case CODEC_OBJECT:
    default:
        return member->type->size;
    }
}

/* How many of n elements have room at first: all, in one piece, if that is no more than twice as long as the
 * text: QEMU's structs are about as long. A hostile peer's element may be of two bytes, and its struct of
 * hundreds: then more have room only as those before turn out well. */
static size_t first_room(size_t n, size_t size, struct doc_ref array)
{
    size_t few = POOL_SHARED / size;

    return n <= few || n <= doc_room(array) / size * 2 ? n : few + 1;
}

static int decode_list(const struct codec_member *member, struct doc_ref json, void *at,
                       const struct path *path, struct decoding *decoding)
{
    size_t size = codec_value_size(member), n = 0, room;
    struct codec_list list = { NULL, 0 };
    int r = 0;

    if (doc_kind(json) != DOC_ARRAY)
        return fail_type(path, decoding, "an array", json);
    for (struct doc_ref from = doc_first(json); from.doc != NULL; from = doc_next(json, from))
        n++;
    if (n == 0)
        return 0;
    room = first_room(n, size, json);
    list.v = allocate(decoding, room * size, 8);
    if (list.v == NULL)
        return -ENOMEM;
    for (struct doc_ref from = doc_first(json); from.doc != NULL && r == 0;
         from = doc_next(json, from)) {
        struct path here = { path, NULL, list.n };

        if (list.n == room) {
            room = n / 2 < room ? n : room * 2;
            list.v = pool_grow(&decoding->pool, list.v, list.n * size, room * size);
            if (list.v == NULL)
                return err_nomem(decoding->error);
        }
        r = decode_value(member, from, (char *)list.v + list.n++ * size, &here, decoding);
    }
    memcpy(at, &list, sizeof(list));
    return r;
}

static int decode_member(const struct codec_member *member, struct doc_ref object, char *base,
                         const struct path *up, struct decoding *decoding)
{
    struct path path = { up, member->name, 0 };
    struct doc_ref json = doc_get(object, member->name);
    const bool flag = true;
    void *at = base + member->offset;

    if (json.doc == NULL)
        return member->is_optional ? 0 : fail(&path, decoding, "missing");
    if (member->has_flag)
        memcpy(base + member->flag, &flag, sizeof(flag));
    if (member->is_list)
        return decode_list(member, json, at, &path, decoding);
    if (member->kind == CODEC_OBJECT && member->is_optional) {
        void *object_at = allocate(decoding, member->type->size, 8);

        if (object_at == NULL)
            return -ENOMEM;
        memcpy(at, &object_at, sizeof(object_at));
        at = object_at;
    }
    return decode_value(member, json, at, &path, decoding);
}

static const struct codec_branch *branch_of(const struct codec_type *type, const char *base)
{
    unsigned tag;

    if (type->tag == NULL)
        return NULL;
    memcpy(&tag, base + type->tag->offset, sizeof(tag));
    return tag < type->tag->values->n_values ? &type->branches[tag] : NULL;
}

static int decode_members(const struct codec_type *type, struct doc_ref json, char *base,
                          const struct path *path, struct decoding *decoding)
{
    int r = 0;

    for (size_t i = 0; i < type->n_members && r == 0; i++)
        r = decode_member(&type->members[i], json, base, path, decoding);
    return r;
}

static int decode_object(const struct codec_type *type, struct doc_ref json, char *base,
                         const struct path *path, struct decoding *decoding)
{
    const struct codec_branch *branch;
    int r;

    if (doc_kind(json) != DOC_OBJECT)
        return fail_type(path, decoding, "an object", json);
    r = decode_members(type, json, base, path, decoding);
    branch = branch_of(type, base);
    if (r < 0 || branch == NULL)
        return r;
    if (!branch->is_allowed) {
        struct path here = { path, type->tag->name, 0 };

        return fail(&here, decoding, "the schema has nothing for this value");
    }
    return branch->type != NULL ? decode_members(branch->type, json, base + branch->offset, path,
                                                 decoding)
                                : 0;
}

/* ---- whole values ---------------------------------------------------------------------------- */

/* What is decoded is about as long as the text: names go, structs come. */
static struct decoding begin(struct doc_ref json, qblk_error *error)
{
    return (struct decoding){ .pool = POOL_INIT, .guess = doc_room(json), .error = error };
}

int codec_decode(const struct codec_type *type, struct doc_ref json, void *value, qblk_error *error)
{
    struct path path = { NULL, type->name, 0 };
    struct decoding decoding = begin(json, error);
    int r;

    memset(value, 0, type->size);
    r = decode_object(type, json, value, &path, &decoding);
    if (r < 0) {
        pool_done(&decoding.pool);
        memset(value, 0, type->size);
    }
    return r;
}

int codec_decode_list(const struct codec_type *type, struct doc_ref json,
                      struct codec_list *ret_list, qblk_error *error)
{
    const struct codec_member member = {
        .name = type->name, .kind = CODEC_OBJECT, .is_list = true, .type = type
    };
    struct path path = { NULL, type->name, 0 };
    struct decoding decoding = begin(json, error);
    int r;

    memset(ret_list, 0, sizeof(*ret_list));
    r = decode_list(&member, json, ret_list, &path, &decoding);
    if (r < 0) {
        pool_done(&decoding.pool);
        memset(ret_list, 0, sizeof(*ret_list));
    }
    return r;
}

/* ---- freeing --------------------------------------------------------------------------------- */

/* The first pointer in the value, in the order in which its members are decoded. */
static void *first_in(const struct codec_type *type, const char *base)
{
    const struct codec_branch *branch = branch_of(type, base);
    void *first = NULL;

    for (size_t i = 0; i < type->n_members && first == NULL; i++) {
        const struct codec_member *member = &type->members[i];

        if (member->is_list || member->kind == CODEC_STR || member->kind == CODEC_STR_OR_NULL ||
            (member->kind == CODEC_OBJECT && member->is_optional))
            memcpy(&first, base + member->offset, sizeof(first)); /* a list's is v */
        else if (member->kind == CODEC_OBJECT)
            first = first_in(member->type, base + member->offset);
    }
    if (first == NULL && branch != NULL && branch->type != NULL)
        first = first_in(branch->type, base + branch->offset);
    return first;
}

void codec_clear(const struct codec_type *type, void *value)
{
    if (type == NULL || value == NULL)
        return;
    pool_free(first_in(type, value));
    memset(value, 0, type->size);
}

void codec_clear_list(struct codec_list *list)
{
    pool_free(list->v);
    memset(list, 0, sizeof(*list));
}

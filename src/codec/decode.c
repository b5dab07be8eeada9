#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/path.h"
#include "codec/table.h"

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

static int fail(const struct path *path, qblk_error *error, const char *what)
{
    char text[PATH_MAX_TEXT];

    return err_set(error, QBLK_E_PROTOCOL, "%s: %s", path_text(path, text), what);
}

static int fail_type(const struct path *path, qblk_error *error, const char *want,
                     struct doc_ref json)
{
    char text[PATH_MAX_TEXT];

    return err_set(error, QBLK_E_PROTOCOL, "%s: expected %s, found %s", path_text(path, text), want,
                   kind_text(json));
}

/* ---- one value ------------------------------------------------------------------------------- */

static int decode_string(struct doc_ref json, char **ret_text, const struct path *path,
                         qblk_error *error)
{
    switch (doc_string(json, ret_text)) {
    case 0:
        return 0;
    case -EINVAL:
        return fail_type(path, error, "a string", json);
    case -EILSEQ:
        return fail(path, error, "the string has a NUL in it");
    default:
        return err_nomem(error);
    }
}

static int decode_uint(struct doc_ref json, uint64_t *ret_value, const struct path *path,
                       qblk_error *error)
{
    if (doc_kind(json) != DOC_BIG && doc_kind(json) != DOC_INTEGER)
        return fail_type(path, error, "an integer", json);
    if (doc_integer(json) < 0)
        return fail(path, error, "expected an integer of 0 or more, found a negative one");
    *ret_value = doc_unsigned(json);
    return 0;
}

static int decode_number(struct doc_ref json, double *ret_value, const struct path *path,
                         qblk_error *error)
{
    if (doc_kind(json) != DOC_BIG && doc_kind(json) != DOC_INTEGER && doc_kind(json) != DOC_REAL)
        return fail_type(path, error, "a number", json);
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
                       const struct path *path, qblk_error *error)
{
    char text[PATH_MAX_TEXT];
    AUTO_FREE char *name = NULL;

    if (doc_kind(json) != DOC_STRING)
        return fail_type(path, error, "a string", json);
    for (unsigned i = 0; i < values->n_values; i++) {
        if (doc_is(json, values->values[i].name)) {
            *ret_value = i;
            return 0;
        }
    }
    if (doc_bytes(json, &name, NULL) < 0)
        return err_nomem(error);
    return err_set(error, QBLK_E_PROTOCOL, "%s: '%.64s' is no value of %s", path_text(path, text),
                   name, values->name);
}

static int decode_object(const struct codec_type *type, struct doc_ref json, char *base,
                         const struct path *path, qblk_error *error);

/* Into *at, which is zeroed and has room for codec_value_size(). */
static int decode_value(const struct codec_member *member, struct doc_ref json, void *at,
                        const struct path *path, qblk_error *error)
{
    int64_t integer;
    bool flag;

    switch ((enum codec_kind)member->kind) {
    case CODEC_STR_OR_NULL:
        return doc_kind(json) == DOC_NULL ? 0 : decode_string(json, at, path, error);
    case CODEC_STR:
        return decode_string(json, at, path, error);
    case CODEC_INT:
        if (doc_kind(json) != DOC_INTEGER)
            return fail_type(path, error, "an integer below 2^63", json);
        integer = doc_integer(json);
        memcpy(at, &integer, sizeof(integer));
        return 0;
    case CODEC_UINT:
        return decode_uint(json, at, path, error);
    case CODEC_BOOL:
        if (doc_kind(json) != DOC_TRUE && doc_kind(json) != DOC_FALSE)
            return fail_type(path, error, "a boolean", json);
        flag = doc_kind(json) == DOC_TRUE;
        memcpy(at, &flag, sizeof(flag));
        return 0;
    case CODEC_NUMBER:
        return decode_number(json, at, path, error);
    case CODEC_EMPTY:
        if (doc_kind(json) != DOC_OBJECT)
            return fail_type(path, error, "an object", json);
        flag = true;
        memcpy(at, &flag, sizeof(flag));
        return 0;
    case CODEC_ENUM:
        return decode_enum(member->values, json, at, path, error);
    case CODEC_OBJECT:
    default:
        return decode_object(member->type, json, at, path, error);
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

/* The array grows as elements turn out well: a peer cannot make us take much more memory than what
 * it sends. */
static int decode_list(const struct codec_member *member, struct doc_ref json, void *at,
                       const struct path *path, qblk_error *error)
{
    size_t size = codec_value_size(member), room = 0;
    struct codec_list list = { NULL, 0 };
    int r = 0;

    if (doc_kind(json) != DOC_ARRAY)
        return fail_type(path, error, "an array", json);
    for (struct doc_ref from = doc_first(json); from.doc != NULL && r == 0;
         from = doc_next(json, from)) {
        struct path here = { path, NULL, list.n };
        char *element;

        if (mem_grow(&list.v, &room, list.n, size) < 0) {
            r = err_nomem(error);
            break;
        }
        element = (char *)list.v + list.n * size;
        memset(element, 0, size);
        list.n++; /* what is half done is cleared too */
        r = decode_value(member, from, element, &here, error);
    }
    memcpy(at, &list, sizeof(list));
    return r;
}

static int decode_member(const struct codec_member *member, struct doc_ref object, char *base,
                         const struct path *up, qblk_error *error)
{
    struct path path = { up, member->name, 0 };
    struct doc_ref json = doc_get(object, member->name);
    const bool flag = true;
    void *at = base + member->offset;

    if (json.doc == NULL)
        return member->is_optional ? 0 : fail(&path, error, "missing");
    if (member->has_flag)
        memcpy(base + member->flag, &flag, sizeof(flag));
    if (member->is_list)
        return decode_list(member, json, at, &path, error);
    if (member->kind == CODEC_OBJECT && member->is_optional) {
        void *object_at = mem_zalloc(member->type->size);

        if (object_at == NULL)
            return err_nomem(error);
        memcpy(at, &object_at, sizeof(object_at));
        at = object_at;
    }
    return decode_value(member, json, at, &path, error);
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
                          const struct path *path, qblk_error *error)
{
    int r = 0;

    for (size_t i = 0; i < type->n_members && r == 0; i++)
        r = decode_member(&type->members[i], json, base, path, error);
    return r;
}

static int decode_object(const struct codec_type *type, struct doc_ref json, char *base,
                         const struct path *path, qblk_error *error)
{
    const struct codec_branch *branch;
    int r;

    if (doc_kind(json) != DOC_OBJECT)
        return fail_type(path, error, "an object", json);
    r = decode_members(type, json, base, path, error);
    branch = branch_of(type, base);
    if (r < 0 || branch == NULL)
        return r;
    if (!branch->is_allowed) {
        struct path here = { path, type->tag->name, 0 };

        return fail(&here, error, "the schema has nothing for this value");
    }
    return branch->type != NULL ? decode_members(branch->type, json, base + branch->offset, path,
                                                 error)
                                : 0;
}

int codec_decode(const struct codec_type *type, struct doc_ref json, void *value, qblk_error *error)
{
    struct path path = { NULL, type->name, 0 };
    int r;

    memset(value, 0, type->size);
    r = decode_object(type, json, value, &path, error);
    if (r < 0)
        codec_clear(type, value);
    return r;
}

int codec_decode_list(const struct codec_type *type, struct doc_ref json,
                      struct codec_list *ret_list, qblk_error *error)
{
    const struct codec_member member = {
        .name = type->name, .kind = CODEC_OBJECT, .is_list = true, .type = type
    };
    struct path path = { NULL, type->name, 0 };
    int r;

    memset(ret_list, 0, sizeof(*ret_list));
    r = decode_list(&member, json, ret_list, &path, error);
    if (r < 0)
        codec_clear_list(type, ret_list);
    return r;
}

/* ---- freeing --------------------------------------------------------------------------------- */

static void clear_members(const struct codec_type *type, char *base);

static void clear_value(const struct codec_member *member, void *at)
{
    if (member->kind == CODEC_STR || member->kind == CODEC_STR_OR_NULL) {
        char *text;

        memcpy(&text, at, sizeof(text));
        free(text);
    } else if (member->kind == CODEC_OBJECT) {
        clear_members(member->type, at);
    }
}

static void clear_list(const struct codec_member *member, const struct codec_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        clear_value(member, (char *)list->v + i * codec_value_size(member));
    free(list->v);
}

static void clear_member(const struct codec_member *member, char *base)
{
    struct codec_list list;
    void *object;

    if (member->is_list) {
        memcpy(&list, base + member->offset, sizeof(list));
        clear_list(member, &list);
    } else if (member->kind == CODEC_OBJECT && member->is_optional) {
        memcpy(&object, base + member->offset, sizeof(object));
        if (object != NULL)
            clear_members(member->type, object);
        free(object);
    } else {
        clear_value(member, base + member->offset);
    }
}

static void clear_members(const struct codec_type *type, char *base)
{
    const struct codec_branch *branch = branch_of(type, base);

    for (size_t i = 0; i < type->n_members; i++)
        clear_member(&type->members[i], base);
    if (branch != NULL && branch->type != NULL)
        clear_members(branch->type, base + branch->offset);
}

void codec_clear(const struct codec_type *type, void *value)
{
    if (type == NULL || value == NULL)
        return;
    clear_members(type, value);
    memset(value, 0, type->size);
}

void codec_clear_list(const struct codec_type *type, struct codec_list *list)
{
    const struct codec_member member = {
        .name = type->name, .kind = CODEC_OBJECT, .is_list = true, .type = type
    };

    clear_list(&member, list);
    memset(list, 0, sizeof(*list));
}

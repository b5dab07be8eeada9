#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/err.h"
#include "codec/path.h"
#include "codec/table.h"

static int fail(const struct path *path, qblk_error *error, const char *what)
{
    char text[PATH_MAX_TEXT];

    return err_set(error, QBLK_E_ARGUMENT, "%s: %s", path_text(path, text), what);
}

/* ---- strings --------------------------------------------------------------------------------- */

/* How many bytes the UTF-8 character at text has, 0 if it is none. The string ends by NUL, which no
 * continuation byte is. */
static size_t utf8_len(const unsigned char *text)
{
    unsigned c = text[0];
    size_t len;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < len; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    /* overlong, surrogate, beyond U+10FFFF */
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) ||
        (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return len;
}

static int encode_string(const char *string, struct buf *out, const struct path *path,
                         qblk_error *error)
{
    const unsigned char *at = (const unsigned char *)string;

    (void)buf_addc(out, '"');
    while (*at != '\0') {
        size_t len = utf8_len(at);

        if (len == 0)
            return fail(path, error, "the string is not UTF-8");
        if (*at == '"' || *at == '\\')
            (void)buf_addf(out, "\\%c", *at);
        else if (*at < 0x20)
            (void)buf_addf(out, "\\u%04x", *at);
        else
            (void)buf_add(out, at, len);
        at += len;
    }
    (void)buf_addc(out, '"');
    return 0;
}

/* jansson writes them with a point whatever the locale says. */
static int encode_number(double number, struct buf *out, const struct path *path, qblk_error *error)
{
    char text[64];
    json_t *json;
    size_t len;

    if (!isfinite(number))
        return fail(path, error, "the number is not finite");
    json = json_real(number);
    if (json == NULL)
        return err_nomem(error);
    len = json_dumpb(json, text, sizeof(text), JSON_ENCODE_ANY);
    json_decref(json);
    if (len == 0 || len > sizeof(text))
        return err_nomem(error);
    (void)buf_add(out, text, len);
    return 0;
}

/* ---- one value ------------------------------------------------------------------------------- */

static int encode_object(const struct codec_type *type, const char *base, struct buf *out,
                         const struct path *path, qblk_error *error);

static int encode_text(const struct codec_member *member, const void *at, struct buf *out,
                       const struct path *path, qblk_error *error)
{
    const char *text;

    memcpy(&text, at, sizeof(text));
    if (text != NULL)
        return encode_string(text, out, path, error);
    if (member->kind == CODEC_STR)
        return fail(path, error, "required and not set");
    (void)buf_adds(out, "null");
    return 0;
}

static int encode_enum(const struct codec_member *member, const void *at, struct buf *out,
                       const struct path *path, qblk_error *error)
{
    unsigned value;

    memcpy(&value, at, sizeof(value));
    if (value >= member->values->n_values)
        return fail(path, error, "not a value of its enumeration");
    (void)buf_addf(out, "\"%s\"", member->values->values[value].name);
    return 0;
}

static int encode_integer(const struct codec_member *member, const void *at, struct buf *out,
                          const struct path *path, qblk_error *error)
{
    uint64_t large;
    int64_t integer;

    if (member->kind == CODEC_INT) {
        memcpy(&integer, at, sizeof(integer));
        (void)buf_addf(out, "%" PRId64, integer);
        return 0;
    }
    memcpy(&large, at, sizeof(large));
    if (large > INT64_MAX)
        return fail(path, error, "more than 2^63-1, which QEMU refuses");
    (void)buf_addf(out, "%" PRIu64, large);
    return 0;
}

static int encode_value(const struct codec_member *member, const void *at, struct buf *out,
                        const struct path *path, qblk_error *error)
{
    double number;
    bool flag;

    switch ((enum codec_kind)member->kind) {
    case CODEC_STR:
    case CODEC_STR_OR_NULL:
        return encode_text(member, at, out, path, error);
    case CODEC_INT:
    case CODEC_UINT:
        return encode_integer(member, at, out, path, error);
    case CODEC_BOOL:
        memcpy(&flag, at, sizeof(flag));
        (void)buf_adds(out, flag ? "true" : "false");
        return 0;
    case CODEC_NUMBER:
        memcpy(&number, at, sizeof(number));
        return encode_number(number, out, path, error);
    case CODEC_EMPTY:
        (void)buf_adds(out, "{}");
        return 0;
    case CODEC_ENUM:
        return encode_enum(member, at, out, path, error);
    case CODEC_OBJECT:
    default:
        return encode_object(member->type, at, out, path, error);
    }
}

/* ---- lists, members, objects ----------------------------------------------------------------- */

static int encode_list(const struct codec_member *member, const void *at, struct buf *out,
                       const struct path *path, qblk_error *error)
{
    size_t size = codec_value_size(member);
    struct codec_list list;
    int r = 0;

    memcpy(&list, at, sizeof(list));
    if (list.v == NULL && list.n != 0)
        return fail(path, error, "a list of some elements that are nowhere");
    (void)buf_addc(out, '[');
    for (size_t i = 0; i < list.n && r == 0; i++) {
        struct path here = { path, NULL, i };

        if (i > 0)
            (void)buf_addc(out, ',');
        r = encode_value(member, (const char *)list.v + i * size, out, &here, error);
    }
    (void)buf_addc(out, ']');
    return r;
}

static bool is_set(const struct codec_member *member, const char *base)
{
    const void *pointer;
    bool flag;

    if (!member->is_optional)
        return true;
    if (member->has_flag || member->kind == CODEC_EMPTY) {
        memcpy(&flag, base + (member->has_flag ? member->flag : member->offset), sizeof(flag));
        return flag;
    }
    memcpy(&pointer, base + member->offset, sizeof(pointer));
    return pointer != NULL;
}

static int encode_members(const struct codec_type *type, const char *base, struct buf *out,
                          bool *first, const struct path *up, qblk_error *error)
{
    int r = 0;

    for (size_t i = 0; i < type->n_members && r == 0; i++) {
        const struct codec_member *member = &type->members[i];
        struct path path = { up, member->name, 0 };
        const void *at = base + member->offset;

        if (!is_set(member, base))
            continue;
        (void)buf_addf(out, "%s\"%s\":", *first ? "" : ",", member->name);
        *first = false;
        if (member->is_list) {
            r = encode_list(member, at, out, &path, error);
        } else if (member->kind == CODEC_OBJECT && member->is_optional) {
            const void *object;

            memcpy(&object, at, sizeof(object));
            r = encode_object(member->type, object, out, &path, error);
        } else {
            r = encode_value(member, at, out, &path, error);
        }
    }
    return r;
}

static int encode_object(const struct codec_type *type, const char *base, struct buf *out,
                         const struct path *path, qblk_error *error)
{
    const struct codec_branch *branch;
    bool first = true;
    unsigned tag;
    int r;

    (void)buf_addc(out, '{');
    r = encode_members(type, base, out, &first, path, error);
    if (r == 0 && type->tag != NULL) {
        /* In range: it has just been encoded. */
        memcpy(&tag, base + type->tag->offset, sizeof(tag));
        branch = &type->branches[tag];
        if (!branch->is_allowed) {
            struct path here = { path, type->tag->name, 0 };

            return fail(&here, error, "the schema has nothing for this value");
        }
        if (branch->type != NULL)
            r = encode_members(branch->type, base + branch->offset, out, &first, path, error);
    }
    (void)buf_addc(out, '}');
    return r;
}

int codec_encode(const struct codec_type *type, const void *value, struct buf *out,
                 qblk_error *error)
{
    struct path path = { NULL, type->name, 0 };
    struct buf_mark was = buf_mark(out);
    int r = buf_ok(out) < 0 ? err_nomem(error) : encode_object(type, value, out, &path, error);

    if (r == 0 && buf_ok(out) < 0)
        r = err_nomem(error);
    if (r < 0)
        buf_cut(out, was);
    return r;
}

/* Whether a command can be sent with no arguments at all. */
static bool needs_none(const struct codec_type *type)
{
    for (size_t i = 0; type != NULL && i < type->n_members; i++) {
        if (!type->members[i].is_optional)
            return false;
    }
    return true;
}

int codec_command(const struct codec_command *command, const void *args, struct buf *out,
                  qblk_error *error)
{
    static const char before[] = ",\"arguments\":";
    struct buf_mark was = buf_mark(out), bare;
    int r = 0;

    (void)buf_addf(out, "{\"execute\":\"%s\"", command->name);
    bare = buf_mark(out);
    if (args != NULL && command->args != NULL) {
        (void)buf_adds(out, before);
        r = codec_encode(command->args, args, out, error);
        /* An empty object is left out: QEMU reads byte by byte. */
        if (r == 0 && out->len == bare.len + strlen(before) + strlen("{}"))
            buf_cut(out, bare);
    } else if (!needs_none(command->args)) {
        r = err_set(error, QBLK_E_ARGUMENT, "%s: needs arguments", command->name);
    }
    (void)buf_addc(out, '}');
    if (r == 0 && buf_ok(out) < 0)
        r = err_nomem(error);
    if (r < 0)
        buf_cut(out, was);
    return r;
}

#include "model.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct chunk {
    struct chunk *next;
    max_align_t data[];
};

static void no_memory(void)
{
    (void)fprintf(stderr, "qapi-gen: out of memory\n");
    exit(1);
}

void model_init(struct model *model, FILE *complaints)
{
    memset(model, 0, sizeof(*model));
    model->complaints = complaints;
}

void model_free(struct model *model)
{
    while (model->chunks != NULL) {
        struct chunk *chunk = model->chunks;

        model->chunks = chunk->next;
        free(chunk);
    }
    free(model->entities);
    memset(model, 0, sizeof(*model));
}

void *model_alloc(struct model *model, size_t n, size_t size)
{
    struct chunk *chunk;

    if (n > (SIZE_MAX - sizeof(*chunk)) / size)
        no_memory();
    chunk = calloc(1, sizeof(*chunk) + n * size);
    if (chunk == NULL)
        no_memory();
    chunk->next = model->chunks;
    model->chunks = chunk;
    return chunk->data;
}

const char *model_text(struct model *model, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = model_alloc(model, len, 1);

    memcpy(copy, text, len);
    return copy;
}

struct entity *model_add(struct model *model)
{
    struct entity *entity = model_alloc(model, 1, sizeof(*entity));
    struct entity **grown =
        realloc(model->entities, (model->n_entities + 1) * sizeof(struct entity *));

    if (grown == NULL)
        no_memory();
    model->entities = grown;
    model->entities[model->n_entities++] = entity;
    return entity;
}

struct entity *model_find_type(const struct model *model, const char *name)
{
    for (size_t i = 0; i < model->n_entities; i++) {
        struct entity *entity = model->entities[i];

        if (entity->kind != ENTITY_COMMAND && entity->kind != ENTITY_EVENT &&
            strcmp(entity->name, name) == 0)
            return entity;
    }
    return NULL;
}

__attribute__((format(printf, 2, 0))) static void tell(struct model *model, const char *format,
                                                       va_list ap)
{
    (void)vfprintf(model->complaints, format, ap);
    (void)fputc('\n', model->complaints);
}

void mistake_at(struct model *model, const char *file, int line, const char *format, ...)
{
    va_list ap;

    model->n_mistakes++;
    if (model->complaints == NULL)
        return;
    (void)fprintf(model->complaints, "%s:%d: ", file, line);
    va_start(ap, format);
    tell(model, format, ap);
    va_end(ap);
}

void mistake(struct model *model, const struct entity *entity, const char *member, int line,
             const char *format, ...)
{
    va_list ap;

    model->n_mistakes++;
    if (model->complaints == NULL)
        return;
    (void)fprintf(model->complaints, "%s:%d: in %s '%s'", entity->file, line,
                  entity_kind_name(entity->kind), entity->name);
    if (member != NULL)
        (void)fprintf(model->complaints, ", %s '%s'",
                      entity->kind == ENTITY_ENUM ? "value" : "member", member);
    (void)fputs(": ", model->complaints);
    va_start(ap, format);
    tell(model, format, ap);
    va_end(ap);
}

const char *entity_kind_name(enum entity_kind kind)
{
    static const char *const names[ENTITY_KINDS] = {
        [ENTITY_COMMAND] = "command", [ENTITY_EVENT] = "event", [ENTITY_STRUCT] = "struct",
        [ENTITY_UNION] = "union",     [ENTITY_ENUM] = "enum",
    };

    return names[kind];
}

bool member_has_flag(const struct member *member)
{
    if (!member->is_optional || member->type.kind == TYPE_EMPTY)
        return false;
    return member->type.is_list ||
           (member->type.kind != TYPE_STR && member->type.kind != TYPE_OBJECT);
}

/* ---- names in C ------------------------------------------------------------------------------ */

/* Keywords of C11 and C++, and what the compilers or the standard headers define as macros. */
static const char *const reserved[] = {
    "alignas", "alignof", "and", "and_eq", "asm", "assert", "auto", "bitand", "bitor", "bool",
    "break", "case", "catch", "char", "class", "compl", "complex", "const", "constexpr",
    "const_cast", "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast",
    "else", "enum", "errno", "explicit", "export", "extern", "false", "float", "for", "friend",
    "goto", "i386", "if", "inline", "int", "linux", "long", "mutable", "namespace", "new",
    "noexcept", "not", "not_eq", "nullptr", "offsetof", "operator", "or", "or_eq", "private",
    "protected", "public", "register", "reinterpret_cast", "restrict", "return", "short",
    "signed", "sizeof", "static", "static_assert", "static_cast", "struct", "switch", "template",
    "this", "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "typeof",
    "union", "unix", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while",
    "xor", "xor_eq",
};

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcmp(reserved[i], name) == 0)
            return true;
    }
    return false;
}

const char *c_type_name(struct model *model, const char *name)
{
    size_t len = strlen(name), n = 0;
    char *out = model_alloc(model, 2 * len + 1, 1);

    for (size_t i = 0; i < len; i++) {
        unsigned char before = i > 0 ? (unsigned char)name[i - 1] : 0;
        unsigned char c = (unsigned char)name[i], after = (unsigned char)name[i + 1];

        if (isupper(c) && i > 0 &&
            (islower(before) || isdigit(before) || (isupper(before) && islower(after))))
            out[n++] = '_';
        out[n++] = c == '-' ? '_' : (char)tolower(c);
    }
    return out;
}

const char *c_member_name(struct model *model, const char *name)
{
    size_t len = strlen(name);
    char *out = model_alloc(model, len + 2, 1);

    for (size_t i = 0; i < len; i++)
        out[i] = name[i] == '-' ? '_' : name[i];
    if (is_reserved(out))
        out[len] = '_';
    return out;
}

const char *c_constant(struct model *model, const char *c_type, const char *name)
{
    size_t head = strlen("QAPI_"), type_len = strlen(c_type), len = strlen(name);
    char *out = model_alloc(model, head + type_len + len + 2, 1);

    memcpy(out, "QAPI_", head);
    memcpy(out + head, c_type, type_len);
    out[head + type_len] = '_';
    memcpy(out + head + type_len + 1, name, len);
    for (char *c = out; *c != '\0'; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return out;
}

/* ---- versions -------------------------------------------------------------------------------- */

bool is_version(const char *text)
{
    size_t major = strspn(text, "0123456789"), minor;

    if (major == 0 || major > 3 || text[major] != '.')
        return false;
    minor = strspn(text + major + 1, "0123456789");
    return minor > 0 && minor <= 3 && text[major + 1 + minor] == '\0';
}

int version_compare(const char *a, const char *b)
{
    long by_major = strtol(a, NULL, 10) - strtol(b, NULL, 10);
    long by_minor = strtol(strchr(a, '.') + 1, NULL, 10) - strtol(strchr(b, '.') + 1, NULL, 10);

    return (int)(by_major != 0 ? by_major : by_minor);
}

#include <string.h>

#include "emit.h"

/* Lists of builtin types. Strings come in two kinds: those that a decoded struct owns, and those
 * that an argument struct borrows. */
#define LIST_STR 0
#define LIST_CONST_STR 1
static const struct {
    const char *name;
    const char *element;
} builtin_lists[] = {
    { "str", "char *" },      { "const_str", "const char *const " },
    { "int", "int64_t " },    { "uint64", "uint64_t " },
    { "bool", "bool " },      { "number", "double " },
};
#define N_BUILTIN_LISTS (sizeof(builtin_lists) / sizeof(builtin_lists[0]))

void emit_banner(const struct model *model, struct text *out, const char *what)
{
    text_addf(out, "/* %s Made by qapi-gen; change these instead:\n", what);
    for (size_t i = 0; i < model->n_files; i++)
        text_addf(out, " *   %s\n", model->files[i]);
    text_addf(out, " */\n");
}

static bool is_borrowed(const struct entity *entity)
{
    return entity->is_sent && !entity->is_got;
}

static int builtin_list(const struct entity *entity, const struct type_ref *type)
{
    switch (type->kind) {
    case TYPE_STR:
        return is_borrowed(entity) ? LIST_CONST_STR : LIST_STR;
    case TYPE_INT:
        return 2;
    case TYPE_UINT:
        return 3;
    case TYPE_BOOL:
        return 4;
    case TYPE_NUMBER:
        return 5;
    case TYPE_UNKNOWN:
    case TYPE_STR_OR_NULL:
    case TYPE_EMPTY:
    case TYPE_ENUM:
    case TYPE_OBJECT:
    default:
        return -1;
    }
}

static void emit_enum(struct text *out, const struct entity *entity)
{
    text_addf(out, "\nenum qapi_%s {\n", entity->c_name);
    for (size_t i = 0; i < entity->n_values; i++) {
        text_addf(out, "    %s%s\n", entity->values[i].c_name,
                  i + 1 < entity->n_values ? "," : "");
    }
    text_addf(out, "};\nextern const struct codec_enum qapi_enum_%s;\n", entity->c_name);
}

/* Which list structs are needed: by builtin, and (as marks on the entities) by type. */
static void emit_lists(const struct model *model, struct text *out)
{
    bool need[N_BUILTIN_LISTS] = { false };

    for (size_t i = 0; i < model->n_entities; i++)
        model->entities[i]->mark = 0;
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        for (size_t k = 0; k < entity->n_members; k++) {
            const struct type_ref *type = &entity->members[k].type;

            if (!type->is_list)
                continue;
            if (type->entity != NULL)
                type->entity->mark = 1;
            else
                need[builtin_list(entity, type)] = true;
        }
        if (entity->returns.is_list)
            entity->returns.entity->mark = 1;
    }
    for (size_t i = 0; i < N_BUILTIN_LISTS; i++) {
        if (need[i])
            text_addf(out, "\nstruct qapi_%s_list {\n    %s*v;\n    size_t n;\n};\n",
                      builtin_lists[i].name, builtin_lists[i].element);
    }
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        if (entity->mark == 1)
            text_addf(out, "\nstruct qapi_%s_list {\n    %s qapi_%s *v;\n    size_t n;\n};\n",
                      entity->c_name, entity->kind == ENTITY_ENUM ? "enum" : "struct",
                      entity->c_name);
    }
}

static void emit_member(struct text *out, const struct entity *entity, const struct member *member)
{
    const char *string = is_borrowed(entity) ? "const char" : "char";
    const struct entity *type = member->type.entity;

    if (member_has_flag(member))
        text_addf(out, "    bool has_%s;\n", member->c_name);
    if (member->type.is_list) {
        text_addf(out, "    struct qapi_%s_list %s;\n",
                  type != NULL ? type->c_name
                               : builtin_lists[builtin_list(entity, &member->type)].name,
                  member->c_name);
        return;
    }
    switch (member->type.kind) {
    case TYPE_STR:
    case TYPE_STR_OR_NULL:
        text_addf(out, "    %s *%s;\n", string, member->c_name);
        break;
    case TYPE_INT:
        text_addf(out, "    int64_t %s;\n", member->c_name);
        break;
    case TYPE_UINT:
        text_addf(out, "    uint64_t %s;\n", member->c_name);
        break;
    case TYPE_NUMBER:
        text_addf(out, "    double %s;\n", member->c_name);
        break;
    case TYPE_ENUM:
        text_addf(out, "    enum qapi_%s %s;\n", type->c_name, member->c_name);
        break;
    case TYPE_OBJECT:
        text_addf(out, "    struct qapi_%s %s%s;\n", type->c_name, member->is_optional ? "*" : "",
                  member->c_name);
        break;
    case TYPE_BOOL:
    case TYPE_EMPTY:
    case TYPE_UNKNOWN:
    default:
        text_addf(out, "    bool %s;\n", member->c_name);
        break;
    }
}

static void emit_struct(struct text *out, const struct entity *entity)
{
    text_addf(out, "\nstruct qapi_%s {\n", entity->c_name);
    for (size_t i = 0; i < entity->n_members; i++)
        emit_member(out, entity, &entity->members[i]);
    if (entity->kind == ENTITY_UNION) {
        text_addf(out, "    union {\n");
        for (size_t i = 0; i < entity->n_branches; i++) {
            const struct branch *branch = &entity->branches[i];

            if (branch->type != NULL)
                text_addf(out, "        struct qapi_%s %s;\n", branch->type->c_name,
                          branch->c_name);
        }
        text_addf(out, "    } u;\n");
    }
    text_addf(out, "};\nextern const struct codec_type qapi_type_%s;\n", entity->c_name);
}

/* Arguments given by the name of a type can be called by the command's name all the same. */
static void emit_alias(struct text *out, const struct entity *entity)
{
    if (entity->data.entity == NULL || strcmp(entity->data.entity->c_name, entity->c_name) == 0)
        return;
    text_addf(out, "#define qapi_%s qapi_%s\n", entity->c_name, entity->data.entity->c_name);
    text_addf(out, "#define qapi_type_%s qapi_type_%s\n", entity->c_name,
              entity->data.entity->c_name);
}

static void emit_tables(const struct model *model, struct text *out, enum entity_kind kind)
{
    size_t tail = kind == ENTITY_COMMAND ? strlen("_args") : strlen("_event");

    text_addf(out, "\n");
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        if (entity->kind != kind)
            continue;
        emit_alias(out, entity);
        text_addf(out, "extern const struct codec_%s qapi_%s_%.*s;\n", entity_kind_name(kind),
                  kind == ENTITY_COMMAND ? "cmd" : "event",
                  (int)(strlen(entity->c_name) - tail), entity->c_name);
    }
}

void emit_h(const struct model *model, struct text *out)
{
    emit_banner(model, out, "Structs of the subset of QAPI that this library uses.");
    text_addf(out, "#ifndef QAPI_TYPES_H\n#define QAPI_TYPES_H\n\n#include <stdbool.h>\n"
                   "#include <stddef.h>\n#include <stdint.h>\n\n#include \"codec/engine.h\"\n\n"
                   "struct codec_enum;\n");
    for (size_t i = 0; i < model->n_entities; i++) {
        if (model->entities[i]->kind == ENTITY_ENUM)
            emit_enum(out, model->entities[i]);
    }
    text_addf(out, "\n");
    for (size_t i = 0; i < model->n_sorted; i++)
        text_addf(out, "struct qapi_%s;\n", model->sorted[i]->c_name);
    emit_lists(model, out);
    for (size_t i = 0; i < model->n_sorted; i++)
        emit_struct(out, model->sorted[i]);
    emit_tables(model, out, ENTITY_COMMAND);
    emit_tables(model, out, ENTITY_EVENT);
    text_addf(out,
              "\n/* Everything, each list ended by NULL. */\n"
              "extern const struct codec_command *const qapi_commands[];\n"
              "extern const struct codec_event *const qapi_events[];\n"
              "extern const struct codec_type *const qapi_types[];\n\n"
              "/* NULL if the schema does not have it. */\n"
              "const struct codec_command *qapi_command_find(const char *name);\n"
              "const struct codec_event *qapi_event_find(const char *name);\n\n#endif\n");
}

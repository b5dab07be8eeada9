#include <string.h>

#include "emit.h"

static const char *const kinds[] = {
    [TYPE_UNKNOWN] = NULL,          [TYPE_STR] = "CODEC_STR",
    [TYPE_INT] = "CODEC_INT",       [TYPE_UINT] = "CODEC_UINT",
    [TYPE_BOOL] = "CODEC_BOOL",     [TYPE_NUMBER] = "CODEC_NUMBER",
    [TYPE_EMPTY] = "CODEC_EMPTY",   [TYPE_STR_OR_NULL] = "CODEC_STR_OR_NULL",
    [TYPE_ENUM] = "CODEC_ENUM",     [TYPE_OBJECT] = "CODEC_OBJECT",
};

static void emit_since(struct text *out, const char *since)
{
    if (since != NULL)
        text_addf(out, ", .since = \"%s\"", since);
}

static void emit_enum(struct text *out, const struct entity *entity)
{
    text_addf(out, "\nstatic const struct codec_value values_%s[] = {\n", entity->c_name);
    for (size_t i = 0; i < entity->n_values; i++) {
        text_addf(out, "    { .name = \"%s\"", entity->values[i].name);
        emit_since(out, entity->values[i].since);
        text_addf(out, " },\n");
    }
    text_addf(out, "};\nconst struct codec_enum qapi_enum_%s = {\n    .name = \"%s\"",
              entity->c_name, entity->name);
    emit_since(out, entity->since);
    text_addf(out, ", .values = values_%s, .n_values = %zu\n};\n", entity->c_name,
              entity->n_values);
    text_addf(out, "_Static_assert(sizeof(enum qapi_%s) == sizeof(unsigned), \"size of enum\");\n",
              entity->c_name);
}

static void emit_member(struct text *out, const struct entity *entity, const struct member *member)
{
    text_addf(out, "    { .name = \"%s\"", member->name);
    emit_since(out, member->since);
    text_addf(out, ", .kind = %s", kinds[member->type.kind]);
    if (member->is_optional)
        text_addf(out, ", .is_optional = true");
    if (member->type.is_list)
        text_addf(out, ", .is_list = true");
    if (member_has_flag(member))
        text_addf(out, ", .has_flag = true,\n      .flag = offsetof(struct qapi_%s, has_%s)",
                  entity->c_name, member->c_name);
    text_addf(out, ",\n      .offset = offsetof(struct qapi_%s, %s)", entity->c_name,
              member->c_name);
    if (member->type.kind == TYPE_ENUM)
        text_addf(out, ", .values = &qapi_enum_%s", member->type.entity->c_name);
    if (member->type.kind == TYPE_OBJECT)
        text_addf(out, ", .type = &qapi_type_%s", member->type.entity->c_name);
    text_addf(out, " },\n");
}

static const struct branch *find_branch(const struct entity *entity, const char *value)
{
    for (size_t i = 0; i < entity->n_branches; i++) {
        if (strcmp(entity->branches[i].value, value) == 0)
            return &entity->branches[i];
    }
    return NULL;
}

/* One row for each value of the discriminator's enum, in its order. */
static void emit_branches(struct text *out, const struct entity *entity)
{
    const struct entity *values = entity->tag->type.entity;

    text_addf(out, "static const struct codec_branch branches_%s[] = {\n", entity->c_name);
    for (size_t i = 0; i < values->n_values; i++) {
        const struct branch *branch = find_branch(entity, values->values[i].name);

        if (branch == NULL)
            text_addf(out, "    { .is_allowed = false },\n");
        else if (branch->type == NULL)
            text_addf(out, "    { .is_allowed = true },\n");
        else
            text_addf(out,
                      "    { .is_allowed = true, .type = &qapi_type_%s,\n"
                      "      .offset = offsetof(struct qapi_%s, u.%s) },\n",
                      branch->type->c_name, entity->c_name, branch->c_name);
    }
    text_addf(out, "};\n");
}

static void emit_type(struct text *out, const struct entity *entity)
{
    text_addf(out, "\nstatic const struct codec_member members_%s[] = {\n", entity->c_name);
    for (size_t i = 0; i < entity->n_members; i++)
        emit_member(out, entity, &entity->members[i]);
    text_addf(out, "};\n");
    if (entity->kind == ENTITY_UNION)
        emit_branches(out, entity);
    text_addf(out, "const struct codec_type qapi_type_%s = {\n    .name = \"%s\"", entity->c_name,
              entity->name);
    emit_since(out, entity->since);
    text_addf(out,
              ", .size = sizeof(struct qapi_%s),\n"
              "    .members = members_%s, .n_members = %zu",
              entity->c_name, entity->c_name, entity->n_members);
    if (entity->kind == ENTITY_UNION)
        text_addf(out, ",\n    .tag = &members_%s[%zu], .branches = branches_%s", entity->c_name,
                  (size_t)(entity->tag - entity->members), entity->c_name);
    text_addf(out, "\n};\n");
}

/* The struct that holds a command's arguments or an event's data, or NULL. */
static const struct entity *data_of(const struct entity *entity)
{
    if (entity->data.entity != NULL)
        return entity->data.entity;
    return entity->n_members > 0 ? entity : NULL;
}

/* "block_stream" of "block_stream_args". */
static void emit_short(struct text *out, const struct entity *entity)
{
    size_t tail = entity->kind == ENTITY_COMMAND ? strlen("_args") : strlen("_event");

    text_addf(out, "qapi_%s_%.*s", entity->kind == ENTITY_COMMAND ? "cmd" : "event",
              (int)(strlen(entity->c_name) - tail), entity->c_name);
}

static void emit_entry(struct text *out, const struct entity *entity)
{
    const struct entity *data = data_of(entity);

    text_addf(out, "\nconst struct codec_%s ", entity_kind_name(entity->kind));
    emit_short(out, entity);
    text_addf(out, " = {\n    .name = \"%s\"", entity->name);
    emit_since(out, entity->since);
    if (data != NULL)
        text_addf(out, ", .%s = &qapi_type_%s", entity->kind == ENTITY_COMMAND ? "args" : "data",
                  data->c_name);
    if (entity->returns.entity != NULL)
        text_addf(out, ",\n    .ret = &qapi_type_%s", entity->returns.entity->c_name);
    if (entity->returns.is_list)
        text_addf(out, ", .ret_is_array = true");
    text_addf(out, "\n};\n");
}

/* What the monitor knows; an agent's commands are used by name only. */
static void emit_list(const struct model *model, struct text *out, enum entity_kind kind)
{
    const char *name = entity_kind_name(kind);

    text_addf(out, "\nconst struct codec_%s *const qapi_%ss[] = {\n", name, name);
    for (size_t i = 0; i < model->n_entities; i++) {
        if (model->entities[i]->kind != kind || model->entities[i]->is_agents)
            continue;
        text_addf(out, "    &");
        emit_short(out, model->entities[i]);
        text_addf(out, ",\n");
    }
    text_addf(out, "    NULL,\n};\n\nconst struct codec_%s *qapi_%s_find(const char *name)\n{\n",
              name, name);
    text_addf(out,
              "    for (size_t i = 0; qapi_%ss[i] != NULL; i++) {\n"
              "        if (strcmp(qapi_%ss[i]->name, name) == 0)\n"
              "            return qapi_%ss[i];\n    }\n    return NULL;\n}\n",
              name, name, name);
}

void emit_c(const struct model *model, struct text *out)
{
    emit_banner(model, out, "Tables for the codec.");
    text_addf(out, "#include \"qapi_types.h\"\n\n#include <string.h>\n\n"
                   "#include \"codec/table.h\"\n");
    for (size_t i = 0; i < model->n_entities; i++) {
        if (model->entities[i]->kind == ENTITY_ENUM)
            emit_enum(out, model->entities[i]);
    }
    for (size_t i = 0; i < model->n_sorted; i++)
        emit_type(out, model->sorted[i]);
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        if (entity->kind == ENTITY_COMMAND || entity->kind == ENTITY_EVENT)
            emit_entry(out, entity);
    }
    emit_list(model, out, ENTITY_COMMAND);
    emit_list(model, out, ENTITY_EVENT);
    text_addf(out, "\nconst struct codec_type *const qapi_types[] = {\n");
    for (size_t i = 0; i < model->n_sorted; i++)
        text_addf(out, "    &qapi_type_%s,\n", model->sorted[i]->c_name);
    text_addf(out, "    NULL,\n};\n");
}

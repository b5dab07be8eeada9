/* Strict JSON to the model: the shape of each entity. What the names in it mean is check.c's. */
#include <jansson.h>
#include <string.h>

#include "lines.h"
#include "model.h"

struct ctx {
    struct model *model;
    struct entity *entity;
};

static const char *json_kind(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    case JSON_INTEGER:
    case JSON_REAL:
    default:
        return "a number";
    }
}

/* The string at key, NULL (after a mistake, if it is there) otherwise. */
static const char *get_text(struct ctx *ctx, json_t *object, const struct pos *pos,
                            const char *member, const char *key)
{
    json_t *value = json_object_get(object, key);

    if (value == NULL)
        return NULL;
    if (!json_is_string(value) || json_string_length(value) == 0) {
        mistake(ctx->model, ctx->entity, member, lines_of(pos, object, key),
                "'%s' must be a string that is not empty, not %s", key,
                json_is_string(value) ? "an empty one" : json_kind(value));
        return NULL;
    }
    return model_text(ctx->model, json_string_value(value));
}

static void check_keys(struct ctx *ctx, json_t *object, const struct pos *pos, const char *member,
                       const char *const *allowed)
{
    const struct pos *part = pos->first;
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value) {
        bool known = false;

        for (size_t i = 0; allowed[i] != NULL; i++)
            known = known || strcmp(allowed[i], key) == 0;
        if (!known)
            mistake(ctx->model, ctx->entity, member, part->line, "unknown key '%s'", key);
        part = part->next;
    }
}

/* "Type" or ["Type"]. */
static void parse_type(struct ctx *ctx, json_t *json, int line, const char *member,
                       struct type_ref *ret_type)
{
    ret_type->is_list = json_is_array(json);
    if (json_is_array(json)) {
        if (json_array_size(json) != 1) {
            mistake(ctx->model, ctx->entity, member, line,
                    "a list type is written [\"Type\"], with one name in it");
            return;
        }
        json = json_array_get(json, 0);
    }
    if (!json_is_string(json)) {
        mistake(ctx->model, ctx->entity, member, line,
                "a type is written \"Type\" or [\"Type\"], not as %s", json_kind(json));
        return;
    }
    ret_type->name = model_text(ctx->model, json_string_value(json));
}

static void parse_member(struct ctx *ctx, const char *name, json_t *json, const struct pos *pos,
                         struct member *member)
{
    static const char *const keys[] = { "type", "optional", "since", "doc", NULL };
    json_t *type, *optional;

    member->name = model_text(ctx->model, name);
    member->line = pos->line;
    if (!json_is_object(json)) {
        parse_type(ctx, json, pos->line, name, &member->type);
        return;
    }
    check_keys(ctx, json, pos, name, keys);
    type = json_object_get(json, "type");
    if (type == NULL)
        mistake(ctx->model, ctx->entity, name, pos->line, "has no 'type'");
    else
        parse_type(ctx, type, lines_of(pos, json, "type"), name, &member->type);
    optional = json_object_get(json, "optional");
    if (optional != NULL && !json_is_boolean(optional))
        mistake(ctx->model, ctx->entity, name, lines_of(pos, json, "optional"),
                "'optional' must be true or false, not %s", json_kind(optional));
    member->is_optional = json_is_true(optional);
    member->since = get_text(ctx, json, pos, name, "since");
    member->doc = get_text(ctx, json, pos, name, "doc");
}

static void parse_members(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    const struct pos *part = pos->first;
    const char *name;
    json_t *value;

    ctx->entity->members =
        model_alloc(ctx->model, json_object_size(json), sizeof(struct member));
    json_object_foreach(json, name, value) {
        parse_member(ctx, name, value, part,
                     &ctx->entity->members[ctx->entity->n_members++]);
        part = part->next;
    }
}

/* The value at key, which must be an object; NULL after a mistake. */
static json_t *get_object(struct ctx *ctx, json_t *json, const struct pos *pos, const char *key,
                          const char *what)
{
    json_t *value = json_object_get(json, key);

    if (value == NULL)
        mistake(ctx->model, ctx->entity, NULL, pos->line, "has no '%s'", key);
    else if (!json_is_object(value))
        mistake(ctx->model, ctx->entity, NULL, lines_of(pos, json, key),
                "'%s' must be an object of %s, not %s", key, what, json_kind(value));
    else
        return value;
    return NULL;
}

static void parse_struct(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    static const char *const keys[] = { "struct", "since", "doc", "data", NULL };
    json_t *data = get_object(ctx, json, pos, "data", "members");

    check_keys(ctx, json, pos, NULL, keys);
    if (data != NULL)
        parse_members(ctx, data, lines_part(pos, json, "data"));
}

/* Arguments of a command or data of an event: members in place or the name of a type. */
static void parse_data(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    json_t *data = json_object_get(json, "data");

    if (data == NULL)
        return;
    if (json_is_object(data))
        parse_members(ctx, data, lines_part(pos, json, "data"));
    else if (json_is_string(data))
        parse_type(ctx, data, lines_of(pos, json, "data"), NULL, &ctx->entity->data);
    else
        mistake(ctx->model, ctx->entity, NULL, lines_of(pos, json, "data"),
                "'data' must be an object of members or the name of a type, not %s",
                json_kind(data));
}

static void need_doc(struct ctx *ctx, json_t *json)
{
    if (json_object_get(json, "doc") == NULL)
        mistake(ctx->model, ctx->entity, NULL, ctx->entity->line, "has no 'doc'");
}

static void parse_command(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    static const char *const keys[] = { "command", "since",   "doc", "peer",
                                        "data",    "returns", NULL };
    json_t *returns = json_object_get(json, "returns");
    const char *peer = get_text(ctx, json, pos, NULL, "peer");

    check_keys(ctx, json, pos, NULL, keys);
    ctx->entity->is_agents = peer != NULL && strcmp(peer, "agent") == 0;
    if (peer != NULL && !ctx->entity->is_agents)
        mistake(ctx->model, ctx->entity, NULL, lines_of(pos, json, "peer"),
                "'peer' must be \"agent\", or left out for QEMU's monitor");
    need_doc(ctx, json);
    parse_data(ctx, json, pos);
    if (returns != NULL)
        parse_type(ctx, returns, lines_of(pos, json, "returns"), NULL, &ctx->entity->returns);
}

static void parse_event(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    static const char *const keys[] = { "event", "since", "doc", "data", NULL };

    check_keys(ctx, json, pos, NULL, keys);
    need_doc(ctx, json);
    parse_data(ctx, json, pos);
}

static void parse_union(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    static const char *const keys[] = { "union", "since",         "doc", "base",
                                        "data",  "discriminator", NULL };
    json_t *base = get_object(ctx, json, pos, "base", "members");
    json_t *data = get_object(ctx, json, pos, "data", "types, by value of the discriminator");
    const struct pos *part;
    const char *value;
    json_t *type;

    check_keys(ctx, json, pos, NULL, keys);
    if (base != NULL)
        parse_members(ctx, base, lines_part(pos, json, "base"));
    ctx->entity->discriminator = get_text(ctx, json, pos, NULL, "discriminator");
    ctx->entity->discriminator_line = lines_of(pos, json, "discriminator");
    if (json_object_get(json, "discriminator") == NULL)
        mistake(ctx->model, ctx->entity, NULL, pos->line, "has no 'discriminator'");
    if (data == NULL)
        return;
    part = lines_part(pos, json, "data")->first;
    ctx->entity->branches =
        model_alloc(ctx->model, json_object_size(data), sizeof(struct branch));
    json_object_foreach(data, value, type) {
        struct branch *branch = &ctx->entity->branches[ctx->entity->n_branches++];

        branch->value = model_text(ctx->model, value);
        branch->line = part->line;
        if (json_is_string(type))
            branch->type_name = model_text(ctx->model, json_string_value(type));
        else if (!json_is_object(type) || json_object_size(type) != 0)
            mistake(ctx->model, ctx->entity, value, part->line,
                    "a branch is the name of a struct, or {} for no more members");
        part = part->next;
    }
}

static void parse_enum(struct ctx *ctx, json_t *json, const struct pos *pos)
{
    static const char *const keys[] = { "enum", "since", "doc", "data", NULL };
    static const char *const value_keys[] = { "name", "since", "doc", NULL };
    json_t *data = json_object_get(json, "data"), *item;
    const struct pos *part;
    size_t i;

    check_keys(ctx, json, pos, NULL, keys);
    if (!json_is_array(data)) {
        mistake(ctx->model, ctx->entity, NULL, lines_of(pos, json, "data"),
                "'data' must be an array of values");
        return;
    }
    part = lines_part(pos, json, "data")->first;
    ctx->entity->values = model_alloc(ctx->model, json_array_size(data), sizeof(struct value));
    json_array_foreach(data, i, item) {
        struct value *value = &ctx->entity->values[ctx->entity->n_values];

        value->line = part->line;
        if (json_is_string(item)) {
            value->name = model_text(ctx->model, json_string_value(item));
        } else if (json_is_object(item)) {
            value->name = get_text(ctx, item, part, NULL, "name");
            value->since = get_text(ctx, item, part, value->name, "since");
            value->doc = get_text(ctx, item, part, value->name, "doc");
            check_keys(ctx, item, part, value->name, value_keys);
        }
        if (value->name != NULL)
            ctx->entity->n_values++;
        else
            mistake(ctx->model, ctx->entity, NULL, part->line,
                    "a value is \"name\" or {\"name\": \"name\", ...}");
        part = part->next;
    }
}

typedef void parse_fn(struct ctx *ctx, json_t *json, const struct pos *pos);

static parse_fn *const parsers[ENTITY_KINDS] = {
    [ENTITY_COMMAND] = parse_command, [ENTITY_EVENT] = parse_event,
    [ENTITY_STRUCT] = parse_struct,   [ENTITY_UNION] = parse_union,
    [ENTITY_ENUM] = parse_enum,
};

static void parse_entity(struct model *model, const char *file, json_t *json,
                         const struct pos *pos)
{
    struct ctx ctx = { model, NULL };
    const char *name = NULL;
    int kind = -1;

    if (!json_is_object(json)) {
        mistake_at(model, file, pos->line, "an entity is an object, not %s", json_kind(json));
        return;
    }
    for (int k = 0; k < ENTITY_KINDS; k++) {
        json_t *value = json_object_get(json, entity_kind_name((enum entity_kind)k));

        if (value == NULL)
            continue;
        if (kind >= 0) {
            mistake_at(model, file, pos->line, "an entity cannot be both '%s' and '%s'",
                       entity_kind_name((enum entity_kind)kind),
                       entity_kind_name((enum entity_kind)k));
            return;
        }
        kind = k;
        name = json_string_value(value);
    }
    if (kind < 0) {
        mistake_at(model, file, pos->line,
                   "an entity has one of the keys command, event, struct, union, enum");
        return;
    }
    if (name == NULL || name[0] == '\0') {
        mistake_at(model, file, pos->line, "the name of a %s must be a string that is not empty",
                   entity_kind_name((enum entity_kind)kind));
        return;
    }
    ctx.entity = model_add(model);
    ctx.entity->kind = (enum entity_kind)kind;
    ctx.entity->name = model_text(model, name);
    ctx.entity->file = file;
    ctx.entity->line = pos->line;
    ctx.entity->since = get_text(&ctx, json, pos, NULL, "since");
    ctx.entity->doc = get_text(&ctx, json, pos, NULL, "doc");
    parsers[kind](&ctx, json, pos);
}

int parse_text(struct model *model, const char *file, const char *text, size_t len)
{
    unsigned before = model->n_mistakes;
    const struct pos *pos;
    json_error_t error = { .line = 0 };
    json_t *json, *item;
    size_t i;

    file = model_text(model, file);
    if (strlen(text) != len) {
        /* jansson would pass over it between two tokens. */
        int line = 1;

        for (const char *c = text; *c != '\0'; c++)
            line += *c == '\n';
        mistake_at(model, file, line, "not JSON: a NUL byte");
        return -1;
    }
    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        mistake_at(model, file, error.line > 0 ? error.line : 1, "not JSON: %s", error.text);
        return -1;
    }
    pos = lines_scan(model, text);
    if (json_is_array(json)) {
        pos = pos->first;
        json_array_foreach(json, i, item) {
            parse_entity(model, file, item, pos);
            pos = pos->next;
        }
    } else {
        mistake_at(model, file, pos->line, "a schema file is an array of entities");
    }
    json_decref(json);
    return model->n_mistakes == before ? 0 : -1;
}

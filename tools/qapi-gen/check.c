/* Whether the model makes sense: references, versions, unions, recursion. Also finds what the
 * emitters want to know: the order of the structs, and which are sent and which are got. */
#include <string.h>

#include "model.h"

static const struct {
    const char *name;
    enum type_kind kind;
} builtins[] = {
    { "str", TYPE_STR },       { "int", TYPE_INT },       { "size", TYPE_UINT },
    { "uint64", TYPE_UINT },   { "bool", TYPE_BOOL },     { "number", TYPE_NUMBER },
    { "empty", TYPE_EMPTY },   { "str-or-null", TYPE_STR_OR_NULL },
};

static void check_since(struct model *model, const struct entity *entity, const char *member,
                        int line, const char *since)
{
    if (since == NULL)
        return;
    if (!is_version(since))
        mistake(model, entity, member, line, "'%s' is not a version like \"6.0\"", since);
    else if (member != NULL && entity->since != NULL && is_version(entity->since) &&
             version_compare(since, entity->since) < 0)
        mistake(model, entity, member, line, "since %s, but the %s itself only since %s", since,
                entity_kind_name(entity->kind), entity->since);
}

/* ---- members --------------------------------------------------------------------------------- */

static void resolve(struct model *model, const struct entity *entity, const char *member, int line,
                    struct type_ref *type)
{
    for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++) {
        if (strcmp(builtins[i].name, type->name) == 0)
            type->kind = builtins[i].kind;
    }
    if (type->kind == TYPE_UNKNOWN) {
        type->entity = model_find_type(model, type->name);
        if (type->entity != NULL)
            type->kind = type->entity->kind == ENTITY_ENUM ? TYPE_ENUM : TYPE_OBJECT;
        else
            mistake(model, entity, member, line, "unknown type '%s'", type->name);
    }
    if (type->is_list && (type->kind == TYPE_EMPTY || type->kind == TYPE_STR_OR_NULL))
        mistake(model, entity, member, line, "there are no lists of '%s'", type->name);
}

static void check_members(struct model *model, struct entity *entity)
{
    for (size_t i = 0; i < entity->n_members; i++) {
        struct member *member = &entity->members[i];

        check_since(model, entity, member->name, member->line, member->since);
        if (member->type.name != NULL)
            resolve(model, entity, member->name, member->line, &member->type);
    }
    if (entity->kind == ENTITY_STRUCT && entity->n_members == 0)
        mistake(model, entity, NULL, entity->line,
                "has no members; an object without any is the builtin type 'empty'");
}

static void check_values(struct model *model, const struct entity *entity)
{
    if (entity->n_values == 0)
        mistake(model, entity, NULL, entity->line, "has no values");
    for (size_t i = 0; i < entity->n_values; i++) {
        const struct value *value = &entity->values[i];

        check_since(model, entity, value->name, value->line, value->since);
    }
}

/* ---- unions ---------------------------------------------------------------------------------- */

static bool has_value(const struct entity *enumeration, const char *name)
{
    for (size_t i = 0; i < enumeration->n_values; i++) {
        if (strcmp(enumeration->values[i].name, name) == 0)
            return true;
    }
    return false;
}

static void check_branch(struct model *model, struct entity *entity, struct branch *branch)
{
    if (!has_value(entity->tag->type.entity, branch->value))
        mistake(model, entity, branch->value, branch->line, "'%s' is no value of enum '%s'",
                branch->value, entity->tag->type.entity->name);
    if (branch->type_name == NULL)
        return;
    branch->type = model_find_type(model, branch->type_name);
    if (branch->type == NULL || branch->type->kind != ENTITY_STRUCT) {
        mistake(model, entity, branch->value, branch->line,
                branch->type == NULL ? "unknown type '%s'"
                                     : "a branch must be a struct, '%s' is not",
                branch->type_name);
        branch->type = NULL;
        return;
    }
    for (size_t i = 0; i < branch->type->n_members; i++) {
        for (size_t k = 0; k < entity->n_members; k++) {
            if (strcmp(branch->type->members[i].name, entity->members[k].name) == 0)
                mistake(model, entity, branch->value, branch->line,
                        "member '%s' of struct '%s' is in the union's base already",
                        entity->members[k].name, branch->type_name);
        }
    }
}

static void check_union(struct model *model, struct entity *entity)
{
    size_t n_types = 0;

    if (entity->discriminator == NULL)
        return;
    for (size_t i = 0; i < entity->n_members; i++) {
        if (strcmp(entity->members[i].name, entity->discriminator) == 0)
            entity->tag = &entity->members[i];
    }
    if (entity->tag == NULL) {
        mistake(model, entity, NULL, entity->discriminator_line,
                "the discriminator '%s' is not a member of the base", entity->discriminator);
        return;
    }
    if (entity->tag->type.kind != TYPE_ENUM || entity->tag->type.is_list ||
        entity->tag->is_optional) {
        mistake(model, entity, entity->tag->name, entity->tag->line,
                "the discriminator must be a member of an enum type, and not optional");
        return;
    }
    for (size_t i = 0; i < entity->n_branches; i++) {
        check_branch(model, entity, &entity->branches[i]);
        n_types += entity->branches[i].type_name != NULL;
    }
    if (n_types == 0)
        mistake(model, entity, NULL, entity->line, "has no branch with a type");
}

static void check_use(struct model *model, struct entity *entity, struct type_ref *type,
                      const char *what)
{
    if (type->name == NULL)
        return;
    resolve(model, entity, NULL, entity->line, type);
    if (type->kind != TYPE_OBJECT && type->kind != TYPE_UNKNOWN)
        mistake(model, entity, NULL, entity->line, "%s must be a struct or a union, '%s' is not",
                what, type->name);
}

/* ---- the model as a whole -------------------------------------------------------------------- */

/* Embedded structs come before those that hold them. mark: 1 while above it, 2 when done. */
static void sort_entity(struct model *model, struct entity *entity)
{
    entity->mark = 1;
    for (size_t i = 0; i < entity->n_members; i++) {
        struct member *member = &entity->members[i];
        struct entity *type = member->type.entity;

        if (member->type.kind != TYPE_OBJECT || member->type.is_list || member->is_optional)
            continue;
        if (type->mark == 1)
            mistake(model, entity, member->name, member->line,
                    "'%s' would contain itself; make the member optional or a list", type->name);
        else if (type->mark == 0)
            sort_entity(model, type);
    }
    for (size_t i = 0; i < entity->n_branches; i++) {
        struct branch *branch = &entity->branches[i];

        if (branch->type != NULL && branch->type->mark == 1)
            mistake(model, entity, branch->value, branch->line,
                    "'%s' would contain itself; make a member on the way optional or a list",
                    branch->type->name);
        else if (branch->type != NULL && branch->type->mark == 0)
            sort_entity(model, branch->type);
    }
    entity->mark = 2;
    if (entity->kind != ENTITY_ENUM && (entity->n_members > 0 || entity->n_branches > 0))
        model->sorted[model->n_sorted++] = entity;
}

static void reach(struct entity *entity, bool is_sent)
{
    bool *flag = is_sent ? &entity->is_sent : &entity->is_got;

    if (*flag)
        return;
    *flag = true;
    for (size_t i = 0; i < entity->n_members; i++) {
        if (entity->members[i].type.entity != NULL)
            reach(entity->members[i].type.entity, is_sent);
    }
    for (size_t i = 0; i < entity->n_branches; i++) {
        if (entity->branches[i].type != NULL)
            reach(entity->branches[i].type, is_sent);
    }
}

static void reach_all(struct model *model)
{
    for (size_t i = 0; i < model->n_entities; i++) {
        struct entity *entity = model->entities[i];

        if (entity->kind != ENTITY_COMMAND && entity->kind != ENTITY_EVENT)
            continue;
        reach(entity, entity->kind == ENTITY_COMMAND);
        if (entity->data.entity != NULL)
            reach(entity->data.entity, entity->kind == ENTITY_COMMAND);
        if (entity->returns.entity != NULL)
            reach(entity->returns.entity, false);
    }
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        if (!entity->is_sent && !entity->is_got)
            mistake(model, entity, NULL, entity->line, "is used by no command and no event");
    }
}

int check_model(struct model *model)
{
    check_names(model);
    for (size_t i = 0; i < model->n_entities; i++) {
        struct entity *entity = model->entities[i];

        check_since(model, entity, NULL, entity->line, entity->since);
        check_members(model, entity);
        check_use(model, entity, &entity->data, "'data'");
        check_use(model, entity, &entity->returns, "'returns'");
    }
    for (size_t i = 0; i < model->n_entities; i++) {
        if (model->entities[i]->kind == ENTITY_UNION)
            check_union(model, model->entities[i]);
        else if (model->entities[i]->kind == ENTITY_ENUM)
            check_values(model, model->entities[i]);
    }
    if (model->n_mistakes != 0)
        return -1;
    model->sorted = model_alloc(model, model->n_entities + 1, sizeof(struct entity *));
    for (size_t i = 0; i < model->n_entities; i++) {
        if (model->entities[i]->mark == 0)
            sort_entity(model, model->entities[i]);
    }
    reach_all(model);
    return model->n_mistakes == 0 ? 0 : -1;
}

/* Names: their form, that none is there twice, and that none clashes in C. */
#include <ctype.h>
#include <string.h>

#include "model.h"

static bool is_name(const char *name, bool (*first)(int), const char *others)
{
    if (!first((unsigned char)name[0]))
        return false;
    for (const char *c = name + 1; *c != '\0'; c++) {
        if (!first((unsigned char)*c) && !isdigit((unsigned char)*c) && strchr(others, *c) == NULL)
            return false;
    }
    return true;
}

static bool lower(int c)
{
    return c >= 'a' && c <= 'z';
}

static bool upper(int c)
{
    return c >= 'A' && c <= 'Z';
}

static bool letter(int c)
{
    return lower(c) || upper(c);
}

static bool letter_or_digit(int c)
{
    return letter(c) || (c >= '0' && c <= '9');
}

static void check_name(struct model *model, const struct entity *entity)
{
    bool good = false;

    switch (entity->kind) {
    case ENTITY_COMMAND:
        good = is_name(entity->name, lower, "-_");
        break;
    case ENTITY_EVENT:
        good = is_name(entity->name, upper, "_");
        break;
    case ENTITY_STRUCT:
    case ENTITY_UNION:
    case ENTITY_ENUM:
        good = upper((unsigned char)entity->name[0]) && is_name(entity->name, letter, "");
        break;
    }
    if (!good)
        mistake(model, entity, NULL, entity->line,
                "a name like that is not allowed: commands are like-this, events LIKE_THIS, "
                "types LikeThis");
    else if (entity->kind > ENTITY_EVENT && strlen(entity->name) >= 4 &&
             strcmp(entity->name + strlen(entity->name) - 4, "List") == 0)
        mistake(model, entity, NULL, entity->line,
                "a type's name cannot end in List: in C that is the list of another");
}

/* Types are all in one room; commands and events join them with their structs' names in C. */
static void name_entity(struct model *model, struct entity *entity)
{
    const char *base = c_type_name(model, entity->name);
    const char *tail = entity->kind == ENTITY_COMMAND  ? "_args"
                       : entity->kind == ENTITY_EVENT ? "_event"
                                                      : "";
    size_t len = strlen(base);
    char *name = model_alloc(model, len + 7, 1);

    memcpy(name, base, len);
    memcpy(name + len, tail, strlen(tail));
    if (entity->kind == ENTITY_EVENT) {
        /* All capitals: the rule for types would part them wrongly. */
        for (size_t i = 0; i <= len && entity->name[i] != '\0'; i++)
            name[i] = (char)tolower((unsigned char)entity->name[i]);
        memcpy(name + strlen(entity->name), "_event", 7);
    }
    entity->c_name = name;
}

static void check_duplicates(struct model *model, size_t i)
{
    const struct entity *entity = model->entities[i];

    for (size_t k = 0; k < i; k++) {
        const struct entity *other = model->entities[k];
        bool same = strcmp(entity->name, other->name) == 0 &&
                    (entity->kind == other->kind || (entity->kind > ENTITY_EVENT &&
                                                     other->kind > ENTITY_EVENT));

        if (same) {
            mistake(model, entity, NULL, entity->line, "already defined at %s:%d", other->file,
                    other->line);
            return;
        }
        if (strcmp(entity->c_name, other->c_name) == 0) {
            mistake(model, entity, NULL, entity->line,
                    "its name in C, qapi_%s, is taken by the %s '%s' at %s:%d", entity->c_name,
                    entity_kind_name(other->kind), other->name, other->file, other->line);
            return;
        }
    }
}

static void check_value_name(struct model *model, const struct entity *entity, size_t i)
{
    const struct value *value = &entity->values[i];

    if (!is_name(value->name, letter_or_digit, "-_"))
        mistake(model, entity, value->name, value->line,
                "a value has letters, digits, '-' and '_'");
    for (size_t k = 0; k < i; k++) {
        if (strcmp(value->c_name, entity->values[k].c_name) == 0)
            mistake(model, entity, value->name, value->line,
                    strcmp(value->name, entity->values[k].name) == 0
                        ? "is there twice"
                        : "its name in C is that of another value too");
    }
}

/* Constants of all enums share one room in C: value "b-c" of "Aa" is value "c" of "AaB". */
static void check_constants(struct model *model, const struct entity *entity,
                            const struct entity *other)
{
    for (size_t i = 0; i < entity->n_values; i++) {
        for (size_t k = 0; k < other->n_values; k++) {
            if (strcmp(entity->values[i].c_name, other->values[k].c_name) == 0)
                mistake(model, entity, entity->values[i].name, entity->values[i].line,
                        "its name in C, %s, is that of value '%s' of enum '%s' too",
                        entity->values[i].c_name, other->values[k].name, other->name);
        }
    }
}

static void check_member_name(struct model *model, const struct entity *entity, size_t i)
{
    const struct member *member = &entity->members[i];

    if (!is_name(member->name, letter, "-_"))
        mistake(model, entity, member->name, member->line,
                "a member's name has letters, digits, '-' and '_', and begins with a letter");
    for (size_t k = 0; k < entity->n_members; k++) {
        const struct member *other = &entity->members[k];

        if (k < i && strcmp(member->c_name, other->c_name) == 0)
            mistake(model, entity, member->name, member->line,
                    "its name in C, %s, is that of member '%s' too", member->c_name, other->name);
        if (k != i && member_has_flag(other) && strncmp(member->c_name, "has_", 4) == 0 &&
            strcmp(member->c_name + 4, other->c_name) == 0)
            mistake(model, entity, member->name, member->line,
                    "its name in C, %s, says whether member '%s' is there", member->c_name,
                    other->name);
    }
    if (entity->kind == ENTITY_UNION && strcmp(member->c_name, "u") == 0)
        mistake(model, entity, member->name, member->line,
                "a union cannot have a member 'u': it holds the branches in C");
}

void check_names(struct model *model)
{
    for (size_t i = 0; i < model->n_entities; i++) {
        struct entity *entity = model->entities[i];

        name_entity(model, entity);
        for (size_t k = 0; k < entity->n_members; k++)
            entity->members[k].c_name = c_member_name(model, entity->members[k].name);
        for (size_t k = 0; k < entity->n_values; k++)
            entity->values[k].c_name = c_constant(model, entity->c_name, entity->values[k].name);
        for (size_t k = 0; k < entity->n_branches; k++)
            entity->branches[k].c_name = c_member_name(model, entity->branches[k].value);
    }
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        check_name(model, entity);
        check_duplicates(model, i);
        for (size_t k = 0; k < entity->n_members; k++)
            check_member_name(model, entity, k);
        for (size_t k = 0; k < entity->n_values; k++)
            check_value_name(model, entity, k);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(entity->name, model->entities[k]->name) != 0)
                check_constants(model, entity, model->entities[k]);
        }
    }
}

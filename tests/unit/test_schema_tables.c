/* Our tables against the interfaces that real releases of QEMU have reported: every "since" is
 * right (what is there in a release is not newer, what is newer is not there); everything that is
 * decoded exists, with a type that fits, and what is required always comes. */
#include <check.h>

#include "../schema/peers.h"
#include "qapi_types.h"

/* The schema's types that may stand behind one of ours. There are several where ours is flat and
 * the schema has variants. */
#define MAX_CANDIDATES 32
struct candidates {
    json_t *types[MAX_CANDIDATES];
    size_t n;
};

static void add_candidate(struct candidates *to, json_t *type)
{
    ck_assert_ptr_nonnull(type);
    for (size_t i = 0; i < to->n; i++) {
        if (to->types[i] == type)
            return;
    }
    ck_assert_uint_lt(to->n, MAX_CANDIDATES);
    to->types[to->n++] = type;
}

/* Where the schema has an array and we a list, or neither. */
static json_t *element_of(const struct codec_member *member, json_t *type)
{
    if (!member->is_list)
        return type;
    return recorded_is(type, "array")
               ? recorded_find(schema, recorded_text(type, "element-type"), NULL)
               : NULL;
}

static bool builtin_is(json_t *type, const char *json_type)
{
    return recorded_is(type, "builtin") && strcmp(recorded_text(type, "json-type"), json_type) == 0;
}

static bool alternate_has(json_t *type, const char *json_type)
{
    json_t *member;
    size_t i;

    if (!recorded_is(type, "alternate"))
        return false;
    json_array_foreach(json_object_get(type, "members"), i, member) {
        json_t *one = recorded_find(schema, recorded_text(member, "type"), NULL);

        if (builtin_is(one, json_type))
            return true;
    }
    return false;
}

/* Of what may be an object or something else we only send the object. */
static json_t *object_of(const struct codec_member *member, json_t *type)
{
    json_t *one;
    size_t i;

    if (member->kind != CODEC_OBJECT || !recorded_is(type, "alternate"))
        return type;
    json_array_foreach(json_object_get(type, "members"), i, one) {
        json_t *found = recorded_find(schema, recorded_text(one, "type"), NULL);

        if (recorded_is(found, "object"))
            return found;
    }
    return type;
}

static bool kind_fits(const struct codec_member *member, json_t *type, bool sent)
{
    switch (member->kind) {
    case CODEC_STR:
        return builtin_is(type, "string") || (!sent && recorded_is(type, "enum")) ||
               (sent && alternate_has(type, "string"));
    case CODEC_STR_OR_NULL:
        return alternate_has(type, "string") && alternate_has(type, "null");
    case CODEC_INT:
    case CODEC_UINT:
        return builtin_is(type, "int");
    case CODEC_BOOL:
        return builtin_is(type, "boolean");
    case CODEC_NUMBER:
        return builtin_is(type, "number");
    case CODEC_ENUM:
        /* A string in older releases may have become an enum. */
        return recorded_is(type, "enum") || (sent && builtin_is(type, "string"));
    case CODEC_EMPTY:
    case CODEC_OBJECT:
    default:
        return recorded_is(type, "object");
    }
}

static void check_values(const struct codec_member *member, json_t *type)
{
    for (size_t i = 0; recorded_is(type, "enum") && i < member->values->n_values; i++) {
        const struct codec_value *value = &member->values->values[i];

        ck_assert_msg(recorded_has_value(type, value->name) == is_there(value->since),
                      "%s of %s: wrong since for %s", value->name, member->values->name, release);
    }
}

static void check_type(const struct codec_type *type, const struct candidates *candidates,
                       bool sent, int depth);

/* The member in one of the schema's types: into *found goes the type it has there. */
static void check_in(const struct codec_type *type, const struct codec_member *member,
                     json_t *object, bool sent, bool is_variant, struct candidates *found)
{
    json_t *there = recorded_pick(json_object_get(object, "members"), "name", member->name);
    json_t *element;

    if (!is_variant && !sent && !member->is_optional)
        ck_assert_msg(there != NULL && json_object_get(there, "default") == NULL,
                      "%s of %s does not always come in %s", member->name, type->name, release);
    if (there == NULL)
        return;
    ck_assert_msg(!sent || member->is_optional || is_there(member->since),
                  "%s of %s would be sent to %s", member->name, type->name, release);
    element = element_of(member, recorded_find(schema, recorded_text(there, "type"), NULL));
    if (sent && element != NULL)
        element = object_of(member, element);
    ck_assert_msg(element != NULL && kind_fits(member, element, sent),
                  "%s of %s: another type in %s", member->name, type->name, release);
    if (member->kind == CODEC_ENUM)
        check_values(member, element);
    add_candidate(found, element);
}

static void check_member(const struct codec_type *type, const struct codec_member *member,
                         const struct candidates *candidates, bool sent, int depth)
{
    struct candidates found = { { NULL }, 0 };
    json_t *variant;
    size_t k;

    for (size_t i = 0; i < candidates->n; i++) {
        check_in(type, member, candidates->types[i], sent, false, &found);
        if (sent)
            continue;
        json_array_foreach(json_object_get(candidates->types[i], "variants"), k, variant)
            check_in(type, member, recorded_find(schema, recorded_text(variant, "type"), "object"),
                     sent, true, &found);
    }
    ck_assert_msg((found.n > 0) == is_there(member->since), "%s of %s: since %s, but %s in %s",
                  member->name, type->name, member->since != NULL ? member->since : "always",
                  found.n > 0 ? "there" : "not there", release);
    if (member->kind == CODEC_OBJECT && found.n > 0)
        check_type(member->type, &found, sent, depth + 1);
}

static void check_branches(const struct codec_type *type, json_t *object, bool sent, int depth)
{
    ck_assert_str_eq(recorded_text(object, "tag"), type->tag->name);
    for (size_t i = 0; i < type->tag->values->n_values; i++) {
        struct candidates found = { { NULL }, 0 };
        json_t *variant;

        if (!type->branches[i].is_allowed || !is_there(type->tag->values->values[i].since))
            continue;
        variant = recorded_pick(json_object_get(object, "variants"), "case",
                                type->tag->values->values[i].name);
        ck_assert_ptr_nonnull(variant);
        if (type->branches[i].type == NULL)
            continue;
        add_candidate(&found, recorded_find(schema, recorded_text(variant, "type"), "object"));
        check_type(type->branches[i].type, &found, sent, depth + 1);
    }
}

static void check_type(const struct codec_type *type, const struct candidates *candidates,
                       bool sent, int depth)
{
    if (depth > 8) /* an image below an image below an image */
        return;
    for (size_t i = 0; i < type->n_members; i++)
        check_member(type, &type->members[i], candidates, sent, depth);
    for (size_t i = 0; type->tag != NULL && i < candidates->n; i++)
        check_branches(type, candidates->types[i], sent, depth);
}

static void check_entity(const struct codec_type *type, json_t *entity, const char *key,
                         bool is_array, bool sent)
{
    json_t *there = recorded_find(schema, recorded_text(entity, key), NULL);
    struct candidates found = { { NULL }, 0 };

    if (type == NULL)
        return;
    if (is_array) {
        ck_assert(recorded_is(there, "array"));
        there = recorded_find(schema, recorded_text(there, "element-type"), NULL);
    }
    ck_assert(recorded_is(there, "object"));
    add_candidate(&found, there);
    check_type(type, &found, sent, 0);
}

START_TEST(every_argument_is_as_old_as_the_schema_says)
{
    use_peer(_i);
    for (size_t i = 0; qapi_commands[i] != NULL; i++) {
        json_t *entity = command_entity(qapi_commands[i]);

        if (entity != NULL)
            check_entity(qapi_commands[i]->args, entity, "arg-type", false, true);
    }
    drop_peer();
}
END_TEST

START_TEST(every_member_of_a_return_exists)
{
    use_peer(_i);
    for (size_t i = 0; qapi_commands[i] != NULL; i++) {
        const struct codec_command *command = qapi_commands[i];
        json_t *entity = command_entity(command);

        if (entity != NULL)
            check_entity(command->ret, entity, "ret-type", command->ret_is_array, false);
    }
    drop_peer();
}
END_TEST

START_TEST(every_member_of_an_event_exists)
{
    int n_events = 0;

    use_peer(_i);
    for (size_t i = 0; qapi_events[i] != NULL; i++) {
        json_t *entity = recorded_find(schema, qapi_events[i]->name, "event");

        if (is_system)
            ck_assert_msg((entity != NULL) == is_there(qapi_events[i]->since), "%s",
                          qapi_events[i]->name);
        if (entity == NULL)
            continue;
        n_events++;
        check_entity(qapi_events[i]->data, entity, "arg-type", false, false);
    }
    ck_assert_int_ge(n_events, is_system ? 11 : 7);
    drop_peer();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema_tables");
    TCase *tcase = tcase_create("schema_tables");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, every_argument_is_as_old_as_the_schema_says, 0, N_PEERS);
    tcase_add_loop_test(tcase, every_member_of_a_return_exists, 0, N_PEERS);
    tcase_add_loop_test(tcase, every_member_of_an_event_exists, 0, N_PEERS);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

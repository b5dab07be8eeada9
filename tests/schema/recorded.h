/* query-qmp-schema replies recorded from real releases, and whether a piece of JSON obeys them.
 * The files are the "return" arrays, <release>-<program>.json.gz; TEST_SRCDIR says where the source
 * tree is if it is not the current directory. */
#ifndef TESTS_SCHEMA_RECORDED_H
#define TESTS_SCHEMA_RECORDED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An object: entities by name. NULL if it cannot be read. */
static inline json_t *recorded_load(const char *release, const char *program)
{
    const char *root = getenv("TEST_SRCDIR");
    json_t *array, *entity, *schema;
    char command[512];
    size_t i;
    FILE *pipe;

    (void)snprintf(command, sizeof(command), "gzip -dc '%s/tests/schema/%s-%s.json.gz'",
                   root != NULL ? root : ".", release, program);
    pipe = popen(command, "r");
    if (pipe == NULL)
        return NULL;
    array = json_loadf(pipe, JSON_REJECT_DUPLICATES, NULL);
    (void)pclose(pipe);
    if (array == NULL)
        return NULL;
    schema = json_object();
    json_array_foreach(array, i, entity)
        (void)json_object_set(schema, json_string_value(json_object_get(entity, "name")), entity);
    json_decref(array);
    return schema;
}

/* The entity of that name whose meta-type is as wanted (NULL: any), or NULL. */
static inline json_t *recorded_find(json_t *schema, const char *name, const char *meta)
{
    json_t *entity = name != NULL ? json_object_get(schema, name) : NULL;

    if (entity == NULL || meta == NULL)
        return entity;
    return strcmp(json_string_value(json_object_get(entity, "meta-type")), meta) == 0 ? entity
                                                                                      : NULL;
}

static inline const char *recorded_text(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static inline bool recorded_is(json_t *entity, const char *meta)
{
    return strcmp(recorded_text(entity, "meta-type"), meta) == 0;
}

/* The element of an array of objects whose member key is text, or NULL. */
static inline json_t *recorded_pick(json_t *array, const char *key, const char *text)
{
    json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        const char *value = recorded_text(element, key);

        if (value != NULL && text != NULL && strcmp(value, text) == 0)
            return element;
    }
    return NULL;
}

static inline bool recorded_has_value(json_t *enumeration, const char *value)
{
    json_t *members = json_object_get(enumeration, "members");
    json_t *name;
    size_t i;

    if (members != NULL)
        return recorded_pick(members, "name", value) != NULL;
    json_array_foreach(json_object_get(enumeration, "values"), i, name) {
        if (strcmp(json_string_value(name), value) == 0)
            return true;
    }
    return false;
}

static inline bool recorded_builtin_accepts(json_t *entity, json_t *json)
{
    const char *type = recorded_text(entity, "json-type");

    return (strcmp(type, "string") == 0 && json_is_string(json)) ||
           (strcmp(type, "int") == 0 && json_is_integer(json)) ||
           (strcmp(type, "number") == 0 && json_is_number(json)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(json)) ||
           (strcmp(type, "null") == 0 && json_is_null(json)) || strcmp(type, "value") == 0;
}

static inline bool recorded_accepts(json_t *schema, const char *type, json_t *json,
                             const char **ret_why);

static inline bool recorded_object_accepts(json_t *schema, json_t *entity, json_t *json,
                                    const char **ret_why)
{
    json_t *own = json_object_get(entity, "members"), *more = NULL;
    json_t *branch = recorded_pick(
        json_object_get(entity, "variants"), "case",
        json_string_value(json_object_get(json, recorded_text(entity, "tag") != NULL
                                                    ? recorded_text(entity, "tag")
                                                    : "")));
    json_t *lists[2];
    const char *key;
    json_t *value, *member;
    size_t i;

    *ret_why = "not an object";
    if (!json_is_object(json))
        return false;
    if (branch != NULL)
        more = json_object_get(recorded_find(schema, recorded_text(branch, "type"), "object"),
                               "members");
    lists[0] = own;
    lists[1] = more;
    for (int k = 0; k < 2; k++) {
        json_array_foreach(lists[k], i, member) {
            const char *name = recorded_text(member, "name");

            *ret_why = name;
            value = json_object_get(json, name);
            if (value == NULL && json_object_get(member, "default") == NULL)
                return false;
            if (value != NULL &&
                !recorded_accepts(schema, recorded_text(member, "type"), value, ret_why))
                return false;
        }
    }
    json_object_foreach(json, key, value) {
        *ret_why = key;
        if (recorded_pick(own, "name", key) == NULL && recorded_pick(more, "name", key) == NULL)
            return false;
    }
    return true;
}

/* *ret_why: a word on what was refused. */
static inline bool recorded_accepts(json_t *schema, const char *type, json_t *json,
                             const char **ret_why)
{
    json_t *entity = recorded_find(schema, type, NULL);
    const char *why = *ret_why;
    json_t *part;
    size_t i;

    if (entity == NULL) {
        *ret_why = "no such type";
        return false;
    }
    if (recorded_is(entity, "object"))
        return recorded_object_accepts(schema, entity, json, ret_why);
    if (recorded_is(entity, "array")) {
        json_array_foreach(json, i, part) {
            if (!recorded_accepts(schema, recorded_text(entity, "element-type"), part, ret_why))
                return false;
        }
        return json_is_array(json);
    }
    if (recorded_is(entity, "alternate")) {
        json_array_foreach(json_object_get(entity, "members"), i, part) {
            if (recorded_accepts(schema, recorded_text(part, "type"), json, ret_why))
                return true;
        }
        *ret_why = why;
        return false;
    }
    if (recorded_is(entity, "enum"))
        return json_is_string(json) && recorded_has_value(entity, json_string_value(json));
    return recorded_builtin_accepts(entity, json);
}

#endif

/* Tables for the codec. Made by qapi-gen; change these instead:
 *   in.json
 */
#include "qapi_types.h"

#include <string.h>

#include "codec/table.h"

static const struct codec_value values_kind[] = {
    { .name = "one" },
    { .name = "two-2", .since = "3.1" },
};
const struct codec_enum qapi_enum_kind = {
    .name = "Kind", .values = values_kind, .n_values = 2
};
_Static_assert(sizeof(enum qapi_kind) == sizeof(unsigned), "size of enum");

static const struct codec_member members_place[] = {
    { .name = "x", .kind = CODEC_INT,
      .offset = offsetof(struct qapi_place, x) },
    { .name = "label", .kind = CODEC_STR, .is_optional = true,
      .offset = offsetof(struct qapi_place, label) },
};
const struct codec_type qapi_type_place = {
    .name = "Place", .size = sizeof(struct qapi_place),
    .members = members_place, .n_members = 2
};

static const struct codec_member members_take_all_args[] = {
    { .name = "name", .kind = CODEC_STR,
      .offset = offsetof(struct qapi_take_all_args, name) },
    { .name = "int", .kind = CODEC_INT,
      .offset = offsetof(struct qapi_take_all_args, int_) },
    { .name = "big", .kind = CODEC_UINT, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_big),
      .offset = offsetof(struct qapi_take_all_args, big) },
    { .name = "also-big", .kind = CODEC_UINT,
      .offset = offsetof(struct qapi_take_all_args, also_big) },
    { .name = "on", .since = "6.1", .kind = CODEC_BOOL, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_on),
      .offset = offsetof(struct qapi_take_all_args, on) },
    { .name = "ratio", .kind = CODEC_NUMBER, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_ratio),
      .offset = offsetof(struct qapi_take_all_args, ratio) },
    { .name = "below", .kind = CODEC_STR_OR_NULL, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_below),
      .offset = offsetof(struct qapi_take_all_args, below) },
    { .name = "nothing", .kind = CODEC_EMPTY, .is_optional = true,
      .offset = offsetof(struct qapi_take_all_args, nothing) },
    { .name = "names", .kind = CODEC_STR, .is_list = true,
      .offset = offsetof(struct qapi_take_all_args, names) },
    { .name = "numbers", .kind = CODEC_INT, .is_optional = true, .is_list = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_numbers),
      .offset = offsetof(struct qapi_take_all_args, numbers) },
    { .name = "kinds", .kind = CODEC_ENUM, .is_optional = true, .is_list = true, .has_flag = true,
      .flag = offsetof(struct qapi_take_all_args, has_kinds),
      .offset = offsetof(struct qapi_take_all_args, kinds), .values = &qapi_enum_kind },
    { .name = "place", .kind = CODEC_OBJECT,
      .offset = offsetof(struct qapi_take_all_args, place), .type = &qapi_type_place },
    { .name = "other-place", .kind = CODEC_OBJECT, .is_optional = true,
      .offset = offsetof(struct qapi_take_all_args, other_place), .type = &qapi_type_place },
    { .name = "shapes", .kind = CODEC_OBJECT, .is_list = true,
      .offset = offsetof(struct qapi_take_all_args, shapes), .type = &qapi_type_shape },
};
const struct codec_type qapi_type_take_all_args = {
    .name = "take-all", .since = "2.0", .size = sizeof(struct qapi_take_all_args),
    .members = members_take_all_args, .n_members = 14
};

static const struct codec_member members_shape[] = {
    { .name = "kind", .kind = CODEC_ENUM,
      .offset = offsetof(struct qapi_shape, kind), .values = &qapi_enum_kind },
};
static const struct codec_branch branches_shape[] = {
    { .is_allowed = true, .type = &qapi_type_place,
      .offset = offsetof(struct qapi_shape, u.one) },
    { .is_allowed = true },
};
const struct codec_type qapi_type_shape = {
    .name = "Shape", .size = sizeof(struct qapi_shape),
    .members = members_shape, .n_members = 1,
    .tag = &members_shape[0], .branches = branches_shape
};

static const struct codec_member members_tree[] = {
    { .name = "label", .kind = CODEC_STR,
      .offset = offsetof(struct qapi_tree, label) },
    { .name = "child", .kind = CODEC_OBJECT, .is_optional = true,
      .offset = offsetof(struct qapi_tree, child), .type = &qapi_type_tree },
    { .name = "more", .kind = CODEC_OBJECT, .is_optional = true, .is_list = true, .has_flag = true,
      .flag = offsetof(struct qapi_tree, has_more),
      .offset = offsetof(struct qapi_tree, more), .type = &qapi_type_tree },
    { .name = "words", .kind = CODEC_STR, .is_list = true,
      .offset = offsetof(struct qapi_tree, words) },
};
const struct codec_type qapi_type_tree = {
    .name = "Tree", .size = sizeof(struct qapi_tree),
    .members = members_tree, .n_members = 4
};

static const struct codec_member members_tree_fell_event[] = {
    { .name = "label", .kind = CODEC_STR,
      .offset = offsetof(struct qapi_tree_fell_event, label) },
};
const struct codec_type qapi_type_tree_fell_event = {
    .name = "TREE_FELL", .since = "4.2", .size = sizeof(struct qapi_tree_fell_event),
    .members = members_tree_fell_event, .n_members = 1
};

const struct codec_command qapi_cmd_take_all = {
    .name = "take-all", .since = "2.0", .args = &qapi_type_take_all_args,
    .ret = &qapi_type_tree
};

const struct codec_command qapi_cmd_list_trees = {
    .name = "list-trees", .args = &qapi_type_place,
    .ret = &qapi_type_tree, .ret_is_array = true
};

const struct codec_command qapi_cmd_stop_it = {
    .name = "stop_it"
};

const struct codec_event qapi_event_tree_fell = {
    .name = "TREE_FELL", .since = "4.2", .data = &qapi_type_tree_fell_event
};

const struct codec_event qapi_event_wind = {
    .name = "WIND"
};

const struct codec_command *const qapi_commands[] = {
    &qapi_cmd_take_all,
    &qapi_cmd_list_trees,
    &qapi_cmd_stop_it,
    NULL,
};

const struct codec_command *qapi_command_find(const char *name)
{
    for (size_t i = 0; qapi_commands[i] != NULL; i++) {
        if (strcmp(qapi_commands[i]->name, name) == 0)
            return qapi_commands[i];
    }
    return NULL;
}

const struct codec_event *const qapi_events[] = {
    &qapi_event_tree_fell,
    &qapi_event_wind,
    NULL,
};

const struct codec_event *qapi_event_find(const char *name)
{
    for (size_t i = 0; qapi_events[i] != NULL; i++) {
        if (strcmp(qapi_events[i]->name, name) == 0)
            return qapi_events[i];
    }
    return NULL;
}

const struct codec_type *const qapi_types[] = {
    &qapi_type_place,
    &qapi_type_take_all_args,
    &qapi_type_shape,
    &qapi_type_tree,
    &qapi_type_tree_fell_event,
    NULL,
};

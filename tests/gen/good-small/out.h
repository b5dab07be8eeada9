/* Structs of the subset of QAPI that this library uses. Made by qapi-gen; change these instead:
 *   in.json
 */
#ifndef QAPI_TYPES_H
#define QAPI_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/engine.h"

struct codec_enum;

enum qapi_kind {
    QAPI_KIND_ONE,
    QAPI_KIND_TWO_2
};
extern const struct codec_enum qapi_enum_kind;

struct qapi_place;
struct qapi_take_all_args;
struct qapi_shape;
struct qapi_tree;
struct qapi_tree_fell_event;

struct qapi_str_list {
    char **v;
    size_t n;
};

struct qapi_const_str_list {
    const char *const *v;
    size_t n;
};

struct qapi_int_list {
    int64_t *v;
    size_t n;
};

struct qapi_kind_list {
    enum qapi_kind *v;
    size_t n;
};

struct qapi_shape_list {
    struct qapi_shape *v;
    size_t n;
};

struct qapi_tree_list {
    struct qapi_tree *v;
    size_t n;
};

struct qapi_place {
    int64_t x;
    const char *label;
};
extern const struct codec_type qapi_type_place;

struct qapi_take_all_args {
    const char *name;
    int64_t int_;
    bool has_big;
    uint64_t big;
    uint64_t also_big;
    bool has_on;
    bool on;
    bool has_ratio;
    double ratio;
    bool has_below;
    const char *below;
    bool nothing;
    struct qapi_const_str_list names;
    bool has_numbers;
    struct qapi_int_list numbers;
    bool has_kinds;
    struct qapi_kind_list kinds;
    struct qapi_place place;
    struct qapi_place *other_place;
    struct qapi_shape_list shapes;
};
extern const struct codec_type qapi_type_take_all_args;

struct qapi_shape {
    enum qapi_kind kind;
    union {
        struct qapi_place one;
    } u;
};
extern const struct codec_type qapi_type_shape;

struct qapi_tree {
    char *label;
    struct qapi_tree *child;
    bool has_more;
    struct qapi_tree_list more;
    struct qapi_str_list words;
};
extern const struct codec_type qapi_type_tree;

struct qapi_tree_fell_event {
    char *label;
};
extern const struct codec_type qapi_type_tree_fell_event;

extern const struct codec_command qapi_cmd_take_all;
#define qapi_list_trees_args qapi_place
#define qapi_type_list_trees_args qapi_type_place
extern const struct codec_command qapi_cmd_list_trees;
extern const struct codec_command qapi_cmd_stop_it;

extern const struct codec_event qapi_event_tree_fell;
extern const struct codec_event qapi_event_wind;

/* Everything, each list ended by NULL. */
extern const struct codec_command *const qapi_commands[];
extern const struct codec_event *const qapi_events[];
extern const struct codec_type *const qapi_types[];

/* NULL if the schema does not have it. */
const struct codec_command *qapi_command_find(const char *name);
const struct codec_event *qapi_event_find(const char *name);

#endif

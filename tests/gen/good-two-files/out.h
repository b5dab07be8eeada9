/* Structs of the subset of QAPI that this library uses. Made by qapi-gen; change these instead:
 *   in.json
 *   in2.json
 */
#ifndef QAPI_TYPES_H
#define QAPI_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/engine.h"

struct codec_enum;

struct qapi_x_dbg_thing2_info;
struct qapi_go_args;
struct qapi_both;

struct qapi_str_list {
    char **v;
    size_t n;
};

struct qapi_x_dbg_thing2_info {
    const char *unix_;
    const char *new_;
};
extern const struct codec_type qapi_type_x_dbg_thing2_info;

struct qapi_go_args {
    struct qapi_x_dbg_thing2_info a;
};
extern const struct codec_type qapi_type_go_args;

struct qapi_both {
    char *a;
    struct qapi_str_list b;
};
extern const struct codec_type qapi_type_both;

extern const struct codec_command qapi_cmd_go;
#define qapi_swap_args qapi_both
#define qapi_type_swap_args qapi_type_both
extern const struct codec_command qapi_cmd_swap;


/* Everything, each list ended by NULL. */
extern const struct codec_command *const qapi_commands[];
extern const struct codec_event *const qapi_events[];
extern const struct codec_type *const qapi_types[];

/* NULL if the schema does not have it. */
const struct codec_command *qapi_command_find(const char *name);
const struct codec_event *qapi_event_find(const char *name);

#endif

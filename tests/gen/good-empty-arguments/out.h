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

struct qapi_see_args;

struct qapi_see_args {
    bool has_a;
    int64_t a;
};
extern const struct codec_type qapi_type_see_args;

extern const struct codec_command qapi_cmd_go;
extern const struct codec_command qapi_cmd_see;

extern const struct codec_event qapi_event_gone;

/* Everything, each list ended by NULL. */
extern const struct codec_command *const qapi_commands[];
extern const struct codec_event *const qapi_events[];
extern const struct codec_type *const qapi_types[];

/* NULL if the schema does not have it. */
const struct codec_command *qapi_command_find(const char *name);
const struct codec_event *qapi_event_find(const char *name);

#endif

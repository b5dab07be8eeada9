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

struct qapi_guest_go_args;

struct qapi_guest_go_args {
    int64_t id;
};
extern const struct codec_type qapi_type_guest_go_args;

extern const struct codec_command qapi_cmd_go;
extern const struct codec_command qapi_cmd_guest_go;


/* Everything, each list ended by NULL. */
extern const struct codec_command *const qapi_commands[];
extern const struct codec_event *const qapi_events[];
extern const struct codec_type *const qapi_types[];

/* NULL if the schema does not have it. */
const struct codec_command *qapi_command_find(const char *name);
const struct codec_event *qapi_event_find(const char *name);

#endif

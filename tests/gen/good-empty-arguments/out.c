/* Tables for the codec. Made by qapi-gen; change these instead:
 *   in.json
 */
#include "qapi_types.h"

#include <string.h>

#include "codec/table.h"

static const struct codec_member members_see_args[] = {
    { .name = "a", .kind = CODEC_INT, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct qapi_see_args, has_a),
      .offset = offsetof(struct qapi_see_args, a) },
};
const struct codec_type qapi_type_see_args = {
    .name = "see", .size = sizeof(struct qapi_see_args),
    .members = members_see_args, .n_members = 1
};

const struct codec_command qapi_cmd_go = {
    .name = "go"
};

const struct codec_event qapi_event_gone = {
    .name = "GONE"
};

const struct codec_command qapi_cmd_see = {
    .name = "see", .args = &qapi_type_see_args
};

const struct codec_command *const qapi_commands[] = {
    &qapi_cmd_go,
    &qapi_cmd_see,
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
    &qapi_event_gone,
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
    &qapi_type_see_args,
    NULL,
};

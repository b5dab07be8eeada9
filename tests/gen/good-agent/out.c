/* Tables for the codec. Made by qapi-gen; change these instead:
 *   in.json
 */
#include "qapi_types.h"

#include <string.h>

#include "codec/table.h"

static const struct codec_member members_guest_go_args[] = {
    { .name = "id", .kind = CODEC_INT,
      .offset = offsetof(struct qapi_guest_go_args, id) },
};
const struct codec_type qapi_type_guest_go_args = {
    .name = "guest-go", .since = "1.1", .size = sizeof(struct qapi_guest_go_args),
    .members = members_guest_go_args, .n_members = 1
};

const struct codec_command qapi_cmd_go = {
    .name = "go"
};

const struct codec_command qapi_cmd_guest_go = {
    .name = "guest-go", .since = "1.1", .args = &qapi_type_guest_go_args
};

const struct codec_command *const qapi_commands[] = {
    &qapi_cmd_go,
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
    &qapi_type_guest_go_args,
    NULL,
};

/* Tables for the codec. Made by qapi-gen; change these instead:
 *   in.json
 *   in2.json
 */
#include "qapi_types.h"

#include <string.h>

#include "codec/table.h"

static const struct codec_member members_x_dbg_thing2_info[] = {
    { .name = "unix", .kind = CODEC_STR,
      .offset = offsetof(struct qapi_x_dbg_thing2_info, unix_) },
    { .name = "new", .kind = CODEC_STR, .is_optional = true,
      .offset = offsetof(struct qapi_x_dbg_thing2_info, new_) },
};
const struct codec_type qapi_type_x_dbg_thing2_info = {
    .name = "XDbgThing2Info", .size = sizeof(struct qapi_x_dbg_thing2_info),
    .members = members_x_dbg_thing2_info, .n_members = 2
};

static const struct codec_member members_go_args[] = {
    { .name = "a", .kind = CODEC_OBJECT,
      .offset = offsetof(struct qapi_go_args, a), .type = &qapi_type_x_dbg_thing2_info },
};
const struct codec_type qapi_type_go_args = {
    .name = "go", .size = sizeof(struct qapi_go_args),
    .members = members_go_args, .n_members = 1
};

static const struct codec_member members_both[] = {
    { .name = "a", .kind = CODEC_STR,
      .offset = offsetof(struct qapi_both, a) },
    { .name = "b", .kind = CODEC_STR, .is_list = true,
      .offset = offsetof(struct qapi_both, b) },
};
const struct codec_type qapi_type_both = {
    .name = "Both", .size = sizeof(struct qapi_both),
    .members = members_both, .n_members = 2
};

const struct codec_command qapi_cmd_go = {
    .name = "go", .args = &qapi_type_go_args
};

const struct codec_command qapi_cmd_swap = {
    .name = "swap", .args = &qapi_type_both,
    .ret = &qapi_type_both
};

const struct codec_command *const qapi_commands[] = {
    &qapi_cmd_go,
    &qapi_cmd_swap,
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
    &qapi_type_x_dbg_thing2_info,
    &qapi_type_go_args,
    &qapi_type_both,
    NULL,
};

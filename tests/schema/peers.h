/* The peers whose interfaces were recorded, one at a time in use. */
#ifndef TESTS_SCHEMA_PEERS_H
#define TESTS_SCHEMA_PEERS_H

#include <check.h>

#include "codec/table.h"
#include "recorded.h"

static const struct {
    const char *release;
    const char *program;
} peers[] = {
    { "5.2", "system" },  { "5.2", "qsd" },  { "7.2", "system" },  { "7.2", "qsd" },
    { "10.0", "system" }, { "10.0", "qsd" }, { "11.1", "system" }, { "11.1", "qsd" },
};
#define N_PEERS ((int)(sizeof(peers) / sizeof(peers[0])))

static json_t *schema;
static const char *release;
static bool is_system;

static inline void use_peer(int i)
{
    release = peers[i].release;
    is_system = strcmp(peers[i].program, "system") == 0;
    schema = recorded_load(release, peers[i].program);
    ck_assert_msg(schema != NULL && json_object_size(schema) > 100, "no schema of %s %s", release,
                  peers[i].program);
}

static inline void drop_peer(void)
{
    json_decref(schema);
    schema = NULL;
}

/* Whether something that appeared in since is there in the release. */
static inline bool is_there(const char *since)
{
    int major = 0, minor = 0, of_major = 0, of_minor = 0;

    if (since == NULL)
        return true;
    ck_assert_int_eq(sscanf(since, "%d.%d", &major, &minor), 2);
    ck_assert_int_eq(sscanf(release, "%d.%d", &of_major, &of_minor), 2);
    return of_major > major || (of_major == major && of_minor >= minor);
}

/* The command's entity if this peer has it; asserts that it should. */
static inline json_t *command_entity(const struct codec_command *command)
{
    json_t *entity = recorded_find(schema, command->name, "command");

    if (is_system)
        ck_assert_msg((entity != NULL) == is_there(command->since), "%s: since %s, but %s in %s",
                      command->name, command->since, entity != NULL ? "there" : "not there",
                      release);
    else
        ck_assert_msg(entity == NULL || is_there(command->since), "%s: since %s, but there in %s",
                      command->name, command->since, release);
    return entity;
}

#endif

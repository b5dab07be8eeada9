/* Everything that the encoders can send to a release of QEMU is accepted by the interface which
 * that release has reported. */
#include <check.h>

#include "../schema/peers.h"
#include "../starve/case.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/pool.h"
#include "qapi_types.h"

#define N_VARIATIONS 400
#define N_IN_CASE 50

/* ---- filling argument structs in every way --------------------------------------------------- */

/* Which values of which enum member were sent to this peer. */
static struct {
    const struct codec_member *member;
    unsigned long values;
} seen[128];
static size_t n_seen;

static unsigned long *seen_of(const struct codec_member *member)
{
    for (size_t i = 0; i < n_seen; i++) {
        if (seen[i].member == member)
            return &seen[i].values;
    }
    ck_assert_uint_lt(n_seen, sizeof(seen) / sizeof(seen[0]));
    seen[n_seen].member = member;
    return &seen[n_seen++].values;
}

static unsigned long dice_state;

static unsigned dice(unsigned sides)
{
    dice_state = dice_state * 6364136223846793005UL + 1442695040888963407UL;
    return (unsigned)((dice_state >> 33) % sides);
}

static bool value_is_there(const struct codec_type *type, const struct codec_member *member,
                           size_t i)
{
    return is_there(member->values->values[i].since) &&
           (type->tag != member || type->branches[i].is_allowed);
}

static unsigned choose_value(const struct codec_type *type, const struct codec_member *member)
{
    unsigned value;

    do {
        value = dice((unsigned)member->values->n_values);
    } while (!value_is_there(type, member, value));
    *seen_of(member) |= 1UL << value;
    return value;
}

static struct pool filled;

static void *allocate(size_t size)
{
    void *p;

    mem_fail_pause(true); /* what is sent is the test's own */
    p = pool_alloc(&filled, size, 8, 0);
    mem_fail_pause(false);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* 0: everything is set, 1: nothing optional is, from 2 on: by the dice. */
static int variation;

static void fill_type(const struct codec_type *type, char *base);

static void fill_value(const struct codec_type *type, const struct codec_member *member, char *at)
{
    const int64_t integer = 65536;
    const double number = 0.5;
    const bool flag = true;
    char *text;
    unsigned value;

    switch ((enum codec_kind)member->kind) {
    case CODEC_STR_OR_NULL:
    case CODEC_STR:
        text = member->kind == CODEC_STR || dice(2) == 0 ? strcpy(allocate(10), "some-name") : NULL;
        memcpy(at, &text, sizeof(text));
        break;
    case CODEC_INT:
    case CODEC_UINT:
        memcpy(at, &integer, sizeof(integer));
        break;
    case CODEC_BOOL:
    case CODEC_EMPTY:
        memcpy(at, &flag, sizeof(flag));
        break;
    case CODEC_NUMBER:
        memcpy(at, &number, sizeof(number));
        break;
    case CODEC_ENUM:
        value = choose_value(type, member);
        memcpy(at, &value, sizeof(value));
        break;
    case CODEC_OBJECT:
    default:
        fill_type(member->type, at);
        break;
    }
}

static void fill_member(const struct codec_type *type, const struct codec_member *member,
                        char *base)
{
    bool optional = member->is_optional;
    const bool flag = true;
    char *at = base + member->offset;

    if (!is_there(member->since) ||
        (optional && (variation == 1 || (variation > 1 && dice(3) == 0))))
        return;
    if (member->has_flag)
        memcpy(base + member->flag, &flag, sizeof(flag));
    if (member->is_list) {
        struct codec_list list = { NULL, dice(4) };

        list.v = allocate((list.n + 1) * codec_value_size(member));
        for (size_t i = 0; i < list.n; i++)
            fill_value(type, member, (char *)list.v + i * codec_value_size(member));
        memcpy(at, &list, sizeof(list));
    } else if (member->kind == CODEC_OBJECT && optional) {
        char *object = allocate(member->type->size);

        fill_type(member->type, object);
        memcpy(at, &object, sizeof(object));
    } else {
        fill_value(type, member, at);
    }
}

static void fill_type(const struct codec_type *type, char *base)
{
    unsigned tag;

    for (size_t i = 0; i < type->n_members; i++)
        fill_member(type, &type->members[i], base);
    if (type->tag != NULL) {
        memcpy(&tag, base + type->tag->offset, sizeof(tag));
        if (type->branches[tag].type != NULL)
            fill_type(type->branches[tag].type, base + type->branches[tag].offset);
    }
}

/* Every value of every enum below the type must have been sent. */
static void assert_all_seen(const struct codec_type *type)
{
    for (size_t i = 0; i < type->n_members; i++) {
        const struct codec_member *member = &type->members[i];

        if (!is_there(member->since))
            continue;
        if (member->kind == CODEC_OBJECT)
            assert_all_seen(member->type);
        for (size_t v = 0; member->kind == CODEC_ENUM && v < member->values->n_values; v++) {
            if (value_is_there(type, member, v))
                ck_assert_msg((*seen_of(member) & (1UL << v)) != 0, "%s of %s was never %s",
                              member->name, type->name, member->values->values[v].name);
        }
    }
    for (size_t i = 0; type->tag != NULL && i < type->tag->values->n_values; i++) {
        if (type->branches[i].type != NULL && value_is_there(type, type->tag, i))
            assert_all_seen(type->branches[i].type);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

static void assert_accepted(const struct codec_command *command, json_t *entity, const char *text)
{
    json_t *message = json_loads(text, 0, NULL), *arguments;
    const char *why = "";

    ck_assert_ptr_nonnull(message);
    ck_assert_str_eq(recorded_text(message, "execute"), command->name);
    arguments = json_object_get(message, "arguments");
    if (arguments == NULL)
        (void)json_object_set_new(message, "arguments", arguments = json_object());
    ck_assert_msg(recorded_accepts(schema, recorded_text(entity, "arg-type"), arguments, &why),
                  "%s refuses (%s): %s", release, why, text);
    json_decref(message);
}

static void send_variation(const struct codec_command *command, json_t *entity)
{
    size_t size = command->args != NULL ? command->args->size : 1;
    char *value = calloc(1, size);
    struct buf out = BUF_INIT;
    qblk_error error = { .text = "" };
    int r;

    if (command->args != NULL)
        fill_type(command->args, value);
    r = codec_command(command, command->args != NULL ? value : NULL, &out, &error);
    ck_assert_msg(r == 0, "%s", error.text);
    assert_accepted(command, entity, out.data);
    pool_done(&filled);
    free(value);
    buf_done(&out);
}

START_TEST(whatever_is_sent_is_accepted_by_the_release)
{
    int n_commands = 0;

    use_peer(_i);
    dice_state = 1;
    for (size_t i = 0; qapi_commands[i] != NULL; i++) {
        json_t *entity = command_entity(qapi_commands[i]);

        if (entity == NULL)
            continue;
        n_commands++;
        for (variation = 0; variation < N_VARIATIONS; variation++) {
            if (variation % N_IN_CASE == 0)
                case_begins();
            send_variation(qapi_commands[i], entity);
        }
        if (qapi_commands[i]->args != NULL)
            assert_all_seen(qapi_commands[i]->args);
    }
    ck_assert_int_ge(n_commands, 35);
    drop_peer();
}
END_TEST

/* ---- whether the check above can fail at all ------------------------------------------------- */

static const struct {
    const char *command;
    const char *arguments;
    const char *why; /* NULL: accepted */
} samples[] = {
    { "block-stream", "{\"device\":\"d\"}", NULL },
    { "block-stream", "{}", "device" },
    { "block-stream", "{\"device\":1}", "device" },
    { "block-stream", "{\"device\":\"d\",\"bottom\":\"b\"}", "bottom" }, /* newer than 5.2 */
    { "block-stream", "{\"device\":\"d\",\"on-error\":\"panic\"}", "on-error" },
    { "block-stream", "{\"device\":\"d\",\"speed\":1.5}", "speed" },
    { "blockdev-add", "{\"driver\":\"null-co\",\"size\":1}", NULL },
    { "blockdev-add", "{\"driver\":\"null-co\",\"filename\":\"f\"}", "filename" },
    { "blockdev-add", "{\"driver\":\"file\"}", "filename" },
    { "blockdev-add", "{\"driver\":\"qcow2\",\"file\":\"f\",\"backing\":null}", NULL },
    { "blockdev-add", "{\"driver\":\"qcow2\",\"file\":null}", "file" },
    { "transaction", "{\"actions\":[{\"type\":\"abort\",\"data\":{}}]}", NULL },
    { "transaction", "{\"actions\":[{\"type\":\"abort\"}]}", "data" },
    { "transaction", "{\"actions\":{}}", "actions" },
};

START_TEST(the_validator_refuses_what_is_wrong)
{
    json_t *entity, *arguments;
    const char *why = "";

    use_peer(0);
    entity = recorded_find(schema, samples[_i].command, "command");
    arguments = json_loads(samples[_i].arguments, 0, NULL);
    ck_assert_ptr_nonnull(arguments);
    ck_assert_int_eq(recorded_accepts(schema, recorded_text(entity, "arg-type"), arguments, &why),
                     samples[_i].why == NULL);
    if (samples[_i].why != NULL)
        ck_assert_str_eq(why, samples[_i].why);
    json_decref(arguments);
    drop_peer();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema");
    TCase *tcase = tcase_create("schema");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, whatever_is_sent_is_accepted_by_the_release, 0, N_PEERS);
    tcase_add_loop_test(tcase, the_validator_refuses_what_is_wrong, 0,
                        (int)(sizeof(samples) / sizeof(samples[0])));
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

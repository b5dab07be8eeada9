#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "codec_help.h"

static void assert_command(const struct codec_command *command, const void *args, const char *want)
{
    struct buf out = BUF_INIT;
    qblk_error error = { .text = "" };
    int r = codec_command(command, args, &out, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_str_eq(out.data, want);
    buf_done(&out);
}

/* The buffer must be as it was. */
static void assert_refused(const struct codec_command *command, const void *args, const char *says)
{
    struct buf out = BUF_INIT;
    qblk_error error = { .text = "" };

    buf_adds(&out, "before");
    ck_assert_int_eq(codec_command(command, args, &out, &error), -EINVAL);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    ck_assert_str_eq(error.text, says);
    ck_assert_str_eq(out.data, "before");
    ck_assert_int_eq(buf_ok(&out), 0);
    buf_done(&out);
}

START_TEST(a_command_has_no_blank_and_members_in_order)
{
    struct qapi_block_stream_args args = {
        .job_id = "j", .device = "d", .has_speed = true, .speed = 0, .has_on_error = true,
        .on_error = QAPI_BLOCKDEV_ON_ERROR_STOP, .has_auto_dismiss = true, .auto_dismiss = false
    };

    assert_command(&qapi_cmd_block_stream, &args,
                   "{\"execute\":\"block-stream\",\"arguments\":{\"job-id\":\"j\",\"device\":\"d\","
                   "\"speed\":0,\"on-error\":\"stop\",\"auto-dismiss\":false}}");
}
END_TEST

START_TEST(no_arguments_are_left_out)
{
    struct qapi_query_named_block_nodes_args args = { .has_flat = false };

    assert_command(&qapi_cmd_query_jobs, NULL, "{\"execute\":\"query-jobs\"}");
    assert_command(&qapi_cmd_qmp_capabilities, NULL, "{\"execute\":\"qmp_capabilities\"}");
    assert_command(&qapi_cmd_query_named_block_nodes, &args,
                   "{\"execute\":\"query-named-block-nodes\"}");
}
END_TEST

START_TEST(a_command_is_appended_to_what_is_there)
{
    struct buf out = BUF_INIT;
    qblk_error error;

    buf_adds(&out, "x");
    ck_assert_int_eq(codec_command(&qapi_cmd_query_jobs, NULL, &out, &error), 0);
    ck_assert_str_eq(out.data, "x{\"execute\":\"query-jobs\"}");
    buf_done(&out);
}
END_TEST

START_TEST(null_and_absent_and_a_name_differ_for_backing)
{
    struct qapi_blockdev_options options = { .driver = QAPI_BLOCKDEV_DRIVER_QCOW2 };

    options.u.qcow2.file = "f";
    assert_command(
        &qapi_cmd_blockdev_add, &options,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"qcow2\",\"file\":\"f\"}}");
    options.u.qcow2.has_backing = true;
    assert_command(
        &qapi_cmd_blockdev_add, &options,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"qcow2\",\"file\":\"f\","
        "\"backing\":null}}");
    options.u.qcow2.backing = "b";
    assert_command(
        &qapi_cmd_blockdev_add, &options,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"qcow2\",\"file\":\"f\","
        "\"backing\":\"b\"}}");
}
END_TEST

START_TEST(unions_nest)
{
    struct qapi_blockdev_options options = { .driver = QAPI_BLOCKDEV_DRIVER_NBD };

    options.u.nbd.server.type = QAPI_SOCKET_ADDRESS_TYPE_UNIX;
    options.u.nbd.server.u.unix_.path = "/s";
    options.u.nbd.export_ = "e";
    assert_command(&qapi_cmd_blockdev_add, &options,
                   "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"nbd\","
                   "\"server\":{\"type\":\"unix\",\"path\":\"/s\"},\"export\":\"e\"}}");
}
END_TEST

START_TEST(a_transaction_is_a_list_of_unions)
{
    struct qapi_transaction_action actions[3] = {
        { .type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD },
        { .type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE },
        { .type = QAPI_TRANSACTION_ACTION_KIND_ABORT },
    };
    struct qapi_transaction_args args = { .actions = { actions, 3 } };

    actions[0].u.block_dirty_bitmap_add.data.node = "n";
    actions[0].u.block_dirty_bitmap_add.data.name = "new";
    actions[0].u.block_dirty_bitmap_add.data.has_disabled = true;
    actions[0].u.block_dirty_bitmap_add.data.disabled = true;
    actions[1].u.block_dirty_bitmap_remove.data.node = "n";
    actions[1].u.block_dirty_bitmap_remove.data.name = "old";
    assert_command(
        &qapi_cmd_transaction, &args,
        "{\"execute\":\"transaction\",\"arguments\":{\"actions\":["
        "{\"type\":\"block-dirty-bitmap-add\",\"data\":{\"node\":\"n\",\"name\":\"new\","
        "\"disabled\":true}},"
        "{\"type\":\"block-dirty-bitmap-remove\",\"data\":{\"node\":\"n\",\"name\":\"old\"}},"
        "{\"type\":\"abort\",\"data\":{}}]}}");
}
END_TEST

START_TEST(lists_of_objects_and_enums_encode)
{
    enum qapi_qmp_capability oob = QAPI_QMP_CAPABILITY_OOB;
    struct qapi_qmp_capabilities_args caps = { .has_enable = true, .enable = { &oob, 1 } };
    struct qapi_block_dirty_bitmap bitmaps[] = { { "m", "a" }, { "n", "b" } };
    struct qapi_block_dirty_bitmap_merge merge = { "n", "t", { bitmaps, 2 } };

    assert_command(&qapi_cmd_qmp_capabilities, &caps,
                   "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
    assert_command(&qapi_cmd_block_dirty_bitmap_merge, &merge,
                   "{\"execute\":\"block-dirty-bitmap-merge\",\"arguments\":{\"node\":\"n\","
                   "\"target\":\"t\",\"bitmaps\":[{\"node\":\"m\",\"name\":\"a\"},"
                   "{\"node\":\"n\",\"name\":\"b\"}]}}");
}
END_TEST

START_TEST(strings_are_escaped_where_json_asks_for_it)
{
    struct qapi_job_pause_args args = {
        "\"\\/\b\f\n\r\t\x01\x1f\x7f \xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe\xf4\x8f\xbf\xbf"
    };

    assert_command(
        &qapi_cmd_job_pause, &args,
        "{\"execute\":\"job-pause\",\"arguments\":{\"id\":\"\\\"\\\\/\\u0008\\u000c\\u000a"
        "\\u000d\\u0009\\u0001\\u001f\x7f \xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe"
        "\xf4\x8f\xbf\xbf\"}}");
}
END_TEST

static const char *const not_utf8[] = {
    "\x80", "a\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
    "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xe2\x82 ", "\xf0\x9f\x92",
};

START_TEST(strings_that_are_not_utf8_are_refused)
{
    struct qapi_job_pause_args args = { not_utf8[_i] };

    assert_refused(&qapi_cmd_job_pause, &args, "job-pause.id: the string is not UTF-8");
}
END_TEST

START_TEST(unsigned_integers_end_where_qemu_ends)
{
    struct qapi_block_dirty_bitmap_add args = {
        .node = "n", .name = "b", .has_granularity = true, .granularity = INT64_MAX
    };

    assert_command(&qapi_cmd_block_dirty_bitmap_add, &args,
                   "{\"execute\":\"block-dirty-bitmap-add\",\"arguments\":{\"node\":\"n\","
                   "\"name\":\"b\",\"granularity\":9223372036854775807}}");
    args.granularity++;
    assert_refused(&qapi_cmd_block_dirty_bitmap_add, &args,
                   "BlockDirtyBitmapAdd.granularity: more than 2^63-1, which QEMU refuses");
}
END_TEST

START_TEST(negative_integers_encode)
{
    struct qapi_block_job_set_speed_args args = { "d", INT64_MIN };

    assert_command(&qapi_cmd_block_job_set_speed, &args,
                   "{\"execute\":\"block-job-set-speed\",\"arguments\":{\"device\":\"d\","
                   "\"speed\":-9223372036854775808}}");
}
END_TEST

START_TEST(what_is_required_must_be_set)
{
    struct qapi_block_stream_args args = { .job_id = "j" };
    struct qapi_transaction_args transaction = { .actions = { NULL, 1 } };
    struct qapi_block_dirty_bitmap_merge merge = { "n", "t", { NULL, 0 } };
    struct qapi_block_dirty_bitmap bitmaps[] = { { "n", "a" }, { "n", NULL } };

    assert_refused(&qapi_cmd_block_stream, NULL, "block-stream: needs arguments");
    assert_refused(&qapi_cmd_block_stream, &args,
                   "block-stream.device: required and not set");
    assert_refused(&qapi_cmd_transaction, &transaction,
                   "transaction.actions: a list of some elements that are nowhere");
    merge.bitmaps.v = bitmaps;
    merge.bitmaps.n = 2;
    assert_refused(&qapi_cmd_block_dirty_bitmap_merge, &merge,
                   "BlockDirtyBitmapMerge.bitmaps[1].name: required and not set");
}
END_TEST

START_TEST(an_enum_member_must_have_one_of_its_values)
{
    struct qapi_blockdev_create_args args = { .job_id = "j" };
    struct qapi_block_commit_args commit = { .device = "d", .has_on_error = true };

    commit.on_error = (enum qapi_blockdev_on_error)99;
    assert_refused(&qapi_cmd_block_commit, &commit,
                   "block-commit.on-error: not a value of its enumeration");
    args.options.driver = (enum qapi_blockdev_driver)99;
    assert_refused(&qapi_cmd_blockdev_create, &args,
                   "blockdev-create.options.driver: not a value of its enumeration");
    args.options.driver = QAPI_BLOCKDEV_DRIVER_RAW; /* cannot be created */
    assert_refused(&qapi_cmd_blockdev_create, &args,
                   "blockdev-create.options.driver: the schema has nothing for this value");
}
END_TEST

START_TEST(enum_values_are_found_by_name)
{
    ck_assert_int_eq(codec_enum_find(&qapi_enum_blockdev_on_error, "enospc"),
                     QAPI_BLOCKDEV_ON_ERROR_ENOSPC);
    ck_assert_int_eq(codec_enum_find(&qapi_enum_blockdev_on_error, "report"), 0);
    ck_assert_int_eq(codec_enum_find(&qapi_enum_blockdev_on_error, "Report"), -1);
    ck_assert_int_eq(codec_enum_find(&qapi_enum_blockdev_on_error, ""), -1);
}
END_TEST

/* ---- numbers that are no integers: nothing we send today, so by a table of our own ----------- */

struct real {
    double x;
};
static const struct codec_member real_members[] = {
    { .name = "x", .kind = CODEC_NUMBER, .offset = offsetof(struct real, x) },
};
static const struct codec_type real_type = {
    .name = "Real", .size = sizeof(struct real), .members = real_members, .n_members = 1
};

static const double reals[] = { 0.0, 0.1, -1.5, 1e300, 5e-324, 3.0, DBL_MAX, 1.0 / 3.0 };

START_TEST(numbers_come_back_the_same_in_any_locale)
{
    struct real real = { reals[_i] }, back;
    struct buf out = BUF_INIT;
    qblk_error error = { .text = "" };

    (void)setlocale(LC_ALL, "de_DE.UTF-8"); /* where it exists: a decimal comma */
    ck_assert_int_eq(codec_encode(&real_type, &real, &out, &error), 0);
    ck_assert_msg(decode(&real_type, out.data, out.len, &back, &error) == 0, "%s: %s", out.data,
                  error.text);
    ck_assert(memcmp(&real, &back, sizeof(real)) == 0);
    buf_done(&out);
}
END_TEST

START_TEST(numbers_that_are_not_finite_are_refused)
{
    static const double none[] = { (double)INFINITY, -(double)INFINITY, (double)NAN };
    struct buf out = BUF_INIT;
    qblk_error error;

    for (size_t i = 0; i < 3; i++) {
        struct real real = { none[i] };

        ck_assert_int_eq(codec_encode(&real_type, &real, &out, &error), -EINVAL);
        ck_assert_str_eq(error.text, "Real.x: the number is not finite");
        ck_assert_uint_eq(out.len, 0);
    }
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_send");
    TCase *tcase = tcase_create("codec_send");

    tcase_add_test(tcase, a_command_has_no_blank_and_members_in_order);
    tcase_add_test(tcase, no_arguments_are_left_out);
    tcase_add_test(tcase, a_command_is_appended_to_what_is_there);
    tcase_add_test(tcase, null_and_absent_and_a_name_differ_for_backing);
    tcase_add_test(tcase, unions_nest);
    tcase_add_test(tcase, a_transaction_is_a_list_of_unions);
    tcase_add_test(tcase, lists_of_objects_and_enums_encode);
    tcase_add_test(tcase, strings_are_escaped_where_json_asks_for_it);
    tcase_add_loop_test(tcase, strings_that_are_not_utf8_are_refused, 0, N_OF(not_utf8));
    tcase_add_test(tcase, unsigned_integers_end_where_qemu_ends);
    tcase_add_test(tcase, negative_integers_encode);
    tcase_add_test(tcase, what_is_required_must_be_set);
    tcase_add_test(tcase, an_enum_member_must_have_one_of_its_values);
    tcase_add_test(tcase, enum_values_are_found_by_name);
    tcase_add_loop_test(tcase, numbers_come_back_the_same_in_any_locale, 0, N_OF(reals));
    tcase_add_test(tcase, numbers_that_are_not_finite_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "codec_help.h"

START_TEST(a_list_return_decodes)
{
    static const char reply[] =
        "{\"return\": [{\"current-progress\": 1, \"status\": \"ready\", \"total-progress\": 2, "
        "\"type\": \"mirror\", \"id\": \"m\"}, {\"current-progress\": 0, \"status\": "
        "\"concluded\", "
        "\"total-progress\": 0, \"type\": \"backup\", \"id\": \"b\", \"error\": \"No space "
        "left\"}]}";
    struct qapi_job_info_list jobs;
    qblk_error error = { .text = "" };
    int r = codec_reply(&qapi_cmd_query_jobs, reply, &jobs, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_uint_eq(jobs.n, 2);
    ck_assert_str_eq(jobs.v[0].status, "ready");
    ck_assert_int_eq(jobs.v[0].total_progress, 2);
    ck_assert_ptr_null(jobs.v[0].error);
    ck_assert_str_eq(jobs.v[1].error, "No space left");
    codec_reply_clear(&qapi_cmd_query_jobs, &jobs);
    ck_assert_ptr_null(jobs.v);
}
END_TEST

START_TEST(an_object_return_decodes)
{
    struct qapi_version_info version;
    qblk_error error;

    ck_assert_int_eq(codec_reply(&qapi_cmd_query_version,
                                 "{\"return\":{\"qemu\":{\"micro\":22,\"minor\":2,\"major\":7},"
                                 "\"package\":\"Debian\"},\"id\":1}",
                                 &version, &error),
                     0);
    ck_assert_int_eq(version.qemu.micro, 22);
    ck_assert_str_eq(version.package, "Debian");
    codec_reply_clear(&qapi_cmd_query_version, &version);
}
END_TEST

START_TEST(a_return_that_nobody_reads_may_be_anything)
{
    qblk_error error;

    ck_assert_int_eq(codec_reply(&qapi_cmd_job_pause, "{\"return\":{}}", NULL, &error), 0);
    ck_assert_int_eq(codec_reply(&qapi_cmd_job_pause, "{\"return\":[\"\\u0000\"]}", NULL, &error),
                     0);
    ck_assert_int_eq(codec_reply(&qapi_cmd_query_jobs, "{\"return\":[]}", NULL, &error), 0);
}
END_TEST

START_TEST(an_error_reply_has_qemus_class_and_words)
{
    struct qapi_job_info_list jobs;
    qblk_error error;

    memset(&jobs, 0x55, sizeof(jobs));
    ck_assert_int_eq(
        codec_reply(&qapi_cmd_query_jobs,
                    "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"100% gone\"}}", &jobs,
                    &error),
        -EIO);
    ck_assert_int_eq(error.code, QBLK_E_QEMU);
    ck_assert_str_eq(error.qmp_class, "DeviceNotFound");
    ck_assert_str_eq(error.text, "100% gone");
    ck_assert_ptr_null(jobs.v);
    ck_assert_int_lt(codec_reply(&qapi_cmd_query_jobs,
                                 "{\"error\":{\"class\":\"C\",\"desc\":\"d\"}}", NULL, NULL),
                     0);
}
END_TEST

START_TEST(an_integer_that_a_command_returns_is_read)
{
    qblk_error error;
    int64_t value = 7;

    ck_assert_int_eq(codec_reply_int(&qapi_cmd_guest_fsfreeze_thaw, "{\"return\":3}", &value,
                                     &error), 0);
    ck_assert_int_eq(value, 3);
    ck_assert_int_eq(codec_reply_int(&qapi_cmd_guest_fsfreeze_thaw, "{\"return\":\"3\"}", &value,
                                     &error), -EPROTO);
    ck_assert_int_eq(codec_reply_int(&qapi_cmd_guest_fsfreeze_thaw,
                                     "{\"return\":18446744073709551615}", &value, &error), -EPROTO);
    ck_assert_int_eq(codec_reply_int(&qapi_cmd_guest_fsfreeze_thaw,
                                     "{\"error\":{\"class\":\"C\",\"desc\":\"d\"}}", &value,
                                     &error), -EIO);
    ck_assert_str_eq(error.text, "d");
    ck_assert_int_eq(value, 3);
}
END_TEST

static const struct {
    const char *reply;
    bool is_word;
} words[] = {
    { "{\"return\":\"frozen\"}", true },
    { "{\"return\":\"\"}", true },
    { "{\"return\":\"sevenchars\"}", false },
    { "{\"return\":\"a\\u0000b\"}", false },
    { "{\"return\":18446744073709551615}", false },
    { "{\"return\":{}}", false },
    { "{}", false },
};

START_TEST(a_short_string_that_a_command_returns_is_read)
{
    char word[8] = "before";
    qblk_error error;
    int r = codec_reply_word(&qapi_cmd_guest_fsfreeze_status, words[_i].reply, word, sizeof(word),
                             &error);

    ck_assert_int_eq(r, words[_i].is_word ? 0 : -EPROTO);
    if (!words[_i].is_word)
        ck_assert_str_eq(word, "before");
    else
        ck_assert_ptr_nonnull(strstr(words[_i].reply, word));
}
END_TEST

START_TEST(a_very_long_error_text_is_cut_between_characters)
{
    struct buf reply = BUF_INIT;
    qblk_error error;
    size_t len;

    buf_adds(&reply,
             "{\"error\":{\"class\":\"an extremely long class that does not fit\",\"desc\":\"x");
    for (int i = 0; i < 3000; i++)
        buf_adds(&reply, "\xe2\x82\xac");
    buf_adds(&reply, "\"}}");
    ck_assert_int_eq(buf_ok(&reply), 0);
    ck_assert_int_eq(codec_reply(&qapi_cmd_job_pause, reply.data, NULL, &error), -EIO);
    len = strlen(error.text);
    ck_assert_uint_gt(len, 800);
    ck_assert_uint_eq(len % 3, 1);
    ck_assert_uint_eq(strlen(error.qmp_class), sizeof(error.qmp_class) - 1);
    buf_done(&reply);
}
END_TEST

static const struct {
    const char *reply;
    const char *says;
} broken[] = {
    { "", "reply to query-jobs: not usable JSON" },
    { "[]", "reply to query-jobs: not a JSON object" },
    { "{}", "reply to query-jobs: neither return nor error" },
    { "{\"event\":\"STOP\"}", "reply to query-jobs: neither return nor error" },
    { "{\"return\":{}}", "reply to query-jobs: JobInfo: expected an array, found an object" },
    { "{\"return\":[{}]}", "reply to query-jobs: JobInfo[0].id: missing" },
    { "{\"return\":[null]}", "reply to query-jobs: JobInfo[0]: expected an object, found null" },
    { "{\"return\":[{\"id\":\"a\",\"id\":\"b\"}]}", "reply to query-jobs: not usable JSON" },
    { "{\"error\":{}}", "reply to query-jobs: an error reply without class or text" },
    { "{\"error\":\"bad\"}", "reply to query-jobs: an error reply without class or text" },
    { "{\"error\":{\"class\":1,\"desc\":\"d\"}}", "reply to query-jobs: an error reply without" },
};

START_TEST(a_broken_reply_is_a_protocol_error)
{
    struct qapi_job_info_list jobs;
    qblk_error error = { .text = "" };

    memset(&jobs, 0x55, sizeof(jobs));
    ck_assert_int_eq(codec_reply(&qapi_cmd_query_jobs, broken[_i].reply, &jobs, &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    ck_assert_msg(strncmp(error.text, broken[_i].says, strlen(broken[_i].says)) == 0, "%s",
                  error.text);
    ck_assert_ptr_null(jobs.v);
    ck_assert_uint_eq(jobs.n, 0);
}
END_TEST

START_TEST(an_event_decodes_with_its_time)
{
    struct qapi_block_job_ready_event event;
    qblk_error error = { .text = "" };
    int64_t us = -1;
    int r = codec_event(&qapi_event_block_job_ready,
                        "{\"timestamp\":{\"seconds\":1700000000,\"microseconds\":123456},"
                        "\"event\":\"BLOCK_JOB_READY\",\"data\":{\"device\":\"j\",\"len\":10,"
                        "\"offset\":9,\"speed\":0,\"type\":\"mirror\"}}",
                        &event, &us, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_int_eq(us, 1700000000123456);
    ck_assert_str_eq(event.device, "j");
    ck_assert_int_eq(event.offset, 9);
    codec_clear(qapi_event_block_job_ready.data, &event);
}
END_TEST

static const struct {
    const char *timestamp;
    int64_t us;
} times[] = {
    { "\"timestamp\":{\"seconds\":0,\"microseconds\":1}", 1 },
    { "\"timestamp\":{\"seconds\":-1,\"microseconds\":-1}", 0 },
    { "\"timestamp\":{\"seconds\":1}", 0 },
    { "\"timestamp\":{\"seconds\":1,\"microseconds\":1000000}", 0 },
    { "\"timestamp\":{\"seconds\":9223372036854775807,\"microseconds\":0}", 0 },
    { "\"timestamp\":{\"seconds\":18446744073709551615,\"microseconds\":0}", 0 },
    { "\"timestamp\":7", 0 },
    { "\"x\":0", 0 },
};

START_TEST(a_time_that_makes_no_sense_is_none)
{
    qblk_error error;
    char text[160];
    int64_t us = -1;

    (void)snprintf(text, sizeof(text), "{\"event\":\"STOP\",%s}", times[_i].timestamp);
    ck_assert_int_eq(codec_event(&qapi_event_stop, text, NULL, &us, &error), 0);
    ck_assert_int_eq(us, times[_i].us);
    ck_assert_int_eq(codec_event(&qapi_event_stop, text, NULL, NULL, &error), 0);
}
END_TEST

START_TEST(an_event_without_its_data_is_a_protocol_error)
{
    struct qapi_job_status_change_event event;
    qblk_error error;

    memset(&event, 0x55, sizeof(event));
    ck_assert_int_eq(codec_event(&qapi_event_job_status_change, "{\"event\":\"JOB_STATUS_CHANGE\"}",
                                 &event, NULL, &error),
                     -EPROTO);
    ck_assert_str_eq(error.text, "JOB_STATUS_CHANGE.id: missing");
    ck_assert_ptr_null(event.id);
    ck_assert_int_eq(codec_event(&qapi_event_stop, "{", NULL, NULL, &error), -EPROTO);
}
END_TEST

START_TEST(lookups_know_every_name_and_no_other)
{
    for (size_t i = 0; qapi_commands[i] != NULL; i++)
        ck_assert_ptr_eq(qapi_command_find(qapi_commands[i]->name), qapi_commands[i]);
    for (size_t i = 0; qapi_events[i] != NULL; i++)
        ck_assert_ptr_eq(qapi_event_find(qapi_events[i]->name), qapi_events[i]);
    ck_assert_ptr_null(qapi_command_find("quit"));
    ck_assert_ptr_null(qapi_command_find("query-job"));
    ck_assert_ptr_null(qapi_event_find(""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_messages");
    TCase *tcase = tcase_create("codec_messages");

    tcase_add_test(tcase, a_list_return_decodes);
    tcase_add_test(tcase, an_object_return_decodes);
    tcase_add_test(tcase, a_return_that_nobody_reads_may_be_anything);
    tcase_add_test(tcase, an_error_reply_has_qemus_class_and_words);
    tcase_add_test(tcase, an_integer_that_a_command_returns_is_read);
    tcase_add_loop_test(tcase, a_short_string_that_a_command_returns_is_read, 0, N_OF(words));
    tcase_add_test(tcase, a_very_long_error_text_is_cut_between_characters);
    tcase_add_loop_test(tcase, a_broken_reply_is_a_protocol_error, 0, N_OF(broken));
    tcase_add_test(tcase, an_event_decodes_with_its_time);
    tcase_add_loop_test(tcase, a_time_that_makes_no_sense_is_none, 0, N_OF(times));
    tcase_add_test(tcase, an_event_without_its_data_is_a_protocol_error);
    tcase_add_test(tcase, lookups_know_every_name_and_no_other);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

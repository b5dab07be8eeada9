/* Messages: what they are, where the id stands, and which commands may be sent. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "qmp/msg.h"

static struct msg msg;
static qblk_error error;

static void read_ok(const char *text)
{
    int r;

    memset(&error, 0, sizeof(error));
    r = msg_read(&msg, text, strlen(text), &error);
    ck_assert_msg(r == 0, "%s: %s", text, error.text);
}

static void check_span(struct msg_span span, const char *text)
{
    ck_assert_uint_eq(span.len, strlen(text));
    if (span.len != 0)
        ck_assert_mem_eq(span.text, text, span.len);
}

START_TEST(a_greeting_tells_version_and_oob)
{
    read_ok("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
            "\"package\": \"Debian 1:7.2\"}, \"capabilities\": [\"oob\"]}}");
    ck_assert_int_eq(msg.kind, MSG_GREETING);
    ck_assert_uint_eq(msg.version, 7002022);
    ck_assert(msg.has_oob);
    read_ok("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 1, \"major\": 11}}, "
            "\"capabilities\": []}}");
    ck_assert_uint_eq(msg.version, 11001000);
    ck_assert(!msg.has_oob);
    read_ok("{\"QMP\": {}}");
    ck_assert_uint_eq(msg.version, 0);
}
END_TEST

START_TEST(an_event_tells_its_name)
{
    read_ok("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}");
    ck_assert_int_eq(msg.kind, MSG_EVENT);
    ck_assert_str_eq(msg.event, "STOP");
    ck_assert_uint_eq(msg.id.len, 0);
}
END_TEST

/* Wherever it is: of a long name the end is not kept. */
START_TEST(an_event_name_with_a_nul_is_refused)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "{\"event\": \"%0*d\\n\\u0000B\"}", _i, 1);
    ck_assert_int_eq(msg_read(&msg, text, strlen(text), &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    (void)snprintf(text, sizeof(text), "{\"event\": \"%0*d\\n\\u0001B\"}", _i, 1);
    read_ok(text);
}
END_TEST

START_TEST(a_long_event_name_is_cut_off)
{
    read_ok("{\"event\": \"01234567890123456789012345678901234567890123456789"
            "01234567890123456\"}");
    ck_assert_uint_eq(strlen(msg.event), sizeof(msg.event) - 1);
}
END_TEST

static const struct {
    const char *text;
    const char *id;      /* NULL: none */
    const char *without; /* the message without id */
    const char *with;    /* and with the id "u" put in */
} ids[] = {
    { "{\"return\": {}, \"id\": 7}", "7", "{\"return\": {}}", "{\"return\": {}, \"id\": \"u\"}" },
    { "{\"id\": 7, \"return\": {}}", "7", "{\"return\": {}}", "{\"return\": {}, \"id\": \"u\"}" },
    { "{\"return\":1,\"id\":7,\"x\":2}", "7", "{\"return\":1,\"x\":2}",
      "{\"return\":1,\"x\":2, \"id\": \"u\"}" },
    { "{\"return\":{\"id\":5}}", NULL, "{\"return\":{\"id\":5}}",
      "{\"return\":{\"id\":5}, \"id\": \"u\"}" },
    { "{\"return\":{\"id\":5},\"\\u0069d\":{\"id\":[6,\"}\"]}}", "{\"id\":[6,\"}\"]}",
      "{\"return\":{\"id\":5}}", "{\"return\":{\"id\":5}, \"id\": \"u\"}" },
    { "{\"return\":\"\\\"id\\\":5,\",\"i\\u0064\":null}", "null", "{\"return\":\"\\\"id\\\":5,\"}",
      "{\"return\":\"\\\"id\\\":5,\", \"id\": \"u\"}" },
    { "{\"return\":[18446744073709551615, 1.50e1],\"ID\":1,\"id\\u0000\":1}", NULL, NULL, NULL },
    { "{\n    \"return\": [\n    ],\n    \"id\": 7\n}", "7", "{\n    \"return\": [\n    ]\n}",
      "{\n    \"return\": [\n    ], \"id\": \"u\"}" },
    { "{\n    \"id\" : 7 ,\n    \"return\": 1\n}", "7", "{\n    \"return\": 1\n}",
      "{\n    \"return\": 1, \"id\": \"u\"}" },
    { "{\"return\": 18446744073709551615, \"id\": 1}", "1", "{\"return\": 18446744073709551615}",
      "{\"return\": 18446744073709551615, \"id\": \"u\"}" },
    { "{\"error\":{\"class\":\"C\",\"desc\":\"d\",\"id\":3},\"idx\":1}", NULL,
      "{\"error\":{\"class\":\"C\",\"desc\":\"d\",\"id\":3},\"idx\":1}", NULL },
};

START_TEST(the_id_is_found_and_cut_out_to_the_byte)
{
    struct msg_span none = { NULL, 0 }, user = { "\"u\"", 3 };
    struct buf out = BUF_INIT;

    if (msg_read(&msg, ids[_i].text, strlen(ids[_i].text), &error) < 0) {
        /* The codec's policy may refuse a NUL in a name; nothing else here. */
        ck_assert_ptr_null(ids[_i].without);
        return;
    }
    if (ids[_i].id != NULL)
        check_span(msg.id, ids[_i].id);
    else
        ck_assert_uint_eq(msg.id.len, 0);
    ck_assert_int_eq(buf_adds(&out, "~"), 0);
    ck_assert_int_eq(msg_without_id(&msg, none, &out), 0);
    if (ids[_i].without != NULL)
        ck_assert_str_eq(out.data + 1, ids[_i].without);
    buf_reset(&out);
    ck_assert_int_eq(msg_without_id(&msg, user, &out), 0);
    if (ids[_i].with != NULL)
        ck_assert_str_eq(out.data, ids[_i].with);
    buf_done(&out);
}
END_TEST

START_TEST(an_error_tells_class_and_text)
{
    read_ok("{\"id\": 1, \"error\": {\"class\": \"GenericError\", \"desc\": \"no \\u00fc\"}}");
    ck_assert_int_eq(msg.kind, MSG_ERROR);
    msg_error(&msg, &error);
    ck_assert_int_eq(error.code, QBLK_E_QEMU);
    ck_assert_str_eq(error.qmp_class, "GenericError");
    ck_assert_str_eq(error.text, "no \xc3\xbc");
}
END_TEST

static const char *const refused[] = {
    "{}",
    "[]",
    "\"return\"",
    "{\"x\": 1}",
    "{\"QMP\": 1}",
    "{\"event\": 1}",
    "{\"event\": \"\"}",
    "{\"event\": \"STOP\\u0000\"}",
    "{\"error\": \"text\"}",
    "{\"error\": {\"class\": \"x\"}}",
    "{\"return\": 1, \"error\": {\"class\": \"C\", \"desc\": \"d\"}}",
    "{\"return\": 1, \"event\": \"E\"}",
    "{\"return\": 1, \"id\": 1, \"id\": 2}",
    "{\"return\": 1, \"id\": 1, \"\\u0069d\": 2}",
    "{\"return\": 1,}",
    "{\"return\": nul}",
    "{\"return\": \"\xff\"}",
    "{\"return\": inf}",
    "{\"return\": 340282366920938463463374607431768211456}",
    "{\"return\": 1} x",
    "",
};

START_TEST(what_is_no_message_is_refused_and_shown)
{
    memset(&error, 0, sizeof(error));
    ck_assert_int_eq(msg_read(&msg, refused[_i], strlen(refused[_i]), &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    if (strchr(refused[_i], '\xff') == NULL)
        ck_assert_ptr_nonnull(strstr(error.text, refused[_i]));
    else
        ck_assert_ptr_nonnull(strstr(error.text, "\\xff"));
}
END_TEST

/* ---- commands ----------------------------------------------------------------------------- */

static struct buf body;
static struct msg_span id;
static bool is_oob;

static void body_setup(void)
{
    buf_init(&body);
    ck_assert_int_eq(buf_adds(&body, "~"), 0);
    id.len = 99;
}

static void body_teardown(void)
{
    buf_done(&body);
}

static const struct {
    const char *json;
    const char *body;
    const char *id;
    bool is_oob;
} commands[] = {
    { "{\"execute\":\"stop\"}", "{\"execute\":\"stop\"", "", false },
    { " {\n \"execute\" : \"stop\" ,\t\"arguments\" : { \"a b\" : [ 1 , -2.5e+3 ] } }\r\n",
      "{\"execute\":\"stop\",\"arguments\":{\"a b\":[1,-2.5e+3]}", "", false },
    { "{\"id\":7,\"execute\":\"stop\"}", "{\"execute\":\"stop\"", "7", false },
    { "{\"execute\":\"stop\",\"id\": {\"a\": [ 1 ]} }", "{\"execute\":\"stop\"", "{\"a\": [ 1 ]}",
      false },
    { "{\"execute\":\"x\",\"id\":null,\"arguments\":{\"id\":1}}",
      "{\"execute\":\"x\",\"arguments\":{\"id\":1}", "null", false },
    { "{\"\\u0069d\":1,\"exec-oob\":\"yank\"}", "{\"exec-oob\":\"yank\"", "1", true },
    { "{\"ex\\u0065cute\":\"x\"}", "{\"ex\\u0065cute\":\"x\"", "", false },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":18446744073709551615}}",
      "{\"execute\":\"x\",\"arguments\":{\"a\":18446744073709551615}", "", false },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\\" } \x7f\"}}",
      "{\"execute\":\"x\",\"arguments\":{\"a\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\\" } \x7f\"}",
      "", false },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":0.0e1,\"b\":-0,\"c\":0}}",
      "{\"execute\":\"x\",\"arguments\":{\"a\":0.0e1,\"b\":-0,\"c\":0}", "", false },
};

START_TEST(a_command_comes_apart_into_body_and_id)
{
    int r = msg_check_command(commands[_i].json, &body, &id, &is_oob, &error);

    ck_assert_msg(r == 0, "%s: %s", commands[_i].json, error.text);
    ck_assert_int_eq(body.data[0], '~');
    ck_assert_str_eq(body.data + 1, commands[_i].body);
    check_span(id, commands[_i].id);
    ck_assert_int_eq(is_oob, commands[_i].is_oob);
}
END_TEST

static void check_refused(const char *json, const char *what)
{
    ck_assert_int_eq(msg_check_command(json, &body, &id, &is_oob, &error), -EINVAL);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    ck_assert_msg(strstr(error.text, what) != NULL, "\"%s\" lacks \"%s\"", error.text, what);
    ck_assert_str_eq(body.data, "~");
    ck_assert_uint_eq(body.len, 1);
}

static const struct {
    const char *json;
    const char *what;
} bad_commands[] = {
    { "", "JSON" },
    { "stop", "JSON" },
    { "{\"execute\":\"stop\"", "JSON" },
    { "{\"execute\":\"stop\"}}", "JSON" },
    { "{\"execute\":\"stop\"}{\"execute\":\"quit\"}", "JSON" },
    { "{'execute':'stop'}", "JSON" },
    { "{\"execute\":\"stop\",\"arguments\":{\"a\":1,\"a\":2}}", "JSON" },
    { "{\"execute\":\"st\top\"}", "JSON" },
    { "{\"execute\":\"\xc3\"}", "JSON" },
    { "{\"execute\":\"\\ud800\"}", "JSON" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":1e999}}", "JSON" },
    { "[]", "not a JSON object" },
    { "{}", "execute" },
    { "{\"id\":1}", "execute" },
    { "{\"execute\":1}", "not a string" },
    { "{\"exec-oob\":null}", "not a string" },
    { "{\"execute\":\"x\",\"exec-oob\":\"x\"}", "both" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":\"\\uffff\"}}", "U+FFFF" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":\"\xef\xbf\xbe\"}}", "U+FFFE" },
    { "{\"execute\":\"x\",\"arguments\":{\"\\ufdd0\":1}}", "U+FDD0" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":\"\\ud83f\\udfff\"}}", "U+1FFFF" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":\"\xf4\x8f\xbf\xbf\"}}", "U+10FFFF" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":0e1}}", "zero with an exponent" },
    { "{\"execute\":\"x\",\"arguments\":{\"a\":[-0E1]}}", "zero with an exponent" },
};

START_TEST(what_qemus_parser_would_refuse_is_refused)
{
    check_refused(bad_commands[_i].json, bad_commands[_i].what);
}
END_TEST

/* A command with n nested lists inside arguments, so n + 2 levels. */
static void nested(struct buf *text, int n)
{
    buf_reset(text);
    ck_assert_int_eq(buf_adds(text, "{\"execute\":\"x\",\"arguments\":{\"a\":"), 0);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(buf_addc(text, '['), 0);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(buf_addc(text, ']'), 0);
    ck_assert_int_eq(buf_adds(text, "}}"), 0);
}

START_TEST(nesting_of_1023_passes_and_1024_does_not)
{
    struct buf text = BUF_INIT;

    nested(&text, 1021);
    ck_assert_int_eq(msg_check_command(text.data, &body, &id, &is_oob, &error), 0);
    body.len = 1;
    body.data[1] = '\0';
    nested(&text, 1022);
    check_refused(text.data, "1023");
    nested(&text, 10000);
    check_refused(text.data, "");
    buf_done(&text);
}
END_TEST

START_TEST(two_million_tokens_are_refused_and_one_million_pass)
{
    struct buf text = BUF_INIT;

    ck_assert_int_eq(buf_adds(&text, "{\"execute\":\"x\",\"arguments\":{\"a\":[0"), 0);
    for (int i = 0; i < 500000; i++)
        ck_assert_int_eq(buf_adds(&text, ",0"), 0);
    ck_assert_int_eq(buf_adds(&text, "]}}"), 0);
    ck_assert_int_eq(msg_check_command(text.data, &body, &id, &is_oob, &error), 0);
    body.len = 1;
    body.data[1] = '\0';
    text.len -= 3;
    for (int i = 0; i < 550000; i++)
        ck_assert_int_eq(buf_adds(&text, ",0"), 0);
    ck_assert_int_eq(buf_adds(&text, "]}}"), 0);
    check_refused(text.data, "words and brackets");
    buf_done(&text);
}
END_TEST

START_TEST(a_command_of_64_mib_is_refused)
{
    struct buf text = BUF_INIT;
    char *at;

    ck_assert_int_eq(buf_adds(&text, "{\"execute\":\""), 0);
    at = buf_reserve(&text, (size_t)64 << 20);
    ck_assert_ptr_nonnull(at);
    memset(at, 'x', (size_t)64 << 20);
    text.len += (size_t)64 << 20;
    ck_assert_int_eq(buf_adds(&text, "\"}"), 0);
    check_refused(text.data, "bytes");
    buf_done(&text);
}
END_TEST

START_TEST(running_out_of_memory_appends_nothing)
{
    const char *json = "{\"execute\":\"0123456789012345678901234567890123456789012345678901234567"
                       "89012345678901234567890123456789012345678901234567890123456789\"}";
    unsigned long n = 0;
    int r;

    do {
        buf_done(&body);
        mem_fail_after(++n);
        r = msg_check_command(json, &body, &id, &is_oob, &error);
        mem_fail_after(0);
        ck_assert(r == 0 || r == -ENOMEM);
        ck_assert(r == 0 || body.len == 0);
    } while (r < 0);
#ifdef QBLK_TEST_MEM
    ck_assert_uint_gt(n, 1);
#endif
    ck_assert_int_eq(buf_ok(&body), 0);
}
END_TEST

#ifdef QBLK_TEST_MEM
START_TEST(a_buffer_that_has_failed_stays_so)
{
    struct msg_span none = { NULL, 0 };

    mem_fail_after(1);
    ck_assert_int_lt(buf_addf(&body, "%999d", 0), 0);
    mem_fail_after(0);
    read_ok("{\"return\": {}, \"id\": 7}");
    ck_assert_int_eq(_i == 0 ? msg_without_id(&msg, none, &body)
                             : msg_check_command("{\"execute\":\"stop\"}", &body, &id, &is_oob, &error), -ENOMEM);
    ck_assert_int_lt(buf_ok(&body), 0);
    ck_assert_str_eq(body.data, "~");
}
END_TEST
#endif

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("msg");
    TCase *tc = tcase_create("read");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, a_greeting_tells_version_and_oob);
    tcase_add_test(tc, an_event_tells_its_name);
    tcase_add_loop_test(tc, an_event_name_with_a_nul_is_refused, 1, 70);
    tcase_add_test(tc, a_long_event_name_is_cut_off);
    tcase_add_loop_test(tc, the_id_is_found_and_cut_out_to_the_byte, 0, N_OF(ids));
    tcase_add_test(tc, an_error_tells_class_and_text);
    tcase_add_loop_test(tc, what_is_no_message_is_refused_and_shown, 0, N_OF(refused));
    suite_add_tcase(suite, tc);
    tc = tcase_create("command");
    tcase_add_checked_fixture(tc, body_setup, body_teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_command_comes_apart_into_body_and_id, 0, N_OF(commands));
    tcase_add_loop_test(tc, what_qemus_parser_would_refuse_is_refused, 0, N_OF(bad_commands));
    tcase_add_test(tc, nesting_of_1023_passes_and_1024_does_not);
    tcase_add_test(tc, two_million_tokens_are_refused_and_one_million_pass);
    tcase_add_test(tc, a_command_of_64_mib_is_refused);
    tcase_add_test(tc, running_out_of_memory_appends_nothing);
#ifdef QBLK_TEST_MEM
    tcase_add_loop_test(tc, a_buffer_that_has_failed_stays_so, 0, 2);
#endif
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

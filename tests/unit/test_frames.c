/* Framing: whole messages out of any cut of the bytes, bounded in time and memory. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/frames.h"

#define CAP ((size_t)64 * 1024 * 1024)
#define PAIR \
    " \r\n{\n    \"a\": {\n        \"b\": [\"}{][\\\\\", \"\\\"}\", [{}]]\n    }\n}\r\n" \
    "{\"c\":\"\\\\\\\"{\"}{}"

static struct frames frames;

static void setup(void)
{
    frames_init(&frames, CAP);
}

static void teardown(void)
{
    frames_done(&frames);
}

/* Takes all whole messages, each in <>, appended to out. */
static void drain(struct buf *out)
{
    const char *text;
    size_t len;
    qblk_error error;
    int r;

    while ((r = frames_next(&frames, &text, &len, &error)) > 0) {
        ck_assert_int_eq(buf_addc(out, '<'), 0);
        ck_assert_int_eq(buf_add(out, text, len), 0);
        ck_assert_int_eq(buf_addc(out, '>'), 0);
    }
    ck_assert_int_eq(r, 0);
}

static void feed(const char *data, size_t len)
{
    ck_assert_int_eq(frames_feed(&frames, data, len), 0);
}

/* Feeds text and expects that it ends the stream with a text that contains what. */
static void refused(const char *data, size_t len, const char *what)
{
    const char *text;
    size_t text_len;
    qblk_error error = { .code = QBLK_E_NONE };
    int r;

    feed(data, len);
    while ((r = frames_next(&frames, &text, &text_len, &error)) > 0)
        ;
    ck_assert_int_eq(r, -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    ck_assert_msg(strstr(error.text, what) != NULL, "\"%s\" lacks \"%s\"", error.text, what);
}

START_TEST(every_split_offset_gives_the_same_messages)
{
    const char *text = PAIR;
    struct buf whole = BUF_INIT, out = BUF_INIT;

    feed(text, strlen(text));
    drain(&whole);
    ck_assert_ptr_nonnull(strstr(whole.data, "><{\"c\":\"\\\\\\\"{\"}><{}>"));
    for (size_t i = 0; i <= strlen(text); i++) {
        teardown();
        setup();
        buf_reset(&out);
        feed(text, i);
        drain(&out);
        feed(text + i, strlen(text) - i);
        drain(&out);
        ck_assert_str_eq(out.data, whole.data);
        ck_assert(!frames_is_partial(&frames));
    }
    buf_done(&out);
    buf_done(&whole);
}
END_TEST

START_TEST(single_bytes_give_the_same_messages)
{
    const char *text = PAIR;
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < strlen(text); i++) {
        feed(text + i, 1);
        drain(&out);
    }
    ck_assert_ptr_nonnull(strstr(out.data, "<{\n    \"a\""));
    ck_assert_ptr_nonnull(strstr(out.data, "    }\n}><{\"c\":\"\\\\\\\"{\"}><{}>"));
    buf_done(&out);
}
END_TEST

START_TEST(half_a_message_is_kept_and_said_to_be_partial)
{
    const char *text;
    size_t len;

    ck_assert(!frames_is_partial(&frames));
    feed("{\"return\": [1, \"x", 16);
    ck_assert_int_eq(frames_next(&frames, &text, &len, NULL), 0);
    ck_assert(frames_is_partial(&frames));
    feed("\"]}", 3);
    ck_assert_int_eq(frames_next(&frames, &text, &len, NULL), 1);
    ck_assert_uint_eq(len, 19);
    ck_assert(!frames_is_partial(&frames));
}
END_TEST

/* One line of the given size, in reads of at most piece bytes; returns how many reads it took. */
static unsigned long feed_long(size_t size, size_t piece)
{
    static const char head[] = "{\"return\": [", entry[] = "{\"name\": \"}\\\"{\", \"n\": 1},";
    struct buf text = BUF_INIT;
    unsigned long reads = 0;
    size_t space, at = 0, len;
    const char *message;
    void *to;

    ck_assert_int_eq(buf_adds(&text, head), 0);
    while (text.len < size)
        ck_assert_int_eq(buf_adds(&text, entry), 0);
    ck_assert_int_eq(buf_adds(&text, "0], \"id\": 1}\r\n"), 0);
    while (at < text.len) {
        ck_assert_int_eq(frames_next(&frames, &message, &len, NULL), 0);
        to = frames_space(&frames, &space);
        ck_assert_ptr_nonnull(to);
        ck_assert_uint_gt(space, 0);
        space = space < piece ? space : piece;
        space = space < text.len - at ? space : text.len - at;
        memcpy(to, text.data + at, space);
        frames_fed(&frames, space);
        at += space;
        reads++;
    }
    ck_assert_int_eq(frames_next(&frames, &message, &len, NULL), 1);
    ck_assert_uint_eq(len, text.len - 2);
    ck_assert_mem_eq(message, text.data, len);
    buf_done(&text);
    return reads;
}

START_TEST(a_schema_reply_of_250_kb_on_one_line_comes_whole)
{
    feed_long(250000, 65536);
}
END_TEST

START_TEST(a_message_of_32_mib_comes_whole_in_few_reads)
{
    ck_assert_uint_lt(feed_long((size_t)32 << 20, 212992), 200);
}
END_TEST

START_TEST(first_reads_are_small)
{
    size_t space;

    ck_assert_ptr_nonnull(frames_space(&frames, &space));
    ck_assert_uint_le(space, 4096);
    ck_assert_uint_ge(space, 1024);
}
END_TEST

START_TEST(nothing_is_held_when_idle)
{
    struct buf out = BUF_INIT;
    size_t space;

    ck_assert_ptr_null(frames.buf.data);
    feed("{}\r\n", 4);
    drain(&out);
    ck_assert_ptr_null(frames.buf.data);
    ck_assert_ptr_nonnull(frames_space(&frames, &space));
    frames_fed(&frames, 0);
    ck_assert_ptr_null(frames.buf.data);
    buf_done(&out);
}
END_TEST

START_TEST(memory_shrinks_after_a_large_message_with_a_small_tail)
{
    struct buf out = BUF_INIT;
    const char *text;
    size_t len;

    feed_long((size_t)4 << 20, 100000);
    feed("{\"part", 6);
    ck_assert_int_eq(frames_next(&frames, &text, &len, NULL), 0);
    ck_assert_uint_le(frames.buf.room, 16384);
    feed("\":1}", 4);
    drain(&out);
    ck_assert_str_eq(out.data, "<{\"part\":1}>");
    buf_done(&out);
}
END_TEST

START_TEST(taking_a_message_moves_no_bytes)
{
    enum { N = 100000 };
    struct buf text = BUF_INIT;
    const char *data, *message;
    size_t len, total;

    for (int i = 0; i < N; i++)
        ck_assert_int_eq(buf_adds(&text, "{\"n\":1}\r\n"), 0);
    feed(text.data, text.len);
    data = frames.buf.data;
    total = frames.buf.len;
    for (size_t i = 0; i < N; i++) {
        ck_assert_int_eq(frames_next(&frames, &message, &len, NULL), 1);
        ck_assert_ptr_eq(message, data + i * 9);
        ck_assert_uint_eq(frames.buf.len, total);
    }
    ck_assert_int_eq(frames_next(&frames, &message, &len, NULL), 0);
    ck_assert_ptr_null(frames.buf.data);
    buf_done(&text);
}
END_TEST

START_TEST(a_part_is_scanned_only_once)
{
    const char *text;
    size_t len;

    feed("{\"a\":\"xxxxxxxx", 14);
    ck_assert_int_eq(frames_next(&frames, &text, &len, NULL), 0);
    ck_assert_uint_eq(frames.scan, 14);
    /* Spoiling what was looked at is not noticed. */
    frames.buf.data[3] = '}';
    feed("\"}", 2);
    ck_assert_int_eq(frames_next(&frames, &text, &len, NULL), 1);
    ck_assert_uint_eq(len, 16);
}
END_TEST

START_TEST(the_cap_is_the_largest_message_accepted)
{
    teardown();
    frames_init(&frames, 10);
    struct buf out = BUF_INIT;
    feed("  {\"a\":1234}\r\n", 14);
    drain(&out);
    ck_assert_str_eq(out.data, "<{\"a\":1234}>");
    buf_done(&out);
    refused("{\"a\":12345}", 11, "more than 10 bytes");
}
END_TEST

START_TEST(a_message_above_the_cap_is_refused_before_its_end)
{
    teardown();
    frames_init(&frames, 10);
    refused("{\"a\":\"123456", 12, "more than 10 bytes");
}
END_TEST

START_TEST(nesting_up_to_the_limit_is_accepted)
{
    struct buf text = BUF_INIT, out = BUF_INIT;

    ck_assert_int_eq(buf_adds(&text, "{\"a\":"), 0);
    for (int i = 1; i < FRAMES_MAX_DEPTH; i++)
        ck_assert_int_eq(buf_addc(&text, '['), 0);
    for (int i = 1; i < FRAMES_MAX_DEPTH; i++)
        ck_assert_int_eq(buf_addc(&text, ']'), 0);
    ck_assert_int_eq(buf_addc(&text, '}'), 0);
    feed(text.data, text.len);
    drain(&out);
    ck_assert_uint_eq(out.len, text.len + 2);
    buf_done(&text);
    buf_done(&out);
}
END_TEST

START_TEST(nesting_of_10000_is_refused)
{
    struct buf text = BUF_INIT;

    for (int i = 0; i < 10000; i++)
        ck_assert_int_eq(buf_adds(&text, i % 2 ? "[" : "{\"a\":"), 0);
    refused(text.data, text.len, "nested too deeply");
    buf_done(&text);
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    const char *what;
} garbage[] = {
    { "QEMU 7.2.22 monitor - type 'help' for more information\r\n", 56,
      "\"QEMU 7.2.22 monitor - type 'help' for mo...\"" },
    { "SSH-2.0-OpenSSH_9.2p1\r\n", 23, "\"SSH-2.0-OpenSSH_9.2p1\\x0d\\x0a\"" },
    { "[]", 2, "\"[]\"" },
    { "\0\0\0\0", 4, "\"\\x00\\x00\\x00\\x00\"" },
    { "\xef\xbb\xbf{}", 5, "\"\\xef\\xbb\\xbf{}\"" },
    { "{}x", 3, "instead of a message it sent: \"x\"" },
    { "}", 1, "\"}\"" },
    { "{]", 2, "does not match, here at: \"]\"" },
    { "{\"a\":[}", 7, "does not match, here at: \"}\"" },
    { "{\"a\":[{]", 8, "does not match, here at: \"]\"" },
    { "{\"a\":\0}", 7, "JSON does not have, here at: \"\\x00}\"" },
    { "{\"a\":\xff}", 7, "JSON does not have, here at: \"\\xff}\"" },
    { "{\"a\0", 4, "control character inside a string, here at: \"\\x00\"" },
    { "{\"a\n\"}", 6, "control character inside a string, here at: \"\\x0a" },
    { "{\"a\\\n", 5, "control character inside a string" },
};

START_TEST(garbage_is_refused_and_shown)
{
    refused(garbage[_i].bytes, garbage[_i].len, garbage[_i].what);
}
END_TEST

START_TEST(nothing_comes_after_a_refusal)
{
    refused("x", 1, "\"x\"");
    refused("{}", 2, "cannot be used");
}
END_TEST

START_TEST(messages_before_garbage_still_come)
{
    const char *text;
    size_t len;
    qblk_error error;

    feed("{}{\"a\":1}\r\ngarbage", 18);
    ck_assert_int_eq(frames_next(&frames, &text, &len, &error), 1);
    ck_assert_int_eq(frames_next(&frames, &text, &len, &error), 1);
    ck_assert_int_eq(frames_next(&frames, &text, &len, &error), -EPROTO);
}
END_TEST

START_TEST(running_out_of_memory_loses_no_byte)
{
    struct buf text = BUF_INIT, whole = BUF_INIT, out = BUF_INIT;
    unsigned long failures = 0;

    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(
            buf_addf(&text, "{\"n\":%d,\"x\":\"%0*d\"}\r\n", i, i * 7 % 2000 + 1, i), 0);
    feed(text.data, text.len);
    drain(&whole);
    for (unsigned long n = 1; n < 40; n++) {
        size_t at = 0, space, reads = 0;

        teardown();
        setup();
        buf_reset(&out);
        ck_assert_ptr_nonnull(buf_reserve(&out, whole.len));
        mem_fail_after(n);
        while (at < text.len) {
            void *to = frames_space(&frames, &space);

            if (to == NULL) {
                mem_fail_after(0);
                failures++;
                continue;
            }
            space = space < 700 ? space : 700;
            space = space < text.len - at ? space : text.len - at;
            memcpy(to, text.data + at, space);
            frames_fed(&frames, space);
            at += space;
            /* Between two such the buffer grows. */
            if (++reads % 64 == 0)
                drain(&out);
        }
        drain(&out);
        mem_fail_after(0);
        ck_assert_uint_eq(out.len, whole.len);
        ck_assert_mem_eq(out.data, whole.data, whole.len);
    }
#ifdef QBLK_TEST_MEM
    ck_assert_uint_gt(failures, 3);
#endif
    buf_done(&text);
    buf_done(&whole);
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frames");
    TCase *tc = tcase_create("frames");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_split_offset_gives_the_same_messages);
    tcase_add_test(tc, single_bytes_give_the_same_messages);
    tcase_add_test(tc, half_a_message_is_kept_and_said_to_be_partial);
    tcase_add_test(tc, a_schema_reply_of_250_kb_on_one_line_comes_whole);
    tcase_add_test(tc, a_message_of_32_mib_comes_whole_in_few_reads);
    tcase_add_test(tc, first_reads_are_small);
    tcase_add_test(tc, nothing_is_held_when_idle);
    tcase_add_test(tc, memory_shrinks_after_a_large_message_with_a_small_tail);
    tcase_add_test(tc, taking_a_message_moves_no_bytes);
    tcase_add_test(tc, a_part_is_scanned_only_once);
    tcase_add_test(tc, the_cap_is_the_largest_message_accepted);
    tcase_add_test(tc, a_message_above_the_cap_is_refused_before_its_end);
    tcase_add_test(tc, nesting_up_to_the_limit_is_accepted);
    tcase_add_test(tc, nesting_of_10000_is_refused);
    tcase_add_loop_test(tc, garbage_is_refused_and_shown, 0,
                        (int)(sizeof(garbage) / sizeof(garbage[0])));
    tcase_add_test(tc, nothing_comes_after_a_refusal);
    tcase_add_test(tc, messages_before_garbage_still_come);
    tcase_add_test(tc, running_out_of_memory_loses_no_byte);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

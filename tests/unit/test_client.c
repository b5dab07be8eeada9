/* The client's side of a conversation: every command gets one end, whatever the peer does. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fake/qmp_server.h"
#include "../starve/case.h"
#include "base/err.h"
#include "base/mem.h"
#include "qmp/client.h"
#include "wire/frames.h"
#include "wire/unixsock.h"

#define GREETING \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2, \"major\": 7}}, " \
    "\"capabilities\": [\"oob\"]}}"
#define CAPS "{\"execute\":\"qmp_capabilities\",\"id\":\"qblk-c0ffee\"}"
#define CAPS_OOB "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}," \
                 "\"id\":\"qblk-c0ffee\"}"
#define CAPS_REPLY "{\"return\": {}, \"id\": \"qblk-c0ffee\"}"

static struct client client;
static struct buf out;    /* what was written, a newline after each write */
static struct buf heard;  /* replies, errors, events, in order */
static struct buf logged;
static qblk_error error;
static int write_error;   /* the next writes fail with it */
static int last_fd;       /* of the last write */
static int n_ready;
static int socket_fd;     /* where writes go instead, if >= 0 */
static void (*on_heard)(void);

static int fake_write(void *arg, const char *data, size_t len, int fd, qblk_error *why)
{
    ck_assert_ptr_eq(arg, &out);
    if (write_error != 0)
        return err_sys(why, write_error, "write");
    last_fd = fd;
    if (socket_fd >= 0) {
        ck_assert_int_eq(unixsock_send(socket_fd, data, len, fd), (long)len);
        return 0;
    }
    /* In the tests that run out of memory nothing is recorded. */
    (void)buf_add(&out, data, len);
    (void)buf_addc(&out, '\n');
    return 0;
}

static void fake_ready(void *arg)
{
    ck_assert_ptr_eq(arg, &out);
    n_ready++;
    (void)buf_adds(&heard, "READY ");
    if (on_heard != NULL)
        on_heard();
}

static void fake_event(void *arg, const char *name, const char *text, size_t len)
{
    ck_assert_ptr_eq(arg, &out);
    ck_assert_uint_eq(strlen(text), len);
    (void)buf_addf(&heard, "E:%s ", name);
    if (on_heard != NULL)
        on_heard();
    /* The text outlives what the callback does with the client. */
    ck_assert_ptr_nonnull(strstr(text, name));
}

static const struct client_ops fake_ops = { fake_write, fake_ready, fake_event };

/* arg is a letter in a string. */
static void on_reply(void *arg, const char *reply, const qblk_error *why)
{
    const char *name = arg;

    ck_assert((reply != NULL) != (why != NULL));
    if (reply != NULL)
        (void)buf_addf(&heard, "%s=%s ", name, reply);
    else
        (void)buf_addf(&heard, "%s!%s ", name, qblk_error_code_name(why->code));
    if (on_heard != NULL)
        on_heard();
}

static void on_log(qblk_log_level level, const char *text, void *arg)
{
    (void)arg;
    (void)buf_addf(&logged, "%d %s\n", (int)level, text);
}

static const struct log log_to = { on_log, NULL };

static void start(bool want_oob)
{
    client_done(&client);
    client_init(&client, &fake_ops, &out, &log_to, "qblk-c0ffee", want_oob);
}

static void setup(void)
{
    buf_init(&out);
    buf_init(&heard);
    buf_init(&logged);
    write_error = n_ready = 0;
    last_fd = socket_fd = -1;
    on_heard = NULL;
    client_init(&client, &fake_ops, &out, &log_to, "qblk-c0ffee", false);
}

static void teardown(void)
{
    client_done(&client);
    buf_done(&out);
    buf_done(&heard);
    buf_done(&logged);
}

static void say(const char *text)
{
    int r = client_message(&client, text, strlen(text), &error);

    ck_assert_msg(r == 0, "%s: %s", text, error.text);
}

/* The peer's message ends the conversation with that code. */
static void say_bad(const char *text, qblk_error_code code, const char *what)
{
    memset(&error, 0, sizeof(error));
    ck_assert_int_eq(client_message(&client, text, strlen(text), &error), -EPROTO);
    ck_assert_int_eq(error.code, code);
    ck_assert_msg(strstr(error.text, what) != NULL, "\"%s\" lacks \"%s\"", error.text, what);
}

static void written(const char *text)
{
    ck_assert_str_eq(out.data != NULL ? out.data : "", text);
    buf_reset(&out);
}

static void hears(const char *text)
{
    ck_assert_str_eq(heard.data != NULL ? heard.data : "", text);
    buf_reset(&heard);
}

static void logs(const char *text)
{
    ck_assert_ptr_nonnull(strstr(logged.data != NULL ? logged.data : "", text));
}

static void ready(bool want_oob)
{
    start(want_oob);
    say(GREETING);
    say(CAPS_REPLY);
    ck_assert_int_eq(client.state, CLIENT_READY);
    buf_reset(&out);
    buf_reset(&heard);
}

static char *letter(const char *name)
{
    static char names[26][2];
    char *text = names[(*name - 'a') % 26];

    text[0] = *name;
    return text;
}

static uint32_t submit_as(const char *body, const char *name, const char *user_id, bool is_oob,
                          int fd)
{
    struct msg_span id = { user_id, strlen(user_id) };
    uint32_t token = 0;
    int r = client_submit(&client, body, strlen(body), id, is_oob, fd, on_reply, letter(name),
                          &token, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_uint_ne(token, 0);
    return token;
}

static uint32_t submit(const char *name)
{
    return submit_as("{\"execute\":\"x\"", name, "", false, -1);
}

static void hangup(void)
{
    qblk_error why;

    (void)err_set(&why, QBLK_E_LOST, "gone");
    client_hangup(&client, &why);
}

/* ---- greeting and negotiation ------------------------------------------------------------- */

START_TEST(a_greeting_is_answered_with_capabilities)
{
    ck_assert_int_eq(client.state, CLIENT_GREETING);
    say(GREETING);
    ck_assert_int_eq(client.state, CLIENT_NEGOTIATING);
    ck_assert_uint_eq(client.version, 7002001);
    written(CAPS "\n");
    ck_assert_int_eq(n_ready, 0);
    say(CAPS_REPLY);
    ck_assert_int_eq(client.state, CLIENT_READY);
    ck_assert(!client.has_oob);
    hears("READY ");
}
END_TEST

START_TEST(oob_is_enabled_only_where_asked_for_and_offered)
{
    start(true);
    say(GREETING);
    written(CAPS_OOB "\n");
    ck_assert(client.has_oob);
    start(true);
    say("{\"QMP\": {\"version\": {}, \"capabilities\": []}}");
    written(CAPS "\n");
    ck_assert(!client.has_oob);
}
END_TEST

static const char *const no_greetings[] = {
    "{\"hello\": \"world\"}",
    "{]",
};

/* As seen from QEMU 7.2 after a client that ended in mid-command. */
static const char *const leftovers[] = {
    "{\"return\": {}, \"id\": 7}",
    "{\"event\": \"STOP\"}",
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}",
    "{\"return\": []}",
};

START_TEST(what_an_earlier_client_left_before_the_greeting_is_dropped)
{
    submit("a");
    say(leftovers[_i]);
    ck_assert_int_eq(client.state, CLIENT_GREETING);
    hears("");
    say(GREETING);
    written(CAPS "\n");
    hangup();
    hears("a!lost ");
}
END_TEST

START_TEST(a_first_message_that_is_no_greeting_is_not_qmp)
{
    submit("a");
    say_bad(no_greetings[_i], QBLK_E_NOT_QMP, no_greetings[_i]);
    hangup();
    hears("a!lost ");
}
END_TEST

START_TEST(bad_bytes_before_the_greeting_are_not_qmp)
{
    (void)err_set(&error, QBLK_E_PROTOCOL, "it sent: \"SSH-2.0\"");
    ck_assert_int_eq(client_bad_bytes(&client, &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_NOT_QMP);
    ck_assert_str_eq(error.text, "it sent: \"SSH-2.0\"");
    say(GREETING);
    (void)err_set(&error, QBLK_E_PROTOCOL, "x");
    ck_assert_int_eq(client_bad_bytes(&client, &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
}
END_TEST

START_TEST(what_an_earlier_client_asked_for_is_dropped_while_negotiating)
{
    submit("a");
    say(GREETING);
    written(CAPS "\n");
    say("{\"return\": \"old\", \"id\": \"a1\"}");
    say("{\"return\": \"old\", \"id\": 1}");
    say("{\"return\": \"old\", \"id\": \"qblk-c0ffe\"}");
    say("{\"return\": {}}");
    say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}");
    say("{\"event\": \"STOP\"}");
    ck_assert_int_eq(client.state, CLIENT_NEGOTIATING);
    hears("");
    logs("1 client: dropped what was not for us: {\"return\": \"old\", \"id\": \"a1\"}");
    say(CAPS_REPLY);
    hears("READY ");
    written("{\"execute\":\"x\",\"id\":1}\n");
}
END_TEST

START_TEST(refused_capabilities_are_a_protocol_error)
{
    say(GREETING);
    say_bad("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"negotiated already\"}, "
            "\"id\": \"qblk-c0ffee\"}", QBLK_E_PROTOCOL, "negotiated already");
}
END_TEST

START_TEST(a_second_greeting_is_a_protocol_error)
{
    say(GREETING);
    say_bad(GREETING, QBLK_E_PROTOCOL, "greeted again");
    ready(false);
    say_bad(GREETING, QBLK_E_PROTOCOL, "greeted again");
}
END_TEST

START_TEST(a_greeting_that_cannot_be_answered_is_an_error)
{
    write_error = EPIPE;
    ck_assert_int_eq(client_message(&client, GREETING, strlen(GREETING), &error), -EPIPE);
}
END_TEST

/* ---- commands and replies ----------------------------------------------------------------- */

START_TEST(commands_before_ready_are_held_and_written_in_order)
{
    submit("a");
    ck_assert_uint_eq(client.held_bytes, 14);
    say(GREETING);
    written(CAPS "\n");
    submit_as("{\"execute\":\"y\"", "b", "", false, -1);
    written("");
    say(CAPS_REPLY);
    written("{\"execute\":\"x\",\"id\":1}\n{\"execute\":\"y\",\"id\":2}\n");
    ck_assert_uint_eq(client.held_bytes, 0);
    say("{\"return\": 1, \"id\": 1}");
    say("{\"return\": 2, \"id\": 2}");
    hears("READY a={\"return\": 1} b={\"return\": 2} ");
}
END_TEST

static void submit_once(void)
{
    on_heard = NULL;
    submit_as("{\"execute\":\"late\"", "z", "", false, -1);
}

START_TEST(what_ready_submits_comes_after_what_was_held)
{
    submit("a");
    on_heard = submit_once;
    say(GREETING);
    buf_reset(&out);
    say(CAPS_REPLY);
    written("{\"execute\":\"x\",\"id\":1}\n{\"execute\":\"late\",\"id\":2}\n");
}
END_TEST

START_TEST(replies_find_their_command_in_any_order)
{
    ready(false);
    submit("a");
    submit("b");
    submit("c");
    say("{\"id\": 3, \"return\": 3}");
    say("{\"id\": 1, \"error\": {\"class\": \"C\", \"desc\": \"d\"}}");
    say("{\"return\": 18446744073709551615, \"id\": 2}");
    hears("c={\"return\": 3} a={\"error\": {\"class\": \"C\", \"desc\": \"d\"}} "
          "b={\"return\": 18446744073709551615} ");
}
END_TEST

START_TEST(the_users_id_comes_back)
{
    ready(false);
    submit_as("{\"execute\":\"x\"", "a", "{\"n\": [1]}", false, -1);
    written("{\"execute\":\"x\",\"id\":1}\n");
    say("{\"return\": {}, \"id\": 1}");
    hears("a={\"return\": {}, \"id\": {\"n\": [1]}} ");
}
END_TEST

START_TEST(a_body_without_members_and_a_newline_are_written_right)
{
    ready(false);
    submit_as("{", "a", "", false, -1);
    submit_as("{\"execute\":\"x\"\r\n", "b", "", false, -1);
    submit_as("{ ", "c", "", false, -1);
    written("{\"id\":1}\n{\"execute\":\"x\",\"id\":2}\n{\"id\":3}\n");
}
END_TEST

static const char *const unknown_ids[] = {
    "2", "0", "-1", "1.0", "\"1\"", "null", "[1]", "4294967297", "18446744073709551615",
    "true", "\"qblk-c0ffee\"",
};

START_TEST(a_reply_with_an_unknown_id_is_dropped_and_logged)
{
    char text[100];

    ready(false);
    submit("a");
    (void)snprintf(text, sizeof(text), "{\"return\": 5, \"id\": %s}", unknown_ids[_i]);
    say(text);
    hears("");
    logs("1 client: dropped a reply with an unknown id: {\"return\": 5");
    say("{\"return\": 1, \"id\": 1}");
    hears("a={\"return\": 1} ");
}
END_TEST

START_TEST(a_second_reply_to_an_id_is_dropped)
{
    ready(false);
    submit("a");
    say("{\"return\": 1, \"id\": 1}");
    say("{\"return\": 1, \"id\": 1}");
    hears("a={\"return\": 1} ");
    logs("unknown id");
}
END_TEST

START_TEST(an_error_without_id_ends_the_oldest_command_once)
{
    const char *nameless = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}}";

    ready(false);
    say(nameless);
    submit("a");
    submit("b");
    submit("c");
    say(nameless);
    say(nameless);
    hears("a={\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}} ");
    say("{\"return\": 2, \"id\": 2}");
    say(nameless);
    hears("b={\"return\": 2} c={\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}} ");
}
END_TEST

START_TEST(a_return_without_id_is_dropped)
{
    ready(false);
    submit("a");
    say("{\"return\": {}}");
    hears("");
    logs("dropped a reply without id");
}
END_TEST

START_TEST(the_reply_to_an_abandoned_command_is_dropped)
{
    uint32_t token;

    ready(false);
    token = submit("a");
    submit("b");
    client_abandon(&client, token);
    client_abandon(&client, 77);
    say("{\"return\": 1, \"id\": 1}");
    say("{\"return\": 2, \"id\": 2}");
    hears("b={\"return\": 2} ");
    logs("abandoned");
    client_abandon(&client, token);
}
END_TEST

START_TEST(an_abandoned_command_that_was_held_is_never_written)
{
    uint32_t token = submit("a");

    submit("b");
    client_abandon(&client, token);
    say(GREETING);
    say(CAPS_REPLY);
    written(CAPS "\n{\"execute\":\"x\",\"id\":2}\n");
    ck_assert_uint_eq(client.held_bytes, 0);
}
END_TEST

START_TEST(ids_in_use_are_skipped_when_numbers_begin_anew)
{
    ready(false);
    for (int i = 0; i < 10; i++)
        submit("a"); /* 1 to 9, and 10 */
    buf_reset(&out);
    client.next_id = UINT32_MAX;
    submit("c");
    client.next_id = 10;
    submit("d");
    written("{\"execute\":\"x\",\"id\":4294967295}\n{\"execute\":\"x\",\"id\":11}\n");
    say("{\"return\": 1, \"id\": 4294967295}");
    hears("c={\"return\": 1} ");
}
END_TEST

START_TEST(ids_of_one_digit_go_round)
{
    ready(false);
    submit("a");
    for (int i = 2; i <= 9; i++) {
        char reply[64];

        submit("b");
        (void)snprintf(reply, sizeof(reply), "{\"return\": %d, \"id\": %d}", i, i);
        say(reply);
    }
    buf_reset(&out);
    submit("c"); /* 1 is not free: its reply has not come */
    written("{\"execute\":\"x\",\"id\":2}\n");
}
END_TEST

START_TEST(the_id_of_an_abandoned_command_is_not_used_again_before_its_reply)
{
    uint32_t token;

    ready(false);
    token = submit("a");
    client_abandon(&client, token);
    for (int i = 0; i < 8; i++)
        submit("b");
    buf_reset(&out);
    submit("c");
    written("{\"execute\":\"x\",\"id\":10}\n");
    say("{\"return\": 1, \"id\": 1}");
    buf_reset(&out);
    submit("d");
    written("{\"execute\":\"x\",\"id\":1}\n");
}
END_TEST

START_TEST(after_an_error_without_id_no_id_is_used_twice)
{
    ready(false);
    submit("a");
    say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}");
    buf_reset(&out);
    submit("b");
    written("{\"execute\":\"x\",\"id\":10}\n");
}
END_TEST

START_TEST(a_command_that_cannot_be_written_is_refused)
{
    struct msg_span none = { NULL, 0 };
    uint32_t token;

    ready(false);
    write_error = EMSGSIZE;
    ck_assert_int_eq(client_submit(&client, "{", 1, none, false, -1, on_reply, letter("a"), &token,
                                   &error), -EMSGSIZE);
    hangup();
    hears("");
}
END_TEST

START_TEST(a_held_command_that_cannot_be_written_hears_so)
{
    submit("a");
    submit("b");
    say(GREETING);
    write_error = EMSGSIZE;
    say(CAPS_REPLY);
    hears("READY a!system b!system ");
    hangup();
    hears("");
}
END_TEST

START_TEST(a_held_command_keeps_a_copy_of_its_descriptor)
{
    int fds[2], copy, seen;

    ck_assert_int_eq(pipe(fds), 0);
    submit_as("{\"execute\":\"getfd\"", "a", "", false, fds[1]);
    close(fds[1]);
    say(GREETING);
    ck_assert_int_eq(last_fd, -1);
    say(CAPS_REPLY);
    ck_assert_int_gt(last_fd, 2);
    copy = last_fd;
    /* After the write it is closed, so that the pipe has no writer left. */
    seen = fcntl(copy, F_GETFD);
    ck_assert_int_eq(seen, -1);
    ck_assert_int_eq((int)read(fds[0], &seen, 1), 0);
    close(fds[0]);
}
END_TEST

START_TEST(a_bad_descriptor_is_refused)
{
    struct msg_span none = { NULL, 0 };
    uint32_t token;

    ck_assert_int_eq(client_submit(&client, "{", 1, none, false, 9999, on_reply, letter("a"),
                                   &token, &error), -EBADF);
    ck_assert_uint_eq(client.held_bytes, 0);
    hangup();
    hears("");
}
END_TEST

/* ---- out of band -------------------------------------------------------------------------- */

static int writes(void)
{
    int n = 0;

    for (size_t i = 0; i < out.len; i++)
        n += out.data[i] == '\n';
    return n;
}

START_TEST(with_oob_no_more_than_eight_are_in_flight)
{
    enum { N = 1000 };
    char text[64];
    int answered = 0;

    ready(true);
    for (int i = 0; i < N; i++)
        submit("a");
    while (answered < N) {
        ck_assert_int_le(writes(), answered + CLIENT_OOB_WINDOW);
        ck_assert_int_eq(writes(), answered + CLIENT_OOB_WINDOW < N ? answered + CLIENT_OOB_WINDOW
                                                                    : N);
        (void)snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %d}", ++answered);
        say(text);
    }
    ck_assert_uint_eq(client.in_flight, 0);
}
END_TEST

START_TEST(without_oob_everything_is_written_at_once)
{
    ready(false);
    for (int i = 0; i < 100; i++)
        submit("a");
    ck_assert_int_eq(writes(), 100);
}
END_TEST

START_TEST(an_oob_command_overtakes_a_full_window)
{
    ready(true);
    for (int i = 0; i < CLIENT_OOB_WINDOW + 2; i++)
        submit("a");
    buf_reset(&out);
    submit_as("{\"exec-oob\":\"yank\"", "b", "", true, -1);
    written("{\"exec-oob\":\"yank\",\"id\":11}\n");
    ck_assert_uint_eq(client.in_flight, CLIENT_OOB_WINDOW);
    say("{\"return\": 1, \"id\": 11}");
    hears("b={\"return\": 1} ");
    written("");
}
END_TEST

START_TEST(an_oob_command_held_before_ready_overtakes_too)
{
    static const char first[] = "{\"exec-oob\":\"y\",\"id\":11}\n{\"exec-oob\":\"z\",\"id\":12}\n"
                                "{\"execute\":\"x\",\"id\":1}\n";

    start(true);
    for (int i = 0; i < CLIENT_OOB_WINDOW + 2; i++)
        submit("a");
    submit_as("{\"exec-oob\":\"y\"", "b", "", true, -1);
    submit_as("{\"exec-oob\":\"z\"", "c", "", true, -1);
    say(GREETING);
    buf_reset(&out);
    say(CAPS_REPLY);
    ck_assert_int_eq(writes(), CLIENT_OOB_WINDOW + 2);
    ck_assert_int_eq(strncmp(out.data, first, strlen(first)), 0);
}
END_TEST

START_TEST(an_abandoned_command_keeps_its_place_in_the_window)
{
    uint32_t token;

    ready(true);
    token = submit("a");
    for (int i = 0; i < CLIENT_OOB_WINDOW; i++)
        submit("b");
    client_abandon(&client, token);
    ck_assert_int_eq(writes(), CLIENT_OOB_WINDOW);
    say("{\"return\": 1, \"id\": 1}");
    ck_assert_int_eq(writes(), CLIENT_OOB_WINDOW + 1);
}
END_TEST

START_TEST(an_error_without_id_makes_room_in_the_window)
{
    ready(true);
    for (int i = 0; i < CLIENT_OOB_WINDOW + 1; i++)
        submit("a");
    say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}}");
    ck_assert_int_eq(writes(), CLIENT_OOB_WINDOW + 1);
    ck_assert_uint_eq(client.in_flight, CLIENT_OOB_WINDOW);
}
END_TEST

/* ---- events ------------------------------------------------------------------------------- */

START_TEST(events_come_in_order_with_replies)
{
    ready(false);
    submit("a");
    say("{\"event\": \"ONE\", \"data\": {\"id\": 1}}");
    say("{\"return\": 1, \"id\": 1}");
    say("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"TWO\"}");
    hears("E:ONE a={\"return\": 1} E:TWO ");
}
END_TEST

/* ---- the end, and callbacks that call back ------------------------------------------------ */

START_TEST(a_hangup_tells_every_waiter_once)
{
    ready(true);
    for (int i = 0; i < CLIENT_OOB_WINDOW; i++)
        submit("a");
    submit("b");
    client_abandon(&client, submit("c"));
    client_abandon(&client, 1);
    hangup();
    hears("a!lost a!lost a!lost a!lost a!lost a!lost a!lost b!lost ");
    hangup();
    hears("");
    ck_assert_int_eq(client.state, CLIENT_DEAD);
    say("{\"return\": 1, \"id\": 2}");
    hears("");
}
END_TEST

static void refuse_submit(void)
{
    struct msg_span none = { NULL, 0 };
    uint32_t token;

    ck_assert_int_eq(client_submit(&client, "{", 1, none, false, -1, on_reply, letter("z"), &token,
                                   &error), -ECONNRESET);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
}

START_TEST(nothing_can_be_submitted_after_a_hangup)
{
    ready(false);
    submit("a");
    on_heard = refuse_submit;
    hangup();
    hears("a!lost ");
    refuse_submit();
}
END_TEST

static void abandon_all(void)
{
    for (uint32_t i = 1; i < 5; i++)
        client_abandon(&client, i);
}

START_TEST(a_waiter_may_abandon_others_while_hanging_up)
{
    ready(false);
    submit("a");
    submit("b");
    submit("c");
    on_heard = abandon_all;
    hangup();
    hears("a!lost ");
}
END_TEST

START_TEST(a_hangup_in_a_hangup_changes_nothing)
{
    int n = case_many(100000, 500);

    ready(false);
    for (int i = 0; i < n; i++)
        submit("a");
    buf_reset(&out);
    on_heard = hangup;
    hangup();
    ck_assert_uint_eq(heard.len, (size_t)n * strlen("a!lost "));
}
END_TEST

START_TEST(a_reply_may_hang_up)
{
    ready(false);
    submit("a");
    submit("b");
    on_heard = hangup;
    say("{\"return\": 1, \"id\": 1}");
    hears("a={\"return\": 1} b!lost ");
}
END_TEST

START_TEST(ready_may_hang_up)
{
    submit("a");
    say(GREETING);
    buf_reset(&out);
    on_heard = hangup;
    say(CAPS_REPLY);
    hears("READY a!lost ");
    written("");
}
END_TEST

START_TEST(an_event_may_hang_up)
{
    ready(false);
    submit("a");
    on_heard = hangup;
    say("{\"event\": \"STOP\"}");
    hears("E:STOP a!lost ");
}
END_TEST

START_TEST(an_event_may_submit)
{
    ready(false);
    on_heard = submit_once;
    say("{\"event\": \"STOP\"}");
    written("{\"execute\":\"late\",\"id\":1}\n");
    say("{\"return\": 1, \"id\": 1}");
    hears("E:STOP z={\"return\": 1} ");
}
END_TEST

START_TEST(a_reply_may_submit_behind_what_is_held)
{
    ready(true);
    for (int i = 0; i < CLIENT_OOB_WINDOW + 1; i++)
        submit("a");
    buf_reset(&out);
    on_heard = submit_once;
    say("{\"return\": 1, \"id\": 1}");
    written("{\"execute\":\"x\",\"id\":9}\n");
    say("{\"return\": 1, \"id\": 2}");
    written("{\"execute\":\"late\",\"id\":1}\n");
}
END_TEST

static void abandon_self(void)
{
    client_abandon(&client, 1);
    submit_once();
}

START_TEST(a_reply_may_abandon_itself)
{
    ready(false);
    submit("a");
    buf_reset(&out);
    on_heard = abandon_self;
    say("{\"return\": 1, \"id\": 1}");
    written("{\"execute\":\"late\",\"id\":2}\n");
}
END_TEST

START_TEST(freeing_calls_nobody)
{
    ready(false);
    submit("a");
    client_done(&client);
    hears("");
}
END_TEST

START_TEST(messages_are_logged_in_both_directions)
{
    say(GREETING);
    logs("0 < {\"QMP\"");
    logs("0 > {\"execute\":\"qmp_capabilities\"");
    logs("1 client: greeting -> negotiating");
    say(CAPS_REPLY);
    logs("1 client: negotiating -> ready");
}
END_TEST

/* A conversation in which any step may find no memory; returns whether one did. */
static bool scarce_talk(unsigned long n, int *ret_ends)
{
    static const char *const script[] = {
        GREETING, "{\"return\": 0, \"id\": \"stale\"}", CAPS_REPLY, "{\"event\": \"STOP\"}",
        "{\"return\": 1, \"id\": 1}", "{\"error\": {\"class\": \"C\", \"desc\": \"d\"}}",
    };
    struct msg_span user_id = { "\"mine\"", 6 };
    uint32_t token;
    bool failed = false;
    int accepted = 0;

    start(true);
    /* What the tests themselves write down must not need memory. */
    buf_reset(&heard);
    buf_reset(&logged);
    buf_reset(&out);
    mem_fail_after(n);
    for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
        int r = client_submit(&client, "{\"execute\":\"x\"", 14, user_id, false, -1, on_reply,
                              letter("a"), &token, &error);

        ck_assert(r == 0 || error.code == QBLK_E_MEMORY);
        accepted += r == 0;
        failed = failed || r < 0;
        r = client_message(&client, script[i], strlen(script[i]), &error);
        if (r < 0) {
            ck_assert_msg(error.code == QBLK_E_MEMORY, "%s", error.text);
            failed = true;
            break;
        }
    }
    hangup();
    mem_fail_after(0);
    *ret_ends = accepted;
    return failed || strstr(heard.data, "memory") != NULL;
}

START_TEST(running_out_of_memory_still_ends_every_command_once)
{
    unsigned long n = 0;
    bool failed;
    int accepted;

    ck_assert_ptr_nonnull(buf_reserve(&heard, 65536));
    ck_assert_ptr_nonnull(buf_reserve(&logged, 65536));
    ck_assert_ptr_nonnull(buf_reserve(&out, 65536));
    do {
        int ends = 0;

        failed = scarce_talk(++n, &accepted);
        for (const char *at = heard.data; (at = strchr(at, 'a')) != NULL; at++)
            ends += at[1] == '=' || at[1] == '!';
        ck_assert_int_eq(ends, accepted);
        ck_assert_int_eq(heard.failed, 0);
    } while (failed);
#ifdef QBLK_TEST_MEM
    ck_assert_uint_gt(n, 5);
#endif
    ck_assert_int_eq(accepted, 6);
}
END_TEST

/* ---- against a scripted peer -------------------------------------------------------------- */

/* Reads and handles until the peer is gone or, if until is not NULL, heard contains it. */
static void talk(struct frames *frames, const char *until)
{
    struct pollfd one = { .fd = socket_fd, .events = POLLIN };
    const char *text;
    size_t len, space;
    long n = 1;

    while (n != 0 && (until == NULL || heard.data == NULL || !strstr(heard.data, until))) {
        void *to = frames_space(frames, &space);

        ck_assert_int_eq(poll(&one, 1, 20000), 1);
        n = unixsock_recv(socket_fd, to, space);
        ck_assert_int_ge(n, 0);
        frames_fed(frames, (size_t)n);
        while (frames_next(frames, &text, &len, &error) > 0)
            ck_assert_int_eq(client_message(&client, text, len, &error), 0);
    }
}

/* One that was not asked what it expects waits for the end of the connection. */
static void server_ends(pid_t pid, int status)
{
    close(socket_fd);
    ck_assert_int_eq(qmp_server_wait(pid), status);
}

START_TEST(a_whole_conversation_survives_any_cut)
{
    char script[1024];
    struct frames frames;
    pid_t pid;
    int fds[2];

    (void)snprintf(script, sizeof(script),
                   "! split %d\n"
                   "<caps {\"execute\": \"qmp_capabilities\"}\n"
                   "> {\"return\": \"stale\", \"id\": 1}\n"
                   "> {\"return\": {}, \"id\": $idcaps}\n"
                   "<a {\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"}\"}}\n"
                   "! fds 1\n"
                   "<b {\"execute\": \"x\"}\n"
                   "! fds 0\n"
                   ">> {\\n  \"event\": \"ONE\"\\r\\n}\\r\\n\n"
                   "> {\"id\": $idb, \"return\": \"\\\\\\\"}\"}{\"event\":\"TWO\"}\n"
                   "> {\"return\": {}, \"id\": $ida}\n"
                   "! quiet\n"
                   "! hup\n", _i);
    ck_assert_int_eq(pipe(fds), 0);
    socket_fd = qmp_server_pair(script, &pid);
    frames_init(&frames, 1 << 20);
    submit_as("{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"}\"}", "a", "", false, fds[0]);
    submit("b");
    talk(&frames, NULL);
    server_ends(pid, 0);
    hears("READY E:ONE b={\"return\": \"\\\\\\\"}\"} E:TWO a={\"return\": {}} ");
    hangup();
    hears("");
    frames_done(&frames);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(a_peer_that_ends_in_mid_message_leaves_a_part)
{
    struct frames frames;
    pid_t pid;

    socket_fd = qmp_server_pair("! negotiate\n< {\"execute\": \"x\"}\n>> {\"return\": {\n! hup\n",
                                &pid);
    frames_init(&frames, 1 << 20);
    submit("a");
    talk(&frames, NULL);
    ck_assert(frames_is_partial(&frames));
    hangup();
    hears("READY a!lost ");
    server_ends(pid, 0);
    frames_done(&frames);
}
END_TEST

START_TEST(the_scripted_peer_notices_a_wrong_message)
{
    struct frames frames;
    pid_t pid;

    /* Its complaint is not for whoever reads the test's output. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), keep = dup(2);

    ck_assert_int_ge(dup2(null, 2), 0);
    socket_fd = qmp_server_pair("! negotiate\n< {\"execute\": \"y\"}\n", &pid);
    frames_init(&frames, 1 << 20);
    submit("a");
    talk(&frames, NULL);
    server_ends(pid, 1);
    ck_assert_int_ge(dup2(keep, 2), 0);
    close(keep);
    close(null);
    frames_done(&frames);
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static TCase *handshake_case(void)
{
    TCase *tc = tcase_create("handshake");

    tcase_add_test(tc, a_greeting_is_answered_with_capabilities);
    tcase_add_test(tc, oob_is_enabled_only_where_asked_for_and_offered);
    tcase_add_loop_test(tc, what_an_earlier_client_left_before_the_greeting_is_dropped, 0,
                        N_OF(leftovers));
    tcase_add_loop_test(tc, a_first_message_that_is_no_greeting_is_not_qmp, 0, N_OF(no_greetings));
    tcase_add_test(tc, bad_bytes_before_the_greeting_are_not_qmp);
    tcase_add_test(tc, what_an_earlier_client_asked_for_is_dropped_while_negotiating);
    tcase_add_test(tc, refused_capabilities_are_a_protocol_error);
    tcase_add_test(tc, a_second_greeting_is_a_protocol_error);
    tcase_add_test(tc, a_greeting_that_cannot_be_answered_is_an_error);
    tcase_add_test(tc, messages_are_logged_in_both_directions);
    return tc;
}

static TCase *replies_case(void)
{
    TCase *tc = tcase_create("replies");

    tcase_add_test(tc, commands_before_ready_are_held_and_written_in_order);
    tcase_add_test(tc, what_ready_submits_comes_after_what_was_held);
    tcase_add_test(tc, replies_find_their_command_in_any_order);
    tcase_add_test(tc, the_users_id_comes_back);
    tcase_add_test(tc, a_body_without_members_and_a_newline_are_written_right);
    tcase_add_loop_test(tc, a_reply_with_an_unknown_id_is_dropped_and_logged, 0,
                        N_OF(unknown_ids));
    tcase_add_test(tc, a_second_reply_to_an_id_is_dropped);
    tcase_add_test(tc, an_error_without_id_ends_the_oldest_command_once);
    tcase_add_test(tc, a_return_without_id_is_dropped);
    tcase_add_test(tc, the_reply_to_an_abandoned_command_is_dropped);
    tcase_add_test(tc, an_abandoned_command_that_was_held_is_never_written);
    tcase_add_test(tc, ids_in_use_are_skipped_when_numbers_begin_anew);
    tcase_add_test(tc, ids_of_one_digit_go_round);
    tcase_add_test(tc, the_id_of_an_abandoned_command_is_not_used_again_before_its_reply);
    tcase_add_test(tc, after_an_error_without_id_no_id_is_used_twice);
    tcase_add_test(tc, a_command_that_cannot_be_written_is_refused);
    tcase_add_test(tc, a_held_command_that_cannot_be_written_hears_so);
    tcase_add_test(tc, a_held_command_keeps_a_copy_of_its_descriptor);
    tcase_add_test(tc, a_bad_descriptor_is_refused);
    return tc;
}

static TCase *oob_case(void)
{
    TCase *tc = tcase_create("oob and events");

    tcase_add_test(tc, with_oob_no_more_than_eight_are_in_flight);
    tcase_add_test(tc, without_oob_everything_is_written_at_once);
    tcase_add_test(tc, an_oob_command_overtakes_a_full_window);
    tcase_add_test(tc, an_oob_command_held_before_ready_overtakes_too);
    tcase_add_test(tc, an_abandoned_command_keeps_its_place_in_the_window);
    tcase_add_test(tc, an_error_without_id_makes_room_in_the_window);
    tcase_add_test(tc, events_come_in_order_with_replies);
    return tc;
}

static TCase *end_case(void)
{
    TCase *tc = tcase_create("end");

    tcase_add_test(tc, a_hangup_tells_every_waiter_once);
    tcase_add_test(tc, nothing_can_be_submitted_after_a_hangup);
    tcase_add_test(tc, a_waiter_may_abandon_others_while_hanging_up);
    tcase_add_test(tc, a_reply_may_hang_up);
    tcase_add_test(tc, ready_may_hang_up);
    tcase_add_test(tc, an_event_may_hang_up);
    tcase_add_test(tc, an_event_may_submit);
    tcase_add_test(tc, a_reply_may_submit_behind_what_is_held);
    tcase_add_test(tc, a_reply_may_abandon_itself);
    tcase_add_test(tc, freeing_calls_nobody);
    tcase_add_test(tc, running_out_of_memory_still_ends_every_command_once);
    tcase_add_loop_test(tc, a_whole_conversation_survives_any_cut, 0, 40);
    tcase_add_test(tc, a_peer_that_ends_in_mid_message_leaves_a_part);
    tcase_add_test(tc, the_scripted_peer_notices_a_wrong_message);
    return tc;
}

static TCase *large_case(void)
{
    TCase *tc = tcase_create("large");

    tcase_set_tags(tc, "large");
    tcase_add_test(tc, a_hangup_in_a_hangup_changes_nothing);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *cases[] = { handshake_case(), replies_case(), oob_case(), end_case(), large_case() };
    SRunner *runner;
    int failed;

    for (int i = 0; i < N_OF(cases); i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Commands: what is sent, what comes back, what is passed along, and the limits. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor_aid.h"

static struct local local;
static struct seen seen;
static qblk_monitor_options options;
static qblk_error error;
static qblk_monitor *monitor;
static pid_t pid;
static char *reply;
static int fds_before;

static void setup(void)
{
    fds_before = count_fds();
    memset(&error, 0, sizeof(error));
    options = seen_options(&seen);
    reply = NULL;
    monitor = NULL;
}

/* Ends a scripted monitor: the peer played to its end, nothing is left. */
static void ended(void)
{
    free(reply);
    monitor = qblk_monitor_free(monitor);
    script_ended(pid);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(count_fds(), fds_before);
}

static void start(const char *script)
{
    monitor = scripted(script, &options, &pid);
}

static int execute(const char *command, const char *arguments)
{
    free(reply);
    reply = NULL;
    return qblk_monitor_execute(monitor, command, arguments, 10000, &reply, &error);
}

static int submit(const char *json, int fd, qblk_reply_fn *fn, void *arg)
{
    return qblk_monitor_send(local.monitor, json, fd, fn, arg, &error);
}

/* ---- replies ------------------------------------------------------------------------------ */

START_TEST(a_reply_is_qemus_text_without_our_id)
{
    start("! negotiate\n"
          "< {\"execute\": \"a\"}\n> {\"return\": {\"x\": [1, 2.50]}, \"id\": $id}\n"
          "< {\"execute\": \"b\", \"arguments\": {\"x\": 1}}\n"
          "> {\"id\": $id, \"return\": {}}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": {\"x\": [1, 2.50]}}");
    ck_assert_int_eq(execute("b", " { \"x\" : 1 } "), 0);
    ck_assert_str_eq(reply, "{\"return\": {}}");
    ended();
}
END_TEST

START_TEST(an_id_of_the_callers_is_put_back)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n> {\"return\": {}, \"id\": $id}\n! eof");
    ck_assert_int_eq(qblk_monitor_command(monitor, "{\"id\": {\"mine\": [1]}, \"execute\": \"a\"}",
                                          -1, 10000, &reply, &error), 0);
    ck_assert_str_eq(reply, "{\"return\": {}, \"id\": {\"mine\": [1]}}");
    ended();
}
END_TEST

START_TEST(an_error_reply_is_a_reply_and_leaves_the_error_alone)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n"
          "> {\"id\": $id, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_str_eq(reply, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}");
    ck_assert_int_eq(error.code, QBLK_E_NONE);
    ended();
}
END_TEST

START_TEST(an_error_without_id_ends_the_command_that_waits)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n"
          "> {\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n"
          "< {\"execute\": \"b\"}\n> {\"return\": 2, \"id\": $id}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_ptr_nonnull(strstr(reply, "JSON parse error"));
    ck_assert_int_eq(execute("b", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": 2}");
    ended();
}
END_TEST

START_TEST(a_reply_that_nobody_asked_for_is_dropped)
{
    start("! negotiate\n> {\"return\": \"wrong\", \"id\": 77}\n"
          "> {\"return\": \"wrong\", \"id\": \"1\"}\n> {\"return\": \"wrong\", \"id\": null}\n"
          "< {\"execute\": \"a\"}\n> {\"return\": \"right\", \"id\": $id}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": \"right\"}");
    ended();
}
END_TEST

START_TEST(a_late_reply_is_never_taken_for_the_next_one)
{
    start("! negotiate\n<A {\"execute\": \"a\"}\n<B {\"execute\": \"b\"}\n"
          "> {\"return\": \"late\", \"id\": $idA}\n> {\"return\": \"right\", \"id\": $idB}\n! eof");
    ck_assert_int_eq(qblk_monitor_execute(monitor, "a", NULL, 10, &reply, &error), -ETIMEDOUT);
    ck_assert_int_eq(error.code, QBLK_E_TIMEOUT);
    ck_assert_int_eq(error.kind, QBLK_KIND_TIMEOUT);
    ck_assert_ptr_null(reply);
    ck_assert_int_eq(execute("b", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": \"right\"}");
    ended();
}
END_TEST

START_TEST(however_many_replies_are_late_each_command_gets_its_own)
{
    char command[32], late[4096] = "";
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    for (int i = 0; i < 30; i++) {
        (void)snprintf(command, sizeof(command), "late%d", i);
        ck_assert_int_eq(qblk_monitor_execute(local.monitor, command, NULL, 0, &reply, &error),
                         -ETIMEDOUT);
        strcat(late, local_reply(local_heard(&local), "\"late\""));
    }
    ck_assert_int_eq(submit("{\"execute\": \"a\"}", -1, told_reply, &told), 0);
    local_say(&local, late);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(told.n, 0);
    local_say(&local, local_reply(local_heard(&local), "\"right\""));
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_str_eq(told.reply, "{\"return\": \"right\"}");
    local_end(&local);
}
END_TEST

START_TEST(replies_find_their_commands_in_any_order)
{
    struct told a = { .n = 0 }, b = { .n = 0 };
    char reply_to_a[128];

    local_ready(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"a\"}", -1, told_reply, &a), 0);
    (void)snprintf(reply_to_a, sizeof(reply_to_a), "%s", local_reply(local_heard(&local), "1"));
    ck_assert_int_eq(submit("{\"execute\": \"b\"}", -1, told_reply, &b), 0);
    local_say(&local, local_reply(local_heard(&local), "2"));
    local_say(&local, reply_to_a);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_str_eq(a.reply, "{\"return\": 1}");
    ck_assert_str_eq(b.reply, "{\"return\": 2}");
    ck_assert_int_eq(a.n + b.n, 2);
    local_end(&local);
}
END_TEST

START_TEST(a_reply_in_pieces_of_one_byte_is_put_together)
{
    start("! split 1\n! negotiate\n< {\"execute\": \"a\"}\n> {\"event\": \"STOP\"}\n"
          ">> {\"id\": $id, \"return\": {\"braces\": \"}{]\"}}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": {\"braces\": \"}{]\"}}");
    ck_assert_int_eq(seen.events, 1);
    ended();
}
END_TEST

START_TEST(a_reply_spread_over_lines_is_one_message)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n"
          ">> {\\n    \"id\": $id, \\n    \"return\": {\\n        \"x\": 1\\n    }\\n}\\n\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_ptr_nonnull(strstr(reply, "\"x\": 1"));
    ck_assert_ptr_null(strstr(reply, "\"id\""));
    ended();
}
END_TEST

START_TEST(integers_beyond_63_bits_survive)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n"
          "> {\"return\": [9223372036854775808, 18446744073709551615, -9223372036854775808], "
          "\"id\": $id}\n! eof");
    ck_assert_int_eq(execute("a", NULL), 0);
    ck_assert_str_eq(reply, "{\"return\": [9223372036854775808, 18446744073709551615, "
                            "-9223372036854775808]}");
    ended();
}
END_TEST

START_TEST(integers_beyond_63_bits_are_sent_as_they_are)
{
    local_ready(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"a\", \"arguments\": {\"size\": 18446744073709551615}}",
                            -1, NULL, NULL), 0);
    ck_assert_ptr_nonnull(strstr(local_heard(&local), "{\"size\":18446744073709551615}"));
    local_end(&local);
}
END_TEST

START_TEST(a_message_of_32_mib_is_received)
{
    static const char head[] = "! negotiate\n< {\"execute\": \"a\"}\n> {\"return\": \"";
    static const char tail[] = "\", \"id\": $id}\n! eof";
    const size_t len = (size_t)32 << 20;
    char *script = malloc(sizeof(head) + len + sizeof(tail));

    ck_assert_ptr_nonnull(script);
    memcpy(script, head, sizeof(head) - 1);
    memset(script + sizeof(head) - 1, 'x', len);
    memcpy(script + sizeof(head) - 1 + len, tail, sizeof(tail));
    start(script);
    free(script);
    ck_assert_int_eq(qblk_monitor_execute(monitor, "a", NULL, 50000, &reply, &error), 0);
    ck_assert_uint_eq(strlen(reply), len + strlen("{\"return\": \"\"}"));
    ended();
}
END_TEST

/* ---- what is sent ------------------------------------------------------------------------- */

START_TEST(what_is_no_command_is_refused_and_nothing_is_sent)
{
    static const char *const bad[] = {
        "", "{", "[]", "3", "{}", "{\"execute\": 3}", "{\"execute\": \"a\"",
        "{\"execute\": \"a\"} x",
        "{\"execute\": \"a\", \"execute\": \"b\"}", "{\"execute\": \"a\", \"exec-oob\": \"b\"}",
        "{\"execute\": \"\xff\"}",
    };
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(&error, 0, sizeof(error));
        ck_assert_int_eq(submit(bad[i], -1, told_reply, &told), -EINVAL);
        ck_assert_int_eq(error.kind, QBLK_KIND_USAGE);
        ck_assert_int_eq(qblk_monitor_command(local.monitor, bad[i], -1, 1000, &reply, &error),
                         -EINVAL);
    }
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "a", "{\"x\":", 1000, &reply, &error),
                     -EINVAL);
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "a", "[1]", 1000, &reply, &error),
                     -EINVAL);
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "a", "{},\"id\":1", 1000, &reply, &error),
                     -EINVAL);
    ck_assert_str_eq(local_heard(&local), "");
    ck_assert_int_eq(told.n, 0);
    local_end(&local);
}
END_TEST

START_TEST(names_of_commands_are_quoted)
{
    start("! negotiate\n< {\"execute\": \"a\\\"\\\\\\n\"}\n> {\"return\": 1, \"id\": $id}\n! eof");
    ck_assert_int_eq(execute("a\"\\\n", NULL), 0);
    ended();
}
END_TEST

START_TEST(commands_before_the_handshake_are_sent_after_it_in_order)
{
    struct told told = { .n = 0 };
    const char *heard;

    local_start(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"a\"}", -1, told_reply, &told), 0);
    ck_assert_int_eq(submit("{\"execute\": \"b\"}", -1, told_reply, &told), 0);
    ck_assert_str_eq(local_heard(&local), "");
    local_greet(&local);
    local_negotiate(&local);
    heard = local_heard(&local);
    ck_assert_ptr_nonnull(strstr(heard, "\"a\""));
    ck_assert_ptr_nonnull(strstr(strstr(heard, "\"a\""), "\"b\""));
    local_end(&local);
    ck_assert_int_eq(told.n, 2);
}
END_TEST

START_TEST(the_shortest_encoding_is_sent)
{
    const char *heard;

    local_ready(&local, &options);
    ck_assert_int_eq(submit(" { \"execute\" : \"a\" ,\n \"arguments\" : { \"x y\" : [ 1 , 2 ] } } ",
                            -1, NULL, NULL), 0);
    heard = local_heard(&local);
    ck_assert_ptr_nonnull(strstr(heard, "{\"execute\":\"a\",\"arguments\":{\"x y\":[1,2]}"));
    ck_assert_ptr_null(strchr(heard, '\n'));
    local_end(&local);
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------- */

START_TEST(a_message_above_the_cap_ends_the_connection)
{
    char script[4096];

    options.max_message = 1000;
    (void)snprintf(script, sizeof(script), "! negotiate\n< {\"execute\": \"a\"}\n"
                   "> {\"return\": \"%02000d\", \"id\": $id}\n! eof", 0);
    start(script);
    ck_assert_int_eq(execute("a", NULL), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(error.text, "1000"));
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    ck_assert_int_eq(seen.ends, 1);
    ended();
}
END_TEST

START_TEST(a_message_within_the_cap_is_taken)
{
    char script[4096];

    options.max_message = 2100;
    (void)snprintf(script, sizeof(script), "! negotiate\n< {\"execute\": \"a\"}\n"
                   "> {\"return\": \"%02000d\", \"id\": $id}\n! eof", 0);
    start(script);
    ck_assert_int_eq(execute("a", NULL), 0);
    ended();
}
END_TEST

/* Sends until it is refused; returns how many were taken. */
static int send_until_refused(void)
{
    char command[1100];
    int n = 0, r;

    (void)snprintf(command, sizeof(command),
                   "{\"execute\": \"a\", \"arguments\": {\"x\": \"%01000d\"}}", 0);
    while ((r = submit(command, -1, NULL, NULL)) == 0) {
        n++;
        ck_assert_int_lt(n, 10000);
    }
    ck_assert_int_eq(r, -EMSGSIZE);
    ck_assert_int_eq(error.code, QBLK_E_LIMIT);
    return n;
}

START_TEST(what_the_peer_does_not_read_is_queued_up_to_the_limit)
{
    options.max_output = 16384;
    local_ready(&local, &options);
    (void)send_until_refused();
    ck_assert(qblk_monitor_events(local.monitor) & POLLOUT);
    /* Once the peer reads, there is room again. */
    do {
        (void)local_heard(&local);
        ck_assert_int_eq(local_turn(&local), 0);
    } while (qblk_monitor_events(local.monitor) & POLLOUT);
    ck_assert_int_eq(submit("{\"execute\": \"a\"}", -1, NULL, NULL), 0);
    local_end(&local);
}
END_TEST

/* What the library asks by itself waits until there is room, and ends nothing. */
START_TEST(a_reading_that_finds_no_room_is_made_later)
{
    options.max_output = 16384;
    local_ready(&local, &options);
    (void)send_until_refused();
    while (submit("{\"execute\": \"a\"}", -1, NULL, NULL) == 0)
        ;
    ck_assert_int_eq(qblk_jobs_track(local.monitor, NULL, NULL, &error), 0);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(qblk_monitor_get_state(local.monitor), QBLK_MONITOR_READY);
    while (strstr(local_heard(&local), "query-jobs") == NULL)
        ck_assert_int_eq(local_turn(&local), 0);
    local_end(&local);
}
END_TEST

START_TEST(what_waits_for_the_handshake_is_limited_too)
{
    int n;

    options.max_output = 16384;
    local_start(&local, &options);
    n = send_until_refused();
    ck_assert_int_ge(n, 10);
    ck_assert_int_le(n, 16);
    local_end(&local);
}
END_TEST

/* ---- descriptors -------------------------------------------------------------------------- */

/* Reads all that is there; returns how many descriptors came with it, which are closed. */
static int passed_fds(int peer)
{
    int n = 0;

    for (;;) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(16 * sizeof(int))];
        } control;
        char data[4096];
        struct iovec piece = { .iov_base = data, .iov_len = sizeof(data) };
        struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                                  .msg_controllen = sizeof(control.space) };

        if (recvmsg(peer, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0)
            return n;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            int fd;

            ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof(fd)));
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
            close(fd);
            n++;
        }
    }
}

START_TEST(a_descriptor_goes_with_its_command)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    start("! negotiate\n< {\"execute\": \"first\"}\n! fds 0\n> {\"return\": 1, \"id\": $id}\n"
          "< {\"execute\": \"getfd\"}\n! fds 1\n> {\"return\": 2, \"id\": $id}\n! eof");
    ck_assert_int_eq(execute("first", NULL), 0);
    free(reply);
    reply = NULL;
    ck_assert_int_eq(qblk_monitor_command(monitor, "{\"execute\": \"getfd\", \"arguments\": "
                                          "{\"fdname\": \"x\"}}", ends[0], 10000, &reply, &error),
                     0);
    ck_assert_int_ge(fcntl(ends[0], F_GETFD), 0);
    close(ends[0]);
    close(ends[1]);
    ended();
}
END_TEST

START_TEST(a_descriptor_that_waits_may_be_closed_by_its_owner)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    local_start(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"getfd\"}", ends[0], NULL, NULL), 0);
    close(ends[0]);
    local_greet(&local);
    local_negotiate(&local);
    ck_assert_int_eq(passed_fds(local.peer), 1);
    close(ends[1]);
    local_end(&local);
    ck_assert_int_eq(count_fds(), fds_before);
}
END_TEST

START_TEST(a_descriptor_sent_at_once_is_there_before_the_command_that_names_it)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    start("! negotiate\n< {\"execute\": \"getfd\"}\n! fds 1\n"
          "> {\"return\": 1, \"id\": $id}\n! eof");
    ck_assert_int_eq(qblk_monitor_send_fd(monitor, ends[0], &error), 0);
    close(ends[0]);
    ck_assert_int_eq(execute("getfd", NULL), 0);
    close(ends[1]);
    ended();
}
END_TEST

/* It would go to a command that was sent before. */
START_TEST(a_descriptor_does_not_overtake_commands_that_wait)
{
    local_start(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"getfd\"}", -1, NULL, NULL), 0);
    ck_assert_int_eq(qblk_monitor_send_fd(local.monitor, local.peer, &error), -EBUSY);
    ck_assert_int_eq(error.code, QBLK_E_BUSY);
    local_greet(&local);
    local_negotiate(&local);
    (void)local_turn(&local);
    ck_assert_int_eq(qblk_monitor_send_fd(local.monitor, local.peer, &error), 0);
    ck_assert_int_eq(passed_fds(local.peer), 1);
    local_end(&local);
}
END_TEST

START_TEST(a_descriptor_behind_a_full_socket_may_be_closed_too)
{
    int ends[2], passed = 0;

    ck_assert_int_eq(pipe(ends), 0);
    options.max_output = 1 << 20;
    local_ready(&local, &options);
    (void)send_until_refused();
    (void)local_heard(&local);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(submit("{\"execute\": \"getfd\"}", ends[0], NULL, NULL), 0);
    ck_assert(qblk_monitor_events(local.monitor) & POLLOUT);
    close(ends[0]);
    do {
        passed += passed_fds(local.peer);
        ck_assert_int_eq(local_turn(&local), 0);
    } while (qblk_monitor_events(local.monitor) & POLLOUT);
    passed += passed_fds(local.peer);
    ck_assert_int_eq(passed, 1);
    close(ends[1]);
    local_end(&local);
    ck_assert_int_eq(count_fds(), fds_before);
}
END_TEST

START_TEST(descriptors_that_never_went_are_closed_with_the_monitor)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    local_start(&local, &options);
    ck_assert_int_eq(submit("{\"execute\": \"getfd\"}", ends[0], NULL, NULL), 0);
    local_end(&local);
    close(ends[0]);
    close(ends[1]);
    ck_assert_int_eq(count_fds(), fds_before);
}
END_TEST

START_TEST(a_closed_descriptor_is_refused_and_nothing_is_sent)
{
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    ck_assert_int_eq(qblk_monitor_send_fd(local.monitor, 9999, &error), -EBADF);
    ck_assert_int_eq(error.err, EBADF);
    ck_assert_int_lt(submit("{\"execute\": \"a\"}", 9999, told_reply, &told), 0);
    ck_assert_str_eq(local_heard(&local), "");
    local_end(&local);
    ck_assert_int_eq(told.n, 0);
}
END_TEST

START_TEST(a_negative_descriptor_cannot_be_sent_at_once)
{
    local_ready(&local, &options);
    ck_assert_int_eq(qblk_monitor_send_fd(local.monitor, -1, &error), -EBADF);
    ck_assert_str_eq(local_heard(&local), "");
    local_end(&local);
}
END_TEST

/* ---- ends --------------------------------------------------------------------------------- */

START_TEST(a_connection_that_ends_under_a_command_is_lost)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n! hup");
    ck_assert_int_eq(execute("a", NULL), -ECONNRESET);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    ck_assert_int_eq(execute("a", NULL), -ECONNRESET);
    ended();
}
END_TEST

START_TEST(a_reset_connection_is_lost)
{
    start("! negotiate\n! rst");
    ck_assert_int_eq(execute("a", NULL), -ECONNRESET);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    ended();
}
END_TEST

START_TEST(a_second_greeting_breaks_the_protocol)
{
    start("! negotiate\n< {\"execute\": \"a\"}\n"
          "> {\"QMP\": {\"version\": {}, \"capabilities\": []}}\n! eof");
    ck_assert_int_eq(execute("a", NULL), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
    ended();
}
END_TEST

static void count_message(qblk_log_level level, const char *text, void *arg)
{
    (void)arg;
    if (level == QBLK_LOG_TRACE && strstr(text, "\"marked\"") != NULL)
        seen.last_event[text[0] == '>' ? 0 : 1]++;
}

START_TEST(every_message_is_logged_once)
{
    options.on_log = count_message;
    start("! negotiate\n< {\"execute\": \"marked\"}\n"
          "> {\"return\": \"marked\", \"id\": $id}\n! eof");
    ck_assert_int_eq(execute("marked", NULL), 0);
    ck_assert_int_eq(seen.last_event[0], 1);
    ck_assert_int_eq(seen.last_event[1], 1);
    ended();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor");
    TCase *tc = tcase_create("monitor");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_reply_is_qemus_text_without_our_id);
    tcase_add_test(tc, an_id_of_the_callers_is_put_back);
    tcase_add_test(tc, an_error_reply_is_a_reply_and_leaves_the_error_alone);
    tcase_add_test(tc, an_error_without_id_ends_the_command_that_waits);
    tcase_add_test(tc, a_reply_that_nobody_asked_for_is_dropped);
    tcase_add_test(tc, a_late_reply_is_never_taken_for_the_next_one);
    tcase_add_test(tc, however_many_replies_are_late_each_command_gets_its_own);
    tcase_add_test(tc, replies_find_their_commands_in_any_order);
    tcase_add_test(tc, a_reply_in_pieces_of_one_byte_is_put_together);
    tcase_add_test(tc, a_reply_spread_over_lines_is_one_message);
    tcase_add_test(tc, integers_beyond_63_bits_survive);
    tcase_add_test(tc, integers_beyond_63_bits_are_sent_as_they_are);
    tcase_add_test(tc, a_message_of_32_mib_is_received);
    tcase_add_test(tc, what_is_no_command_is_refused_and_nothing_is_sent);
    tcase_add_test(tc, names_of_commands_are_quoted);
    tcase_add_test(tc, commands_before_the_handshake_are_sent_after_it_in_order);
    tcase_add_test(tc, the_shortest_encoding_is_sent);
    tcase_add_test(tc, a_message_above_the_cap_ends_the_connection);
    tcase_add_test(tc, a_message_within_the_cap_is_taken);
    tcase_add_test(tc, what_the_peer_does_not_read_is_queued_up_to_the_limit);
    tcase_add_test(tc, a_reading_that_finds_no_room_is_made_later);
    tcase_add_test(tc, what_waits_for_the_handshake_is_limited_too);
    tcase_add_test(tc, a_descriptor_goes_with_its_command);
    tcase_add_test(tc, a_descriptor_that_waits_may_be_closed_by_its_owner);
    tcase_add_test(tc, a_descriptor_sent_at_once_is_there_before_the_command_that_names_it);
    tcase_add_test(tc, a_descriptor_does_not_overtake_commands_that_wait);
    tcase_add_test(tc, a_descriptor_behind_a_full_socket_may_be_closed_too);
    tcase_add_test(tc, descriptors_that_never_went_are_closed_with_the_monitor);
    tcase_add_test(tc, a_closed_descriptor_is_refused_and_nothing_is_sent);
    tcase_add_test(tc, a_negative_descriptor_cannot_be_sent_at_once);
    tcase_add_test(tc, a_connection_that_ends_under_a_command_is_lost);
    tcase_add_test(tc, a_reset_connection_is_lost);
    tcase_add_test(tc, a_second_greeting_breaks_the_protocol);
    tcase_add_test(tc, every_message_is_logged_once);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Starting a monitor: how each way to connect ends, and what is left behind. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../fake/qmp_server.h"
#include "monitor_aid.h"

static char dir[200];
static char path[256];
static qblk_error error;
static struct seen seen;
static qblk_monitor_options options;
static qblk_monitor *monitor;
static int fds_before;

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/qblk-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/sock", dir);
    memset(&error, 0, sizeof(error));
    options = seen_options(&seen);
    monitor = NULL;
    fds_before = count_fds();
}

static void teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Frees the monitor: the release has run once and no descriptor is left. */
static void freed(void)
{
    monitor = qblk_monitor_free(monitor);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(count_fds(), fds_before);
}

static void refused(int r, int err, qblk_error_code code)
{
    ck_assert_int_eq(r, -err);
    ck_assert_int_eq(error.code, code);
    ck_assert_int_eq(error.err, err);
    ck_assert_ptr_null(monitor);
    ck_assert_str_eq(seen.order, "r");
    ck_assert_int_eq(count_fds(), fds_before);
}

static int bind_at(const char *at, int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_uint_lt(strlen(at), sizeof(address.sun_path));
    memcpy(address.sun_path, at, strlen(at));
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    return fd;
}

static int call_at(const char *at)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(address.sun_path, at, strlen(at));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* ---- connect ------------------------------------------------------------------------------ */

START_TEST(a_missing_socket_is_no_monitor_and_is_released_once)
{
    refused(qblk_monitor_connect(&monitor, path, &options, &error), ENOENT, QBLK_E_NO_MONITOR);
    ck_assert_ptr_nonnull(strstr(error.text, path));
}
END_TEST

START_TEST(a_left_over_socket_refuses_the_connection)
{
    close(bind_at(path, 1));
    refused(qblk_monitor_connect(&monitor, path, &options, &error), ECONNREFUSED,
            QBLK_E_NO_MONITOR);
}
END_TEST

START_TEST(open_leaves_nothing_behind_when_it_fails)
{
    refused(qblk_monitor_open(&monitor, path, 1000, &options, &error), ENOENT, QBLK_E_NO_MONITOR);
}
END_TEST

START_TEST(an_empty_path_is_an_argument_error)
{
    refused(qblk_monitor_connect(&monitor, "", &options, &error), EINVAL, QBLK_E_ARGUMENT);
}
END_TEST

START_TEST(options_without_their_size_are_refused)
{
    qblk_monitor_options unset;

    memset(&unset, 0, sizeof(unset));
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &unset, &error), -EINVAL);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    ck_assert_ptr_null(monitor);
}
END_TEST

START_TEST(options_of_an_older_caller_are_taken_as_far_as_they_go)
{
    pid_t pid;

    options.size = offsetof(qblk_monitor_options, on_log);
    monitor = scripted("! negotiate\n! eof", &options, &pid);
    ck_assert_int_eq(seen.ready, 1);
    freed();
    script_ended(pid);
}
END_TEST

START_TEST(a_socket_that_appears_later_is_found)
{
    pid_t pid;

    options.wait_ms = 20000;
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_CONNECTING);
    ck_assert_int_ge(qblk_monitor_timeout(monitor), 0);
    qmp_server_listen(path, "! negotiate\n! eof", &pid);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), 0);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_READY);
    ck_assert_uint_eq(qblk_monitor_qemu_version(monitor), 7002022);
    freed();
    script_ended(pid);
}
END_TEST

START_TEST(waiting_for_a_socket_ends_after_wait_ms)
{
    options.wait_ms = 20;
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), -ENOENT);
    ck_assert_int_eq(error.code, QBLK_E_NO_MONITOR);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    ck_assert_int_eq(qblk_monitor_why(monitor)->code, QBLK_E_NO_MONITOR);
    ck_assert_int_eq(seen.ends, 1);
    freed();
}
END_TEST

START_TEST(a_callers_timeout_leaves_the_waiting_as_it_is)
{
    pid_t pid;

    options.wait_ms = -1;
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10, &error), -ETIMEDOUT);
    ck_assert_int_eq(error.kind, QBLK_KIND_TIMEOUT);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_CONNECTING);
    ck_assert_ptr_null(qblk_monitor_why(monitor));
    qmp_server_listen(path, "! negotiate\n! eof", &pid);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), 0);
    freed();
    script_ended(pid);
}
END_TEST

/* Makes dir longer, so that dir/NAME has exactly len bytes; the directory to be removed stays. */
static void path_of(size_t len)
{
    size_t at = (size_t)snprintf(path, sizeof(path), "%s/", dir);

    memset(path + at, 'x', len - at);
    path[len] = '\0';
}

START_TEST(a_path_of_107_bytes_works)
{
    pid_t pid;

    path_of(107);
    qmp_server_listen(path, "! negotiate\n! eof", &pid);
    ck_assert_int_eq(qblk_monitor_open(&monitor, path, 10000, &options, &error), 0);
    freed();
    script_ended(pid);
}
END_TEST

START_TEST(a_path_of_108_bytes_is_refused_by_both_ways)
{
    path_of(108);
    refused(qblk_monitor_connect(&monitor, path, &options, &error), ENAMETOOLONG, QBLK_E_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.text, "107"));
    options = seen_options(&seen);
    refused(qblk_monitor_listen(&monitor, path, &options, &error), ENAMETOOLONG, QBLK_E_ARGUMENT);
}
END_TEST

/* ---- the greeting ------------------------------------------------------------------------- */

/* The peer plays the script; the handshake must fail like this. */
static void handshake_fails(const char *script, int err, qblk_error_code code, const char *what)
{
    pid_t pid;
    int fd = qmp_server_pair(script, &pid);

    ck_assert_int_eq(qblk_monitor_adopt(&monitor, fd, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), -err);
    ck_assert_int_eq(error.code, code);
    ck_assert_int_eq(error.kind, QBLK_KIND_CONNECTION);
    ck_assert_msg(strstr(error.text, what) != NULL, "%s", error.text);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    ck_assert_int_eq(qblk_monitor_fd(monitor), -1);
    ck_assert_int_eq(qblk_monitor_timeout(monitor), -1);
    ck_assert_str_eq(seen.order, "X");
    ck_assert_int_eq(seen.end.code, code);
    freed();
    ck_assert_str_eq(seen.order, "Xr");
    script_ended(pid);
}

START_TEST(no_greeting_is_a_busy_monitor)
{
    options.greeting_ms = 20;
    handshake_fails("! nogreet\n! eof", EBUSY, QBLK_E_MONITOR_BUSY, "busy");
}
END_TEST

START_TEST(half_a_greeting_is_not_qmp)
{
    struct local local;

    options.greeting_ms = 20;
    local_start(&local, &options);
    local_say(&local, "{\"QMP\": {\"vers");
    ck_assert_int_eq(qblk_monitor_wait_ready(local.monitor, 10000, &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_NOT_QMP);
    ck_assert_ptr_nonnull(strstr(error.text, "half"));
    local_end(&local);
    ck_assert_str_eq(seen.order, "Xr");
}
END_TEST

START_TEST(garbage_is_not_qmp_and_is_shown)
{
    handshake_fails("! nogreet\n> SSH-2.0-OpenSSH_9.2\n! eof", EPROTO, QBLK_E_NOT_QMP, "SSH-2.0");
}
END_TEST

START_TEST(a_first_message_that_is_no_greeting_is_not_qmp)
{
    handshake_fails("! nogreet\n> {\"hello\": \"world\"}\n! eof", EPROTO, QBLK_E_NOT_QMP, "hello");
}
END_TEST

START_TEST(leftovers_of_an_earlier_client_are_no_greeting)
{
    handshake_fails("! nogreet\n> {\"event\": \"STOP\"}\n> {\"return\": {}, \"id\": 7}\n! hup",
                    ECONNRESET, QBLK_E_LOST, "before a greeting");
}
END_TEST

START_TEST(an_end_before_the_greeting_is_a_lost_connection)
{
    handshake_fails("! nogreet\n! hup", ECONNRESET, QBLK_E_LOST, "before a greeting");
}
END_TEST

START_TEST(an_end_inside_the_greeting_is_a_lost_connection)
{
    handshake_fails("! nogreet\n>> {\"QMP\"\n! hup", ECONNRESET, QBLK_E_LOST, "before a greeting");
}
END_TEST

START_TEST(refused_capabilities_are_told_with_qemus_text)
{
    handshake_fails("< {\"execute\": \"qmp_capabilities\"}\n"
                    "> {\"error\": {\"class\": \"GenericError\", \"desc\": \"no, never\"}, \"id\": "
                    "$id}\n! eof", EPROTO, QBLK_E_PROTOCOL, "no, never");
}
END_TEST

START_TEST(garbage_after_the_greeting_is_a_broken_protocol)
{
    handshake_fails("< {\"execute\": \"qmp_capabilities\"}\n> Segmentation fault\n! eof", EPROTO,
                    QBLK_E_PROTOCOL, "Segmentation");
}
END_TEST

START_TEST(a_full_queue_of_the_listener_is_a_busy_monitor)
{
    int listener = bind_at(path, 0), callers[16], n = 0;

    while (n < 16 && (callers[n] = call_at(path)) >= 0)
        n++;
    ck_assert_int_lt(n, 16);
    options.greeting_ms = 20;
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), -EBUSY);
    ck_assert_int_eq(error.code, QBLK_E_MONITOR_BUSY);
    ck_assert_int_eq(error.err, EBUSY);
    while (n-- > 0)
        close(callers[n]);
    close(listener);
    freed();
}
END_TEST

/* It is waited for longer than for a socket, and not without rest. */
START_TEST(a_full_queue_of_the_listener_is_waited_for_at_rest)
{
    int listener = bind_at(path, 0), callers[16], n = 0, turns = 0;

    while (n < 16 && (callers[n] = call_at(path)) >= 0)
        n++;
    ck_assert_int_lt(n, 16);
    options.wait_ms = 1;
    options.greeting_ms = 300;
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path, &options, &error), 0);
    while (qblk_monitor_get_state(monitor) != QBLK_MONITOR_DEAD) {
        (void)poll(NULL, 0, qblk_monitor_timeout(monitor));
        (void)qblk_monitor_process(monitor, 0, NULL);
        turns++;
    }
    ck_assert_int_lt(turns, 300);
    ck_assert_int_eq(qblk_monitor_why(monitor)->code, QBLK_E_MONITOR_BUSY);
    while (n-- > 0)
        close(callers[n]);
    close(listener);
    freed();
}
END_TEST

START_TEST(a_reply_to_an_earlier_client_is_dropped_before_the_handshake_is_done)
{
    pid_t pid;
    char *reply = NULL;

    monitor = scripted("< {\"execute\": \"qmp_capabilities\"}\n"
                       "> {\"return\": {\"of\": \"another\"}, \"id\": 1}\n"
                       "> {\"return\": {\"of\": \"another\"}}\n"
                       "> {\"error\": {\"class\": \"GenericError\", \"desc\": \"of another\"}}\n"
                       "> {\"return\": {}, \"id\": $id}\n"
                       "< {\"execute\": \"a\"}\n"
                       "> {\"return\": {\"of\": \"ours\"}, \"id\": $id}\n"
                       "! eof", &options, &pid);
    ck_assert_int_eq(qblk_monitor_execute(monitor, "a", NULL, 10000, &reply, &error), 0);
    ck_assert_str_eq(reply, "{\"return\": {\"of\": \"ours\"}}");
    free(reply);
    freed();
    script_ended(pid);
}
END_TEST

START_TEST(the_id_of_the_capabilities_differs_from_connection_to_connection)
{
    char first[256];
    struct local local;

    local_start(&local, NULL);
    local_greet(&local);
    (void)snprintf(first, sizeof(first), "%s", local_heard(&local));
    local_end(&local);
    local_start(&local, NULL);
    local_greet(&local);
    ck_assert_str_ne(local_heard(&local), first);
    local_end(&local);
    ck_assert_int_eq(count_fds(), fds_before);
}
END_TEST

/* ---- adopt -------------------------------------------------------------------------------- */

START_TEST(adopting_what_is_no_stream_socket_fails_and_closes_it)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_lt(qblk_monitor_adopt(&monitor, ends[0], &options, &error), 0);
    ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
    close(ends[1]);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(count_fds(), fds_before);
}
END_TEST

START_TEST(adopting_a_closed_descriptor_fails)
{
    ck_assert_int_lt(qblk_monitor_adopt(&monitor, 9999, &options, &error), 0);
    ck_assert_int_lt(qblk_monitor_adopt(&monitor, -1, NULL, &error), 0);
    ck_assert_int_eq(seen.releases, 1);
}
END_TEST

START_TEST(adopting_with_bad_options_closes_the_descriptor_too)
{
    qblk_monitor_options unset;
    int ends[2];

    memset(&unset, 0, sizeof(unset));
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ck_assert_int_eq(qblk_monitor_adopt(&monitor, ends[0], &unset, &error), -EINVAL);
    ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
    close(ends[1]);
}
END_TEST

START_TEST(an_adopted_descriptor_becomes_close_on_exec)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ck_assert_int_eq(qblk_monitor_adopt(&monitor, ends[0], &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_fd(monitor), ends[0]);
    ck_assert(fcntl(ends[0], F_GETFD) & FD_CLOEXEC);
    close(ends[1]);
    freed();
}
END_TEST

/* ---- listen ------------------------------------------------------------------------------- */

START_TEST(listening_takes_the_first_peer_and_removes_the_socket)
{
    char *reply = NULL;
    int fd;
    pid_t pid;

    ck_assert_int_eq(qblk_monitor_listen(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_CONNECTING);
    ck_assert(fcntl(qblk_monitor_fd(monitor), F_GETFD) & FD_CLOEXEC);
    pid = fork();
    if (pid == 0) {
        fd = call_at(path);
        _exit(fd < 0 ? 1 : qmp_server_play(-1, fd, "! negotiate\n< {\"execute\": \"a\"}\n"
                                                   "> {\"return\": 5, \"id\": $id}\n! eof"));
    }
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), 0);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert(fcntl(qblk_monitor_fd(monitor), F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(qblk_monitor_execute(monitor, "a", NULL, 10000, &reply, &error), 0);
    ck_assert_str_eq(reply, "{\"return\": 5}");
    free(reply);
    freed();
    script_ended(pid);
}
END_TEST

START_TEST(an_existing_file_is_neither_used_nor_removed)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(qblk_monitor_listen(&monitor, path, &options, &error), -EADDRINUSE);
    ck_assert_int_eq(error.err, EADDRINUSE);
    ck_assert_str_eq(seen.order, "r");
    ck_assert_int_eq(count_fds(), fds_before);
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_socket_that_nobody_came_to_is_removed_with_the_monitor)
{
    ck_assert_int_eq(qblk_monitor_listen(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(access(path, F_OK), 0);
    freed();
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_str_eq(seen.order, "r");
}
END_TEST

START_TEST(listening_ends_after_wait_ms)
{
    options.wait_ms = 20;
    ck_assert_int_eq(qblk_monitor_listen(&monitor, path, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 10000, &error), -ETIMEDOUT);
    ck_assert_int_eq(error.code, QBLK_E_TIMEOUT);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    ck_assert_int_eq(qblk_monitor_fd(monitor), -1);
    ck_assert_int_eq(access(path, F_OK), -1);
    freed();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor_connect");
    TCase *tc = tcase_create("monitor_connect");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_missing_socket_is_no_monitor_and_is_released_once);
    tcase_add_test(tc, a_left_over_socket_refuses_the_connection);
    tcase_add_test(tc, open_leaves_nothing_behind_when_it_fails);
    tcase_add_test(tc, an_empty_path_is_an_argument_error);
    tcase_add_test(tc, options_without_their_size_are_refused);
    tcase_add_test(tc, options_of_an_older_caller_are_taken_as_far_as_they_go);
    tcase_add_test(tc, a_socket_that_appears_later_is_found);
    tcase_add_test(tc, waiting_for_a_socket_ends_after_wait_ms);
    tcase_add_test(tc, a_callers_timeout_leaves_the_waiting_as_it_is);
    tcase_add_test(tc, a_path_of_107_bytes_works);
    tcase_add_test(tc, a_path_of_108_bytes_is_refused_by_both_ways);
    tcase_add_test(tc, no_greeting_is_a_busy_monitor);
    tcase_add_test(tc, half_a_greeting_is_not_qmp);
    tcase_add_test(tc, garbage_is_not_qmp_and_is_shown);
    tcase_add_test(tc, a_first_message_that_is_no_greeting_is_not_qmp);
    tcase_add_test(tc, leftovers_of_an_earlier_client_are_no_greeting);
    tcase_add_test(tc, an_end_before_the_greeting_is_a_lost_connection);
    tcase_add_test(tc, an_end_inside_the_greeting_is_a_lost_connection);
    tcase_add_test(tc, refused_capabilities_are_told_with_qemus_text);
    tcase_add_test(tc, garbage_after_the_greeting_is_a_broken_protocol);
    tcase_add_test(tc, a_full_queue_of_the_listener_is_a_busy_monitor);
    tcase_add_test(tc, a_full_queue_of_the_listener_is_waited_for_at_rest);
    tcase_add_test(tc, a_reply_to_an_earlier_client_is_dropped_before_the_handshake_is_done);
    tcase_add_test(tc, the_id_of_the_capabilities_differs_from_connection_to_connection);
    tcase_add_test(tc, adopting_what_is_no_stream_socket_fails_and_closes_it);
    tcase_add_test(tc, adopting_a_closed_descriptor_fails);
    tcase_add_test(tc, adopting_with_bad_options_closes_the_descriptor_too);
    tcase_add_test(tc, an_adopted_descriptor_becomes_close_on_exec);
    tcase_add_test(tc, listening_takes_the_first_peer_and_removes_the_socket);
    tcase_add_test(tc, an_existing_file_is_neither_used_nor_removed);
    tcase_add_test(tc, a_socket_that_nobody_came_to_is_removed_with_the_monitor);
    tcase_add_test(tc, listening_ends_after_wait_ms);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

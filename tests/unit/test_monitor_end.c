/* The ends of a monitor: who hears of it, how often, in which order, and what may be called. */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../fake/qmp_server.h"
#include "base/mem.h"
#include "monitor_aid.h"
#include <qblk/ev.h>

#define EVENT "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n"

static struct local local;
static struct seen seen;
static qblk_monitor_options options;
static qblk_error error;
static int fds_before;

static void setup(void)
{
    fds_before = count_fds();
    memset(&error, 0, sizeof(error));
    options = seen_options(&seen);
    local.monitor = NULL;
    local.peer = -1;
}

static void teardown(void)
{
    local_hang_up(&local);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(count_fds(), fds_before);
}

static void ask(const char *name, struct told *told)
{
    char json[128];

    (void)snprintf(json, sizeof(json), "{\"execute\": \"%s\"}", name);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, json, -1, told_reply, told, &error), 0);
    ck_assert_int_eq(told->n, 0);
}

START_TEST(callbacks_come_in_the_promised_order)
{
    local_ready(&local, &options);
    local_say(&local, EVENT EVENT);
    ck_assert_int_eq(local_turn(&local), 0);
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    local_end(&local);
    ck_assert_str_eq(seen.order, "REEXr");
}
END_TEST

START_TEST(the_end_is_told_again_by_process_but_to_nobody_else)
{
    local_ready(&local, &options);
    local_hang_up(&local);
    for (int i = 0; i < 3; i++) {
        memset(&error, 0, sizeof(error));
        ck_assert_int_eq(qblk_monitor_process(local.monitor, POLLIN, &error), -ECONNRESET);
        ck_assert_int_eq(error.code, QBLK_E_LOST);
    }
    ck_assert_int_eq(seen.ends, 1);
    ck_assert_int_eq(qblk_monitor_why(local.monitor)->code, QBLK_E_LOST);
    ck_assert_int_eq(qblk_monitor_fd(local.monitor), -1);
    ck_assert_int_eq(qblk_monitor_events(local.monitor), 0);
    ck_assert_int_eq(qblk_monitor_timeout(local.monitor), -1);
    local_end(&local);
}
END_TEST

START_TEST(every_waiter_in_flight_hears_the_end_once)
{
    struct told told[3] = { { .n = 0 }, { .n = 0 }, { .n = 0 } };

    local_ready(&local, &options);
    for (int i = 0; i < 3; i++)
        ask("a", &told[i]);
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    local_end(&local);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(told[i].n, 1);
        ck_assert_int_eq(told[i].error.code, QBLK_E_LOST);
        ck_assert_int_eq(told[i].error.kind, QBLK_KIND_CONNECTION);
    }
}
END_TEST

START_TEST(every_waiter_not_written_yet_hears_the_end_once)
{
    struct told told[3] = { { .n = 0 }, { .n = 0 }, { .n = 0 } };

    local_start(&local, &options);
    for (int i = 0; i < 3; i++)
        ask("a", &told[i]);
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    local_end(&local);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(told[i].n, 1);
    ck_assert_str_eq(seen.order, "Xr");
}
END_TEST

START_TEST(freeing_tells_the_waiters_and_not_on_end)
{
    struct told flying = { .n = 0 }, held = { .n = 0 };

    local_ready(&local, &options);
    ask("a", &flying);
    local_end(&local);
    ck_assert_int_eq(flying.n, 1);
    ck_assert_int_eq(flying.error.code, QBLK_E_LOST);
    ck_assert_str_eq(seen.order, "Rr");

    options = seen_options(&seen);
    local_start(&local, &options);
    ask("a", &held);
    local_end(&local);
    ck_assert_int_eq(held.n, 1);
    ck_assert_str_eq(seen.order, "r");
}
END_TEST

START_TEST(freeing_sends_nothing)
{
    struct local other;

    local_ready(&local, &options);
    (void)local_heard(&local);
    other = local;
    local.monitor = qblk_monitor_free(local.monitor);
    ck_assert_str_eq(local_heard(&other), "");
}
END_TEST

START_TEST(freeing_nothing_is_fine)
{
    ck_assert_ptr_null(qblk_monitor_free(NULL));
    local_start(&local, &options);
    local_end(&local);
}
END_TEST

START_TEST(a_reply_before_the_end_counts)
{
    struct told told[2] = { { .n = 0 }, { .n = 0 } };

    local_ready(&local, &options);
    ask("a", &told[0]);
    local_say(&local, local_reply(local_heard(&local), "1"));
    ask("b", &told[1]);
    local_hang_up(&local);
    while (local_turn(&local) == 0)
        ;
    local_end(&local);
    ck_assert_int_eq(told[0].n, 1);
    ck_assert_str_eq(told[0].reply, "{\"return\": 1}");
    ck_assert_int_eq(told[1].n, 1);
    ck_assert_str_eq(told[1].reply, "");
}
END_TEST

START_TEST(what_qemu_said_last_is_read_though_it_cannot_be_written_to)
{
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    local_say(&local, EVENT);
    local_hang_up(&local);
    ask("a", &told); /* the write fails; the event is still to be read */
    while (local_turn(&local) == 0)
        ;
    local_end(&local);
    ck_assert_str_eq(seen.order, "REXr");
    ck_assert_int_eq(told.n, 1);
}
END_TEST

/* One that reads no more and may still talk: what was to be sent is not waited for at every turn. */
START_TEST(what_cannot_be_written_any_more_is_not_tried_again_and_again)
{
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    ck_assert_int_eq(shutdown(local.peer, SHUT_RD), 0);
    ask("a", &told);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(qblk_monitor_events(local.monitor) & POLLOUT, 0);
    local_say(&local, EVENT);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(seen.events, 1);
    ck_assert_int_eq(told.n, 0);
    local_hang_up(&local);
    while (local_turn(&local) == 0)
        ;
    ck_assert_int_eq(told.n, 1);
    local_end(&local);
}
END_TEST

/* What is no end of the connection's ends it all the same; here the descriptor is not a socket any more. */
START_TEST(a_write_that_fails_ends_the_monitor)
{
    struct told told = { .n = 0 };
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    local_ready(&local, &options);
    ck_assert_int_ge(null, 0);
    ck_assert_int_ge(dup2(null, qblk_monitor_fd(local.monitor)), 0);
    (void)close(null);
    ask("a", &told);
    ck_assert_int_eq(local_turn(&local), -ENOTSOCK);
    ck_assert_int_eq(told.n, 1);
    ck_assert_int_eq(told.error.code, QBLK_E_LOST);
    ck_assert_int_eq(seen.end.kind, QBLK_KIND_CONNECTION);
    ck_assert_msg(strncmp(seen.end.text, "writing to the monitor ", 23) == 0 &&
                  strstr(seen.end.text, strerror(ENOTSOCK)) != NULL, "%s", seen.end.text);
    local_end(&local);
}
END_TEST

START_TEST(an_end_in_the_middle_of_a_message_says_so)
{
    local_ready(&local, &options);
    local_say(&local, "{\"event\": \"ST");
    local_hang_up(&local);
    while (local_turn(&local) == 0)
        ;
    local_end(&local);
    ck_assert_int_eq(seen.end.code, QBLK_E_LOST);
    ck_assert_ptr_nonnull(strstr(seen.end.text, "middle"));
}
END_TEST

START_TEST(a_malformed_peer_is_not_a_lost_connection)
{
    struct told told = { .n = 0 };

    local_ready(&local, &options);
    ask("a", &told);
    local_say(&local, "{\"event\": nonsense}\r\n");
    ck_assert_int_eq(local_turn(&local), -EPROTO);
    local_end(&local);
    ck_assert_int_eq(seen.end.code, QBLK_E_PROTOCOL);
    ck_assert_int_eq(told.error.code, QBLK_E_PROTOCOL);
}
END_TEST

START_TEST(a_dead_monitor_takes_no_command)
{
    struct told told = { .n = 0 };
    char *reply = NULL;

    local_ready(&local, &options);
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    ck_assert_int_lt(qblk_monitor_send(local.monitor, "{\"execute\": \"a\"}", -1, told_reply, &told,
                                       &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    ck_assert_int_lt(qblk_monitor_send_fd(local.monitor, 0, &error), 0);
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "a", NULL, -1, &reply, &error),
                     -ECONNRESET);
    ck_assert_int_eq(qblk_monitor_wait_ready(local.monitor, -1, &error), -ECONNRESET);
    local_end(&local);
    ck_assert_int_eq(told.n, 0);
    ck_assert_ptr_null(reply);
}
END_TEST

/* ---- freeing inside a callback ------------------------------------------------------------ */

START_TEST(freeing_inside_on_ready_under_a_loop)
{
    seen.free_in = 'R';
    local_start(&local, &options);
    local_greet(&local);
    local_negotiate(&local);
    ck_assert_str_eq(seen.order, "Rr");
}
END_TEST

START_TEST(freeing_inside_on_event_ends_the_events)
{
    seen.free_in = 'E';
    local_ready(&local, &options);
    local_say(&local, EVENT EVENT EVENT);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_str_eq(seen.order, "REr");
}
END_TEST

START_TEST(freeing_inside_on_end_is_fine)
{
    struct told told = { .n = 0 };

    seen.free_in = 'X';
    local_ready(&local, &options);
    ask("a", &told);
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    ck_assert_str_eq(seen.order, "RXr");
    ck_assert_int_eq(told.n, 1);
}
END_TEST

START_TEST(freeing_inside_a_reply_tells_the_other_waiters)
{
    struct told first = { .frees = true }, second = { .n = 0 };

    local_ready(&local, &options);
    ask("a", &first);
    local_say(&local, local_reply(local_heard(&local), "{}"));
    local_say(&local, EVENT);
    ask("b", &second);
    (void)local_turn(&local);
    ck_assert_int_eq(first.n, 1);
    ck_assert_int_eq(second.n, 1);
    ck_assert_int_eq(second.error.code, QBLK_E_LOST);
    ck_assert_str_eq(seen.order, "Rr");
}
END_TEST

START_TEST(freeing_inside_a_waiter_that_hears_the_end_is_fine)
{
    struct told first = { .frees = true }, second = { .frees = true };

    local_ready(&local, &options);
    ask("a", &first);
    ask("b", &second);
    local_hang_up(&local);
    (void)local_turn(&local);
    ck_assert_int_eq(first.n, 1);
    ck_assert_int_eq(second.n, 1);
    ck_assert_str_eq(seen.order, "Rr");
}
END_TEST

START_TEST(freeing_inside_a_waiter_that_hears_of_the_freeing_is_fine)
{
    struct told told = { .frees = true };

    local_ready(&local, &options);
    ask("a", &told);
    local_end(&local);
    ck_assert_int_eq(told.n, 1);
}
END_TEST

/* A blocking call in whose course a callback frees the monitor must not touch it afterwards. */
static void freed_under(int r)
{
    ck_assert_int_eq(r, -ECONNRESET);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    ck_assert_int_eq(seen.releases, 1);
}

START_TEST(freeing_inside_on_ready_ends_wait_ready)
{
    pid_t pid;
    int fd = qmp_server_pair("! negotiate\n! eof", &pid);

    seen.free_in = 'R';
    ck_assert_int_eq(qblk_monitor_adopt(&local.monitor, fd, &options, &error), 0);
    freed_under(qblk_monitor_wait_ready(local.monitor, 10000, &error));
    script_ended(pid);
}
END_TEST

START_TEST(freeing_inside_on_event_ends_a_command)
{
    char *reply = NULL;
    pid_t pid;

    seen.free_in = 'E';
    local.monitor = scripted("! negotiate\n< {\"execute\": \"a\"}\n> {\"event\": \"STOP\"}\n! eof",
                             &options, &pid);
    freed_under(qblk_monitor_execute(local.monitor, "a", NULL, 10000, &reply, &error));
    ck_assert_ptr_null(reply);
    script_ended(pid);
}
END_TEST

START_TEST(freeing_inside_on_event_ends_the_waiting_for_events)
{
    char *event = NULL;
    pid_t pid;

    seen.free_in = 'E';
    local.monitor = scripted("! negotiate\n< {\"execute\": \"go\"}\n> {\"event\": \"STOP\"}\n! eof",
                             &options, &pid);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"go\"}", -1, NULL, NULL,
                                       &error), 0);
    freed_under(qblk_monitor_next_event(local.monitor, NULL, 10000, &event, &error));
    ck_assert_ptr_null(event);
    script_ended(pid);
}
END_TEST

START_TEST(freeing_inside_on_end_ends_a_command)
{
    char *reply = NULL;
    pid_t pid;

    seen.free_in = 'X';
    local.monitor = scripted("! negotiate\n< {\"execute\": \"a\"}\n! hup", &options, &pid);
    freed_under(qblk_monitor_execute(local.monitor, "a", NULL, 10000, &reply, &error));
    script_ended(pid);
}
END_TEST

static void op_frees_monitor(qblk_op *op, const qblk_op_report *report, const qblk_error *why,
                             void *arg)
{
    (void)op;
    (void)arg;
    ck_assert_int_eq(report->result, QBLK_RESULT_LOST);
    ck_assert_int_eq(why->code, QBLK_E_LOST);
    ck_assert_ptr_null(qblk_monitor_free(local.monitor));
}

static void op_frees_itself(qblk_op *op, const qblk_op_report *report, const qblk_error *why,
                            void *arg)
{
    (void)report;
    (void)why;
    (void)arg;
    qblk_op_free(op);
}

static void released(void *arg)
{
    ++*(int *)arg;
}

static qblk_op *pull(void (*on_end)(qblk_op *, const qblk_op_report *, const qblk_error *, void *),
                     int *releases)
{
    qblk_pull_options how = QBLK_INIT(qblk_pull_options);
    qblk_op *op = NULL;

    how.common.ops.size = sizeof(how.common.ops);
    how.common.ops.on_end = on_end;
    how.common.ops.release = released;
    how.common.arg = releases;
    ck_assert_int_eq(qblk_pull(local.monitor, "disk0", &how, &op, &error), 0);
    return op;
}

START_TEST(freeing_the_monitor_inside_an_operations_end_ends_the_waiting_for_it)
{
    int releases = 0;
    qblk_op *op;

    local_ready(&local, &options);
    op = pull(op_frees_monitor, &releases);
    local_hang_up(&local);
    freed_under(qblk_op_wait(op, 10000, NULL, &error));
    ck_assert_int_eq(releases, 1);
}
END_TEST

START_TEST(freeing_an_operation_inside_its_end_ends_the_waiting_for_it)
{
    int releases = 0;
    qblk_op *op;

    local_ready(&local, &options);
    op = pull(op_frees_itself, &releases);
    local_hang_up(&local);
    ck_assert_int_lt(qblk_op_wait(op, 10000, NULL, &error), 0);
    ck_assert_int_ne(error.code, QBLK_E_NONE);
    local_end(&local);
    ck_assert_int_eq(releases, 1);
}
END_TEST

static void waits_inside(qblk_monitor *monitor, const char *reply, const qblk_error *why, void *arg)
{
    (void)monitor;
    (void)why;
    if (reply != NULL)
        ck_assert_int_eq(qblk_op_wait(arg, 0, NULL, NULL), -EDEADLK);
}

/* A call inside that is refused does not make the one outside forget to look. */
START_TEST(freeing_an_operation_that_a_callback_has_waited_for_ends_the_waiting_for_it)
{
    int releases = 0;
    qblk_op *op;

    local_ready(&local, &options);
    op = pull(op_frees_itself, &releases);
    (void)local_heard(&local);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"a\"}", -1, waits_inside, op, &error), 0);
    local_say(&local, local_reply(local_heard(&local), "{}"));
    local_hang_up(&local);
    ck_assert_int_eq(qblk_op_wait(op, 10000, NULL, &error), -EINVAL);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    local_end(&local);
    ck_assert_int_eq(releases, 1);
}
END_TEST

/* ---- blocking inside a callback ----------------------------------------------------------- */

static void blocks(qblk_monitor *monitor, const char *reply, const qblk_error *why, void *arg)
{
    int *n = arg;
    char *text = NULL;
    qblk_error deadlock;

    (void)reply;
    (void)why;
    ck_assert_int_eq(qblk_monitor_execute(monitor, "b", NULL, 1, &text, &deadlock), -EDEADLK);
    ck_assert_int_eq(deadlock.code, QBLK_E_DEADLOCK);
    ck_assert_int_eq(qblk_monitor_command(monitor, "{\"execute\": \"b\"}", -1, 1, &text, NULL),
                     -EDEADLK);
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 1, &text, NULL), -EDEADLK);
    ck_assert_int_eq(qblk_monitor_wait_ready(monitor, 1, NULL), -EDEADLK);
    ck_assert_ptr_null(text);
    ++*n;
}

START_TEST(blocking_inside_a_callback_is_refused_and_sends_nothing)
{
    int n = 0;

    local_ready(&local, &options);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"a\"}", -1, blocks, &n,
                                       &error), 0);
    local_say(&local, local_reply(local_heard(&local), "{}"));
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(n, 1);
    ck_assert_str_eq(local_heard(&local), "");
    local_end(&local);
}
END_TEST

/* ---- libev -------------------------------------------------------------------------------- */

START_TEST(a_loop_turns_the_monitor_and_lets_go_of_it)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    pid_t pid;
    int fd = qmp_server_pair("! negotiate\n> {\"event\": \"STOP\"}\n! hup", &pid);

    seen.free_in = 'X';
    ck_assert_int_eq(qblk_monitor_adopt(&local.monitor, fd, &options, &error), 0);
    ck_assert_int_eq(qblk_monitor_attach_ev(local.monitor, loop, &error), 0);
    ck_assert_int_eq(qblk_monitor_attach_ev(local.monitor, loop, &error), -EBUSY);
    ev_run(loop, 0); /* ends since nothing is left in it */
    ck_assert_str_eq(seen.order, "REXr");
    ev_loop_destroy(loop);
    script_ended(pid);
}
END_TEST

START_TEST(a_detached_monitor_is_not_turned_any_more)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);

    local_start(&local, &options);
    ck_assert_int_eq(qblk_monitor_attach_ev(local.monitor, loop, &error), 0);
    qblk_monitor_detach_ev(local.monitor);
    qblk_monitor_detach_ev(local.monitor);
    local_hang_up(&local);
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert_int_eq(seen.ends, 0);
    local_end(&local);
    ev_loop_destroy(loop);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------- */

/* A peer that answers each command as it comes. */
static void play_peer(void)
{
    const char *heard = local_heard(&local);

    if (heard[0] == '\0')
        return;
    local_say(&local, EVENT);
    local_say(&local, local_reply(heard, "{}"));
}

/* A life with memory for n allocations: what fails is told, once. Returns whether nothing did. */
static bool life(unsigned long n)
{
    struct told told = { .n = 0 };
    char *event = NULL;
    int fds[2], r;
    bool was_taken = false;

    options = seen_options(&seen);
    options.queue_events = true;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    local.peer = fds[1];
    local_say(&local, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
    mem_fail_after(n);
    r = qblk_monitor_adopt(&local.monitor, fds[0], &options, &error);
    if (r < 0)
        ck_assert_int_eq(r, -ENOMEM);
    for (int i = 0; i < 6 && r == 0; i++) {
        if (i == 1)
            was_taken = qblk_monitor_send(local.monitor, "{\"execute\": \"a\", \"id\": [1]}", -1,
                                          told_reply, &told, &error) == 0;
        (void)local_turn(&local);
        play_peer();
    }
    if (r == 0 && qblk_monitor_next_event(local.monitor, NULL, 0, &event, &error) < 0)
        ck_assert_int_ne(error.code, QBLK_E_NONE);
    free(event);
    mem_fail_after(0);
    if (r == 0)
        local.monitor = qblk_monitor_free(local.monitor);
    local_hang_up(&local);
    ck_assert_int_eq(told.n, was_taken ? 1 : 0);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_le(seen.ends, 1);
    ck_assert_int_eq(count_fds(), fds_before);
    return event != NULL && strcmp(told.reply, "{\"return\": {}, \"id\": [1]}") == 0;
}

START_TEST(whichever_allocation_fails_is_told_and_leaves_nothing)
{
    unsigned long n = 1;

    while (!life(n)) {
        n++;
        ck_assert_int_lt((int)n, 1000);
    }
#ifdef QBLK_TEST_MEM
    ck_assert_int_gt((int)n, 8);
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor_end");
    TCase *tc = tcase_create("monitor_end");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, callbacks_come_in_the_promised_order);
    tcase_add_test(tc, the_end_is_told_again_by_process_but_to_nobody_else);
    tcase_add_test(tc, every_waiter_in_flight_hears_the_end_once);
    tcase_add_test(tc, every_waiter_not_written_yet_hears_the_end_once);
    tcase_add_test(tc, freeing_tells_the_waiters_and_not_on_end);
    tcase_add_test(tc, freeing_sends_nothing);
    tcase_add_test(tc, freeing_nothing_is_fine);
    tcase_add_test(tc, a_reply_before_the_end_counts);
    tcase_add_test(tc, what_qemu_said_last_is_read_though_it_cannot_be_written_to);
    tcase_add_test(tc, what_cannot_be_written_any_more_is_not_tried_again_and_again);
    tcase_add_test(tc, a_write_that_fails_ends_the_monitor);
    tcase_add_test(tc, an_end_in_the_middle_of_a_message_says_so);
    tcase_add_test(tc, a_malformed_peer_is_not_a_lost_connection);
    tcase_add_test(tc, a_dead_monitor_takes_no_command);
    tcase_add_test(tc, freeing_inside_on_ready_under_a_loop);
    tcase_add_test(tc, freeing_inside_on_event_ends_the_events);
    tcase_add_test(tc, freeing_inside_on_end_is_fine);
    tcase_add_test(tc, freeing_inside_a_reply_tells_the_other_waiters);
    tcase_add_test(tc, freeing_inside_a_waiter_that_hears_the_end_is_fine);
    tcase_add_test(tc, freeing_inside_a_waiter_that_hears_of_the_freeing_is_fine);
    tcase_add_test(tc, freeing_inside_on_ready_ends_wait_ready);
    tcase_add_test(tc, freeing_inside_on_event_ends_a_command);
    tcase_add_test(tc, freeing_inside_on_event_ends_the_waiting_for_events);
    tcase_add_test(tc, freeing_inside_on_end_ends_a_command);
    tcase_add_test(tc, freeing_the_monitor_inside_an_operations_end_ends_the_waiting_for_it);
    tcase_add_test(tc, freeing_an_operation_that_a_callback_has_waited_for_ends_the_waiting_for_it);
    tcase_add_test(tc, freeing_an_operation_inside_its_end_ends_the_waiting_for_it);
    tcase_add_test(tc, blocking_inside_a_callback_is_refused_and_sends_nothing);
    tcase_add_test(tc, a_loop_turns_the_monitor_and_lets_go_of_it);
    tcase_add_test(tc, a_detached_monitor_is_not_turned_any_more);
    tcase_add_test(tc, whichever_allocation_fails_is_told_and_leaves_nothing);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

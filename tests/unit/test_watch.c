/* Descriptors and times of what lives on a monitor: the loop outside sees one monitor all the same. */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/monitor.h"
#include "monitor_aid.h"
#include <qblk/ev.h>

/* One second descriptor, whose bytes are counted, and one time. */
struct pipe_end {
    struct monitor_watch watch;
    struct monitor_timer timer;
    int ours, theirs;
    int bytes, turns, due;
    struct pipe_end *removes; /* in ready() */
    bool frees;               /* the monitor, in ready() */
    bool again;               /* sets its time anew when it comes */
    struct ev_loop *breaks;
};

static struct local local;
static struct seen seen;
static qblk_monitor_options options;
static qblk_error error;
static struct pipe_end one, two;
static int fds_before;

static void ready(struct monitor_watch *watch)
{
    struct pipe_end *end = LIST_ENTRY(watch, struct pipe_end, watch);
    qblk_monitor *monitor = watch->monitor;
    char bytes[64];
    ssize_t n = recv(watch->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    end->turns++;
    if (n > 0)
        end->bytes += (int)n;
    if (end->removes != NULL)
        monitor_watch_remove(&end->removes->watch);
    if (end->frees)
        (void)qblk_monitor_free(monitor);
    if (end->breaks != NULL && n > 0)
        ev_break(end->breaks, EVBREAK_ALL);
}

static void due(struct monitor_timer *timer)
{
    struct pipe_end *end = LIST_ENTRY(timer, struct pipe_end, timer);

    end->due++;
    if (end->again)
        monitor_timer_set(local.monitor, timer, monitor_now_ms());
    if (end->breaks != NULL)
        ev_break(end->breaks, EVBREAK_ALL);
}

static void open_end(struct pipe_end *end)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    end->ours = fds[0];
    end->theirs = fds[1];
    end->watch.ready = ready;
    end->timer.due = due;
}

static void close_end(struct pipe_end *end)
{
    monitor_watch_remove(&end->watch);
    monitor_timer_stop(&end->timer);
    close(end->ours);
    close(end->theirs);
}

static void setup(void)
{
    fds_before = count_fds();
    memset(&error, 0, sizeof(error));
    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));
    open_end(&one);
    open_end(&two);
    options = seen_options(&seen);
    local_ready(&local, &options);
}

static void teardown(void)
{
    close_end(&one);
    close_end(&two);
    local_end(&local);
    ck_assert_int_eq(count_fds(), fds_before);
}

static void add(struct pipe_end *end)
{
    ck_assert_msg(monitor_watch_add(local.monitor, &end->watch, end->ours, POLLIN, &error) == 0,
                  "%s", error.text);
}

static void say(struct pipe_end *end)
{
    ck_assert_int_eq(send(end->theirs, "x", 1, MSG_NOSIGNAL), 1);
}

/* What poll(2) says of the descriptor that is handed out, without waiting. */
static bool is_readable(void)
{
    struct pollfd pfd = { .fd = qblk_monitor_fd(local.monitor),
                          .events = qblk_monitor_events(local.monitor) };

    return poll(&pfd, 1, 0) == 1;
}

START_TEST(without_a_watch_the_socket_itself_is_handed_out)
{
    int plain = qblk_monitor_fd(local.monitor), fds = count_fds();

    add(&one);
    ck_assert_int_ne(qblk_monitor_fd(local.monitor), plain);
    add(&two);
    monitor_watch_remove(&one.watch);
    ck_assert_int_ne(qblk_monitor_fd(local.monitor), plain);
    monitor_watch_remove(&two.watch);
    ck_assert_int_eq(qblk_monitor_fd(local.monitor), plain);
    ck_assert_int_eq(count_fds(), fds);
    monitor_watch_remove(&two.watch); /* once more does nothing */
}
END_TEST

START_TEST(each_descriptor_wakes_the_loop)
{
    add(&one);
    add(&two);
    ck_assert(!is_readable());
    say(&one);
    ck_assert(is_readable());
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.bytes, 1);
    ck_assert(!is_readable());
    say(&two);
    ck_assert(is_readable());
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(two.bytes, 1);
    local_say(&local, "{\"event\": \"E\"}\r\n");
    ck_assert(is_readable());
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(seen.events, 1);
    ck_assert(!is_readable());
}
END_TEST

START_TEST(what_is_watched_for_can_be_changed)
{
    add(&one);
    monitor_watch_want(&one.watch, POLLIN | POLLOUT);
    ck_assert(is_readable());
    monitor_watch_want(&one.watch, POLLIN);
    ck_assert(!is_readable());
}
END_TEST

START_TEST(output_that_waits_for_the_socket_wakes_the_loop_too)
{
    char *json = malloc(4 << 20);
    int size = 4096;

    ck_assert_ptr_nonnull(json);
    (void)setsockopt(qblk_monitor_fd(local.monitor), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    memset(json, ' ', 4 << 20);
    memcpy(json, "{\"execute\":\"a\"", 14);
    memcpy(json + (4 << 20) - 2, "}", 2);
    add(&one);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, json, -1, NULL, NULL, &error), 0);
    memset(json + 1, ' ', 13);
    memcpy(json, "{\"execute\":\"", 12);
    memset(json + 12, 'a', (4 << 20) - 16);
    memcpy(json + (4 << 20) - 4, "\"}", 3);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, json, -1, NULL, NULL, &error), 0);
    ck_assert(!is_readable());
    (void)local_heard(&local);
    ck_assert(is_readable());
    while (is_readable()) {
        ck_assert_int_eq(local_turn(&local), 0);
        (void)local_heard(&local);
    }
    ck_assert(outq_is_empty(&local.monitor->out));
    free(json);
}
END_TEST

START_TEST(any_watch_may_go_in_any_callback)
{
    add(&one);
    add(&two);
    one.removes = &two;
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.turns, 1);
    ck_assert_int_eq(two.turns, 0);
    one.removes = &one;
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.turns, 2);
    ck_assert_ptr_null(local.monitor->watch_set);
}
END_TEST

/* As a child of the monitor's would, which is told when the monitor goes. */
static struct monitor_child child;

static void child_freed(struct monitor_child *it)
{
    (void)it;
    monitor_watch_remove(&one.watch);
    monitor_timer_stop(&one.timer);
}

START_TEST(the_monitor_may_be_freed_in_a_callback)
{
    memset(&child, 0, sizeof(child));
    child.freed = child_freed;
    list_append(&local.monitor->children, &child.link);
    add(&one);
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms());
    one.frees = true;
    (void)local_turn(&local);
    local.monitor = NULL;
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(one.due, 0);
}
END_TEST

START_TEST(a_watch_goes_on_after_the_connection_has_ended)
{
    add(&one);
    local_hang_up(&local);
    ck_assert(is_readable());
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    ck_assert_int_eq(seen.ends, 1);
    ck_assert(!is_readable());
    say(&one);
    ck_assert(is_readable());
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    ck_assert_int_eq(one.bytes, 1);
    monitor_watch_remove(&one.watch);
    ck_assert_int_eq(qblk_monitor_fd(local.monitor), -1);
    ck_assert_int_eq(qblk_monitor_timeout(local.monitor), -1);
}
END_TEST

START_TEST(a_time_comes_once_and_not_before)
{
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms() + 100000);
    ck_assert_int_gt(qblk_monitor_timeout(local.monitor), 90000);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.due, 0);
    monitor_timer_set(local.monitor, &two.timer, monitor_now_ms());
    ck_assert_int_eq(qblk_monitor_timeout(local.monitor), 0);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(two.due, 1);
    ck_assert_int_gt(qblk_monitor_timeout(local.monitor), 90000);
    monitor_timer_stop(&one.timer);
    monitor_timer_stop(&one.timer);
    ck_assert_int_eq(qblk_monitor_timeout(local.monitor), -1);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(two.due, 1);
}
END_TEST

START_TEST(a_time_set_anew_in_its_callback_waits_for_the_next_turn)
{
    one.again = true;
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms());
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.due, 1);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(one.due, 2);
}
END_TEST

START_TEST(a_time_comes_on_a_dead_monitor_too)
{
    local_hang_up(&local);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms());
    ck_assert_int_eq(qblk_monitor_timeout(local.monitor), 0);
    ck_assert_int_eq(local_turn(&local), -ECONNRESET);
    ck_assert_int_eq(one.due, 1);
}
END_TEST

START_TEST(a_blocking_call_turns_them_too)
{
    char *text = NULL;

    add(&one);
    say(&one);
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms() + 1);
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, NULL, 50, &text, &error), 0);
    ck_assert_int_eq(one.bytes, 1);
    ck_assert_int_eq(one.due, 1);
}
END_TEST

START_TEST(libev_follows_the_change_of_descriptor)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);

    ck_assert_int_eq(qblk_monitor_attach_ev(local.monitor, loop, &error), 0);
    ev_run(loop, EVRUN_NOWAIT);
    one.breaks = loop;
    for (int i = 0; i < 3; i++) {
        add(&one);
        say(&one);
        ev_run(loop, 0);
        ck_assert_int_eq(one.bytes, i + 1);
        monitor_watch_remove(&one.watch);
        local_say(&local, "{\"event\": \"E\"}\r\n");
        while (seen.events <= i && seen.ends == 0)
            ev_run(loop, EVRUN_ONCE);
        ck_assert_int_eq(seen.events, i + 1);
    }
    monitor_timer_set(local.monitor, &one.timer, monitor_now_ms() + 1);
    ev_run(loop, 0);
    ck_assert_int_eq(one.due, 1);
    qblk_monitor_detach_ev(local.monitor);
    ev_loop_destroy(loop);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_watched_is_refused_and_leaves_nothing)
{
    int fds = count_fds();

    ck_assert_int_eq(monitor_watch_add(local.monitor, &one.watch, -1, POLLIN, &error), -EBADF);
    ck_assert_int_eq(error.code, QBLK_E_SYSTEM);
    ck_assert_int_eq(count_fds(), fds);
    ck_assert_ptr_null(local.monitor->watch_set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *tc = tcase_create("watch");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, without_a_watch_the_socket_itself_is_handed_out);
    tcase_add_test(tc, each_descriptor_wakes_the_loop);
    tcase_add_test(tc, what_is_watched_for_can_be_changed);
    tcase_add_test(tc, output_that_waits_for_the_socket_wakes_the_loop_too);
    tcase_add_test(tc, any_watch_may_go_in_any_callback);
    tcase_add_test(tc, the_monitor_may_be_freed_in_a_callback);
    tcase_add_test(tc, a_watch_goes_on_after_the_connection_has_ended);
    tcase_add_test(tc, a_time_comes_once_and_not_before);
    tcase_add_test(tc, a_time_set_anew_in_its_callback_waits_for_the_next_turn);
    tcase_add_test(tc, a_time_comes_on_a_dead_monitor_too);
    tcase_add_test(tc, a_blocking_call_turns_them_too);
    tcase_add_test(tc, libev_follows_the_change_of_descriptor);
    tcase_add_test(tc, a_descriptor_that_cannot_be_watched_is_refused_and_leaves_nothing);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

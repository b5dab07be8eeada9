/* Events: handed on as they come, or taken one by one from the queue. */
#include <check.h>
#include <errno.h>
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
static char *text;
static int fds_before;

static void setup(void)
{
    fds_before = count_fds();
    memset(&error, 0, sizeof(error));
    options = seen_options(&seen);
    text = NULL;
}

static void teardown(void)
{
    local_end(&local);
    ck_assert_int_eq(seen.releases, 1);
    ck_assert_int_eq(count_fds(), fds_before);
}

static void queueing(void)
{
    options.queue_events = true;
    local_ready(&local, &options);
}

/* One event, numbered. */
static void emit(const char *name, int number)
{
    char json[128];

    (void)snprintf(json, sizeof(json), "{\"event\": \"%s\", \"data\": {\"n\": %d}}\r\n", name,
                   number);
    local_say(&local, json);
}

static int next(const char *pattern, int timeout_ms)
{
    const char *const patterns[] = { pattern, NULL };

    free(text);
    text = NULL;
    memset(&error, 0, sizeof(error));
    return qblk_monitor_next_event(local.monitor, pattern != NULL ? patterns : NULL, timeout_ms,
                                   &text, &error);
}

static void next_is(const char *pattern, const char *name, int number)
{
    char json[128];

    ck_assert_int_eq(next(pattern, 0), 1);
    (void)snprintf(json, sizeof(json), "{\"event\": \"%s\", \"data\": {\"n\": %d}}", name, number);
    ck_assert_str_eq(text, json);
    free(text);
    text = NULL;
}

static void nothing_comes(const char *pattern)
{
    ck_assert_int_eq(next(pattern, 0), 0);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(error.code, QBLK_E_NONE);
}

START_TEST(every_event_is_handed_to_on_event_with_its_name)
{
    local_ready(&local, &options);
    emit("STOP", 1);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_str_eq(seen.last_event, "STOP");
    emit("JOB_STATUS_CHANGE", 2);
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_str_eq(seen.last_event, "JOB_STATUS_CHANGE");
    ck_assert_int_eq(seen.events, 2);
}
END_TEST

START_TEST(events_before_the_monitor_is_ready_are_not_for_us)
{
    local_start(&local, &options);
    local_greet(&local);
    emit("STOP", 1);
    ck_assert_int_eq(local_turn(&local), 0);
    local_negotiate(&local);
    ck_assert_int_eq(seen.events, 0);
}
END_TEST

START_TEST(an_event_is_read_though_nothing_may_be_waited_for)
{
    queueing();
    emit("STOP", 1);
    next_is(NULL, "STOP", 1);
    nothing_comes(NULL);
}
END_TEST

START_TEST(queued_events_come_in_order)
{
    queueing();
    for (int i = 0; i < 50; i++)
        emit("STOP", i);
    for (int i = 0; i < 50; i++)
        next_is(NULL, "STOP", i);
    nothing_comes(NULL);
}
END_TEST

START_TEST(a_filter_loses_nothing_and_keeps_the_order)
{
    queueing();
    emit("STOP", 1);
    emit("BLOCK_JOB_READY", 2);
    emit("RESUME", 3);
    emit("BLOCK_JOB_ERROR", 4);
    next_is("BLOCK_JOB_*", "BLOCK_JOB_READY", 2);
    next_is("R?SUME", "RESUME", 3);
    nothing_comes("SHUTDOWN");
    emit("SHUTDOWN", 5);
    next_is("SHUTDOWN", "SHUTDOWN", 5);
    next_is(NULL, "STOP", 1);
    next_is(NULL, "BLOCK_JOB_ERROR", 4);
    nothing_comes(NULL);
}
END_TEST

START_TEST(any_of_several_patterns_will_do)
{
    static const char *const patterns[] = { "STOP", "RESUME", NULL };
    static const char *const none[] = { NULL };

    queueing();
    emit("SHUTDOWN", 1);
    emit("RESUME", 2);
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, patterns, 0, &text, &error), 1);
    ck_assert_ptr_nonnull(strstr(text, "RESUME"));
    free(text);
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, none, 0, &text, &error), 1);
    ck_assert_ptr_nonnull(strstr(text, "SHUTDOWN"));
    free(text);
}
END_TEST

START_TEST(the_first_call_turns_queueing_on)
{
    local_ready(&local, &options);
    emit("STOP", 1);
    ck_assert_int_eq(local_turn(&local), 0);
    nothing_comes(NULL);
    emit("STOP", 2);
    ck_assert_int_eq(local_turn(&local), 0);
    next_is(NULL, "STOP", 2);
}
END_TEST

START_TEST(a_wait_that_nothing_ends_times_out_and_leaves_the_error_alone)
{
    queueing();
    emit("STOP", 1);
    ck_assert_int_eq(next("RESUME", 10), 0);
    ck_assert_int_eq(error.code, QBLK_E_NONE);
    next_is(NULL, "STOP", 1);
}
END_TEST

START_TEST(events_before_the_end_are_delivered_before_the_end_is_reported)
{
    queueing();
    emit("STOP", 1);
    emit("RESUME", 2);
    emit("STOP", 3);
    local_hang_up(&local);
    next_is("STOP", "STOP", 1);
    next_is("STOP", "STOP", 3);
    ck_assert_int_eq(next("STOP", 1000), -ECONNRESET);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    /* What did not match is still there. */
    next_is(NULL, "RESUME", 2);
    ck_assert_int_eq(next(NULL, 1000), -ECONNRESET);
    ck_assert_int_eq(next(NULL, -1), -ECONNRESET);
}
END_TEST

START_TEST(events_before_garbage_are_delivered_before_it_is_reported)
{
    queueing();
    local_say(&local, "{\"event\": \"STOP\", \"data\": {\"n\": 1}}\r\nnonsense\r\n");
    next_is(NULL, "STOP", 1);
    ck_assert_int_eq(next(NULL, 1000), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
}
END_TEST

/* Fills the queue beyond its limit; returns how many events are in it. */
static int overflow(void)
{
    int n = 0, r;

    for (int i = 0; i < 100; i++) {
        emit("STOP", i);
        ck_assert_int_eq(local_turn(&local), 0);
    }
    while ((r = next("STOP", 0)) == 1)
        n++;
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_int_eq(error.err, ENOBUFS);
    return n;
}

START_TEST(dropped_events_are_told_once_after_those_that_were_kept)
{
    int n;

    options.max_events = 4096;
    queueing();
    n = overflow();
    ck_assert_int_gt(n, 10);
    ck_assert_int_lt(n, 100);
    ck_assert_int_eq(seen.events, 100);
    nothing_comes(NULL);
    emit("RESUME", 7);
    next_is(NULL, "RESUME", 7);
}
END_TEST

START_TEST(dropped_events_are_told_even_if_the_connection_has_ended)
{
    options.max_events = 4096;
    queueing();
    for (int i = 0; i < 100; i++)
        emit("STOP", i);
    local_hang_up(&local);
    while (local_turn(&local) == 0)
        ;
    while (next(NULL, 0) == 1)
        ;
    ck_assert_int_eq(error.err, ENOBUFS);
    ck_assert_int_eq(next(NULL, 0), -ECONNRESET);
}
END_TEST

START_TEST(taking_events_makes_room_for_others)
{
    options.max_events = 4096;
    queueing();
    for (int i = 0; i < 1000; i++) {
        emit("STOP", i);
        next_is(NULL, "STOP", i);
    }
}
END_TEST

START_TEST(an_event_larger_than_the_queue_is_told_as_dropped)
{
    char big[8192];

    options.max_events = 4096;
    queueing();
    (void)snprintf(big, sizeof(big), "{\"event\": \"STOP\", \"data\": {\"pad\": \"%05000d\"}}\r\n",
                   0);
    local_say(&local, big);
    ck_assert_int_eq(next(NULL, 0), -ENOBUFS);
    nothing_comes(NULL);
}
END_TEST

START_TEST(all_that_has_arrived_is_read_at_once)
{
    static char many[150000];
    size_t len = 0;
    int n = 0;

    queueing();
    while (len < sizeof(many) - 200) {
        len += (size_t)snprintf(many + len, sizeof(many) - len,
                                "{\"event\": \"STOP\", \"data\": {\"n\": %d}}\r\n", n++);
    }
    (void)snprintf(many + len, sizeof(many) - len,
                   "{\"event\": \"LAST\", \"data\": {\"n\": 0}}\r\n");
    local_say(&local, many);
    next_is("LAST", "LAST", 0);
    for (int i = 0; i < n; i++)
        next_is(NULL, "STOP", i);
}
END_TEST

START_TEST(an_event_keeps_numbers_beyond_63_bits_and_all_its_text)
{
    static const char json[] = "{\"timestamp\": {\"seconds\": 18446744073709551615}, \"data\": "
                               "{\"text\": \"\\u20AC \\\"x\\\"\", \"f\": 1.50}, \"event\": \"X\"}";

    queueing();
    local_say(&local, json);
    ck_assert_int_eq(next(NULL, 0), 1);
    ck_assert_str_eq(text, json);
    free(text);
}
END_TEST

START_TEST(an_event_ends_a_wait_without_limit)
{
    pid_t pid;
    struct seen ignored;
    qblk_monitor_options other = seen_options(&ignored);
    qblk_monitor *monitor;

    queueing();
    other.queue_events = true;
    monitor = scripted("! negotiate\n< {\"execute\": \"go\"}\n> {\"event\": \"A\"}\n"
                       "> {\"event\": \"B\"}\n! eof", &other, &pid);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\": \"go\"}", -1, NULL, NULL,
                                       &error), 0);
    ck_assert_int_eq(qblk_monitor_next_event(monitor, (const char *const[]){ "B", NULL }, -1, &text,
                                             &error), 1);
    ck_assert_str_eq(text, "{\"event\": \"B\"}");
    free(text);
    (void)qblk_monitor_free(monitor);
    script_ended(pid);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor_events");
    TCase *tc = tcase_create("monitor_events");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_event_is_handed_to_on_event_with_its_name);
    tcase_add_test(tc, events_before_the_monitor_is_ready_are_not_for_us);
    tcase_add_test(tc, an_event_is_read_though_nothing_may_be_waited_for);
    tcase_add_test(tc, queued_events_come_in_order);
    tcase_add_test(tc, a_filter_loses_nothing_and_keeps_the_order);
    tcase_add_test(tc, any_of_several_patterns_will_do);
    tcase_add_test(tc, the_first_call_turns_queueing_on);
    tcase_add_test(tc, a_wait_that_nothing_ends_times_out_and_leaves_the_error_alone);
    tcase_add_test(tc, events_before_the_end_are_delivered_before_the_end_is_reported);
    tcase_add_test(tc, events_before_garbage_are_delivered_before_it_is_reported);
    tcase_add_test(tc, dropped_events_are_told_once_after_those_that_were_kept);
    tcase_add_test(tc, dropped_events_are_told_even_if_the_connection_has_ended);
    tcase_add_test(tc, taking_events_makes_room_for_others);
    tcase_add_test(tc, an_event_larger_than_the_queue_is_told_as_dropped);
    tcase_add_test(tc, all_that_has_arrived_is_read_at_once);
    tcase_add_test(tc, an_event_keeps_numbers_beyond_63_bits_and_all_its_text);
    tcase_add_test(tc, an_event_ends_a_wait_without_limit);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Peers that flood, stall and never read: what is held of them is counted, and it ends in time. */
#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../starve/case.h"
#include "job/set.h"
#include "monitor_aid.h"

#define MIB ((size_t)1 << 20)
#define SLACK ((size_t)64 << 10)

/* With a sanitizer's allocator there is nothing to be counted. */
static bool is_counting(void)
{
    struct mallinfo2 before = mallinfo2(), after;
    void *volatile p = malloc(5000);

    after = mallinfo2();
    free(p);
    return after.uordblks > before.uordblks;
}

static size_t held(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void expect_at_most(size_t before, size_t limit)
{
    size_t now = held();

    if (is_counting())
        ck_assert_uint_le(now, before + limit);
}

static qblk_monitor_options options_of(size_t message, size_t output, size_t events)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);

    options.max_message = message;
    options.max_output = output;
    options.max_events = events;
    return options;
}

/* Says n times the same, turning the monitor whenever its socket is full. */
static int flood(struct local *local, const char *text, size_t n)
{
    size_t len = strlen(text), at = 0;
    int r = 0;

    while (n > 0 && r == 0) {
        ssize_t sent = send(local->peer, text + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0) {
            r = local_turn(local);
            continue;
        }
        at += (size_t)sent;
        if (at == len) {
            at = 0;
            n--;
        }
    }
    while (r == 0 && poll(&(struct pollfd){ qblk_monitor_fd(local->monitor), POLLIN, 0 }, 1, 0) > 0)
        r = local_turn(local);
    return r;
}

static char *long_text(const char *first, size_t len, const char *last)
{
    char *text = malloc(strlen(first) + len + strlen(last) + 1);

    ck_assert_ptr_nonnull(text);
    strcpy(text, first);
    memset(text + strlen(first), 'x', len);
    strcpy(text + strlen(first) + len, last);
    return text;
}

START_TEST(an_idle_monitor_holds_little_whatever_came_before)
{
    struct local local;
    size_t before = held();
    char *text = long_text("{\"event\": \"BIG\", \"data\": \"", 16 * MIB, "\"}\r\n");

    local_ready(&local, NULL);
    ck_assert_int_eq(flood(&local, text, 2), 0);
    free(text);
    ck_assert_int_eq(flood(&local, "{\"event\": \"SMALL\"}\r\n", 100000), 0);
    (void)local_heard(&local);
    expect_at_most(before, 8192);
    local_end(&local);
}
END_TEST

START_TEST(events_that_nobody_takes_are_held_up_to_the_limit)
{
    qblk_monitor_options options = options_of(0, 0, MIB);
    struct local local;
    size_t before;
    char *json;
    char *text = long_text("{\"event\": \"FLOOD\", \"data\": \"", 1000, "\"}\r\n");

    options.queue_events = true;
    local_ready(&local, &options);
    before = held();
    ck_assert_int_eq(flood(&local, text, (size_t)case_many(32 * 1024, 2 * 1024)), 0);
    expect_at_most(before, MIB + MIB / 8 + SLACK);
    while (qblk_monitor_next_event(local.monitor, NULL, 0, &json, NULL) == 1)
        free(json);
    expect_at_most(before, SLACK);
    free(text);
    local_end(&local);
}
END_TEST

START_TEST(a_message_without_end_is_held_up_to_the_cap)
{
    qblk_monitor_options options = options_of(MIB, 0, 0);
    struct local local;
    size_t before;
    int r = 0;

    local_ready(&local, &options);
    before = held();
    local_say(&local, "{\"return\": \"");
    for (int i = 0; i < 4000 && r == 0; i++) {
        r = flood(&local, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 64);
        expect_at_most(before, 2 * MIB + SLACK);
    }
    ck_assert_int_eq(r, -EPROTO);
    ck_assert_ptr_nonnull(strstr(qblk_monitor_why(local.monitor)->text, "more than 1048576 bytes"));
    local_end(&local);
}
END_TEST

START_TEST(a_peer_that_does_not_read_is_held_up_to_the_limit)
{
    qblk_monitor_options options = options_of(0, MIB, 0);
    struct local local;
    struct told told = { .n = 0 };
    size_t before;
    int n = 0, r = 0;
    char *text = long_text("{\"execute\":\"a\",\"arguments\":{\"x\":\"", 10000, "\"}}");

    local_ready(&local, &options);
    before = held();
    while (r == 0 && n < 100000) {
        r = qblk_monitor_send(local.monitor, text, -1, told_reply, &told, NULL);
        n += r == 0;
    }
    ck_assert_int_eq(r, -EMSGSIZE);
    /* A buffer that grows is doubled. */
    expect_at_most(before, 2 * MIB + (size_t)n * 256 + SLACK);
    free(text);
    local_end(&local);
    ck_assert_int_eq(told.n, n);
}
END_TEST

START_TEST(jobs_that_are_only_said_to_be_there_are_held_up_to_a_limit)
{
    struct job_set *set = job_set_new(NULL, NULL, NULL, NULL);
    int many = case_many(JOB_SET_MAX + 1000, 500), n = 0;
    char id[24];

    ck_assert_ptr_nonnull(set);
    for (int i = 0; i < many; i++) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        job_set_status(set, id, "created", 0);
    }
    for (const qblk_job *job = NULL; (job = job_set_next(set, job)) != NULL;)
        n++;
    ck_assert_int_eq(n, many < JOB_SET_MAX ? many : JOB_SET_MAX);
    ck_assert(job_set_has_open(set));
    job_set_free(set);
}
END_TEST

/* Ids and errors of any length: each test is a process of its own, so that nothing else was held. */
START_TEST(what_is_said_of_jobs_is_held_up_to_a_limit)
{
    struct job_set *set = job_set_new(NULL, NULL, NULL, NULL);
    char *text = long_text("", 1 << 20, "");
    struct block_event_data event = { .kind = BLOCK_COMPLETED, .type = text, .error = text };
    size_t before = held();
    char id[24];
    int n = 0;

    ck_assert_ptr_nonnull(set);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof(id), "%d", i);
        memcpy(text, id, strlen(id));
        job_set_status(set, text, "created", 0);
    }
    for (const qblk_job *job = NULL; (job = job_set_next(set, job)) != NULL;)
        n++;
    ck_assert_int_eq(n, (int)(JOB_SET_TEXTS / ((1 << 20) + 1)));
    expect_at_most(before, JOB_SET_TEXTS + MIB);
    job_set_free(set);

    set = job_set_new(NULL, NULL, NULL, NULL);
    ck_assert_ptr_nonnull(set);
    before = held();
    for (int i = 0; i < case_many(5000, 100); i++) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        event.id = id;
        job_set_status(set, id, "created", 0);
        job_set_block_event(set, &event, 0);
    }
    ck_assert_ptr_nonnull(job_set_find(set, id));
    expect_at_most(before, JOB_SET_TEXTS + 8 * MIB);
    job_set_hangup(set, "the connection was lost", 0);
    expect_at_most(before, JOB_SET_TEXTS + 8 * MIB);
    job_set_free(set);
    free(text);
}
END_TEST

/* ---- messages as large as they may be ------------------------------------------------------------ */

static size_t peak(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

/* Where nothing is counted a smaller limit does: a sanitizer takes long for 64 MiB. */
static size_t cap_of(qblk_monitor_options *options)
{
    *options = options_of(is_counting() ? 0 : MIB, 0, 0);
    return options->max_message != 0 ? MIB : 64 * MIB;
}

/* A reply of so many bytes to the command with id 1, through a socket. Returns the monitor's state of
 * life, and the most that was resident meanwhile in *ret_peak. */
static int big_reply(const qblk_monitor_options *options, size_t size, struct told *told,
                     qblk_error *ret_why, size_t *ret_peak)
{
    static const char first[] = "{\"return\": \"", last[] = "\", \"id\": 1}";
    char *text = long_text(first, size - (sizeof(first) - 1) - (sizeof(last) - 1), last);
    struct local local;
    size_t before;
    int r;

    ck_assert_uint_eq(strlen(text), size);
    local_ready(&local, options);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"stop\"}", -1, told_reply, told,
                                       NULL), 0);
    before = peak();
    r = flood(&local, text, 1);
    *ret_peak = peak() - before;
    if (r < 0)
        *ret_why = *qblk_monitor_why(local.monitor);
    free(text);
    local_end(&local);
    return r;
}

static void check_too_large(const qblk_error *why, size_t cap)
{
    char said[128];

    (void)snprintf(said, sizeof(said), ": the peer sent a message of more than %zu bytes, the most that "
                   "is accepted here", cap);
    ck_assert_int_eq(why->code, QBLK_E_PROTOCOL);
    ck_assert_msg(strstr(why->text, said) != NULL, "%s", why->text);
}

START_TEST(a_message_of_64_mib_comes_and_one_byte_more_does_not)
{
    struct told told = { .n = 0 };
    qblk_monitor_options options;
    qblk_error why = { .code = QBLK_E_NONE };
    size_t most, cap = cap_of(&options);

    ck_assert_int_eq(big_reply(&options, cap, &told, &why, &most), 0);
    ck_assert_int_eq(told.n, 1);
    ck_assert_int_eq(strncmp(told.reply, "{\"return\": \"xxx", 15), 0);
    if (is_counting())
        ck_assert_uint_le(most, 5 * cap);
    told = (struct told){ .n = 0 };
    ck_assert_int_eq(big_reply(&options, cap + 1, &told, &why, &most), -EPROTO);
    ck_assert_int_eq(told.n, 1);
    ck_assert_str_eq(told.error.text, why.text);
    check_too_large(&why, cap);
}
END_TEST

/* No message makes so much of so little as many small elements. */
START_TEST(the_worst_message_takes_ten_times_its_size_for_a_while)
{
    static const char head[] = "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"j\", "
                               "\"status\": \"created\", \"x\": [";
    static const char tail[] = "1]}}";
    size_t size = is_counting() ? 16 * MIB : MIB, before, peak_before;
    size_t room = size - (sizeof(head) - 1) - (sizeof(tail) - 1);
    char *text = long_text(head, room, tail);
    struct local local;

    for (size_t i = 0; i < room; i++)
        text[sizeof(head) - 1 + i] = i % 2 == 0 ? '1' : ',';
    local_ready(&local, NULL);
    ck_assert_int_eq(qblk_jobs_track(local.monitor, NULL, NULL, NULL), 0);
    before = held();
    peak_before = peak();
    ck_assert_int_eq(flood(&local, text, 1), 0);
    ck_assert_ptr_nonnull(qblk_job_find(local.monitor, "j"));
    expect_at_most(before, SLACK);
    if (is_counting())
        ck_assert_uint_le(peak() - peak_before, 11 * size);
    free(text);
    local_end(&local);
}
END_TEST

START_TEST(a_line_without_end_is_ended_at_64_mib)
{
    qblk_monitor_options options;
    struct local local;
    size_t before, cap = cap_of(&options), n = 0;
    char *text = long_text("", MIB / 16, "");
    int r = 0;

    local_ready(&local, &options);
    before = peak();
    local_say(&local, "{\"return\": \"");
    for (; r == 0 && n < 2 * cap; n += MIB / 16)
        r = flood(&local, text, 1);
    ck_assert_int_eq(r, -EPROTO);
    ck_assert_uint_ge(n, cap);
    ck_assert_uint_le(n, cap + MIB);
    check_too_large(qblk_monitor_why(local.monitor), cap);
    if (is_counting())
        ck_assert_uint_le(peak() - before, 3 * cap);
    free(text);
    local_end(&local);
}
END_TEST

START_TEST(half_a_reply_ends_at_the_callers_time)
{
    struct local local;
    qblk_error error;
    char *reply;

    local_ready(&local, NULL);
    local_say(&local, "{\"return\": {\"status\": \"run");
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "query-status", NULL, 50, &reply, &error),
                     -ETIMEDOUT);
    ck_assert_int_eq(error.code, QBLK_E_TIMEOUT);
    ck_assert_int_eq(qblk_monitor_get_state(local.monitor), QBLK_MONITOR_READY);
    local_end(&local);
}
END_TEST

START_TEST(a_negotiation_that_is_not_answered_ends_in_time)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct local local;
    qblk_error error;

    options.negotiation_ms = 50;
    local_start(&local, &options);
    local_greet(&local);
    ck_assert_int_eq(qblk_monitor_wait_ready(local.monitor, 20000, &error), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(error.text, "did not answer qmp_capabilities"));
    ck_assert_int_eq(qblk_monitor_get_state(local.monitor), QBLK_MONITOR_DEAD);
    local_end(&local);
}
END_TEST

static int n_states;

static void count_state(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    int64_t *told = arg;

    qblk_job_get_info(job, &info);
    *told = info.told_us;
    n_states++;
}

/* The peer's clock is shown and nothing else. */
START_TEST(a_clock_that_jumps_changes_nothing)
{
    static const char *const times[] = { "1700000000", "1", "-5", "9223372036854775807",
                                         "1800000000", "0" };
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    struct local local;
    int64_t told = 0;
    char event[256];

    ops.on_job = ops.on_state = count_state;
    local_ready(&local, NULL);
    ck_assert_int_eq(qblk_jobs_track(local.monitor, &ops, &told, NULL), 0);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        (void)snprintf(event, sizeof(event), "{\"event\": \"JOB_STATUS_CHANGE\", \"timestamp\": "
                       "{\"seconds\": %s, \"microseconds\": 7}, \"data\": {\"status\": \"%s\", "
                       "\"id\": \"j\"}}\r\n", times[i],
                       i == 0 ? "created" : i % 2 == 1 ? "running" : "paused");
        local_say(&local, event);
        ck_assert_int_eq(local_turn(&local), 0);
        if (i == 0)
            ck_assert_int_eq(told, 1700000000000007);
    }
    ck_assert_int_eq(n_states, 6);
    local_end(&local);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hostile");
    TCase *tcase = tcase_create("hostile");
    TCase *large = tcase_create("large");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, an_idle_monitor_holds_little_whatever_came_before);
    tcase_add_test(tcase, events_that_nobody_takes_are_held_up_to_the_limit);
    tcase_add_test(tcase, a_message_without_end_is_held_up_to_the_cap);
    tcase_add_test(tcase, a_peer_that_does_not_read_is_held_up_to_the_limit);
    tcase_add_test(tcase, jobs_that_are_only_said_to_be_there_are_held_up_to_a_limit);
    tcase_add_test(tcase, a_line_without_end_is_ended_at_64_mib);
    tcase_add_test(tcase, half_a_reply_ends_at_the_callers_time);
    tcase_add_test(tcase, a_negotiation_that_is_not_answered_ends_in_time);
    tcase_add_test(tcase, a_clock_that_jumps_changes_nothing);
    tcase_set_tags(large, "large");
    tcase_set_timeout(large, 120);
    tcase_add_test(large, what_is_said_of_jobs_is_held_up_to_a_limit);
    tcase_add_test(large, a_message_of_64_mib_comes_and_one_byte_more_does_not);
    tcase_add_test(large, the_worst_message_takes_ten_times_its_size_for_a_while);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, large);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

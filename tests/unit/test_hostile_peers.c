/* Peers that break the protocol, stop half-way or jump in time: what is said of it, word for word, and
 * that nobody waits for ever. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

#include "monitor_aid.h"
#include <qblk/ev.h>

/* ---- our own clock --------------------------------------------------------------------------- */

/* The time of day of this whole program jumps about: to and fro by years, with every look at it. */
static unsigned n_looks;
static bool has_jumps;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, clock, ret);

    if (r == 0 && has_jumps && clock == CLOCK_REALTIME) {
        n_looks++;
        ret->tv_sec += n_looks % 2 == 0 ? 1000000000 : -1000000000;
    }
    return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

START_TEST(a_wall_clock_that_jumps_is_not_looked_at)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct local local;
    int64_t start;
    char *text;

    has_jumps = true;
    start = now_ms();
    local_ready(&local, &options);
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "query-status", NULL, 60, &text, NULL),
                     -ETIMEDOUT);
    ck_assert_int_eq(qblk_jobs_sync(local.monitor, 60, NULL), -ETIMEDOUT);
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, NULL, 60, &text, NULL), 0);
    ck_assert_int_ge(now_ms() - start, 180);
    ck_assert_int_lt(now_ms() - start, 10000);
    local_end(&local);
    ck_assert_uint_eq(n_looks, 0);
    (void)time(NULL); /* the test's own clock does what it should */
    ck_assert_uint_eq(n_looks, 1);
}
END_TEST

static void stop_loop(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    (void)monitor;
    ck_assert_int_eq(error->code, QBLK_E_TIMEOUT);
    ev_break(arg, EVBREAK_ALL);
}

/* libev does look at it, to run what is due by the calendar. */
START_TEST(a_wall_clock_that_jumps_moves_no_limit_on_a_loop)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct local local;
    int64_t start;

    has_jumps = true;
    options.negotiation_ms = 100;
    options.ops.size = sizeof(options.ops);
    options.ops.on_end = stop_loop;
    options.arg = loop;
    local_start(&local, &options);
    local_greet(&local);
    ck_assert_int_eq(qblk_monitor_attach_ev(local.monitor, loop, NULL), 0);
    start = now_ms();
    ev_run(loop, 0);
    ck_assert_int_ge(now_ms() - start, 50);
    ck_assert_int_lt(now_ms() - start, 10000);
    local_end(&local);
    ev_loop_destroy(loop);
}
END_TEST

/* ---- whatever waits ends --------------------------------------------------------------------- */

static void add_job(struct local *local)
{
    ck_assert_int_eq(qblk_jobs_track(local->monitor, NULL, NULL, NULL), 0);
    local_say(local, "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"status\": \"created\", "
                     "\"id\": \"j\"}}\r\n{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"status\": "
                     "\"running\", \"id\": \"j\"}}\r\n");
    ck_assert_int_eq(local_turn(local), 0);
    ck_assert_ptr_nonnull(qblk_job_find(local->monitor, "j"));
}

static int wait_execute(struct local *local, int timeout_ms, qblk_error *error)
{
    char *text;

    return qblk_monitor_execute(local->monitor, "query-status", NULL, timeout_ms, &text, error);
}

static int wait_command(struct local *local, int timeout_ms, qblk_error *error)
{
    char *text;

    return qblk_monitor_command(local->monitor, "{\"execute\": \"stop\"}", -1, timeout_ms, &text,
                                error);
}

static int wait_sync(struct local *local, int timeout_ms, qblk_error *error)
{
    return qblk_jobs_sync(local->monitor, timeout_ms, error);
}

static int wait_graph(struct local *local, int timeout_ms, qblk_error *error)
{
    qblk_graph *graph;

    return qblk_graph_read(local->monitor, timeout_ms, &graph, error);
}

static int wait_guard(struct local *local, int timeout_ms, qblk_error *error)
{
    return qblk_guard(local->monitor, "quit", NULL, timeout_ms, error);
}

static int wait_throttle(struct local *local, int timeout_ms, qblk_error *error)
{
    qblk_limits limits = QBLK_INIT(qblk_limits);

    return qblk_throttle_read(local->monitor, "vd0", timeout_ms, &limits, error);
}

static int wait_job(struct local *local, int timeout_ms, qblk_error *error)
{
    return qblk_job_do(qblk_job_find(local->monitor, "j"), QBLK_VERB_PAUSE, 0, timeout_ms, error);
}

static int wait_op(struct local *local, int timeout_ms, qblk_error *error)
{
    qblk_op_report report = QBLK_INIT(qblk_op_report);
    qblk_op *op;

    ck_assert_int_eq(qblk_pull(local->monitor, "vd0", NULL, &op, NULL), 0);
    return qblk_op_wait(op, timeout_ms, &report, error);
}

/* Every call of the library that waits for a QEMU that was ready. */
static const struct wait {
    const char *name;
    int (*fn)(struct local *local, int timeout_ms, qblk_error *error);
} waits[] = {
    { "qblk_monitor_execute", wait_execute }, { "qblk_monitor_command", wait_command },
    { "qblk_jobs_sync", wait_sync },          { "qblk_graph_read", wait_graph },
    { "qblk_guard", wait_guard },             { "qblk_throttle_read", wait_throttle },
    { "qblk_job_do", wait_job },              { "qblk_op_wait", wait_op },
};
#define N_WAITS ((int)(sizeof(waits) / sizeof(waits[0])))

START_TEST(whoever_waits_for_an_answer_ends_in_time)
{
    const struct wait *wait = &waits[_i];
    struct local local;
    int64_t start;
    qblk_error error = { .code = QBLK_E_NONE };

    local_ready(&local, NULL);
    add_job(&local);
    start = now_ms();
    ck_assert_msg(wait->fn(&local, 40, &error) == -ETIMEDOUT, "%s: %s", wait->name, error.text);
    ck_assert_int_eq(error.code, QBLK_E_TIMEOUT);
    ck_assert_int_ge(now_ms() - start, 40);
    ck_assert_int_lt(now_ms() - start, 10000);
    ck_assert_int_eq(qblk_monitor_get_state(local.monitor), QBLK_MONITOR_READY);
    local_end(&local);
}
END_TEST

#define NOISE "{\"event\": \"NOISE\", \"data\": {}}\r\n"

static void say_again(qblk_monitor *monitor, const char *name, const char *json, void *arg)
{
    (void)monitor;
    (void)json;
    if (strcmp(name, "NOISE") == 0)
        local_say(arg, NOISE);
}

/* For each event that is read another one comes: there is always something to be read. */
START_TEST(whoever_waits_while_events_pour_in_ends_in_time)
{
    const struct wait *wait = &waits[_i];
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct local local;
    qblk_error error = { .code = QBLK_E_NONE };

    options.ops.size = sizeof(options.ops);
    options.ops.on_event = say_again;
    options.arg = &local;
    local_ready(&local, &options);
    add_job(&local);
    for (int i = 0; i < 200; i++)
        local_say(&local, NOISE);
    ck_assert_msg(wait->fn(&local, 40, &error) == -ETIMEDOUT, "%s: %s", wait->name, error.text);
    ck_assert_int_eq(qblk_monitor_get_state(local.monitor), QBLK_MONITOR_READY);
    local_end(&local);
}
END_TEST

START_TEST(whoever_waits_for_ever_ends_with_the_connection)
{
    const struct wait *wait = &waits[_i];
    struct local local;
    qblk_error error = { .code = QBLK_E_NONE };

    local_ready(&local, NULL);
    add_job(&local);
    local_say(&local, "{\"return\": {\"status\": \"run");
    ck_assert_int_eq(shutdown(local.peer, SHUT_WR), 0);
    ck_assert_msg(wait->fn(&local, -1, &error) == -ECONNRESET, "%s: %s", wait->name, error.text);
    ck_assert_int_eq(error.code, QBLK_E_LOST);
    ck_assert_msg(strstr(error.text, "was lost in the middle of a message (QEMU closed it)") != NULL,
                  "%s: %s", wait->name, error.text);
    local_end(&local);
}
END_TEST

START_TEST(events_are_waited_for_in_time_and_until_the_end)
{
    struct local local;
    qblk_error error;
    char *text;

    local_ready(&local, NULL);
    local_say(&local, "{\"event\": \"HA");
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, NULL, 40, &text, NULL), 0);
    local_hang_up(&local);
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, NULL, -1, &text, &error), -ECONNRESET);
    ck_assert_ptr_nonnull(strstr(error.text, "was lost in the middle of a message"));
    local_end(&local);
}
END_TEST

/* What was written and what was not: all hear of it once, and the monitor goes on meanwhile. */
START_TEST(a_peer_that_stops_reading_is_heard_all_the_same)
{
    static const char big[] = "{\"execute\": \"a\", \"arguments\": {\"x\": \"%0*d\"}}";
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct told told = { .n = 0 };
    struct local local;
    qblk_error error;
    char *text, command[9000];
    int n = 0, r;

    options.max_output = 100000;
    local_ready(&local, &options);
    (void)snprintf(command, sizeof(command), big, 8000, 0);
    while ((r = qblk_monitor_send(local.monitor, command, -1, told_reply, &told, &error)) == 0)
        n++;
    ck_assert_int_eq(r, -EMSGSIZE);
    ck_assert_int_eq(error.code, QBLK_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.text, " bytes cannot be queued: "));
    ck_assert_ptr_nonnull(strstr(error.text, " wait to be read by the peer already, and the limit is "
                                             "100000"));
    ck_assert_int_eq(qblk_monitor_execute(local.monitor, "quit", NULL, 40, &text, &error), -ETIMEDOUT);
    local_say(&local, "{\"event\": \"STOP\"}\r\n");
    ck_assert_int_eq(qblk_monitor_next_event(local.monitor, NULL, 1000, &text, NULL), 1);
    free(text);
    local_end(&local);
    ck_assert_int_eq(told.n, n);
    ck_assert_int_eq(told.error.code, QBLK_E_LOST);
}
END_TEST

/* ---- ids -------------------------------------------------------------------------------------- */

/* The first command of a monitor has the id 1, the second 2. */
START_TEST(only_the_very_id_is_an_answer)
{
    static const char *const others[] = {
        "\"1\"", "1.0", "1e0", "-1", "01", "0", "2", "4294967297", "18446744073709551617", "true",
        "null", "[1]", "{\"id\": 1}", "\"qblk-1\"", "\"\\u0031\"", "99",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    struct told told = { .n = 0 };
    struct local local;
    char text[512];

    local_ready(&local, NULL);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"stop\"}", -1, told_reply, &told,
                                       NULL), 0);
    ck_assert_ptr_nonnull(strstr(local_heard(&local), "\"id\":1}"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"return\": {\"wrong\": %zu}, \"id\": %s}\r\n", i,
                       others[i]);
        local_say(&local, text);
        if (local_turn(&local) < 0) {
            /* No JSON, or an integer beyond 64 bits: that ends the connection, and is told. */
            ck_assert_int_eq(told.error.code, QBLK_E_PROTOCOL);
            ck_assert_msg(strcmp(others[i], "01") == 0 || strlen(others[i]) > 18, "%s: %s", others[i],
                          told.error.text);
            local_end(&local);
            told = (struct told){ .n = 0 };
            local_ready(&local, NULL);
            ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"stop\"}", -1,
                                               told_reply, &told, NULL), 0);
        }
        ck_assert_msg(told.n == 0, "%s was taken for 1: %s", others[i], told.reply);
    }
    local_say(&local, "{\"id\": 1, \"return\": {\"right\": 1}}\r\n");
    ck_assert_int_eq(local_turn(&local), 0);
    ck_assert_int_eq(told.n, 1);
    ck_assert_ptr_nonnull(strstr(told.reply, "right"));
    local_end(&local);
}
END_TEST

/* A second answer that comes late must not meet a command that has got the same id meanwhile. */
START_TEST(a_peer_that_answers_twice_gets_no_id_twice)
{
    struct told told = { .n = 0 };
    struct local local;
    char text[128];
    unsigned long ids[40];

    local_ready(&local, NULL);
    for (int i = 0; i < 40; i++) {
        const char *id;

        ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"stop\"}", -1, told_reply,
                                           &told, NULL), 0);
        id = strstr(local_heard(&local), "\"id\":");
        ck_assert_ptr_nonnull(id);
        ids[i] = strtoul(id + 5, NULL, 10);
        for (int k = 1; k < i; k++)
            ck_assert_uint_ne(ids[k], ids[i]);
        (void)snprintf(text, sizeof(text), "{\"return\": %d, \"id\": %lu}\r\n", i, ids[i]);
        local_say(&local, text);
        local_say(&local, text);
        /* And once more what was answered long ago. */
        (void)snprintf(text, sizeof(text), "{\"return\": \"old\", \"id\": %lu}\r\n", ids[i / 2]);
        local_say(&local, text);
        ck_assert_int_eq(local_turn(&local), 0);
        ck_assert_int_eq(told.n, i + 1);
        (void)snprintf(text, sizeof(text), "{\"return\": %d}", i);
        ck_assert_str_eq(told.reply, text);
    }
    local_end(&local);
}
END_TEST

/* ---- what is said ------------------------------------------------------------------------------ */

START_TEST(a_greeting_that_is_none_is_told)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        { "SSH-2.0-OpenSSH_9.2\r\n", "the peer does not speak QMP: instead of a message it sent: "
                                     "\"SSH-2.0-OpenSSH_9.2" },
        { "[]", "instead of a message it sent: \"[]\"" },
        { "\"QMP\"", "instead of a message it sent: " },
        { "{\"QMP\" \"x\"}", "no ':' behind a name" },
        { "{\"QMP\": 1}", "(neither greeting, return, error nor event): " },
        { "{}", "(neither greeting, return, error nor event): " },
        { "{\"a\": \x01}", "a byte that JSON does not have, here at" },
        { "{\"a\": [}", "a closing bracket that does not match, here at" },
        { "{\"a\": \"\n\"}", "a control character inside a string, here at" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        qblk_error error = { .code = QBLK_E_NONE };
        struct local local;

        local_start(&local, NULL);
        local_say(&local, cases[i].text);
        ck_assert_msg(qblk_monitor_wait_ready(local.monitor, 5000, &error) == -EPROTO, "%s: %s",
                      cases[i].text, error.text);
        ck_assert_msg(error.code == QBLK_E_NOT_QMP, "%s: %s", cases[i].text, error.text);
        ck_assert_msg(strstr(error.text, cases[i].said) != NULL, "%s: %s",
                      cases[i].text, error.text);
        local_end(&local);
    }
}
END_TEST

/* Messages all the time, and none of them a greeting. */
START_TEST(a_peer_that_never_greets_is_given_up_in_time)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    qblk_error error = { .code = QBLK_E_NONE };
    struct local local;

    options.greeting_ms = 60;
    local_start(&local, &options);
    local_say(&local, "{\"event\": \"STOP\"}\r\n{\"return\": {}}\r\n{\"ev");
    ck_assert_int_eq(qblk_monitor_wait_ready(local.monitor, 5000, &error), -EPROTO);
    ck_assert_int_eq(error.code, QBLK_E_NOT_QMP);
    ck_assert_str_eq(error.text, "(adopted descriptor) sends messages, but never a greeting; it is not "
                                 "a QMP monitor");
    local_end(&local);
}
END_TEST

static const char *nested(int depth)
{
    static char text[20000];

    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
    return text;
}

/* Answers one command with that as its result. */
static int result_of(const char *result, struct told *told, qblk_error *ret_why)
{
    static char text[32768];
    struct local local;
    int r;

    *told = (struct told){ .n = 0 };
    *ret_why = (qblk_error){ .code = QBLK_E_NONE };
    local_ready(&local, NULL);
    ck_assert_int_eq(qblk_monitor_send(local.monitor, "{\"execute\": \"stop\"}", -1, told_reply, told,
                                       NULL), 0);
    (void)snprintf(text, sizeof(text), "{\"return\": %s, \"id\": 1}\r\n", result);
    local_say(&local, text);
    r = local_turn(&local);
    if (r < 0)
        *ret_why = *qblk_monitor_why(local.monitor);
    ck_assert_int_eq(told->n, 1);
    local_end(&local);
    return r;
}

START_TEST(odd_json_is_handed_on_or_told)
{
    static const struct {
        const char *result, *said; /* NULL: handed on, byte for byte */
    } cases[] = {
        { "-0", NULL },
        { "\"\\u0000\"", NULL },
        { "9223372036854775807", NULL },
        { "{\"a\": 1, \"a\": 2}", "a name that the object has already" },
        { "18446744073709551616", "an integer beyond 64 bits" },
        { "1e999", "a number that is too big" },
        { "\"\\ud800\"", "not an escape that stands for a character" },
        { "\"\xff\xfe\"", "not UTF-8" },
        { "\"\xc3(\"", "not UTF-8" },
        { "nan", "not a value" },
        { "inf", "not a value" },
        { "01", "neither ',' nor '}'" },
        { "{\"a\" 1}", "no ':' behind a name" },
        { "[1 2]", "neither ',' nor ']'" },
    };
    struct told told;
    qblk_error why;
    char text[128];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = result_of(cases[i].result, &told, &why);

        if (cases[i].said == NULL) {
            (void)snprintf(text, sizeof(text), "{\"return\": %s}", cases[i].result);
            ck_assert_int_eq(r, 0);
            ck_assert_str_eq(told.reply, text);
            continue;
        }
        ck_assert_int_eq(r, -EPROTO);
        ck_assert_int_eq(why.code, QBLK_E_PROTOCOL);
        ck_assert_str_eq(told.error.text, why.text);
        ck_assert_msg(strstr(why.text, "the peer sent what is no QMP message (not usable JSON: ") !=
                      NULL && strstr(why.text, cases[i].said) != NULL, "%s", why.text);
    }
}
END_TEST

/* The message itself is one level. */
START_TEST(nesting_of_1024_passes_and_1025_does_not)
{
    struct told told;
    qblk_error why;

    ck_assert_int_eq(result_of(nested(1023), &told, &why), 0);
    ck_assert_int_eq(result_of(nested(1024), &told, &why), -EPROTO);
    ck_assert_ptr_nonnull(strstr(why.text, ": nested deeper than 1024)"));
    ck_assert_int_eq(result_of(nested(5000), &told, &why), -EPROTO);
    ck_assert_ptr_nonnull(strstr(why.text, "a message nested too deeply, here at"));
}
END_TEST

/* A job's event that makes no sense is dropped, and the job is asked for instead. */
START_TEST(a_job_event_that_makes_no_sense_changes_nothing)
{
    static const char *const events[] = {
        "{\"event\": \"JOB_STATUS_CHANGE\"}",
        "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {}}",
        "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": 7, \"status\": \"ready\"}}",
        "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"j\", \"status\": []}}",
        "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": [\"j\", \"ready\"]}",
        "{\"event\": \"BLOCK_JOB_READY\", \"data\": {\"device\": \"j\", \"len\": \"x\"}}",
        "{\"event\": \"BLOCK_JOB_COMPLETED\", \"data\": {\"device\": \"j\", \"type\": null}}",
        "{\"event\": \"JOB_STATUS_CHANGE\", \"timestamp\": 5, \"data\": {}}",
    };
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct local local;

    local_ready(&local, NULL);
    add_job(&local);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        local_say(&local, events[i]);
        ck_assert_int_eq(local_turn(&local), 0);
        qblk_job_get_info(qblk_job_find(local.monitor, "j"), &info);
        ck_assert_msg(info.state == QBLK_JOB_RUNNING, "%s: %s", events[i],
                      qblk_job_state_name(info.state));
    }
    local_end(&local);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hostile_peers");
    TCase *tcase = tcase_create("hostile_peers");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_wall_clock_that_jumps_is_not_looked_at);
    tcase_add_test(tcase, a_wall_clock_that_jumps_moves_no_limit_on_a_loop);
    tcase_add_loop_test(tcase, whoever_waits_for_an_answer_ends_in_time, 0, N_WAITS);
    tcase_add_loop_test(tcase, whoever_waits_while_events_pour_in_ends_in_time, 0, N_WAITS);
    tcase_add_loop_test(tcase, whoever_waits_for_ever_ends_with_the_connection, 0, N_WAITS);
    tcase_add_test(tcase, events_are_waited_for_in_time_and_until_the_end);
    tcase_add_test(tcase, a_peer_that_stops_reading_is_heard_all_the_same);
    tcase_add_test(tcase, only_the_very_id_is_an_answer);
    tcase_add_test(tcase, a_peer_that_answers_twice_gets_no_id_twice);
    tcase_add_test(tcase, a_greeting_that_is_none_is_told);
    tcase_add_test(tcase, a_peer_that_never_greets_is_given_up_in_time);
    tcase_add_test(tcase, odd_json_is_handed_on_or_told);
    tcase_add_test(tcase, nesting_of_1024_passes_and_1025_does_not);
    tcase_add_test(tcase, a_job_event_that_makes_no_sense_changes_nothing);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

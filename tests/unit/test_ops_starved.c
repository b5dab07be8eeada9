/* Each operation of the public API while memory fails: from some allocation on, from there on for a
 * while, or that one alone. The start is refused, or the operation ends once, well or for want of
 * memory; then nothing is left of it in QEMU, or a client that comes after undoes or finishes it; and
 * the monitor serves the next command, or is dead and says so. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../starve/case.h"
#include "base/mem.h"
#include "recorder.h"

#define V72 PEER_VERSION(7, 2, 22)

static struct peer peer;
static qblk_monitor *monitor;

static void setup(void)
{
    recorder_reset();
    monitor = peer_start(&peer, V72, NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

static void again(void)
{
    teardown();
    setup();
}

/* ---- the operations -------------------------------------------------------------------------- */

static int start_resize(qblk_error *error)
{
    qblk_resize_options options = QBLK_INIT(qblk_resize_options);

    recorder_watch(&options.common);
    return qblk_resize(monitor, "vd0", 16u << 20, &options, NULL, error);
}

static int start_throttle(qblk_error *error)
{
    qblk_throttle_options options = QBLK_INIT(qblk_throttle_options);

    recorder_watch(&options.common);
    options.value[QBLK_LIMIT_IOPS] = 500;
    options.is_given[QBLK_LIMIT_IOPS] = true;
    return qblk_throttle(monitor, "vd0", &options, NULL, error);
}

static int start_detach(qblk_error *error)
{
    qblk_detach_options options = QBLK_INIT(qblk_detach_options);

    recorder_watch(&options.common);
    return qblk_detach(monitor, "vd0", &options, NULL, error);
}

static const struct small {
    const char *name;
    int (*start)(qblk_error *error);
} smalls[] = {
    { "resize", start_resize }, { "throttle", start_throttle }, { "detach", start_detach },
};

#define N_SMALL ((int)(sizeof(smalls) / sizeof(smalls[0])))
#define N_OPS (N_ERRANDS + N_SMALL)

static int which; /* of the errands, then of the small ones */

static const char *name_of(void)
{
    return which < N_ERRANDS ? errands[which].name : smalls[which - N_ERRANDS].name;
}

/* What there has to be before: made with all memory. */
static void prepare(void)
{
    qblk_error error;

    if (which >= N_ERRANDS)
        return;
    errand_begin(&errands[which], &peer, monitor, true);
    ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s", error.text);
    monitor = qblk_monitor_free(monitor);
    recorder_reset();
    monitor = peer_reconnect(&peer, NULL);
}

static int start(qblk_error *error)
{
    return which < N_ERRANDS ? errand_start(&errands[which], &peer, monitor, false, NULL, error)
                             : smalls[which - N_ERRANDS].start(error);
}

/* ---- how it goes ----------------------------------------------------------------------------- */

static char *clean, *done;
static qblk_result wanted;
static unsigned long n_asked;

static void measure(void)
{
    qblk_error error = { .text = "" };

    prepare();
    clean = peer_state(&peer);
    mem_fail_after(0);
    ck_assert_msg(start(&error) == 0, "%s", error.text);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    n_asked = mem_asked();
    wanted = recorder.result;
    ck_assert_msg(!recorder.has_error, "%s", recorder.error.text);
    done = peer_state(&peer);
    again();
}

static void forget(void)
{
    free(clean);
    free(done);
    clean = done = NULL;
}

static bool is_clean_or_done(void)
{
    char *state = peer_state(&peer);
    bool is = strcmp(state, clean) == 0 || strcmp(state, done) == 0;

    free(state);
    return is;
}

static int replies, errors;

static void on_reply(qblk_monitor *m, const char *reply, const qblk_error *error, void *arg)
{
    (void)m;
    (void)arg;
    replies += reply != NULL && strstr(reply, "\"return\"") != NULL;
    errors += error != NULL && error->code == QBLK_E_MEMORY;
}

static bool is_answered(void)
{
    return replies + errors > 0;
}

/* The next command is served, or refused because the connection is over. */
static void usable_or_dead(const char *what, unsigned long n)
{
    static const char command[] = "{\"execute\":\"query-jobs\"}";
    qblk_error error = { .text = "" };
    int r;

    replies = errors = 0;
    if (qblk_monitor_get_state(monitor) != QBLK_MONITOR_DEAD) {
        r = qblk_monitor_send(monitor, command, -1, on_reply, NULL, &error);
        ck_assert_msg(r == 0, "%s, %s %lu: %s", name_of(), what, n, error.text);
        ck_assert_msg(peer_run(&peer, monitor, is_answered), "%s, %s %lu: no answer", name_of(),
                      what, n);
        if (replies > 0)
            return;
        /* It was about to die. */
        ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    }
    ck_assert_int_lt(qblk_monitor_send(monitor, command, -1, NULL, NULL, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_MEMORY);
    ck_assert_int_lt(qblk_monitor_process(monitor, 0, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_MEMORY);
}

/* Where the reply to the start of a creation finds no memory it counts as refused, and the job that is
 * there all the same stays, concluded, without a journal. Nothing but that may stay. */
static bool is_job_left(void)
{
    return peer.n_jobs == 1 && strstr(peer.jobs[0].id, ".create-") != NULL &&
           strcmp(peer.jobs[0].status, "concluded") == 0 &&
           recorder.error.code == QBLK_E_UNKNOWN_JOB;
}

/* A client that comes after brings it to one of its ends. */
static void recover(const char *what, unsigned long n)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);
    char id[9], *state, *sent = peer_sent(&peer, false);
    qblk_error first = recorder.error;

    memcpy(id, recorder.operation, sizeof(id));
    ck_assert_msg(id[0] != '\0', "%s, %s %lu: something is left before there was a plan", name_of(),
                  what, n);
    monitor = qblk_monitor_free(monitor);
    recorder_reset();
    monitor = peer_reconnect(&peer, NULL);
    peer_go_on(&peer);
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    state = peer_state(&peer);
    ck_assert_msg(is_clean_or_done() || recorder.result == QBLK_RESULT_KEPT || is_job_left(),
                  "%s, %s %lu: %s; recover: %s: %s\n%.900s\nsent\n%.1800s", name_of(), what, n,
                  first.text, qblk_result_name(recorder.result), recorder.error.text, state, sent);
    free(state);
    free(sent);
}

enum way { FOR_GOOD, FOR_A_WHILE, ALONE };

static const char *const way_names[] = { "from allocation", "for a while from", "alone at" };

static void starve(enum way way, unsigned long n)
{
    const char *what = way_names[way];
    qblk_error error = { .text = "" };
    int r;

    prepare();
    if (way == ALONE)
        mem_fail_once(n);
    else
        mem_fail_after(n);
    r = start(&error);
    for (int i = 0; r == 0 && i < 200 && !recorder_ended(); i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)peer_turn(&peer);
        if (way == FOR_A_WHILE && i == 30)
            mem_fail_after(0);
    }
    mem_fail_after(0);
    if (r < 0) {
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_int_eq(error.code, QBLK_E_MEMORY);
        ck_assert_int_eq(recorder.calls[CALL_END], 0);
        ck_assert_int_eq(recorder.releases, 1);
    } else {
        ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s, %s %lu: stuck", name_of(),
                      what, n);
        ck_assert_int_eq(recorder.calls[CALL_END], 1);
        ck_assert_int_eq(recorder.late, 0);
        if (recorder.result != wanted)
            ck_assert_msg(recorder.has_error && recorder.error.code == QBLK_E_MEMORY,
                          "%s, %s %lu: %s: %s", name_of(), what, n,
                          qblk_result_name(recorder.result), recorder.error.text);
    }
    usable_or_dead(what, n);
    /* A detach has no journal: what is left of it is told as failed or lost. */
    if (!is_clean_or_done() && which < N_OPS - 1)
        recover(what, n);
    else if (!is_clean_or_done())
        ck_assert(recorder.has_error);
    again();
}

/* Every n where there are few, else as many as there is time for, spread evenly; the three ways begin at
 * different ones. */
#define N_SAMPLES 60

static void starve_everywhere(int i, enum way way)
{
    unsigned long step, first;

    which = i;
    measure();
    step = n_asked / (unsigned long)case_many(N_SAMPLES, 2) + 1;
    first = 1 + ((unsigned long)which * 3 + way) % step;
    for (unsigned long n = first; n <= n_asked; n += step)
        starve(way, n);
    forget();
}

START_TEST(without_memory_it_ends_and_can_be_recovered)
{
    starve_everywhere(_i, FOR_GOOD);
}
END_TEST

START_TEST(without_memory_for_a_while_it_ends_and_can_be_recovered)
{
    starve_everywhere(_i, FOR_A_WHILE);
}
END_TEST

START_TEST(a_single_failure_ends_it_and_it_can_be_recovered)
{
    starve_everywhere(_i, ALONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ops_starved");
    TCase *tcase = tcase_create("ops_starved");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, without_memory_it_ends_and_can_be_recovered, 0, N_OPS);
    tcase_add_loop_test(tcase, without_memory_for_a_while_it_ends_and_can_be_recovered, 0, N_OPS);
    tcase_add_loop_test(tcase, a_single_failure_ends_it_and_it_can_be_recovered, 0, N_OPS);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

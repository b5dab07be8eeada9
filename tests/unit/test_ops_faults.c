/* Operations that do not get to their end undisturbed: a command refused, a user who cancels or
 * leaves or frees, memory that runs out. Whatever happens, the end is told once, the release comes
 * once, and what was done is undone or finished. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The states before and after an errand that goes well, and how many commands that takes. */
static char *clean, *done;
static size_t n_commands;
static int n_calls[N_CALLS];

static void measure(const struct errand *errand)
{
    char *sent;

    errand_begin(errand, &peer, monitor, true);
    clean = peer_state(&peer); /* with the file to be reused */
    again();
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, errand->result);
    done = peer_state(&peer);
    sent = peer_sent(&peer, true);
    free(sent);
    n_commands = peer.n_sent;
    memcpy(n_calls, recorder.calls, sizeof(n_calls));
    again();
}

static void forget(void)
{
    free(clean);
    free(done);
    clean = done = NULL;
}

static void run(const struct errand *errand, const char *what, size_t n)
{
    errand_begin(errand, &peer, monitor, false);
    ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s, %s %zu: stuck", errand->name, what,
                  n);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert_int_eq(recorder.late, 0);
    ck_assert_int_eq(recorder.disorder, 0);
}

/* It ended well and all is done, or not and nothing is. */
static void all_or_nothing(const struct errand *errand, const char *what, size_t n)
{
    bool is_well = recorder.result == errand->result;
    char *state = peer_state(&peer), *sent = peer_sent(&peer, false);

    ck_assert_msg(strcmp(state, is_well ? done : clean) == 0, "%s, %s %zu: %s: %s\nbut state\n"
                  "%.900s\nsent\n%.1800s\nnotes\n%.600s", errand->name, what, n,
                  qblk_result_name(recorder.result), recorder.error.text, state, sent,
                  recorder.notes);
    free(state);
    free(sent);
}

static void released_once(void)
{
    ck_assert_int_eq(recorder.releases, 0);
    monitor = qblk_monitor_free(monitor);
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
}

/* ---- a command is refused -------------------------------------------------------------------- */

static bool is_cleaning(const char *command)
{
    return strstr(command, "blockdev-del") != NULL || strstr(command, "job-dismiss") != NULL ||
           strstr(command, "qblk1 ended") != NULL;
}

static bool is_harmless(const char *command)
{
    return strstr(command, "query-jobs") != NULL || strstr(command, "query-block-jobs") != NULL ||
           strstr(command, ".probe") != NULL || strstr(command, "x-debug") != NULL;
}

START_TEST(a_refused_command_undoes_everything_and_is_the_reported_cause)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (size_t n = 1; n <= n_commands; n++) {
        const char *command;

        peer.refuse_at = n;
        run(errand, "refused", n);
        ck_assert_uint_ge(peer.n_sent, n);
        command = peer.sent[n - 1];
        if (recorder.result == errand->result && is_cleaning(command)) {
            /* What could not be cleaned up is said. The mark of the end is only for the journal. */
            ck_assert_msg(recorder.notes[0] != '\0', "%s, no note about %s", errand->name, command);
            ck_assert_ptr_nonnull(strstr(recorder.notes, "refused by the test"));
        } else if (recorder.result == errand->result) {
            ck_assert_msg(is_harmless(command), "%s, %s was refused: %s", errand->name, command,
                          qblk_result_name(recorder.result));
            all_or_nothing(errand, "refused", n);
        } else {
            ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
            ck_assert_msg(strstr(recorder.error.text, "refused by the test") != NULL,
                          "%s, %s was refused: %s", errand->name, command, recorder.error.text);
            /* All but the look at the result comes before the point of no return. */
            if ((strstr(command, "x-debug-query-block-graph") == NULL &&
                 strcmp(command, "{\"execute\":\"query-block\"}") != 0) || n < 8)
                all_or_nothing(errand, "refused", n);
        }
        again();
    }
    forget();
}
END_TEST

START_TEST(a_creation_that_fails_undoes_everything)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    peer.fail_job = "create";
    run(errand, "create", 0);
    all_or_nothing(errand, "create", 0);
    forget();
}
END_TEST

/* ---- the user -------------------------------------------------------------------------------- */

static void wish(enum recorder_call call, int at, void (*act)(qblk_op *op))
{
    recorder.act_call = call;
    recorder.act_at = at;
    recorder.act = act;
}

START_TEST(cancelled_at_any_step_it_is_undone_or_really_done)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (int call = CALL_PLAN; call <= CALL_END; call++) {
        for (int n = 1; n <= n_calls[call]; n++) {
            wish((enum recorder_call)call, n, qblk_op_cancel);
            run(errand, "cancelled at", (size_t)n);
            if (recorder.result != errand->result) {
                ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
                ck_assert_int_eq(recorder.error.kind, QBLK_KIND_CANCELLED);
            }
            if (call == CALL_PLAN)
                ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
            all_or_nothing(errand, "cancelled at", (size_t)n);
            released_once();
            again();
        }
    }
    forget();
}
END_TEST

START_TEST(cancelled_before_the_graph_is_read_nothing_is_sent)
{
    const struct errand *errand = &errands[_i];
    qblk_op *op;

    errand_begin(errand, &peer, monitor, true);
    again();
    ck_assert_int_eq(errand_start(&errands[0], &peer, monitor, false, &op, NULL), 0);
    qblk_op_cancel(op);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
    ck_assert_uint_eq(peer_count(&peer, "blockdev-add"), 0);
    ck_assert_uint_eq(peer_count(&peer, "block-stream"), 0);
    released_once();
}
END_TEST

START_TEST(left_at_any_step_the_end_comes_once_and_nothing_more_is_sent)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (int call = CALL_PLAN; call <= CALL_JOB; call++) {
        for (int n = 1; n <= n_calls[call]; n++) {
            size_t sent;

            wish((enum recorder_call)call, n, qblk_op_leave);
            run(errand, "left at", (size_t)n);
            ck_assert_int_eq(recorder.result, QBLK_RESULT_LEFT);
            ck_assert(recorder.notes[0] != '\0');
            while (peer_turn(&peer) || qblk_monitor_timeout(monitor) == 0)
                (void)qblk_monitor_process(monitor, 0, NULL);
            sent = peer.n_sent - peer_count(&peer, "query-jobs") -
                   peer_count(&peer, "query-block-jobs");
            (void)qblk_monitor_process(monitor, 0, NULL);
            (void)peer_turn(&peer);
            ck_assert_uint_eq(sent, peer.n_sent - peer_count(&peer, "query-jobs") -
                              peer_count(&peer, "query-block-jobs"));
            ck_assert_int_eq(recorder.calls[CALL_END], 1);
            released_once();
            again();
        }
    }
    forget();
}
END_TEST

static void free_monitor(qblk_op *op)
{
    (void)op;
    monitor = qblk_monitor_free(monitor);
}

static bool is_freed(void)
{
    return recorder_released();
}

static bool run_until_released(void)
{
    qblk_monitor *mine = monitor;

    for (int i = 0; i < 5000 && !recorder_released(); i++) {
        (void)qblk_monitor_process(mine, 0, NULL);
        if (!recorder_released())
            (void)peer_turn(&peer);
    }
    return is_freed();
}

START_TEST(a_callback_may_free_the_monitor)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (int call = CALL_PLAN; call <= CALL_END; call++) {
        for (int n = 1; n <= n_calls[call]; n++) {
            wish((enum recorder_call)call, n, free_monitor);
            errand_begin(errand, &peer, monitor, false);
            ck_assert(run_until_released());
            ck_assert_int_eq(recorder.releases, 1);
            ck_assert_int_eq(recorder.calls[CALL_END], 1);
            ck_assert_int_eq(recorder.late, 0);
            /* What was heard already may be its end. */
            if (call != CALL_END && recorder.result != errand->result)
                ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
            again();
        }
    }
    forget();
}
END_TEST

START_TEST(on_end_may_free_the_operation)
{
    const struct errand *errand = &errands[_i];

    for (int dry = 0; dry < 2; dry++) {
        wish(CALL_END, 1, qblk_op_free);
        errand_begin(errand, &peer, monitor, dry != 0);
        ck_assert(peer_run(&peer, monitor, recorder_released));
        ck_assert_int_eq(recorder.releases, 1);
        ck_assert_int_eq(recorder.calls[CALL_END], 1);
        ck_assert_int_eq(recorder.late, 0);
        again();
    }
    /* And if it ends by a refusal, or by a cancel. */
    peer.refuse = "query-block";
    wish(CALL_END, 1, qblk_op_free);
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_released));
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
}
END_TEST

START_TEST(an_operation_that_goes_on_is_not_freed)
{
    qblk_op *op;

    ck_assert_int_eq(errand_start(&errands[0], &peer, monitor, false, &op, NULL), 0);
    qblk_op_free(op);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    ck_assert_int_eq(recorder.releases, 0);
    qblk_op_free(op);
    ck_assert_int_eq(recorder.releases, 1);
}
END_TEST

/* ---- the connection -------------------------------------------------------------------------- */

/* A target that is there is named with what it is worth, and stays. */
static void lost_files_are_named(const struct errand *errand, size_t n)
{
    char target[128], *sent = peer_sent(&peer, false);

    (void)snprintf(target, sizeof(target), "%s/target", peer.dir);
    if (recorder.result == QBLK_RESULT_LOST && strstr(sent, ".journal\"") != NULL &&
        access(target, F_OK) == 0)
        ck_assert_msg(strstr(recorder.notes, target) != NULL, "%s, hung up at %zu: %s", errand->name,
                      n, recorder.notes);
    free(sent);
}

START_TEST(a_lost_connection_is_told_once_at_every_step)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (int after = 0; after < 2; after++) {
        for (size_t n = 1; n <= n_commands; n++) {
            peer.hang_up_at = n;
            peer.hang_up_after = after != 0;
            run(errand, "hung up at", n);
            /* The reply to the very last command need not come for all to be well. */
            if (recorder.result != QBLK_RESULT_LOST)
                ck_assert_msg(recorder.result == errand->result && n == n_commands, "%s %zu: %s",
                              errand->name, n, qblk_result_name(recorder.result));
            else
                ck_assert_int_eq(recorder.error.kind, QBLK_KIND_CONNECTION);
            lost_files_are_named(errand, n);
            released_once();
            again();
        }
    }
    forget();
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

/* A monitor at work whose allocations fail from some point on, and no more after a while. */
static bool starve(const struct errand *errand, unsigned long n, bool comes_back)
{
    qblk_error error;
    int r;

    mem_fail_after(n);
    r = errand_start(errand, &peer, monitor, false, NULL, &error);
    for (int i = 0; r == 0 && i < 300 && !recorder_ended(); i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)peer_turn(&peer);
        if (comes_back && i == 60)
            mem_fail_after(0);
    }
    mem_fail_after(0);
    if (r < 0) {
        ck_assert_int_eq(error.code, QBLK_E_MEMORY);
        ck_assert_int_eq(recorder.calls[CALL_END], 0);
        ck_assert_int_eq(recorder.releases, 1);
    }
    return r == 0 && recorder.result == errand->result;
}

static void starving(const struct errand *errand, bool comes_back)
{
    bool is_well = false;

    for (unsigned long n = 1; !is_well; n++) {
        is_well = starve(errand, n, comes_back);
        monitor = qblk_monitor_free(monitor);
        ck_assert_int_eq(recorder.releases, 1);
        ck_assert_int_le(recorder.calls[CALL_END], 1);
        ck_assert_int_eq(recorder.late, 0);
        again();
        ck_assert_uint_lt(n, 20000);
    }
}

static const int hungry[] = { 1, 3, 8, 11, 14 }; /* one of each shape */

#define N_HUNGRY ((int)(sizeof(hungry) / sizeof(hungry[0])))

START_TEST(running_out_of_memory_anywhere_ends_it_once)
{
    starving(&errands[hungry[_i]], false);
}
END_TEST

START_TEST(running_out_of_memory_for_a_while_ends_it_once)
{
    starving(&errands[hungry[_i]], true);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_refused_command_undoes_everything_and_is_the_reported_cause,
        a_creation_that_fails_undoes_everything,
        cancelled_at_any_step_it_is_undone_or_really_done,
        left_at_any_step_the_end_comes_once_and_nothing_more_is_sent,
        a_callback_may_free_the_monitor,
        on_end_may_free_the_operation,
        a_lost_connection_is_told_once_at_every_step,
    };
    Suite *suite = suite_create("ops_faults");
    TCase *tcase = tcase_create("ops_faults");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_loop_test(tcase, tests[i], 0, N_ERRANDS);
    tcase_add_loop_test(tcase, cancelled_before_the_graph_is_read_nothing_is_sent, 0, 1);
    tcase_add_loop_test(tcase, running_out_of_memory_anywhere_ends_it_once, 0, N_HUNGRY);
    tcase_add_loop_test(tcase, running_out_of_memory_for_a_while_ends_it_once, 0, N_HUNGRY);
    tcase_add_test(tcase, an_operation_that_goes_on_is_not_freed);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

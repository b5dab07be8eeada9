/* An operation that freezes the guest: however it ends, by whatever breaks, the guest is thawed. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_aid.h"
#include "base/err.h"
#include "base/mem.h"
#include "monitor_aid.h"
#include "ops/guest.h"
#include "recorder.h"

static struct peer peer;
static struct agent_host host;
static qblk_monitor *monitor;
static qblk_op *op;
static int fds_before;

/* What an operation does that quiesces, in small: one node is added while the guest is frozen. */
static int plan(qblk_op *it, qblk_error *error)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_NULL_CO,
                                          .node_name = it->names.filter };
    struct qapi_blockdev_del_args del = { .node_name = it->names.filter };
    int r = plan_chain_text(it, NULL, it->top, &it->chain_before, error);
    struct step *step;

    if (r == 0)
        r = plan_open_journal(it, "finish", error);
    if (r < 0)
        return r;
    plan_freeze(it);
    step = plan_step(it, STEP_CALL, "what counts");
    step_command(&it->engine, step, &qapi_cmd_blockdev_add, &node);
    step_undo(&it->engine, step, &qapi_cmd_blockdev_del, &del);
    plan_thaw(it);
    plan_delete(it, it->names.filter);
    plan_close_journal(it);
    return 0;
}

/* By the name of one that can be taken up again. */
static const struct op_kind kind = { .name = "pull", .job_type = "stream", .plan = plan };

static void setup(void)
{
    fds_before = count_fds();
    recorder_reset();
    monitor = peer_start(&peer, PEER_VERSION(7, 2, 22), NULL);
    agent_host_start(&host);
    op = NULL;
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    agent_host_end(&host);
    recorder_reset();
    ck_assert_int_eq(count_fds(), fds_before);
}

static void begin(bool is_optional, bool is_dry)
{
    qblk_op_common common = { .dry_run = is_dry };
    qblk_error error = { .text = "" };

    recorder_watch(&common);
    ck_assert_int_eq(op_start(monitor, &kind, "vd0", &common, &op, &error), 0);
    ck_assert_int_eq(guest_want(op, host.path, is_optional, &error), 0);
    ck_assert_msg(op_begin(op, &error) == 0, "%s", error.text);
}

/* Turns all three until done() says so, or nothing can happen any more. */
static bool run_until(bool (*done_now)(void))
{
    for (int i = 0; i < 20000 && monitor != NULL && !done_now(); i++) {
        struct pollfd pfd;
        bool is_moving;
        int timeout;

        (void)qblk_monitor_process(monitor, 0, NULL);
        is_moving = peer.fd >= 0 && peer_turn(&peer);
        if (agent_host_turn(&host) || is_moving || monitor == NULL)
            continue;
        pfd = (struct pollfd){ .fd = qblk_monitor_fd(monitor),
                               .events = qblk_monitor_events(monitor) };
        timeout = qblk_monitor_timeout(monitor);
        if (timeout < 0 && poll(&pfd, 1, 0) == 0)
            return done_now();
        (void)poll(&pfd, 1, timeout < 0 || timeout > 200 ? 200 : timeout);
    }
    return done_now();
}

static bool is_frozen(void)
{
    return host.model.is_frozen;
}

static bool has_asked_to_freeze(void)
{
    return host.model.asked.len > 0 && strstr(host.model.asked.data, "freeze-freeze") != NULL;
}

static bool has_asked_for_status(void)
{
    return host.model.asked.len > 0 && strstr(host.model.asked.data, "status") != NULL;
}

static void run(void)
{
    ck_assert_msg(run_until(recorder_ended), "the operation is stuck");
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
}

static void is_clean(void)
{
    char *state = peer_state(&peer);

    ck_assert(!host.model.is_frozen);
    ck_assert_msg(strstr(state, "qblk.") == NULL, "%s", state);
    ck_assert_int_eq(recorder.disorder, 0);
    free(state);
}

static void says(const char *text)
{
    ck_assert_msg(strstr(recorder.notes, text) != NULL, "no \"%s\" in: %s", text, recorder.notes);
}

START_TEST(the_guest_is_frozen_around_what_counts)
{
    begin(false, false);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(recorder.notes, "");
    ck_assert_str_eq(agent_host_asked(&host),
                     "sync-delimited fsfreeze-status fsfreeze-freeze "
                     "sync-delimited fsfreeze-thaw fsfreeze-status");
    is_clean();
}
END_TEST

START_TEST(a_dry_run_speaks_to_nobody)
{
    begin(false, true);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_PLANNED);
    ck_assert_int_eq(host.clients, 0);
    for (size_t i = 0; i < op->engine.n; i++) {
        bool is_agents = op->steps[i].command != NULL &&
                         strstr(op->steps[i].command, "guest-") != NULL;

        ck_assert_int_eq(op->steps[i].agent != NULL, is_agents);
        if (is_agents)
            ck_assert_str_eq(op->steps[i].agent, host.path);
    }
}
END_TEST

START_TEST(no_agent_and_nothing_is_changed)
{
    agent_host_vanish(&host);
    begin(false, false);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_NO_AGENT);
    is_clean();
}
END_TEST

START_TEST(no_agent_where_it_is_optional_is_a_note)
{
    agent_host_vanish(&host);
    begin(true, false);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    says("not quiesced");
    is_clean();
}
END_TEST

START_TEST(what_counts_fails_and_the_guest_is_thawed)
{
    begin(_i == 1, false);
    (void)run_until(is_frozen);
    peer.refuse = "blockdev-add";
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_QEMU);
    is_clean();
}
END_TEST

START_TEST(a_thaw_that_fails_is_told_and_does_not_undo)
{
    agent_model_rule(&host.model, "*guest-fsfreeze-thaw=disabled");
    begin(false, false);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    says("THE GUEST MAY STILL BE FROZEN");
    host.model.n_rules = 0;
    monitor = qblk_monitor_free(monitor); /* and the last try is made when all ends */
    while (agent_host_turn(&host))
        ;
    ck_assert(!host.model.is_frozen);
}
END_TEST

START_TEST(a_cancel_cuts_a_freeze_short)
{
    agent_model_rule(&host.model, "guest-fsfreeze-freeze=late");
    begin(_i == 1, false);
    ck_assert(run_until(has_asked_to_freeze));
    qblk_op_cancel(op);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
    is_clean();
}
END_TEST

START_TEST(left_in_the_middle_the_guest_is_thawed_first)
{
    if (_i == 1)
        agent_model_rule(&host.model, "guest-fsfreeze-freeze=late");
    if (_i == 2)
        agent_model_rule(&host.model, "guest-fsfreeze-thaw=close");
    begin(false, false);
    ck_assert(run_until(_i == 1 ? has_asked_to_freeze : is_frozen));
    qblk_op_leave(op);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LEFT);
    ck_assert(!host.model.is_frozen);
}
END_TEST

START_TEST(with_the_monitor_lost_the_guest_is_thawed_all_the_same)
{
    static const char *const rules[] = { NULL, "guest-fsfreeze-thaw=close",
                                         "guest-fsfreeze-thaw=garbage",
                                         "guest-fsfreeze-freeze=late" };

    if (rules[_i] != NULL)
        agent_model_rule(&host.model, rules[_i]);
    begin(false, false);
    ck_assert(run_until(_i == 3 ? has_asked_to_freeze : is_frozen));
    close(peer.fd);
    peer.fd = -1;
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
    ck_assert(!host.model.is_frozen);
    ck_assert_int_eq(qblk_monitor_timeout(monitor), -1);
}
END_TEST

START_TEST(the_monitor_lost_before_the_freeze_nothing_is_frozen)
{
    agent_model_rule(&host.model, "guest-fsfreeze-status=mute");
    begin(false, false);
    ck_assert(run_until(has_asked_for_status));
    close(peer.fd);
    peer.fd = -1;
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
    ck_assert(!has_asked_to_freeze());
    while (agent_host_turn(&host))
        ;
    ck_assert_int_eq(host.peer, -1);
}
END_TEST

START_TEST(a_blocking_wait_goes_on_until_the_guest_is_thawed)
{
    qblk_error error;

    agent_model_rule(&host.model, "*guest-fsfreeze-thaw=disabled");
    begin(false, false);
    ck_assert(run_until(is_frozen));
    close(peer.fd);
    peer.fd = -1;
    (void)qblk_monitor_process(monitor, 0, NULL);
    ck_assert_int_eq(recorder.calls[CALL_END], 0);
    /* Nobody answers for the agent meanwhile, so it waits in vain. */
    ck_assert_int_eq(qblk_op_wait(op, 20, NULL, &error), -ETIMEDOUT);
    host.model.n_rules = 0;
    while (agent_host_turn(&host))
        ;
    ck_assert_int_eq(qblk_op_wait(op, 20000, NULL, &error), -ECONNRESET);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert(!host.model.is_frozen);
}
END_TEST

START_TEST(a_monitor_freed_while_the_guest_is_frozen_sends_the_thaw)
{
    begin(false, false);
    ck_assert(run_until(is_frozen));
    monitor = qblk_monitor_free(monitor);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
    while (agent_host_turn(&host))
        ;
    ck_assert(!host.model.is_frozen);
}
END_TEST

static void frees(qblk_op *it)
{
    qblk_op_free(it);
}

static void frees_monitor(qblk_op *it)
{
    (void)it;
    (void)qblk_monitor_free(monitor);
    monitor = NULL;
}

START_TEST(it_may_be_freed_when_it_ends)
{
    recorder.act_call = CALL_END;
    recorder.act_at = 1;
    recorder.act = _i % 2 == 0 ? frees : frees_monitor;
    begin(false, false);
    if (_i >= 2) {
        ck_assert(run_until(is_frozen));
        close(peer.fd);
        peer.fd = -1;
    }
    run();
    (void)run_until(recorder_released);
    ck_assert_int_eq(recorder.releases, 1);
    while (agent_host_turn(&host))
        ;
    ck_assert(!host.model.is_frozen);
}
END_TEST

/* The one time far ahead that is set while a guest is frozen. */
static void let_it_be_too_long(void)
{
    int n = 0;

    LIST_FOR_EACH(link, &monitor->timers) {
        struct monitor_timer *timer = LIST_ENTRY(link, struct monitor_timer, link);

        n += timer->at > monitor_now_ms() + 30000;
        timer->at = monitor_now_ms();
    }
    ck_assert_int_eq(n, 1);
}

START_TEST(a_guest_frozen_for_too_long_is_thawed)
{
    begin(false, false);
    /* What counts is not answered for a minute. */
    for (int i = 0; i < 1000 && !(host.model.is_frozen && op->engine.at == 3); i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)agent_host_turn(&host);
        if (!host.model.is_frozen)
            (void)peer_turn(&peer);
    }
    ck_assert(host.model.is_frozen);
    let_it_be_too_long();
    for (int i = 0; i < 20; i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)agent_host_turn(&host);
    }
    ck_assert(!host.model.is_frozen);
    ck_assert_int_eq(recorder.calls[CALL_END], 0);
    run();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_TIMEOUT);
    says("not quiesced");
    is_clean();
}
END_TEST

/* ---- taken up again --------------------------------------------------------------------------- */

static void resume(void)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);
    char id[16];

    (void)snprintf(id, sizeof(id), "%s", recorder.operation);
    monitor = qblk_monitor_free(monitor);
    monitor = peer_reconnect(&peer, NULL);
    recorder_reset();
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
    run();
}

START_TEST(a_guest_that_a_dead_client_left_frozen_is_thawed_first)
{
    begin(_i == 1, false);
    ck_assert(run_until(is_frozen));
    close(peer.fd);
    peer.fd = -1;
    run();
    host.model.is_frozen = _i != 2; /* as if it had been killed */
    (void)agent_host_asked(&host);
    resume();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_UNDONE);
    if (_i != 2)
        says("had been left frozen, and was thawed");
    else
        ck_assert_str_eq(recorder.notes, "");
    is_clean();
}
END_TEST

START_TEST(an_agent_that_cannot_be_asked_does_not_stop_the_recovery)
{
    begin(false, false);
    ck_assert(run_until(is_frozen));
    close(peer.fd);
    peer.fd = -1;
    run();
    agent_host_vanish(&host);
    resume();
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_FROZEN);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "THE GUEST MAY STILL BE FROZEN"));
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "does not exist"));
    says("undone all the same");
    host.model.is_frozen = false;
    is_clean();
}
END_TEST

START_TEST(a_relative_socket_is_refused)
{
    qblk_op_common common = { .dry_run = true };
    qblk_error error = { .text = "" };

    recorder_watch(&common);
    ck_assert_int_eq(op_start(monitor, &kind, "vd0", &common, &op, &error), 0);
    ck_assert_int_eq(guest_want(op, "agent", false, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "not an absolute path"));
    ck_assert_int_eq(guest_want(op, NULL, false, &error), 0);
    ck_assert_ptr_null(guest_path(op));
    op_drop(op);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ops_guest");
    TCase *tc = tcase_create("ops_guest");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_guest_is_frozen_around_what_counts);
    tcase_add_test(tc, a_dry_run_speaks_to_nobody);
    tcase_add_test(tc, no_agent_and_nothing_is_changed);
    tcase_add_test(tc, no_agent_where_it_is_optional_is_a_note);
    tcase_add_loop_test(tc, what_counts_fails_and_the_guest_is_thawed, 0, 2);
    tcase_add_test(tc, a_thaw_that_fails_is_told_and_does_not_undo);
    tcase_add_loop_test(tc, a_cancel_cuts_a_freeze_short, 0, 2);
    tcase_add_loop_test(tc, left_in_the_middle_the_guest_is_thawed_first, 0, 3);
    tcase_add_loop_test(tc, with_the_monitor_lost_the_guest_is_thawed_all_the_same, 0, 4);
    tcase_add_test(tc, the_monitor_lost_before_the_freeze_nothing_is_frozen);
    tcase_add_test(tc, a_blocking_wait_goes_on_until_the_guest_is_thawed);
    tcase_add_test(tc, a_monitor_freed_while_the_guest_is_frozen_sends_the_thaw);
    tcase_add_loop_test(tc, it_may_be_freed_when_it_ends, 0, 4);
    tcase_add_test(tc, a_guest_frozen_for_too_long_is_thawed);
    tcase_add_loop_test(tc, a_guest_that_a_dead_client_left_frozen_is_thawed_first, 0, 3);
    tcase_add_test(tc, an_agent_that_cannot_be_asked_does_not_stop_the_recovery);
    tcase_add_test(tc, a_relative_socket_is_refused);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

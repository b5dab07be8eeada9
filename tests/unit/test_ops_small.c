/* Resize, throttle and detach: what they send, what they refuse without sending anything, and how long
 * a guest is waited for. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

#define V72 PEER_VERSION(7, 2, 22)
#define MIB 1048576u
#define TO_BEGIN 6 /* questions: the jobs, as a client does, and the graph */

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

static bool is_query(const char *command)
{
    return strstr(command, "\"query-") != NULL || strstr(command, "\"x-debug-query-") != NULL;
}

/* What was sent that is no query, a line each, in a static buffer. */
static const char *changes(void)
{
    static char text[4096];

    text[0] = '\0';
    for (size_t i = 0; i < peer.n_sent; i++) {
        if (is_query(peer.sent[i]))
            continue;
        strcat(text, peer.sent[i]);
        strcat(text, "\n");
    }
    return text;
}

static void run(qblk_result want)
{
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert_msg(recorder.result == want, "%s, not %s: %s", qblk_result_name(recorder.result),
                  qblk_result_name(want), recorder.error.text);
    ck_assert_int_eq(recorder.late, 0);
}

static void refused(qblk_error_code code, const char *says)
{
    run(QBLK_RESULT_FAILED);
    ck_assert_msg(recorder.error.code == code && recorder.error.kind == QBLK_KIND_REFUSED &&
                  strstr(recorder.error.text, says) != NULL,
                  "%s: %s", qblk_error_code_name(recorder.error.code), recorder.error.text);
    ck_assert_str_eq(changes(), "");
    ck_assert_int_eq(recorder.calls[CALL_PLAN], 0);
}

/* Before the next operation of a test. */
static void again(void)
{
    teardown();
    setup();
}

/* Of the plan's commands those that change something are all that is sent. */
static void planned_is_sent(const char *planned)
{
    char text[4096] = "";

    for (const char *line = planned; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t len = (size_t)(strchr(line, '\n') - line) + 1;

        if (strncmp(line, "{\"execute\":\"query-", 18) != 0 &&
            strncmp(line, "{\"execute\":\"x-debug-", 20) != 0)
            strncat(text, line, len);
    }
    ck_assert_str_eq(changes(), text);
}

/* ---- resize --------------------------------------------------------------------------------- */

static void resize(uint64_t bytes, bool shrink, bool is_dry)
{
    qblk_resize_options options = QBLK_INIT(qblk_resize_options);

    recorder_watch(&options.common);
    options.common.dry_run = is_dry;
    options.shrink = shrink;
    ck_assert_int_eq(qblk_resize(monitor, "vd0", bytes, &options, NULL, NULL), 0);
}

START_TEST(resize_sends_one_command_and_looks)
{
    resize(16 * MIB - 100, false, true);
    run(QBLK_RESULT_PLANNED);
    ck_assert_str_eq(changes(), "");
    again();
    resize(16 * MIB - 100, false, false);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(), "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"top\","
                                "\"size\":16777216}}\n");
    planned_is_sent(recorder.planned);
    ck_assert_ptr_nonnull(strstr(recorder.notes, "no multiple of 512"));
    ck_assert_ptr_nonnull(strstr(peer.sent[peer.n_sent - 1], "query-named-block-nodes"));
    ck_assert_uint_eq(peer.n_sent, TO_BEGIN + 2);
}
END_TEST

START_TEST(resize_believes_what_it_sees)
{
    peer.keeps_size = true;
    resize(16 * MIB, false, false);
    run(QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.kind, QBLK_KIND_FAILED);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "8388608"));
}
END_TEST

START_TEST(resize_to_what_it_has_does_nothing)
{
    resize(8 * MIB, false, false);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(), "");
    ck_assert_ptr_nonnull(strstr(recorder.notes, "nothing to do"));
}
END_TEST

START_TEST(resize_shrinks_only_if_told_so)
{
    resize(4 * MIB, false, false);
    refused(QBLK_E_SIZE_MISMATCH, "--shrink");
    again();
    resize(4 * MIB, true, false);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_uint_eq(peer_count(&peer, "block_resize"), 1);
}
END_TEST

START_TEST(resize_of_a_block_device_is_to_its_own_size)
{
    struct peer_node *file;

    strcpy(peer_node(&peer, "top")->driver, "raw");
    peer_node(&peer, "top")->backing[0] = '\0';
    file = peer_add_node(&peer, "dev", "host_device", "/dev/x", "", "");
    file->size = 12 * MIB;
    strcpy(peer_node(&peer, "top")->child, "dev");
    resize(16 * MIB, false, false);
    refused(QBLK_E_SIZE_MISMATCH, "exactly that size");
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "12582912"));
}
END_TEST

START_TEST(resize_waits_for_no_job)
{
    struct peer_job *job = peer_add_job(&peer, "theirs", "stream", "running");

    peer.is_holding = true;
    strcpy(job->holds[job->n_holds++], "mid");
    resize(16 * MIB, false, false);
    refused(QBLK_E_BUSY, "theirs");
    ck_assert_str_eq(recorder.error.job, "theirs");
}
END_TEST

START_TEST(resize_to_nonsense_is_not_begun)
{
    qblk_error error;

    ck_assert_int_eq(qblk_resize(monitor, "vd0", 0, NULL, NULL, &error), -EINVAL);
    ck_assert_int_eq(qblk_resize(monitor, "vd0", UINT64_MAX, NULL, NULL, &error), -EINVAL);
    ck_assert_int_eq(qblk_resize(monitor, "", MIB, NULL, NULL, &error), -EINVAL);
}
END_TEST

/* ---- throttle ------------------------------------------------------------------------------- */

static int throttle(const qblk_throttle_options *from, qblk_error *error)
{
    qblk_throttle_options options = *from;

    options.size = sizeof(options);
    recorder_watch(&options.common);
    return qblk_throttle(monitor, "vd0", &options, NULL, error);
}

START_TEST(throttle_sends_all_limits)
{
    qblk_throttle_options options = {
        .is_given[QBLK_LIMIT_BPS_RD] = true, .value[QBLK_LIMIT_BPS_RD] = 10 * MIB,
        .is_given[QBLK_LIMIT_BPS_RD_MAX] = true, .value[QBLK_LIMIT_BPS_RD_MAX] = 20 * MIB,
        .is_given[QBLK_LIMIT_IOPS_SIZE] = true, .value[QBLK_LIMIT_IOPS_SIZE] = 4096,
        .group = "g",
    };

    ck_assert_int_eq(throttle(&options, NULL), 0);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(),
                     "{\"execute\":\"block_set_io_throttle\",\"arguments\":{"
                     "\"id\":\"/machine/peripheral/vd0/virtio-backend\",\"bps\":0,"
                     "\"bps_rd\":10485760,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0,"
                     "\"bps_rd_max\":20971520,\"iops_size\":4096,\"group\":\"g\"}}\n");
    planned_is_sent(recorder.planned);
    ck_assert_uint_eq(peer.n_sent, TO_BEGIN + 1);
}
END_TEST

START_TEST(throttle_off_sends_none)
{
    qblk_throttle_options options = { .off = true };

    ck_assert_int_eq(throttle(&options, NULL), 0);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(),
                     "{\"execute\":\"block_set_io_throttle\",\"arguments\":{"
                     "\"id\":\"/machine/peripheral/vd0/virtio-backend\",\"bps\":0,"
                     "\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0}}\n");
}
END_TEST

START_TEST(throttle_without_sense_is_not_begun)
{
    qblk_throttle_options nothing = { .off = false };
    qblk_throttle_options both = { .off = true, .group = "g" };
    qblk_throttle_options total = {
        .is_given[QBLK_LIMIT_BPS] = true, .value[QBLK_LIMIT_BPS] = 1,
        .is_given[QBLK_LIMIT_BPS_WR] = true, .value[QBLK_LIMIT_BPS_WR] = 1,
    };
    qblk_error error;

    ck_assert_int_eq(throttle(&nothing, &error), -EINVAL);
    ck_assert_int_eq(throttle(&both, &error), -EINVAL);
    ck_assert_int_eq(throttle(&total, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "bps and bps-rd or bps-wr exclude one another"));
    ck_assert_int_eq(recorder.releases, 3);
    total.value[QBLK_LIMIT_BPS_WR] = 0; /* no limit is in nobody's way */
    ck_assert_int_eq(throttle(&total, &error), 0);
}
END_TEST

START_TEST(throttle_behind_a_throttle_node_is_refused)
{
    qblk_throttle_options options = { .off = true };

    (void)peer_add_node(&peer, "thr", "throttle", "", "top", "");
    strcpy(peer.root, "thr");
    ck_assert_int_eq(throttle(&options, NULL), 0);
    refused(QBLK_E_UNSUPPORTED, "thr");
}
END_TEST

/* ---- detach --------------------------------------------------------------------------------- */

static void detach(int tries, int interval_ms, bool keep_nodes)
{
    qblk_detach_options options = QBLK_INIT(qblk_detach_options);

    recorder_watch(&options.common);
    options.tries = tries;
    options.interval_ms = interval_ms;
    options.keep_nodes = keep_nodes;
    ck_assert_int_eq(qblk_detach(monitor, "vd0", &options, NULL, NULL), 0);
}

#define DEL "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"vd0\"}}\n"

static size_t nodes_removed(void)
{
    return peer_count(&peer, "blockdev-del") - 1; /* the journal's */
}

/* The guest was asked that often, and all is as before but for that. */
static void only_asked(size_t times, size_t nodes)
{
    ck_assert_uint_eq(peer_count(&peer, "device_del"), times);
    ck_assert_uint_eq(peer_count(&peer, "blockdev-add"), 1);
    ck_assert_uint_eq(nodes_removed(), 0);
    ck_assert_uint_eq(peer.n_nodes, nodes);
}

START_TEST(detach_removes_the_nodes_of_the_disk)
{
    static const enum peer_order orders[] = { PEER_MEASURED, PEER_EVENTS_FIRST,
                                              PEER_REPLIES_FIRST };
    size_t all = peer.n_nodes;

    peer.order = orders[_i];
    detach(0, 0, false);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_ptr_nonnull(strstr(changes(), DEL));
    planned_is_sent(recorder.planned);
    ck_assert_uint_ge(nodes_removed(), 3);
    ck_assert_uint_eq(peer.n_sent, TO_BEGIN + 4 + 2 * nodes_removed()); /* each was marked */
    ck_assert_uint_eq(peer.n_nodes, 0);
    again();
    detach(0, 0, true);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(), DEL);
    ck_assert_uint_eq(peer.n_nodes, all);
}
END_TEST

START_TEST(detach_asks_again_until_the_device_is_gone)
{
    peer.unplug_after = 3;
    detach(5, 1, true);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(), DEL DEL DEL);
}
END_TEST

START_TEST(detach_gives_up_after_its_tries)
{
    size_t all = peer.n_nodes;

    peer.unplug_after = 9;
    detach(2, 1, false);
    run(QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_TIMEOUT);
    only_asked(2, all);
}
END_TEST

START_TEST(detach_takes_up_an_earlier_request)
{
    peer.is_unplugging = true; /* so the very first answer is a refusal */
    peer.unplug_after = 2;
    detach(2, 1, true);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_str_eq(changes(), DEL DEL);
}
END_TEST

START_TEST(detach_knows_a_device_is_gone_if_the_event_is_lost)
{
    peer.loses_unplug = true;
    detach(2, 1, false);
    run(QBLK_RESULT_COMPLETED);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 2);
    ck_assert_uint_eq(peer.n_nodes, 0);
}
END_TEST

START_TEST(detach_tells_that_the_guest_refuses)
{
    size_t all = peer.n_nodes;

    peer.guest_refuses = true;
    detach(5, 60000, false);
    run(QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.kind, QBLK_KIND_FAILED);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "the guest refused"));
    only_asked(1, all);
}
END_TEST

START_TEST(detach_that_qemu_refuses_is_not_tried_again)
{
    size_t all = peer.n_nodes;

    peer.refuse = "device_del";
    detach(5, 60000, false);
    run(QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_QEMU);
    only_asked(1, all);
}
END_TEST

START_TEST(detach_is_refused_while_a_job_runs)
{
    struct peer_job *job = peer_add_job(&peer, "theirs", "mirror", "ready");

    strcpy(job->holds[job->n_holds++], "top");
    detach(0, 0, false);
    refused(QBLK_E_BUSY, "theirs");
}
END_TEST

/* At the third step, after the journal's two. */
static void stop_detach(void (*how)(qblk_op *op), bool keep_nodes)
{
    recorder.act_call = CALL_STEP;
    recorder.act_at = keep_nodes ? 1 : 3 + (int)peer.n_nodes; /* device_del */
    recorder.act = how;
    peer.unplug_after = 9;
    detach(5, 60000, keep_nodes);
    run(how == qblk_op_cancel ? QBLK_RESULT_CANCELLED : QBLK_RESULT_LEFT);
    (void)peer_turn(&peer); /* it was left while the command was on its way */
}

START_TEST(detach_can_be_stopped)
{
    size_t all = peer.n_nodes;

    stop_detach(qblk_op_cancel, false);
    only_asked(1, all);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "cannot be taken back"));
    ck_assert_ptr_null(strstr(recorder.notes, "recover"));
}
END_TEST

START_TEST(detach_that_keeps_the_nodes_leaves_nothing_to_recover)
{
    stop_detach(qblk_op_leave, true);
    ck_assert_str_eq(changes(), DEL);
    ck_assert_ptr_nonnull(strstr(recorder.notes, "may still do so"));
    ck_assert_ptr_null(strstr(recorder.notes, "recover"));
}
END_TEST

START_TEST(detach_left_before_it_asked_says_so)
{
    recorder.act_call = CALL_STEP;
    recorder.act_at = 1;
    recorder.act = qblk_op_leave;
    detach(0, 0, false);
    run(QBLK_RESULT_LEFT);
    ck_assert_ptr_nonnull(strstr(recorder.notes, "was not asked yet"));
    ck_assert_ptr_nonnull(strstr(recorder.notes, "recover --operation"));
}
END_TEST

/* Without nodes to remove there is no journal, and the request is all there was to it. */
START_TEST(detach_lost_once_it_asked_says_so)
{
    peer.hang_up_at = TO_BEGIN + 1;
    peer.hang_up_after = true;
    peer.unplug_after = 9;
    detach(0, 0, true);
    run(QBLK_RESULT_LOST);
    ck_assert_str_eq(changes(), DEL);
    ck_assert_ptr_nonnull(strstr(recorder.notes, "may still do so"));
    ck_assert_ptr_null(strstr(recorder.notes, "recover"));
}
END_TEST

static void take_up(qblk_resume_how how, qblk_result result) /* LEFT: at the second step */
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);
    const char *said = strstr(recorder.notes, "recover --operation ");
    char id[9] = "";

    ck_assert_ptr_nonnull(said);
    (void)sscanf(said, "recover --operation %8s", id);
    monitor = qblk_monitor_free(monitor);
    monitor = peer_reconnect(&peer, NULL);
    recorder_reset();
    options.how = how;
    if (result == QBLK_RESULT_LEFT) {
        recorder.act_call = CALL_STEP;
        recorder.act_at = 2;
        recorder.act = qblk_op_leave;
    }
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
    run(result);
}

START_TEST(detach_is_taken_up_by_asking_again)
{
    stop_detach(qblk_op_leave, false);
    peer.unplug_after = 1;
    take_up(QBLK_RESUME_INTENT, QBLK_RESULT_COMPLETED);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 1);
    ck_assert_uint_eq(peer.n_nodes, 0);
}
END_TEST

START_TEST(detach_is_taken_up_by_cleaning_if_the_device_has_gone)
{
    stop_detach(qblk_op_leave, false);
    peer.root[0] = '\0';
    take_up(QBLK_RESUME_INTENT, QBLK_RESULT_COMPLETED);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 0);
    ck_assert_uint_eq(peer.n_nodes, 0);
}
END_TEST

START_TEST(detach_taken_up_can_be_left_again)
{
    stop_detach(qblk_op_leave, false);
    peer.root[0] = '\0';
    take_up(QBLK_RESUME_INTENT, QBLK_RESULT_LEFT);
    ck_assert_msg(strstr(recorder.notes, "device vd0 is gone") != NULL, "%s", recorder.notes);
}
END_TEST

START_TEST(detach_is_undone_by_asking_nobody)
{
    size_t all = peer.n_nodes;

    stop_detach(qblk_op_leave, false);
    take_up(QBLK_RESUME_UNDO, QBLK_RESULT_UNDONE);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 0);
    ck_assert_uint_eq(nodes_removed(), 0);
    ck_assert_uint_eq(peer.n_nodes, all);
}
END_TEST

static void add_all(TCase *tcase)
{
    tcase_add_test(tcase, resize_sends_one_command_and_looks);
    tcase_add_test(tcase, resize_believes_what_it_sees);
    tcase_add_test(tcase, resize_to_what_it_has_does_nothing);
    tcase_add_test(tcase, resize_shrinks_only_if_told_so);
    tcase_add_test(tcase, resize_of_a_block_device_is_to_its_own_size);
    tcase_add_test(tcase, resize_waits_for_no_job);
    tcase_add_test(tcase, resize_to_nonsense_is_not_begun);
    tcase_add_test(tcase, throttle_sends_all_limits);
    tcase_add_test(tcase, throttle_off_sends_none);
    tcase_add_test(tcase, throttle_without_sense_is_not_begun);
    tcase_add_test(tcase, throttle_behind_a_throttle_node_is_refused);
    tcase_add_loop_test(tcase, detach_removes_the_nodes_of_the_disk, 0, 3);
    tcase_add_test(tcase, detach_asks_again_until_the_device_is_gone);
    tcase_add_test(tcase, detach_gives_up_after_its_tries);
    tcase_add_test(tcase, detach_takes_up_an_earlier_request);
    tcase_add_test(tcase, detach_knows_a_device_is_gone_if_the_event_is_lost);
    tcase_add_test(tcase, detach_tells_that_the_guest_refuses);
    tcase_add_test(tcase, detach_that_qemu_refuses_is_not_tried_again);
    tcase_add_test(tcase, detach_is_refused_while_a_job_runs);
    tcase_add_test(tcase, detach_can_be_stopped);
    tcase_add_test(tcase, detach_that_keeps_the_nodes_leaves_nothing_to_recover);
    tcase_add_test(tcase, detach_left_before_it_asked_says_so);
    tcase_add_test(tcase, detach_lost_once_it_asked_says_so);
    tcase_add_test(tcase, detach_is_taken_up_by_asking_again);
    tcase_add_test(tcase, detach_is_taken_up_by_cleaning_if_the_device_has_gone);
    tcase_add_test(tcase, detach_taken_up_can_be_left_again);
    tcase_add_test(tcase, detach_is_undone_by_asking_nobody);
}

int main(void)
{
    Suite *suite = suite_create("ops_small");
    TCase *tcase = tcase_create("ops_small");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    add_all(tcase);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

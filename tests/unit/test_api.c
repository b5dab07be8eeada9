/* What makes no sense is refused by the start call itself: with a reason, nothing sent, and what was handed
 * over released once. The command sees to much of it before; other callers of the library do not. */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

static struct peer peer;
static qblk_monitor *monitor;
static qblk_op *op;
static qblk_group *group;
static qblk_error error;

static void setup(void)
{
    recorder_reset();
    memset(&error, 0, sizeof(error));
    op = NULL;
    group = NULL;
    monitor = peer_start(&peer, PEER_VERSION(7, 2, 22), NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

/* ---- the calls -------------------------------------------------------------------------------- */

#define OPTIONS(type)                                                                              \
    type o = QBLK_INIT(type);                                                                      \
    recorder_watch(&o.common)

static int copy(qblk_copy_options *o, const char *target)
{
    return qblk_copy(monitor, "vd0", target, o, &op, &error);
}

static int no_disk(void)
{
    OPTIONS(qblk_pull_options);
    return qblk_pull(monitor, NULL, &o, &op, &error);
}

static int empty_disk(void)
{
    OPTIONS(qblk_commit_options);
    return qblk_commit(monitor, "", &o, &op, &error);
}

static int fast(void)
{
    OPTIONS(qblk_pull_options);
    o.common.speed = (uint64_t)INT64_MAX + 1;
    return qblk_pull(monitor, "vd0", &o, &op, &error);
}

static int policy(void)
{
    OPTIONS(qblk_backup_options);
    o.common.on_error = "panic";
    return qblk_backup(monitor, "vd0", "/target", &o, &op, &error);
}

static int source_policy(void)
{
    OPTIONS(qblk_copy_options);
    o.on_source_error = "retry";
    return copy(&o, "/target");
}

static int target_policy(void)
{
    OPTIONS(qblk_copy_options);
    o.on_target_error = "";
    return copy(&o, "/target");
}

static int no_target(void)
{
    OPTIONS(qblk_copy_options);
    return copy(&o, NULL);
}

static int relative_target(void)
{
    OPTIONS(qblk_backup_options);
    return qblk_backup(monitor, "vd0", "here.qcow2", &o, &op, &error);
}

static int format(void)
{
    OPTIONS(qblk_copy_options);
    o.format = "vmdk";
    return copy(&o, "/target");
}

static int uri(void)
{
    OPTIONS(qblk_copy_options);
    return copy(&o, "nbd://host:99999/disk");
}

static int ending(void)
{
    OPTIONS(qblk_copy_options);
    o.ending = (qblk_ending)(QBLK_END_KEEP + 1);
    return copy(&o, "/target");
}

static int commit_ending(void)
{
    OPTIONS(qblk_commit_options);
    o.ending = (qblk_ending)-1;
    return qblk_commit(monitor, "vd0", &o, &op, &error);
}

static int commit_two_names(void)
{
    OPTIONS(qblk_commit_options);
    o.backing_file = "base";
    o.relative = true;
    return qblk_commit(monitor, "vd0", &o, &op, &error);
}

static int sync_word(void)
{
    OPTIONS(qblk_copy_options);
    o.sync = "some";
    return copy(&o, "/target");
}

static int backup_sync(void)
{
    OPTIONS(qblk_backup_options);
    o.sync = "none";
    return qblk_backup(monitor, "vd0", "/target", &o, &op, &error);
}

static int raw_compressed(void)
{
    OPTIONS(qblk_backup_options);
    o.format = "raw";
    o.compress = true;
    return qblk_backup(monitor, "vd0", "/target", &o, &op, &error);
}

static int shallow_full(void)
{
    OPTIONS(qblk_copy_options);
    o.shallow = true;
    o.sync = "full";
    return copy(&o, "/target");
}

static int none_pivot(void)
{
    OPTIONS(qblk_copy_options);
    o.sync = "none";
    o.reuse = true;
    o.ending = QBLK_END_PIVOT;
    return copy(&o, "/target");
}

static int none_made(void)
{
    OPTIONS(qblk_copy_options);
    o.sync = "none";
    return copy(&o, "/target");
}

static int granularity(void)
{
    OPTIONS(qblk_copy_options);
    o.granularity = 65537;
    return copy(&o, "/target");
}

static int large_buffer(void)
{
    OPTIONS(qblk_copy_options);
    o.buf_size = (1u << 30) + 1;
    return copy(&o, "/target");
}

static int small_buffer(void)
{
    OPTIONS(qblk_copy_options);
    o.granularity = 65536;
    o.buf_size = 4096;
    return copy(&o, "/target");
}

static int two_targets(void)
{
    OPTIONS(qblk_copy_options);
    o.blockdev = "{\"driver\":\"null-co\"}";
    return copy(&o, "/target");
}

static int described_format(void)
{
    OPTIONS(qblk_copy_options);
    o.blockdev = "{\"driver\":\"null-co\"}";
    o.format = "raw";
    return copy(&o, NULL);
}

static int described_legacy(void)
{
    OPTIONS(qblk_copy_options);
    o.blockdev = "{\"driver\":\"null-co\"}";
    o.legacy = true;
    return copy(&o, NULL);
}

static int described_badly(void)
{
    OPTIONS(qblk_copy_options);
    o.blockdev = "{\"driver\":";
    return copy(&o, NULL);
}

static int relative_full(void)
{
    OPTIONS(qblk_copy_options);
    o.relative = true;
    return copy(&o, "/target");
}

static int relative_reuse(void)
{
    OPTIONS(qblk_copy_options);
    o.relative = o.shallow = o.reuse = true;
    return copy(&o, "/target");
}

static int quiesced_pivot(void)
{
    OPTIONS(qblk_copy_options);
    o.quiesce = "/agent";
    o.ending = QBLK_END_PIVOT;
    return copy(&o, "/target");
}

static int twice_active(void)
{
    OPTIONS(qblk_copy_options);
    o.active = o.active_late = true;
    return copy(&o, "/target");
}

static int base_and_bottom(void)
{
    OPTIONS(qblk_pull_options);
    o.base = o.bottom = "base";
    return qblk_pull(monitor, "vd0", &o, &op, &error);
}

static int name_of_nothing(void)
{
    OPTIONS(qblk_pull_options);
    o.backing_file = "base";
    return qblk_pull(monitor, "vd0", &o, &op, &error);
}

static int relative_nothing(void)
{
    OPTIONS(qblk_pull_options);
    o.relative = true;
    return qblk_pull(monitor, "vd0", &o, &op, &error);
}

static int pull_two_names(void)
{
    OPTIONS(qblk_pull_options);
    o.base = o.backing_file = "base";
    o.relative = true;
    return qblk_pull(monitor, "vd0", &o, &op, &error);
}

static int swap_size(void)
{
    OPTIONS(qblk_swap_options);
    o.resize = 1000;
    return qblk_swap(monitor, "vd0", "/target", &o, &op, &error);
}

static int resize_size(void)
{
    OPTIONS(qblk_resize_options);
    return qblk_resize(monitor, "vd0", UINT64_MAX, &o, &op, &error);
}

static int snapshot_of(size_t n, const char *file, bool reuse, bool relative)
{
    const qblk_snapshot_disk disk = { "vd0", file };
    OPTIONS(qblk_snapshot_options);

    o.reuse = reuse;
    o.relative = relative;
    return qblk_snapshot(monitor, &disk, n, &o, &op, &error);
}

static int snapshot_nothing(void) { return snapshot_of(0, "/overlay", false, false); }
static int snapshot_all(void) { return snapshot_of(1001, "/overlay", false, false); }
static int snapshot_remote(void) { return snapshot_of(1, "nbd://host/disk", false, false); }
static int snapshot_reuse(void) { return snapshot_of(1, "/overlay", true, true); }
static int snapshot_nowhere(void) { return snapshot_of(1, NULL, false, false); }

static int throttle(uint64_t value, const char *name)
{
    OPTIONS(qblk_throttle_options);

    o.is_given[QBLK_LIMIT_BPS] = value != 0;
    o.value[QBLK_LIMIT_BPS] = value;
    o.group = name;
    return qblk_throttle(monitor, "vd0", &o, &op, &error);
}

static int throttle_nothing(void) { return throttle(0, NULL); }
static int throttle_much(void) { return throttle(UINT64_MAX, NULL); }

static int throttle_name(void)
{
    char name[200];

    memset(name, 'g', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    return throttle(1, name);
}

static int detach(void)
{
    OPTIONS(qblk_detach_options);
    o.tries = -1;
    return qblk_detach(monitor, "vd0", &o, &op, &error);
}

static int resume(const char *id)
{
    OPTIONS(qblk_resume_options);
    return qblk_resume(monitor, id, &o, &op, &error);
}

static int resume_nothing(void) { return resume(NULL); }
static int resume_short(void) { return resume("1234567"); }
static int resume_word(void) { return resume("my-clone"); }

static const struct {
    int (*call)(void);
    const char *says;
} bad_calls[] = {
    { no_disk, "no disk was named" },
    { empty_disk, "no disk was named" },
    { fast, "9223372036854775808 bytes per second" },
    { policy, "\"panic\" is no policy" },
    { source_policy, "\"retry\" is no policy" },
    { target_policy, "\"\" is no policy" },
    { no_target, "no target was named" },
    { relative_target, "here.qcow2 is not an absolute path" },
    { format, "\"vmdk\" is no format" },
    { uri, "not a number from 1 to 65535" },
    { ending, "no ending number 4" },
    { commit_ending, "no ending number -1" },
    { commit_two_names, "not both" },
    { sync_word, "\"some\" is nothing to copy" },
    { backup_sync, "\"none\" is nothing to back up" },
    { raw_compressed, "cannot be compressed" },
    { shallow_full, "contradicts" },
    { none_pivot, "cannot be moved to the target" },
    { none_made, "needs a target that holds the rest" },
    { granularity, "a granularity of 65537 bytes" },
    { large_buffer, "more than 1G" },
    { small_buffer, "does not hold one piece of 65536" },
    { two_targets, "give one of them" },
    { described_format, "--format contradicts" },
    { described_legacy, "drive-mirror opens its target itself" },
    { described_badly, "JSON" },
    { relative_full, "--shallow" },
    { relative_reuse, "--relative contradicts" },
    { quiesced_pivot, "after a pivot" },
    { twice_active, "contradict one another" },
    { base_and_bottom, "exclude one another" },
    { name_of_nothing, "only with a base to keep" },
    { relative_nothing, "only with a base to keep" },
    { pull_two_names, "not both" },
    { swap_size, "1000 bytes" },
    { resize_size, "18446744073709551615" },
    { snapshot_nothing, "not of 0" },
    { snapshot_all, "1 to 1000 disks, not of 1001" },
    { snapshot_remote, "names a protocol" },
    { snapshot_reuse, "not in one that was prepared" },
    { snapshot_nowhere, "no target was named" },
    { throttle_nothing, "no limit was given" },
    { throttle_much, "18446744073709551615 is more than QEMU can be told" },
    { throttle_name, "over 127 bytes" },
    { detach, "-1 tries" },
    { resume_nothing, "8 hex digits" },
    { resume_short, "\"1234567\" is not the id of an operation" },
    { resume_word, "\"my-clone\" is not the id of an operation" },
};
#define N_BAD_CALLS ((int)(sizeof(bad_calls) / sizeof(bad_calls[0])))

static bool never(void)
{
    return false;
}

static void is_argument(int r, const char *says)
{
    ck_assert_int_eq(r, -EINVAL);
    ck_assert_msg(error.code == QBLK_E_ARGUMENT && error.err == EINVAL && strstr(error.text, says) != NULL,
                  "%s: %s", qblk_error_code_name(error.code), error.text);
}

START_TEST(what_makes_no_sense_is_not_begun)
{
    is_argument(bad_calls[_i].call(), bad_calls[_i].says);
    ck_assert_ptr_null(op);
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert(!peer_run(&peer, monitor, never));
    for (int i = 0; i < N_CALLS; i++)
        ck_assert_int_eq(recorder.calls[i], 0);
    ck_assert_uint_eq(peer.n_sent, 0);
}
END_TEST

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Where the size is not known nothing behind it is: the callbacks are not called, release() neither. */
#define REFUSES_SIZE(type, call)                                                                   \
    do {                                                                                           \
        for (int larger = 0; larger < 2; larger++) {                                               \
            OPTIONS(type);                                                                         \
            o.size = larger != 0 ? o.size + 1 : 0;                                                 \
            is_argument(call, "QBLK_INIT(" #type ")");                                             \
            ck_assert_int_eq(recorder.releases, 0);                                                \
        }                                                                                          \
    } while (0)

START_TEST(options_without_a_size_are_refused)
{
    const qblk_snapshot_disk disk = { "vd0", "/overlay" };
    qblk_jobs_ops ops = { .size = 0 };
    qblk_limits limits = { .size = 0 };

    REFUSES_SIZE(qblk_pull_options, qblk_pull(monitor, "vd0", &o, &op, &error));
    REFUSES_SIZE(qblk_commit_options, qblk_commit(monitor, "vd0", &o, &op, &error));
    REFUSES_SIZE(qblk_copy_options, qblk_copy(monitor, "vd0", "/t", &o, &op, &error));
    REFUSES_SIZE(qblk_swap_options, qblk_swap(monitor, "vd0", "/t", &o, &op, &error));
    REFUSES_SIZE(qblk_backup_options, qblk_backup(monitor, "vd0", "/t", &o, &op, &error));
    REFUSES_SIZE(qblk_resize_options, qblk_resize(monitor, "vd0", 512, &o, &op, &error));
    REFUSES_SIZE(qblk_throttle_options, qblk_throttle(monitor, "vd0", &o, &op, &error));
    REFUSES_SIZE(qblk_detach_options, qblk_detach(monitor, "vd0", &o, &op, &error));
    REFUSES_SIZE(qblk_snapshot_options, qblk_snapshot(monitor, &disk, 1, &o, &op, &error));
    REFUSES_SIZE(qblk_resume_options, qblk_resume(monitor, "01234567", &o, &op, &error));
    is_argument(qblk_jobs_track(monitor, &ops, NULL, &error), "QBLK_INIT(qblk_jobs_ops)");
    is_argument(qblk_throttle_read(monitor, "vd0", 0, &limits, &error), "QBLK_INIT(qblk_limits)");
    ck_assert(!peer_run(&peer, monitor, never));
    ck_assert_uint_eq(peer.n_sent, 0);
}
END_TEST

START_TEST(a_report_without_a_size_is_not_written)
{
    qblk_op_report report = { .size = 0 };
    OPTIONS(qblk_copy_options);

    o.common.dry_run = true;
    ck_assert_int_eq(copy(&o, "/nowhere/target"), 0);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    is_argument(qblk_op_wait(op, 0, &report, &error), "QBLK_INIT(qblk_op_report)");
    ck_assert_ptr_null(report.operation);
    ck_assert_int_eq(qblk_op_wait(op, 0, NULL, &error), 0);
}
END_TEST

/* ---- groups ---------------------------------------------------------------------------------- */

static int copy_to(const char *name, qblk_monitor *to)
{
    char target[128];
    OPTIONS(qblk_copy_options);

    (void)snprintf(target, sizeof(target), "%s/%s", peer.dir, name);
    o.group = group;
    return qblk_copy(to, "vd0", target, &o, &op, &error);
}

START_TEST(a_group_is_started_once_and_not_empty)
{
    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    is_argument(qblk_group_start(group, &error), "no operation in the group");
    ck_assert_int_eq(copy_to("target", monitor), 0);
    is_argument(qblk_op_wait(op, 0, NULL, &error), "qblk_group_start() does that");
    ck_assert_int_eq(qblk_group_start(group, &error), 0);
    is_argument(qblk_group_start(group, &error), "started already");
    op = NULL;
    recorder.releases = 0;
    is_argument(copy_to("late", monitor), "only before that is started");
    ck_assert_int_eq(recorder.releases, 1);
    recorder.releases = 0;
    ck_assert_ptr_null(op);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FINISHED);
    /* It is decided: no harm is done any more. */
    qblk_group_cancel(group);
    qblk_group_leave(group);
    qblk_group_free(group);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
}
END_TEST

START_TEST(a_group_is_of_one_monitor)
{
    struct peer other;
    qblk_monitor *elsewhere = peer_start(&other, PEER_VERSION(7, 2, 22), NULL);

    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    is_argument(copy_to("target", elsewhere), "on the group's monitor");
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert_int_eq(recorder.calls[CALL_END], 0);
    qblk_group_free(group);
    ck_assert_ptr_null(qblk_monitor_free(elsewhere));
    peer_done(&other);
}
END_TEST

/* What is given up before it was started was never begun. */
START_TEST(a_group_can_be_given_up_before_its_start)
{
    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    ck_assert_int_eq(copy_to("target", monitor), 0);
    if (_i == 0)
        qblk_group_cancel(group);
    else
        qblk_group_leave(group);
    ck_assert_int_eq(qblk_group_start(group, &error), 0);
    qblk_group_free(group);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, _i == 0 ? QBLK_RESULT_CANCELLED : QBLK_RESULT_LEFT);
    ck_assert_uint_eq(peer.n_started, 0);
}
END_TEST

/* ---- jobs ------------------------------------------------------------------------------------ */

static bool is_synced;

static void on_synced(qblk_monitor *of, void *arg)
{
    (void)of;
    (void)arg;
    is_synced = true;
}

static bool has_synced(void)
{
    return is_synced;
}

START_TEST(a_verb_without_sense_is_not_sent)
{
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    qblk_job *job;
    size_t n;

    is_synced = false;
    ops.on_synced = on_synced;
    (void)peer_add_job(&peer, "theirs", "mirror", "running");
    ck_assert_int_eq(qblk_jobs_track(monitor, &ops, NULL, NULL), 0);
    ck_assert(peer_run(&peer, monitor, has_synced));
    job = qblk_job_find(monitor, "theirs");
    ck_assert_ptr_nonnull(job);
    n = peer.n_sent;
    is_argument(qblk_job_act(job, (qblk_job_verb)99, 0, NULL, NULL, &error), "no verb number 99");
    is_argument(qblk_job_do(job, (qblk_job_verb)-1, 0, 0, &error), "no verb number -1");
    is_argument(qblk_job_act(job, QBLK_VERB_SPEED, UINT64_MAX, NULL, NULL, &error),
                "18446744073709551615 bytes per second");
    ck_assert_int_eq(qblk_job_act(job, QBLK_VERB_DISMISS, 0, NULL, NULL, &error), -EPERM);
    (void)qblk_monitor_process(monitor, 0, NULL);
    (void)peer_turn(&peer);
    ck_assert_uint_eq(peer.n_sent, n);
}
END_TEST

/* ---- a monitor that is over ------------------------------------------------------------------ */

START_TEST(nothing_is_begun_on_a_dead_monitor)
{
    qblk_group *none = NULL;

    peer_done(&peer);
    while (qblk_monitor_get_state(monitor) != QBLK_MONITOR_DEAD)
        (void)qblk_monitor_process(monitor, 0, NULL);
    ck_assert_int_lt(copy_to("target", monitor), 0);
    ck_assert_msg(error.kind == QBLK_KIND_CONNECTION, "%s", error.text);
    ck_assert_ptr_null(op);
    ck_assert_int_eq(recorder.releases, 1);
    ck_assert_int_lt(qblk_group_new(monitor, &none, &error), 0);
    ck_assert_int_eq(error.kind, QBLK_KIND_CONNECTION);
    ck_assert_ptr_null(none);
    ck_assert_int_lt(qblk_jobs_track(monitor, NULL, NULL, &error), 0);
    ck_assert_int_eq(error.kind, QBLK_KIND_CONNECTION);
    monitor = qblk_monitor_free(monitor);
    setup();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api");
    TCase *tc = tcase_create("api");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_makes_no_sense_is_not_begun, 0, N_BAD_CALLS);
    tcase_add_test(tc, options_without_a_size_are_refused);
    tcase_add_test(tc, a_report_without_a_size_is_not_written);
    tcase_add_test(tc, a_group_is_started_once_and_not_empty);
    tcase_add_test(tc, a_group_is_of_one_monitor);
    tcase_add_loop_test(tc, a_group_can_be_given_up_before_its_start, 0, 2);
    tcase_add_test(tc, a_verb_without_sense_is_not_sent);
    tcase_add_test(tc, nothing_is_begun_on_a_dead_monitor);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

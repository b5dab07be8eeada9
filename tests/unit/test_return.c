/* Operations over a connection that is lost and comes back: cut at each command of each of them, they
 * end as if nothing had happened, and nothing is started twice. */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_aid.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include "ops/op.h"
#include "peer_priv.h"
#include "recorder.h"

#define V72 PEER_VERSION(7, 2, 22)
#define MIB 1048576u

static struct peer peer;
static struct agent_host host; /* a guest's agent; path[0] is NUL: none */
static qblk_monitor *monitor;
static void (*while_away)(void); /* what happens to QEMU meanwhile; once */
static qblk_op *running;            /* the first, from when it is planned */
static void (*while_read)(void);    /* what is done to it while it is looked at anew; once */
static bool was_read;               /* it was done */

static void setup(void)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);

    recorder_reset();
    options.reconnect_ms = 3000;
    monitor = peer_start_listening(&peer, V72, &options);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    if (host.path[0] != '\0')
        agent_host_end(&host);
    host.path[0] = '\0';
    while_away = while_read = NULL;
    was_read = false;
    running = NULL;
    recorder_reset();
}

static void again(void)
{
    teardown();
    setup();
}

/* ---- the operations ------------------------------------------------------------------------- */

/* Those that errand_start() does not know. */
static void start_swap(void)
{
    qblk_swap_options options = QBLK_INIT(qblk_swap_options);
    char target[128];
    FILE *file;

    (void)snprintf(target, sizeof(target), "%s/target", peer.dir);
    file = fopen(target, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fputs("image", file) < 0 ? -1 : fclose(file), 0);
    recorder_watch(&options.common);
    options.format = "qcow2";
    options.resize = 16 * MIB;
    ck_assert_int_eq(qblk_swap(monitor, "vd0", target, &options, NULL, NULL), 0);
}

static void start_resize(void)
{
    qblk_resize_options options = QBLK_INIT(qblk_resize_options);

    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resize(monitor, "vd0", 16 * MIB, &options, NULL, NULL), 0);
}

static void start_throttle(void)
{
    qblk_throttle_options options = QBLK_INIT(qblk_throttle_options);

    recorder_watch(&options.common);
    options.is_given[QBLK_LIMIT_BPS] = true;
    options.value[QBLK_LIMIT_BPS] = MIB;
    ck_assert_int_eq(qblk_throttle(monitor, "vd0", &options, NULL, NULL), 0);
}

static void start_detach(void)
{
    qblk_detach_options options = QBLK_INIT(qblk_detach_options);

    recorder_watch(&options.common);
    options.interval_ms = 1;
    peer.unplug_after = 2;
    ck_assert_int_eq(qblk_detach(monitor, "vd0", &options, NULL, NULL), 0);
}

static void start_two(void)
{
    static const char *const disks[] = { "vd0", "vd1" };
    qblk_copy_options options = QBLK_INIT(qblk_copy_options);
    qblk_group *group;

    peer_add_disk(&peer);
    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    recorder_watch(&options.common);
    options.ending = QBLK_END_PIVOT;
    options.no_bitmaps = true;
    options.group = group;
    for (int i = 0; i < 2; i++) {
        char target[128];

        (void)snprintf(target, sizeof(target), "%s/target%d", peer.dir, i);
        ck_assert_int_eq(qblk_copy(monitor, disks[i], target, &options, NULL, NULL), 0);
    }
    ck_assert_int_eq(qblk_group_start(group, NULL), 0);
}

static void start_quiesced(void)
{
    qblk_snapshot_options options = QBLK_INIT(qblk_snapshot_options);
    char target[128];
    const qblk_snapshot_disk disk = { "vd0", target };

    agent_host_start(&host);
    (void)snprintf(target, sizeof(target), "%s/target", peer.dir);
    recorder_watch(&options.common);
    options.quiesce = host.path;
    ck_assert_int_eq(qblk_snapshot(monitor, &disk, 1, &options, NULL, NULL), 0);
}

static void start_quiesced_copy(void)
{
    qblk_copy_options options = QBLK_INIT(qblk_copy_options);
    char target[128];

    agent_host_start(&host);
    (void)snprintf(target, sizeof(target), "%s/target", peer.dir);
    recorder_watch(&options.common);
    options.quiesce = host.path;
    ck_assert_int_eq(qblk_copy(monitor, "vd0", target, &options, NULL, NULL), 0);
}

static const struct {
    const char *name;
    void (*start)(void);   /* or one of the errands, by its name */
    qblk_result result;
    size_t n_started;      /* main jobs, transactions */
    int ends;
} all[] = {
    { .name = "pull-base" },
    { .name = "copy" },
    { .name = "copy-pivot" },
    { .name = "copy-keep" },
    { .name = "copy-reuse" },
    { .name = "copy-raw-pivot" },
    { .name = "copy-legacy" },
    { .name = "backup" },
    { .name = "backup-legacy" },
    { .name = "snapshot" },
    { .name = "snapshot-two" },
    { .name = "snapshot-reuse" },
    { "swap", start_swap, QBLK_RESULT_PIVOTED, 1, 1 },
    { "copy-two", start_two, QBLK_RESULT_PIVOTED, 2, 2 },
    { "snapshot-quiesced", start_quiesced, QBLK_RESULT_COMPLETED, 1, 1 },
    { "copy-quiesced", start_quiesced_copy, QBLK_RESULT_FINISHED, 1, 1 },
    { "resize", start_resize, QBLK_RESULT_COMPLETED, 0, 1 },
    { "throttle", start_throttle, QBLK_RESULT_COMPLETED, 0, 1 },
    { "detach", start_detach, QBLK_RESULT_COMPLETED, 0, 1 },
};
#define N_ALL ((int)(sizeof(all) / sizeof(all[0])))

static int find(const char *name)
{
    int i = 0;

    while (i < N_ALL - 1 && strcmp(all[i].name, name) != 0)
        i++;
    return i;
}

static const struct errand *errand_of(int which)
{
    for (int i = 0; i < N_ERRANDS; i++) {
        if (strcmp(errands[i].name, all[which].name) == 0)
            return &errands[i];
    }
    ck_abort_msg("there is no %s", all[which].name);
    return NULL;
}

static void start(int which)
{
    if (all[which].start != NULL)
        all[which].start();
    else
        errand_begin(errand_of(which), &peer, monitor, false);
}

static qblk_result result_of(int which)
{
    return all[which].start != NULL ? all[which].result : errand_of(which)->result;
}

/* ---- running -------------------------------------------------------------------------------- */

static bool goes_on; /* jobs do while nobody is connected */
static int ends;     /* to be waited for */

static bool is_done(void)
{
    return recorder.calls[CALL_END] >= ends;
}

static void keep_it(qblk_op *op)
{
    running = op;
}

static void keep_first(void)
{
    recorder.act = keep_it;
    recorder.act_call = CALL_PLAN;
    recorder.act_at = 1;
}

/* It is back, and what became of it is not known yet. */
static void look_at_it(void)
{
    if (while_read == NULL || running == NULL || recorder.calls[CALL_END] > 0 ||
        !running->has_returned || running->is_away || running->graph != NULL)
        return;
    while_read();
    while_read = NULL;
    was_read = true;
}

/* As peer_run(), without waiting for the next attempt to connect. */
static bool run(void)
{
    for (int i = 0; i < 20000 && !is_done(); i++) {
        struct pollfd pfd = { .events = POLLIN };
        int timeout;

        (void)qblk_monitor_process(monitor, 0, NULL);
        look_at_it();
        if (qblk_monitor_get_state(monitor) == QBLK_MONITOR_AWAY) {
            if (goes_on)
                peer_go_on(&peer);
            if (while_away != NULL)
                while_away();
            while_away = NULL;
            monitor->retry_at = monitor_now_ms();
        }
        if (is_done() || peer_turn(&peer) || (host.path[0] != '\0' && agent_host_turn(&host)))
            continue;
        pfd.fd = qblk_monitor_fd(monitor);
        timeout = qblk_monitor_timeout(monitor);
        if (timeout < 0 && poll(&pfd, 1, 0) == 0)
            return false;
        (void)poll(&pfd, 1, timeout);
    }
    return is_done();
}

static char *done;
static size_t n_commands;

static void measure(int which)
{
    ends = all[which].ends > 0 ? all[which].ends : 1;
    start(which);
    ck_assert(run());
    done = peer_state(&peer);
    n_commands = peer.n_sent;
    again();
}

/* What may be said besides the result. */
static bool is_quiet(int which)
{
    const char *note = recorder.notes;

    while (*note != '\0') {
        size_t len = strcspn(note, "\n");

        if (strstr(note, "begun again") == NULL && result_of(which) != QBLK_RESULT_KEPT)
            return false;
        note += len + (note[len] != '\0');
    }
    return true;
}

enum way { BEFORE, CARRIED_OUT, ANSWERED, N_WAYS };
static const char *const way_names[] = { "before", "after", "answered" };

static void cut_at(int which, size_t n, enum way way)
{
    size_t n_started = all[which].start != NULL ? all[which].n_started : 1;
    char *state, *sent;

    peer.hang_up_at = n;
    peer.hang_up_after = way != BEFORE;
    peer.hang_up_late = way == ANSWERED;
    start(which);
    (void)run();
    state = peer_state(&peer);
    sent = peer_sent(&peer, false);
    ck_assert(host.path[0] == '\0' || !host.model.is_frozen);
    ck_assert_msg(is_done() && recorder.result == result_of(which) && !peer.has_crashed &&
                      strcmp(state, done) == 0 && peer.n_started == n_started &&
                      recorder.calls[CALL_END] == ends && recorder.calls[CALL_PLAN] == ends &&
                      is_quiet(which) && (ends > 1 || recorder.late == 0),
                  "%s, cut at %zu, %s%s: %s: %s, %zu started, planned %d times, notes\n%.700s\n"
                  "state\n%.700s\nnot\n%.700s\nsent\n...%.1500s",
                  all[which].name, n, way_names[way], goes_on ? ", goes on" : "",
                  is_done() ? qblk_result_name(recorder.result) : "stuck", recorder.error.text,
                  peer.n_started, recorder.calls[CALL_PLAN], recorder.notes, state, done, sent + (strlen(sent) > 1500 ? strlen(sent) - 1500 : 0));
    free(state);
    free(sent);
}

START_TEST(whatever_is_cut_ends_as_if_nothing_had_happened)
{
    measure(_i);
    for (size_t n = 1; n <= n_commands; n++) {
        for (int way = 0; way < N_WAYS; way++) {
            goes_on = (n + (size_t)way) % 2 == 0;
            cut_at(_i, n, (enum way)way);
            again();
        }
    }
    free(done);
}
END_TEST

/* The job that makes the image ends unheard, and is still known where the operation begins again and starts
 * another one of that name. */
START_TEST(a_creation_begun_again_is_not_taken_for_the_first)
{
    int copy = find("copy");

    measure(copy);
    for (size_t n = 1; n <= n_commands; n++) {
        for (int way = 0; way < N_WAYS; way++) {
            peer.drop = "JOB_STATUS";
            goes_on = true;
            cut_at(copy, n, (enum way)way);
            again();
        }
    }
    free(done);
}
END_TEST

static size_t cut_again_after;

static void cut_again(void)
{
    peer.hang_up_at = peer.n_sent + cut_again_after;
    peer.hang_up_after = cut_again_after % 2 == 0;
    peer.hang_up_late = cut_again_after % 4 == 0;
}

/* Once more, soon after it has come back: while it looks what is there, or undoes that to begin again. */
START_TEST(whatever_is_cut_twice_ends_as_if_nothing_had_happened)
{
    measure(_i);
    for (size_t n = 1; n <= n_commands; n++) {
        for (size_t soon = 1; soon <= 12; soon++) {
            goes_on = (n + soon) % 2 == 0;
            cut_again_after = soon;
            while_away = cut_again;
            cut_at(_i, n, (enum way)((n + soon) % N_WAYS));
            again();
        }
    }
    free(done);
}
END_TEST

/* ---- what others do meanwhile --------------------------------------------------------------- */

static size_t n_ended; /* jobs that had ended well before one was failed */
static bool was_failed;

static struct peer_job *job_of(const char *device)
{
    for (size_t i = 0; i < peer.n_jobs; i++) {
        if (strcmp(peer.jobs[i].device, device) == 0)
            return &peer.jobs[i];
    }
    return NULL;
}

static bool is_over(const struct peer_job *job)
{
    return job != NULL && strcmp(job->status, "concluded") == 0;
}

static void fail_second(void)
{
    struct peer_job *job = job_of("other");

    n_ended = is_over(job_of("top")) || job_of("top") == NULL;
    was_failed = job != NULL && !is_over(job);
    if (was_failed)
        peer_abort_job(&peer, job, "No space left on device");
    peer_flush(&peer);
}

/* One of two fails while nobody is there to hear it: the other is given up, unless it has ended. */
START_TEST(a_failure_while_away_is_everybodys)
{
    int two = find("copy-two"), n_failed = 0;
    char *clean;

    peer_add_disk(&peer);
    clean = peer_state(&peer);
    again();
    measure(two);
    for (size_t n = 1; n <= n_commands; n++) {
        char *state;

        peer.hang_up_at = n;
        peer.hang_up_after = true;
        while_away = fail_second;
        was_failed = false;
        start(two);
        ck_assert_msg(run(), "stuck after %zu", n);
        state = peer_state(&peer);
        if (was_failed && n_ended == 0) {
            n_failed++;
            ck_assert_msg(strcmp(state, clean) == 0, "cut at %zu\n%.1500s", n, state);
            ck_assert_int_eq(recorder.has_error, true);
        } else if (!was_failed) {
            ck_assert_str_eq(state, done);
        }
        ck_assert_uint_le(peer.n_started, 2);
        free(state);
        again();
    }
    ck_assert_int_ge(n_failed, 1);
    free(clean);
    free(done);
}
END_TEST

static void cancel_job(void)
{
    struct peer_job *job = job_of("top");

    ck_assert_ptr_nonnull(job);
    peer_abort_job(&peer, job, "Operation canceled");
    if (peer.drop == NULL) /* and dismissed */
        peer_forget_job(&peer, job);
    peer_flush(&peer);
}

static bool is_running(void)
{
    return job_of("top") != NULL;
}

/* It was not this client that ended it, and that is no reason to start it once more. */
START_TEST(a_job_that_somebody_else_has_ended_is_not_started_again)
{
    char *clean = peer_state(&peer), *state;

    ends = 1;
    peer.is_holding = true;
    peer.drop = _i == 1 ? "nothing" : NULL;
    start(find("copy"));
    ck_assert(peer_run(&peer, monitor, is_running));
    for (int i = 0; i < 5; i++)
        (void)qblk_monitor_process(monitor, 0, NULL);
    while_away = cancel_job;
    peer_hang_up(&peer);
    ck_assert(run());
    ck_assert_uint_eq(peer.n_started, 1);
    ck_assert_msg(recorder.result == (_i == 1 ? QBLK_RESULT_CANCELLED : QBLK_RESULT_FAILED) ||
                  recorder.result == QBLK_RESULT_LOST, "%s: %s",
                  qblk_result_name(recorder.result), recorder.error.text);
    if (_i == 0)
        ck_assert_int_eq(recorder.error.code, QBLK_E_JOB_LOST);
    state = peer_state(&peer);
    /* Of a job that is gone nobody knows whether its copy is whole: the file is left, and named. */
    if (_i == 0) {
        ck_assert_ptr_nonnull(strstr(state, "\nfile target\n"));
        ck_assert_ptr_nonnull(strstr(recorder.notes, "target is left alone"));
        ck_assert_ptr_null(strstr(state, "qblk."));
    } else {
        ck_assert_str_eq(state, clean);
    }
    free(state);
    free(clean);
}
END_TEST

static void resize_it(void)
{
    peer_node(&peer, "top")->size = 32 * MIB;
}

START_TEST(a_size_that_somebody_else_has_given_is_left_alone)
{
    ends = 1;
    start(find("resize"));
    while_away = resize_it;
    peer.hang_up_after = true;
    for (size_t i = 0; i < 20 && peer_count(&peer, "block_resize") == 0; i++) {
        peer.hang_up_at = peer.n_sent + 1;
        (void)qblk_monitor_process(monitor, 0, NULL);
        peer.hang_up_at = 0;
        (void)peer_turn(&peer);
    }
    peer_hang_up(&peer);
    ck_assert(run());
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "somebody else has resized it"));
    ck_assert_uint_eq(peer_node(&peer, "top")->size, 32 * MIB);
}
END_TEST

static void cancel_it(void)
{
    qblk_op_cancel(running);
}

/* As long as QEMU says nothing there is nothing to do. */
static void cancel_in_silence(void)
{
    cancel_it();
    for (int i = 0; i < 3; i++)
        (void)qblk_monitor_process(monitor, 0, NULL);
    ck_assert_int_ne(qblk_monitor_timeout(monitor), 0);
}

static const char *const cancelled[] = { "copy-pivot", "snapshot", "copy-two", "detach", "resize",
                                         "throttle" };
#define N_CANCELLED ((int)(sizeof(cancelled) / sizeof(cancelled[0])))

/* Whatever had been done by then is undone, be it asked while nobody is connected or while the operation
 * is looked at anew. */
START_TEST(a_cancel_while_away_undoes)
{
    int which = find(cancelled[_i % N_CANCELLED]), n_cancelled = 0, n_told = 0;
    bool is_late = _i >= N_CANCELLED;
    char *clean;

    if (strcmp(all[which].name, "copy-two") == 0)
        peer_add_disk(&peer);
    clean = peer_state(&peer);
    again();
    measure(which);
    for (size_t n = 1; n <= n_commands; n++) {
        char *state;

        peer.hang_up_at = n;
        peer.hang_up_after = n % 2 == 0;
        keep_first();
        start(which);
        for (int i = 0; i < 200 && (running == NULL || peer.fd >= 0) && !is_done(); i++) {
            (void)qblk_monitor_process(monitor, 0, NULL);
            (void)peer_turn(&peer);
        }
        if (is_late)
            while_read = cancel_in_silence;
        else
            while_away = running != NULL ? cancel_it : NULL;
        ck_assert_msg(run(), "%s, stuck after %zu", all[which].name, n);
        state = peer_state(&peer);
        n_cancelled += recorder.result == QBLK_RESULT_CANCELLED;
        ck_assert(!was_read || strstr(recorder.error.text, "before anything") == NULL);
        if (recorder.result == QBLK_RESULT_CANCELLED)
            ck_assert_msg(strcmp(state, clean) == 0, "%s, cut at %zu\n%.1500s", all[which].name, n,
                          state);
        else
            ck_assert_str_eq(state, done);
        if (recorder.result == QBLK_RESULT_CANCELLED && peer_count(&peer, "block_set_io_throttle") > 0) {
            ck_assert_ptr_nonnull(strstr(recorder.notes, "it may have set them"));
            n_told++;
        }
        free(state);
        again();
    }
    ck_assert_int_ge(n_cancelled, 1);
    ck_assert_int_eq(n_told, strcmp(all[which].name, "throttle") == 0);
    free(clean);
    free(done);
}
END_TEST

/* Its job has gone because it was dismissed here, and nobody else's hand is to be seen in that. */
START_TEST(a_cancelled_copy_leaves_no_file_whenever_it_is_cut)
{
    char *clean = peer_state(&peer), *state;

    ends = 1;
    peer.is_holding = true;
    keep_first();
    start(find("copy"));
    ck_assert(peer_run(&peer, monitor, is_running));
    for (int i = 0; i < 5; i++)
        (void)qblk_monitor_process(monitor, 0, NULL);
    peer.hang_up_at = peer.n_sent + (size_t)_i;
    peer.hang_up_after = true;
    qblk_op_cancel(running);
    ck_assert(run());
    ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
    state = peer_state(&peer);
    ck_assert_str_eq(state, clean);
    free(state);
    free(clean);
}
END_TEST

/* Where it cannot be looked at anew it is over, and its user may free it there. */
START_TEST(a_cancel_while_away_may_meet_a_lack_of_memory)
{
    int n_starved = 0;
    qblk_op *op;

    for (unsigned long n = 1; n < 40; n++) {
        bool was_away = false, is_starved = false;

        recorder.act = qblk_op_free;
        recorder.act_call = CALL_END;
        recorder.act_at = 1;
        peer.hang_up_at = peer.n_sent + 1;
        ck_assert_int_eq(errand_start(errand_of(find("pull-base")), &peer, monitor, false, &op, NULL), 0);
        for (int i = 0; i < 300 && !recorder_released(); i++) {
            (void)qblk_monitor_process(monitor, 0, NULL);
            if (qblk_monitor_get_state(monitor) == QBLK_MONITOR_AWAY) {
                if (!was_away)
                    qblk_op_cancel(op);
                was_away = true;
                monitor->retry_at = monitor_now_ms();
            } else if (was_away && !is_starved && qblk_monitor_get_state(monitor) == QBLK_MONITOR_READY) {
                mem_fail_once(n);
                is_starved = true;
            }
            (void)peer_turn(&peer);
        }
        mem_fail_after(0);
        n_starved += recorder.error.code == QBLK_E_MEMORY;
        again();
    }
    ck_assert_int_ge(n_starved, 1);
}
END_TEST

static void leave_it(void)
{
    qblk_op_leave(running);
}

static const char *const left[] = { "copy", "snapshot", "detach", "resize" };

START_TEST(one_left_while_it_is_looked_at_is_not_called_unchanged)
{
    int which = find(left[_i]), n_left = 0;

    measure(which);
    for (size_t n = 1; n <= n_commands; n++) {
        peer.hang_up_at = n;
        peer.hang_up_after = true;
        while_read = leave_it;
        keep_first();
        start(which);
        ck_assert(run());
        if (was_read) {
            n_left++;
            ck_assert_int_eq(recorder.result, QBLK_RESULT_LEFT);
            ck_assert_ptr_null(strstr(recorder.notes, "nothing was changed"));
            ck_assert_ptr_null(strstr(recorder.notes, "the end"));
            ck_assert_msg(strstr(recorder.notes, which == find("resize") ? "was told" : "recover") != NULL,
                          "cut at %zu: %s", n, recorder.notes);
        }
        again();
    }
    ck_assert_int_ge(n_left, 1);
    free(done);
}
END_TEST

static void lose_it(void)
{
    (void)close(peer.listener);
    peer.listener = -1;
    peer_hang_up(&peer);
}

/* Nothing is known of it then, and nothing is said that may be false: only how to take it up. */
START_TEST(one_lost_while_it_is_looked_at_can_be_recovered)
{
    int n_lost = 0;

    measure(find("copy-pivot"));
    for (size_t n = n_commands - 4; n <= n_commands; n++) {
        monitor->options.reconnect_ms = 50;
        peer.hang_up_at = n;
        peer.hang_up_after = true;
        while_read = lose_it;
        keep_first();
        start(find("copy-pivot"));
        ck_assert(run());
        if (was_read) {
            n_lost++;
            ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
            ck_assert_ptr_nonnull(strstr(recorder.notes, "recover --operation"));
            ck_assert_ptr_null(strstr(recorder.notes, "of no use"));
        }
        again();
    }
    ck_assert_int_ge(n_lost, 1);
    free(done);
}
END_TEST

/* A client that only watches, for a while. */
static void watch(void)
{
    ck_assert_int_eq(qblk_jobs_track(monitor, NULL, NULL, NULL), 0);
    peer_add_job(&peer, "theirs", "mirror", "paused")->is_stalled = true;
    for (int i = 0; i < 100; i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        if (qblk_monitor_get_state(monitor) == QBLK_MONITOR_AWAY)
            monitor->retry_at = monitor_now_ms();
        (void)peer_turn(&peer);
    }
}

/* At which node a job stands still was asked, and the answer went with the connection. */
START_TEST(a_place_that_was_not_told_is_asked_for_again)
{
    static const char command[] = "x-debug-query-block-graph";
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    size_t at = 0;

    watch();
    while (at < peer.n_sent && strstr(peer.sent[at], command) == NULL)
        at++;
    again();
    peer.hang_up_at = at + 1;
    watch();
    ck_assert_uint_eq(peer_count(&peer, command), 2);
    qblk_job_get_info(qblk_job_find(monitor, "theirs"), &info);
    ck_assert(info.is_stall_known);
}
END_TEST

static void their_stream_ends(void)
{
    (void)peer_add_job(&peer, "theirs", "stream", "concluded");
}

/* What is in QEMU cannot be read for now. That is no refusal: something was changed. */
START_TEST(one_that_cannot_be_gone_on_with_is_left_open)
{
    ends = 1;
    peer.is_holding = true;
    start(find("copy-pivot"));
    ck_assert(peer_run(&peer, monitor, is_running));
    while_away = their_stream_ends;
    peer_hang_up(&peer);
    ck_assert(run());
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_HAZARD);
    ck_assert_int_eq(recorder.error.kind, QBLK_KIND_FAILED);
    ck_assert_ptr_nonnull(strstr(recorder.notes, "is left open"));
    ck_assert_ptr_nonnull(strstr(recorder.notes, "recover --operation"));
    ck_assert_ptr_nonnull(job_of("top"));
}
END_TEST

/* ---- failures before the loss --------------------------------------------------------------- */

/* The resize that a swap ends with is refused, when the disk has moved already. Whether the connection is lost
 * before that or after it, the user gets to know. */
START_TEST(what_went_wrong_past_the_end_is_not_forgotten)
{
    int swap = find("swap");

    peer.refuse = "block_resize";
    measure(swap);
    for (size_t n = 1; n <= n_commands; n++) {
        for (int way = 0; way < N_WAYS; way++) {
            char *state;

            peer.refuse = "block_resize";
            peer.hang_up_at = n;
            peer.hang_up_after = way != BEFORE;
            peer.hang_up_late = way == ANSWERED;
            start(swap);
            ck_assert(run());
            state = peer_state(&peer);
            ck_assert_msg(recorder.result == QBLK_RESULT_FAILED && strcmp(state, done) == 0 &&
                              strstr(recorder.error.text, "resize it") != NULL,
                          "cut at %zu, %s: %s: %s\n%.700s", n, way_names[way],
                          qblk_result_name(recorder.result), recorder.error.text, state);
            free(state);
            again();
        }
    }
    free(done);
}
END_TEST

/* A guest that has refused once is not asked again because of a lost connection, but for an answer that
 * was lost with it. */
START_TEST(a_guest_that_refused_is_not_asked_for_long)
{
    int which = find("detach");
    char *clean = peer_state(&peer);

    again();
    peer.guest_refuses = true;
    measure(which);
    ck_assert_str_eq(done, clean);
    for (size_t n = 1; n <= n_commands; n++) {
        for (int way = 0; way < N_WAYS; way++) {
            char *state;

            peer.guest_refuses = true;
            peer.hang_up_at = n;
            peer.hang_up_after = way != BEFORE;
            peer.hang_up_late = way == ANSWERED;
            start(which);
            ck_assert(run());
            state = peer_state(&peer);
            ck_assert_msg(recorder.result == QBLK_RESULT_FAILED && strcmp(state, clean) == 0 &&
                              strstr(recorder.error.text, "the guest refused") != NULL &&
                              peer_count(&peer, "device_del") <= (n < n_commands ? 2u : 1u),
                          "cut at %zu, %s: %s: %s, asked %zu times\n%.700s", n, way_names[way],
                          qblk_result_name(recorder.result), recorder.error.text,
                          peer_count(&peer, "device_del"), state);
            free(state);
            again();
        }
    }
    free(clean);
    free(done);
}
END_TEST

static void plug_another(void)
{
    (void)peer_add_node(&peer, "new", "qcow2", "/new.qcow2", "", "");
    (void)snprintf(peer.root, sizeof(peer.root), "new");
}

/* Another device in its place, or its disk has moved: not gone, and nobody wanted that one to go. */
START_TEST(a_device_on_another_node_is_not_taken_for_gone)
{
    size_t all_nodes = peer.n_nodes;

    ends = 1;
    peer.hang_up_at = 9 + peer.n_nodes; /* device_del */
    peer.hang_up_after = true;
    while_away = plug_another;
    start(find("detach"));
    ck_assert(run());
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 1);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOB_STATE);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "new instead of node top"));
    ck_assert_uint_eq(peer.n_nodes, all_nodes + 1); /* the journal is closed */
}
END_TEST

/* What is marked cannot be seen then, nor what is recorded. */
START_TEST(an_unplug_goes_on_where_nodes_cannot_be_asked_for)
{
    ends = 1;
    peer.is_holding = true;
    (void)peer_add_job(&peer, "theirs", "stream", "running");
    peer.hang_up_at = 8 + (size_t)_i;
    peer.hang_up_after = true;
    start(find("detach"));
    ck_assert(run());
    ck_assert_msg(recorder.result == QBLK_RESULT_COMPLETED, "cut at %d: %s: %s", 8 + _i,
                  qblk_result_name(recorder.result), recorder.error.text);
    ck_assert_str_eq(recorder.notes, "");
    ck_assert_uint_eq(peer.n_nodes, 0);
}
END_TEST

/* ---- an unplug that an earlier client has begun ---------------------------------------------- */

/* Leaves a detach in its middle, the journal written and the guest asked; its id is in recorder.operation. */
static void leave_detach(void)
{
    ends = 1;
    recorder.act_call = CALL_STEP;
    recorder.act_at = 3 + (int)peer.n_nodes; /* device_del */
    recorder.act = qblk_op_leave;
    peer.unplug_after = 9;
    start_detach();
    peer.unplug_after = 9;
    ck_assert(run());
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LEFT);
    (void)peer_turn(&peer);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), 1);
}

static void take_up(qblk_resume_how how)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);
    char id[9];

    memcpy(id, recorder.operation, sizeof(id));
    recorder_reset();
    options.how = how;
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
}

static const struct {
    qblk_resume_how how;
    qblk_result result;
} taken_up[] = {
    { QBLK_RESUME_INTENT, QBLK_RESULT_COMPLETED },
    { QBLK_RESUME_UNDO, QBLK_RESULT_UNDONE },
};

/* The connection is lost once more, while what an earlier client has begun is brought to its end. */
START_TEST(an_unplug_taken_up_is_taken_up_again)
{
    size_t first, last;

    leave_detach();
    first = peer.n_sent;
    peer.unplug_after = 1;
    take_up(taken_up[_i].how);
    ck_assert(run());
    last = peer.n_sent - first;
    done = peer_state(&peer);
    for (size_t n = 1; n <= last; n++) {
        for (int way = 0; way < N_WAYS; way++) {
            char *state;

            again();
            leave_detach();
            peer.hang_up_at = first + n;
            peer.hang_up_after = way != BEFORE;
            peer.hang_up_late = way == ANSWERED;
            peer.unplug_after = 1;
            take_up(taken_up[_i].how);
            (void)run();
            state = peer_state(&peer);
            ck_assert_msg(is_done() && recorder.result == taken_up[_i].result &&
                              strcmp(state, done) == 0,
                          "cut at %zu, %s: %s: %s\nstate\n%.700s\nnot\n%.700s", n, way_names[way],
                          is_done() ? qblk_result_name(recorder.result) : "stuck",
                          recorder.error.text, state, done);
            free(state);
        }
    }
    free(done);
}
END_TEST

static void forget_journal(void)
{
    for (size_t i = peer.n_nodes; i-- > 0;) {
        if (strstr(peer.nodes[i].name, ".journal") != NULL)
            peer_del_node(&peer, &peer.nodes[i]);
    }
}

/* Another QEMU than the one in which it was taken up. */
START_TEST(what_was_taken_up_and_is_not_there_any_more_is_lost)
{
    size_t first;
    int n_lost = 0;

    for (size_t n = 1; n < 100; n++) {
        leave_detach();
        first = peer.n_sent;
        peer.hang_up_at = first + n;
        peer.unplug_after = 1;
        while_away = forget_journal;
        take_up(QBLK_RESUME_INTENT);
        ck_assert(run());
        if (while_away != NULL) /* it was done by then */
            break;
        if (recorder.result == QBLK_RESULT_LOST) {
            ck_assert_int_eq(recorder.error.code, QBLK_E_LOST);
            ck_assert_ptr_nonnull(strstr(recorder.error.text, "is not in QEMU any more"));
            n_lost++;
        } else if (n_lost > 0) { /* past the end */
            ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
        }
        again();
    }
    ck_assert_int_ge(n_lost, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("return");
    TCase *tcase = tcase_create("return");
    TCase *large = tcase_create("large");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, whatever_is_cut_ends_as_if_nothing_had_happened, 0, N_ALL);
    tcase_add_test(tcase, a_creation_begun_again_is_not_taken_for_the_first);
    tcase_add_test(tcase, a_failure_while_away_is_everybodys);
    tcase_add_loop_test(tcase, a_job_that_somebody_else_has_ended_is_not_started_again, 0, 2);
    tcase_add_test(tcase, a_size_that_somebody_else_has_given_is_left_alone);
    tcase_add_loop_test(tcase, a_cancel_while_away_undoes, 0, 2 * N_CANCELLED);
    tcase_add_loop_test(tcase, a_cancelled_copy_leaves_no_file_whenever_it_is_cut, 1, 9);
    tcase_add_test(tcase, a_cancel_while_away_may_meet_a_lack_of_memory);
    tcase_add_loop_test(tcase, one_left_while_it_is_looked_at_is_not_called_unchanged, 0, 4);
    tcase_add_test(tcase, one_lost_while_it_is_looked_at_can_be_recovered);
    tcase_add_test(tcase, a_place_that_was_not_told_is_asked_for_again);
    tcase_add_test(tcase, one_that_cannot_be_gone_on_with_is_left_open);
    tcase_add_test(tcase, what_went_wrong_past_the_end_is_not_forgotten);
    tcase_add_test(tcase, a_guest_that_refused_is_not_asked_for_long);
    tcase_add_test(tcase, a_device_on_another_node_is_not_taken_for_gone);
    tcase_add_loop_test(tcase, an_unplug_goes_on_where_nodes_cannot_be_asked_for, 0, 12);
    tcase_add_loop_test(tcase, an_unplug_taken_up_is_taken_up_again, 0, 2);
    tcase_add_test(tcase, what_was_taken_up_and_is_not_there_any_more_is_lost);
    tcase_set_tags(large, "large");
    tcase_add_checked_fixture(large, setup, teardown);
    tcase_set_timeout(large, 120);
    tcase_add_loop_test(large, whatever_is_cut_twice_ends_as_if_nothing_had_happened, 0, N_ALL);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, large);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

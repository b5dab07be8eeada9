/* Jobs followed through the public API: each is told in order and ends once, whichever events are
 * heard; nothing is polled; verbs that cannot be are not sent. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

#define V72 PEER_VERSION(7, 2, 22)

static struct peer peer;
static qblk_monitor *monitor;

static struct seen {
    int jobs, states, ends, gone, synced, releases, misplaced, early;
    bool is_ready;
    qblk_job_outcome outcome;
    char error[128];
    char id[64];
    int free_at; /* the n-th call frees the monitor */
    int add_at;  /* the n-th call adds the other listener */
    int added;   /* what came of that */
    int calls;
} seen[2];

static int try_track(struct seen *s);

static void called(struct seen *s)
{
    if (++s->calls == s->free_at)
        monitor = qblk_monitor_free(monitor);
    if (s->calls == s->add_at)
        s->added = try_track(&seen[1]); /* a claim that fails in here would leave the monitor in the middle */
}

static void on_job(qblk_job *job, void *arg)
{
    struct seen *s = arg;
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    qblk_job_get_info(job, &info);
    (void)snprintf(s->id, sizeof(s->id), "%s", info.id);
    s->misplaced += s->ends > s->jobs || s->gone > s->jobs;
    s->jobs++;
    called(s);
}

static void on_state(qblk_job *job, void *arg)
{
    struct seen *s = arg;
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    qblk_job_get_info(job, &info);
    s->misplaced += s->jobs == 0 || s->gone >= s->jobs;
    s->is_ready = s->is_ready || info.is_ready;
    s->states++;
    called(s);
}

static void on_end(qblk_job *job, void *arg)
{
    struct seen *s = arg;
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    qblk_job_get_info(job, &info);
    s->misplaced += s->ends >= s->jobs || s->gone >= s->jobs;
    s->outcome = info.outcome;
    (void)snprintf(s->error, sizeof(s->error), "%s", info.error != NULL ? info.error : "");
    s->ends++;
    called(s);
}

static void on_gone(qblk_job *job, void *arg)
{
    struct seen *s = arg;

    (void)job;
    s->misplaced += s->gone >= s->ends;
    s->gone++;
    called(s);
}

static void on_synced(qblk_monitor *m, void *arg)
{
    struct seen *s = arg;

    (void)m;
    s->early += s->jobs == 0;
    s->synced++;
    called(s);
}

static void release(void *arg)
{
    struct seen *s = arg;

    s->releases++;
}

static int try_track(struct seen *s)
{
    const qblk_jobs_ops ops = { sizeof(ops), on_job, on_state, on_end, on_gone, on_synced,
                                release };

    return qblk_jobs_track(monitor, &ops, s, NULL);
}

static void track(struct seen *s)
{
    ck_assert_int_eq(try_track(s), 0);
}

static void setup(void)
{
    memset(seen, 0, sizeof(seen));
    monitor = peer_start(&peer, V72, NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
}

static bool is_synced(void)
{
    return seen[0].synced > 0 || seen[0].releases > 0;
}

static bool has_ended(void)
{
    return seen[0].ends > 0 || seen[0].releases > 0;
}

static bool is_gone(void)
{
    return seen[0].gone > 0 || seen[0].releases > 0;
}

static bool is_ready(void)
{
    return seen[0].is_ready || has_ended();
}

static void send(const char *json)
{
    ck_assert_int_eq(qblk_monitor_send(monitor, json, -1, NULL, NULL, NULL), 0);
}

#define START_STREAM "{\"execute\":\"block-stream\",\"arguments\":{\"job-id\":\"j\"," \
                     "\"device\":\"top\",\"auto-dismiss\":false}}"

static void run(bool (*done)(void))
{
    ck_assert(peer_run(&peer, monitor, done));
}

/* Until both sides have nothing more to say. */
static void drain(void)
{
    do
        (void)qblk_monitor_process(monitor, 0, NULL);
    while (peer_turn(&peer));
}

/* ---- what is heard ------------------------------------------------------------------------- */

static const struct {
    enum peer_order order;
    bool twice;
    const char *drop;
} ways[] = {
    { PEER_MEASURED, false, NULL },
    { PEER_EVENTS_FIRST, false, NULL },
    { PEER_REPLIES_FIRST, false, NULL },
    { PEER_MEASURED, true, NULL },
    { PEER_MEASURED, false, "BLOCK_JOB_" },
    { PEER_REPLIES_FIRST, true, "BLOCK_JOB_" },
    { PEER_MEASURED, false, "JOB_STATUS_CHANGE" },
    { PEER_EVENTS_FIRST, true, "JOB_STATUS_CHANGE" },
};

#define N_WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

/* How a job ends that is known from the first reading on. */
static const struct {
    const char *fail;
    bool is_cancelled;
    qblk_job_outcome outcome;
} ends[] = {
    { NULL, false, QBLK_OUTCOME_COMPLETED },
    { "stream", false, QBLK_OUTCOME_FAILED },
    { NULL, true, QBLK_OUTCOME_CANCELLED },
};

START_TEST(a_job_is_told_in_order_and_ends_once_whatever_is_heard)
{
    for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
        peer.is_holding = true;
        (void)peer_add_job(&peer, "j", "stream", "running");
        track(&seen[0]);
        run(is_synced);
        ck_assert_int_eq(seen[0].jobs, 1);
        peer.order = ways[_i].order;
        peer.twice = ways[_i].twice;
        peer.drop = ways[_i].drop;
        peer.fail_job = ends[e].fail;
        /* Where no event tells of the end, there is somebody who looks at the progress. */
        qblk_jobs_progress(monitor, 5);
        peer.is_holding = false;
        if (ends[e].is_cancelled)
            peer_cancel_job(&peer, "j");
        run(has_ended);
        ck_assert_int_eq(seen[0].outcome, ends[e].outcome);
        if (ends[e].fail != NULL)
            ck_assert_str_eq(seen[0].error, "No space left on device");
        ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), QBLK_VERB_DISMISS, 0, NULL,
                                      NULL, NULL), 0);
        run(is_gone);
        ck_assert_int_eq(seen[0].jobs, 1);
        ck_assert_int_eq(seen[0].ends, 1);
        ck_assert_int_eq(seen[0].gone, 1);
        ck_assert_int_eq(seen[0].misplaced, 0);
        teardown();
        setup();
    }
}
END_TEST

START_TEST(whoever_listens_later_hears_of_what_there_is)
{
    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    track(&seen[0]);
    run(is_synced);
    track(&seen[1]);
    ck_assert_int_eq(seen[1].jobs, 0); /* never inside the call that registers */
    seen[0].synced = 0;
    run(is_synced);
    ck_assert_int_eq(seen[0].jobs, 1);
    ck_assert_int_eq(seen[1].jobs, 1);
    ck_assert_str_eq(seen[1].id, "j");
}
END_TEST

START_TEST(whoever_listens_later_hears_of_what_has_ended)
{
    (void)peer_add_job(&peer, "j", "stream", "concluded");
    track(&seen[0]);
    run(is_synced);
    track(&seen[1]);
    drain();
    ck_assert_int_eq(seen[1].jobs, 1);
    ck_assert_int_eq(seen[1].ends, 1);
    ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), QBLK_VERB_DISMISS, 0, NULL, NULL, NULL), 0);
    run(is_gone);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(seen[i].ends, 1);
        ck_assert_int_eq(seen[i].gone, 1);
        ck_assert_int_eq(seen[i].misplaced, 0);
    }
}
END_TEST

START_TEST(whoever_listens_as_the_monitor_goes_hears_nothing_half)
{
    (void)peer_add_job(&peer, "j", "stream", "concluded");
    track(&seen[0]);
    run(is_synced);
    track(&seen[1]);
    monitor = qblk_monitor_free(monitor);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(seen[i].ends, seen[i].jobs);
        ck_assert_int_eq(seen[i].gone, seen[i].jobs);
        ck_assert_int_eq(seen[i].misplaced + seen[i].early, 0);
    }
}
END_TEST

/* From the very first call on, whichever that is. */
START_TEST(a_callback_may_add_a_listener)
{
    int n = 0;
    bool is_added;

    do {
        peer.is_holding = true;
        (void)peer_add_job(&peer, "k", "stream", "concluded");
        (void)peer_add_job(&peer, "j", "stream", "running");
        (void)peer_add_job(&peer, "l", "stream", "running");
        seen[0].add_at = ++n;
        track(&seen[0]);
        run(is_synced);
        peer_cancel_job(&peer, "j");
        drain();
        ck_assert_int_eq(seen[0].ends, 2);
        ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), QBLK_VERB_DISMISS, 0, NULL, NULL, NULL), 0);
        run(is_gone);
        drain();
        is_added = seen[0].calls >= n;
        ck_assert_int_eq(seen[0].added, 0);
        seen[0].add_at = 0;
        ck_assert(!is_added || seen[1].synced > 0);
        monitor = qblk_monitor_free(monitor);
        ck_assert_int_eq(seen[0].jobs, 3);
        ck_assert_int_ge(seen[1].jobs, is_added ? 2 : 0);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(seen[i].ends, seen[i].jobs);
            ck_assert_int_eq(seen[i].gone, seen[i].jobs);
            ck_assert_int_eq(seen[i].misplaced + seen[i].early, 0);
        }
        teardown();
        setup();
    } while (is_added);
    ck_assert_int_ge(n, 8);
}
END_TEST

START_TEST(a_job_that_is_gone_between_is_told_so_after_a_surprise)
{
    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    track(&seen[0]);
    run(is_synced);
    peer.n_jobs = 0;
    /* A job that is new makes the set look again. */
    send("{\"execute\":\"block-stream\",\"arguments\":{\"job-id\":\"k\",\"device\":\"top\"}}");
    run(is_gone);
    ck_assert_int_eq(seen[0].ends, 1);
    ck_assert_int_eq(seen[0].outcome, QBLK_OUTCOME_LOST);
    ck_assert_int_eq(seen[0].misplaced, 0);
}
END_TEST

START_TEST(a_lost_connection_ends_each_live_job_as_lost_once)
{
    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    (void)peer_add_job(&peer, "k", "mirror", "ready");
    track(&seen[0]);
    run(is_synced);
    peer.hang_up_at = peer.n_sent + 1;
    send("{\"execute\":\"query-status\"}");
    for (int i = 0; i < 10; i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)peer_turn(&peer);
    }
    ck_assert_int_eq(seen[0].ends, 2);
    ck_assert_int_eq(seen[0].outcome, QBLK_OUTCOME_LOST);
    monitor = qblk_monitor_free(monitor);
    ck_assert_int_eq(seen[0].ends, 2);
    ck_assert_int_eq(seen[0].gone, 2);
    ck_assert_int_eq(seen[0].misplaced, 0);
    ck_assert_int_eq(seen[0].releases, 1);
}
END_TEST

START_TEST(any_callback_may_free_the_monitor)
{
    for (int n = 1; n < 20; n++) {
        bool is_over = false;

        seen[0].free_at = n;
        track(&seen[0]);
        track(&seen[1]);
        send(START_STREAM);
        for (int i = 0; i < 200 && seen[0].releases == 0 && !is_over; i++) {
            (void)qblk_monitor_process(monitor, 0, NULL);
            if (seen[0].releases == 0)
                is_over = !peer_turn(&peer) && seen[0].ends > 0;
        }
        if (seen[0].calls < n)
            monitor = qblk_monitor_free(monitor);
        ck_assert_int_eq(seen[0].releases, 1);
        ck_assert_int_eq(seen[1].releases, 1);
        ck_assert_int_eq(seen[0].ends, seen[0].jobs);
        teardown();
        setup();
    }
}
END_TEST

static void process_inside(qblk_job *job, void *arg)
{
    struct seen *s = arg;
    int calls;

    on_job(job, arg);
    calls = s->calls;
    peer_cancel_job(&peer, "j");
    peer_flush(&peer);
    ck_assert_int_eq(qblk_monitor_process(monitor, 0, NULL), 0);
    ck_assert_int_eq(s->calls, calls);
}

START_TEST(nothing_is_told_inside_a_callback)
{
    const qblk_jobs_ops ops = { sizeof(ops), process_inside, on_state, on_end, on_gone, NULL, release };

    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    ck_assert_int_eq(qblk_jobs_track(monitor, &ops, &seen[0], NULL), 0);
    run(has_ended);
    ck_assert_int_eq(seen[0].jobs, 1);
    ck_assert_int_eq(seen[0].ends, 1);
    ck_assert_int_eq(seen[0].outcome, QBLK_OUTCOME_CANCELLED);
    ck_assert_int_eq(seen[0].misplaced, 0);
}
END_TEST

/* ---- what is asked ------------------------------------------------------------------------- */

START_TEST(nothing_is_polled_unless_somebody_looks)
{
    size_t sent;

    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    track(&seen[0]);
    run(is_synced);
    drain();
    ck_assert_int_eq(qblk_monitor_timeout(monitor), -1);
    sent = peer.n_sent;
    qblk_jobs_progress(monitor, 1);
    ck_assert_int_ge(qblk_monitor_timeout(monitor), 0);
    while (peer.n_sent < sent + 3) {
        ck_assert_int_eq(qblk_monitor_process(monitor, 0, NULL), 0);
        (void)peer_turn(&peer);
    }
    qblk_jobs_progress(monitor, 0);
    (void)qblk_monitor_process(monitor, 0, NULL);
    (void)peer_turn(&peer);
    (void)qblk_monitor_process(monitor, 0, NULL);
    ck_assert_int_eq(qblk_monitor_timeout(monitor), -1);
}
END_TEST

static int n_acted;
static qblk_error act_error;

static void on_act(qblk_job *job, const qblk_error *error, void *arg)
{
    (void)job;
    (void)arg;
    n_acted++;
    memset(&act_error, 0, sizeof(act_error));
    if (error != NULL)
        act_error = *error;
}

static bool has_acted(void)
{
    return n_acted > 0;
}

START_TEST(a_verb_that_the_state_forbids_is_refused_and_not_sent)
{
    qblk_error error;
    qblk_job *job;
    size_t sent;

    n_acted = 0;
    peer.is_holding = true;
    (void)peer_add_job(&peer, "j", "stream", "running");
    track(&seen[0]);
    run(is_synced);
    job = qblk_job_find(monitor, "j");
    ck_assert_ptr_nonnull(job);
    drain();
    sent = peer.n_sent;
    ck_assert_int_eq(qblk_job_act(job, QBLK_VERB_COMPLETE, 0, on_act, NULL, &error), -EPERM);
    ck_assert_int_eq(error.code, QBLK_E_JOB_STATE);
    ck_assert_ptr_nonnull(strstr(error.text, "j"));
    ck_assert_ptr_nonnull(strstr(error.text, "running"));
    ck_assert_int_eq(qblk_job_act(job, QBLK_VERB_DISMISS, 0, on_act, NULL, &error), -EPERM);
    (void)qblk_monitor_process(monitor, 0, NULL);
    (void)peer_turn(&peer);
    ck_assert_uint_eq(peer.n_sent, sent);
    ck_assert_int_eq(n_acted, 0);
}
END_TEST

START_TEST(a_verb_that_is_sent_is_answered_once)
{
    n_acted = 0;
    track(&seen[0]);
    send("{\"execute\":\"drive-mirror\",\"arguments\":{\"job-id\":\"j\",\"device\":\"top\","
         "\"target\":\"/dev/null\",\"mode\":\"existing\",\"format\":\"raw\",\"sync\":\"full\"}}");
    run(is_ready);
    ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), QBLK_VERB_FINISH, 0, on_act, NULL,
                                  NULL), 0);
    run(has_ended);
    ck_assert(has_acted());
    ck_assert_int_eq(act_error.code, QBLK_E_NONE);
    ck_assert_int_eq(seen[0].outcome, QBLK_OUTCOME_COMPLETED);
    ck_assert_uint_eq(peer_count(&peer, "block-job-cancel"), 1);
    peer.refuse = "job-dismiss";
    n_acted = 0;
    ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), QBLK_VERB_DISMISS, 0, on_act, NULL,
                                  NULL), 0);
    run(has_acted);
    ck_assert_int_eq(act_error.code, QBLK_E_QEMU);
    ck_assert_str_eq(act_error.job, "j");
    ck_assert_int_eq(n_acted, 1);
}
END_TEST

static void act_on(const char *status, qblk_job_verb verb)
{
    n_acted = 0;
    (void)peer_add_job(&peer, "j", "mirror", status);
    track(&seen[0]);
    run(is_synced);
    ck_assert_int_eq(qblk_job_act(qblk_job_find(monitor, "j"), verb, 0, on_act, NULL, NULL), 0);
    run(has_acted);
}

START_TEST(a_qemu_without_a_verb_is_told_in_words)
{
    act_on("ready", QBLK_VERB_CHANGE); /* which this peer does not have */
    ck_assert_int_eq(act_error.code, QBLK_E_UNSUPPORTED);
    ck_assert_int_eq(act_error.kind, QBLK_KIND_REFUSED);
    ck_assert_ptr_nonnull(strstr(act_error.text, "8.2"));
    ck_assert_ptr_nonnull(strstr(peer.sent[peer.n_sent - 1], "block-job-change"));
    ck_assert_ptr_nonnull(strstr(peer.sent[peer.n_sent - 1], "write-blocking"));
}
END_TEST

START_TEST(a_refusal_of_a_paused_job_says_to_resume_it)
{
    peer.refuse = "job-complete";
    act_on("standby", QBLK_VERB_COMPLETE);
    ck_assert_int_eq(act_error.code, QBLK_E_JOB_STATE);
    ck_assert_int_eq(act_error.kind, QBLK_KIND_REFUSED);
    ck_assert_ptr_nonnull(strstr(act_error.text, "resume it and then complete it"));
}
END_TEST

START_TEST(what_spoils_a_job_is_found_out_by_one_question)
{
    qblk_error error;
    size_t sent;

    track(&seen[0]);
    run(is_synced);
    drain();
    sent = peer_count(&peer, "query-jobs");
    ck_assert_int_eq(qblk_guard(monitor, "query-status", NULL, 0, &error), 0);
    drain();
    ck_assert_uint_eq(peer_count(&peer, "query-jobs"), sent);
    /* The peer is this process, and so never answers a call that blocks. */
    ck_assert_int_eq(qblk_guard(monitor, "quit", NULL, 0, &error), -ETIMEDOUT);
    drain();
    ck_assert_uint_eq(peer_count(&peer, "query-jobs"), sent + 1);
    ck_assert_uint_eq(peer_count(&peer, "quit"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("jobs_monitor");
    TCase *tcase = tcase_create("jobs_monitor");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, a_job_is_told_in_order_and_ends_once_whatever_is_heard, 0, N_WAYS);
    tcase_add_test(tcase, whoever_listens_later_hears_of_what_there_is);
    tcase_add_test(tcase, whoever_listens_later_hears_of_what_has_ended);
    tcase_add_test(tcase, whoever_listens_as_the_monitor_goes_hears_nothing_half);
    tcase_add_test(tcase, a_callback_may_add_a_listener);
    tcase_add_test(tcase, a_job_that_is_gone_between_is_told_so_after_a_surprise);
    tcase_add_test(tcase, a_lost_connection_ends_each_live_job_as_lost_once);
    tcase_add_test(tcase, any_callback_may_free_the_monitor);
    tcase_add_test(tcase, nothing_is_told_inside_a_callback);
    tcase_add_test(tcase, nothing_is_polled_unless_somebody_looks);
    tcase_add_test(tcase, a_verb_that_the_state_forbids_is_refused_and_not_sent);
    tcase_add_test(tcase, a_verb_that_is_sent_is_answered_once);
    tcase_add_test(tcase, a_qemu_without_a_verb_is_told_in_words);
    tcase_add_test(tcase, a_refusal_of_a_paused_job_says_to_resume_it);
    tcase_add_test(tcase, what_spoils_a_job_is_found_out_by_one_question);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* A connection that is lost and made again, against a peer at a socket that is the test itself. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "monitor_aid.h"
#include "wire/unixsock.h"

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, " \
                 "\"package\": \"\"}, \"capabilities\": []}}\r\n"
#define PATIENCE_MS 20000

static char dir[64], path[96];
static int listener = -1, peer = -1;
static qblk_monitor *monitor;
static char caps_id[32];
static char text[65536]; /* what the peer heard last */

static struct {
    int ready, lost, back, ends, releases;
    qblk_error loss, end;
    char free_in; /* l, b: the callback that frees the monitor */
    int jobs, job_ends, gone, synced;
    char outcomes[256];
} seen;

/* ---- the peer ------------------------------------------------------------------------------- */

static void hang_up(void)
{
    if (peer >= 0)
        (void)close(peer);
    peer = -1;
}

static void stop_listening(void)
{
    if (listener >= 0)
        (void)close(listener);
    listener = -1;
    (void)unlink(path);
}

static void listen_again(void)
{
    stop_listening();
    listener = unixsock_listen(path, NULL);
    ck_assert_int_ge(listener, 0);
}

static void say(const char *words)
{
    ck_assert_int_eq(send(peer, words, strlen(words), MSG_NOSIGNAL), (ssize_t)strlen(words));
}

static const char *heard(void)
{
    ssize_t n = recv(peer, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* Turns the monitor once, after waiting for it at most as long as it wants. */
static void turn(int at_most_ms)
{
    struct pollfd pfds[2] = { { .fd = qblk_monitor_fd(monitor), .events = POLLIN },
                              { .fd = listener, .events = POLLIN } };
    int timeout = qblk_monitor_timeout(monitor);

    if (timeout < 0 || timeout > at_most_ms)
        timeout = at_most_ms;
    (void)poll(pfds, 2, timeout);
    (void)qblk_monitor_process(monitor, 0, NULL);
}

static void accept_it(void)
{
    for (int i = 0; i < 200 && peer < 0; i++) {
        ck_assert_int_eq(seen.ends, 0);
        turn(100);
        peer = unixsock_accept(listener, NULL);
    }
    ck_assert_int_ge(peer, 0);
}

static void negotiate(void)
{
    const char *id;

    say(GREETING);
    turn(1000);
    id = strstr(heard(), "\"id\":");
    ck_assert_ptr_nonnull(id);
    ck_assert_ptr_nonnull(strstr(text, "qmp_capabilities"));
    (void)snprintf(caps_id, sizeof(caps_id), "%.15s", id + 5);
    say(local_reply(text, "{}"));
    turn(1000);
}

static void come_back(void)
{
    accept_it();
    negotiate();
}

static void lose(void)
{
    hang_up();
    turn(1000);
}

/* ---- the client ----------------------------------------------------------------------------- */

static void on_ready(qblk_monitor *m, void *arg)
{
    (void)m;
    (void)arg;
    seen.ready++;
}

static void on_lost(qblk_monitor *m, const qblk_error *error, void *arg)
{
    (void)arg;
    seen.lost++;
    seen.loss = *error;
    ck_assert_int_eq(qblk_monitor_get_state(m), QBLK_MONITOR_AWAY);
    if (seen.free_in == 'l')
        (void)qblk_monitor_free(m);
}

static void on_back(qblk_monitor *m, void *arg)
{
    (void)arg;
    seen.back++;
    ck_assert_int_eq(qblk_monitor_get_state(m), QBLK_MONITOR_READY);
    if (seen.free_in == 'b')
        (void)qblk_monitor_free(m);
}

static void on_end(qblk_monitor *m, const qblk_error *error, void *arg)
{
    (void)m;
    (void)arg;
    seen.ends++;
    seen.end = *error;
}

static void on_release(void *arg)
{
    (void)arg;
    seen.releases++;
}

static void on_job(qblk_job *job, void *arg)
{
    (void)job;
    (void)arg;
    seen.jobs++;
}

static void on_job_end(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    size_t len = strlen(seen.outcomes);

    (void)arg;
    qblk_job_get_info(job, &info);
    seen.job_ends++;
    (void)snprintf(seen.outcomes + len, sizeof(seen.outcomes) - len, "%s=%s%s%.40s ", info.id,
                   qblk_job_outcome_name(info.outcome), info.error != NULL ? ":" : "",
                   info.error != NULL ? info.error : "");
}

static void on_gone(qblk_job *job, void *arg)
{
    (void)job;
    (void)arg;
    seen.gone++;
}

static void on_synced(qblk_monitor *m, void *arg)
{
    (void)m;
    (void)arg;
    seen.synced++;
}

static int begin(int reconnect_ms, qblk_error *error)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);

    options.reconnect_ms = reconnect_ms;
    options.on_lost = on_lost;
    options.on_back = on_back;
    options.ops.size = sizeof(options.ops);
    options.ops.on_ready = on_ready;
    options.ops.on_end = on_end;
    options.ops.release = on_release;
    return qblk_monitor_connect(&monitor, path, &options, error);
}

static void start(int reconnect_ms)
{
    ck_assert_int_eq(begin(reconnect_ms, NULL), 0);
    come_back();
    ck_assert_int_eq(seen.ready, 1);
}

static int track(void)
{
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);

    ops.on_job = on_job;
    ops.on_end = on_job_end;
    ops.on_gone = on_gone;
    ops.on_synced = on_synced;
    return qblk_jobs_track(monitor, &ops, NULL, NULL);
}

/* Answers each command that is heard, query-jobs by a list of what is given. */
static void answer(const char *jobs)
{
    char *at = (char *)(uintptr_t)heard(), *end;
    char reply[1024];

    while (*at == '{' && (end = strchr(at, '}')) != NULL) {
        char command[512];

        (void)snprintf(command, sizeof(command), "%.*s", (int)(end - at) + 1, at);
        (void)snprintf(reply, sizeof(reply), "%s",
                       local_reply(command, strstr(command, "query-jobs") != NULL ? jobs : "[]"));
        say(reply);
        at = end + 1;
        while (*at == ' ' || *at == '\r' || *at == '\n')
            at++;
    }
    turn(1000);
}

static void sync_jobs(const char *jobs)
{
    int before = seen.synced;

    for (int i = 0; i < 20 && seen.synced == before; i++)
        answer(jobs);
    ck_assert_int_gt(seen.synced, before);
}

static void setup(void)
{
    memset(&seen, 0, sizeof(seen));
    strcpy(dir, "/tmp/qblk-reconnect.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/qmp", dir);
    monitor = NULL;
    listen_again();
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    hang_up();
    stop_listening();
    (void)rmdir(dir);
}

/* ---- coming back ---------------------------------------------------------------------------- */

START_TEST(a_lost_connection_comes_back)
{
    struct told told = { .n = 0 };

    start(PATIENCE_MS);
    for (int i = 1; i <= 3; i++) {
        lose();
        ck_assert_int_eq(seen.lost, i);
        ck_assert_int_eq(seen.loss.code, QBLK_E_LOST);
        ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_AWAY);
        ck_assert_ptr_null(qblk_monitor_why(monitor));
        come_back();
        ck_assert_int_eq(seen.back, i);
        ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_READY);
    }
    ck_assert_int_eq(seen.ready, 1);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"stop\"}", -1, told_reply, &told, NULL),
                     0);
    say(local_reply(heard(), "{}"));
    turn(1000);
    ck_assert_int_eq(told.n, 1);
    ck_assert_str_eq(told.reply, "{\"return\": {}}");
    monitor = qblk_monitor_free(monitor);
    ck_assert_int_eq(seen.ends, 0);
    ck_assert_int_eq(seen.releases, 1);
}
END_TEST

START_TEST(what_was_in_flight_is_lost_once_and_never_sent_again)
{
    struct told a = { .n = 0 }, b = { .n = 0 }, c = { .n = 0 };
    char first_caps[32];
    char first_id[8];

    start(PATIENCE_MS);
    strcpy(first_caps, caps_id);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"a\"}", -1, told_reply, &a, NULL), 0);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"b\"}", -1, told_reply, &b, NULL), 0);
    (void)snprintf(first_id, sizeof(first_id), "%.1s", strstr(heard(), "\"id\":") + 5);
    lose();
    ck_assert_int_eq(a.n, 1);
    ck_assert_int_eq(b.n, 1);
    ck_assert_int_eq(a.error.code, QBLK_E_LOST);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"c\"}", -1, told_reply, &c, NULL), 0);
    accept_it();
    /* Replies to the client that was, before the greeting and after. */
    say("{\"return\": {}, \"id\": 1}\r\n");
    say(GREETING);
    say("{\"return\": {}, \"id\": 2}\r\n");
    turn(1000);
    ck_assert_ptr_null(strstr(heard(), "execute\":\"c"));
    ck_assert_ptr_null(strstr(text, first_caps));
    say(local_reply(text, "{}"));
    turn(1000);
    (void)heard();
    ck_assert_ptr_null(strstr(text, "\"a\""));
    ck_assert_ptr_null(strstr(text, "\"b\""));
    ck_assert_ptr_nonnull(strstr(text, "\"c\""));
    ck_assert_int_ne(strncmp(strstr(text, "\"id\":") + 5, first_id, 1) == 0 &&
                     strstr(text, "\"id\":")[6] == '}', true);
    ck_assert_int_eq(c.n, 0);
    say(local_reply(text, "17"));
    turn(1000);
    ck_assert_int_eq(c.n, 1);
    ck_assert_str_eq(c.reply, "{\"return\": 17}");
    ck_assert_int_eq(a.n + b.n, 2);
}
END_TEST

static void tracks(qblk_monitor *m, const char *reply, const qblk_error *error, void *arg)
{
    (void)m;
    (void)reply;
    (void)error;
    *(int *)arg = track();
}

/* Whoever hears of the loss of his command may begin something at once. */
START_TEST(what_follows_jobs_from_the_loss_on_is_in_step_once_it_is_back)
{
    int tracked = -1;

    start(PATIENCE_MS);
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"a\"}", -1, tracks, &tracked, NULL), 0);
    (void)heard();
    lose();
    ck_assert_int_eq(tracked, 0);
    come_back();
    sync_jobs("[]");
    seen.synced = 0;
    ck_assert_int_eq(track(), 0); /* which asks for another reading */
    sync_jobs("[]");
}
END_TEST

START_TEST(attempts_may_fail_in_every_way_meanwhile)
{
    start(PATIENCE_MS);
    stop_listening();
    lose();
    for (int i = 0; i < 4; i++)
        turn(100);
    listen_again();
    accept_it();
    lose(); /* no greeting */
    accept_it();
    say("{\"QMP\": {\"versi");
    lose(); /* half of it */
    accept_it();
    say(GREETING);
    turn(100);
    lose(); /* no answer */
    come_back();
    ck_assert_int_eq(seen.lost, 1);
    ck_assert_int_eq(seen.back, 1);
    ck_assert_int_eq(seen.ends, 0);
}
END_TEST

/* This program may be short of something for a moment; that says nothing of QEMU. */
START_TEST(an_attempt_without_a_descriptor_is_one_that_failed)
{
    struct rlimit all, none;

    start(PATIENCE_MS);
    lose();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    none = all;
    none.rlim_cur = 3; /* which are open */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 3; i++)
        turn(100);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_AWAY);
    come_back();
    ck_assert_int_eq(seen.back, 1);
    ck_assert_int_eq(seen.ends, 0);
}
END_TEST

START_TEST(whoever_does_not_come_back_in_time_is_lost)
{
    start(150);
    stop_listening();
    lose();
    for (int i = 0; i < 100 && seen.ends == 0; i++)
        turn(1000);
    ck_assert_int_eq(seen.ends, 1);
    ck_assert_int_eq(seen.end.code, QBLK_E_LOST);
    ck_assert_ptr_nonnull(strstr(seen.end.text, "was lost"));
    ck_assert_ptr_nonnull(strstr(seen.end.text, "could not be made again in time"));
    ck_assert_int_eq(qblk_monitor_get_state(monitor), QBLK_MONITOR_DEAD);
    ck_assert_int_eq(seen.back, 0);
}
END_TEST

START_TEST(a_peer_that_only_accepts_or_only_greets_is_not_waited_for_longer)
{
    start(150);
    lose();
    accept_it();
    if (_i == 1)
        say(GREETING);
    for (int i = 0; i < 100 && seen.ends == 0; i++)
        turn(1000);
    ck_assert_int_eq(seen.ends, 1);
    ck_assert_int_eq(seen.end.code, QBLK_E_LOST);
    ck_assert_ptr_nonnull(strstr(seen.end.text, _i == 1 ? "qmp_capabilities" : "busy"));
}
END_TEST

START_TEST(what_is_no_qmp_is_not_tried_again)
{
    start(PATIENCE_MS);
    lose();
    accept_it();
    say("SSH-2.0-OpenSSH_9.2\r\n");
    turn(1000);
    ck_assert_int_eq(seen.ends, 1);
    ck_assert_int_eq(seen.end.code, QBLK_E_NOT_QMP);
}
END_TEST

START_TEST(a_connection_that_was_never_ready_is_not_tried_again)
{
    ck_assert_int_eq(begin(PATIENCE_MS, NULL), 0);
    accept_it();
    lose();
    ck_assert_int_eq(seen.ends, 1);
    ck_assert_int_eq(seen.lost, 0);
}
END_TEST

START_TEST(an_adopted_descriptor_does_not_come_back)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    struct local local;

    options.reconnect_ms = PATIENCE_MS;
    options.on_lost = on_lost;
    local_ready(&local, &options);
    local_hang_up(&local);
    ck_assert_int_lt(local_turn(&local), 0);
    ck_assert_int_eq(seen.lost, 0);
    local_end(&local);
}
END_TEST

START_TEST(the_monitor_may_be_freed_in_each_callback_and_while_away)
{
    seen.free_in = "lb-"[_i];
    start(PATIENCE_MS);
    ck_assert_int_eq(track(), 0);
    lose();
    if (_i == 1)
        come_back();
    if (_i == 2)
        monitor = qblk_monitor_free(monitor);
    else if (seen.releases > 0)
        monitor = NULL;
    ck_assert_int_eq(seen.releases, 1);
}
END_TEST

START_TEST(missed_events_are_said_to_be_missed_once)
{
    qblk_error error;
    char *json;

    start(PATIENCE_MS);
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 0, &json, NULL), 0);
    say("{\"event\": \"ONE\"}\r\n");
    turn(1000);
    lose();
    come_back();
    say("{\"event\": \"TWO\"}\r\n");
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 0, &json, NULL), 1);
    free(json);
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 0, &json, &error), -ENOBUFS);
    ck_assert_ptr_nonnull(strstr(error.text, "lost for a while"));
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 0, &json, NULL), 1);
    free(json);
    ck_assert_int_eq(qblk_monitor_next_event(monitor, NULL, 0, &json, NULL), 0);
}
END_TEST

/* ---- jobs ----------------------------------------------------------------------------------- */

#define JOB(id_, status_, more_) \
    "{\"id\": \"" id_ "\", \"type\": \"mirror\", \"status\": \"" status_ "\", " \
    "\"current-progress\": 1, \"total-progress\": 2" more_ "}"

START_TEST(each_job_has_its_true_end)
{
    start(PATIENCE_MS);
    ck_assert_int_eq(track(), 0);
    sync_jobs("[" JOB("stays", "running", "") ", " JOB("good", "running", "") ", "
              JOB("bad", "ready", "") ", " JOB("gone", "running", "") "]");
    ck_assert_int_eq(seen.jobs, 4);
    lose();
    ck_assert_int_eq(seen.job_ends, 0);
    come_back();
    sync_jobs("[" JOB("stays", "running", "") ", " JOB("good", "concluded", "") ", "
              JOB("bad", "concluded", ", \"error\": \"No space\"") ", " JOB("new", "running", "") "]");
    ck_assert_int_eq(seen.jobs, 5);
    ck_assert_int_eq(seen.job_ends, 3);
    ck_assert_int_eq(seen.gone, 1);
    ck_assert_ptr_nonnull(strstr(seen.outcomes, "good=completed "));
    ck_assert_ptr_nonnull(strstr(seen.outcomes, "bad=failed:No space "));
    ck_assert_ptr_nonnull(strstr(seen.outcomes, "gone=lost:it vanished from QEMU"));
    /* The rest is followed as before. */
    say("{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"status\": \"concluded\", \"id\": \"stays\"}}");
    turn(1000);
    for (int i = 0; i < 5 && seen.job_ends < 4; i++)
        answer("[" JOB("stays", "concluded", "") "]");
    ck_assert_ptr_nonnull(strstr(seen.outcomes, "stays=completed "));
}
END_TEST

START_TEST(a_reading_that_was_under_way_is_made_again)
{
    start(PATIENCE_MS);
    ck_assert_int_eq(track(), 0);
    turn(100);
    ck_assert_ptr_nonnull(strstr(heard(), "query-jobs"));
    lose();
    come_back();
    sync_jobs("[" JOB("a", "running", "") "]");
    ck_assert_int_eq(seen.jobs, 1);
}
END_TEST

START_TEST(jobs_of_a_qemu_that_does_not_come_back_are_lost)
{
    start(100);
    ck_assert_int_eq(track(), 0);
    sync_jobs("[" JOB("a", "running", "") "]");
    stop_listening();
    lose();
    ck_assert_int_eq(seen.job_ends, 0);
    for (int i = 0; i < 100 && seen.ends == 0; i++)
        turn(1000);
    ck_assert_ptr_nonnull(strstr(seen.outcomes, "a=lost:the connection"));
}
END_TEST

/* The n-th allocation and all after it fail, from the loss to the return. */
START_TEST(without_memory_it_comes_back_or_ends_cleanly)
{
    for (unsigned long n = 1; n < 120; n++) {
        if (n > 1)
            setup();
        start(PATIENCE_MS);
        ck_assert_int_eq(track(), 0);
        sync_jobs("[" JOB("a", "running", "") "]");
        mem_fail_after(n);
        lose();
        mem_fail_after(n);
        for (int i = 0; i < 50 && peer < 0 && seen.ends == 0; i++) {
            turn(20);
            peer = unixsock_accept(listener, NULL);
        }
        mem_fail_after(n);
        if (peer >= 0) {
            (void)send(peer, GREETING, strlen(GREETING), MSG_NOSIGNAL);
            turn(20);
            if (strstr(heard(), "qmp_capabilities") != NULL)
                say(local_reply(text, "{}"));
            turn(20);
        }
        mem_fail_after(0);
        ck_assert_int_ge(seen.ends + seen.back, 1);
        if (seen.ends == 0)
            sync_jobs("[" JOB("a", "concluded", "") "]");
        teardown();
        ck_assert_int_eq(seen.releases, 1);
        ck_assert_int_eq(seen.job_ends, 1);
    }
    setup();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reconnect");
    TCase *tcase = tcase_create("reconnect");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_lost_connection_comes_back);
    tcase_add_test(tcase, what_was_in_flight_is_lost_once_and_never_sent_again);
    tcase_add_test(tcase, what_follows_jobs_from_the_loss_on_is_in_step_once_it_is_back);
    tcase_add_test(tcase, attempts_may_fail_in_every_way_meanwhile);
    tcase_add_test(tcase, an_attempt_without_a_descriptor_is_one_that_failed);
    tcase_add_test(tcase, whoever_does_not_come_back_in_time_is_lost);
    tcase_add_loop_test(tcase, a_peer_that_only_accepts_or_only_greets_is_not_waited_for_longer, 0, 2);
    tcase_add_test(tcase, what_is_no_qmp_is_not_tried_again);
    tcase_add_test(tcase, a_connection_that_was_never_ready_is_not_tried_again);
    tcase_add_test(tcase, an_adopted_descriptor_does_not_come_back);
    tcase_add_loop_test(tcase, the_monitor_may_be_freed_in_each_callback_and_while_away, 0, 3);
    tcase_add_test(tcase, missed_events_are_said_to_be_missed_once);
    tcase_add_test(tcase, each_job_has_its_true_end);
    tcase_add_test(tcase, a_reading_that_was_under_way_is_made_again);
    tcase_add_test(tcase, jobs_of_a_qemu_that_does_not_come_back_are_lost);
    tcase_add_test(tcase, without_memory_it_comes_back_or_ends_cleanly);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

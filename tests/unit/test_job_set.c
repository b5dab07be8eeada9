/* The set of jobs: what it tells, when it asks, what it makes of readings. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../starve/case.h"
#include "base/err.h"
#include "base/mem.h"
#include "job/set.h"

/* Everything told, as one line of words: "+a" on_job, "a:running" on_state, "a=completed" on_end,
 * "-a" on_gone, "*" on_synced. */
static char told[65536];
static char logged[65536];
static struct job_set *set;
static int64_t now;

static qblk_job_info info_of(const qblk_job *job)
{
    qblk_job_info info = { .size = sizeof(info) };

    ck_assert_ptr_nonnull(job);
    qblk_job_get_info(job, &info);
    return info;
}

static void tell(const char *format, const char *a, const char *b)
{
    size_t len = strlen(told);

    (void)snprintf(told + len, sizeof(told) - len, "%s", len > 0 ? " " : "");
    len = strlen(told);
    if (strcmp(format, "+") == 0 || strcmp(format, "-") == 0)
        (void)snprintf(told + len, sizeof(told) - len, "%s%s", format, a);
    else
        (void)snprintf(told + len, sizeof(told) - len, "%s%s%s", a, format, b);
}

static void on_job(void *arg, qblk_job *job)
{
    (void)arg;
    tell("+", info_of(job).id, "");
}

static void on_state(void *arg, qblk_job *job)
{
    (void)arg;
    tell(":", info_of(job).id, info_of(job).status);
}

static void on_end(void *arg, qblk_job *job)
{
    (void)arg;
    tell("=", info_of(job).id, qblk_job_outcome_name(info_of(job).outcome));
}

static void on_gone(void *arg, qblk_job *job)
{
    (void)arg;
    tell("-", info_of(job).id, "");
}

static void on_synced(void *arg)
{
    (void)arg;
    tell("", "*", "");
}

static void on_log(qblk_log_level level, const char *text, void *arg)
{
    size_t len = strlen(logged);

    (void)level;
    (void)arg;
    (void)snprintf(logged + len, sizeof(logged) - len, "%s\n", text);
}

static const struct job_set_ops ops = { on_job, on_state, on_end, on_gone, on_synced };
static const struct log log_hook = { on_log, NULL };

static void setup(void)
{
    now = 1000;
    told[0] = logged[0] = '\0';
    set = job_set_new(NULL, &ops, NULL, &log_hook);
    ck_assert_ptr_nonnull(set);
}

static void teardown(void)
{
    job_set_free(set);
    set = NULL;
}

static void expect_told(const char *want)
{
    ck_assert_str_eq(told, want);
    told[0] = '\0';
}

static void heard(const char *id, const char *statuses)
{
    char word[32];
    int n;

    for (; sscanf(statuses, "%31s%n", word, &n) == 1; statuses += n)
        job_set_status(set, id, word, now);
}

static void block_event(const char *id, enum block_event kind, const char *error)
{
    struct block_event_data event = { .kind = kind, .id = id, .type = "mirror", .error = error };

    job_set_block_event(set, &event, now);
}

static void stop_event(const char *id)
{
    struct block_event_data event = { .kind = BLOCK_ERROR, .id = id, .action = "stop",
                                      .operation = "write" };

    job_set_block_event(set, &event, now);
}

static void read_one(const char *id, const char *status, const char *error)
{
    struct job_reading reading = { .id = id, .type = "mirror", .status = status, .error = error };

    job_set_reading_job(set, &reading, now);
}

/* A whole reading that lists one job, or none. */
static void read_all(const char *id, const char *status, const char *error)
{
    job_set_reading_begin(set, JOB_WANT_ALL);
    if (id != NULL)
        read_one(id, status, error);
    job_set_reading_end(set, now);
}

static void reply(const char *id, const char *refusal)
{
    qblk_error error;

    if (refusal != NULL)
        (void)err_set(&error, QBLK_E_QEMU, "%s", refusal);
    job_set_replied(set, id, refusal != NULL ? &error : NULL, now);
}

/* ---- a life --------------------------------------------------------------------------------- */

START_TEST(a_life_is_told_in_order_and_ends_before_it_is_dismissed)
{
    qblk_job *job = job_set_started(set, "a", "stream", now);

    ck_assert_ptr_eq(job_set_find(set, "a"), job);
    heard("a", "created running");
    reply("a", NULL);
    heard("a", "waiting pending");
    block_event("a", BLOCK_COMPLETED, NULL);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_NOTHING);
    heard("a", "concluded");
    expect_told("+a a:created a:running a:waiting a:pending a:concluded");
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_JOBS);
    ck_assert_int_eq(job_set_timeout_ms(set, now), 0);
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_DISMISS, NULL), -1); /* -EPERM */
    job_set_reading_begin(set, JOB_WANT_JOBS);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_NOTHING);
    read_one("a", "concluded", NULL);
    expect_told("a=completed");
    job_set_reading_end(set, now);
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_DISMISS, NULL), 0);
    heard("a", "null");
    expect_told("-a");
    ck_assert_ptr_null(job_set_find(set, "a"));
}
END_TEST

START_TEST(each_change_is_one_line_of_log)
{
    (void)job_set_started(set, "a", "mirror", now);
    heard("a", "created running ready");
    ck_assert_ptr_nonnull(strstr(logged, "job a: running --ready--> ready (tell)\n"));
    logged[0] = '\0';
    block_event("a", BLOCK_READY, NULL);
    ck_assert_str_eq(logged, "");
    heard("a", "running");
    ck_assert_str_eq(logged, "job a: ready --running--> ready (ask), does not fit\n");
}
END_TEST

START_TEST(readiness_is_latched_through_standby_and_failure)
{
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    heard("a", "created running");
    ck_assert(!info_of(job).is_ready);
    block_event("a", BLOCK_READY, NULL);
    ck_assert(info_of(job).is_ready);
    ck_assert_int_eq(info_of(job).state, QBLK_JOB_READY);
    heard("a", "standby");
    ck_assert(info_of(job).is_ready);
    heard("a", "ready aborting");
    ck_assert(info_of(job).is_ready);
}
END_TEST

START_TEST(a_job_found_by_a_reading_is_told_once)
{
    job_set_ask(set, JOB_WANT_ALL);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "ready", NULL);
    read_one("b", "concluded", "No space left on device");
    job_set_reading_end(set, now);
    expect_told("+a +b b=failed *");
    ck_assert(info_of(job_set_find(set, "a")).is_ready);
    ck_assert_str_eq(info_of(job_set_find(set, "b")).error, "No space left on device");
    ck_assert_ptr_eq(job_set_next(set, NULL), job_set_find(set, "a"));
    ck_assert_ptr_eq(job_set_next(set, job_set_find(set, "a")), job_set_find(set, "b"));
    ck_assert_ptr_null(job_set_next(set, job_set_find(set, "b")));
    read_all("b", "concluded", "No space left on device");
    expect_told("a=lost -a");
}
END_TEST

START_TEST(somebody_elses_job_is_read_for_its_type)
{
    heard("x", "created");
    expect_told("+x");
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    ck_assert_str_eq(info_of(job_set_find(set, "x")).type, "");
    read_all("x", "created", NULL);
    ck_assert_str_eq(info_of(job_set_find(set, "x")).type, "mirror");
}
END_TEST

START_TEST(our_jobs_carry_their_operation)
{
    ck_assert_str_eq(info_of(job_set_started(set, "qblk.00c0ffee.copy", "mirror", now)).operation,
                     "00c0ffee");
    ck_assert_ptr_null(info_of(job_set_started(set, "mine", "mirror", now)).operation);
}
END_TEST

START_TEST(an_id_used_again_is_another_job)
{
    qblk_job *first = job_set_started(set, "a", "create", now), *second;

    heard("a", "created running waiting pending concluded");
    read_all("a", "concluded", NULL);
    heard("a", "null");
    second = job_set_started(set, "a", "create", now);
    heard("a", "created");
    expect_told("+a a:created a:running a:waiting a:pending a:concluded a=completed -a +a "
                "a:created");
    ck_assert_ptr_nonnull(second);
    (void)first;
    /* Known and not over: the same. */
    ck_assert_ptr_eq(job_set_started(set, "a", "create", now), second);
    /* Over, but its dismissal was not heard: another one all the same. */
    heard("a", "running waiting pending concluded");
    read_all("a", "concluded", NULL);
    told[0] = '\0';
    (void)job_set_started(set, "a", "create", now);
    expect_told("-a +a");
}
END_TEST

START_TEST(a_reading_that_finds_an_ended_job_alive_finds_another)
{
    read_all("a", "concluded", NULL);
    expect_told("+a a=completed");
    read_all("a", "running", NULL);
    expect_told("-a +a");
    ck_assert_int_eq(info_of(job_set_find(set, "a")).state, QBLK_JOB_RUNNING);
}
END_TEST

/* ---- starts --------------------------------------------------------------------------------- */

START_TEST(a_refused_start_fails_with_the_reason)
{
    (void)job_set_started(set, "a", "mirror", now);
    reply("a", "no such node");
    expect_told("+a a=failed -a");
}
END_TEST

START_TEST(a_start_refused_after_its_events_waits_for_the_reason)
{
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    heard("a", "created null");
    expect_told("+a a:created");
    ck_assert_int_eq(info_of(job).state, QBLK_JOB_GONE);
    ck_assert_int_eq(info_of(job).outcome, QBLK_OUTCOME_NONE);
    reply("a", "speed is negative");
    ck_assert_ptr_nonnull(strstr(logged, "failed: speed is negative"));
    expect_told("a=failed -a");
}
END_TEST

START_TEST(a_refusal_of_an_id_in_use_ends_nobodys_job)
{
    read_all("a", "running", NULL);
    ck_assert_ptr_eq(job_set_started(set, "a", "mirror", now), job_set_find(set, "a"));
    heard("a", "paused running");
    reply("a", "Job ID 'a' already in use");
    expect_told("+a a:paused a:running");
    /* The same if that job was not known. */
    (void)job_set_started(set, "b", "mirror", now);
    heard("b", "paused running");
    reply("b", "Job ID 'b' already in use");
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "running", NULL);
    read_one("b", "running", NULL);
    job_set_reading_end(set, now);
    ck_assert_int_eq(info_of(job_set_find(set, "b")).outcome, QBLK_OUTCOME_NONE);
}
END_TEST

START_TEST(a_start_accepted_in_silence_is_looked_after)
{
    (void)job_set_started(set, "a", "create", now);
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    reply("a", NULL);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    read_all("a", "running", NULL);
    ck_assert_int_eq(job_set_timeout_ms(set, now), 20);
    heard("a", "paused"); /* events do come: no more need */
    read_all("a", "paused", NULL);
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
}
END_TEST

/* ---- readings ------------------------------------------------------------------------------- */

START_TEST(a_reading_older_than_the_events_undoes_nothing)
{
    qblk_job *job = job_set_started(set, "a", "stream", now);

    heard("a", "created running");
    reply("a", NULL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    heard("a", "waiting pending");
    read_one("a", "running", NULL);
    job_set_reading_end(set, now);
    ck_assert_int_eq(info_of(job)
                         .state, QBLK_JOB_PENDING);
    job_set_reading_begin(set, JOB_WANT_ALL);
    heard("b", "created");
    job_set_reading_end(set, now); /* without b: it was not there yet; without a: gone */
    ck_assert_ptr_nonnull(job_set_find(set, "b"));
    ck_assert_ptr_null(job_set_find(set, "a"));
}
END_TEST

START_TEST(concluded_is_believed_from_an_older_reading_too)
{
    (void)job_set_started(set, "a", "mirror", now);
    heard("a", "created running ready");
    job_set_reading_begin(set, JOB_WANT_JOBS);
    block_event("a", BLOCK_CANCELLED, NULL);
    read_one("a", "concluded", "Operation canceled");
    expect_told("+a a:created a:running a:ready a:concluded a=cancelled");
    job_set_reading_end(set, now);
}
END_TEST

START_TEST(a_reading_brings_no_job_back_that_went_meanwhile)
{
    read_all("a", "concluded", NULL);
    job_set_reading_begin(set, JOB_WANT_JOBS);
    heard("a", "null");
    read_one("a", "concluded", NULL);
    job_set_reading_end(set, now);
    expect_told("+a a=completed -a");
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL); /* to be sure */
    read_all(NULL, NULL, NULL);
    expect_told("");
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_NOTHING);
}
END_TEST

START_TEST(a_failed_reading_says_nothing_of_absent_jobs)
{
    read_all("a", "running", NULL);
    job_set_ask(set, JOB_WANT_ALL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    job_set_reading_failed(set, now);
    ck_assert_ptr_nonnull(job_set_find(set, "a"));
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_NOTHING); /* not in a circle */
    ck_assert_int_eq(job_set_wants(set, now + 1000), JOB_WANT_ALL);
    expect_told("+a");
    job_set_reading_end(set, now); /* of no reading: nothing */
    ck_assert_ptr_nonnull(job_set_find(set, "a"));
}
END_TEST

START_TEST(synced_is_told_after_readings_that_were_asked_for)
{
    read_all(NULL, NULL, NULL);
    expect_told("");
    job_set_ask(set, JOB_WANT_ALL);
    job_set_reading_begin(set, JOB_WANT_JOBS); /* not what was asked for */
    job_set_reading_end(set, now);
    expect_told("");
    read_all(NULL, NULL, NULL);
    expect_told("*");
}
END_TEST

START_TEST(query_block_jobs_adds_what_it_alone_knows)
{
    struct job_reading reading = { .is_block = true, .id = "a", .type = "mirror",
                                   .status = "ready", .current = 5, .total = 9, .speed = 77,
                                   .io_status = "ok", .auto_finalize = true, .is_ready = true };
    qblk_job_info info;

    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "ready", NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
    info = info_of(job_set_find(set, "a"));
    ck_assert(info.is_listed && info.auto_finalize && !info.auto_dismiss);
    ck_assert_uint_eq(info.speed, 77);
    ck_assert_uint_eq(info.current, 5);
    ck_assert_uint_eq(info.total, 9);
    /* One that query-jobs did not have yet. */
    reading.id = "b";
    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "ready", NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
    ck_assert_int_eq(info_of(job_set_find(set, "b")).state, QBLK_JOB_READY);
}
END_TEST

START_TEST(unknown_statuses_are_kept_and_asked_about_once)
{
    qblk_job *job;

    read_all("a", "running", NULL);
    job = job_set_find(set, "a");
    heard("a", "meditating");
    ck_assert_str_eq(info_of(job).status, "meditating");
    ck_assert_int_eq(info_of(job).state, QBLK_JOB_RUNNING);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    read_all("a", "meditating", NULL);
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    ck_assert_str_eq(info_of(job).status, "meditating");
    heard("a", "paused");
    ck_assert_str_eq(info_of(job).status, "paused");
}
END_TEST

/* ---- ends ----------------------------------------------------------------------------------- */

START_TEST(completed_without_concluded_is_asked_for_at_growing_distances)
{
    static const int want[] = { 20, 20, 40, 80, 160, 320, 640, 1000, 1000 };

    (void)job_set_started(set, "a", "mirror", now);
    heard("a", "created running");
    reply("a", NULL);
    block_event("a", BLOCK_COMPLETED, NULL);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        ck_assert_int_eq(job_set_timeout_ms(set, now), want[i]);
        ck_assert_int_eq(job_set_wants(set, now + want[i] - 1), JOB_WANT_NOTHING);
        now += want[i];
        ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_JOBS);
        job_set_reading_begin(set, JOB_WANT_JOBS);
        ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
        read_one("a", "running", NULL);
        job_set_reading_end(set, now);
    }
    job_set_reading_begin(set, JOB_WANT_JOBS);
    read_one("a", "concluded", NULL);
    job_set_reading_end(set, now);
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    ck_assert_int_eq(info_of(job_set_find(set, "a")).outcome, QBLK_OUTCOME_COMPLETED);
}
END_TEST

/* The time limit of a test is the measure: with a search of all timers this takes minutes. */
START_TEST(many_jobs_that_wait_cost_no_more_each_than_few)
{
    struct job_set *many = job_set_new(NULL, NULL, NULL, NULL);
    struct block_event_data event = { .kind = BLOCK_COMPLETED, .type = "mirror" };
    int n = case_many(100000, 500);
    char id[16];

    ck_assert_ptr_nonnull(many);
    event.id = id;
    for (int i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        ck_assert_ptr_nonnull(job_set_started(many, id, "mirror", now + i / 10));
        job_set_status(many, id, "created", now + i / 10);
        job_set_status(many, id, "running", now + i / 10);
        job_set_replied(many, id, NULL, now + i / 10);
        job_set_block_event(many, &event, now + i / 10);
        ck_assert_int_eq(job_set_timeout_ms(many, now + i / 10), i < 200 ? 20 - i / 10 : 0);
    }
    ck_assert(job_set_has_open(many));
    /* Each is asked about again later, the ones whose time had not come at their own. */
    job_set_reading_begin(many, JOB_WANT_JOBS);
    job_set_reading_failed(many, now + n / 10 - 1);
    ck_assert_int_eq(job_set_timeout_ms(many, now + n / 10 - 1), 1);
    job_set_hangup(many, "gone", now);
    ck_assert(!job_set_has_open(many));
    ck_assert_int_eq(job_set_timeout_ms(many, now), -1);
    job_set_free(many);
}
END_TEST

START_TEST(a_change_has_the_time_of_the_event_that_told_it)
{
    qblk_job *job;

    read_all("a", "running", NULL);
    job = job_set_find(set, "a");
    ck_assert_int_eq(info_of(job).told_us, 0);
    job_set_told(set, 1000001);
    heard("a", "paused");
    job_set_told(set, 0);
    ck_assert_int_eq(info_of(job).told_us, 1000001);
    read_all("a", "running", NULL);
    ck_assert_int_eq(info_of(job).told_us, 0);
    job_set_told(set, 2000002);
    heard("a", "concluded");
    job_set_told(set, 0);
    read_all("a", "concluded", NULL); /* adds the outcome */
    ck_assert_int_eq(info_of(job).outcome, QBLK_OUTCOME_COMPLETED);
    ck_assert_int_eq(info_of(job).told_us, 2000002);
}
END_TEST

START_TEST(a_dismissal_whose_null_is_lost_is_asked_about)
{
    read_all("a", "concluded", NULL);
    job_verb_sent(job_set_find(set, "a"), QBLK_VERB_DISMISS);
    ck_assert_int_eq(job_set_timeout_ms(set, now), 20);
    now += 20;
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_JOBS);
    read_all(NULL, NULL, NULL);
    expect_told("+a a=completed -a");
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
}
END_TEST

static void end_with(const char *id, int cancelled, const char *said, const char *error)
{
    (void)job_set_started(set, id, "mirror", now);
    heard(id, "created running");
    reply(id, NULL);
    job_verb_sent(job_set_find(set, id), QBLK_VERB_CANCEL);
    if (cancelled)
        block_event(id, BLOCK_CANCELLED, NULL);
    else if (said != NULL)
        block_event(id, BLOCK_COMPLETED, said[0] != '\0' ? said : NULL);
    heard(id, "concluded");
    read_all(id, "concluded", error);
    heard(id, "null");
    ck_assert_ptr_null(job_set_find(set, id));
    told[0] = '\0';
}

START_TEST(outcomes_are_told_apart)
{
    end_with("a", 1, NULL, "Operation canceled");
    ck_assert_ptr_nonnull(strstr(logged, "job a: cancelled: Operation canceled"));
    end_with("b", 1, NULL, "Input/output error");
    ck_assert_ptr_nonnull(strstr(logged, "job b: cancelled: Input/output error"));
    end_with("c", 0, NULL, "Operation canceled");
    ck_assert_ptr_nonnull(strstr(logged, "job c: cancelled: Operation canceled"));
    end_with("d", 0, "Input/output error", "Input/output error: sector 5");
    ck_assert_ptr_nonnull(strstr(logged, "job d: failed: Input/output error: sector 5"));
    end_with("e", 0, "Operation canceled", "Operation canceled");
    ck_assert_ptr_nonnull(strstr(logged, "job e: failed: Operation canceled"));
    end_with("f", 0, "", NULL);
    ck_assert_ptr_nonnull(strstr(logged, "job f: completed\n"));
}
END_TEST

START_TEST(what_vanishes_unread_ends_by_what_was_heard)
{
    static const struct {
        const char *statuses, *said, *want;
        bool cancelled;
    } cases[] = {
        { "created running waiting pending", "", "+j +=completed", false },
        { "created running aborting", "boom", "+=failed", false },
        { "created running aborting", NULL, "+=cancelled", true },
        { "created running aborting concluded", NULL, "+=failed", false },
        { "created running waiting pending concluded", NULL, "+=completed", false },
        { "created running waiting pending", NULL, "+=lost", false },
        { "created running concluded", NULL, "+=lost", false },
        { "created running", NULL, "+=lost", false },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char word[32];

        heard("j", cases[i].statuses);
        if (cases[i].cancelled)
            block_event("j", BLOCK_CANCELLED, NULL);
        else if (cases[i].said != NULL)
            block_event("j", BLOCK_COMPLETED, cases[i].said[0] != '\0' ? cases[i].said : NULL);
        told[0] = '\0';
        read_all(NULL, NULL, NULL);
        (void)snprintf(word, sizeof(word), "j%s -j", strchr(cases[i].want, '='));
        ck_assert_msg(strstr(told, word) != NULL, "%zu: %s", i, told);
    }
}
END_TEST

START_TEST(a_hangup_ends_each_living_job_once_and_says_what_is_known)
{
    qblk_job *a, *b;

    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "running", NULL);
    read_one("b", "running", NULL);
    read_one("c", "concluded", NULL);
    job_set_reading_end(set, now);
    a = job_set_find(set, "a");
    b = job_set_find(set, "b");
    block_event("b", BLOCK_COMPLETED, NULL);
    told[0] = '\0';
    job_set_hangup(set, "QEMU closed the connection", now);
    expect_told("a:lost a=lost b:lost b=lost");
    ck_assert_ptr_nonnull(strstr(info_of(a).error, "QEMU closed the connection; the job was running"));
    ck_assert_ptr_nonnull(strstr(info_of(b).error, "it had said that it completed"));
    ck_assert_int_eq(info_of(job_set_find(set, "c")).state, QBLK_JOB_CONCLUDED);
    job_set_hangup(set, "again", now);
    heard("a", "concluded null");
    block_event("a", BLOCK_COMPLETED, NULL);
    read_all("a", "running", NULL);
    expect_told("");
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    job_set_free(set);
    expect_told("-a -b -c");
    set = NULL;
}
END_TEST

/* ---- stalls, progress ----------------------------------------------------------------------- */

START_TEST(a_stop_on_an_error_is_a_stall_until_it_runs_again)
{
    struct job_reading reading = { .is_block = true, .id = "a", .type = "mirror",
                                   .status = "paused", .io_status = "nospace", .is_paused = true };
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    heard("a", "created running");
    reply("a", NULL);
    stop_event("a");
    ck_assert(!info_of(job).is_stalled);
    ck_assert_int_eq(job_set_timeout_ms(set, now), 20); /* should "paused" be lost */
    heard("a", "paused");
    ck_assert(info_of(job).is_stalled);
    ck_assert_str_eq(info_of(job).stall_reason, "failed");
    ck_assert_ptr_null(info_of(job).stall_node);
    ck_assert_str_eq(info_of(job).stall_op, "write");
    ck_assert_uint_eq(info_of(job).errors, 1);
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "paused", NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
    ck_assert_str_eq(info_of(job).stall_reason, "nospace");
    ck_assert_int_eq(job_set_timeout_ms(set, now), -1);
    heard("a", "running");
    ck_assert(!info_of(job).is_stalled);
    ck_assert_ptr_null(info_of(job).stall_reason);
    heard("a", "paused");
    ck_assert(!info_of(job).is_stalled); /* that one is a user's */
    stop_event("a");
    ck_assert(info_of(job).is_stalled);
    job_set_reading_begin(set, JOB_WANT_ALL);
    reading.io_status = "ok";
    read_one("a", "paused", NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
    ck_assert(!info_of(job).is_stalled);
}
END_TEST

START_TEST(a_stall_is_seen_in_a_reading_alone)
{
    struct job_reading reading = { .is_block = true, .id = "a", .type = "mirror",
                                   .status = "standby", .io_status = "failed", .is_paused = true };

    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", "standby", NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
    ck_assert(info_of(job_set_find(set, "a")).is_stalled);
    ck_assert(info_of(job_set_find(set, "a")).is_ready);
}
END_TEST

static struct job_reading block_reading(const char *status, const char *io_status)
{
    struct job_reading reading = { .is_block = true, .id = "a", .type = "mirror",
                                   .status = status, .io_status = io_status, .is_paused = true };

    return reading;
}

/* As a client sees it that comes later, or that asks after it was told. */
static void read_pause(const char *status, const char *io_status)
{
    struct job_reading reading = block_reading(status, io_status);

    job_set_reading_begin(set, JOB_WANT_ALL);
    read_one("a", status, NULL);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
}

START_TEST(a_stall_is_known_once_its_reason_and_its_place_are)
{
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    heard("a", "created running");
    reply("a", NULL);
    stop_event("a");
    heard("a", "paused");
    ck_assert(info_of(job).is_stalled && !info_of(job).is_stall_known);
    ck_assert(job_wants_place(job));
    job_set_place(set, job, "target", now);
    ck_assert(!job_wants_place(job) && !info_of(job).is_stall_known);
    ck_assert_str_eq(info_of(job).stall_node, "target");
    told[0] = '\0';
    read_pause("paused", "failed");
    ck_assert(info_of(job).is_stall_known);
    expect_told("a:paused"); /* that turns is told, though the state and the reason stay */
    heard("a", "running");
    ck_assert(!info_of(job).is_stall_known && !job_wants_place(job));
    stop_event("a");
    heard("a", "paused");
    ck_assert(job_wants_place(job) && !info_of(job).is_stall_known); /* each one anew */
    ck_assert_ptr_null(info_of(job).stall_node);
    job_set_place(set, job, NULL, now);
    ck_assert(!job_wants_place(job));
    ck_assert_ptr_null(info_of(job).stall_node);
}
END_TEST

START_TEST(want_of_space_is_a_write_whoever_asks)
{
    qblk_job *job;

    read_pause("paused", "nospace");
    job = job_set_find(set, "a");
    ck_assert(job_wants_place(job));
    ck_assert_str_eq(info_of(job).stall_op, "write");
    job_set_place(set, job, NULL, now);
    ck_assert(info_of(job).is_stall_known);
    ck_assert_ptr_null(info_of(job).stall_node);
}
END_TEST

START_TEST(a_pause_that_is_read_is_a_user_s)
{
    qblk_job *job;
    qblk_error error;

    read_pause("standby", "ok");
    job = job_set_find(set, "a");
    ck_assert_int_lt(job_check_verb(job, QBLK_VERB_FINISH, &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "resume it first, or cancel it"));
    heard("a", "ready standby"); /* taken back; then QEMU's own */
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_FINISH, NULL), 0);
}
END_TEST

START_TEST(a_stop_whose_pause_is_lost_is_read)
{
    read_all("a", "running", NULL);
    stop_event("a");
    now += 20;
    ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_JOBS);
    read_all("a", "paused", NULL);
    ck_assert(info_of(job_set_find(set, "a")).is_stalled);
}
END_TEST

static void progress(int64_t at_ms, int64_t current, int64_t total)
{
    struct job_reading reading = { .id = "a", .type = "mirror", .status = "running",
                                   .current = current, .total = total };

    now = at_ms;
    job_set_reading_begin(set, JOB_WANT_JOBS);
    job_set_reading_job(set, &reading, now);
    job_set_reading_end(set, now);
}

START_TEST(rate_and_estimate_follow_the_progress)
{
    qblk_job *job;

    progress(1000, 0, 1000000);
    job = job_set_find(set, "a");
    ck_assert_uint_eq(info_of(job).rate, 0);
    ck_assert_int_eq(info_of(job).eta_ms, -1);
    progress(2000, 100000, 1000000);
    ck_assert_uint_eq(info_of(job).rate, 100000);
    ck_assert_int_eq(info_of(job).eta_ms, 9000);
    progress(3000, 300000, 1000000); /* twice as fast: the average moves towards it */
    ck_assert_uint_gt(info_of(job).rate, 100000);
    ck_assert_uint_lt(info_of(job).rate, 200000);
    progress(3000, 300000, 1000000); /* no time has passed */
    progress(4000, 1000000, 1000000);
    ck_assert_int_eq(info_of(job).eta_ms, -1);
    heard("a", "paused");
    ck_assert_uint_eq(info_of(job).rate, 0);
    progress(5000, -5, -7);
    ck_assert_uint_eq(info_of(job).current, 0);
    ck_assert_uint_eq(info_of(job).total, 0);
    progress(6000, INT64_MAX, INT64_MAX);
    progress(6001, INT64_MAX, INT64_MAX);
    (void)info_of(job);
}
END_TEST

/* ---- verbs, info ---------------------------------------------------------------------------- */

START_TEST(refusals_name_job_state_and_verb)
{
    qblk_job *job = job_set_started(set, "qblk.00c0ffee.copy", "mirror", now);
    qblk_error error;

    ck_assert_int_lt(job_check_verb(job, QBLK_VERB_CANCEL, &error), 0);
    heard("qblk.00c0ffee.copy", "created running");
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_CANCEL, &error), 0);
    ck_assert_int_lt(job_check_verb(job, QBLK_VERB_COMPLETE, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_JOB_STATE);
    ck_assert_str_eq(error.text, "complete refused: job 'qblk.00c0ffee.copy' (mirror) is running, "
                                 "it must be ready or standby; wait until it is ready, or cancel "
                                 "it");
    ck_assert_str_eq(error.job, "qblk.00c0ffee.copy");
    ck_assert_str_eq(error.operation, "00c0ffee");
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_CHANGE, NULL), 0);
    (void)job_set_started(set, "b", "stream", now);
    heard("b", "created running");
    ck_assert_ptr_nonnull(job_set_find(set, "b"));
    ck_assert_int_lt(job_check_verb(job_set_find(set, "b"), QBLK_VERB_CHANGE, &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "only a mirror"));
    heard("b", "paused");
    ck_assert_int_lt(job_check_verb(job_set_find(set, "b"), QBLK_VERB_FINISH, &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "resume it and wait until it is ready"));
    ck_assert_int_lt(job_check_verb(job, (qblk_job_verb)42, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
}
END_TEST

START_TEST(finish_is_refused_while_a_user_holds_the_job)
{
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    heard("a", "created running ready standby"); /* for an instant, by QEMU */
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_FINISH, NULL), 0);
    job_verb_sent(job, QBLK_VERB_PAUSE);
    ck_assert_int_lt(job_check_verb(job, QBLK_VERB_FINISH, NULL), 0);
    job_verb_sent(job, QBLK_VERB_RESUME);
    ck_assert_int_eq(job_check_verb(job, QBLK_VERB_FINISH, NULL), 0);
    stop_event("a");
    ck_assert_int_lt(job_check_verb(job, QBLK_VERB_FINISH, NULL), 0);
}
END_TEST

START_TEST(info_writes_as_much_as_its_caller_knows)
{
    union {
        qblk_job_info info;
        unsigned char bytes[sizeof(qblk_job_info) + 64];
    } room;
    qblk_job *job = job_set_started(set, "a", "mirror", now);

    memset(&room, 0xaa, sizeof(room));
    room.info.size = offsetof(qblk_job_info, type);
    qblk_job_get_info(job, &room.info);
    ck_assert_str_eq(room.info.id, "a");
    ck_assert_uint_eq(room.bytes[offsetof(qblk_job_info, type)], 0xaa);
    room.info.size = sizeof(room);
    qblk_job_get_info(job, &room.info);
    ck_assert_str_eq(room.info.type, "mirror");
    ck_assert_uint_eq(room.bytes[sizeof(room) - 1], 0);
    ck_assert_uint_eq(room.info.size, sizeof(room));
    ck_assert_ptr_null(qblk_job_monitor(job));
}
END_TEST

/* ---- many, and little memory ---------------------------------------------------------------- */

START_TEST(thousands_of_jobs_are_followed)
{
    int n = case_many(20000, 500);
    char id[32];

    for (int i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        (void)job_set_started(set, id, "stream", now);
        job_set_status(set, id, "created", now);
        job_set_status(set, id, "running", now);
        job_set_replied(set, id, NULL, now);
        told[0] = '\0';
    }
    for (int i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        ck_assert_ptr_nonnull(job_set_find(set, id));
    }
    job_set_reading_begin(set, JOB_WANT_ALL);
    for (int i = 0; i < n; i += 2) {
        (void)snprintf(id, sizeof(id), "job%d", i);
        read_one(id, "running", NULL);
    }
    job_set_reading_end(set, now);
    ck_assert_ptr_null(job_set_find(set, "job1"));
    ck_assert_ptr_nonnull(job_set_find(set, "job2"));
}
END_TEST

/* Whatever is not remembered for want of memory, every job that was told of ends once and goes once,
 * and a job that could not be kept is found later. */
START_TEST(memory_that_fails_loses_no_outcome)
{
    bool failed = true;

    for (unsigned long n = 1; failed && n < 200; n++) {
        qblk_job *job;

        job_set_free(set);
        told[0] = '\0';
        set = job_set_new(NULL, &ops, NULL, &log_hook);
        mem_fail_after(n);
        job = job_set_started(set, "a", "mirror", now);
        heard("a", "created running odd");
        reply("a", NULL);
        stop_event("a");
        block_event("a", BLOCK_COMPLETED, "boom");
        heard("a", "aborting concluded");
        read_all("a", "concluded", "boom");
        heard("b", "created");
        failed = job == NULL || job_set_find(set, "b") == NULL;
        mem_fail_after(0);
        if (job_set_find(set, "a") == NULL) {
            ck_assert_int_ge(job_set_timeout_ms(set, now), 0);
            now += 1000;
            ck_assert_int_eq(job_set_wants(set, now), JOB_WANT_ALL);
            read_all("a", "concluded", "boom");
        }
        ck_assert_ptr_nonnull(strstr(told, "+a"));
        ck_assert_ptr_nonnull(strstr(told, "a=failed"));
        ck_assert_ptr_null(strstr(strstr(told, "a=failed") + 1, "a=failed"));
        ck_assert_ptr_nonnull(info_of(job_set_find(set, "a")).error);
    }
    ck_assert(!failed);
}
END_TEST

START_TEST(a_set_without_memory_is_none)
{
    struct job_set *none;
    void *probe;

    mem_fail_after(1);
    probe = mem_zalloc(1);
    mem_fail_after(1);
    none = job_set_new(NULL, &ops, NULL, NULL);
    mem_fail_after(0);
    if (probe == NULL) /* in a build whose memory can fail */
        ck_assert_ptr_null(none);
    free(probe);
    job_set_free(none);
}
END_TEST

/* Of 40 jobs, the memory for any one of them or for a larger table missing, at most one is not kept,
 * and the others are found. */
START_TEST(a_table_that_cannot_grow_finds_its_jobs)
{
    for (unsigned long n = 1; n <= 50; n++) {
        bool is_kept[40];
        int n_kept = 0;
        char id[16];

        job_set_free(set);
        set = job_set_new(NULL, NULL, NULL, NULL);
        mem_fail_once(n);
        for (int i = 0; i < 40; i++) {
            (void)snprintf(id, sizeof(id), "job%d", i);
            is_kept[i] = job_set_started(set, id, NULL, now) != NULL;
            n_kept += is_kept[i];
        }
        mem_fail_once(0);
        ck_assert_int_ge(n_kept, 39);
        for (int i = 0; i < 40; i++) {
            (void)snprintf(id, sizeof(id), "job%d", i);
            ck_assert((job_set_find(set, id) != NULL) == is_kept[i]);
        }
    }
}
END_TEST

/* ---- calls from inside a callback ----------------------------------------------------------- */

static void start_another(void *arg, qblk_job *job)
{
    char id[64];

    (void)arg;
    if (strncmp(info_of(job).id, "after-", 6) == 0)
        return;
    (void)snprintf(id, sizeof(id), "after-%.40s", info_of(job).id);
    (void)job_set_started(set, id, "stream", now);
    job_set_replied(set, id, &(qblk_error){ .text = "refused at once" }, now);
    job_set_ask(set, JOB_WANT_ALL);
}

START_TEST(callbacks_may_start_and_end_other_jobs)
{
    struct job_set_ops nested = ops;

    nested.on_end = start_another;
    job_set_free(set);
    told[0] = '\0';
    set = job_set_new(NULL, &nested, NULL, NULL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    for (int i = 0; i < 5; i++)
        read_one(&"abcde"[4 - i], "running", NULL);
    job_set_reading_end(set, now);
    read_all(NULL, NULL, NULL); /* all end; each end starts a job that ends and goes */
    ck_assert_ptr_nonnull(strstr(told, "+after-e -after-e -e +after-de -after-de -de"));
    ck_assert_ptr_null(job_set_next(set, NULL));
}
END_TEST

static int n_wrong; /* a claim in the callback would leave the set in the middle */

static void walk(void *arg, qblk_job *job)
{
    char id[16];

    (void)arg;
    tell("-", info_of(job).id, "");
    for (qblk_job *next = job_set_next(set, job); next != NULL; next = job_set_next(set, next))
        tell(">", info_of(next).id, "");
    /* The table grows meanwhile, and what is going is not taken into it. */
    for (int i = 0; i < 20 && strcmp(info_of(job).id, "b") == 0; i++) {
        (void)snprintf(id, sizeof(id), "new%d", i);
        n_wrong += job_set_started(set, id, "mirror", now) == NULL;
    }
    for (qblk_job *each = job_set_next(set, NULL); each != NULL; each = job_set_next(set, each))
        n_wrong += each == job && info_of(job).state == QBLK_JOB_GONE;
    n_wrong += job_set_find(set, info_of(job).id) != NULL;
}

START_TEST(a_job_that_is_going_has_its_place_until_it_is_told)
{
    static const struct job_set_ops walking = { .on_gone = walk };

    n_wrong = 0;
    job_set_free(set);
    set = job_set_new(NULL, &walking, NULL, NULL);
    job_set_reading_begin(set, JOB_WANT_ALL);
    for (int i = 0; i < 4; i++)
        read_one(&"a\0b\0c\0d"[2 * i], "running", NULL);
    job_set_reading_end(set, now);
    heard("d", "aborting concluded null");
    expect_told("-d");
    heard("b", "aborting concluded null");
    expect_told("-b c>");
    ck_assert_ptr_null(job_set_find(set, "b"));
    ck_assert_ptr_nonnull(job_set_find(set, "new19"));
    job_set_free(set);
    set = NULL;
    ck_assert_int_eq(n_wrong, 0);
    ck_assert_ptr_nonnull(strstr(told, "-a c> new0> "));
    ck_assert_ptr_nonnull(strstr(told, " -new18 new19> -new19"));
}
END_TEST

/* What is kept for a set's next job has room for most ids, not for all of them. */
START_TEST(ids_of_any_length_come_and_go)
{
    char id[101];

    for (size_t len = 1; len < sizeof(id); len++) {
        char want[sizeof(id) * 4];

        memset(id, 'a', len);
        id[len] = '\0';
        heard(id, "created running");
        heard("b", "created");
        ck_assert_str_eq(info_of(job_set_find(set, id)).id, id);
        ck_assert_str_eq(info_of(job_set_find(set, "b")).id, "b");
        (void)snprintf(want, sizeof(want), "+%s %s:running +b", id, id);
        expect_told(want);
        heard(id, "concluded");
        heard("b", "concluded");
        job_set_reading_begin(set, JOB_WANT_JOBS);
        read_one(id, "concluded", NULL);
        read_one("b", "concluded", NULL);
        job_set_reading_end(set, now);
        heard(id, "null");
        heard("b", "null");
        ck_assert_ptr_null(job_set_find(set, id));
        ck_assert_ptr_null(job_set_find(set, "b"));
        (void)snprintf(want, sizeof(want), "%s:concluded b:concluded %s=completed b=completed -%s -b", id, id,
                       id);
        expect_told(want);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job_set");
    TCase *tcase = tcase_create("set");
    TCase *large = tcase_create("large");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_life_is_told_in_order_and_ends_before_it_is_dismissed);
    tcase_add_test(tcase, each_change_is_one_line_of_log);
    tcase_add_test(tcase, readiness_is_latched_through_standby_and_failure);
    tcase_add_test(tcase, a_job_found_by_a_reading_is_told_once);
    tcase_add_test(tcase, somebody_elses_job_is_read_for_its_type);
    tcase_add_test(tcase, our_jobs_carry_their_operation);
    tcase_add_test(tcase, an_id_used_again_is_another_job);
    tcase_add_test(tcase, a_reading_that_finds_an_ended_job_alive_finds_another);
    tcase_add_test(tcase, a_refused_start_fails_with_the_reason);
    tcase_add_test(tcase, a_start_refused_after_its_events_waits_for_the_reason);
    tcase_add_test(tcase, a_refusal_of_an_id_in_use_ends_nobodys_job);
    tcase_add_test(tcase, a_start_accepted_in_silence_is_looked_after);
    tcase_add_test(tcase, a_reading_older_than_the_events_undoes_nothing);
    tcase_add_test(tcase, concluded_is_believed_from_an_older_reading_too);
    tcase_add_test(tcase, a_reading_brings_no_job_back_that_went_meanwhile);
    tcase_add_test(tcase, a_failed_reading_says_nothing_of_absent_jobs);
    tcase_add_test(tcase, synced_is_told_after_readings_that_were_asked_for);
    tcase_add_test(tcase, query_block_jobs_adds_what_it_alone_knows);
    tcase_add_test(tcase, unknown_statuses_are_kept_and_asked_about_once);
    tcase_add_test(tcase, completed_without_concluded_is_asked_for_at_growing_distances);
    tcase_add_test(tcase, a_change_has_the_time_of_the_event_that_told_it);
    tcase_add_test(tcase, a_dismissal_whose_null_is_lost_is_asked_about);
    tcase_add_test(tcase, outcomes_are_told_apart);
    tcase_add_test(tcase, what_vanishes_unread_ends_by_what_was_heard);
    tcase_add_test(tcase, a_hangup_ends_each_living_job_once_and_says_what_is_known);
    tcase_add_test(tcase, a_stop_on_an_error_is_a_stall_until_it_runs_again);
    tcase_add_test(tcase, a_stall_is_seen_in_a_reading_alone);
    tcase_add_test(tcase, a_stall_is_known_once_its_reason_and_its_place_are);
    tcase_add_test(tcase, want_of_space_is_a_write_whoever_asks);
    tcase_add_test(tcase, a_pause_that_is_read_is_a_user_s);
    tcase_add_test(tcase, a_stop_whose_pause_is_lost_is_read);
    tcase_add_test(tcase, rate_and_estimate_follow_the_progress);
    tcase_add_test(tcase, refusals_name_job_state_and_verb);
    tcase_add_test(tcase, finish_is_refused_while_a_user_holds_the_job);
    tcase_add_test(tcase, info_writes_as_much_as_its_caller_knows);
    tcase_add_test(tcase, memory_that_fails_loses_no_outcome);
    tcase_add_test(tcase, a_set_without_memory_is_none);
    tcase_add_test(tcase, a_table_that_cannot_grow_finds_its_jobs);
    tcase_add_test(tcase, callbacks_may_start_and_end_other_jobs);
    tcase_add_test(tcase, a_job_that_is_going_has_its_place_until_it_is_told);
    tcase_add_test(tcase, ids_of_any_length_come_and_go);
    tcase_set_tags(large, "large");
    tcase_add_checked_fixture(large, setup, teardown);
    tcase_add_test(large, many_jobs_that_wait_cost_no_more_each_than_few);
    tcase_add_test(large, thousands_of_jobs_are_followed);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, large);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The step engine: what it hands out, in which order, whatever happens. No QEMU, no monitor. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/engine.h"

#define JOB "qblk.01234567.copy"
#define SIDE "qblk.01234567.create-file"
#define RETURN "{\"return\": {}}"
#define REFUSAL "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}"

static struct engine engine;
static char path[4096]; /* all that was handed out, in order */

static void setup(void)
{
    engine_init(&engine, JOB, NULL);
    path[0] = '\0';
}

static void teardown(void)
{
    engine_done(&engine);
}

static struct step *add(enum step_kind kind, const char *name, const char *undo)
{
    struct step *step = engine_add(&engine, kind, name);

    mem_fail_pause(true); /* these are the test's own */
    if (kind != STEP_READY && kind != STEP_ENDED && kind != STEP_MARK && kind != STEP_BARRIER)
        step->command = mem_strdup(name);
    step->undo = mem_strdup(undo);
    mem_fail_pause(false);
    return step;
}

static void hear(const char *id, qblk_job_state state, qblk_job_outcome outcome, bool is_ready)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    info.id = id;
    info.state = state;
    info.outcome = outcome;
    info.is_ready = is_ready;
    info.error = outcome == QBLK_OUTCOME_FAILED ? "No space left on device" : NULL;
    engine_hear_job(&engine, &info);
}

static void note_path(const char *text)
{
    size_t len = strlen(path);

    (void)snprintf(path + len, sizeof(path) - len, "%s%s", len > 0 ? " | " : "", text);
}

/* Takes what is handed out until the engine waits or is over; a command that contains bad is
 * refused, every other one accepted. */
static enum act_kind run(const char *bad)
{
    for (;;) {
        struct act act = engine_next(&engine);

        if (act.kind == ACT_WAIT || act.kind == ACT_OVER)
            return act.kind;
        note_path(act.text);
        if (act.kind == ACT_UNLINK)
            engine_unlinked(&engine, 0);
        else
            engine_reply(&engine, act.tag,
                         bad != NULL && strstr(act.text, bad) != NULL ? REFUSAL : RETURN, NULL);
    }
}

/* A copy in small: a node, a file, the job, its end. */
static void plan_copy(void)
{
    struct step *step;

    (void)add(STEP_CALL, "open", "close");
    step = add(STEP_CREATE, "create", NULL);
    step->job = SIDE;
    step->unlink = mem_strdup("file");
    (void)add(STEP_CALL, "node", "del-node");
    (void)add(STEP_START, "mirror", NULL);
    (void)add(STEP_READY, "ready", NULL);
    (void)add(STEP_VERB, "complete", NULL);
    (void)add(STEP_ENDED, "ended", NULL);
    (void)add(STEP_CLEAN, "clean", NULL);
    (void)add(STEP_DISMISS, "dismiss", NULL);
    (void)add(STEP_CLEAN, "close-at-end", NULL);
}

#define DISMISS_SIDE "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"" SIDE "\"}}"
#define DISMISS_MAIN "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"" JOB "\"}}"
#define CANCEL_MAIN "{\"execute\":\"job-cancel\",\"arguments\":{\"id\":\"" JOB "\"}}"

static void to_running_job(void)
{
    plan_copy();
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(SIDE, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, false);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "open | create | " DISMISS_SIDE " | node | mirror");
    path[0] = '\0';
}

START_TEST(a_ready_job_that_is_ending_is_told_nothing_more)
{
    to_running_job();
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    hear(JOB, QBLK_JOB_ABORTING, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "");
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_int_eq(strncmp(path, DISMISS_MAIN, strlen(DISMISS_MAIN)), 0);
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
}
END_TEST

/* A step between READY and the verb: first it is in flight while the job ends, then not yet sent. */
START_TEST(what_an_ended_job_makes_impossible_is_not_the_cause)
{
    struct act act;

    (void)add(STEP_CALL, "open", "close");
    (void)add(STEP_START, "mirror", NULL);
    (void)add(STEP_READY, "ready", NULL);
    if (_i == 1)
        (void)add(STEP_CALL, "first", NULL);
    (void)add(STEP_CALL, "bitmaps", NULL);
    (void)add(STEP_VERB, "complete", NULL);
    (void)add(STEP_ENDED, "ended", NULL);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    act = engine_next(&engine);
    ck_assert_str_eq(act.text, _i == 1 ? "first" : "bitmaps");
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_NONE, true);
    engine_reply(&engine, act.tag, _i == 1 ? RETURN : REFUSAL, NULL);
    path[0] = '\0';
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "");
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_int_eq(strncmp(path, DISMISS_MAIN, strlen(DISMISS_MAIN)), 0);
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
}
END_TEST

START_TEST(steps_go_forward_in_order)
{
    to_running_job();
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "complete");
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "complete | clean | dismiss | close-at-end");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
}
END_TEST

START_TEST(a_failed_step_undoes_the_finished_ones_in_reverse)
{
    plan_copy();
    ck_assert_int_eq(run("node"), ACT_WAIT);
    hear(SIDE, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, false);
    ck_assert_int_eq(run("node"), ACT_OVER);
    ck_assert_str_eq(path, "open | create | " DISMISS_SIDE " | node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_QEMU);
    ck_assert_str_eq(engine.error.text, "node: no");
}
END_TEST

START_TEST(a_failed_creation_is_dismissed_and_its_file_removed)
{
    plan_copy();
    (void)run(NULL);
    hear(SIDE, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, false);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "open | create | " DISMISS_SIDE " | file | close");
    ck_assert_ptr_nonnull(strstr(engine.error.text, "No space left on device"));
}
END_TEST

START_TEST(a_failed_job_is_dismissed_before_its_nodes_go)
{
    to_running_job();
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, false);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, DISMISS_MAIN " | del-node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_JOB_FAILED);
    ck_assert_str_eq(engine.error.job, JOB);
}
END_TEST

START_TEST(a_job_that_goes_before_the_reply_to_its_dismiss_skips_no_undo)
{
    struct act act;

    to_running_job();
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, false);
    act = engine_next(&engine);
    ck_assert_str_eq(act.text, DISMISS_MAIN);
    hear(JOB, QBLK_JOB_GONE, QBLK_OUTCOME_FAILED, false);
    ck_assert_int_eq(engine_next(&engine).kind, ACT_WAIT);
    engine_reply(&engine, act.tag, RETURN, NULL);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "del-node | file | close");
}
END_TEST

START_TEST(a_cancel_ends_the_job_first_and_then_undoes)
{
    to_running_job();
    engine_cancel(&engine);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, CANCEL_MAIN);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, false);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, CANCEL_MAIN " | " DISMISS_MAIN " | del-node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
}
END_TEST

START_TEST(a_cancel_that_loses_the_race_reports_what_really_happened)
{
    to_running_job();
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    engine_cancel(&engine);
    ck_assert_int_eq(run("job-cancel"), ACT_WAIT);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "complete | " CANCEL_MAIN " | clean | dismiss | close-at-end");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
}
END_TEST

START_TEST(a_cancel_does_not_hide_a_failure)
{
    to_running_job();
    engine_cancel(&engine);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, false);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_int_eq(engine.error.code, QBLK_E_JOB_FAILED);
}
END_TEST

START_TEST(a_cancel_before_the_job_undoes_what_was_made)
{
    plan_copy();
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    engine_cancel(&engine);
    hear(SIDE, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, false);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "open | create | " DISMISS_SIDE " | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
}
END_TEST

START_TEST(a_refused_verb_ends_the_living_job_before_undoing)
{
    to_running_job();
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run("complete"), ACT_WAIT);
    ck_assert_str_eq(path, "complete | " CANCEL_MAIN);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "complete | " CANCEL_MAIN " | " DISMISS_MAIN
                     " | del-node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_QEMU);
}
END_TEST

START_TEST(a_job_that_ended_before_the_verb_is_not_told_it)
{
    to_running_job();
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "clean | dismiss | close-at-end");
}
END_TEST

START_TEST(a_verb_refused_by_a_job_that_is_ending_leaves_it_to_its_outcome)
{
    struct act act;

    to_running_job();
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    act = engine_next(&engine);
    note_path(act.text);
    hear(JOB, QBLK_JOB_ABORTING, QBLK_OUTCOME_NONE, true);
    engine_reply(&engine, act.tag, REFUSAL, NULL);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "complete | " DISMISS_MAIN " | del-node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
}
END_TEST

START_TEST(a_job_that_is_gone_is_not_dismissed)
{
    to_running_job();
    hear(JOB, QBLK_JOB_GONE, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "clean | close-at-end");
}
END_TEST

START_TEST(after_the_end_a_failure_is_a_note_and_nothing_is_undone)
{
    to_running_job();
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run("clean"), ACT_OVER);
    ck_assert_str_eq(path, "clean | dismiss | close-at-end");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
    ck_assert_uint_eq(engine.n_notes, 1);
    ck_assert_str_eq(engine.notes[0], "clean: no");
}
END_TEST

START_TEST(what_cannot_be_undone_is_told_after_the_first_cause)
{
    to_running_job();
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, false);
    ck_assert_int_eq(run("del-node"), ACT_OVER);
    ck_assert_str_eq(path, DISMISS_MAIN " | del-node | file | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_JOB_FAILED);
    ck_assert_uint_eq(engine.n_notes, 1);
    ck_assert_str_eq(engine.notes[0], "could not undo \"node\": no");
}
END_TEST

/* One of its nodes cannot be removed: somebody uses it, and with it the file. */
START_TEST(a_file_that_somebody_uses_is_not_removed)
{
    static const char gone[] = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Failed to find node\"}}";
    struct step *step;
    struct act act;

    (void)add(STEP_CALL, "open", "close");
    step = add(STEP_CREATE, "create", NULL);
    step->job = SIDE;
    step->unlink = mem_strdup("file");
    (void)add(STEP_CALL, "node", "blockdev-del");
    (void)add(STEP_CALL, "more", NULL);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    hear(SIDE, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, false);
    for (act = engine_next(&engine); act.kind == ACT_SEND && strcmp(act.text, "blockdev-del") != 0;
         act = engine_next(&engine))
        engine_reply(&engine, act.tag, strcmp(act.text, "more") == 0 ? REFUSAL : RETURN, NULL);
    ck_assert_int_eq(act.kind, ACT_SEND);
    path[0] = '\0';
    engine_reply(&engine, act.tag, _i == 0 ? REFUSAL : gone, NULL);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, _i == 0 ? "close" : "file | close");
    ck_assert_int_eq(engine.keeps_files, _i == 0);
    ck_assert_uint_gt(engine.n_notes, 0);
    ck_assert_ptr_nonnull(strstr(engine.notes[engine.n_notes - 1],
                                 _i == 0 ? "file file is left: somebody uses it" : "could not undo"));
}
END_TEST

static int in_the_way(void *arg, struct engine *e, const char *reply, qblk_error *error)
{
    (void)arg;
    (void)e;
    (void)reply;
    return err_set(error, QBLK_E_TARGET_EXISTS, "there is one");
}

START_TEST(a_probe_that_fails_as_it_must_leaves_nothing_to_undo)
{
    add(STEP_ABSENT, "probe", "unprobe")->check = in_the_way;
    (void)add(STEP_CALL, "bad", NULL);
    ck_assert_int_eq(run("b"), ACT_OVER); /* both refused */
    ck_assert_str_eq(path, "probe | bad");
}
END_TEST

START_TEST(a_probe_that_succeeds_refuses_and_is_taken_back)
{
    add(STEP_ABSENT, "probe", "unprobe")->check = in_the_way;
    (void)add(STEP_CALL, "next", NULL);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "probe | unprobe");
    ck_assert_int_eq(engine.error.code, QBLK_E_TARGET_EXISTS);
}
END_TEST

START_TEST(a_retired_step_is_not_undone)
{
    (void)add(STEP_CALL, "look", "unlook");
    add(STEP_CALL, "unlook-now", NULL)->retires = 1;
    (void)add(STEP_CALL, "bad", NULL);
    ck_assert_int_eq(run("bad"), ACT_OVER);
    ck_assert_str_eq(path, "look | unlook-now | bad");
}
END_TEST

static int nothing_left(void *arg, struct engine *e, const char *reply, qblk_error *error)
{
    (void)arg;
    (void)reply;
    (void)error;
    engine_unnote(e, "n1");
    return 0;
}

START_TEST(a_survey_is_sent_only_in_doubt_and_takes_notes_back)
{
    add(STEP_CLEAN, "del", NULL)->node = mem_strdup("n1");
    add(STEP_SURVEY, "survey", NULL)->check = nothing_left;
    ck_assert_int_eq(run("del"), ACT_OVER);
    ck_assert_str_eq(path, "del | survey");
    ck_assert_uint_eq(engine.n_notes, 0);
    teardown();
    setup();
    add(STEP_CLEAN, "del", NULL)->node = mem_strdup("n1");
    add(STEP_SURVEY, "survey", NULL)->check = nothing_left;
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "del");
}
END_TEST

START_TEST(a_plan_without_memory_is_refused_whole)
{
    for (unsigned long n = 1; n < 12; n++) {
        qblk_error error;

        teardown();
        setup();
        mem_fail_after(n);
        for (int i = 0; i < 12; i++)
            (void)engine_add(&engine, STEP_CALL, "step");
        mem_fail_after(0);
        ck_assert_int_lt(engine_ready(&engine, &error), 0);
        ck_assert_int_eq(error.code, QBLK_E_MEMORY);
    }
}
END_TEST

/* LSan sees it if they are not given back. */
START_TEST(what_steps_hold_that_found_no_place_is_given_back)
{
    qblk_error error;

    mem_fail_after(1);
    for (int i = 0; i < 3; i++)
        (void)add(STEP_CALL, "open", "close");
    mem_fail_after(0);
    ck_assert_int_lt(engine_ready(&engine, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_MEMORY);
}
END_TEST

/* ---- without a job --------------------------------------------------------------------------- */

static int find_fault(void *arg, struct engine *checked, const char *reply, qblk_error *error)
{
    (void)arg;
    (void)checked;
    (void)reply;
    return err_set(error, QBLK_E_TARGET_INVALID, "a fault");
}

static void plan_point(void)
{
    (void)add(STEP_CALL, "open", "close");
    (void)add(STEP_POINT, "point", NULL);
    add(STEP_CHECK, "see", NULL)->check = find_fault;
    (void)add(STEP_CLEAN, "close-at-end", NULL);
}

START_TEST(past_the_point_nothing_is_undone)
{
    plan_point();
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "open | point | see | close-at-end");
    ck_assert_int_eq(engine.error.code, QBLK_E_TARGET_INVALID);
    ck_assert(engine.is_past);
}
END_TEST

START_TEST(a_point_that_is_refused_undoes_all)
{
    plan_point();
    ck_assert_int_eq(run("point"), ACT_OVER);
    ck_assert_str_eq(path, "open | point | close");
    ck_assert_str_eq(engine.error.text, "point: no");
    ck_assert(!engine.is_past);
}
END_TEST

START_TEST(a_cancel_counts_until_the_point_is_given_out)
{
    struct act act;

    plan_point();
    (void)engine_next(&engine);
    engine_cancel(&engine);
    engine_reply(&engine, TAG_STEP, RETURN, NULL);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "close");
    ck_assert_int_eq(engine.error.kind, QBLK_KIND_CANCELLED);
    teardown();
    setup();
    plan_point();
    (void)engine_next(&engine);
    engine_reply(&engine, TAG_STEP, RETURN, NULL);
    act = engine_next(&engine);
    ck_assert_str_eq(act.text, "point");
    engine_cancel(&engine);
    engine_reply(&engine, TAG_STEP, RETURN, NULL);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "see | close-at-end");
}
END_TEST

/* ---- the guest agent -------------------------------------------------------------------------- */

/* A snapshot in small: an overlay, the guest frozen, all disks at once, the guest thawed. */
static void plan_snapshot(bool is_optional)
{
    struct step *step;

    (void)add(STEP_CALL, "overlay", "del-overlay");
    step = add(STEP_FREEZE, "freeze", "undo-freeze");
    step->is_optional = is_optional;
    (void)add(STEP_CALL, "transaction", NULL);
    step = add(STEP_THAW, "thaw", NULL);
    step->retires = 2;
    (void)add(STEP_CLEAN, "close", NULL);
}

/* Like run(), with an agent: what contains bad fails there with that code and leaves the guest frozen, or
 * in doubt, if doubt is set. */
static enum act_kind run_agent(const char *bad, const char *bad_agent, qblk_error_code code, bool doubt)
{
    bool is_frozen = false;

    for (;;) {
        struct act act = engine_next(&engine);
        bool is_bad = bad_agent != NULL && act.text != NULL && strcmp(act.text, bad_agent) == 0;
        qblk_error error;

        if (act.kind != ACT_AGENT && act.kind != ACT_SEND)
            return act.kind;
        note_path(act.text);
        if (act.kind == ACT_SEND) {
            engine_reply(&engine, act.tag,
                         bad != NULL && strstr(act.text, bad) != NULL ? REFUSAL : RETURN, NULL);
            continue;
        }
        (void)err_set(&error, code, "%s failed", act.text);
        is_frozen = is_bad ? doubt : strcmp(act.text, "freeze") == 0;
        engine_agent(&engine, is_bad ? &error : NULL, is_frozen);
    }
}

START_TEST(a_guest_is_frozen_and_thawed_around_what_counts)
{
    plan_snapshot(false);
    ck_assert_int_eq(run_agent(NULL, NULL, QBLK_E_AGENT, false), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | transaction | thaw | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
    ck_assert_uint_eq(engine.n_notes, 0);
}
END_TEST

START_TEST(a_guest_that_must_be_frozen_and_is_not_ends_it_with_nothing_changed)
{
    plan_snapshot(false);
    ck_assert_int_eq(run_agent(NULL, "freeze", QBLK_E_NO_AGENT, false), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | del-overlay");
    ck_assert_int_eq(engine.error.code, QBLK_E_NO_AGENT);
    ck_assert_int_eq(engine.error.kind, QBLK_KIND_FAILED); /* the monitor is not lost */
}
END_TEST

START_TEST(a_guest_in_doubt_is_thawed_once_more)
{
    plan_snapshot(false);
    ck_assert_int_eq(run_agent(NULL, "freeze", QBLK_E_FROZEN, true), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | undo-freeze | del-overlay");
    ck_assert_int_eq(engine.error.code, QBLK_E_FROZEN);
}
END_TEST

START_TEST(where_freezing_is_optional_it_goes_on_without)
{
    plan_snapshot(true);
    ck_assert_int_eq(run_agent(NULL, "freeze", QBLK_E_AGENT, _i == 1), ACT_OVER);
    ck_assert_str_eq(path, _i == 1 ? "overlay | freeze | transaction | thaw | close"
                                   : "overlay | freeze | transaction | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
    ck_assert_uint_eq(engine.n_notes, 1);
    ck_assert_ptr_nonnull(strstr(engine.notes[0], "not quiesced: freeze failed"));
}
END_TEST

START_TEST(what_fails_while_the_guest_is_frozen_is_undone_after_a_thaw)
{
    plan_snapshot(_i == 1);
    ck_assert_int_eq(run_agent("transaction", NULL, QBLK_E_AGENT, false), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | transaction | undo-freeze | del-overlay");
    ck_assert_int_eq(engine.error.code, QBLK_E_QEMU);
}
END_TEST

START_TEST(a_failed_thaw_is_a_note_and_undoes_nothing)
{
    plan_snapshot(false);
    ck_assert_int_eq(run_agent(NULL, "thaw", QBLK_E_FROZEN, true), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | transaction | thaw | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
    ck_assert_uint_eq(engine.n_notes, 1);
    ck_assert_str_eq(engine.notes[0], "thaw failed");
}
END_TEST

START_TEST(a_thaw_that_fails_while_undoing_is_a_note)
{
    plan_snapshot(false);
    ck_assert_int_eq(run_agent("transaction", "undo-freeze", QBLK_E_FROZEN, true), ACT_OVER);
    ck_assert_str_eq(path, "overlay | freeze | transaction | undo-freeze | del-overlay");
    ck_assert_int_eq(engine.error.code, QBLK_E_QEMU);
    ck_assert_uint_eq(engine.n_notes, 1);
}
END_TEST

/* Cancelled while the n-th command is under way: the guest comes out thawed. */
START_TEST(a_cancel_at_any_time_leaves_the_guest_thawed)
{
    int depth = 0, n = 0;
    bool is_frozen = false;

    plan_snapshot(false);
    for (;;) {
        struct act act = engine_next(&engine);

        if (act.kind == ACT_OVER)
            break;
        ck_assert(act.kind == ACT_SEND || act.kind == ACT_AGENT);
        if (n++ == _i)
            engine_cancel(&engine);
        depth += strcmp(act.text, "overlay") == 0;
        depth -= strcmp(act.text, "del-overlay") == 0;
        if (act.kind == ACT_AGENT) {
            is_frozen = strcmp(act.text, "freeze") == 0;
            engine_agent(&engine, NULL, is_frozen);
        } else {
            ck_assert(strcmp(act.text, "transaction") != 0 || is_frozen);
            engine_reply(&engine, act.tag, RETURN, NULL);
        }
    }
    ck_assert(!is_frozen);
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
    ck_assert_int_eq(depth, 0);
}
END_TEST

START_TEST(a_guest_frozen_for_too_long_ends_it_with_that_reason)
{
    qblk_error why;

    (void)err_set(&why, QBLK_E_TIMEOUT, "too long");
    (void)add(STEP_START, "mirror", NULL);
    (void)add(STEP_READY, "ready", NULL);
    (void)add(STEP_FREEZE, "freeze", "undo-freeze");
    (void)add(STEP_VERB, "finish", NULL);
    (void)add(STEP_ENDED, "ended", NULL);
    ck_assert_int_eq(run_agent(NULL, NULL, QBLK_E_AGENT, false), ACT_WAIT);
    hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
    ck_assert_int_eq(run_agent(NULL, NULL, QBLK_E_AGENT, false), ACT_WAIT);
    engine_give_up(&engine, &why);
    engine_cancel(&engine); /* too late to be the reason */
    ck_assert_int_eq(run_agent(NULL, NULL, QBLK_E_AGENT, false), ACT_WAIT);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run_agent(NULL, NULL, QBLK_E_AGENT, false), ACT_OVER);
    ck_assert_str_eq(path, "mirror | freeze | finish | " CANCEL_MAIN " | undo-freeze | "
                           DISMISS_MAIN);
    ck_assert_int_eq(engine.error.code, QBLK_E_TIMEOUT);
}
END_TEST

START_TEST(a_guest_is_mended_first_even_if_all_is_to_be_undone)
{
    (void)add(STEP_MEND, "mend", NULL);
    (void)add(STEP_CALL, "more", NULL);
    engine_cancel(&engine);
    ck_assert_int_eq(run_agent(NULL, _i == 1 ? "mend" : NULL, QBLK_E_NO_AGENT, false), ACT_OVER);
    ck_assert_str_eq(path, "mend");
    ck_assert_int_eq(engine.error.code, QBLK_E_CANCELLED);
    ck_assert_int_eq(engine.flaw.code, _i == 1 ? QBLK_E_FROZEN : QBLK_E_NONE);
}
END_TEST

/* A journal that stays is a failure of its own, or, beside a guest that is frozen, a note. */
START_TEST(what_is_vital_to_clean_is_told_in_any_case)
{
    if (_i == 1)
        (void)add(STEP_MEND, "mend", NULL);
    (void)add(STEP_CALL, "more", NULL);
    add(STEP_CLEAN, "close", NULL)->is_vital = true;
    ck_assert_int_eq(run_agent("close", "mend", QBLK_E_NO_AGENT, false), ACT_OVER);
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
    ck_assert_int_eq(engine.flaw.code, _i == 1 ? QBLK_E_FROZEN : QBLK_E_QEMU);
    ck_assert_uint_eq(engine.n_notes, _i == 1 ? 1 : 0);
    ck_assert_ptr_nonnull(strstr(_i == 1 ? engine.notes[0] : engine.flaw.text, ": no"));
}
END_TEST

static void add_agent(TCase *tc)
{
    tcase_add_test(tc, a_guest_is_frozen_and_thawed_around_what_counts);
    tcase_add_test(tc, a_guest_that_must_be_frozen_and_is_not_ends_it_with_nothing_changed);
    tcase_add_test(tc, a_guest_in_doubt_is_thawed_once_more);
    tcase_add_loop_test(tc, where_freezing_is_optional_it_goes_on_without, 0, 2);
    tcase_add_loop_test(tc, what_fails_while_the_guest_is_frozen_is_undone_after_a_thaw, 0, 2);
    tcase_add_test(tc, a_failed_thaw_is_a_note_and_undoes_nothing);
    tcase_add_test(tc, a_thaw_that_fails_while_undoing_is_a_note);
    tcase_add_loop_test(tc, a_cancel_at_any_time_leaves_the_guest_thawed, 0, 4);
    tcase_add_test(tc, a_guest_frozen_for_too_long_ends_it_with_that_reason);
    tcase_add_loop_test(tc, a_guest_is_mended_first_even_if_all_is_to_be_undone, 0, 2);
    tcase_add_loop_test(tc, what_is_vital_to_clean_is_told_in_any_case, 0, 2);
}

/* ---- barriers -------------------------------------------------------------------------------- */

/* A copy that waits for others: before its target is made, and with its job ready. */
static void plan_held(void)
{
    (void)add(STEP_CALL, "open", "close");
    add(STEP_BARRIER, "others open", NULL)->barrier = 1;
    (void)add(STEP_CALL, "node", "del-node");
    (void)add(STEP_START, "mirror", NULL);
    (void)add(STEP_READY, "ready", NULL);
    add(STEP_BARRIER, "others ready", NULL)->barrier = 2;
    (void)add(STEP_VERB, "complete", NULL);
    (void)add(STEP_ENDED, "ended", NULL);
    add(STEP_BARRIER, "others done", NULL)->barrier = 3;
    (void)add(STEP_CLEAN, "close-at-end", NULL);
}

static void to_barrier(int number)
{
    plan_held();
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    if (number > 1) {
        engine_pass(&engine, 1);
        ck_assert_int_eq(run(NULL), ACT_WAIT);
        hear(JOB, QBLK_JOB_READY, QBLK_OUTCOME_NONE, true);
        ck_assert_int_eq(run(NULL), ACT_WAIT);
    }
    ck_assert_int_eq(engine_barrier(&engine), number);
    path[0] = '\0';
}

START_TEST(a_barrier_holds_until_it_is_opened)
{
    to_barrier(2);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "");
    engine_pass(&engine, 2);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, "complete");
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_COMPLETED, true);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_int_eq(engine_barrier(&engine), 3);
    engine_cancel(&engine); /* too late: it has ended well */
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    engine_pass(&engine, 3);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "complete | close-at-end");
    ck_assert_int_eq(engine.error.code, QBLK_E_NONE);
}
END_TEST

START_TEST(who_is_given_up_at_a_barrier_undoes_and_names_the_cause)
{
    qblk_error cause;

    (void)err_set(&cause, QBLK_E_CANCELLED, "given up together with disk vd1");
    to_barrier(1);
    engine_give_up(&engine, &cause);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, "close");
    ck_assert_str_eq(engine.error.text, cause.text);
    teardown();
    setup();
    to_barrier(2);
    engine_give_up(&engine, &cause);
    ck_assert_int_eq(run(NULL), ACT_WAIT);
    ck_assert_str_eq(path, CANCEL_MAIN);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_CANCELLED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, CANCEL_MAIN " | " DISMISS_MAIN " | del-node | close");
    ck_assert_str_eq(engine.error.text, cause.text);
}
END_TEST

START_TEST(a_job_that_fails_at_a_barrier_is_undone)
{
    to_barrier(2);
    hear(JOB, QBLK_JOB_CONCLUDED, QBLK_OUTCOME_FAILED, true);
    ck_assert_int_eq(run(NULL), ACT_OVER);
    ck_assert_str_eq(path, DISMISS_MAIN " | del-node | close");
    ck_assert_int_eq(engine.error.code, QBLK_E_JOB_FAILED);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        steps_go_forward_in_order,
        a_failed_step_undoes_the_finished_ones_in_reverse,
        a_failed_creation_is_dismissed_and_its_file_removed,
        a_failed_job_is_dismissed_before_its_nodes_go,
        a_job_that_goes_before_the_reply_to_its_dismiss_skips_no_undo,
        a_cancel_ends_the_job_first_and_then_undoes,
        a_cancel_that_loses_the_race_reports_what_really_happened,
        a_cancel_does_not_hide_a_failure,
        a_cancel_before_the_job_undoes_what_was_made,
        a_refused_verb_ends_the_living_job_before_undoing,
        a_job_that_ended_before_the_verb_is_not_told_it,
        a_verb_refused_by_a_job_that_is_ending_leaves_it_to_its_outcome,
        a_job_that_is_gone_is_not_dismissed,
        after_the_end_a_failure_is_a_note_and_nothing_is_undone,
        what_cannot_be_undone_is_told_after_the_first_cause,
        a_probe_that_fails_as_it_must_leaves_nothing_to_undo,
        a_probe_that_succeeds_refuses_and_is_taken_back,
        a_retired_step_is_not_undone,
        a_survey_is_sent_only_in_doubt_and_takes_notes_back,
        a_plan_without_memory_is_refused_whole,
        what_steps_hold_that_found_no_place_is_given_back,
    };
    Suite *suite = suite_create("engine");
    TCase *tcase = tcase_create("engine");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_test(tcase, past_the_point_nothing_is_undone);
    tcase_add_test(tcase, a_point_that_is_refused_undoes_all);
    tcase_add_test(tcase, a_cancel_counts_until_the_point_is_given_out);
    add_agent(tcase);
    tcase_add_test(tcase, a_barrier_holds_until_it_is_opened);
    tcase_add_test(tcase, who_is_given_up_at_a_barrier_undoes_and_names_the_cause);
    tcase_add_test(tcase, a_job_that_fails_at_a_barrier_is_undone);
    tcase_add_test(tcase, a_ready_job_that_is_ending_is_told_nothing_more);
    tcase_add_loop_test(tcase, what_an_ended_job_makes_impossible_is_not_the_cause, 0, 2);
    tcase_add_loop_test(tcase, a_file_that_somebody_uses_is_not_removed, 0, 2);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

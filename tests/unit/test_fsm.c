/* The tables of job/fsm.c, walked from end to end. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/fsm.h"

#define TRANSITIONS "tests/data/traces/transitions.tsv"

static struct fsm_step next(unsigned state, unsigned event)
{
    return fsm_next((enum fsm_state)state, (enum fsm_event)event);
}

static bool is_over(unsigned state)
{
    return fsm_is_over((enum fsm_state)state);
}

START_TEST(sizes_match_the_lists)
{
    ck_assert_int_eq(FSM_LOST + 1, FSM_STATES);
    ck_assert_int_eq(EV_HANGUP + 1, FSM_EVENTS);
    ck_assert_int_eq(ACT_REPLACE + 1, FSM_ACTIONS);
    ck_assert_int_eq(QBLK_VERB_CHANGE + 1, FSM_VERBS);
}
END_TEST

START_TEST(every_pair_has_an_answer)
{
    for (unsigned s = 0; s < FSM_STATES; s++) {
        for (unsigned e = 0; e < FSM_EVENTS; e++) {
            struct fsm_step step = next(s, e);

            ck_assert_uint_lt((unsigned)step.to, FSM_STATES);
            ck_assert_uint_lt((unsigned)step.act, FSM_ACTIONS);
            if (!step.fits) {
                ck_assert_uint_eq((unsigned)step.to, s);
                ck_assert_int_eq(step.act, ACT_ASK);
            }
        }
    }
}
END_TEST

START_TEST(every_state_can_be_reached)
{
    bool reached[FSM_STATES] = { [FSM_STARTING] = true };

    for (int pass = 0; pass < FSM_STATES; pass++)
        for (unsigned s = 0; s < FSM_STATES; s++)
            for (unsigned e = 0; reached[s] && e < FSM_EVENTS; e++)
                reached[next(s, e).to] = true;
    for (unsigned s = 0; s < FSM_STATES; s++)
        ck_assert_msg(reached[s], "%s", fsm_state_name((enum fsm_state)s));
}
END_TEST

START_TEST(hangup_ends_every_live_state)
{
    for (unsigned s = 0; s < FSM_STATES; s++) {
        struct fsm_step step = next(s, EV_HANGUP);

        ck_assert(step.fits);
        ck_assert(is_over(step.to));
        ck_assert_int_eq(step.act, is_over(s) ? ACT_NONE : ACT_LOST);
    }
}
END_TEST

/* Whatever leads from a state that is not over to one that is settles the outcome, and nothing
 * leads back: so on_end runs once. */
START_TEST(the_end_is_entered_once)
{
    for (unsigned s = 0; s < FSM_STATES; s++) {
        for (unsigned e = 0; e < FSM_EVENTS; e++) {
            struct fsm_step step = next(s, e);
            bool settles = step.act == ACT_END || step.act == ACT_LOST
                           || step.act == ACT_GONE || step.act == ACT_REPLACE;

            if (is_over(s)) {
                ck_assert(is_over(step.to));
                ck_assert_int_ne(step.act, ACT_END);
                ck_assert_int_ne(step.act, ACT_LOST);
            } else {
                ck_assert_msg(settles == is_over(step.to), "%s x %s",
                              fsm_state_name((enum fsm_state)s),
                              fsm_event_name((enum fsm_event)e));
            }
            if (step.act == ACT_GONE || step.act == ACT_REPLACE)
                ck_assert_int_eq(step.to, FSM_GONE);
            if (s == FSM_GONE || s == FSM_LOST)
                ck_assert(step.act == ACT_NONE && (unsigned)step.to == s);
        }
    }
}
END_TEST

/* A job that is believed alive or being collected always has a way out by reading alone. */
START_TEST(a_reading_settles_every_live_state)
{
    for (unsigned s = 0; s < FSM_STATES; s++) {
        if (is_over(s))
            continue;
        ck_assert_int_eq(next(s, EV_SEEN_CONCLUDED).act, ACT_END);
        ck_assert_int_eq(next(s, EV_ABSENT).act, ACT_GONE);
    }
}
END_TEST

/* Else a reading that finds what the last one found would ask for the next, for ever. */
START_TEST(no_reading_asks_for_another)
{
    for (unsigned s = 0; s < FSM_STATES; s++)
        for (unsigned e = EV_SEEN_CREATED; e <= EV_ABSENT_EARLY; e++)
            ck_assert_int_ne(next(s, e).act, ACT_ASK);
}
END_TEST

START_TEST(a_status_is_only_over_when_concluded_or_null)
{
    for (unsigned s = 0; s < FSM_STATES; s++)
        for (unsigned e = EV_CREATED; e <= EV_ABORTING; e++)
            ck_assert_msg(is_over(s) || !is_over(next(s, e).to), "%s x %s",
                          fsm_state_name((enum fsm_state)s), fsm_event_name((enum fsm_event)e));
    for (unsigned s = 0; s < FSM_STATES; s++)
        for (unsigned e = EV_B_READY; e <= EV_B_ERROR; e++)
            ck_assert(is_over(s) || !is_over(next(s, e).to));
}
END_TEST

START_TEST(steps_of_qemu_fit_and_are_followed)
{
    for (unsigned s = 0; s < FSM_STATES; s++) {
        for (unsigned e = EV_CREATED; e <= EV_NIL; e++) {
            unsigned to = e == EV_NIL ? (unsigned)FSM_GONE : e - EV_CREATED + FSM_CREATED;
            struct fsm_step step = next(s, e);

            if (!fsm_qemu_steps((enum fsm_state)s, (enum fsm_state)to))
                continue;
            ck_assert_msg(step.fits && step.act != ACT_ASK && (unsigned)step.to == to, "%s x %s",
                          fsm_state_name((enum fsm_state)s), fsm_event_name((enum fsm_event)e));
        }
    }
}
END_TEST

static enum fsm_state state_of(const char *status)
{
    for (unsigned s = FSM_CREATED; s <= FSM_CONCLUDED; s++)
        if (strcmp(fsm_state_name((enum fsm_state)s), status) == 0)
            return (enum fsm_state)s;
    ck_assert_str_eq(status, "null");
    return FSM_GONE;
}

START_TEST(transitions_seen_in_real_qemus_are_known_and_need_no_reading)
{
    FILE *file = fopen(TRANSITIONS, "r");
    char type[32], from[32], to[32];
    int n[4], rows = 0;

    ck_assert_ptr_nonnull(file);
    while (fscanf(file, "%31s %31s %31s %d %d %d %d", type, from, to, &n[0], &n[1], &n[2], &n[3])
           == 7) {
        struct fsm_step step;

        rows++;
        if (strcmp(from, "-") == 0)
            continue; /* the first that was heard of a job */
        ck_assert_msg(fsm_qemu_steps(state_of(from), state_of(to)), "%s > %s", from, to);
        step = fsm_next(state_of(from), fsm_heard(to));
        ck_assert(step.fits);
        ck_assert_int_ne(step.act, ACT_ASK);
        ck_assert_int_eq(step.to, state_of(to));
    }
    ck_assert_int_eq(rows, 101);
    (void)fclose(file);
}
END_TEST

START_TEST(statuses_are_told_from_words)
{
    ck_assert_int_eq(fsm_heard("running"), EV_RUNNING);
    ck_assert_int_eq(fsm_seen("running"), EV_SEEN_RUNNING);
    ck_assert_int_eq(fsm_heard("null"), EV_NIL);
    ck_assert_int_eq(fsm_seen("null"), EV_ABSENT);
    ck_assert_int_eq(fsm_heard("Running"), EV_UNKNOWN);
    ck_assert_int_eq(fsm_heard(""), EV_UNKNOWN);
    ck_assert_int_eq(fsm_seen("undefined"), EV_SEEN_UNKNOWN);
    for (unsigned e = EV_CREATED; e <= EV_NIL; e++)
        ck_assert_uint_eq((unsigned)fsm_heard(fsm_event_name((enum fsm_event)e)), e);
}
END_TEST

START_TEST(verbs_are_allowed_where_qemu_takes_them)
{
    static const char *const want[FSM_VERBS] = {
        /*                     S C R P Y S W P A C E V G L */
        [QBLK_VERB_PAUSE] = "0 1 1 1 1 1 0 0 0 0 0 0 0 0",
        [QBLK_VERB_RESUME] = "0 1 1 1 1 1 0 0 0 0 0 0 0 0",
        [QBLK_VERB_SPEED] = "0 1 1 1 1 1 0 0 0 0 0 0 0 0",
        [QBLK_VERB_CANCEL] = "0 1 1 1 1 1 1 1 0 0 0 0 0 0",
        [QBLK_VERB_FINISH] = "0 0 0 0 1 1 0 0 0 0 0 0 0 0",
        [QBLK_VERB_COMPLETE] = "0 0 0 0 1 1 0 0 0 0 0 0 0 0",
        [QBLK_VERB_FINALIZE] = "0 0 0 0 0 0 0 1 0 0 0 0 0 0",
        [QBLK_VERB_DISMISS] = "0 0 0 0 0 0 0 0 0 0 1 0 0 0",
        [QBLK_VERB_CHANGE] = "0 1 1 1 1 1 0 0 0 0 0 0 0 0",
    };

    for (unsigned v = 0; v < FSM_VERBS; v++) {
        for (unsigned s = 0; s < FSM_STATES; s++)
            ck_assert_msg(fsm_allows((enum fsm_state)s, (qblk_job_verb)v)
                              == (want[v][2 * s] == '1'),
                          "%s in %s", qblk_job_verb_name((qblk_job_verb)v),
                          fsm_state_name((enum fsm_state)s));
        ck_assert(!fsm_allows(FSM_RUNNING, (qblk_job_verb)FSM_VERBS));
    }
    ck_assert(qblk_job_allows(QBLK_JOB_CONCLUDED, QBLK_VERB_DISMISS));
    ck_assert(!qblk_job_allows(QBLK_JOB_RUNNING, QBLK_VERB_DISMISS));
    ck_assert(!qblk_job_allows((qblk_job_state)99, QBLK_VERB_DISMISS));
}
END_TEST

START_TEST(names_are_words_for_every_value_and_others)
{
    for (unsigned s = 0; s <= QBLK_JOB_LOST; s++)
        ck_assert_str_ne(qblk_job_state_name((qblk_job_state)s), "unknown");
    ck_assert_str_eq(qblk_job_state_name(QBLK_JOB_CONCLUDED), "concluded");
    ck_assert_str_eq(qblk_job_state_name(QBLK_JOB_GONE), "gone");
    ck_assert_str_eq(qblk_job_state_name((qblk_job_state)77), "unknown");
    ck_assert_str_eq(qblk_job_outcome_name(QBLK_OUTCOME_LOST), "lost");
    ck_assert_str_eq(qblk_job_outcome_name((qblk_job_outcome)77), "unknown");
    ck_assert_str_eq(qblk_job_verb_name(QBLK_VERB_FINISH), "finish");
    ck_assert_str_eq(qblk_job_verb_name((qblk_job_verb)77), "unknown");
}
END_TEST

START_TEST(reachability_in_qemus_table)
{
    ck_assert(fsm_qemu_reaches(FSM_RUNNING, FSM_CONCLUDED));
    ck_assert(fsm_qemu_reaches(FSM_PAUSED, FSM_READY));
    ck_assert(!fsm_qemu_reaches(FSM_READY, FSM_RUNNING));
    ck_assert(!fsm_qemu_reaches(FSM_ABORTING, FSM_PENDING));
    ck_assert(fsm_qemu_reaches(FSM_READY, FSM_READY));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fsm");
    TCase *tcase = tcase_create("tables");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, sizes_match_the_lists);
    tcase_add_test(tcase, every_pair_has_an_answer);
    tcase_add_test(tcase, every_state_can_be_reached);
    tcase_add_test(tcase, hangup_ends_every_live_state);
    tcase_add_test(tcase, the_end_is_entered_once);
    tcase_add_test(tcase, a_reading_settles_every_live_state);
    tcase_add_test(tcase, no_reading_asks_for_another);
    tcase_add_test(tcase, a_status_is_only_over_when_concluded_or_null);
    tcase_add_test(tcase, steps_of_qemu_fit_and_are_followed);
    tcase_add_test(tcase, transitions_seen_in_real_qemus_are_known_and_need_no_reading);
    tcase_add_test(tcase, statuses_are_told_from_words);
    tcase_add_test(tcase, verbs_are_allowed_where_qemu_takes_them);
    tcase_add_test(tcase, names_are_words_for_every_value_and_others);
    tcase_add_test(tcase, reachability_in_qemus_table);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Prints libqblk-states(7) from the tables of job/fsm.c. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "job/fsm.h"

static const char *const state_texts[FSM_STATES] = {
    [FSM_STARTING] = "Our command is written, nothing is heard yet.",
    [FSM_CREATED] = "QEMU has it, it does not run yet.",
    [FSM_RUNNING] = "It works.",
    [FSM_PAUSED] = "Paused by a user, by an I/O error (it is stalled then), or for an instant by "
                   "QEMU itself whenever the graph changes.",
    [FSM_READY] = "In sync: complete, finish or cancel it.",
    [FSM_STANDBY] = "Paused while ready.",
    [FSM_WAITING] = "Done, waits for the others of its transaction.",
    [FSM_PENDING] = "Done, waits for finalize.",
    [FSM_ABORTING] = "Failing, or being cancelled.",
    [FSM_CONCLUDED] = "Over in QEMU; its result is being read.",
    [FSM_ENDED] = "Over, its result is known. It waits for dismissal. Programs see this state as "
                  "\"concluded\", with an outcome.",
    [FSM_VANISHED] = "QEMU has forgotten it before it answered our command; the answer may say why. "
                     "Programs see this state as \"gone\", without an outcome.",
    [FSM_GONE] = "QEMU has forgotten it.",
    [FSM_LOST] = "The connection ended before the job did.",
};

/* A hyphen is a minus sign to troff, and a leading dot or quote a request. */
static void put(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\\')
            fputs("\\e", stdout);
        else
            putchar(*text);
    }
}

static void print_states(void)
{
    puts(".SH STATES");
    for (unsigned s = 0; s < FSM_STATES; s++) {
        printf(".TP\n.B ");
        put(fsm_state_name((enum fsm_state)s));
        putchar('\n');
        put(state_texts[s]);
        putchar('\n');
    }
}

static void print_actions(void)
{
    puts(".SH ACTIONS");
    for (unsigned a = 0; a < FSM_ACTIONS; a++) {
        printf(".TP\n.B ");
        put(fsm_action_name((enum fsm_action)a));
        putchar('\n');
        put(fsm_action_text((enum fsm_action)a));
        puts(".");
    }
}

/* The events that lead from a state to the same state with the same action, on one line. */
static void print_step(unsigned s, unsigned first)
{
    struct fsm_step step = fsm_next((enum fsm_state)s, (enum fsm_event)first);
    const char *comma = "";

    printf(".TP\n.B ");
    if ((unsigned)step.to == s)
        printf("stays");
    else
        put(fsm_state_name(step.to));
    printf(" (");
    put(fsm_action_name(step.act));
    puts(")");
    for (unsigned e = first; e < FSM_EVENTS; e++) {
        struct fsm_step other = fsm_next((enum fsm_state)s, (enum fsm_event)e);

        if (!other.fits || other.to != step.to || other.act != step.act)
            continue;
        printf("%s", comma);
        put(fsm_event_name((enum fsm_event)e));
        comma = "; ";
    }
    putchar('\n');
}

static bool is_first(unsigned s, unsigned event)
{
    struct fsm_step step = fsm_next((enum fsm_state)s, (enum fsm_event)event);

    for (unsigned e = 0; e < event; e++) {
        struct fsm_step other = fsm_next((enum fsm_state)s, (enum fsm_event)e);

        if (other.fits && other.to == step.to && other.act == step.act)
            return false;
    }
    return step.fits;
}

static void print_transitions(void)
{
    puts(".SH TRANSITIONS");
    puts("What each state makes of each event. A bare status was heard in JOB_STATUS_CHANGE, a");
    puts("\\(lqseen\\(rq one read in a reply; \\(lqearly\\(rq is before the reply to our own command");
    puts("that starts the job. Events that a state does not list do not fit: the state stays, and");
    puts("both lists of jobs are read, which settles it.");
    for (unsigned s = 0; s < FSM_STATES; s++) {
        printf(".SS \"From %s\"\n", fsm_state_name((enum fsm_state)s));
        if (s == FSM_GONE || s == FSM_LOST) {
            puts("Nothing leads out of it.");
            continue;
        }
        for (unsigned e = 0; e < FSM_EVENTS; e++)
            if (is_first(s, e))
                print_step(s, e);
    }
}

static void print_verbs(void)
{
    puts(".SH VERBS");
    puts("Where a verb is allowed. It is refused here in all other states, and nothing is sent.");
    puts(".TS");
    printf("allbox;\nlb");
    for (unsigned v = 0; v < FSM_VERBS; v++)
        printf(" cb");
    printf("\nl");
    for (unsigned v = 0; v < FSM_VERBS; v++)
        printf(" c");
    printf(".\n");
    for (unsigned v = 0; v < FSM_VERBS; v++)
        printf("\t%s", qblk_job_verb_name((qblk_job_verb)v));
    putchar('\n');
    for (unsigned s = 0; s < FSM_STATES; s++) {
        printf("%s", fsm_state_name((enum fsm_state)s));
        for (unsigned v = 0; v < FSM_VERBS; v++)
            printf("\t%s", fsm_allows((enum fsm_state)s, (qblk_job_verb)v) ? "yes" : "\\-");
        putchar('\n');
    }
    puts(".TE");
    puts(".PP");
    puts("Beyond this table, finish is refused while a job is paused by its user or stalled: QEMU");
    puts("would refuse it. Complete on standby is refused by QEMU 5.2 and takes effect after resume");
    puts("on later ones. Change is refused for any job but a mirror, and QEMU has it from 8.2 on.");
}

static void print_qemu(void)
{
    puts(".SH \"QEMU'S OWN TRANSITIONS\"");
    puts("As in job.c of QEMU 5.2 to 10.2, and the same in every trace of these and of 11.1;");
    puts("\\(lqgone\\(rq is QEMU's \\(lqnull\\(rq. A jump that no number of such steps explains is");
    puts("believed all the same when a reading says so, and logged.");
    for (unsigned s = FSM_CREATED; s <= FSM_CONCLUDED; s++) {
        const char *comma = "";

        printf(".TP\n.B %s\n", fsm_state_name((enum fsm_state)s));
        for (unsigned to = 0; to < FSM_STATES; to++) {
            if (!fsm_qemu_steps((enum fsm_state)s, (enum fsm_state)to))
                continue;
            printf("%s%s", comma, fsm_state_name((enum fsm_state)to));
            comma = ", ";
        }
        putchar('\n');
    }
}

static void print_outcomes(void)
{
    puts(".SH OUTCOMES");
    puts("A job ends in exactly one outcome, told by on_end.");
    puts(".TP\n.B completed\nThe concluded job had no error.");
    puts(".TP\n.B failed\nIt had one: QEMU's text. A cancel that was asked for hides no failure.");
    puts(".TP\n.B cancelled\nBLOCK_JOB_CANCELLED came; or, where that was lost, the error is the");
    puts("one that a cancel leaves.");
    puts(".TP\n.B lost");
    puts("The connection ended first, or the job vanished without a word of how it ended.");
    puts(".PP");
    puts("The result is read from query\\-jobs while the job is concluded. Of a job that somebody let");
    puts("be dismissed before that, BLOCK_JOB_COMPLETED or BLOCK_JOB_CANCELLED tell; without these,");
    puts("one that was seen aborting has failed for a reason that QEMU did not keep, and one that");
    puts("was seen pending and then concluded has completed.");
}

int main(void)
{
    puts("'\\\" t");
    puts(".\\\" Printed by fsm2doc from src/job/fsm.c. Do not edit.");
    puts(".TH LIBQBLK\\-STATES 7 \"\" qblk \"qblk manual\"");
    puts(".SH NAME");
    puts("libqblk\\-states \\- the states of a block job, and what is allowed in them");
    puts(".SH DESCRIPTION");
    puts("A job is followed from JOB_STATUS_CHANGE and the BLOCK_JOB_* events, and from query\\-jobs");
    puts("and query\\-block\\-jobs after a connect or a surprise. Losing events, hearing them twice or");
    puts("in another order changes no outcome. Everything below is printed from the tables that");
    puts("decide it.");
    print_states();
    print_actions();
    print_transitions();
    print_verbs();
    print_qemu();
    print_outcomes();
    puts(".SH SEE ALSO");
    puts(".BR libqblk (3),");
    puts(".BR qblk (1)");
    return ferror(stdout) || fflush(stdout) != 0;
}

/* The verbs that do something to a job: pause, resume, speed, change, cancel, finish, pivot (or
 * complete), finalize, dismiss. Each waits until QEMU has taken it, then for its effect where there
 * is one to see. */
#include <stdio.h>
#include <string.h>

#include "follow.h"
#include "json.h"
#include "report.h"
#include "sizes.h"
#include "verbs.h"

struct act {
    struct follow follow;
    qblk_job_verb verb;
    const char *name; /* of the verb */
    uint64_t speed;
    bool is_accepted;
};

static struct followed *the_job(struct act *act)
{
    return &act->follow.jobs[0];
}

static bool is_end_verb(qblk_job_verb verb)
{
    return verb == QBLK_VERB_CANCEL || verb == QBLK_VERB_FINISH || verb == QBLK_VERB_COMPLETE ||
           verb == QBLK_VERB_FINALIZE;
}

/* Whether what the verb was for has come about. */
static bool is_effective(struct act *act, int state)
{
    const struct followed *job = the_job(act);

    if (act->verb == QBLK_VERB_DISMISS)
        return job->is_gone;
    if (job->is_ended || job->is_gone)
        return true;
    if (act->verb == QBLK_VERB_PAUSE)
        return state == QBLK_JOB_PAUSED || state == QBLK_JOB_STANDBY;
    if (act->verb == QBLK_VERB_COMPLETE && state == QBLK_JOB_STANDBY)
        return true;
    return !is_end_verb(act->verb) || act->follow.cli->opt.async;
}

/* The job is paused, and what was asked for comes about once it is resumed. */
static bool is_deferred(const struct act *act)
{
    const struct followed *job = &act->follow.jobs[0];

    return act->verb == QBLK_VERB_COMPLETE && !job->is_ended && job->state == QBLK_JOB_STANDBY;
}

static void on_done(qblk_job *job, const qblk_error *error, void *arg)
{
    struct act *act = arg;

    (void)job; /* may be gone by now */
    if (error != NULL) {
        follow_fail(&act->follow, error);
        return;
    }
    act->is_accepted = true;
    if (is_effective(act, the_job(act)->state))
        session_stop(&act->follow.session);
}

static void on_synced(struct follow *follow)
{
    struct act *act = follow->arg;
    qblk_job *job = qblk_job_find(follow->session.monitor, the_job(act)->id);
    qblk_error error;

    if (job == NULL)
        follow_unknown_error(the_job(act)->id, &error);
    if (job == NULL || qblk_job_act(job, act->verb, act->speed, on_done, act, &error) < 0)
        follow_fail(follow, &error);
}

static void on_change(struct follow *follow, struct followed *job, const qblk_job_info *info)
{
    struct act *act = follow->arg;

    if (is_end_verb(act->verb) && act->is_accepted)
        progress_show(&follow->cli->progress, job->id, info);
    if (act->is_accepted && is_effective(act, (int)info->state))
        session_stop(&follow->session);
    else if (act->is_accepted)
        follow_say_waiting(follow, job, info, true);
}

/* What happened, in a few words. */
static void effect_text(struct act *act, struct text *to)
{
    const struct followed *job = the_job(act);
    char size[SIZE_TEXT];

    if (act->verb == QBLK_VERB_DISMISS) {
        text_add(to, "dismissed");
    } else if (job->is_ended) {
        text_add(to, qblk_job_outcome_name(job->outcome));
        if (act->verb == QBLK_VERB_CANCEL && job->outcome == QBLK_OUTCOME_COMPLETED)
            text_add(to, " (the cancel came too late)");
    } else if (act->verb == QBLK_VERB_SPEED && act->speed == 0) {
        text_add(to, "no limit of speed");
    } else if (act->verb == QBLK_VERB_SPEED) {
        text_addf(to, "limited to %s/s", format_size(act->speed, size));
    } else if (act->verb == QBLK_VERB_RESUME) {
        text_add(to, "resumed");
    } else if (act->verb == QBLK_VERB_PAUSE) {
        text_add(to, "paused");
    } else if (act->verb == QBLK_VERB_CHANGE) {
        text_add(to, "active: the guest's writes now wait for the target");
    } else if (is_deferred(act)) {
        text_addf(to, "deferred: the job is paused, and the pivot happens when it is resumed ('qblk "
                  "job resume %s')", job->id);
    } else {
        text_addf(to, "QEMU has taken '%s'", act->name);
    }
}

static void say_result(struct act *act)
{
    struct cli *cli = act->follow.cli;
    const struct followed *job = the_job(act);
    struct text line = { NULL, 0, 0 };

    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '{');
        json_str(&line, "id", job->id);
        json_str(&line, "verb", act->name);
        json_str(&line, "state",
                 qblk_job_state_name(job->state < 0 ? QBLK_JOB_STARTING
                                                    : (qblk_job_state)job->state));
        json_str(&line, "outcome", job->is_ended ? qblk_job_outcome_name(job->outcome) : NULL);
        json_str(&line, "error", job->error);
        json_bool(&line, "deferred", is_deferred(act));
        json_close(&line, '}');
        json_close(&line, '}');
        out_line(cli, &line);
        return;
    }
    text_add_plain(&line, job->id, false);
    text_add(&line, ": ");
    effect_text(act, &line);
    out_line(cli, &line);
}

static int say_end(struct act *act)
{
    const struct followed *job = the_job(act);
    bool is_meant = job->outcome == QBLK_OUTCOME_COMPLETED ||
                    (act->verb == QBLK_VERB_CANCEL && job->outcome == QBLK_OUTCOME_CANCELLED);
    qblk_error error;

    if (act->verb == QBLK_VERB_DISMISS || !job->is_ended || is_meant) {
        say_result(act);
        return EXIT_DONE;
    }
    follow_outcome_error(job, &error);
    return report_error(act->follow.cli, &error);
}

/* Whether it is that operation's main job, and recover needs it: a name like ours alone does not
 * make it so. */
static bool needs_job(const qblk_open_op *op, const char *job)
{
    return op->has_journal && op->job != NULL && strcmp(op->job->id, job) == 0 &&
           op->job->outcome != QBLK_OUTCOME_NONE && op->fate != QBLK_FATE_LEAVE &&
           op->kind != NULL && strlen(job) > strlen("qblk.01234567.") &&
           strcmp(job + strlen("qblk.01234567."), op->kind) == 0;
}

/* The outcome of an operation's job tells recover what is to become of the rest: without it, what
 * is done looks as if it had never begun. */
static int spare_outcome(struct follow *follow, qblk_error *error)
{
    struct cli *cli = follow->cli;
    const qblk_open_op *op;
    qblk_remains *remains = NULL;
    int r = qblk_remains_read(follow->session.monitor, cli_left_ms(cli), &remains, error);

    for (int i = 0; r == 0 && (op = qblk_remains_op(remains, i)) != NULL; i++) {
        if (!needs_job(op, cli->args[0]))
            continue;
        r = own_error(error, QBLK_KIND_REFUSED, QBLK_E_BUSY, "job %s belongs to operation %s, which is "
                      "open: without the job nobody could tell how it has ended, and what it has made "
                      "might be removed; 'qblk recover --operation %s' reports it, cleans up, and "
                      "dismisses the job; --force dismisses it all the same", op->job->id,
                      op->operation, op->operation);
        (void)snprintf(error->job, sizeof(error->job), "%s", op->job->id);
        (void)snprintf(error->operation, sizeof(error->operation), "%s", op->operation);
        break;
    }
    (void)qblk_remains_free(remains);
    return r;
}

static int find_verb(struct act *act, struct cli *cli, qblk_error *error)
{
    const char *typed = cli->verb->name + strlen("job ");
    const char *name = strcmp(typed, "pivot") == 0 ? "complete" : typed;

    act->name = typed;
    for (int v = QBLK_VERB_PAUSE; v <= QBLK_VERB_CHANGE; v++) {
        if (strcmp(qblk_job_verb_name((qblk_job_verb)v), name) == 0)
            act->verb = (qblk_job_verb)v;
    }
    if (act->verb == QBLK_VERB_CHANGE && !cli->opt.active)
        return usage_error(error, "say what is to be changed: --active, so that the guest's writes "
                           "wait for the target");
    return act->verb == QBLK_VERB_SPEED ? parse_rate("the speed", cli->args[1], &act->speed, error)
                                          : 0;
}

int run_job_act(struct cli *cli)
{
    struct act act = { .follow = { .on_synced = on_synced, .on_change = on_change } };
    char what[160];
    qblk_error error;
    int status = -1;

    act.follow.arg = &act;
    if (find_verb(&act, cli, &error) < 0)
        return report_error(cli, &error);
    if (act.verb == QBLK_VERB_DISMISS && !cli->opt.force && strncmp(cli->args[0], "qblk.", 5) == 0)
        act.follow.on_open = spare_outcome;
    follow_add(&act.follow, cli->args[0]);
    if (follow_open(&act.follow, cli, false, &error) < 0)
        return follow_end(&act.follow, report_error(cli, &error));
    if (is_end_verb(act.verb) && !cli->opt.async)
        progress_ask(&cli->progress, act.follow.session.monitor);
    session_run(&act.follow.session);
    (void)snprintf(what, sizeof(what), "the effect of '%s' on job %.80s", act.name, cli->args[0]);
    if (!act.is_accepted || !is_effective(&act, the_job(&act)->state))
        status = follow_trouble(&act.follow, what);
    if (status < 0)
        status = say_end(&act);
    return follow_end(&act.follow, status);
}

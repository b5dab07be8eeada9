/* The verbs job wait and job watch. */
#include <stdio.h>

#include "change.h"
#include "follow.h"
#include "json.h"
#include "report.h"
#include "stall.h"
#include "verbs.h"

static void check_known(struct follow *follow)
{
    for (int i = 0; i < follow->n_jobs; i++) {
        qblk_error error;

        if (!follow->jobs[i].is_seen) {
            follow_unknown_error(follow->jobs[i].id, &error);
            follow_fail(follow, &error);
            return;
        }
    }
}

/* {"result": [...]}: the jobs that are done with. */
static void say_results(struct follow *follow, bool is_ready_enough)
{
    struct text line = { NULL, 0, 0 };

    if (!follow->cli->opt.json)
        return;
    json_open(&line, NULL, '{');
    json_open(&line, "result", '[');
    for (int i = 0; i < follow->n_jobs; i++) {
        const struct followed *job = &follow->jobs[i];

        if (!job->is_ended && !(is_ready_enough && job->is_ready))
            continue;
        json_open(&line, NULL, '{');
        json_str(&line, "id", job->id);
        json_str(&line, "outcome", job->is_ended ? qblk_job_outcome_name(job->outcome) : NULL);
        json_str(&line, "error", job->error);
        json_bool(&line, "ready", job->is_ready);
        json_close(&line, '}');
    }
    json_close(&line, ']');
    json_close(&line, '}');
    out_line(follow->cli, &line);
}

static void say_job(struct follow *follow, const qblk_job_info *info)
{
    struct text line = { NULL, 0, 0 };

    json_event(&line, "job");
    json_job(&line, info);
    json_close(&line, '}');
    out_line(follow->cli, &line);
}

/* A stall is told once it is known where and why the job stopped, which takes a moment. */
static bool is_stall_to_come(const qblk_job_info *info)
{
    return info->is_stalled && !info->is_stall_known;
}

static bool is_stall_news(const struct followed *job, const qblk_job_info *info)
{
    return info->is_stall_known && !job->is_stalled;
}

/* ---- job wait ------------------------------------------------------------------------------ */

static bool is_done(const struct follow *follow, const struct followed *job)
{
    return job->is_ended || (follow->cli->opt.ready && job->is_ready);
}

static bool is_enough(const struct follow *follow)
{
    int done = 0;

    for (int i = 0; i < follow->n_jobs; i++)
        done += is_done(follow, &follow->jobs[i]);
    return done == follow->n_jobs || (follow->cli->opt.any && done > 0);
}

/* QEMU pauses a job for an instant whenever it changes something: only what lasts is told. */
#define PAUSE_S 0.5

static bool is_paused(int state, bool is_stalled)
{
    return (state == QBLK_JOB_PAUSED || state == QBLK_JOB_STANDBY) && !is_stalled;
}

static void on_pause(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct follow *follow = timer->data;

    (void)loop;
    (void)revents;
    for (int i = 0; i < follow->n_jobs; i++) {
        struct followed *job = &follow->jobs[i];

        if (is_done(follow, job) || job->is_pause_told || !is_paused(job->state, job->is_stalled))
            continue;
        job->is_pause_told = true;
        note(follow->cli, "job %s is paused, and goes on when it is told to: 'qblk job resume %s'", job->id,
             job->id);
    }
}

static void wait_synced(struct follow *follow)
{
    check_known(follow);
    if (!follow->is_failed && is_enough(follow))
        session_stop(&follow->session);
}

static void wait_change(struct follow *follow, struct followed *job, const qblk_job_info *info)
{
    struct text text = { NULL, 0, 0 };

    if (is_stall_news(job, info)) {
        stall_add(&text, info);
        warn(follow->cli, "%s", text.s);
        text_free(&text);
    }
    if (follow->cli->opt.json && !is_stall_to_come(info) &&
        ((int)info->state != job->state || is_stall_news(job, info) ||
         job->is_ended != job->is_end_told))
        say_job(follow, info);
    job->is_end_told = job->is_ended;
    if (!is_done(follow, job))
        follow_say_waiting(follow, job, info, false);
    if (is_paused((int)info->state, info->is_stalled) && !job->is_pause_told)
        ev_timer_start(follow->session.loop, follow->arg);
    if (follow->n_jobs == 1)
        progress_show(&follow->cli->progress, job->id, info);
    if (follow->is_synced && is_enough(follow))
        session_stop(&follow->session);
}

/* For people: how those ended that are done with. With --json that was told as it happened. */
static void say_outcomes(struct follow *follow)
{
    for (int i = 0; i < follow->n_jobs; i++) {
        const struct followed *job = &follow->jobs[i];
        struct text line = { NULL, 0, 0 };
        struct text plain = { NULL, 0, 0 };

        if (!is_done(follow, job) || follow->cli->opt.json)
            continue;
        text_addf(&line, "%s: %s%s%s", job->id,
                  job->is_ended ? qblk_job_outcome_name(job->outcome) : "ready",
                  job->error != NULL ? ": " : "", job->error != NULL ? job->error : "");
        text_add_plain(&plain, line.s, false);
        text_free(&line);
        out_line(follow->cli, &plain);
    }
}

static int wait_outcomes(struct follow *follow)
{
    qblk_error error;

    say_outcomes(follow);
    for (int i = 0; i < follow->n_jobs; i++) {
        const struct followed *job = &follow->jobs[i];

        if (job->is_ended && job->outcome != QBLK_OUTCOME_COMPLETED) {
            follow_outcome_error(job, &error);
            return report_error(follow->cli, &error);
        }
    }
    say_results(follow, follow->cli->opt.ready);
    return EXIT_DONE;
}

/* It came to no end by itself: what is known all the same, and which jobs are not done with. */
static int wait_trouble(struct follow *follow)
{
    struct text what = { NULL, 0, 0 };
    int status;

    if (!follow->is_failed)
        say_outcomes(follow);
    for (int i = 0; i < follow->n_jobs; i++) {
        if (!is_done(follow, &follow->jobs[i]))
            text_addf(&what, "%s%.100s", what.len > 0 ? ", " : "job ", follow->jobs[i].id);
    }
    status = follow_trouble(follow, text_str(&what));
    text_free(&what);
    return status;
}

int run_job_wait(struct cli *cli)
{
    ev_timer pauses;
    struct follow follow = { .on_synced = wait_synced, .on_change = wait_change, .arg = &pauses };
    qblk_error error;
    int status = -1;

    ev_timer_init(&pauses, on_pause, PAUSE_S, 0.);
    pauses.data = &follow;
    for (int i = 0; i < cli->n_args; i++)
        follow_add(&follow, cli->args[i]);
    if (follow_open(&follow, cli, false, &error) < 0)
        return follow_end(&follow, report_error(cli, &error));
    if (follow.n_jobs == 1)
        progress_ask(&cli->progress, follow.session.monitor);
    session_run(&follow.session);
    ev_timer_stop(follow.session.loop, &pauses);
    /* A lost connection ends the jobs as lost, which says more than the connection's own error. */
    if (!is_enough(&follow))
        status = wait_trouble(&follow);
    if (status < 0)
        status = wait_outcomes(&follow);
    return follow_end(&follow, status);
}

/* ---- job watch ----------------------------------------------------------------------------- */

static void watch_line(struct follow *follow, const qblk_job_info *info, bool is_gone)
{
    struct text line = { NULL, 0, 0 };

    text_add_clock(&line);
    add_job_change(&line, info, is_gone);
    out_plain(follow->cli, &line);
}

static bool all_ended(const struct follow *follow)
{
    for (int i = 0; i < follow->n_jobs; i++) {
        if (!follow->jobs[i].is_ended)
            return false;
    }
    return true;
}

static void watch_synced(struct follow *follow)
{
    if (follow->is_all)
        return;
    check_known(follow);
    if (!follow->is_failed && all_ended(follow))
        session_stop(&follow->session);
}

/* What is told: each state once, the end once and with its outcome. */
static bool is_news(const struct follow *follow, const struct followed *job,
                    const qblk_job_info *info)
{
    if (job->is_ended && !job->is_end_told)
        return true;
    if (info->state == QBLK_JOB_CONCLUDED)
        return false; /* told already, or its outcome is still to come */
    if (job->is_gone)
        return follow->is_all;
    if (is_stall_to_come(info))
        return false;
    return (int)info->state != job->state || is_stall_news(job, info);
}

static void watch_change(struct follow *follow, struct followed *job, const qblk_job_info *info)
{
    if (is_news(follow, job, info)) {
        if (follow->cli->opt.json)
            say_job(follow, info);
        else
            watch_line(follow, info, job->is_gone && job->is_end_told);
        job->is_end_told = job->is_ended;
    }
    if (follow->is_synced && !follow->is_all && all_ended(follow))
        session_stop(&follow->session);
}

int run_job_watch(struct cli *cli)
{
    struct follow follow = { .on_synced = watch_synced, .on_change = watch_change };
    qblk_error error;
    int status;

    follow.is_all = cli->n_args == 0;
    for (int i = 0; i < cli->n_args; i++)
        follow_add(&follow, cli->args[i]);
    if (follow_open(&follow, cli, true, &error) < 0)
        return follow_end(&follow, report_error(cli, &error));
    session_run(&follow.session);
    status = follow_trouble(&follow, "changes of jobs");
    if (status < 0) {
        say_results(&follow, false);
        status = EXIT_DONE;
    }
    return follow_end(&follow, status);
}

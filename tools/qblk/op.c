#include "op.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "change.h"
#include "report.h"

/* How long a cancel may take that --cancel-on-timeout began, before the operation is left. */
#define CANCEL_GRACE_MS 10000

static bool is_live(const struct op_run *run)
{
    return run->many != NULL ? run->many->live > 0 : run->op != NULL;
}

static void cancel(struct op_run *run)
{
    run->is_cancelling = true;
    if (run->many != NULL)
        many_cancel(run);
    else
        qblk_op_cancel(run->op);
}

static void leave(struct op_run *run, int signo)
{
    run->leave_signal = signo;
    if (run->many != NULL)
        many_leave(run, signo);
    else
        qblk_op_leave(run->op);
}

static void on_signal(struct session *session, int signo, void *arg)
{
    struct op_run *run = arg;

    (void)session;
    if (!is_live(run)) { /* it ended in this very turn of the loop */
        run->late_signal = signo;
        return;
    }
    if (signo == SIGINT && !run->is_cancelling) {
        note(run->cli, "cancelling; press Ctrl-C again to leave it as it is");
        cancel(run);
        return;
    }
    leave(run, signo);
}

static void on_deadline(struct session *session, void *arg)
{
    struct op_run *run = arg;

    run->is_timed_out = true;
    if (!is_live(run))
        return; /* between two operations */
    if (run->cli->opt.cancel_on_timeout && !run->is_cancelling) {
        session_rearm(session, CANCEL_GRACE_MS);
        cancel(run);
        return;
    }
    leave(run, run->leave_signal);
}

static void on_plan(qblk_op *op, const qblk_plan *plan, void *arg)
{
    (void)op;
    op_say_plan(arg, plan);
}

static void on_step(qblk_op *op, const qblk_step *step, bool undoing, void *arg)
{
    (void)op;
    op_say_step(arg, step, undoing);
}

static void on_job(qblk_op *op, const qblk_job_info *job, void *arg)
{
    struct op_run *run = arg;

    op_say_job(run, job);
    if (run->cli->opt.async && !run->is_async_done && !run->is_cancelling && !run->is_timed_out &&
        run->leave_signal == 0 && run->many == NULL && job_is_at_work(job->state)) {
        run->is_async_done = true;
        qblk_op_leave(op);
    }
}

static void on_end(qblk_op *op, const qblk_op_report *report, const qblk_error *error, void *arg)
{
    struct op_run *run = arg;

    (void)op;
    run->op = NULL;
    if (run->many != NULL) {
        many_end(run, report, error);
        return;
    }
    progress_clear(&run->cli->progress);
    if (run->may_try_again && error != NULL &&
        (error->code == QBLK_E_BUSY || error->code == QBLK_E_HAZARD)) {
        run->is_to_try_again = true;
        run->status = EXIT_DONE;
        session_stop(&run->session);
        return;
    }
    if (op_is_gone(run, error)) {
        run->status = EXIT_DONE;
        session_stop(&run->session);
        return;
    }
    run->has_changed = run->has_changed || (error == NULL && report->result != QBLK_RESULT_KEPT);
    run->status = op_say_end(run, report, error);
    session_stop(&run->session);
}

static const struct session_ops session_hooks = {
    .on_signal = on_signal,
    .on_deadline = on_deadline,
};

void op_fill_common(struct op_run *run, qblk_op_common *common)
{
    const struct options *opt = &run->cli->opt;

    memset(common, 0, sizeof(*common));
    common->dry_run = opt->dry_run;
    common->speed = opt->speed;
    common->on_error = opt->on_error;
    common->ops.size = sizeof(common->ops);
    common->ops.on_plan = on_plan;
    common->ops.on_step = on_step;
    common->ops.on_job = on_job;
    common->ops.on_end = on_end;
    common->arg = run;
}

int op_open(struct op_run *run, qblk_error *error)
{
    return session_open(&run->session, run->cli, &session_hooks, run, error);
}

int op_continue(struct op_run *run, op_start_fn *start, const char *verb, const char *disk,
                qblk_error *error)
{
    qblk_op_common common;

    run->start = start;
    run->disk = disk;
    run->session.is_stopped = false;
    run->is_cancelling = run->was_stalled = false;
    (void)snprintf(run->label, sizeof(run->label), "%s %.60s", verb, disk);
    op_fill_common(run, &common);
    if (start(run, &common, error) < 0)
        return op_say_error(run, error);
    progress_ask(&run->cli->progress, run->session.monitor);
    session_run(&run->session);
    return run->status;
}

int op_run_whole(struct op_run *run, op_start_fn *start, const char *verb, const char *disk)
{
    qblk_error error;

    if (op_open(run, &error) < 0)
        return report_error(run->cli, &error);
    /* The signals first: from the start on they must find the operation. */
    if (session_loop(&run->session, &error) < 0)
        return session_end(&run->session, report_error(run->cli, &error));
    return session_end(&run->session, op_continue(run, start, verb, disk, &error));
}

int op_run(struct cli *cli, op_start_fn *start, const char *verb, const char *past,
           const char *target)
{
    struct op_run run = { .cli = cli, .past = past, .target = target };

    return op_run_whole(&run, start, verb, cli->args[0]);
}

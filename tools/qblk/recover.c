/* The verb recover: finishes or undoes what clients have left open in QEMU. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "op.h"
#include "remains.h"
#include "report.h"
#include "verbs.h"

struct open_ops {
    qblk_remains *remains;
    bool *is_done;
    int n;
};

static int find_all(struct session *session, struct open_ops *ops, qblk_error *error)
{
    int r;

    do {
        r = qblk_remains_read(session->monitor, cli_left_ms(session->cli), &ops->remains, error);
    } while (r < 0 && session_asks_again(session, error));
    if (r < 0)
        return r;
    while (qblk_remains_op(ops->remains, ops->n) != NULL)
        ops->n++;
    ops->is_done = xrealloc(NULL, (size_t)ops->n + 1, sizeof(*ops->is_done));
    memset(ops->is_done, 0, ((size_t)ops->n + 1) * sizeof(*ops->is_done));
    return 0;
}

static int start_resume(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);

    options.common = *common;
    if (run->cli->opt.undo)
        options.how = QBLK_RESUME_UNDO;
    else if (run->cli->opt.ending == QBLK_END_PIVOT)
        options.how = QBLK_RESUME_PIVOT;
    else if (run->cli->opt.ending == QBLK_END_FINISH)
        options.how = QBLK_RESUME_FINISH;
    options.group = run->many != NULL ? run->many->group : NULL;
    return qblk_resume(run->session.monitor, run->disk, &options, &run->op, error);
}

/* Without a journal there is nothing to go by but the job's name: it is left to its user. */
static bool is_nobodys(const qblk_open_op *op)
{
    return op->fate == QBLK_FATE_LEAVE && !op->has_journal;
}

/* As far as its record was read. */
static bool has_endings(const qblk_open_op *op)
{
    const char *kind = op->kind != NULL ? op->kind : "";

    return strcmp(kind, "copy") == 0 || strcmp(kind, "swap") == 0 ||
           (strcmp(kind, "commit") == 0 && op->intent != NULL && strcmp(op->intent, "merge") != 0);
}

static int recover_one(struct op_run *run, const qblk_open_op *op)
{
    qblk_error error;
    int status;

    run->open = op;
    run->are_files_told = false;
    run->has_endings = has_endings(op);
    if (is_nobodys(op)) {
        if (run->cli->opt.operation != NULL)
            return op_say_error(run, &op->why);
        note(run->cli, "%s", op->why.text);
        return EXIT_DONE;
    }
    status = op_continue(run, start_resume, "recover", op->operation, &error);
    if (status == EXIT_CONNECTION && !run->are_files_told)
        op_say_files(run, NULL);
    return status;
}

static bool belongs(const qblk_open_op *op, const qblk_open_op *other)
{
    for (size_t i = 0; i < op->n_with; i++) {
        if (strcmp(op->with[i], other->operation) == 0)
            return true;
    }
    return op == other;
}

/* All that were started together with this one and are still open. */
static int recover_together(struct op_run *run, const qblk_open_op *op, struct open_ops *ops)
{
    struct many many = { .runs = xrealloc(NULL, (size_t)ops->n, sizeof(*many.runs)) };
    qblk_error error;
    int status;

    memset(many.runs, 0, (size_t)ops->n * sizeof(*many.runs));
    for (int i = 0; i < ops->n; i++) {
        const qblk_open_op *other = qblk_remains_op(ops->remains, i);

        if (!belongs(op, other) || (ops->is_done[i] && other != op))
            continue;
        ops->is_done[i] = true;
        many.runs[many.n].has_endings = has_endings(other);
        many.runs[many.n].open = other;
        many.runs[many.n++].disk = other->operation;
    }
    status = many_continue(run, &many, start_resume, "recover", &error);
    free(many.runs);
    return status;
}

/* What became of those that were recovered, where the last line is an error. */
static void say_recovered(struct op_run *run)
{
    struct text line = { NULL, 0, 0 };

    if (!run->cli->opt.json || run->results.len == 0)
        return;
    json_event(&line, "recovered");
    json_open(&line, "operations", '[');
    text_add(&line, text_str(&run->results));
    json_close(&line, ']');
    json_close(&line, '}');
    out_line(run->cli, &line);
}

/* With --json the last line: what became of each operation, or the first reason for a failure. */
static void say_end(struct op_run *run, bool found)
{
    struct cli *cli = run->cli;
    struct text line = { NULL, 0, 0 };

    if (!cli->opt.json && found)
        return;
    if (!cli->opt.json) {
        text_add(&line, "nothing to recover");
    } else if (run->has_failed) {
        say_recovered(run);
        (void)report_error(cli, &run->failure);
        return;
    } else {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '[');
        text_add(&line, text_str(&run->results));
        json_close(&line, ']');
        json_close(&line, '}');
    }
    out_line(cli, &line);
}

static bool is_wanted(const struct cli *cli, const qblk_open_op *op)
{
    return cli->opt.operation == NULL || strcmp(cli->opt.operation, op->operation) == 0;
}

static int report_unknown(struct cli *cli)
{
    qblk_error error;

    (void)own_error(&error, QBLK_KIND_REFUSED, QBLK_E_UNKNOWN_JOB, "there is no open operation '%s'; "
                    "'qblk recover --list' shows what is open", cli->opt.operation);
    return report_error(cli, &error);
}

/* A signal or the deadline found no operation under way, and more to be taken up; or Ctrl-C has cancelled the
 * one that was. */
static int stop_between(struct op_run *run)
{
    qblk_error error;

    run->is_to_try_again = false;
    run->is_last_said = true;
    say_recovered(run);
    if (run->late_signal == 0)
        return session_report_timeout(&run->session, "the next operation");
    if (run->late_signal != SIGINT)
        run->session.die_of = run->late_signal;
    if (!run->is_cancelling)
        return session_report_signal(&run->session, "the next operation");
    (void)own_error(&error, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED, "interrupted: the operations that were still "
                    "to come are left as they are");
    return report_error_as(run->cli, "interrupted", &error);
}

/* The first failure counts. "Refused" says that nothing was changed, which is not so if another operation was
 * recovered. */
static int worse(const struct op_run *run, int status, int of_one)
{
    if (status == EXIT_DONE)
        status = of_one;
    return status == EXIT_REFUSED && run->has_changed ? EXIT_FAILED : status;
}

/* *found is whether something has been said of an operation, in this pass or the one before. */
static int recover_all(struct op_run *run, struct open_ops *ops, bool *found)
{
    struct cli *cli = run->cli;
    int status = EXIT_DONE;
    bool is_put_off = false;

    for (int i = 0; i < ops->n; i++) {
        const qblk_open_op *op = qblk_remains_op(ops->remains, i);
        int r;

        if (ops->is_done[i] || !is_wanted(cli, op))
            continue;
        /* Ctrl-C was for all of them; the second one would hit an operation that was not meant. */
        if (run->is_cancelling && !run->is_timed_out && run->late_signal == 0)
            run->late_signal = SIGINT;
        if (run->late_signal != 0 || run->is_timed_out)
            return stop_between(run);
        ops->is_done[i] = true;
        run->is_to_try_again = run->is_gone = false;
        r = op->n_with > 0 ? recover_together(run, op, ops) : recover_one(run, op);
        is_put_off = is_put_off || run->is_to_try_again;
        *found = *found || !(run->is_to_try_again || run->is_gone);
        status = worse(run, status, r);
        if (run->session.die_of != 0 || (run->is_timed_out && r != EXIT_DONE)) {
            if (!run->is_last_said)
                say_end(run, true);
            return status;
        }
    }
    run->is_to_try_again = is_put_off;
    if (is_put_off)
        return status;
    if (!*found && cli->opt.operation != NULL)
        return report_unknown(cli);
    say_end(run, *found);
    return status;
}

static void forget(struct open_ops *ops)
{
    ops->remains = qblk_remains_free(ops->remains);
    free(ops->is_done);
    *ops = (struct open_ops){ NULL, NULL, 0 };
}

/* While an image is being made some versions of QEMU must not be asked what belongs together. The
 * one that was waited for says so then, and all is looked at anew. */
static int recover_twice(struct op_run *run, struct open_ops *ops)
{
    qblk_error error;
    bool found = false;
    int status, again;

    run->may_try_again = true;
    status = recover_all(run, ops, &found);
    run->may_try_again = false;
    if (run->is_to_try_again && run->is_timed_out && run->session.die_of == 0 && status == EXIT_DONE)
        return stop_between(run);
    if (!run->is_to_try_again || run->session.die_of != 0 || run->is_timed_out)
        return status;
    forget(ops);
    session_deafen(&run->session, true);
    if (find_all(&run->session, ops, &error) < 0)
        return report_error(run->cli, &error);
    session_deafen(&run->session, false);
    again = recover_all(run, ops, &found);
    return worse(run, status, again);
}

static int list(struct cli *cli, const struct open_ops *ops)
{
    bool found = cli->opt.operation == NULL;

    for (int i = 0; i < ops->n; i++)
        found = found || is_wanted(cli, qblk_remains_op(ops->remains, i));
    if (!found)
        return report_unknown(cli);
    remains_list(cli, ops->remains);
    return EXIT_DONE;
}

static int check_options(const struct options *opt, qblk_error *error)
{
    if (opt->undo && opt->ending != QBLK_END_DEFAULT)
        return usage_error(error, "--undo and --pivot or --finish exclude one another");
    if (opt->list && (opt->undo || opt->ending != QBLK_END_DEFAULT))
        return usage_error(error, "--list shows what recover does without --undo, --pivot or --finish: "
                           "leave out one or the other");
    if (opt->all && !opt->list)
        return usage_error(error, "--all is for --list: what is nobody's is shown, and not recovered");
    if (opt->all && opt->operation != NULL)
        return usage_error(error, "--all and --operation exclude one another: --all shows what belongs "
                           "to no operation");
    if (opt->operation != NULL && (strlen(opt->operation) != 8 ||
                                   strspn(opt->operation, "0123456789abcdef") != 8))
        return usage_error(error, "'%.40s' is not the id of an operation, which is 8 hex digits, in lower case; "
                           "'qblk recover --list' shows what is open", opt->operation);
    return 0;
}

int run_recover(struct cli *cli)
{
    struct op_run run = { .cli = cli, .past = "recovered", .is_one_of_many = true };
    struct open_ops ops = { NULL, NULL, 0 };
    qblk_error error;
    int status;

    if (check_options(&cli->opt, &error) < 0 || op_open(&run, &error) < 0)
        return report_error(cli, &error);
    if (find_all(&run.session, &ops, &error) < 0)
        status = report_error(cli, &error);
    else if (cli->opt.list)
        status = list(cli, &ops);
    else if (session_loop(&run.session, &error) < 0)
        status = report_error(cli, &error);
    else
        status = recover_twice(&run, &ops);
    forget(&ops);
    text_free(&run.results);
    return session_end(&run.session, status);
}

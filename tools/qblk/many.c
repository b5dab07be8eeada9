/* Several operations that begin and end together: one line of progress, one result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "json.h"
#include "op.h"
#include "report.h"
#include "verbs.h"

void many_cancel(struct op_run *head)
{
    struct many *many = head->many;

    for (size_t i = 0; i < many->n; i++)
        many->runs[i].is_cancelling = true;
    qblk_group_cancel(many->group);
}

void many_leave(struct op_run *head, int signo)
{
    struct many *many = head->many;

    for (size_t i = 0; i < many->n; i++) {
        many->runs[i].leave_signal = signo;
        many->runs[i].is_timed_out = head->is_timed_out;
    }
    qblk_group_leave(many->group);
}

/* ---- on the way ------------------------------------------------------------------------------ */

static void leave_running(struct many *many)
{
    for (size_t i = 0; i < many->n; i++) {
        if (!many->runs[i].is_running)
            return;
    }
    for (size_t i = 0; i < many->n; i++)
        many->runs[i].is_async_done = true;
    qblk_group_leave(many->group);
}

void many_hear(struct op_run *run, const qblk_job_info *job)
{
    struct many *many = run->many;
    qblk_job_info all = *job;

    run->is_running = run->is_running || job_is_at_work(job->state);
    run->current = job->current;
    run->total = job->total;
    all.current = all.total = 0;
    for (size_t i = 0; i < many->n; i++) {
        all.current += many->runs[i].current;
        all.total += many->runs[i].total;
    }
    progress_show(&run->cli->progress, run->label, &all);
    if (run->cli->opt.async && !run->is_async_done && !run->is_cancelling && !run->is_timed_out &&
        run->leave_signal == 0)
        leave_running(many);
}

static void add_result(struct many *many, const qblk_op_report *report, const qblk_error *error)
{
    json_open(&many->results, NULL, '{');
    op_result_members(&many->results, report);
    if (error != NULL)
        json_str(&many->results, "error", error->text);
    json_close(&many->results, '}');
}

/* The cause is the one that was not given up for the sake of another. */
static void take_error(struct many *many, bool is_disk, const char *name, const qblk_error *error)
{
    many->n_refused += error->kind == QBLK_KIND_REFUSED;
    many->n_cancelled += op_is_users_cancel(error);
    if (many->cause.code != QBLK_E_NONE &&
        (many->cause.kind != QBLK_KIND_CANCELLED || error->kind == QBLK_KIND_CANCELLED))
        return;
    many->cause = *error;
    if (strncmp(error->text, "operation ", strlen("operation ")) == 0)
        return; /* it says whose it is, which may be another's */
    (void)snprintf(many->cause.text, sizeof(many->cause.text), "%s %.60s: %.700s",
                   is_disk ? "disk" : "operation", name, error->text);
}

static void end_one(struct op_run *head)
{
    if (--head->many->live == 0)
        session_stop(&head->session);
}

void many_end(struct op_run *run, const qblk_op_report *report, const qblk_error *error)
{
    struct many *many = run->many;
    struct op_run *head = many->runs[0].many_head;
    /* What recover takes up goes by its id until its record was read. */
    const char *disk = report->disk != NULL ? report->disk : run->disk;

    if (op_is_gone(run, error)) {
        end_one(head);
        return;
    }
    head->was_stalled = head->was_stalled || run->was_stalled;
    head->has_changed = head->has_changed || (error == NULL && report->result != QBLK_RESULT_KEPT);
    many->n_left += report->result == QBLK_RESULT_LEFT && report->operation != NULL;
    if (report->result == QBLK_RESULT_LEFT && report->operation != NULL)
        (void)snprintf(many->left, sizeof(many->left), "%s", report->operation);
    text_addf(&many->summary, "%s%.60s: %s", many->summary.len > 0 ? ", " : "", disk,
              qblk_result_name(report->result));
    add_result(many, report, error);
    if (error != NULL)
        take_error(many, report->disk != NULL || run->cli->verb->bit != VERB_RECOVER, disk, error);
    else if (op_is_other_end(run, report->result))
        many->other_end = report->result;
    else if (many->result == QBLK_RESULT_NONE || report->result != QBLK_RESULT_UNDONE)
        many->result = report->result;
    if (error == NULL && !run->cli->opt.json &&
        (report->result != QBLK_RESULT_LEFT || run->is_async_done)) {
        progress_clear(&run->cli->progress);
        op_result_line(run, report);
    }
    op_say_notes(run, report);
    op_say_record(run, error);
    end_one(head);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void say_json(struct cli *cli, struct many *many, bool is_result)
{
    struct text line = { NULL, 0, 0 };

    if (is_result) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '{');
        json_str(&line, "result", qblk_result_name(many->result));
    } else {
        json_event(&line, "disks");
    }
    json_open(&line, "disks", '[');
    text_add(&line, text_str(&many->results));
    json_close(&line, ']');
    json_close(&line, '}');
    if (is_result)
        json_close(&line, '}');
    out_line(cli, &line);
}

static int say_left(struct op_run *head, struct many *many)
{
    qblk_op_report report = QBLK_INIT(qblk_op_report);

    report.result = QBLK_RESULT_LEFT;
    report.operation = many->left[0] != '\0' ? many->left : NULL;
    if (head->cli->opt.json)
        say_json(head->cli, many, false);
    return op_say_left(head, &report);
}

static int say_failure(struct op_run *head, struct many *many)
{
    struct cli *cli = head->cli;
    qblk_error error = many->cause;
    size_t len = strlen(error.text);

    if (error.kind == QBLK_KIND_CANCELLED && head->is_timed_out)
        (void)own_error(&error, QBLK_KIND_TIMEOUT, QBLK_E_TIMEOUT, "%s: timed out after %.3g s; the "
                        "operations were cancelled and undone", head->label,
                        (double)cli->opt.timeout_ms / 1000);
    else if (many->n_cancelled == many->n)
        (void)own_error(&error, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED, "%s: cancelled by the user; the "
                        "operations were undone", head->label);
    else if (many->n > 1 && many->n_refused < many->n)
        (void)snprintf(error.text + len, sizeof(error.text) - len, " (%s)",
                       text_str(&many->summary));
    if (cli->opt.json && many->ends_command)
        say_json(cli, many, false);
    if (many->ends_command || !cli->opt.json) {
        head->has_failed = true;
        return report_error(cli, &error);
    }
    if (!head->has_failed)
        head->failure = error;
    head->has_failed = true;
    return exit_status(error.kind);
}

static bool are_gone(const struct many *many)
{
    size_t n = 0;

    while (n < many->n && many->runs[n].is_gone)
        n++;
    return n == many->n;
}

static int say_end(struct op_run *head, struct many *many)
{
    struct cli *cli = head->cli;
    qblk_op_report report = QBLK_INIT(qblk_op_report);

    head->is_gone = are_gone(many);
    if (head->is_gone)
        return EXIT_DONE;
    /* Whatever became of the others, somebody has to look after what was left. */
    if (many->left[0] != '\0' && !many->runs[0].is_async_done)
        return say_left(head, many);
    if (many->cause.code != QBLK_E_NONE)
        return say_failure(head, many);
    if (head->is_cancelling && many->result == QBLK_RESULT_UNDONE && !cli->opt.undo) {
        (void)own_error(&many->cause, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED, "%s: cancelled by the user; the "
                        "operations were undone", head->label);
        return say_failure(head, many);
    }
    if (many->other_end != QBLK_RESULT_NONE && !head->is_cancelling) {
        report.result = many->other_end;
        return op_say_other_end(head, &report);
    }
    if (head->is_cancelling && many->result != QBLK_RESULT_PLANNED)
        note(cli, "the cancel came too late: it was done already");
    if (cli->opt.json && many->ends_command)
        say_json(cli, many, true);
    else if (cli->opt.json)
        text_addf(&head->results, "%s%s", head->results.len > 0 ? "," : "",
                  text_str(&many->results));
    return EXIT_DONE;
}

static int start_all(struct op_run *head, struct many *many, op_start_fn *start, qblk_error *error)
{
    int r = qblk_group_new(head->session.monitor, &many->group, error);

    for (size_t i = 0; i < many->n && r == 0; i++) {
        struct op_run *run = &many->runs[i];
        qblk_op_common common;

        run->cli = head->cli;
        run->past = head->past;
        run->many = many;
        run->many_head = head;
        run->session.monitor = head->session.monitor;
        memcpy(run->label, head->label, sizeof(run->label));
        op_fill_common(run, &common);
        r = start(run, &common, error);
        many->live += r == 0;
    }
    return r == 0 ? qblk_group_start(many->group, error) : r;
}

int many_continue(struct op_run *head, struct many *many, op_start_fn *start, const char *verb,
                  qblk_error *error)
{
    struct text label = { NULL, 0, 0 };
    int status;

    for (size_t i = 0; i < many->n; i++)
        text_addf(&label, "%s%.30s", i > 0 ? ", " : "", many->runs[i].disk);
    (void)snprintf(head->label, sizeof(head->label), "%s %.100s", verb, text_str(&label));
    text_free(&label);
    head->many = many;
    head->session.is_stopped = false;
    head->is_cancelling = head->was_stalled = false;
    if (start_all(head, many, start, error) < 0) {
        status = op_say_error(head, error);
        if (many->live > 0) { /* nothing was sent for them yet, but they know of this */
            qblk_group_leave(many->group);
            session_run(&head->session);
        }
    } else {
        progress_ask(&head->cli->progress, head->session.monitor);
        session_run(&head->session);
        progress_clear(&head->cli->progress);
        status = say_end(head, many);
    }
    head->many = NULL;
    text_free(&many->summary);
    text_free(&many->results);
    return status;
}

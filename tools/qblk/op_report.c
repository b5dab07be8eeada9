#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "op.h"
#include "report.h"
#include "sizes.h"
#include "stall.h"
#include "verbs.h"

/* Where several are under way, the one that an event is about: the disk as it was named, or the operation
 * that is taken up. */
static void add_whose(struct text *line, const struct op_run *run)
{
    if (run->cli->verb->bit == VERB_RECOVER)
        json_str(line, "operation", run->disk);
    else if (run->many != NULL)
        json_str(line, "disk", run->disk);
}

static void plan_json(struct op_run *run, const qblk_plan *plan)
{
    struct text line = { NULL, 0, 0 };

    json_event(&line, "plan");
    add_whose(&line, run);
    json_bool(&line, "dry_run", run->cli->opt.dry_run);
    json_str(&line, "chain_before", plan->chain_before);
    json_str(&line, "chain_after", plan->chain_after);
    json_str(&line, "warning", plan->warning);
    json_open(&line, "steps", '[');
    for (size_t i = 0; i < plan->n_steps; i++) {
        json_open(&line, NULL, '{');
        json_str(&line, "name", plan->steps[i].name);
        json_raw(&line, "command", plan->steps[i].command);
        json_raw(&line, "undo", plan->steps[i].undo);
        json_str(&line, "agent", plan->steps[i].agent);
        json_bool(&line, "conditional", plan->steps[i].is_conditional);
        json_close(&line, '}');
    }
    json_close(&line, ']');
    json_close(&line, '}');
    out_line(run->cli, &line);
}

static void plan_lines(struct op_run *run, const qblk_plan *plan)
{
    struct text text = { NULL, 0, 0 };

    text_add(&text, "before: ");
    text_add_plain(&text, plan->chain_before != NULL ? plan->chain_before : "?", false);
    text_add(&text, "\nafter:  ");
    text_add_plain(&text, plan->chain_after != NULL ? plan->chain_after : "?", false);
    text_add(&text, "\n");
    for (size_t i = 0; i < plan->n_steps; i++) {
        const qblk_step *step = &plan->steps[i];

        text_addf(&text, "%2zu. %s%s\n", i + 1, step->name,
                  step->is_conditional ? " (if need be)" : "");
        if (step->agent != NULL) {
            text_add(&text, "      to the guest agent at ");
            text_add_plain(&text, step->agent, false);
            text_add(&text, ":\n");
        }
        if (step->command != NULL) {
            text_add(&text, "      ");
            text_add_plain(&text, step->command, false);
            text_add(&text, "\n");
        }
        if (step->undo != NULL) {
            text_add(&text, "      undo: ");
            text_add_plain(&text, step->undo, false);
            text_add(&text, "\n");
        }
    }
    out_text(run->cli, text.s);
    text_free(&text);
}

void op_say_plan(struct op_run *run, const qblk_plan *plan)
{
    if (plan->warning != NULL)
        warn(run->cli, "%s", plan->warning);
    if (run->cli->opt.json)
        plan_json(run, plan);
    else if (run->cli->opt.dry_run)
        plan_lines(run, plan);
}

void op_say_step(struct op_run *run, const qblk_step *step, bool is_undoing)
{
    struct text line = { NULL, 0, 0 };

    if (run->cli->opt.json) {
        json_event(&line, "step");
        add_whose(&line, run);
        json_str(&line, "name", step->name);
        json_bool(&line, "undoing", is_undoing);
        json_raw(&line, "command", is_undoing ? step->undo : step->command);
        json_str(&line, "agent", step->agent);
        json_close(&line, '}');
        out_line(run->cli, &line);
    } else if (run->cli->opt.verbose > 0) {
        text_addf(&line, "%s: %s", is_undoing ? "undo" : "step", step->name);
        log_line(run->cli, line.s);
        text_free(&line);
    }
}

static void warn_stalled(struct op_run *run, const qblk_job_info *job)
{
    struct text text = { NULL, 0, 0 };

    if (job->is_stall_known && !run->was_stalled) {
        stall_add(&text, job);
        warn(run->cli, "%s", text.s);
        text_free(&text);
    }
    run->was_stalled = job->is_stalled && (run->was_stalled || job->is_stall_known);
}

void op_say_job(struct op_run *run, const qblk_job_info *job)
{
    if (run->cli->opt.json) {
        struct text line = { NULL, 0, 0 };

        json_event(&line, "job");
        json_job(&line, job);
        json_close(&line, '}');
        out_line(run->cli, &line);
    }
    warn_stalled(run, job);
    if (run->many != NULL)
        many_hear(run, job);
    else
        progress_show(&run->cli->progress, run->label, job);
}

void op_disk_members(struct text *line, const qblk_op_disk *disks, size_t n)
{
    json_open(line, "disks", '[');
    for (size_t i = 0; i < n; i++) {
        json_open(line, NULL, '{');
        json_str(line, "disk", disks[i].disk);
        json_str(line, "target", disks[i].target);
        json_str(line, "node", disks[i].node);
        json_close(line, '}');
    }
    json_close(line, ']');
}

void op_result_members(struct text *line, const qblk_op_report *report)
{
    json_str(line, "result", qblk_result_name(report->result));
    json_str(line, "operation", report->operation);
    json_str(line, "kind", report->kind);
    json_str(line, "disk", report->disk);
    json_str(line, "target", report->target);
    if (report->n_disks > 0)
        op_disk_members(line, report->disks, report->n_disks);
    json_str(line, "job", report->job);
    json_u64(line, "bytes", report->bytes);
    json_i64(line, "elapsed_ms", report->elapsed_ms);
    if (report->disk_size > 0)
        json_u64(line, "disk_size", report->disk_size);
    json_open(line, "notes", '[');
    for (size_t i = 0; i < report->n_notes; i++)
        json_str(line, NULL, report->notes[i]);
    json_close(line, ']');
}

static void result_json(struct op_run *run, const qblk_op_report *report)
{
    struct text line = { NULL, 0, 0 };

    if (run->is_one_of_many) {
        json_open(&run->results, NULL, '{');
        op_result_members(&run->results, report);
        json_close(&run->results, '}');
        return;
    }
    json_open(&line, NULL, '{');
    json_open(&line, "result", '{');
    op_result_members(&line, report);
    json_close(&line, '}');
    json_close(&line, '}');
    out_line(run->cli, &line);
}

/* An error that ends this operation, and perhaps not the command. */
int op_say_error(struct op_run *run, const qblk_error *error)
{
    struct text line = { NULL, 0, 0 };

    if (!run->is_one_of_many || !run->cli->opt.json) {
        run->has_failed = true;
        return report_error(run->cli, error);
    }
    if (!run->has_failed)
        run->failure = *error;
    run->has_failed = true;
    json_event(&line, "failed");
    json_str(&line, "operation", error->operation[0] != '\0' ? error->operation : run->disk);
    json_str(&line, "message", error->text);
    json_close(&line, '}');
    out_line(run->cli, &line);
    return exit_status(error->kind);
}

/* Several disks: a line each. */
static void disk_lines(struct op_run *run, const qblk_op_report *report)
{
    for (size_t i = 0; i < report->n_disks; i++) {
        const qblk_op_disk *disk = &report->disks[i];
        struct text text = { NULL, 0, 0 };
        struct text line = { NULL, 0, 0 };

        text_addf(&text, "%s %s to %s: %s", run->past, disk->disk != NULL ? disk->disk : "?",
                  disk->target != NULL ? disk->target : disk->node,
                  qblk_result_name(report->result));
        text_add_plain(&line, text.s, false);
        text_free(&text);
        out_line(run->cli, &line);
    }
}

void op_result_line(struct op_run *run, const qblk_op_report *report)
{
    const char *disk = report->disk != NULL ? report->disk : run->disk;
    const char *target = report->target != NULL ? report->target : run->target;
    struct text text = { NULL, 0, 0 };
    struct text line = { NULL, 0, 0 };
    char size[SIZE_TEXT];
    char time[SIZE_TEXT];

    if (report->result == QBLK_RESULT_PLANNED) {
        note(run->cli, "dry run: nothing was changed");
        return;
    }
    if (report->n_disks > 0) {
        disk_lines(run, report);
        return;
    }
    if (run->is_async_done) {
        text_add(&text, report->job != NULL ? report->job : "");
    } else if (report->result == QBLK_RESULT_KEPT) {
        text_addf(&text, "%s %s%s%s: in sync, and kept so by job %s", run->past, disk,
                  target != NULL ? " to " : "", target != NULL ? target : "",
                  report->job != NULL ? report->job : "?");
    } else {
        text_addf(&text, "%s %s%s%s: %s", run->past, disk, target != NULL ? " to " : "",
                  target != NULL ? target : "", qblk_result_name(report->result));
        if (report->disk_size > 0)
            text_addf(&text, " (%s)", format_size(report->disk_size, size));
        else if (report->job != NULL)
            text_addf(&text, " (%s in %s)", format_size(report->bytes, size),
                      format_elapsed(report->elapsed_ms, time));
    }
    text_add_plain(&line, text.s, false);
    text_free(&text);
    out_line(run->cli, &line);
}

static bool is_noted(const qblk_op_report *report, const char *file)
{
    for (size_t i = 0; report != NULL && i < report->n_notes; i++) {
        if (strstr(report->notes[i], file) != NULL)
            return true;
    }
    return false;
}

void op_say_files(struct op_run *run, const qblk_op_report *report)
{
    run->are_files_told = true;
    for (size_t i = 0; run->open != NULL && i < run->open->n_files; i++) {
        if (!is_noted(report, run->open->files[i]))
            note(run->cli, "file %s, which operation %s makes, is left as it is: the connection was lost before it "
                 "was seen how far that had got", run->open->files[i], run->open->operation);
    }
}

void op_say_notes(struct op_run *run, const qblk_op_report *report)
{
    for (size_t i = 0; i < report->n_notes; i++)
        note(run->cli, "%s", report->notes[i]);
    if (report->result == QBLK_RESULT_LOST)
        op_say_files(run, report);
}

void op_say_record(struct op_run *run, const qblk_error *error)
{
    if (error != NULL && error->code == QBLK_E_JOURNAL && run->cli->verb->bit == VERB_RECOVER)
        note(run->cli, RECORD_ADVICE, error->operation);
}

static void name_error(qblk_error *error, const qblk_op_report *report)
{
    (void)snprintf(error->job, sizeof(error->job), "%s", report->job != NULL ? report->job : "");
    (void)snprintf(error->operation, sizeof(error->operation), "%s",
                   report->operation != NULL ? report->operation : "");
}

/* Left for a signal or at the deadline. */
int op_say_left(struct op_run *run, const qblk_op_report *report)
{
    bool is_signal = run->leave_signal != 0;
    qblk_error_kind kind = is_signal ? QBLK_KIND_CANCELLED : QBLK_KIND_TIMEOUT;
    qblk_error_code code = is_signal ? QBLK_E_CANCELLED : QBLK_E_TIMEOUT;
    size_t n = run->many != NULL ? run->many->n_left : 1;
    bool is_undone = run->is_cancelling || run->cli->opt.undo;
    char why[64];
    qblk_error error;

    op_say_notes(run, report);
    if (is_signal)
        (void)snprintf(why, sizeof(why), "interrupted (%s)", strsignal(run->leave_signal));
    else
        (void)snprintf(why, sizeof(why), "timed out after %.3g s",
                       (double)run->cli->opt.timeout_ms / 1000);
    if (report->operation == NULL)
        (void)own_error(&error, kind, code, "%s: %s, before anything was changed", run->label, why);
    else if (n > 1)
        (void)own_error(&error, kind, code, "%s: %s; %zu operations%s were left as they are%s", run->label, why,
                        n, is_undone ? ", which were being undone," : "",
                        is_undone          ? ""
                        : run->was_stalled ? ", of which one is stopped by an I/O error"
                                           : ", and QEMU goes on with them");
    else
        (void)own_error(&error, kind, code, "%s: %s; operation %s%s was left as it is%s%s%s", run->label, why,
                        report->operation, is_undone ? ", which was being undone," : "",
                        report->job != NULL ? ", with its job " : "", report->job != NULL ? report->job : "",
                        is_undone          ? ""
                        : run->was_stalled ? ", which is stopped by an I/O error"
                                           : ", and QEMU goes on with it");
    name_error(&error, report);
    /* Somebody has to look after what was left, so people are told as well. */
    if (run->cli->opt.json)
        log_line(run->cli, error.text);
    run->session.die_of = run->leave_signal;
    run->is_last_said = true;
    return is_signal && report->operation != NULL
               ? report_error_as(run->cli, "left-open", &error)
               : report_error(run->cli, &error);
}

static int say_cancelled_by_timeout(struct op_run *run, const qblk_op_report *report)
{
    qblk_error error;

    (void)own_error(&error, QBLK_KIND_TIMEOUT, QBLK_E_TIMEOUT, "%s: timed out after %.3g s; the "
                    "operation was cancelled and undone", run->label,
                    (double)run->cli->opt.timeout_ms / 1000);
    name_error(&error, report);
    return report_error(run->cli, &error);
}

/* What was taken up was to be brought to its end, and cancelled meanwhile. */
static int say_undone_instead(struct op_run *run, const qblk_op_report *report)
{
    qblk_error error;

    op_say_notes(run, report);
    (void)own_error(&error, run->is_timed_out ? QBLK_KIND_TIMEOUT : QBLK_KIND_CANCELLED,
                    run->is_timed_out ? QBLK_E_TIMEOUT : QBLK_E_CANCELLED, "%s: %s; the operation was undone",
                    run->label, run->is_timed_out ? "timed out" : "cancelled by the user");
    name_error(&error, report);
    return op_say_error(run, &error);
}

bool op_is_gone(struct op_run *run, const qblk_error *error)
{
    struct cli *cli = run->cli;

    run->is_gone = error != NULL && error->code == QBLK_E_UNKNOWN_JOB && cli->verb->bit == VERB_RECOVER &&
                   cli->opt.operation == NULL;
    if (run->is_gone)
        note(cli, "operation %s is not open any more: its client has brought it to its end meanwhile", run->disk);
    return run->is_gone;
}

bool op_is_users_cancel(const qblk_error *error)
{
    return error->kind == QBLK_KIND_CANCELLED && strcmp(error->text, "cancelled by the user") == 0;
}

bool op_is_other_end(const struct op_run *run, qblk_result result)
{
    qblk_ending ending = run->has_endings && !run->is_cancelling ? run->cli->opt.ending : QBLK_END_DEFAULT;

    return (ending == QBLK_END_PIVOT && (result == QBLK_RESULT_FINISHED || result == QBLK_RESULT_UNDONE)) ||
           (ending == QBLK_END_FINISH && (result == QBLK_RESULT_PIVOTED || result == QBLK_RESULT_UNDONE));
}

int op_say_other_end(struct op_run *run, const qblk_op_report *report)
{
    qblk_error error;

    (void)own_error(&error, QBLK_KIND_FAILED, QBLK_E_JOB_STATE, "%s: it has ended as '%s' and is closed; the "
                    "disk has %s", run->label, qblk_result_name(report->result),
                    report->result == QBLK_RESULT_PIVOTED ? "moved" : "not moved");
    name_error(&error, report);
    return op_say_error(run, &error);
}

static int say_result(struct op_run *run, const qblk_op_report *report)
{
    if (op_is_other_end(run, report->result)) {
        op_say_notes(run, report);
        return op_say_other_end(run, report);
    }
    if (run->is_cancelling && report->result == QBLK_RESULT_UNDONE && !run->cli->opt.undo)
        return say_undone_instead(run, report);
    if (run->is_cancelling && report->result != QBLK_RESULT_PLANNED)
        note(run->cli, "the cancel came too late: it was done already");
    if (run->cli->opt.json) {
        result_json(run, report);
    } else {
        op_result_line(run, report);
        op_say_notes(run, report);
    }
    return EXIT_DONE;
}

int op_say_end(struct op_run *run, const qblk_op_report *report, const qblk_error *error)
{
    qblk_error mine;

    switch (report->result) {
    case QBLK_RESULT_COMPLETED:
    case QBLK_RESULT_FINISHED:
    case QBLK_RESULT_PIVOTED:
    case QBLK_RESULT_KEPT:
    case QBLK_RESULT_PLANNED:
    case QBLK_RESULT_UNDONE:
        return say_result(run, report);
    case QBLK_RESULT_LEFT:
        return run->is_async_done ? say_result(run, report) : op_say_left(run, report);
    case QBLK_RESULT_NONE:
    case QBLK_RESULT_FAILED:
    case QBLK_RESULT_CANCELLED:
    case QBLK_RESULT_LOST:
    default:
        break;
    }
    op_say_notes(run, report);
    op_say_record(run, error);
    if (report->result == QBLK_RESULT_CANCELLED && run->is_timed_out)
        return say_cancelled_by_timeout(run, report);
    if (error == NULL) {
        (void)own_error(&mine, QBLK_KIND_FAILED, QBLK_E_NONE, "%s: it ended as '%s', without a "
                        "reason", run->label, qblk_result_name(report->result));
        error = &mine;
    } else if (op_is_users_cancel(error)) {
        mine = *error;
        (void)snprintf(mine.text, sizeof(mine.text), "%s: cancelled by the user; the operation was undone",
                       run->label);
        error = &mine;
    }
    return op_say_error(run, error);
}

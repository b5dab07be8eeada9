#include "remains.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "op.h"
#include "progress.h"
#include "report.h"
#include "sizes.h"
#include "text.h"

static bool is_wanted(const struct cli *cli, const qblk_open_op *op)
{
    return cli->opt.operation == NULL || strcmp(cli->opt.operation, op->operation) == 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void strings(struct text *line, const char *key, const char *const *v, size_t n)
{
    json_open(line, key, '[');
    for (size_t i = 0; i < n; i++)
        json_str(line, NULL, v[i]);
    json_close(line, ']');
}

static bool is_unread(const qblk_open_op *op)
{
    return op->has_journal && op->why.code == QBLK_E_JOURNAL;
}

static void op_json(struct text *line, const qblk_open_op *op)
{
    const qblk_job_info *job = op->job;
    bool has_ended = job != NULL && job->outcome != QBLK_OUTCOME_NONE;
    char drop[64];

    json_open(line, NULL, '{');
    json_str(line, "operation", op->operation);
    json_str(line, "kind", op->kind);
    json_str(line, "disk", op->disk);
    json_str(line, "target", op->target);
    if (op->n_disks > 0)
        op_disk_members(line, op->disks, op->n_disks);
    json_str(line, "intent", op->intent);
    strings(line, "files", op->files, op->n_files);
    strings(line, "with", op->with, op->n_with);
    json_bool(line, "journal", op->has_journal);
    json_str(line, "stage", qblk_stage_name(op->stage));
    json_str(line, "job", job != NULL ? job->id : NULL);
    json_word(line, "state", job != NULL ? job->status : NULL);
    json_str(line, "outcome", job != NULL && has_ended ? qblk_job_outcome_name(job->outcome)
                                                       : NULL);
    json_str(line, "error", job != NULL ? job->error : NULL);
    if (job != NULL) {
        json_u64(line, "current", job->current);
        json_u64(line, "total", job->total);
        json_bool(line, "stalled", job->is_stalled);
    } else {
        json_null(line, "current");
        json_null(line, "total");
        json_bool(line, "stalled", false);
    }
    json_str(line, "fate", qblk_fate_name(op->fate));
    json_str(line, "why", op->why.code != QBLK_E_NONE ? op->why.text : NULL);
    (void)snprintf(drop, sizeof(drop), RECORD_DROP, op->operation);
    json_str(line, "command", is_unread(op) ? drop : NULL);
    if (op->has_client)
        json_u64(line, "client", (uint64_t)op->client);
    else
        json_null(line, "client");
    json_close(line, '}');
}

static void stray_json(struct text *line, const qblk_stray *stray)
{
    json_open(line, NULL, '{');
    json_str(line, "kind", stray->kind);
    json_str(line, "name", stray->name);
    json_str(line, "what", stray->what);
    json_str(line, "command", stray->command);
    json_raw(line, "qmp", stray->qmp);
    json_close(line, '}');
}

static void list_json(struct cli *cli, const qblk_remains *remains)
{
    struct text line = { NULL, 0, 0 };
    const qblk_open_op *op;
    const qblk_stray *stray;

    json_open(&line, NULL, '{');
    json_open(&line, "result", cli->opt.all ? '{' : '[');
    if (cli->opt.all)
        json_open(&line, "operations", '[');
    for (int i = 0; (op = qblk_remains_op(remains, i)) != NULL; i++) {
        if (is_wanted(cli, op))
            op_json(&line, op);
    }
    if (cli->opt.all) {
        json_close(&line, ']');
        json_open(&line, "others", '[');
        for (int i = 0; (stray = qblk_remains_stray(remains, i)) != NULL; i++)
            stray_json(&line, stray);
        json_close(&line, ']');
    }
    json_close(&line, cli->opt.all ? '}' : ']');
    json_close(&line, '}');
    out_line(cli, &line);
}

/* ---- for people ------------------------------------------------------------------------------ */

static void add_disk(struct text *line, const char *disk, const char *target)
{
    if (disk != NULL) {
        text_add(line, " ");
        text_add_plain(line, disk, false);
    }
    if (target != NULL) {
        text_add(line, " to ");
        text_add_plain(line, target, false);
    }
}

/* "1f2e3d4c  copy of vd0 to /x/copy.qcow2, meant to pivot" */
static void add_head(struct text *line, const qblk_open_op *op)
{
    text_addf(line, "%s  ", op->operation);
    text_add_plain(line, op->kind != NULL ? op->kind : "operation", false);
    if (op->disk != NULL || op->n_disks > 0)
        text_add(line, " of");
    for (size_t i = 0; i < op->n_disks; i++) {
        add_disk(line, op->disks[i].disk, op->disks[i].target);
        text_add(line, i + 1 < op->n_disks ? "," : "");
    }
    if (op->n_disks == 0)
        add_disk(line, op->disk, op->target);
    if (op->intent != NULL) {
        text_add(line, ", meant to ");
        text_add_plain(line, op->intent, false);
    }
}

static void add_job(struct text *line, const qblk_job_info *job)
{
    char size[SIZE_TEXT];

    text_add(line, "job ");
    text_add_plain(line, job->id, false);
    text_add(line, " ");
    text_add_plain(line, job->status != NULL ? job->status : "", false);
    if (job->outcome != QBLK_OUTCOME_NONE)
        text_addf(line, ", %s", qblk_job_outcome_name(job->outcome));
    else if (job->total > 0)
        text_addf(line, ", %d %% of %s", progress_percent(job), format_size(job->total, size));
    if (job->is_stalled)
        text_add(line, ", stopped on an I/O error");
    if (job->error != NULL) {
        text_add(line, " (");
        text_add_plain(line, job->error, false);
        text_add(line, ")");
    }
}

static const char *stage_words(qblk_stage stage)
{
    switch (stage) {
    case QBLK_STAGE_BEGUN:
        return "begun; nothing is changed yet";
    case QBLK_STAGE_PREPARED:
        return "prepared; what it was to do has not started";
    case QBLK_STAGE_RUNNING:
        return "under way";
    case QBLK_STAGE_READY:
        return "in sync";
    case QBLK_STAGE_ENDED:
        return "over, and nobody has heard how";
    case QBLK_STAGE_CLEANING:
        return "done; only cleaning is left";
    case QBLK_STAGE_UNKNOWN:
    default:
        return "not known";
    }
}

static const char *fate_words(qblk_fate fate)
{
    switch (fate) {
    case QBLK_FATE_LATER:
        return "takes it up later";
    case QBLK_FATE_CLOSE:
        return "removes its nodes; there is nothing to undo";
    case QBLK_FATE_UNDO:
        return "undoes it";
    case QBLK_FATE_WAIT:
        return "waits for its job, which ends by itself, and cleans up";
    case QBLK_FATE_FINISH:
        return "waits until it is in sync, ends it without a pivot, and cleans up";
    case QBLK_FATE_PIVOT:
        return "waits until it is in sync, moves the disk, and cleans up";
    case QBLK_FATE_KEEP:
        return "leaves it in sync; --pivot, --finish or --undo end it";
    case QBLK_FATE_CLEAN:
        return "reports it and cleans up";
    case QBLK_FATE_GO_ON:
        return "goes on with it, and cleans up";
    case QBLK_FATE_LEAVE:
    default:
        return "leaves it alone";
    }
}

static void list_op(struct cli *cli, const qblk_open_op *op)
{
    struct text line = { NULL, 0, 0 };

    add_head(&line, op);
    out_line(cli, &line);
    text_addf(&line, "    %s", stage_words(op->stage));
    if (op->job != NULL) {
        text_add(&line, ": ");
        add_job(&line, op->job);
    }
    out_line(cli, &line);
    for (size_t i = 0; i < op->n_files; i++) {
        text_add(&line, "    makes ");
        text_add_plain(&line, op->files[i], false);
        out_line(cli, &line);
    }
    for (size_t i = 0; i < op->n_with; i++)
        text_addf(&line, "%s%s", i == 0 ? "    together with " : ", ", op->with[i]);
    if (op->n_with > 0)
        out_line(cli, &line);
    if (op->has_client && op->client != 0)
        text_addf(&line, "    process %ld is", op->client);
    else if (op->has_client)
        text_add(&line, "    another process is");
    if (op->has_client) {
        text_add(&line, " at work on it, and recover is refused; if it is killed,");
        out_line(cli, &line);
    }
    text_addf(&line, "    recover %s", fate_words(op->fate));
    if (op->why.code != QBLK_E_NONE) {
        text_add(&line, ": ");
        text_add_plain(&line, op->why.text, false);
    }
    out_line(cli, &line);
    if (is_unread(op)) {
        text_addf(&line, "    " RECORD_ADVICE, op->operation);
        out_line(cli, &line);
    }
}

static void list_stray(struct cli *cli, const qblk_stray *stray)
{
    struct text line = { NULL, 0, 0 };

    text_addf(&line, "%s ", stray->kind);
    text_add_plain(&line, stray->name, false);
    text_add(&line, " (");
    text_add_plain(&line, stray->what, false);
    text_addf(&line, ")%s: qblk ", strcmp(stray->kind, "node") == 0 ? ", which nothing uses" : "");
    text_add_plain(&line, stray->command, false);
    out_line(cli, &line);
}

void remains_list(struct cli *cli, const qblk_remains *remains)
{
    struct text line = { NULL, 0, 0 };
    const qblk_open_op *op;
    const qblk_stray *stray;
    bool found = false;

    if (cli->opt.json) {
        list_json(cli, remains);
        return;
    }
    for (int i = 0; (op = qblk_remains_op(remains, i)) != NULL; i++) {
        if (!is_wanted(cli, op))
            continue;
        list_op(cli, op);
        found = true;
    }
    if (!found) {
        text_add(&line, "nothing to recover");
        out_line(cli, &line);
    }
    for (int i = 0; cli->opt.all && (stray = qblk_remains_stray(remains, i)) != NULL; i++)
        list_stray(cli, stray);
}

#include "recorder.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recorder recorder;

void recorder_reset(void)
{
    free(recorder.planned);
    memset(&recorder, 0, sizeof(recorder));
}

static void called(enum recorder_call call, qblk_op *op)
{
    if (recorder.releases > 0 || recorder.calls[CALL_END] > (call == CALL_END ? 1 : 0))
        recorder.late++;
    if (recorder.act != NULL && recorder.act_call == call &&
        recorder.calls[call] == recorder.act_at)
        recorder.act(op);
}

static void on_plan(qblk_op *op, const qblk_plan *plan, void *arg)
{
    size_t len = 0;

    (void)arg;
    (void)snprintf(recorder.operation, sizeof(recorder.operation), "%s", qblk_op_id(op));
    recorder.calls[CALL_PLAN]++;
    for (size_t i = 0; i < plan->n_steps; i++) {
        const qblk_step *step = &plan->steps[i];
        const char *command = step->agent == NULL && !step->is_conditional ? step->command : NULL;
        size_t more = command != NULL ? strlen(command) + 1 : 0;

        recorder.planned = realloc(recorder.planned, len + more + 1);
        if (more > 0)
            (void)snprintf(recorder.planned + len, more + 1, "%s\n", command);
        len += more;
    }
    called(CALL_PLAN, op);
}

static void on_step(qblk_op *op, const qblk_step *step, bool undoing, void *arg)
{
    (void)arg;
    ck_assert_ptr_nonnull(step->name);
    recorder.calls[CALL_STEP]++;
    if (undoing) {
        recorder.undone++;
        recorder.disorder += recorder.last_undone != NULL &&
                             (const void *)step >= recorder.last_undone;
        recorder.last_undone = step;
    }
    called(CALL_STEP, op);
}

static void on_job(qblk_op *op, const qblk_job_info *job, void *arg)
{
    (void)arg;
    ck_assert_str_eq(job->operation, qblk_op_id(op));
    recorder.calls[CALL_JOB]++;
    called(CALL_JOB, op);
}

static void on_end(qblk_op *op, const qblk_op_report *report, const qblk_error *error, void *arg)
{
    bool needs_error = report->result == QBLK_RESULT_FAILED ||
                       report->result == QBLK_RESULT_CANCELLED ||
                       report->result == QBLK_RESULT_LOST;

    (void)arg;
    recorder.calls[CALL_END]++;
    recorder.result = report->result;
    recorder.has_error = error != NULL;
    ck_assert_int_eq(error != NULL, needs_error);
    if (error != NULL)
        recorder.error = *error;
    if (report->job != NULL)
        (void)snprintf(recorder.job, sizeof(recorder.job), "%s", report->job);
    for (size_t i = 0; i < report->n_notes; i++) {
        size_t len = strlen(recorder.notes);

        (void)snprintf(recorder.notes + len, sizeof(recorder.notes) - len, "%s\n",
                       report->notes[i]);
    }
    called(CALL_END, op);
}

static void release(void *arg)
{
    ck_assert_ptr_eq(arg, &recorder);
    recorder.releases++;
}

void recorder_watch(qblk_op_common *common)
{
    common->ops = (qblk_op_ops){ sizeof(common->ops), on_plan, on_step, on_job, on_end, release };
    common->arg = &recorder;
}

bool recorder_ended(void)
{
    return recorder.calls[CALL_END] > 0 || recorder.releases > 0;
}

bool recorder_released(void)
{
    return recorder.releases > 0;
}

const struct errand errands[N_ERRANDS] = {
    { .name = "pull", .kind = "pull", .result = QBLK_RESULT_COMPLETED },
    { .name = "pull-base", .kind = "pull", .base = "base", .result = QBLK_RESULT_COMPLETED },
    { .name = "copy", .kind = "copy", .result = QBLK_RESULT_FINISHED },
    { .name = "copy-pivot", .kind = "copy", .ending = QBLK_END_PIVOT,
      .result = QBLK_RESULT_PIVOTED },
    { .name = "copy-keep", .kind = "copy", .ending = QBLK_END_KEEP, .result = QBLK_RESULT_KEPT },
    { .name = "copy-shallow-pivot", .kind = "copy", .ending = QBLK_END_PIVOT, .shallow = true,
      .result = QBLK_RESULT_PIVOTED },
    { .name = "copy-reuse", .kind = "copy", .reuse = true, .result = QBLK_RESULT_FINISHED },
    { .name = "copy-raw-pivot", .kind = "copy", .format = "raw", .ending = QBLK_END_PIVOT,
      .result = QBLK_RESULT_PIVOTED },
    { .name = "copy-legacy", .kind = "copy", .legacy = true, .result = QBLK_RESULT_FINISHED },
    { .name = "copy-legacy-reuse-pivot", .kind = "copy", .legacy = true, .reuse = true,
      .ending = QBLK_END_PIVOT, .result = QBLK_RESULT_PIVOTED },
    { .name = "backup", .kind = "backup", .result = QBLK_RESULT_COMPLETED },
    { .name = "backup-top", .kind = "backup", .sync = "top", .result = QBLK_RESULT_COMPLETED },
    { .name = "backup-legacy", .kind = "backup", .legacy = true,
      .result = QBLK_RESULT_COMPLETED },
    { .name = "swap", .kind = "swap", .reuse = true, .result = QBLK_RESULT_PIVOTED },
    { .name = "snapshot", .kind = "snapshot", .result = QBLK_RESULT_COMPLETED },
    { .name = "snapshot-two", .kind = "snapshot", .is_of_two = true,
      .result = QBLK_RESULT_COMPLETED },
    { .name = "snapshot-reuse", .kind = "snapshot", .is_of_two = true, .reuse = true,
      .result = QBLK_RESULT_COMPLETED },
};

static int start_snapshot(const struct errand *errand, struct peer *peer, qblk_monitor *monitor,
                          bool is_dry, qblk_op **ret_op, qblk_error *error)
{
    qblk_snapshot_options options = QBLK_INIT(qblk_snapshot_options);
    char target[2][128];
    const qblk_snapshot_disk disks[] = { { "vd0", target[0] }, { "vd1", target[1] } };

    (void)snprintf(target[0], sizeof(target[0]), "%s/target", peer->dir);
    (void)snprintf(target[1], sizeof(target[1]), "%s/target2", peer->dir);
    if (errand->is_of_two && peer->second[0] == '\0')
        peer_add_disk(peer);
    recorder_watch(&options.common);
    options.common.dry_run = is_dry;
    options.reuse = errand->reuse;
    return qblk_snapshot(monitor, disks, errand->is_of_two ? 2 : 1, &options, ret_op, error);
}

int errand_start(const struct errand *errand, struct peer *peer, qblk_monitor *monitor,
                 bool is_dry, qblk_op **ret_op, qblk_error *error)
{
    char target[128];

    (void)snprintf(target, sizeof(target), "%s/target", peer->dir);
    if (strcmp(errand->kind, "pull") == 0) {
        qblk_pull_options options = QBLK_INIT(qblk_pull_options);

        recorder_watch(&options.common);
        options.common.dry_run = is_dry;
        options.base = errand->base;
        return qblk_pull(monitor, "vd0", &options, ret_op, error);
    }
    if (strcmp(errand->kind, "copy") == 0) {
        qblk_copy_options options = QBLK_INIT(qblk_copy_options);

        recorder_watch(&options.common);
        options.common.dry_run = is_dry;
        options.ending = errand->ending;
        options.shallow = errand->shallow;
        options.reuse = errand->reuse;
        options.legacy = errand->legacy;
        options.format = errand->format;
        return qblk_copy(monitor, "vd0", target, &options, ret_op, error);
    }
    if (strcmp(errand->kind, "swap") == 0) {
        qblk_swap_options options = QBLK_INIT(qblk_swap_options);

        recorder_watch(&options.common);
        options.common.dry_run = is_dry;
        return qblk_swap(monitor, "vd0", target, &options, ret_op, error);
    }
    if (strcmp(errand->kind, "snapshot") == 0)
        return start_snapshot(errand, peer, monitor, is_dry, ret_op, error);

    qblk_backup_options options = QBLK_INIT(qblk_backup_options);

    recorder_watch(&options.common);
    options.common.dry_run = is_dry;
    options.sync = errand->sync;
    options.reuse = errand->reuse;
    options.legacy = errand->legacy;
    return qblk_backup(monitor, "vd0", target, &options, ret_op, error);
}

/* In this world a file holds the name of its backing file. */
static void make_file(const struct peer *peer, const char *name, const char *backing)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", peer->dir, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    if (backing != NULL)
        ck_assert_int_gt(fprintf(file, "%s/%s", peer->dir, backing), 0);
    else
        ck_assert_int_gt(fprintf(file, "an image that records none"), 0);
    ck_assert_int_eq(fclose(file), 0);
}

void errand_begin(const struct errand *errand, struct peer *peer, qblk_monitor *monitor,
                  bool is_dry)
{
    qblk_error error;

    if (errand->reuse)
        make_file(peer, "target", strcmp(errand->kind, "snapshot") == 0 ? "top.qcow2" : NULL);
    if (errand->reuse && errand->is_of_two)
        make_file(peer, "target2", "other.qcow2");
    ck_assert_msg(errand_start(errand, peer, monitor, is_dry, NULL, &error) == 0, "%s",
                  error.text);
}

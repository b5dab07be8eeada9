/* Backup: blockdev-backup (or drive-backup) the disk as of now to a target. Contract: the target is
 * the disk as it was when the job started; the disk never moves.
 *
 * In 5.2 a concluded backup holds its nodes until it is dismissed, so the journal says that it
 * ended, and it is dismissed, before the target's nodes go. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/op.h"
#include "qapi_types.h"

/* What blockdev-backup and drive-backup know both. */
#define BACKUP_ARGS(op)                                                                            \
    .job_id = (op)->names.job,                                                                     \
    .sync = (op)->shallow ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL,                \
    .has_speed = (op)->common.speed > 0, .speed = (int64_t)(op)->common.speed,                     \
    .has_compress = (op)->compress, .compress = (op)->compress,                                    \
    .has_on_source_error = (op)->common.on_error != NULL,                                          \
    .on_source_error = plan_on_error((op)->common.on_error),                                       \
    .has_on_target_error = (op)->common.on_error != NULL,                                          \
    .on_target_error = plan_on_error((op)->common.on_error),                                       \
    .has_auto_dismiss = true, .auto_dismiss = false

static void start_modern(qblk_op *op)
{
    struct qapi_blockdev_backup_args args = {
        BACKUP_ARGS(op),
        .device = qblk_graph_node(op->graph, op->root)->name,
        .target = op->to.names.node,
        .filter_node_name = op->names.filter,
    };
    struct step *step = plan_step(op, STEP_START, "start blockdev-backup");

    step_command(&op->engine, step, &qapi_cmd_blockdev_backup, &args);
}

static void start_legacy(qblk_op *op)
{
    struct qapi_drive_backup_args args = {
        BACKUP_ARGS(op),
        .device = plan_legacy_device(op),
        .target = op->to.path,
        .format = op->to.format,
        .has_mode = true,
        .mode = op->to.reuse ? QAPI_NEW_IMAGE_MODE_EXISTING : QAPI_NEW_IMAGE_MODE_ABSOLUTE_PATHS,
    };
    struct step *step = plan_step(op, STEP_START, "start drive-backup");

    step_command(&op->engine, step, &qapi_cmd_drive_backup, &args);
}

static void plan_clean(qblk_op *op)
{
    if (!op->legacy)
        target_plan_removal(op, &op->to);
}

static void plan_end(qblk_op *op)
{
    (void)plan_step(op, STEP_ENDED, "wait for the job's end");
    (void)plan_end_journal(op);
    plan_dismiss(op);
    plan_clean(op);
    plan_close_journal(op);
}

static int plan_steps(qblk_op *op, int backing, qblk_error *error)
{
    int r;

    target_plan_look(op, &op->to);
    r = plan_open_journal(op, "finish", error);
    if (r < 0)
        return r;
    if (op->legacy) {
        target_plan_legacy(op, &op->to, start_legacy);
    } else {
        r = target_plan(op, &op->to, backing, error);
        if (r < 0)
            return r;
        start_modern(op);
    }
    plan_end(op);
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int backing = -1, r = plan_check_busy(op, -1, error);

    op->shallow = strcmp(op->sync, "top") == 0;
    if (r == 0 && op->shallow) {
        backing = graph_backing_image(op->graph, op->top);
        if (backing < 0) {
            engine_note(&op->engine, "disk %s has no backing image, so its top image is all of it",
                        op->disk_name);
            op->shallow = false;
        }
    }
    if (r == 0)
        r = target_suit(op, &op->to, error);
    if (r == 0)
        r = target_check(op, &op->to, op->shallow, error);
    if (r == 0)
        r = target_record(op, &op->to, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    return r == 0 ? plan_steps(op, backing, error) : r;
}

const struct op_kind op_backup = {
    .name = "backup",
    .job_type = "backup",
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_clean,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_backup(qblk_monitor *monitor, const char *disk, const char *target,
                const qblk_backup_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_backup_options o = QBLK_INIT(qblk_backup_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_backup_options", error);

    if (r < 0)
        return r;
    if (o.sync == NULL)
        o.sync = "full";
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = op_check_target(target, o.format, error);
    if (r == 0 && strcmp(o.sync, "full") != 0 && strcmp(o.sync, "top") != 0)
        r = err_set(error, QBLK_E_ARGUMENT, "\"%s\" is nothing to back up; choose full or top",
                    o.sync);
    if (r == 0 && o.compress && o.format != NULL && strcmp(o.format, "raw") == 0)
        r = err_set(error, QBLK_E_ARGUMENT, "a raw target cannot be compressed; use --format qcow2");
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_backup, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->to.reuse = o.reuse;
    op->to.kind = remote_is_uri(target) ? TARGET_NBD : TARGET_FILE;
    op->legacy = o.legacy;
    op->compress = o.compress;

    const struct op_string strings[] = {
        { &op->to.path, target },
        { &op->to.format, o.format },
        { &op->sync, o.sync },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}

/* Copy: blockdev-mirror (or drive-mirror) the disk to a target, then finish, pivot, or keep going.
 * Contract: until the pivot the disk stays where it is, whatever fails; finish leaves a target that is
 * a copy as of one instant; pivot moves the disk and lets go of the images that nobody uses then.
 *
 * A mirror holds the guest's writes while it is pending, so it finalizes by itself. It lets go of its
 * nodes when it concludes, so they are cleaned up first and the job dismissed last. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

static void start_modern(qblk_op *op)
{
    struct qapi_blockdev_mirror_args args = {
        .job_id = op->names.job,
        .device = qblk_graph_node(op->graph, op->root)->name,
        .target = op->to.names.node,
        .sync = op->shallow ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL,
        .filter_node_name = op->names.filter,
        .has_speed = op->common.speed > 0, .speed = (int64_t)op->common.speed,
        .has_auto_dismiss = true, .auto_dismiss = false,
    };
    struct step *step = plan_step(op, STEP_START, "start blockdev-mirror");

    /* So that a filter above the image survives the pivot. */
    if (op->root != op->top)
        args.replaces = qblk_graph_node(op->graph, op->top)->name;
    if (op->common.on_error != NULL) {
        args.has_on_source_error = args.has_on_target_error = true;
        args.on_source_error = args.on_target_error = plan_on_error(op);
    }
    step_command(&op->engine, step, &qapi_cmd_blockdev_mirror, &args);
}

static void start_legacy(qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    struct qapi_drive_mirror_args args = {
        .job_id = op->names.job,
        .device = disk->drive[0] != '\0' ? disk->drive
                                         : qblk_graph_node(op->graph, op->root)->name,
        .target = op->to.path,
        .format = op->to.format,
        .node_name = op->to.names.node,
        .sync = op->shallow ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL,
        .has_mode = true,
        .mode = op->to.reuse ? QAPI_NEW_IMAGE_MODE_EXISTING : QAPI_NEW_IMAGE_MODE_ABSOLUTE_PATHS,
        .has_speed = op->common.speed > 0, .speed = (int64_t)op->common.speed,
        .has_auto_dismiss = true, .auto_dismiss = false,
    };
    struct step *step = plan_step(op, STEP_START, "start drive-mirror");

    if (op->root != op->top)
        args.replaces = qblk_graph_node(op->graph, op->top)->name;
    if (op->common.on_error != NULL) {
        args.has_on_source_error = args.has_on_target_error = true;
        args.on_source_error = args.on_target_error = plan_on_error(op);
    }
    step_command(&op->engine, step, &qapi_cmd_drive_mirror, &args);
}

/* The images that the disk has left, or the target's nodes; drive-mirror's go by themselves. */
static void plan_clean(qblk_op *op)
{
    if (op->ending == QBLK_END_PIVOT)
        plan_delete_old(op);
    else if (!op->legacy)
        target_plan_removal(op, &op->to);
}

static void plan_end(qblk_op *op)
{
    (void)plan_step(op, STEP_READY, "wait until the job is ready");
    if (op->ending == QBLK_END_KEEP)
        return;
    plan_end_job(op);
    (void)plan_step(op, STEP_ENDED, "wait for the job's end");
    (void)plan_end_journal(op);
    if (op->ending == QBLK_END_PIVOT)
        plan_verify(op);
    plan_clean(op);
    plan_dismiss(op);
    plan_close_journal(op);
}

static int record(qblk_op *op, int backing, qblk_error *error)
{
    int r = target_record(op, &op->to, error);

    /* A copy that is kept may still pivot one day. */
    if (r == 0 && op->ending != QBLK_END_FINISH)
        r = plan_list_replaced(op, op->top, backing, error);
    return r;
}

static int draw_after(qblk_op *op, int backing, qblk_error *error)
{
    AUTO_FREE char *first = NULL;

    if (op->ending != QBLK_END_PIVOT)
        return plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    first = mem_printf("%s (%s)", op->to.names.node, op->to.path);
    if (first == NULL)
        return err_nomem(error);
    return plan_chain_text(op, first, backing, &op->chain_after, error);
}

static int plan_steps(qblk_op *op, int backing, qblk_error *error)
{
    static const char *const intents[] = {
        [QBLK_END_FINISH] = "finish", [QBLK_END_PIVOT] = "pivot", [QBLK_END_KEEP] = "keep",
    };
    int r;

    target_plan_look(op, &op->to);
    r = plan_open_journal(op, intents[op->ending], error);
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
    int backing = -1, r;

    if (op->ending == QBLK_END_DEFAULT)
        op->ending = QBLK_END_FINISH;
    op->landing = op->to.names.node;
    r = plan_check_busy(op, -1, error);
    if (r == 0 && op->shallow) {
        backing = graph_backing_image(op->graph, op->top);
        if (backing < 0) {
            engine_note(&op->engine, "disk %s has no backing image, so a shallow copy is a full "
                        "one", op->disk_name);
            op->shallow = false;
        }
    }
    if (r == 0)
        r = target_suit(op, &op->to, error);
    if (r == 0)
        r = target_check(op, &op->to, op->shallow, error);
    if (r == 0)
        r = record(op, backing, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0)
        r = draw_after(op, backing, error);
    return r == 0 ? plan_steps(op, backing, error) : r;
}

const struct op_kind op_copy = {
    .name = "copy",
    .job_type = "mirror",
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_clean,
    .has_endings = true,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_copy(qblk_monitor *monitor, const char *disk, const char *target,
              const qblk_copy_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_copy_options o = QBLK_INIT(qblk_copy_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_copy_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = op_check_target(target, o.format, error);
    if (r == 0)
        r = op_check_ending(o.ending, error);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_copy, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->ending = o.ending;
    op->shallow = o.shallow;
    op->to.reuse = o.reuse;
    op->legacy = o.legacy;

    const struct op_string strings[] = {
        { &op->to.path, target },
        { &op->to.format, o.format },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}
